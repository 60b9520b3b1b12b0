//! OPEN, CLOSE, OPEN_DOWNGRADE, and files without names: RFC 8881 §9 and §18.16.

use anyhow::Result;
use interop_tests::nfs41::{Client, Failure, OpenFile, StatusOf, putfh};
use std::time::Duration;
use wire::nfs4::*;

use crate::world::{World, until};

async fn open_sharing(
    client: &Client,
    at: &Fh4,
    access: u32,
    deny: u32,
) -> Result<OpenFile, Failure> {
    let mut args = client.open_args("f", Openflag4::NoCreate);
    args.share_access = access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    args.share_deny = deny;
    client.open_with(at, args).await
}

async fn downgrade(
    client: &Client,
    file: &OpenFile,
    share_access: u32,
    share_deny: u32,
) -> Result<Stateid4, Failure> {
    let args = OpenDowngrade4Args {
        open_stateid: file.stateid,
        seqid: 0,
        share_access,
        share_deny,
    };
    Ok(client
        .ok([putfh(&file.fh), ArgOp::OpenDowngrade(args)])
        .await?
        .open_downgrade()?
        .open_stateid)
}

#[tokio::test]
async fn a_denied_share_keeps_other_clients_out_until_the_close() -> Result<()> {
    // Invariant 3.
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    a.close(&a.open_create(&root, "f").await?).await?;
    let alone = open_sharing(&a, &root, OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_DENY_WRITE).await?;
    let write = open_sharing(&b, &root, OPEN4_SHARE_ACCESS_WRITE, OPEN4_SHARE_DENY_NONE)
        .await
        .map(|_| ());
    assert_eq!(write.status(), Nfsstat4::ShareDenied);
    let denies = open_sharing(&b, &root, OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_DENY_READ)
        .await
        .map(|_| ());
    assert_eq!(denies.status(), Nfsstat4::ShareDenied);
    open_sharing(&b, &root, OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_DENY_NONE).await?;
    a.close(&alone).await?;
    open_sharing(&b, &root, OPEN4_SHARE_ACCESS_WRITE, OPEN4_SHARE_DENY_NONE).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_unchecked_create_of_a_file_that_is_there_cuts_it_to_nothing_or_leaves_it() -> Result<()>
{
    // RFC 8881 §18.16.3: only a size of 0 counts, and not against others' denies.
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "12345678").await?;
    a.close(&file).await?;
    let again = |size| {
        let attributes = Attributes {
            size: Some(size),
            ..Attributes::default()
        };
        let how = Openflag4::Create(Createhow4::Unchecked(attributes.into()));
        a.open_args("f", how)
    };
    a.close(&a.open_with(&root, again(3)).await?).await?;
    assert_eq!(a.size_of(&file.fh).await?, 8);
    let denied = open_sharing(&b, &root, OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_DENY_WRITE).await?;
    let reading = Open4Args {
        share_access: OPEN4_SHARE_ACCESS_READ,
        ..again(0)
    };
    let refused = a.open_with(&root, reading.clone()).await.map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::ShareDenied);
    b.close(&denied).await?;
    a.close(&a.open_with(&root, reading).await?).await?;
    assert_eq!(a.size_of(&file.fh).await?, 0);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_downgrade_of_another_file_s_open_is_refused() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let (f, g) = (
        a.open_create(&root, "f").await?,
        a.open_create(&root, "g").await?,
    );
    let crossed = OpenFile {
        fh: g.fh.clone(),
        ..f
    };
    let refused = downgrade(&a, &crossed, OPEN4_SHARE_ACCESS_READ, 0)
        .await
        .map(|_| ());
    assert_eq!(refused.status(), Nfsstat4::BadStateid);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_second_open_of_one_owner_upgrades_the_first() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    a.close(&a.open_create(&root, "f").await?).await?;
    let read = open_sharing(&a, &root, OPEN4_SHARE_ACCESS_READ, 0).await?;
    let both = open_sharing(&a, &root, OPEN4_SHARE_ACCESS_WRITE, 0).await?;
    assert_eq!(
        (both.stateid.other, both.stateid.seqid),
        (read.stateid.other, read.stateid.seqid + 1)
    );
    a.write(&both.fh, both.stateid, 0, "x").await?;
    let downgraded = OpenFile {
        stateid: downgrade(&a, &both, OPEN4_SHARE_ACCESS_READ, 0).await?,
        ..both
    };
    let write = a
        .write(&downgraded.fh, downgraded.stateid, 0, "y")
        .await
        .map(|_| ());
    assert_eq!(write.status(), Nfsstat4::Openmode);
    let up = downgrade(&a, &downgraded, OPEN4_SHARE_ACCESS_BOTH, 0)
        .await
        .map(|_| ());
    assert_eq!(up.status(), Nfsstat4::Inval, "a downgrade never adds");
    a.close(&downgraded).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_closed_stateid_is_worth_nothing() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    a.close(&file).await?;
    assert_eq!(
        a.read(&file.fh, file.stateid, 0, 1)
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::BadStateid
    );
    assert_eq!(a.close(&file).await.status(), Nfsstat4::BadStateid);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_removed_file_that_is_open_is_read_and_written_until_the_close_and_then_gone()
-> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "still here").await?;
    b.remove(&root, "f").await?;
    assert_eq!(b.lookup(&root, "f").await.status(), Nfsstat4::Noent);
    assert_eq!(
        &a.read(&file.fh, file.stateid, 0, 100).await?.data[..],
        b"still here"
    );
    a.write(&file.fh, file.stateid, 10, "!").await?;
    assert_eq!(
        a.getattr(&file.fh, &[Attr::Numlinks]).await?.numlinks,
        Some(0)
    );
    assert_eq!(world.objects_of_files().await?, 1);
    a.close(&file).await?;
    until("its object is gone", async || {
        Ok(world.objects_of_files().await? == 0)
    })
    .await?;
    // Fact 26.
    assert_eq!(a.size_of(&file.fh).await.status(), Nfsstat4::Stale);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_renamed_over_stays_for_who_has_it_open() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "old").await?;
    let new = b.open_create(&root, "new").await?;
    b.write(&new.fh, new.stateid, 0, "new").await?;
    b.rename((&root, "new"), (&root, "f")).await?;
    assert_eq!(b.lookup(&root, "f").await?, new.fh);
    assert_eq!(
        &a.read(&file.fh, file.stateid, 0, 100).await?.data[..],
        b"old"
    );
    a.close(&file).await?;
    until("the old object is gone", async || {
        Ok(world.objects_of_files().await? == 1)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_without_names_goes_when_its_layout_is_taken_by_force() -> Result<()> {
    let world = World::with(2, |spec| spec.limits.recall = Duration::from_millis(200)).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    world.to_write(&a, &file).await?;
    a.remove(&root, "f").await?;
    a.close(&file).await?;
    // The script's client never returns a layout.
    until("its object is gone", async || {
        Ok(world.objects_of_files().await? == 0)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_without_names_goes_with_the_client_that_held_it() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.lease = Duration::from_hours(1);
        spec.limits.courtesy = Duration::from_hours(1);
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    world.to_write(&a, &file).await?;
    b.remove(&root, "f").await?;
    world.fall_silent(&[&b]).await?;
    world.let_pass_for(&[&b], Duration::from_mins(70)).await?;
    until("the silent client's object is gone", async || {
        b.root().await?;
        Ok(world.objects_of_files().await? == 0)
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_exclusive_create_sent_again_opens_the_same_file_and_another_is_told_exist() -> Result<()>
{
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let how = |byte| {
        let attrs = Attributes {
            mode: Some(0o640),
            ..Attributes::default()
        };
        Openflag4::Create(Createhow4::Exclusive41(Creatverfattr {
            verf: Verifier4([byte; 8]),
            attrs: attrs.into(),
        }))
    };
    let first = a.open_with(&root, a.open_args("f", how(1))).await?;
    let again = a.open_with(&root, a.open_args("f", how(1))).await?;
    assert_eq!(first.fh, again.fh);
    assert_eq!(
        b.open_with(&root, b.open_args("f", how(2)))
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Exist
    );
    assert_eq!(a.getattr(&first.fh, &[Attr::Mode]).await?.mode, Some(0o640));
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_exclusive_create_without_attributes_is_closed_to_others_until_they_are_set()
-> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let how = Openflag4::Create(Createhow4::Exclusive(Verifier4([1; 8])));
    let file = a.open_with(&root, a.open_args("f", how)).await?;
    // RFC 8881 §18.16.3: nothing was set, so that the client sets it all.
    assert_eq!(file.opened.attrset, Bitmap4::EMPTY);
    assert_eq!(a.getattr(&file.fh, &[Attr::Mode]).await?.mode, Some(0));
    let mode = Attributes {
        mode: Some(0o644),
        ..Attributes::default()
    };
    a.setattr(&file.fh, file.stateid, mode).await?;
    assert_eq!(a.getattr(&file.fh, &[Attr::Mode]).await?.mode, Some(0o644));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_guarded_create_of_a_name_that_is_there_is_told_exist() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    a.mkdir(&root, "d").await?;
    let file = a.open_create(&root, "f").await?;
    for entry in ["f", "d"] {
        let how = Openflag4::Create(Createhow4::Guarded(Attributes::default().into()));
        assert_eq!(
            a.open_with(&root, a.open_args(entry, how))
                .await
                .map(|_| ())
                .status(),
            Nfsstat4::Exist
        );
    }
    assert_eq!(a.open_create(&root, "f").await?.fh, file.fh);
    world.ends_without_leak().await
}

#[tokio::test]
async fn only_a_regular_file_is_opened() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    a.mkdir(&root, "d").await?;
    a.symlink(&root, "l", "d").await?;
    a.create(&root, "p", Createtype4::Fifo).await?;
    for (entry, status) in [
        ("d", Nfsstat4::Isdir),
        ("l", Nfsstat4::Symlink),
        ("p", Nfsstat4::WrongType),
        ("n", Nfsstat4::Noent),
    ] {
        assert_eq!(
            a.open(&root, entry).await.map(|_| ()).status(),
            status,
            "{entry}"
        );
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_open_by_filehandle_needs_no_name() -> Result<()> {
    // Linux reopens so, after a restart and for a second mode.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.rename((&root, "f"), (&root, "g")).await?;
    let args = Open4Args {
        claim: OpenClaim4::Fh,
        ..a.open_args("", Openflag4::NoCreate)
    };
    let again = a.open_with(&file.fh, args).await?;
    assert_eq!(again.stateid.other, file.stateid.other);
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_open_without_an_access_or_with_one_that_is_none_is_invalid() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    a.open_create(&root, "f").await?;
    assert_eq!(
        open_sharing(&a, &root, 0, 0).await.map(|_| ()).status(),
        Nfsstat4::Inval
    );
    assert_eq!(
        open_sharing(&a, &root, OPEN4_SHARE_ACCESS_READ, 4)
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Inval
    );
    world.ends_without_leak().await
}
