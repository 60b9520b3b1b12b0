//! Clients whose lease ran out and that nobody has put out yet: RFC 8881 §8.4.3, invariants 2, 3 and 7.

use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{Client, ClientSetup, Failure, OpenFile, StatusOf};
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::direct::Refused;
use crate::restart::{back, complete, grace_is_over, reclaim};
use crate::world::{World, at_last, until};

const END: u64 = u64::MAX;

/// A lease that runs out when a test lets it, and a recall that nobody waits for.
async fn leases() -> Result<World> {
    World::with(1, |spec| {
        spec.limits.lease = Duration::from_hours(1);
        spec.limits.grace = Duration::from_mins(5);
        spec.limits.recall = Duration::from_mins(5);
    })
    .await
}

async fn denying(client: &Client, root: &Fh4, deny: u32) -> Result<OpenFile, Failure> {
    let args = Open4Args {
        share_deny: deny,
        ..client.open_args("f", Openflag4::NoCreate)
    };
    client.open_with(root, args).await
}

#[tokio::test]
async fn a_client_that_was_away_goes_on_as_if_nothing_had_happened() -> Result<()> {
    let world = leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let lock = a.lock(&file, "a", LockType4::WriteLt, (0, 10)).await?;
    world.fall_silent(&[&b]).await?;
    // What doesn't conflict is no reason.
    let other = b.open(&root, "f").await?;
    b.lock(&other, "b", LockType4::WriteLt, (10, END)).await?;
    assert_eq!(world.running().server.held().courtesy_clients, 1);
    a.write(&file.fh, lock, 0, "back").await?;
    assert_eq!(world.running().server.held().courtesy_clients, 0);
    assert_eq!(
        b.lock(&other, "b", LockType4::WriteLt, (0, 1))
            .await
            .status(),
        Nfsstat4::Denied
    );
    a.unlock(&file, lock, (0, 10)).await?;
    a.close(&file).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_lock_of_a_client_that_is_away_is_given_to_who_wants_it() -> Result<()> {
    let world = leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let other = b.open(&root, "f").await?;
    a.lock(&file, "a", LockType4::WriteLt, (0, END)).await?;
    world.fall_silent(&[&b]).await?;
    b.lock(&other, "b", LockType4::WriteLt, (5, 1)).await?;
    assert_eq!(a.root().await.status(), Nfsstat4::Badsession);
    assert_eq!(world.running().server.held().clients, 1);
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_open_that_a_client_that_is_away_denies_passes_and_its_layout_is_fenced_before()
-> Result<()> {
    // Invariants 3 and 5.
    let world = leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    world.fall_silent(&[&b]).await?;
    held.write(0, "BEFORE").await?;
    let same = denying(&b, &root, OPEN4_SHARE_DENY_WRITE).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    assert_eq!(
        &b.read(&same.fh, same.stateid, 0, 100).await?.data[..],
        b"BEFORE"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_truncate_doesnt_wait_for_the_layout_of_a_client_that_is_away() -> Result<()> {
    let world = leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    let same = b.open(&root, "f").await?;
    world.fall_silent(&[&b]).await?;
    b.truncate(&same.fh, same.stateid, 2).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    // Its open is in nobody's way.
    a.write(&file.fh, file.stateid, 2, "back").await?;
    assert_eq!(
        &b.read(&same.fh, same.stateid, 0, 100).await?.data[..],
        b"beback"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn after_a_restart_a_client_that_was_away_reclaims_what_nobody_wanted() -> Result<()> {
    // Invariant 7.
    let mut world = leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    world.fall_silent(&[&b]).await?;
    world.crash_and_restart().await?;
    let (a, b) = (back(&world, "a").await?, back(&world, "b").await?);
    let mine = reclaim(&a, &file.fh).await?;
    complete(&a).await?;
    complete(&b).await?;
    grace_is_over(&b, &root).await?;
    a.write(&mine.fh, mine.stateid, 0, "mine").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn after_a_restart_a_client_that_was_put_out_reclaims_nothing() -> Result<()> {
    // Invariant 7.
    let mut world = leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    world.fall_silent(&[&b]).await?;
    let same = denying(&b, &root, OPEN4_SHARE_DENY_BOTH).await?;
    world.crash_and_restart().await?;
    let (a, b) = (back(&world, "a").await?, back(&world, "b").await?);
    let refused = reclaim(&a, &file.fh).await.map(|_| ());
    assert!(
        matches!(refused.status(), Nfsstat4::NoGrace | Nfsstat4::ReclaimBad),
        "{refused:?}"
    );
    reclaim(&b, &same.fh).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn courtesy_ends_by_itself_at_last() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.lease = Duration::from_hours(1);
        spec.limits.courtesy = Duration::from_hours(1);
    })
    .await?;
    let a = world.client("a").await?;
    a.open_create(&a.root().await?, "f").await?;
    world.fall_silent(&[]).await?;
    world.let_pass(Duration::from_mins(70));
    until("the client is forgotten", async || {
        Ok(world.running().server.held() == mds::state::Metrics::default())
    })
    .await?;
    assert_eq!(a.root().await.status(), Nfsstat4::Badsession);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_new_client_gets_the_room_of_one_that_is_away() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.lease = Duration::from_hours(1);
        spec.limits.clients = 3;
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    a.open_create(&a.root().await?, "f").await?;
    world.fall_silent(&[&b]).await?;
    let c = world.client("c").await?;
    let d = at_last("room for a fourth client", &[Nfsstat4::Delay], async || {
        b.ok([]).await?;
        c.ok([]).await?;
        ClientSetup::named("d").mount(world.address).await
    })
    .await?;
    d.root().await?;
    assert_eq!(a.root().await.status(), Nfsstat4::Badsession);
    world.ends_without_leak().await
}
