//! Byte-range locks and the stateids that stand for them: RFC 8881 §9.5, §18.10 to §18.12.

use anyhow::Result;
use interop_tests::nfs41::{
    CallbackAnswer, Client, ClientSetup, Failure, OpenFile, Reply, StatusOf, owner_of_opens, putfh,
};
use wire::nfs4::*;

use crate::world::{World, at_last};

const END: u64 = u64::MAX;

async fn asked(
    client: &Client,
    file: &OpenFile,
    owner: &str,
    locktype: LockType4,
    (offset, length): (u64, u64),
) -> Result<Reply, Failure> {
    let args = Lockt4Args {
        locktype,
        offset,
        length,
        owner: owner_of_opens(client, owner),
    };
    client.compound([putfh(&file.fh), ArgOp::Lockt(args)]).await
}

/// Offset, length and owner of the lock in the way; `None` when there is none.
fn in_the_way(reply: &Reply) -> Option<(u64, u64, Vec<u8>, Clientid4)> {
    match reply.results.last() {
        Some(
            ResOp::Lockt(Err(Lock4Error::Denied(denied)))
            | ResOp::Lock(Err(Lock4Error::Denied(denied))),
        ) => Some((
            denied.offset,
            denied.length,
            denied.owner.owner.to_vec(),
            denied.owner.clientid,
        )),
        _ => None,
    }
}

async fn two(world: &World) -> Result<(Client, OpenFile, Client, OpenFile)> {
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let mine = a.open_create(&root, "f").await?;
    let other = b.open(&root, "f").await?;
    Ok((a, mine, b, other))
}

#[tokio::test]
async fn a_lock_keeps_others_out_and_names_its_holder() -> Result<()> {
    // Invariant 3.
    let world = World::start().await?;
    let (a, mine, b, other) = two(&world).await?;
    a.lock(&mine, "editor", LockType4::WriteLt, (100, 50))
        .await?;
    assert_eq!(
        b.lock(&other, "other", LockType4::ReadLt, (0, 101))
            .await
            .status(),
        Nfsstat4::Denied
    );
    let told = in_the_way(&asked(&b, &other, "other", LockType4::ReadLt, (149, END)).await?);
    assert_eq!(told, Some((100, 50, b"editor".to_vec(), a.clientid)));
    b.lock(&other, "other", LockType4::WriteLt, (150, END))
        .await?;
    b.lock(&other, "third", LockType4::WriteLt, (0, 100))
        .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn readers_share_and_a_writer_among_them_waits() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, b, other) = two(&world).await?;
    let held = a.lock(&mine, "a", LockType4::ReadLt, (0, END)).await?;
    b.lock(&other, "b", LockType4::ReadLt, (0, END)).await?;
    let writer = a.lock(&mine, "c", LockType4::WritewLt, (5, 1)).await;
    assert_eq!(writer.status(), Nfsstat4::Denied);
    a.unlock(&mine, held, (0, END)).await?;
    assert_eq!(
        a.lock(&mine, "c", LockType4::WriteLt, (5, 1))
            .await
            .status(),
        Nfsstat4::Denied
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_unlock_in_the_middle_splits_and_a_lock_over_the_gap_merges() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, b, other) = two(&world).await?;
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, 100)).await?;
    let held = a.unlock(&mine, held, (40, 20)).await?;
    let free = async |range| {
        anyhow::Ok(in_the_way(
            &asked(&b, &other, "b", LockType4::WriteLt, range).await?,
        ))
    };
    assert_eq!(free((40, 20)).await?, None);
    assert_eq!(
        free((0, 50)).await?.map(|lock| (lock.0, lock.1)),
        Some((0, 40))
    );
    assert_eq!(
        free((45, 50)).await?.map(|lock| (lock.0, lock.1)),
        Some((60, 40))
    );
    let locker = Locker4::Existing(ExistLockOwner4 {
        lock_stateid: held,
        lock_seqid: 0,
    });
    let args = Lock4Args {
        locktype: LockType4::WriteLt,
        reclaim: false,
        offset: 30,
        length: 40,
        locker,
    };
    let again = a
        .ok([putfh(&mine.fh), ArgOp::Lock(args)])
        .await?
        .lock()?
        .lock_stateid;
    // Fact 26: the stateid of an existing lock-owner keeps its `other`.
    assert_eq!((again.other, again.seqid), (held.other, held.seqid + 1));
    assert_eq!(
        free((50, 1)).await?.map(|lock| (lock.0, lock.1)),
        Some((0, 100))
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_lock_by_a_lock_owner_that_the_server_knows_keeps_the_stateid() -> Result<()> {
    // Fact 26.
    let world = World::start().await?;
    let (a, mine, _b, _other) = two(&world).await?;
    let first = a.lock(&mine, "a", LockType4::WriteLt, (0, 1)).await?;
    let second = a.lock(&mine, "a", LockType4::WriteLt, (10, 1)).await?;
    assert_eq!((first.other, first.seqid + 1), (second.other, second.seqid));
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_own_lock_is_in_nobodys_own_way() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, _b, _other) = two(&world).await?;
    a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await?;
    assert_eq!(
        asked(&a, &mine, "a", LockType4::WriteLt, (0, 10))
            .await?
            .status,
        Nfsstat4::Ok
    );
    assert_eq!(
        asked(&a, &mine, "b", LockType4::ReadLt, (0, 10))
            .await?
            .status,
        Nfsstat4::Denied
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn ranges_that_make_no_sense_are_invalid() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, _b, _other) = two(&world).await?;
    for range in [(0, 0), (3, END - 1), (END, 1), (END, 2), (2, END - 1)] {
        assert_eq!(
            a.lock(&mine, "a", LockType4::WriteLt, range).await.status(),
            Nfsstat4::Inval,
            "{range:?}"
        );
    }
    a.lock(&mine, "a", LockType4::WriteLt, (1, END - 1)).await?;
    a.lock(&mine, "a", LockType4::WriteLt, (END, END)).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_stateid_is_freed_once_it_locks_nothing() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, _b, _other) = two(&world).await?;
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await?;
    assert_eq!(a.free_stateid(held).await.status(), Nfsstat4::LocksHeld);
    assert_eq!(
        a.free_stateid(mine.stateid).await.status(),
        Nfsstat4::LocksHeld
    );
    let held = a.unlock(&mine, held, (0, 10)).await?;
    a.free_stateid(held).await?;
    assert_eq!(a.free_stateid(held).await.status(), Nfsstat4::BadStateid);
    world.ends_without_leak().await
}

