//! The metadata server ends and comes back, by order or by a crash; clients that never come back.
//! RFC 8881 §8.4, invariants 2, 5 and 7.

use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{Client, Failure, OpenFile, StatusOf, owner_of_opens, putfh};
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::direct::Refused;
use crate::world::{World, at_last, kernel, until};

const LEASE: Duration = Duration::from_hours(1);
const GRACE: Duration = Duration::from_mins(5);

const TEN_SECONDS_BEFORE_ITS_END: Duration = Duration::from_secs(290);

/// Grace ends when all have reclaimed, or when a test lets it pass.
pub async fn start() -> Result<World> {
    World::with(2, |spec| {
        spec.limits.grace = GRACE;
        spec.limits.lease = LEASE;
    })
    .await
}

/// More than half a lease: a client that is silent twice as long is lost, one that asks in between isn't.
const PART_OF_A_LEASE: Duration = Duration::from_mins(35);

/// The client `name` after the restart, in time to reclaim.
pub async fn back(world: &World, name: &str) -> Result<Client, Failure> {
    kernel(name, "Linux 6.1.0")
        .mount_without_reclaim_complete(world.address)
        .await
}

pub async fn complete(client: &Client) -> Result<(), Failure> {
    client
        .ok([ArgOp::ReclaimComplete(ReclaimComplete4Args {
            one_fs: false,
        })])
        .await
        .map(|_| ())
}

pub async fn reclaim(client: &Client, fh: &Fh4) -> Result<OpenFile, Failure> {
    let claim = OpenClaim4::Previous(OpenDelegationType4::None);
    client
        .open_with(
            fh,
            Open4Args {
                claim,
                ..client.open_args("", Openflag4::NoCreate)
            },
        )
        .await
}

pub async fn grace_passes(world: &World, client: &Client, root: &Fh4) -> Result<()> {
    world.let_pass(GRACE);
    grace_is_over(client, root).await
}

