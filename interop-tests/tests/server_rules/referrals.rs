//! Folders that lie on other servers: fs_locations and what goes with it (RFC 8881 §11).

use anyhow::{Context, Result};
use headrace::metadata::ReferralSpec;
use interop_tests::nfs41::{Client, Failure, StatusOf, getattr, name, putfh};
use wire::nfs4::*;

use crate::world::{World, everything};

pub fn referral(path: &str) -> ReferralSpec {
    ReferralSpec {
        path: path.into(),
        servers: vec!["192.0.2.7".into(), "192.0.2.8.8.2".into()],
        remote_path: "/far/away".into(),
    }
}

/// One inside the export of everything, with names of both kinds beside it.
async fn world() -> Result<World> {
    World::with(1, |spec| spec.referrals = vec![referral("/d/gone")]).await
}

fn lookup(entry: &str) -> ArgOp {
    ArgOp::Lookup(Lookup4Args {
        objname: name(entry),
    })
}

/// Its attributes, by its name, as a client asks that was sent away.
async fn at(client: &Client, folder: &Fh4, attrs: &[Attr]) -> Result<Attributes, Failure> {
    let ops = [putfh(folder), lookup("gone"), getattr(attrs)];
    Ok(*client.ok(ops).await?.getattr()?.obj_attributes)
}

fn path(names: &[&str]) -> Pathname4 {
    Pathname4(names.iter().map(|part| name(part)).collect())
}

#[tokio::test]
async fn who_walks_into_a_referral_is_told_where_it_is() -> Result<()> {
    let world = world().await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d").await?;
    let gone = client.lookup(&folder, "gone").await;
    assert_eq!(gone.status(), Nfsstat4::Moved);
    let asked = [
        Attr::Type,
        Attr::Fsid,
        Attr::Fileid,
        Attr::FsLocations,
        Attr::Mode,
        Attr::MountedOnFileid,
    ];
    let told = at(&client, &folder, &asked).await?;
    let here = client.getattr(&folder, &[Attr::Fsid]).await?.fsid;
    assert_ne!(told.fsid, here, "Linux takes one fsid for a migration");
    assert!(told.mounted_on_fileid.is_some());
    let locations = told.fs_locations.context("it is told where")?;
    assert_eq!(locations.fs_root, path(&["d", "gone"]));
    let expected = FsLocation4 {
        server: vec![name("192.0.2.7"), name("192.0.2.8.8.2")],
        rootpath: path(&["far", "away"]),
    };
    assert_eq!(locations.locations, [expected]);
    // What there is not is left out, and no error.
    assert_eq!((told.file_type, told.fileid, told.mode), (None, None, None));
    world.ends_without_leak().await
}