#[tokio::test]
async fn stateids_are_judged_one_by_one() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, b, other) = two(&world).await?;
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await?;
    let later = a.lock(&mine, "a", LockType4::WriteLt, (20, 10)).await?;
    let future = Stateid4 {
        seqid: later.seqid + 1,
        ..later
    };
    let forged = Stateid4 {
        seqid: 1,
        other: [0x5a; 12],
    };
    let asked = [
        mine.stateid,
        later,
        held,
        future,
        forged,
        other.stateid,
        Stateid4::ANONYMOUS,
    ];
    let told = a.test_stateids(&asked).await?;
    assert_eq!(
        told[..4],
        [
            Nfsstat4::Ok,
            Nfsstat4::Ok,
            Nfsstat4::OldStateid,
            Nfsstat4::BadStateid
        ]
    );
    assert_eq!(
        told[4..],
        [Nfsstat4::BadStateid; 3],
        "forged, of another client, and of none"
    );
    let _ = b;
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_old_stateid_is_refused_where_the_order_counts() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, _b, _other) = two(&world).await?;
    let old = a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await?;
    a.lock(&mine, "a", LockType4::WriteLt, (20, 10)).await?;
    assert_eq!(
        a.unlock(&mine, old, (0, 10)).await.status(),
        Nfsstat4::OldStateid
    );
    let newest = Stateid4 { seqid: 0, ..old };
    a.unlock(&mine, newest, (0, 10)).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_lock_needs_an_open_that_allows_it() -> Result<()> {
    let world = World::start().await?;
    let (_a, _mine, b, other) = two(&world).await?;
    b.close(&other).await?;
    let reader = b.open_to_read(&b.root().await?, "f").await?;
    assert_eq!(
        b.lock(&reader, "b", LockType4::WriteLt, (0, 1))
            .await
            .status(),
        Nfsstat4::Openmode
    );
    b.lock(&reader, "b", LockType4::ReadLt, (0, 1)).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_close_with_locks_held_releases_them_or_is_refused() -> Result<()> {
    // RFC 8881 §18.2.3 allows both.
    let world = World::start().await?;
    let (a, mine, b, other) = two(&world).await?;
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, END)).await?;
    let closed = a.close(&mine).await;
    if closed.status() == Nfsstat4::LocksHeld {
        a.unlock(&mine, held, (0, END)).await?;
        a.close(&mine).await?;
    }
    b.lock(&other, "b", LockType4::WriteLt, (0, END)).await?;
    world.ends_without_leak().await
}

/// The handle and the lock-owner of the CB_NOTIFY_LOCK that comes next.
async fn told(client: &Client) -> Result<(Fh4, StateOwner4)> {
    match client.callbacks.next().await? {
        CbArgOp::NotifyLock(args) => Ok((args.fh, args.lock_owner)),
        other => anyhow::bail!("{other:?} instead of CB_NOTIFY_LOCK"),
    }
}

