//! Delegations of folders: GET_DIR_DELEGATION, RFC 8881 §10.9 and §18.39.

use anyhow::Result;
use interop_tests::nfs41::{Client, Failure, StatusOf, getattr, putfh, recalled};
use wire::nfs4::*;

use super::made;
use crate::world::World;

async fn given(client: &Client, folder: &Fh4) -> Result<Stateid4, Failure> {
    match client.get_dir_delegation(folder).await? {
        GetDirDelegation4Ok::Ok(delegation) => Ok(delegation.stateid),
        unavailable @ GetDirDelegation4Ok::Unavail(_) => {
            Err(Failure::Unasked(format!("{unavailable:?}")))
        }
    }
}

#[tokio::test]
async fn a_folder_is_delegated_and_its_attributes_follow() -> Result<()> {
    // Fact 28: as Linux 7.2 asks, with each GETATTR of a folder.
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let folder = a.mkdir(&a.root().await?, "d").await?;
    let first = given(&a, &folder).await?;
    assert_eq!(
        a.get_dir_delegation(&folder).await?,
        GetDirDelegation4Ok::Unavail(false),
        "given again it could cross its own return on the wire"
    );
    let gone = a
        .ok([
            putfh(&folder),
            ArgOp::Delegreturn(Delegreturn4Args {
                deleg_stateid: first,
            }),
            getattr(&[Attr::Type]),
        ])
        .await?;
    assert_eq!(gone.status, Nfsstat4::Ok);
    let (_, file) = made(&a, "f").await?;
    assert_eq!(a.get_dir_delegation(&file).await.status(), Nfsstat4::Notdir);
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_change_of_an_entry_by_others_recalls_first() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let (_, file) = made(&b, "f").await?;
    for round in 0..7 {
        let folder = b.mkdir(&root, &format!("d{round}")).await?;
        let inside = b.open_create(&folder, "there").await?;
        b.close(&inside).await?;
        let stateid = given(&a, &folder).await?;
        let mode = Attributes {
            mode: Some(0o700),
            ..Attributes::default()
        };
        let change = async || match round {
            0 => b.open_create(&folder, "new").await.map(drop),
            1 => b.mkdir(&folder, "new").await.map(drop),
            2 => b.remove(&folder, "there").await.map(drop),
            3 => b.link(&file, &folder, "new").await.map(drop),
            4 => b.rename((&folder, "there"), (&root, "out")).await.map(drop),
            5 => b.rename((&root, "out"), (&folder, "in")).await.map(drop),
            _ => b
                .setattr(&folder, Stateid4::ANONYMOUS, mode.clone())
                .await
                .map(drop),
        };
        assert_eq!(change().await.status(), Nfsstat4::Delay, "round {round}");
        assert_eq!(recalled(&a).await?.stateid, stateid);
        a.delegreturn(&folder, stateid).await?;
        change().await?;
        assert_eq!(
            a.get_dir_delegation(&folder).await?,
            GetDirDelegation4Ok::Unavail(false),
            "a contended folder rests"
        );
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_changes_no_entry_recalls_nothing() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let folder = b.mkdir(&b.root().await?, "d").await?;
    let file = b.open_create(&folder, "f").await?;
    let stateid = given(&a, &folder).await?;
    given(&b, &folder).await?;
    b.write(&file.fh, file.stateid, 0, "contents").await?;
    b.open(&folder, "f").await?;
    b.readdir(&folder, &[Attr::Size]).await?;
    assert_eq!(b.remove(&folder, "nothing").await.status(), Nfsstat4::Noent);
    assert!(a.callbacks.is_quiet().await);
    a.delegreturn(&folder, stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn ones_own_changes_of_a_folder_recall_nothing_of_ones_own() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let folder = a.mkdir(&a.root().await?, "d").await?;
    let stateid = given(&a, &folder).await?;
    let file = a.open_create(&folder, "f").await?;
    a.close(&file).await?;
    a.rename((&folder, "f"), (&folder, "g")).await?;
    a.remove(&folder, "g").await?;
    assert!(a.callbacks.is_quiet().await);
    assert_eq!(a.test_stateids(&[stateid]).await?, [Nfsstat4::Ok]);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_folder_is_removed_once_its_delegation_is_back() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let folder = b.mkdir(&root, "d").await?;
    let stateid = given(&a, &folder).await?;
    assert_eq!(b.remove(&root, "d").await.status(), Nfsstat4::Delay);
    a.delegreturn(&folder, stateid).await?;
    b.remove(&root, "d").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_removes_a_folder_has_no_delegation_of_it_left() -> Result<()> {
    // Linux returns it after the removal, by a handle that is stale by then, and its unmount would wait.
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let removed = a.mkdir(&root, "removed").await?;
    let replaced = a.mkdir(&root, "replaced").await?;
    a.mkdir(&root, "new").await?;
    let held = [given(&a, &removed).await?, given(&a, &replaced).await?];
    a.remove(&root, "removed").await?;
    a.rename((&root, "new"), (&root, "replaced")).await?;
    assert!(a.callbacks.is_quiet().await);
    assert_eq!(
        a.test_stateids(&held).await?,
        [Nfsstat4::BadStateid, Nfsstat4::BadStateid]
    );
    a.destroy_session().await?;
    a.destroy_clientid().await?;
    world.ends_without_leak().await
}
