//! Changes of a folder told to holders of its delegation instead of recalling it: CB_NOTIFY, RFC 8881 §10.9
//! and §20.4.

use anyhow::{Context, Result};
use bytes::Bytes;
use interop_tests::nfs41::{CallbackAnswer, Client, ClientSetup, StatusOf, notified, recalled};
use wire::nfs4::*;
use wire::xdr;

use super::made;
use crate::world::World;

const ENTRIES: [u32; 3] = [
    NOTIFY4_REMOVE_ENTRY,
    NOTIFY4_ADD_ENTRY,
    NOTIFY4_RENAME_ENTRY,
];

/// A delegation of `folder` with word of every change of an entry.
async fn given(client: &Client, folder: &Fh4) -> Result<Stateid4> {
    let asked = client
        .get_dir_delegation_with(folder, Bitmap4::of(&ENTRIES))
        .await?;
    let GetDirDelegation4Ok::Ok(delegation) = asked else {
        anyhow::bail!("{asked:?}");
    };
    assert_eq!(delegation.notification, Bitmap4::of(&ENTRIES));
    Ok(delegation.stateid)
}

/// What happened, in words.
fn said(change: &Notify4) -> Result<String> {
    let name = |entry: &NotifyEntry4| String::from_utf8_lossy(&entry.file).into_owned();
    let added = |add: &NotifyAdd4| match &add.old_entry[..] {
        [] => name(&add.new_entry),
        [old] => format!("{} for {}", name(&add.new_entry), name(&old.old_entry)),
        more => format!("{more:?}"),
    };
    let vals: Bytes = change.vals.clone();
    let is = |bit| change.mask == Bitmap4::of(&[bit]);
    if is(NOTIFY4_ADD_ENTRY) {
        Ok(format!("+{}", added(&xdr::from_bytes(vals)?)))
    } else if is(NOTIFY4_REMOVE_ENTRY) {
        let removed: NotifyRemove4 = xdr::from_bytes(vals)?;
        assert!(removed.old_entry_cookie > 2);
        Ok(format!("-{}", name(&removed.old_entry)))
    } else if is(NOTIFY4_RENAME_ENTRY) {
        let renamed: NotifyRename4 = xdr::from_bytes(vals)?;
        let from = name(&renamed.old_entry.old_entry);
        Ok(format!("{from} > {}", added(&renamed.new_entry)))
    } else {
        anyhow::bail!("{change:?}")
    }
}

/// The next `count` changes that a client is told of the folder.
async fn told(client: &Client, folder: &Fh4, count: usize) -> Result<Vec<String>> {
    let mut all = Vec::new();
    while all.len() < count {
        let notify = notified(client).await?;
        assert_eq!(notify.fh, *folder);
        for change in &notify.changes {
            all.push(said(change)?);
        }
    }
    Ok(all)
}

