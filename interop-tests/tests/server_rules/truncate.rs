//! Taking layouts away: recalls, fences, and truncates among writers. Invariants 5 and 6.

use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{CallbackAnswer, Client, Failure, OpenFile, StatusOf};
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::delegations::SEQ4_STATUS_RECALLABLE_STATE_REVOKED;
use crate::direct::{Held, Refused};
use crate::world::World;

/// A recall that nobody answers ends after a moment.
async fn impatient() -> Result<World> {
    World::with(2, |spec| spec.limits.recall = Duration::from_millis(200)).await
}

/// Two clients with one file open, the first with a layout to write it.
async fn shared(world: &World) -> Result<(Client, OpenFile, Held, Client, OpenFile)> {
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let mine = a.open_create(&root, "f").await?;
    let other = b.open(&root, "f").await?;
    let held = world.to_write(&a, &mine).await?;
    Ok((a, mine, held, b, other))
}

async fn recalled(client: &Client) -> Result<CbLayoutrecall4Args, Failure> {
    loop {
        if let CbArgOp::Layoutrecall(recall) = client.callbacks.next().await? {
            return Ok(recall);
        }
    }
}

#[tokio::test]
async fn a_truncate_waits_until_the_other_writer_returned_its_layout() -> Result<()> {
    // Facts 19, 23 and 24: the recall is of flexible files, over the fore channel's connection.
    let world = World::start().await?;
    let (a, mine, held, b, other) = shared(&world).await?;
    held.write(0, vec![1; 1000]).await?;
    let answer = async {
        let recall = recalled(&a).await?;
        assert_eq!(recall.layout_type, LAYOUT4_FLEX_FILES);
        let Layoutrecall4::File(file) = recall.recall else {
            panic!("of a file: {recall:?}")
        };
        assert_eq!(
            (file.fh, file.stateid.other),
            (mine.fh.clone(), held.stateid.other)
        );
        assert!(
            world
                .catalog()
                .read()
                .lookup(catalog::InodeId::ROOT, b"f")
                .await?
                .is_some()
        );
        // Nobody is kept from the file's size while the truncate waits: not who wrote and has yet to say so either.
        assert_eq!(a.size_of(&mine.fh).await?, 1000);
        a.layoutcommit(&mine.fh, held.stateid, Some(999)).await?;
        a.layoutreturn(&mine.fh, file.stateid, Layoutiomode4::Any)
            .await?;
        anyhow::Ok(())
    };
    let (truncated, answered) = tokio::join!(b.truncate(&other.fh, other.stateid, 10), answer);
    truncated?;
    answered?;
    assert_eq!(
        (a.size_of(&mine.fh).await?, b.size_of(&mine.fh).await?),
        (10, 10)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_that_answers_no_recall_is_fenced_with_acces_and_no_byte_of_it_lands() -> Result<()>
{
    // Fact 15, invariant 5.
    let world = impatient().await?;
    let (a, _mine, held, b, other) = shared(&world).await?;
    a.callbacks.answer_all(CallbackAnswer::Silence);
    held.write(0, vec![1; 1000]).await?;
    b.truncate(&other.fh, other.stateid, 0).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    assert_eq!(b.size_of(&other.fh).await?, 0);
    assert!(held.objects().await?.iter().all(|object| object.size == 0));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_that_took_notice_and_returns_nothing_is_fenced_as_well() -> Result<()> {
    let world = impatient().await?;
    let (_a, _mine, held, b, other) = shared(&world).await?;
    b.truncate(&other.fh, other.stateid, 0).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_truncate_is_not_undone_by_a_late_layoutcommit() -> Result<()> {
    // Invariant 6.
    let world = impatient().await?;
    let (a, mine, held, b, other) = shared(&world).await?;
    held.write(0, vec![1; 1000]).await?;
    b.truncate(&other.fh, other.stateid, 0).await?;
    let late = a
        .layoutcommit(&mine.fh, held.stateid, Some(999))
        .await
        .map(|_| ());
    assert_ne!(late.status(), Nfsstat4::Serverfault);
    assert_eq!(
        (a.size_of(&mine.fh).await?, b.size_of(&other.fh).await?),
        (0, 0)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_writer_that_truncates_keeps_its_layout() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, vec![1; 1000]).await?;
    a.truncate(&file.fh, file.stateid, 100).await?;
    held.write(100, "more").await?;
    a.layoutcommit(&file.fh, held.stateid, Some(103)).await?;
    assert_eq!(a.size_of(&file.fh).await?, 104);
    assert!(a.callbacks.is_quiet().await);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_write_past_a_truncate_leaves_zeroes_between() -> Result<()> {
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    held.write(0, vec![0xff; 200_000]).await?;
    a.truncate(&file.fh, file.stateid, 10).await?;
    held.write(150_000, "end").await?;
    a.layoutcommit(&file.fh, held.stateid, Some(150_002))
        .await?;
    let read = a.read(&file.fh, file.stateid, 0, 200_000).await?;
    assert_eq!(read.data.len(), 150_003);
    assert!(read.data[..10].iter().all(|byte| *byte == 0xff));
    assert!(
        read.data[10..150_000].iter().all(|byte| *byte == 0),
        "what was cut stays cut"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_truncate_that_lengthens_backs_every_byte_with_objects() -> Result<()> {
    // Invariant 8.
    let world = World::start().await?;
    let a = world.new_kernel("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let held = world.to_write(&a, &file).await?;
    a.truncate(&file.fh, file.stateid, 1_000_000).await?;
    assert!(
        held.objects()
            .await?
            .iter()
            .all(|object| object.size == 1_000_000)
    );
    assert_eq!(a.size_of(&file.fh).await?, 1_000_000);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_length_that_the_disk_cannot_have_is_too_large_and_leaves_the_file() -> Result<()> {
    /// More than ext4 takes; others take it.
    const LENGTH: u64 = 999_999_999_999_999;
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let told = a.truncate(&file.fh, file.stateid, LENGTH).await.status();
    let expected = match told {
        Nfsstat4::Ok => LENGTH,
        Nfsstat4::Fbig => 0,
        other => panic!("{other:?}"),
    };
    assert_eq!(a.size_of(&file.fh).await?, expected);
    // Whatever came of it, the next goes well.
    a.truncate(&file.fh, file.stateid, 1000).await?;
    assert_eq!(a.size_of(&file.fh).await?, 1000);
    world.ends_without_leak().await
}

#[tokio::test]
async fn no_layout_is_given_while_one_is_being_recalled() -> Result<()> {
    // RFC 8881 §18.43.3: RECALLCONFLICT, or a wait that ends before a recall's.
    let world = World::start().await?;
    let (a, mine, held, b, other) = shared(&world).await?;
    let meanwhile = async {
        recalled(&a).await?;
        let refused = world.to_write(&a, &mine).await.map(|_| ());
        assert_eq!(refused.status(), Nfsstat4::Recallconflict);
        a.layoutreturn(&mine.fh, held.stateid, Layoutiomode4::Any)
            .await?;
        anyhow::Ok(())
    };
    let (truncated, done) = tokio::join!(b.truncate(&other.fh, other.stateid, 0), meanwhile);
    truncated?;
    done?;
    world.to_write_at_last(&a, &mine).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_that_knows_no_such_layout_cannot_write_with_it_later() -> Result<()> {
    // Linux answers so while the reply to its LAYOUTGET is still on its way, and then writes.
    let world = World::start().await?;
    let (a, _mine, held, b, other) = shared(&world).await?;
    a.callbacks
        .answer_all(CallbackAnswer::Status(Nfsstat4::NomatchingLayout));
    b.truncate(&other.fh, other.stateid, 0).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    // Told that something was revoked, Linux would give up its other layouts in the midst of writing.
    let flags = a.ok([]).await?.sequence()?.status_flags;
    assert_eq!(flags & SEQ4_STATUS_RECALLABLE_STATE_REVOKED, 0);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_that_knows_its_layout_in_a_moment_keeps_the_right_to_return_it() -> Result<()> {
    // Asked back while the reply to its LAYOUTGET is on its way: what it has begun to write must not be lost.
    let world = World::start().await?;
    let (a, mine, held, b, other) = shared(&world).await?;
    let unknown = CallbackAnswer::Status(Nfsstat4::NomatchingLayout);
    a.callbacks.answer_next(unknown);
    a.callbacks.answer_next(unknown);
    let returns = async {
        for _ in 0..3 {
            recalled(&a).await?;
        }
        held.write(0, "begun").await?;
        a.layoutcommit(&mine.fh, held.stateid, Some(4)).await?;
        a.layoutreturn(&mine.fh, held.stateid, Layoutiomode4::Any)
            .await?;
        anyhow::Ok(())
    };
    let (truncated, returned) = tokio::join!(b.truncate(&other.fh, other.stateid, 3), returns);
    truncated?;
    returned?;
    let read = b.read(&other.fh, other.stateid, 0, 10).await?;
    assert_eq!(&read.data[..], b"beg");
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_open_that_truncates_cuts_what_others_wrote() -> Result<()> {
    let world = impatient().await?;
    let (_a, mine, held, b, _other) = shared(&world).await?;
    held.write(0, vec![1; 1000]).await?;
    let how = Createhow4::Unchecked(
        Attributes {
            size: Some(0),
            ..Attributes::default()
        }
        .into(),
    );
    b.open_with(&b.root().await?, b.open_args("f", Openflag4::Create(how)))
        .await?;
    assert_eq!(b.size_of(&mine.fh).await?, 0);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_fenced_client_gets_a_new_layout_and_writes_on() -> Result<()> {
    let world = impatient().await?;
    let (a, mine, held, b, other) = shared(&world).await?;
    b.truncate(&other.fh, other.stateid, 0).await?;
    assert_eq!(held.write(0, "late").await.refused(), Some(Nfsstat3::Acces));
    let again = world.to_write_at_last(&a, &mine).await?;
    again.write(0, "new").await?;
    a.layoutcommit(&mine.fh, again.stateid, Some(2)).await?;
    assert_eq!(b.size_of(&other.fh).await?, 3);
    world.ends_without_leak().await
}
