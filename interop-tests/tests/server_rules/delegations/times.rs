//! Delegated timestamps, RFC 9754 §5: who holds a delegation says what the times are.

use anyhow::Result;
use interop_tests::nfs41::{StatusOf, delegated};
use wire::nfs4::*;

use super::{BOTH, READ, made};
use crate::world::{World, kernel};

const TIMES: [Attr; 2] = [Attr::TimeAccess, Attr::TimeModify];

fn told(accessed: Option<Nfstime4>, modified: Option<Nfstime4>) -> Attributes {
    Attributes {
        time_deleg_access: accessed,
        time_deleg_modify: modified,
        ..Attributes::default()
    }
}

fn later(time: Nfstime4, nanos: u32) -> Nfstime4 {
    Nfstime4 {
        seconds: time.seconds + i64::from((time.nseconds + nanos) / 1_000_000_000),
        nseconds: (time.nseconds + nanos) % 1_000_000_000,
    }
}

#[tokio::test]
async fn a_holder_sets_the_times_on_its_way_back() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let wish = BOTH | OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS;
    let file = a.open_wanting(&root, "f", wish).await?;
    let OpenDelegation4::WriteAttrs(write) = &file.opened.delegation else {
        panic!("{:?}", file.opened.delegation)
    };
    let before = a.getattr(&fh, &TIMES).await?;
    let start = before.time_modify.expect("asked for");
    let moment = later(start, 1);
    let set = a
        .setattr(&fh, write.stateid, told(Some(moment), Some(moment)))
        .await?;
    assert_eq!(
        set,
        [Attr::TimeDelegAccess, Attr::TimeDelegModify]
            .into_iter()
            .collect()
    );
    let after = a.getattr(&fh, &TIMES).await?;
    assert_eq!(
        (after.time_access, after.time_modify),
        (Some(moment), Some(moment))
    );
    // Neither before the delegation was given nor in the future.
    let ancient = Nfstime4 {
        seconds: 1,
        nseconds: 0,
    };
    a.setattr(&fh, write.stateid, told(None, Some(ancient)))
        .await?;
    assert_eq!(a.getattr(&fh, &TIMES).await?.time_modify, Some(start));
    let future = Nfstime4 {
        seconds: start.seconds + 1_000_000,
        nseconds: 0,
    };
    a.setattr(&fh, write.stateid, told(None, Some(future)))
        .await?;
    let shown = a
        .getattr(&fh, &TIMES)
        .await?
        .time_modify
        .expect("asked for");
    assert!(shown >= start && shown < future, "{shown:?}");
    a.delegreturn(&fh, write.stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn only_a_delegation_with_times_sets_them() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let now = Nfstime4 {
        seconds: 1_700_000_000,
        nseconds: 0,
    };
    let (file, plain) = a.open_delegated(&root, "f", BOTH).await?;
    for stateid in [plain, file.stateid] {
        assert_eq!(
            a.setattr(&fh, stateid, told(None, Some(now)))
                .await
                .status(),
            Nfsstat4::BadStateid
        );
    }
    a.delegreturn(&fh, plain).await?;
    a.close(&file).await?;
    let wish = READ | OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS;
    let file = a.open_wanting(&root, "f", wish).await?;
    let OpenDelegation4::ReadAttrs(read) = &file.opened.delegation else {
        panic!("{:?}", file.opened.delegation)
    };
    assert_eq!(
        a.setattr(&fh, read.stateid, told(None, Some(now)))
            .await
            .status(),
        Nfsstat4::BadStateid,
        "who reads doesn't modify"
    );
    a.setattr(&fh, read.stateid, told(Some(now), None)).await?;
    let broken = Nfstime4 {
        seconds: 1,
        nseconds: 1_000_000_000,
    };
    assert_eq!(
        a.setattr(&fh, read.stateid, told(Some(broken), None))
            .await
            .status(),
        Nfsstat4::Inval
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn others_are_shown_the_times_that_the_holder_tells() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let wish = BOTH | OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS;
    let file = a.open_wanting(&root, "f", wish).await?;
    assert!(delegated(&file.opened.delegation).is_some());
    let asked = [Attr::Change, Attr::TimeModify];
    let before = a.getattr(&fh, &asked).await?;
    let moment = later(before.time_modify.expect("asked for"), 1);
    a.callbacks.tell(Attributes {
        change: before.change.map(|change| change + 1),
        size: Some(10),
        ..told(Some(moment), Some(moment))
    });
    let shown = b.getattr(&fh, &asked).await?;
    assert_eq!(shown.time_modify, Some(moment));
    let CbArgOp::Getattr(question) = a.callbacks.next().await? else {
        panic!("no CB_GETATTR")
    };
    assert!(question.attr_request.contains(Attr::TimeDelegModify));
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_holders_time_counts_and_not_that_at_which_its_bytes_arrived() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let wish = BOTH | OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS;
    let file = a.open_wanting(&root, "f", wish).await?;
    let (stateid, _) = delegated(&file.opened.delegation).expect("a delegation");
    let asked = [Attr::Change, Attr::TimeModify];
    let before = a.getattr(&fh, &asked).await?;
    let written_at = later(before.time_modify.expect("asked for"), 1);
    world
        .to_write(&a, &file)
        .await?
        .write(0, vec![7; 5000])
        .await?;
    // As Linux: all is written, so that it tells the change attribute of the grant.
    a.callbacks.tell(Attributes {
        change: before.change,
        size: Some(5000),
        ..told(Some(written_at), Some(written_at))
    });
    let shown = b.getattr(&fh, &asked).await?;
    assert_eq!(shown.time_modify, Some(written_at));
    let again = b.getattr(&fh, &asked).await?;
    assert_eq!(again, shown, "nothing was written in between");
    a.setattr(&fh, stateid, told(Some(written_at), Some(written_at)))
        .await?;
    a.delegreturn(&fh, stateid).await?;
    assert_eq!(
        b.getattr(&fh, &asked).await?.time_modify,
        Some(written_at),
        "and stays when it is back"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn fact_48_linux_is_given_delegations_without_times() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let linux = kernel("linux", "Linux 7.2.7 #1 SMP x86_64")
        .mount(world.address)
        .await?;
    let (root, fh) = made(&linux, "f").await?;
    let wish = BOTH | OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS;
    let file = linux.open_wanting(&root, "f", wish).await?;
    let OpenDelegation4::Write(write) = &file.opened.delegation else {
        panic!("{:?}", file.opened.delegation)
    };
    linux.delegreturn(&fh, write.stateid).await?;
    world.ends_without_leak().await
}