#[tokio::test]
async fn nothing_but_its_place_is_told_of_a_referral() -> Result<()> {
    let world = world().await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d").await?;
    let status = async |op: ArgOp| {
        let ops = [putfh(&folder), lookup("gone"), op];
        anyhow::Ok(client.compound(ops).await?.status)
    };
    let access = ArgOp::Access(Access4Args { access: 1 });
    let readdir = ArgOp::Readdir(Readdir4Args {
        cookie: 0,
        cookieverf: Verifier4::default(),
        dircount: 0,
        maxcount: 4096,
        attr_request: Bitmap4::EMPTY,
    });
    let create = ArgOp::Create(Create4Args {
        objtype: Createtype4::Dir,
        objname: name("x"),
        createattrs: Attributes::default().into(),
    });
    let verify = ArgOp::Verify(Verify4Args {
        obj_attributes: Attributes {
            file_type: Some(Ftype4::Dir),
            ..Attributes::default()
        }
        .into(),
    });
    for op in [
        ArgOp::Getfh,
        ArgOp::Savefh,
        ArgOp::Lookupp,
        access,
        readdir,
        create,
        verify,
        lookup("x"),
        getattr(&[Attr::Fsid, Attr::Type]),
        getattr(&[Attr::MountedOnFileid]),
    ] {
        let said = format!("{op:?}");
        assert_eq!(status(op).await?, Nfsstat4::Moved, "{said}");
    }
    // The next filehandle is another's, and all goes on.
    let ops = [putfh(&folder), lookup("gone"), putfh(&folder), ArgOp::Getfh];
    assert_eq!(client.compound(ops).await?.status, Nfsstat4::Ok);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_listing_tells_of_a_referral_what_it_may() -> Result<()> {
    let world = world().await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d").await?;
    client.mkdir(&folder, "here").await?;
    let listed = async |attrs: &[Attr]| {
        let entries = client.readdir(&folder, attrs).await?;
        let entry = entries.into_iter().find(|entry| entry.name == name("gone"));
        anyhow::Ok(entry.context("it is listed")?.attrs)
    };
    // As Linux asks, for names and for names with attributes.
    let told = listed(&[Attr::RdattrError, Attr::MountedOnFileid]).await?;
    assert_eq!(told.rdattr_error, Some(Nfsstat4::Moved));
    let number = told.mounted_on_fileid;
    assert!(number.is_some());
    let told = listed(&[
        Attr::RdattrError,
        Attr::Type,
        Attr::Fsid,
        Attr::Fileid,
        Attr::Filehandle,
        Attr::MountedOnFileid,
    ])
    .await?;
    assert_eq!(told.rdattr_error, Some(Nfsstat4::Moved));
    assert_eq!(told.mounted_on_fileid, number);
    assert_eq!((told.filehandle, told.file_type), (None, None));
    // Asked where it is, it is no error.
    let told = listed(&[Attr::RdattrError, Attr::FsLocations, Attr::Type]).await?;
    assert_eq!(told.rdattr_error, Some(Nfsstat4::Ok));
    assert!(told.fs_locations.is_some());
    // Without a place for the error the listing fails.
    let without = client.readdir(&folder, &[Attr::Type]).await;
    assert_eq!(without.status(), Nfsstat4::Moved);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_referral_is_not_removed_renamed_or_replaced() -> Result<()> {
    let world = world().await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d").await?;
    client.mkdir(&folder, "here").await?;
    let removed = client.remove(&folder, "gone").await;
    assert_eq!(removed.status(), Nfsstat4::Notempty);
    for (from, to) in [("gone", "there"), ("here", "gone")] {
        let renamed = client.rename((&folder, from), (&folder, to)).await;
        assert_eq!(renamed.status(), Nfsstat4::Xdev, "{from} to {to}");
    }
    assert_eq!(
        client.open(&folder, "gone").await.map(|_| ()).status(),
        Nfsstat4::Isdir
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_referral_beside_all_exports_is_found_in_the_pseudo_file_system() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.exports = vec![everything("/data")];
        spec.referrals = vec![referral("/d/gone")];
    })
    .await?;
    let client = world.client("a").await?;
    let root = client.root().await?;
    let entries = client.readdir(&root, &[Attr::Fsid]).await?;
    let names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [name("d"), name("data")]);
    let folder = client.walk("/d").await?;
    let told = at(&client, &folder, &[Attr::FsLocations]).await?;
    assert!(told.fs_locations.is_some());
    let attrs = [Attr::RdattrError, Attr::MountedOnFileid];
    let entries = client.readdir(&folder, &attrs).await?;
    assert_eq!(entries[0].attrs.rdattr_error, Some(Nfsstat4::Moved));
    world.ends_without_leak().await
}

#[tokio::test]
async fn referrals_come_and_go_while_the_server_runs() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let folder = client.mkdir(&client.root().await?, "d").await?;
    let gone = client.mkdir(&folder, "gone").await?;
    let here = [everything("/")];
    world
        .running()
        .change_exports(&here, &[referral("/d/gone")], (&[], &[]))
        .await?;
    // Also by a filehandle from before.
    let asked = client.getattr(&gone, &[Attr::Type]).await;
    assert_eq!(asked.status(), Nfsstat4::Moved);
    let told = client.getattr(&gone, &[Attr::FsLocations]).await?;
    assert_eq!(told.fs_locations.map(|told| told.locations.len()), Some(1));
    world
        .running()
        .change_exports(&here, &[], (&[], &[]))
        .await?;
    client.mkdir(&gone, "x").await?;
    // What is here is nowhere else.
    let told = client.getattr(&gone, &[Attr::FsLocations]).await?;
    let told = told.fs_locations.context("it is told")?;
    assert_eq!(told.locations, []);
    world.ends_without_leak().await
}
