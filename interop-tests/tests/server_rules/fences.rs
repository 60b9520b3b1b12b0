//! Who lost the right to write is out before anything is given that excludes him: fences at the end of a
//! lease, of a recall and of grace. Invariants 3, 5 and 7.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{CallbackAnswer, Client, Failure, OpenFile, StatusOf, putfh};
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::direct::Refused;
use crate::world::{World, at_last, until, watchful};

async fn short_leases() -> Result<World> {
    World::with(1, |spec| {
        watchful(spec);
        spec.limits.lease = Duration::from_secs(1);
        spec.limits.grace = Duration::from_secs(1);
        spec.limits.recall = Duration::from_millis(200);
    })
    .await
}

/// What a client is refused while somebody may still be writing behind the server's back.
async fn excluded(world: &World, client: &Client, root: &Fh4, file: &OpenFile) -> Result<()> {
    let locked = client.lock(file, "o", LockType4::WriteLt, (0, 10)).await;
    assert_eq!(locked.status(), Nfsstat4::Delay);
    let denying = Open4Args {
        share_deny: OPEN4_SHARE_DENY_WRITE,
        owner: interop_tests::nfs41::owner_of_opens(client, "denying"),
        ..client.open_args("f", Openflag4::NoCreate)
    };
    let opened = client.open_with(root, denying).await.map(|_| ());
    assert_eq!(opened.status(), Nfsstat4::Delay);
    let read = world.to_read(client, file).await.map(|_| ());
    assert_eq!(read.status(), Nfsstat4::Delay);
    let written = client.write(&file.fh, file.stateid, 0, "x").await;
    assert_eq!(written.map(|_| ()).status(), Nfsstat4::Delay);
    Ok(())
}

async fn locked_at_last(client: &Client, file: &OpenFile) -> Result<Stateid4> {
    let again = [Nfsstat4::Delay, Nfsstat4::Denied, Nfsstat4::Grace];
    at_last("a lock", &again, async || {
        client.lock(file, "o", LockType4::WriteLt, (0, 10)).await
    })
    .await
}

#[tokio::test]
async fn a_lock_of_a_client_that_fell_silent_is_given_only_after_its_fence() -> Result<()> {
    let mut world = short_leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.lock(&file, "a", LockType4::WriteLt, (0, 10)).await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    let same = b.open(&root, "f").await?;
    // Nobody can be fenced there now.
    world.stop_data_server(0).await?;
    until("the other client's lock is gone", async || {
        let locked = b.lock(&same, "o", LockType4::WriteLt, (0, 10)).await;
        Ok(locked.status() == Nfsstat4::Delay)
    })
    .await?;
    excluded(&world, &b, &root, &same).await?;
    world.start_data_server(0)?;
    locked_at_last(&b, &same).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    world.ends_without_leak().await
}