#[tokio::test]
async fn who_asked_is_told_of_every_change_of_an_entry_and_keeps_the_delegation() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let folder = a.mkdir(&root, "d").await?;
    let (_, outside) = made(&b, "outside").await?;
    let stateid = given(&a, &folder).await?;
    let file = b.open_create(&folder, "file").await?;
    b.close(&file).await?;
    b.mkdir(&folder, "folder").await?;
    b.link(&outside, &folder, "link").await?;
    b.rename((&folder, "file"), (&folder, "renamed")).await?;
    b.rename((&folder, "renamed"), (&folder, "link")).await?;
    b.rename((&folder, "link"), (&root, "out")).await?;
    b.rename((&root, "out"), (&folder, "in")).await?;
    b.rename((&root, "outside"), (&folder, "in")).await?;
    b.remove(&folder, "folder").await?;
    b.remove(&folder, "in").await?;
    let changes = told(&a, &folder, 10).await?;
    assert_eq!(
        changes,
        [
            "+file",
            "+folder",
            "+link",
            "file > renamed",
            "renamed > link for link",
            "-link",
            "+in",
            "+in for in",
            "-folder",
            "-in",
        ]
    );
    // Its own changes it knows.
    a.mkdir(&folder, "own").await?;
    a.remove(&folder, "own").await?;
    assert!(a.callbacks.is_quiet().await);
    assert_eq!(a.test_stateids(&[stateid]).await?, [Nfsstat4::Ok]);
    a.delegreturn(&folder, stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_was_not_asked_for_recalls_as_ever() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let folder = a.mkdir(&a.root().await?, "d").await?;
    b.mkdir(&folder, "there").await?;
    // Attributes are never told, and the cookie verifier never changes.
    let wanted = [
        NOTIFY4_CHANGE_CHILD_ATTRS,
        NOTIFY4_CHANGE_DIR_ATTRS,
        NOTIFY4_ADD_ENTRY,
        NOTIFY4_CHANGE_COOKIE_VERIFIER,
    ];
    let asked = a
        .get_dir_delegation_with(&folder, Bitmap4::of(&wanted))
        .await?;
    let GetDirDelegation4Ok::Ok(delegation) = asked else {
        anyhow::bail!("{asked:?}");
    };
    assert_eq!(
        delegation.notification,
        Bitmap4::of(&[NOTIFY4_ADD_ENTRY, NOTIFY4_CHANGE_COOKIE_VERIFIER])
    );
    b.mkdir(&folder, "new").await?;
    assert_eq!(told(&a, &folder, 1).await?, ["+new"]);
    let removing = b.remove(&folder, "there").await;
    assert_eq!(removing.status(), Nfsstat4::Delay);
    assert_eq!(recalled(&a).await?.stateid, delegation.stateid);
    // On its way back it is told no more, and stands in everybody's way.
    assert_eq!(b.mkdir(&folder, "newer").await.status(), Nfsstat4::Delay);
    a.delegreturn(&folder, delegation.stateid).await?;
    b.remove(&folder, "there").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn changes_made_side_by_side_are_told_in_an_order_that_could_have_been() -> Result<()> {
    const ROUNDS: usize = 20;
    let world = World::with(1, |_| {}).await?;
    let (a, b, c) = (
        world.client("a").await?,
        world.client("b").await?,
        world.client("c").await?,
    );
    let folder = a.mkdir(&a.root().await?, "d").await?;
    let stateid = given(&a, &folder).await?;
    // Both make and remove one name, each as soon as the other lets him.
    let churn = async |client: &Client| -> Result<()> {
        for _ in 0..ROUNDS {
            while client.mkdir(&folder, "x").await.is_err() {}
            client.remove(&folder, "x").await?;
        }
        Ok(())
    };
    let (by_b, by_c) = tokio::join!(churn(&b), churn(&c));
    by_b.and(by_c)?;
    let changes = told(&a, &folder, 4 * ROUNDS).await?;
    for pair in changes.chunks(2) {
        assert_eq!(pair, ["+x", "-x"], "{changes:?}");
    }
    a.delegreturn(&folder, stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_does_not_take_notice_is_asked_for_the_delegation() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let folder = a.mkdir(&a.root().await?, "d").await?;
    let stateid = given(&a, &folder).await?;
    // Before the reply with the delegation has reached it, the client knows of none.
    a.callbacks
        .answer_next(CallbackAnswer::Status(Nfsstat4::BadStateid));
    b.mkdir(&folder, "one").await?;
    for _ in 0..2 {
        assert_eq!(told(&a, &folder, 1).await?, ["+one"]);
    }
    a.callbacks
        .answer_next(CallbackAnswer::Status(Nfsstat4::Notsupp));
    b.mkdir(&folder, "two").await?;
    assert_eq!(told(&a, &folder, 1).await?, ["+two"]);
    let recall = recalled(&a).await.context("a recall")?;
    assert_eq!(recall.stateid, stateid);
    a.delegreturn(&folder, stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_change_that_is_too_long_for_the_back_channel_recalls_and_what_fits_is_told() -> Result<()>
{
    let world = World::with(1, |_| {}).await?;
    let mut setup = ClientSetup::named("a");
    setup.back.maxrequestsize = 400;
    let (a, b) = (setup.mount(world.address).await?, world.client("b").await?);
    let folder = a.mkdir(&a.root().await?, "d").await?;
    let stateid = given(&a, &folder).await?;
    b.mkdir(&folder, "short").await?;
    assert_eq!(told(&a, &folder, 1).await?, ["+short"]);
    b.mkdir(&folder, &"x".repeat(255)).await?;
    assert_eq!(recalled(&a).await?.stateid, stateid);
    a.delegreturn(&folder, stateid).await?;
    world.ends_without_leak().await
}
