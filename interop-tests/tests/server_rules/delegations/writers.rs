//! What others see of a file whose holder writes by a delegation: CB_GETATTR, RFC 8881 §10.4.3.

use anyhow::Result;
use interop_tests::nfs41::{CallbackAnswer, StatusOf, delegated, recalled};
use wire::nfs4::*;

use super::{BOTH, READ, made, opened_at_last};
use crate::world::World;

const SHOWN: [Attr; 3] = [Attr::Size, Attr::Change, Attr::TimeModify];

#[tokio::test]
async fn another_client_is_shown_the_size_that_the_holder_tells() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    let before = a.getattr(&fh, &SHOWN).await?;
    a.callbacks.tell(Attributes {
        change: before.change.map(|change| change + 1),
        size: Some(4711),
        ..Attributes::default()
    });
    let shown = b.getattr(&fh, &SHOWN).await?;
    let CbArgOp::Getattr(asked) = a.callbacks.next().await? else {
        panic!("no CB_GETATTR")
    };
    assert_eq!(asked.fh, fh);
    assert_eq!(
        asked.attr_request,
        [Attr::Change, Attr::Size].into_iter().collect()
    );
    assert_eq!(shown.size, Some(4711));
    assert!(
        shown.change > before.change,
        "it was changed, everybody must see it"
    );
    assert!(shown.time_modify > before.time_modify);
    let again = b.getattr(&fh, &SHOWN).await?;
    assert!(again.change > shown.change, "and may have been again");
    // Nothing was written: the size was shown and not kept.
    a.delegreturn(&fh, stateid).await?;
    assert_eq!(b.size_of(&fh).await?, 0);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_that_its_holder_left_alone_keeps_its_change_attribute() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    a.open_delegated(&root, "f", BOTH).await?;
    let before = a.getattr(&fh, &SHOWN).await?;
    assert!(
        a.callbacks.is_quiet().await,
        "the holder isn't asked for itself"
    );
    a.callbacks.tell(Attributes {
        change: before.change,
        size: Some(0),
        ..Attributes::default()
    });
    assert_eq!(b.getattr(&fh, &SHOWN).await?, before);
    assert_eq!(
        b.getattr(&fh, &[Attr::Mode]).await?.mode,
        Some(0o644),
        "what the holder can't know better is not asked for"
    );
    a.callbacks.next().await?;
    assert!(a.callbacks.is_quiet().await);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_holder_that_does_not_tell_is_recalled() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    a.callbacks
        .answer_next(CallbackAnswer::Status(Nfsstat4::Notsupp));
    let asking = b.getattr(&fh, &SHOWN);
    let returning = async {
        a.callbacks.next().await?;
        assert_eq!(recalled(&a).await?.stateid, stateid);
        a.delegreturn(&fh, stateid).await
    };
    let (asked, returned) = tokio::join!(asking, returning);
    returned?;
    assert_eq!(asked?.size, Some(0));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_holder_that_hangs_makes_others_wait_a_bounded_time() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    a.open_delegated(&root, "f", BOTH).await?;
    a.callbacks.answer_all(CallbackAnswer::Silence);
    assert_eq!(
        b.getattr(&fh, &SHOWN).await.map(|_| ()).status(),
        Nfsstat4::Delay
    );
    Ok(())
}

#[tokio::test]
async fn what_was_written_through_a_layout_is_seen_while_the_delegation_is_out() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (file, _) = a.open_delegated(&root, "f", BOTH).await?;
    world
        .to_write(&a, &file)
        .await?
        .write(0, vec![7; 5000])
        .await?;
    let change = a.change_of(&fh).await?;
    a.callbacks.tell(Attributes {
        change: Some(change),
        size: Some(5000),
        ..Attributes::default()
    });
    assert_eq!(b.size_of(&fh).await?, 5000);
    Ok(())
}

#[tokio::test]
async fn a_reader_waits_for_the_writers_return_and_reads_what_was_flushed() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    let opening = opened_at_last(&b, &root, READ);
    let flushing = async {
        recalled(&a).await?;
        a.write(&fh, stateid, 0, "flushed").await?;
        let kept = a.open_by_delegation(&fh, BOTH, stateid).await?;
        a.delegreturn(&fh, stateid).await?;
        anyhow::Ok(kept)
    };
    let (opened, flushed) = tokio::join!(opening, flushing);
    let (opened, kept) = (opened?, flushed?);
    assert_eq!(delegated(&opened.opened.delegation), None);
    let read = b.read(&fh, opened.stateid, 0, 100).await?;
    assert_eq!(&read.data[..], b"flushed");
    a.write(&fh, kept.stateid, 0, "goes on").await?;
    world.ends_without_leak().await
}