#[tokio::test]
async fn who_waits_for_a_lock_is_told_when_it_comes_free() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, b, other) = two(&world).await?;
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await?;
    let denied = b.lock(&other, "b", LockType4::WritewLt, (5, 10)).await;
    assert_eq!(denied.status(), Nfsstat4::Denied);
    assert!(b.callbacks.is_quiet().await);
    a.unlock(&mine, held, (0, 10)).await?;
    let expected = (other.fh.clone(), owner_of_opens(&b, "b"));
    assert_eq!(told(&b).await?, expected);
    // It is b's turn, and nobody else's.
    let again = a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await;
    assert_eq!(again.status(), Nfsstat4::Denied);
    b.lock(&other, "b", LockType4::WritewLt, (5, 10)).await?;
    assert_eq!(world.running().server.held().lock_waiters, 0);
    world.ends_without_leak().await
}

#[tokio::test]
async fn waiters_get_a_lock_in_the_order_in_which_they_came() -> Result<()> {
    let world = World::start().await?;
    let (a, mine, b, other) = two(&world).await?;
    let c = world.client("c").await?;
    let third = c.open(&c.root().await?, "f").await?;
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, END)).await?;
    for (waiter, file, owner) in [(&c, &third, "c"), (&b, &other, "b")] {
        let denied = waiter.lock(file, owner, LockType4::WritewLt, (0, 1)).await;
        assert_eq!(denied.status(), Nfsstat4::Denied);
    }
    a.unlock(&mine, held, (0, END)).await?;
    assert_eq!(told(&c).await?.1, owner_of_opens(&c, "c"));
    let early = b.lock(&other, "b", LockType4::WritewLt, (0, 1)).await;
    assert_eq!(early.status(), Nfsstat4::Denied);
    let held = c.lock(&third, "c", LockType4::WritewLt, (0, 1)).await?;
    assert!(b.callbacks.is_quiet().await);
    c.unlock(&third, held, (0, 1)).await?;
    assert_eq!(told(&b).await?.1, owner_of_opens(&b, "b"));
    b.lock(&other, "b", LockType4::WritewLt, (0, 1)).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_waiter_that_doesnt_come_back_loses_its_turn() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.lock_turn = std::time::Duration::from_millis(300);
    })
    .await?;
    let (a, mine, b, other) = two(&world).await?;
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await?;
    let denied = b.lock(&other, "b", LockType4::WritewLt, (0, 10)).await;
    assert_eq!(denied.status(), Nfsstat4::Denied);
    a.unlock(&mine, held, (0, 10)).await?;
    told(&b).await?;
    at_last("the end of b's turn", &[Nfsstat4::Denied], async || {
        a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_waiter_that_refuses_its_turn_is_passed_over_at_once() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.lock_turn = std::time::Duration::from_mins(10);
    })
    .await?;
    let (a, mine, b, other) = two(&world).await?;
    b.callbacks
        .answer_all(CallbackAnswer::Status(Nfsstat4::Notsupp));
    let held = a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await?;
    let denied = b.lock(&other, "b", LockType4::ReadwLt, (0, 10)).await;
    assert_eq!(denied.status(), Nfsstat4::Denied);
    a.unlock(&mine, held, (0, 10)).await?;
    told(&b).await?;
    at_last("the lock", &[Nfsstat4::Denied], async || {
        a.lock(&mine, "a", LockType4::WriteLt, (0, 10)).await
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn word_of_locks_is_promised_only_to_who_can_be_called_back() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    a.open_create(&root, "f").await?;
    let deaf = ClientSetup {
        session_flags: 0,
        ..ClientSetup::named("deaf")
    }
    .mount(world.address)
    .await?;
    for (client, promised) in [(&a, OPEN4_RESULT_MAY_NOTIFY_LOCK), (&deaf, 0)] {
        let open = ArgOp::Open(client.open_args("f", Openflag4::NoCreate));
        let opened = client.ok([putfh(&root), open]).await?.open()?;
        assert_eq!(opened.rflags & OPEN4_RESULT_MAY_NOTIFY_LOCK, promised);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn locks_beyond_the_limit_of_a_client_are_refused() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.lock_states_per_client = 3).await?;
    let (a, mine, b, other) = two(&world).await?;
    let mut last = Nfsstat4::Ok;
    for number in 0..10 {
        let owner = format!("owner {number}");
        let locked = a.lock(&mine, &owner, LockType4::ReadLt, (0, 1)).await;
        last = locked.status();
    }
    assert_eq!(last, Nfsstat4::Delay);
    assert_eq!(world.running().server.held().lock_states, 3);
    b.lock(&other, "b", LockType4::ReadLt, (0, 1)).await?;
    world.ends_without_leak().await
}