#[tokio::test]
async fn after_grace_a_lock_waits_for_the_fence_of_a_writer_that_did_not_come_back() -> Result<()> {
    let mut world = short_leases().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    world.crash().await?;
    world.stop_data_server(0).await?;
    world.begin().await?;
    let b = world.client("b").await?;
    let same = at_last("an open after grace", &[Nfsstat4::Grace], async || {
        b.open(&root, "f").await
    })
    .await?;
    excluded(&world, &b, &root, &same).await?;
    let want = OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
    let wanted = b.want_delegation(&file.fh, want, DelegClaim4::Fh).await;
    assert_eq!(wanted.map(|_| ()).status(), Nfsstat4::Delay);
    world.start_data_server(0)?;
    locked_at_last(&b, &same).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_fence_that_was_asked_for_twice_hits_no_later_holder() -> Result<()> {
    let world = short_leases().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    a.close(&file).await?;
    // A layout alone keeps no client from going: housekeeping and its end both see to the fence.
    a.destroy_session().await?;
    a.destroy_clientid().await?;
    let same = b.open(&root, "f").await?;
    let later = world.to_write_at_last(&b, &same).await?;
    later.write(0, "later").await?;
    let rounds = world.running().server.metrics.compounds.load(Relaxed) + 200;
    until("housekeeping has looked again", async || {
        b.root().await?;
        Ok(world.running().server.metrics.compounds.load(Relaxed) > rounds)
    })
    .await?;
    later.write(0, "still").await?;
    assert_eq!(world.running().server.metrics.fences.load(Relaxed), 1);
    assert_eq!(
        held.write(0, "early").await.refused(),
        Some(Nfsstat3::Acces)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_acknowledges_that_its_layout_was_revoked_by_freeing_the_stateid() -> Result<()> {
    let mut world = World::with(1, |spec| {
        watchful(spec);
        spec.limits.recall = Duration::from_millis(200);
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, "before").await?;
    a.callbacks
        .answer_all(CallbackAnswer::Status(Nfsstat4::Delay));
    let same = b.open(&root, "f").await?;
    world.stop_data_server(0).await?;
    let cut = b.truncate(&same.fh, same.stateid, 0).await;
    assert_eq!(cut.status(), Nfsstat4::Delay, "it can't be cut now");
    until("the layout is revoked", async || {
        b.root().await?;
        Ok(a.test_stateids(&[held.stateid]).await? == [Nfsstat4::AdminRevoked])
    })
    .await?;
    a.free_stateid(held.stateid).await?;
    world.start_data_server(0)?;
    let again = [Nfsstat4::Delay];
    at_last("the truncate", &again, async || {
        a.root().await?;
        b.truncate(&same.fh, same.stateid, 0).await
    })
    .await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    world.ends_without_leak().await
}

#[tokio::test]
async fn nobody_sees_a_size_without_the_mode_that_was_set_with_it() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let file = a.open_create(&a.root().await?, "f").await?;
    let both = async |size, mode| {
        let attributes = Attributes {
            size: Some(size),
            mode: Some(mode),
            ..Attributes::default()
        };
        a.setattr(&file.fh, file.stateid, attributes).await
    };
    both(1, 0o601).await?;
    let done = std::sync::atomic::AtomicBool::new(false);
    let changes = async {
        for round in 0..60 {
            both(1 + round % 2, 0o601 + (round % 2) as u32).await?;
        }
        done.store(true, Relaxed);
        Ok::<_, Failure>(())
    };
    let looks = async {
        while !done.load(Relaxed) {
            let shown = b.getattr(&file.fh, &[Attr::Size, Attr::Mode]).await?;
            let (size, mode) = (shown.size.unwrap_or(0), shown.mode.unwrap_or(0));
            assert_eq!(u64::from(mode), 0o600 + size, "half of a change");
        }
        Ok::<_, Failure>(())
    };
    let (changed, looked) = tokio::join!(changes, looks);
    changed?;
    looked?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_orphan_that_was_busy_when_its_last_holder_left_goes_all_the_same() -> Result<()> {
    let world = short_leases().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "x").await?;
    a.remove(&root, "f").await?;
    // The close meets a COMPOUND that is inside the file's gate: the reap finds it busy.
    let reads = async {
        for _ in 0..20 {
            a.commit(&file.fh, 0, 0).await?;
        }
        Ok::<_, Failure>(())
    };
    let (read, closed) = tokio::join!(reads, a.close(&file));
    closed?;
    assert!(matches!(read.status(), Nfsstat4::Ok | Nfsstat4::Stale));
    until("its object is gone", async || {
        a.root().await?;
        Ok(world.objects_of_files().await? == 0)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_return_of_a_part_keeps_the_layout_and_one_of_everything_ends_it() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let (f, g) = (
        a.open_create(&root, "f").await?,
        a.open_create(&root, "g").await?,
    );
    let held = world.to_write(&a, &f).await?;
    let returned = async |layoutreturn: Layoutreturn4, iomode, reclaim| {
        let args = Layoutreturn4Args {
            reclaim,
            layout_type: LAYOUT4_FLEX_FILES,
            iomode,
            layoutreturn,
        };
        a.ok([putfh(&f.fh), ArgOp::Layoutreturn(args)])
            .await?
            .layoutreturn()
    };
    let part = |offset, length| {
        Layoutreturn4::File(LayoutreturnFile4 {
            offset,
            length,
            stateid: held.stateid,
            body: bytes::Bytes::new(),
        })
    };
    let any = Layoutiomode4::Any;
    for (offset, length) in [(0, 0), (5, u64::MAX - 4)] {
        let wrong = returned(part(offset, length), any, false).await.map(|_| ());
        assert_eq!(wrong.status(), Nfsstat4::Inval);
    }
    let left = returned(part(0, 4096), any, false).await?.stateid;
    assert_eq!(left.map(|left| left.other), Some(held.stateid.other));
    assert_eq!(world.running().server.held().layouts, 1);
    let none = returned(part(4096, u64::MAX), any, false).await?.stateid;
    assert_eq!(none, None);
    assert_eq!(world.running().server.held().layouts, 0);

    // What was returned may have to be settled first.
    world.to_write_at_last(&a, &f).await?;
    at_last("a layout of another file", &[Nfsstat4::Delay], async || {
        world.to_read(&a, &g).await
    })
    .await?;
    returned(Layoutreturn4::Fsid, Layoutiomode4::Rw, false).await?;
    assert_eq!(world.running().server.held().layouts, 1, "that to read");
    returned(Layoutreturn4::All, any, false).await?;
    assert_eq!(world.running().server.held().layouts, 0);
    let reclaimed = returned(Layoutreturn4::All, any, true).await.map(|_| ());
    assert_eq!(
        reclaimed.status(),
        Nfsstat4::Inval,
        "a reclaim is of one file"
    );
    world.ends_without_leak().await
}

/// A data server whose clients may write past its checks: what is fenced moves to new objects.
#[tokio::test]
async fn where_a_fence_moves_the_bytes_no_write_of_others_is_lost() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.recall = Duration::from_millis(500);
        spec.data_servers[0].moves_to_fence = true;
    })
    .await?;
    let (a, b, c) = (
        world.client("a").await?,
        world.client("b").await?,
        world.client("c").await?,
    );
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let (other, third) = (b.open(&root, "f").await?, c.open(&root, "f").await?);
    let held = world.to_write(&a, &file).await?;
    held.write(0, "aaaa").await?;
    let theirs = world.to_write(&b, &other).await?;
    // One that goes without a word; the other gives his layout back when he is asked.
    a.close(&file).await?;
    a.destroy_session().await?;
    a.destroy_clientid().await?;
    let CbArgOp::Layoutrecall(recall) = b.callbacks.next().await? else {
        panic!("a recall: his object goes away")
    };
    let Layoutrecall4::File(recalled) = recall.recall else {
        panic!("of the file: {recall:?}")
    };
    theirs.write(4, "bbbb").await?;
    b.layoutcommit(&other.fh, theirs.stateid, Some(7)).await?;
    b.layoutreturn(&other.fh, recalled.stateid, Layoutiomode4::Any)
        .await?;
    // Through the metadata server, which waits for the move.
    let again = [Nfsstat4::Delay];
    at_last("a write", &again, async || {
        c.write(&third.fh, third.stateid, 8, "cccc").await
    })
    .await?;
    let now = world.to_write_at_last(&b, &other).await?;
    let stripe = |held: &crate::direct::Held| held.layout.mirrors[0].data_servers[0].clone();
    assert_ne!(stripe(&held).fh_vers, stripe(&now).fh_vers, "a new object");
    // Refused or not, it is not of the file.
    let _ = held.write(0, "LATE").await;
    let read = c.read(&third.fh, third.stateid, 0, 100).await?;
    assert_eq!(&read.data[..], b"aaaabbbbcccc");
    world.ends_without_leak().await
}
