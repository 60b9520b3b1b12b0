//! What part of the namespace a client sees, and as whom: exports, squash, the pseudo file system (RFC 8881 §7.3).

use anyhow::Result;
use headrace::metadata::ExportSpec;
use interop_tests::nfs41::{Client, StatusOf, anyone, putfh, user};
use mds::{Access, Squash};
use wire::nfs4::*;

use crate::world::{World, everything};

async fn exporting(exports: Vec<ExportSpec>) -> Result<World> {
    World::with(1, |spec| spec.exports = exports).await
}

fn foreign(path: &str) -> ExportSpec {
    ExportSpec {
        clients: vec!["192.0.2.0/24".parse().expect("a network")],
        ..everything(path)
    }
}

async fn names(client: &Client, directory: &Fh4) -> Result<Vec<String>> {
    let entries = client.readdir(directory, &[Attr::Fsid]).await?;
    Ok(entries
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
        .collect())
}

#[tokio::test]
async fn the_way_to_exports_shows_nothing_else() -> Result<()> {
    let world = exporting(vec![
        everything("/a/data"),
        everything("/b"),
        foreign("/a/secret"),
        foreign("/c"),
    ])
    .await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let mut shown = names(&a, &root).await?;
    shown.sort();
    assert_eq!(shown, ["a", "b"]);
    let way = a.lookup(&root, "a").await?;
    assert_eq!(names(&a, &way).await?, ["data"]);
    assert_eq!(a.walk("/a/secret").await.status(), Nfsstat4::Noent);
    assert_eq!(a.walk("/c").await.status(), Nfsstat4::Noent);
    assert_eq!(a.mkdir(&root, "new").await.status(), Nfsstat4::Rofs);
    let mut up = a
        .ok([
            putfh(&a.walk("/a/data").await?),
            ArgOp::Lookupp,
            ArgOp::Getfh,
        ])
        .await?;
    assert_eq!(up.getfh()?.object, way);
    world.ends_without_leak().await
}

#[tokio::test]
async fn nothing_is_renamed_or_linked_from_one_export_to_another() -> Result<()> {
    let world = exporting(vec![everything("/a"), everything("/b")]).await?;
    let client = world.client("a").await?;
    let (a, b) = (client.walk("/a").await?, client.walk("/b").await?);
    let file = client.open_create(&a, "f").await?;
    assert_eq!(
        client
            .rename((&a, "f"), (&b, "f"))
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Xdev
    );
    assert_eq!(
        client.link(&file.fh, &b, "f").await.status(),
        Nfsstat4::Xdev
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_of_a_foreign_network_gets_in_by_no_handle() -> Result<()> {
    let world = exporting(vec![everything("/a")]).await?;
    let client = world.client("a").await?;
    let fh = client.walk("/a").await?;
    world
        .running()
        .change_exports(&[foreign("/a")], &[], (&[], &[]))
        .await?;
    assert_eq!(
        client.getattr(&fh, &[Attr::Type]).await.status(),
        Nfsstat4::Access
    );
    assert_eq!(client.walk("/a").await.status(), Nfsstat4::Noent);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_read_only_export_is_read() -> Result<()> {
    let world = exporting(vec![everything("/a")]).await?;
    let client = world.client("a").await?;
    let directory = client.walk("/a").await?;
    let file = client.open_create(&directory, "f").await?;
    client.write(&file.fh, file.stateid, 0, "read me").await?;
    client.close(&file).await?;
    world
        .running()
        .change_exports(
            &[ExportSpec {
                access: Access::ReadOnly,
                ..everything("/a")
            }],
            &[],
            (&[], &[]),
        )
        .await?;
    for refused in [
        client.open(&directory, "f").await.map(|_| ()).status(),
        client
            .open_create(&directory, "g")
            .await
            .map(|_| ())
            .status(),
        client.mkdir(&directory, "d").await.map(|_| ()).status(),
        client.remove(&directory, "f").await.map(|_| ()).status(),
        client
            .rename((&directory, "f"), (&directory, "g"))
            .await
            .map(|_| ())
            .status(),
        client
            .truncate(&file.fh, Stateid4::ANONYMOUS, 0)
            .await
            .status(),
    ] {
        assert_eq!(refused, Nfsstat4::Rofs);
    }
    let reader = client.open_to_read(&directory, "f").await?;
    assert_eq!(
        world.to_write(&client, &reader).await.map(|_| ()).status(),
        Nfsstat4::Access
    );
    assert_eq!(
        world.to_read(&client, &reader).await?.read(0, 100).await?,
        b"read me"
    );
    assert_eq!(
        client
            .access(&directory, ACCESS4_MODIFY | ACCESS4_READ)
            .await?,
        ACCESS4_READ
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_squashed_root_is_nobody_and_a_user_stays_himself() -> Result<()> {
    let world = exporting(vec![ExportSpec {
        squash: Squash::Root,
        ..everything("/")
    }])
    .await?;
    let client = world.client("a").await?;
    let root = client.root().await?;
    let directory = client.mkdir(&root, "of_root").await?;
    let owners = [Attr::Owner, Attr::OwnerGroup];
    let told = client.getattr(&directory, &owners).await?;
    assert_eq!(
        (told.owner, told.owner_group),
        (Some("65534".into()), Some("65534".into()))
    );
    let create = ArgOp::Create(Create4Args {
        objtype: Createtype4::Dir,
        objname: "of_user".into(),
        createattrs: Attributes {
            mode: Some(0o700),
            ..Attributes::default()
        }
        .into(),
    });
    client
        .compound_as(user(1001, 100), [putfh(&root), create])
        .await?
        .ok()?;
    let told = client
        .getattr(&client.lookup(&root, "of_user").await?, &owners)
        .await?;
    assert_eq!(
        (told.owner, told.owner_group),
        (Some("1001".into()), Some("100".into()))
    );
    let inside = client.walk("/of_user").await?;
    assert_eq!(
        client.readdir(&inside, &[]).await.status(),
        Nfsstat4::Access
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn everybody_is_nobody_where_all_are_squashed_and_without_credentials() -> Result<()> {
    let all = ExportSpec {
        squash: Squash::All,
        anonymous: (7, 8),
        ..everything("/all")
    };
    let none = ExportSpec {
        anonymous: (9, 10),
        ..everything("/none")
    };
    let world = exporting(vec![all, none]).await?;
    let client = world.client("a").await?;
    for (path, credential, owner) in [("/all", user(1001, 100), "7"), ("/none", anyone(), "9")] {
        let directory = client.walk(path).await?;
        // Made for the export, by nobody in particular: opened to all for this.
        let id = world
            .catalog()
            .read()
            .lookup(
                catalog::InodeId::ROOT,
                path.trim_start_matches('/').as_bytes(),
            )
            .await?;
        assert!(id.is_some());
        let access = ArgOp::Access(Access4Args {
            access: ACCESS4_MODIFY,
        });
        let granted = client
            .compound_as(credential, [putfh(&directory), access])
            .await?
            .ok()?
            .access()?
            .access;
        assert_eq!(
            granted, 0,
            "{path}: root's folder is not changed by {owner}"
        );
    }
    world.ends_without_leak().await
}