pub async fn grace_is_over(client: &Client, root: &Fh4) -> Result<()> {
    at_last("an open after grace", &[Nfsstat4::Grace], async || {
        client.open_create(root, "after").await
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_client_learns_of_a_restart_by_its_session_and_its_clientid() -> Result<()> {
    // Fact 30.
    let mut world = start().await?;
    let a = world.client("a").await?;
    world.restart().await?;
    a.switch_to(a.connect().await?);
    assert_eq!(a.root().await.status(), Nfsstat4::Badsession);
    let again = a
        .setup
        .create(&a.connection(), a.setup.create_session(&a.exchanged))
        .await;
    assert_eq!(again.status(), Nfsstat4::StaleClientid);
    Ok(())
}

#[tokio::test]
async fn opens_and_locks_are_reclaimed_and_grace_ends_when_everybody_is_done() -> Result<()> {
    // Fact 30, invariants 2 and 7.
    let mut world = start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.lock(&file, "a", LockType4::WriteLt, (0, 10)).await?;
    b.open(&root, "f").await?;
    world.crash_and_restart().await?;
    let (a, b) = (back(&world, "a").await?, back(&world, "b").await?);
    let mine = reclaim(&a, &file.fh).await?;
    a.ok(lock_reclaim(&a, &mine, "a", (0, 10))).await?;
    // Layouts are not reclaimed: Linux asks anew, and waits.
    assert_eq!(
        world.to_write(&a, &mine).await.map(|_| ()).status(),
        Nfsstat4::Grace
    );
    let other = reclaim(&b, &file.fh).await?;
    complete(&a).await?;
    assert_eq!(
        a.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Grace,
        "b is not done"
    );
    complete(&b).await?;
    grace_is_over(&a, &root).await?;
    assert_eq!(
        b.lock(&other, "b", LockType4::WriteLt, (5, 1))
            .await
            .status(),
        Nfsstat4::Denied
    );
    world
        .to_write_at_last(&a, &mine)
        .await?
        .write(0, "on we go")
        .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn during_grace_nobody_takes_anything_new() -> Result<()> {
    let mut world = start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    world.restart().await?;
    let stranger = world.client("stranger").await?;
    assert_eq!(
        stranger.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Grace
    );
    assert_eq!(stranger.lookup(&root, "f").await?, file.fh, "names go on");
    let refused = reclaim(&stranger, &file.fh).await.map(|_| ());
    assert!(
        matches!(refused.status(), Nfsstat4::NoGrace | Nfsstat4::ReclaimBad),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_reclaim_after_grace_is_refused() -> Result<()> {
    let mut world = start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    world.restart().await?;
    let b = world.client("b").await?;
    grace_passes(&world, &b, &root).await?;
    let a = back(&world, "a").await?;
    assert_eq!(
        reclaim(&a, &file.fh).await.map(|_| ()).status(),
        Nfsstat4::NoGrace
    );
    complete(&a).await?;
    a.open(&root, "f").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn many_opens_are_taken_back_beyond_the_end_of_grace() -> Result<()> {
    let mut world = start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let mut files = Vec::new();
    for number in 0..13 {
        files.push(a.open_create(&root, &format!("f{number}")).await?.fh);
    }
    world.restart().await?;
    // b, who is on record, never comes back.
    drop(b);
    let again = back(&world, "a").await?;
    let mut opens = Vec::new();
    let second = Duration::from_secs(1);
    world.let_pass(TEN_SECONDS_BEFORE_ITS_END);
    for fh in &files {
        world.let_pass(second);
        opens.push(reclaim(&again, fh).await?);
    }
    complete(&again).await?;
    grace_passes(&world, &again, &root).await?;
    for open in &opens {
        again.close(open).await?;
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_size_that_was_written_and_never_committed_is_there_after_a_crash() -> Result<()> {
    // The write intent remembers: invariant 6.
    let mut world = start().await?;
    let a = world.new_kernel("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, vec![5; 123_456]).await?;
    world.crash_and_restart().await?;
    let b = world.client("b").await?;
    assert_eq!(b.size_of(&file.fh).await?, 123_456);
    grace_passes(&world, &b, &root).await?;
    let same = b.open(&root, "f").await?;
    let read = b.read(&same.fh, same.stateid, 100_000, 50_000).await?;
    assert!(read.eof && read.data.len() == 23_456 && read.data.iter().all(|byte| *byte == 5));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_writer_that_never_comes_back_is_fenced_before_another_one_writes() -> Result<()> {
    // Invariants 5 and 7.
    let mut world = start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    world.crash_and_restart().await?;
    let b = world.client("b").await?;
    grace_passes(&world, &b, &root).await?;
    let same = b.open(&root, "f").await?;
    world
        .to_write_at_last(&b, &same)
        .await?
        .write(0, "AFTER")
        .await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    assert_eq!(
        &b.read(&same.fh, same.stateid, 0, 100).await?.data[..],
        b"AFTERe"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_without_names_that_nobody_reclaims_goes_after_grace() -> Result<()> {
    let mut world = start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "orphan").await?;
    a.remove(&root, "f").await?;
    world.crash_and_restart().await?;
    assert_eq!(world.objects_of_files().await?, 1);
    world.let_pass(GRACE);
    until("its object is gone", async || {
        Ok(world.objects_of_files().await? == 0)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_without_names_is_reclaimed_by_who_had_it_open() -> Result<()> {
    let mut world = start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "orphan").await?;
    a.remove(&root, "f").await?;
    world.crash_and_restart().await?;
    let a = back(&world, "a").await?;
    let mine = reclaim(&a, &file.fh).await?;
    complete(&a).await?;
    grace_is_over(&a, &root).await?;
    assert_eq!(
        &a.read(&mine.fh, mine.stateid, 0, 100).await?.data[..],
        b"orphan"
    );
    a.close(&mine).await?;
    until("its object is gone", async || {
        Ok(world.objects_of_files().await? <= 1)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_that_falls_silent_loses_its_opens_and_its_layouts_are_fenced() -> Result<()> {
    // Invariants 2 and 5.
    let world = start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let how = Createhow4::Unchecked(
        Attributes {
            mode: Some(0o644),
            ..Attributes::default()
        }
        .into(),
    );
    let args = Open4Args {
        share_deny: OPEN4_SHARE_DENY_BOTH,
        ..a.open_args("f", Openflag4::Create(how))
    };
    let file = a.open_with(&root, args).await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    world.let_pass(PART_OF_A_LEASE);
    assert_eq!(
        b.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::ShareDenied
    );
    world.let_pass(PART_OF_A_LEASE);
    let same = at_last(
        "an open once the lease ran out",
        &[Nfsstat4::ShareDenied],
        async || b.open(&root, "f").await,
    )
    .await?;
    until("the fence", async || {
        b.root().await?;
        Ok(held.write(0, "late").await.refused() == Some(Nfsstat3::Acces))
    })
    .await?;
    assert_eq!(b.size_of(&same.fh).await?, 6);
    assert_eq!(a.root().await.status(), Nfsstat4::Badsession);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_sequence_renews_the_lease() -> Result<()> {
    let world = start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    // The other one falls silent, this one doesn't.
    world.let_pass(PART_OF_A_LEASE);
    a.ok([]).await?;
    assert_eq!(world.running().server.held().clients, 2);
    world.let_pass(PART_OF_A_LEASE);
    until("b is forgotten", async || {
        a.ok([]).await?;
        Ok(world.running().server.held().clients == 1)
    })
    .await?;
    a.write(&file.fh, file.stateid, 0, "alive").await?;
    assert_eq!(b.root().await.status(), Nfsstat4::Badsession);
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_was_committed_at_the_data_servers_is_there_though_nobody_was_told() -> Result<()> {
    // Between a data server's COMMIT and LAYOUTCOMMIT, the client's death with the server's included: fsync may
    // have returned, since Linux takes a LAYOUTCOMMIT that is refused with GRACE for done.
    let mut world = start().await?;
    let a = world.new_kernel("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write_unstable(0, vec![5; 300_000]).await?;
    held.commit().await?;
    world.crash_and_restart().await?;
    let b = world.client("b").await?;
    assert_eq!(b.size_of(&file.fh).await?, 300_000);
    grace_passes(&world, &b, &root).await?;
    let same = b.open(&root, "f").await?;
    let read = b.read(&same.fh, same.stateid, 200_000, 200_000).await?;
    assert!(read.eof && read.data.len() == 100_000 && read.data.iter().all(|byte| *byte == 5));
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_was_answered_before_a_crash_is_there_after_it() -> Result<()> {
    let mut world = start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let directory = a.mkdir(&root, "d").await?;
    let file = a.open_create(&directory, "f").await?;
    a.write(&file.fh, file.stateid, 0, "kept").await?;
    let change = a.change_of(&file.fh).await?;
    world.crash_and_restart().await?;
    let a = back(&world, "a").await?;
    assert_eq!(a.walk("/d/f").await?, file.fh);
    assert_eq!(a.size_of(&file.fh).await?, 4);
    assert!(a.change_of(&file.fh).await? >= change);
    complete(&a).await?;
    world.ends_without_leak().await
}

fn lock_reclaim(client: &Client, file: &OpenFile, owner: &str, range: (u64, u64)) -> [ArgOp; 2] {
    let open_owner = OpenToLockOwner4 {
        open_seqid: 0,
        open_stateid: file.stateid,
        lock_seqid: 0,
        lock_owner: owner_of_opens(client, owner),
    };
    let lock = Lock4Args {
        locktype: LockType4::WriteLt,
        reclaim: true,
        offset: range.0,
        length: range.1,
        locker: Locker4::New(open_owner),
    };
    [putfh(&file.fh), ArgOp::Lock(lock)]
}

#[tokio::test]
async fn a_lock_is_not_reclaimed_after_grace() -> Result<()> {
    let world = start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let late = a.compound(lock_reclaim(&a, &file, "a", (0, 10))).await?;
    assert_eq!(late.status, Nfsstat4::NoGrace);
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_another_has_reclaimed_is_a_conflict() -> Result<()> {
    // Invariant 3, also against clients that claim too much.
    let mut world = start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    b.open(&root, "f").await?;
    world.crash_and_restart().await?;
    let (a, b) = (back(&world, "a").await?, back(&world, "b").await?);
    let (mine, other) = (reclaim(&a, &file.fh).await?, reclaim(&b, &file.fh).await?);
    a.ok(lock_reclaim(&a, &mine, "a", (0, 10))).await?;
    let refused = b.compound(lock_reclaim(&b, &other, "b", (5, 10))).await?;
    assert_eq!(refused.status, Nfsstat4::ReclaimConflict);
    b.ok(lock_reclaim(&b, &other, "b", (10, 10))).await?;
    let denying = Open4Args {
        share_deny: OPEN4_SHARE_DENY_BOTH,
        claim: OpenClaim4::Previous(OpenDelegationType4::None),
        ..b.open_args("", Openflag4::NoCreate)
    };
    let refused = b.open_with(&file.fh, denying).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::ReclaimConflict);
    Ok(())
}

#[tokio::test]
async fn a_restart_in_the_middle_of_grace_lets_everybody_reclaim_again() -> Result<()> {
    // Invariant 7.
    let mut world = start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    b.open(&root, "f").await?;
    world.crash_and_restart().await?;
    // One has begun, one has completed, when it happens again.
    let (a, b) = (back(&world, "a").await?, back(&world, "b").await?);
    reclaim(&a, &file.fh).await?;
    reclaim(&b, &file.fh).await?;
    complete(&b).await?;
    world.crash_and_restart().await?;
    let (a, b) = (back(&world, "a").await?, back(&world, "b").await?);
    let mine = reclaim(&a, &file.fh).await?;
    reclaim(&b, &file.fh).await?;
    complete(&a).await?;
    complete(&b).await?;
    grace_is_over(&a, &root).await?;
    a.write(&mine.fh, mine.stateid, 0, "kept").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_never_completes_keeps_what_it_reclaimed_and_gets_nothing_new() -> Result<()> {
    let mut world = World::with(2, |spec| spec.limits.grace = Duration::from_secs(2)).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    b.ok([]).await?;
    world.crash_and_restart().await?;
    let a = back(&world, "a").await?;
    let mine = reclaim(&a, &file.fh).await?;
    let b = world.client("b").await?;
    grace_is_over(&b, &root).await?;
    a.write(&mine.fh, mine.stateid, 0, "kept").await?;
    assert_eq!(
        a.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Grace
    );
    complete(&a).await?;
    a.open(&root, "f").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn no_session_is_called_persistent_and_names_may_be_changed_twice_over_a_crash() -> Result<()>
{
    // RFC 8881 §2.10.6.5: replies that are not kept are not promised.
    let mut world = start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let asked = CreateSession4Args {
        flags: CREATE_SESSION4_FLAG_PERSIST,
        ..a.setup.create_session(&a.exchanged)
    };
    let asked = CreateSession4Args {
        sequence: a.created().sequence.wrapping_add(1),
        ..asked
    };
    let second = a.setup.create(&a.connection(), asked).await?;
    assert_eq!(second.flags & CREATE_SESSION4_FLAG_PERSIST, 0);
    a.open_create(&root, "f").await?;
    a.mkdir(&root, "d").await?;
    a.remove(&root, "f").await?;
    world.crash_and_restart().await?;
    // As a client repeats that lost the answers with the connection.
    let a = back(&world, "a").await?;
    assert_eq!(a.mkdir(&root, "d").await.status(), Nfsstat4::Exist);
    assert_eq!(a.remove(&root, "f").await.status(), Nfsstat4::Noent);
    Ok(())
}
