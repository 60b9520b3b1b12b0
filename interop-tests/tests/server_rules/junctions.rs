//! Files that a backend keeps in a tree of its own, shown at a junction: what a client sees of them, and
//! that it sees them as any other file.

mod listing;

use anyhow::{Context, Result};
use backend::tree::{Caller, MemoryTree, NodeChanges, Tree};
use bytes::Bytes;
use headrace::metadata::{BackendSpec, GivenTree, JunctionSpec, Keeper, NfsSpec};
use interop_tests::nfs41::{Client, ClientSetup, Failure, StatusOf, getattr, name, putfh, user};
use mds::Access;
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::nfs4::*;

use crate::world::{World, everything};

fn backend(tree: &MemoryTree) -> BackendSpec {
    BackendSpec {
        name: "shelf".into(),
        keeper: Keeper::Given(GivenTree(Arc::new(tree.clone()))),
        cache: None,
    }
}

fn junction(path: &str, access: Access) -> JunctionSpec {
    JunctionSpec {
        path: path.into(),
        backend: "shelf".into(),
        folder: "/".into(),
        access,
    }
}

/// A tree at /d/shelf, in which everybody may write.
async fn world(tree: &MemoryTree) -> Result<World> {
    open_to_all(tree).await?;
    World::with(1, |spec| {
        spec.backends = vec![backend(tree)];
        spec.junctions = vec![junction("/d/shelf", Access::ReadWrite)];
    })
    .await
}

async fn open_to_all(tree: &MemoryTree) -> Result<()> {
    let changes = NodeChanges {
        mode: Some(0o777),
        ..NodeChanges::default()
    };
    let root = tree.root().await?.handle;
    tree.set(&Caller::root(), &root, &changes).await?;
    Ok(())
}

/// Users 1001 and 1002.
async fn owner_and_stranger(world: &World) -> Result<(Client, Client)> {
    let setup = |name: &str, uid| ClientSetup::named(name).with_credential(user(uid, uid));
    Ok((
        setup("owner", 1001).mount(world.address).await?,
        setup("stranger", 1002).mount(world.address).await?,
    ))
}

async fn listed(client: &Client, folder: &Fh4) -> Result<BTreeSet<Bytes>, Failure> {
    let entries = client.readdir(folder, &[Attr::Type, Attr::Fileid]).await?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

#[tokio::test]
async fn what_lies_in_a_backend_is_read_and_changed_through_the_mount() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    let file = client.open_create(&shelf, "f").await?;
    client.write(&file.fh, file.stateid, 0, "hello").await?;
    let read = client.read(&file.fh, file.stateid, 1, 100).await?;
    assert_eq!((&read.data[..], read.eof), (&b"ello"[..], true));
    client.close(&file).await?;
    // It is there, and not in the catalog.
    let root = tree.root().await?.handle;
    let node = tree
        .lookup(&Caller::root(), &root, &Bytes::from_static(b"f"))
        .await?;
    assert_eq!(node.stat.size, 5);
    let folder = client.mkdir(&shelf, "sub").await?;
    client.rename((&shelf, "f"), (&folder, "g")).await?;
    client.link(&file.fh, &shelf, "h").await?;
    client.symlink(&shelf, "to", "sub/g").await?;
    let link = client.lookup(&shelf, "to").await?;
    assert_eq!(client.readlink(&link).await?, "sub/g");
    assert_eq!(client.size_of(&file.fh).await?, 5);
    let names = ["sub", "h", "to"].map(name);
    assert_eq!(listed(&client, &shelf).await?, BTreeSet::from(names));
    client.remove(&folder, "g").await?;
    client.remove(&shelf, "sub").await?;
    let nlink = client.getattr(&file.fh, &[Attr::Numlinks]).await?.numlinks;
    assert_eq!(nlink, Some(1));
    client.remove(&shelf, "h").await?;
    assert_eq!(client.size_of(&file.fh).await.status(), Nfsstat4::Stale);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_junction_is_another_file_system_with_numbers_and_space_of_its_own() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    tree.set_capacity(1 << 30);
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d").await?;
    let shelf = client.lookup(&folder, "shelf").await?;
    let asked = [
        Attr::Fsid,
        Attr::Fileid,
        Attr::MountedOnFileid,
        Attr::SpaceTotal,
        Attr::SupportedAttrs,
    ];
    let (above, told) = (
        client.getattr(&folder, &asked).await?,
        client.getattr(&shelf, &asked).await?,
    );
    assert_ne!(above.fsid, told.fsid);
    assert_eq!(told.space_total, Some(1 << 30));
    let root = tree.root().await?.stat.fileid;
    assert_eq!(told.fileid, Some(root));
    // What a listing of the folder above tells is what it covers.
    let entries = client.readdir(&folder, &asked).await?;
    assert_eq!(entries[0].attrs.mounted_on_fileid, told.mounted_on_fileid);
    assert_eq!(entries[0].attrs.fsid, told.fsid);
    let supported = told.supported_attrs.context("it is told")?;
    assert!(!supported.contains(Attr::Acl), "it has no lists");
    // Names don't go across, and the root stays.
    client.open_create(&folder, "f").await?;
    let across = client.rename((&folder, "f"), (&shelf, "f")).await;
    assert_eq!(across.status(), Nfsstat4::Xdev);
    let file = client.lookup(&folder, "f").await?;
    assert_eq!(
        client.link(&file, &shelf, "f").await.status(),
        Nfsstat4::Xdev
    );
    assert_eq!(
        client.remove(&folder, "shelf").await.status(),
        Nfsstat4::Notempty
    );
    let up = client
        .ok([putfh(&shelf), ArgOp::Lookupp, ArgOp::Getfh])
        .await?
        .getfh()?
        .object;
    assert_eq!(up, folder);
    let inner = client.mkdir(&shelf, "inner").await?;
    let up = client
        .ok([putfh(&inner), ArgOp::Lookupp, ArgOp::Getfh])
        .await?
        .getfh()?
        .object;
    assert_eq!(up, shelf, "the root is known by one handle");
    world.ends_without_leak().await
}

#[tokio::test]
async fn opens_and_locks_in_a_junction_keep_others_out() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let shelf = a.walk("/d/shelf").await?;
    let mine = a.open_create(&shelf, "f").await?;
    let other = b.open(&shelf, "f").await?;
    a.lock(&mine, "editor", LockType4::WriteLt, (0, 10)).await?;
    let denied = b.lock(&other, "other", LockType4::WriteLt, (5, 10)).await;
    assert_eq!(denied.status(), Nfsstat4::Denied);
    a.close(&mine).await.status();
    b.close(&other).await?;
    let args = Open4Args {
        share_deny: OPEN4_SHARE_DENY_WRITE,
        ..a.open_args("f", Openflag4::NoCreate)
    };
    let alone = a.open_with(&shelf, args).await?;
    assert_eq!(b.open(&shelf, "f").await.status(), Nfsstat4::ShareDenied);
    let special = b
        .write(&alone.fh, Stateid4::ANONYMOUS, 0, "past the open")
        .await;
    assert_eq!(special.status(), Nfsstat4::Locked);
    Ok(())
}

#[tokio::test]
async fn creates_are_exclusive_guarded_or_take_what_is_there() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    let attributes = || Attributes {
        mode: Some(0o640),
        ..Attributes::default()
    };
    let exclusive = |byte: u8| {
        Openflag4::Create(Createhow4::Exclusive41(Creatverfattr {
            verf: Verifier4([byte; 8]),
            attrs: attributes().into(),
        }))
    };
    let retried = client.open_args("e", exclusive(1));
    client.open_with(&shelf, retried.clone()).await?;
    let made = client.open_with(&shelf, retried).await?;
    let taken = client
        .open_with(&shelf, client.open_args("e", exclusive(2)))
        .await;
    assert_eq!(taken.status(), Nfsstat4::Exist);
    let mode = client.getattr(&made.fh, &[Attr::Mode]).await?.mode;
    assert_eq!(mode, Some(0o640));
    let guarded = Openflag4::Create(Createhow4::Guarded(attributes().into()));
    let taken = client
        .open_with(&shelf, client.open_args("e", guarded))
        .await;
    assert_eq!(taken.status(), Nfsstat4::Exist);
    client.write(&made.fh, made.stateid, 0, "long").await?;
    let emptied = Openflag4::Create(Createhow4::Unchecked(
        Attributes {
            size: Some(0),
            ..Attributes::default()
        }
        .into(),
    ));
    client
        .open_with(&shelf, client.open_args("e", emptied))
        .await?;
    assert_eq!(client.size_of(&made.fh).await?, 0);
    Ok(())
}

#[tokio::test]
async fn mode_bits_of_a_tree_that_judges_nobody_are_kept_here() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let root = world.client("root").await?;
    let (owner, stranger) = owner_and_stranger(&world).await?;
    let shelf = root.walk("/d/shelf").await?;
    let file = owner.open_create(&shelf, "f").await?;
    let private = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    owner
        .setattr(&file.fh, Stateid4::ANONYMOUS, private.clone())
        .await?;
    let told = owner.getattr(&file.fh, &[Attr::Owner, Attr::Mode]).await?;
    assert_eq!((told.owner, told.mode), (Some(name("1001")), Some(0o600)));
    assert_eq!(stranger.open(&shelf, "f").await.status(), Nfsstat4::Access);
    let taken = stranger
        .setattr(&file.fh, Stateid4::ANONYMOUS, private)
        .await;
    assert_eq!(taken.status(), Nfsstat4::Perm);
    assert_eq!(stranger.access(&file.fh, ACCESS4_READ).await?, 0);
    let folder = owner.mkdir(&shelf, "mine").await?;
    let made = stranger.mkdir(&folder, "x").await;
    assert_eq!(made.status(), Nfsstat4::Access);
    owner.mkdir(&folder, "x").await?;
    assert_eq!(
        stranger.remove(&folder, "x").await.status(),
        Nfsstat4::Access
    );
    Ok(())
}

#[tokio::test]
async fn a_read_only_junction_takes_no_change() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    open_to_all(&tree).await?;
    let world = World::with(1, |spec| {
        spec.backends = vec![backend(&tree)];
        spec.junctions = vec![junction("/shelf", Access::ReadOnly)];
    })
    .await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/shelf").await?;
    let refused = [
        client.mkdir(&shelf, "x").await.status(),
        client.open_create(&shelf, "x").await.status(),
        client.remove(&shelf, "x").await.status(),
        client
            .setattr(
                &shelf,
                Stateid4::ANONYMOUS,
                Attributes {
                    mode: Some(0o700),
                    ..Attributes::default()
                },
            )
            .await
            .status(),
    ];
    assert_eq!(refused, [Nfsstat4::Rofs; 4]);
    Ok(())
}

#[tokio::test]
async fn junctions_come_and_go_while_handles_stay_what_they_are() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    open_to_all(&tree).await?;
    let mut world = World::start().await?;
    let client = world.client("a").await?;
    let folder = client.mkdir(&client.root().await?, "d").await?;
    let here = [everything("/")];
    let shown = [junction("/d/shelf", Access::ReadWrite)];
    let trees = [backend(&tree)];
    world
        .running()
        .change_exports(&here, &[], (&trees, &shown))
        .await?;
    let shelf = client.lookup(&folder, "shelf").await?;
    let file = client.open_create(&shelf, "f").await?;
    client.write(&file.fh, file.stateid, 0, "stays").await?;
    world
        .running()
        .change_exports(&here, &[], (&[], &[]))
        .await?;
    assert_eq!(client.size_of(&file.fh).await.status(), Nfsstat4::Stale);
    world
        .running()
        .change_exports(&here, &[], (&trees, &shown))
        .await?;
    assert_eq!(client.size_of(&file.fh).await?, 5);
    // Over a restart too, of this server.
    world.spec_mut().backends = trees.to_vec();
    world.spec_mut().junctions = shown.to_vec();
    world.restart().await?;
    let again = world.client("b").await?;
    assert_eq!(again.size_of(&file.fh).await?, 5);
    let walked = again.walk("/d/shelf/f").await?;
    assert_eq!(walked, file.fh);
    Ok(())
}

#[tokio::test]
async fn extended_attributes_of_a_tree_are_its_own() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    let file = client.open_create(&shelf, "f").await?;
    client
        .setxattr(&file.fh, SetxattrOption4::Create, "colour", "blue")
        .await?;
    let again = client
        .setxattr(&file.fh, SetxattrOption4::Create, "colour", "red")
        .await;
    assert_eq!(again.status(), Nfsstat4::Exist);
    assert_eq!(client.getxattr(&file.fh, "colour").await?, "blue");
    assert_eq!(
        client.getxattr(&file.fh, "headrace.backend").await?,
        "shelf"
    );
    let listed = client.listxattrs(&file.fh, 0, 4096).await?;
    assert_eq!((listed.names, listed.eof), (vec![name("colour")], true));
    client.removexattr(&file.fh, "colour").await?;
    let gone = client.getxattr(&file.fh, "colour").await;
    assert_eq!(gone.status(), Nfsstat4::Noxattr);
    Ok(())
}

#[tokio::test]
async fn who_looks_for_extended_attributes_where_there_can_be_none_finds_none() -> Result<()> {
    let tree = MemoryTree::new("shelf").without_xattrs();
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    let file = client.open_create(&shelf, "f").await?;
    let listed = client.listxattrs(&file.fh, 0, 4096).await?;
    assert_eq!((listed.names, listed.eof), (vec![], true));
    let got = client.getxattr(&file.fh, "colour").await;
    assert_eq!(got.status(), Nfsstat4::Noxattr);
    let removed = client.removexattr(&file.fh, "colour").await;
    assert_eq!(removed.status(), Nfsstat4::Noxattr);
    let set = client
        .setxattr(&file.fh, SetxattrOption4::Create, "colour", "blue")
        .await;
    assert_eq!(set.status(), Nfsstat4::Perm);
    assert_eq!(
        client.getxattr(&file.fh, "headrace.backend").await?,
        "shelf"
    );
    Ok(())
}

#[tokio::test]
async fn copies_go_from_and_to_a_junction_inside_the_server() -> Result<()> {
    let tree = MemoryTree::new("shelf").with_transfer_bytes(4096);
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let (shelf, root) = (client.walk("/d/shelf").await?, client.root().await?);
    let content: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let made = client.open_create(&root, "made").await?;
    client
        .write(&made.fh, made.stateid, 0, content.clone())
        .await?;
    let mut source = made;
    for (folder, entry) in [(&shelf, "there"), (&shelf, "beside"), (&root, "back")] {
        let target = client.open_create(folder, entry).await?;
        let copy = Copy4Args {
            src_stateid: source.stateid,
            dst_stateid: target.stateid,
            src_offset: 0,
            dst_offset: 0,
            count: 0,
            consecutive: true,
            synchronous: true,
            source_server: Vec::new(),
        };
        let ops = [
            putfh(&source.fh),
            ArgOp::Savefh,
            putfh(&target.fh),
            ArgOp::Copy(copy),
        ];
        let copied = client.ok(ops).await?.copy()?;
        assert_eq!(copied.response.count, 100_000, "to {entry}");
        source = target;
    }
    let mut read = Vec::new();
    while read.len() < content.len() {
        let offset = read.len() as u64;
        let more = client
            .read(&source.fh, source.stateid, offset, 1 << 20)
            .await?;
        read.extend_from_slice(&more.data);
    }
    assert!(read == content, "what came back is what was made");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_tree_that_judges_is_asked_in_the_callers_name() -> Result<()> {
    let tree = MemoryTree::new("shelf").judging();
    let world = world(&tree).await?;
    let root = world.client("root").await?;
    let (owner, stranger) = owner_and_stranger(&world).await?;
    let shelf = root.walk("/d/shelf").await?;
    let file = owner.open_create(&shelf, "f").await?;
    let private = Attributes {
        mode: Some(0o600),
        ..Attributes::default()
    };
    owner
        .setattr(&file.fh, Stateid4::ANONYMOUS, private)
        .await?;
    owner.write(&file.fh, file.stateid, 0, "mine").await?;
    let told = owner.getattr(&file.fh, &[Attr::Owner]).await?;
    assert_eq!(told.owner, Some(name("1001")));
    assert_eq!(stranger.open(&shelf, "f").await.status(), Nfsstat4::Access);
    let read = stranger.read(&file.fh, Stateid4::ANONYMOUS, 0, 4).await;
    assert_eq!(read.status(), Nfsstat4::Access);
    let wanted = ACCESS4_READ | ACCESS4_MODIFY;
    assert_eq!(owner.access(&file.fh, wanted).await?, wanted);
    assert_eq!(stranger.access(&file.fh, wanted).await?, 0);
    assert_eq!(root.open(&shelf, "f").await.status(), Nfsstat4::Ok);
    Ok(())
}

#[tokio::test]
async fn a_backend_that_is_away_makes_its_own_subtree_wait_and_nothing_else() -> Result<()> {
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let world = World::with(1, |spec| {
        spec.backends = vec![BackendSpec {
            name: "shelf".into(),
            keeper: Keeper::Nfs(NfsSpec {
                host: "127.0.0.1".into(),
                port,
                mount_port: Some(port),
                export: "/vol".into(),
            }),
            cache: None,
        }];
        spec.junctions = vec![junction("/d/shelf", Access::ReadWrite)];
    })
    .await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d").await?;
    let shelf = client.lookup(&folder, "shelf").await?;
    assert_eq!(client.size_of(&shelf).await.status(), Nfsstat4::Delay);
    assert_eq!(client.lookup(&shelf, "f").await.status(), Nfsstat4::Delay);
    let names = BTreeSet::from([name("shelf")]);
    assert_eq!(
        listed(&client, &folder).await?,
        names,
        "its folder is there"
    );
    client.open_create(&folder, "f").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_a_tree_can_not_do_is_told_as_such() -> Result<()> {
    let tree = MemoryTree::new("shelf");
    let world = world(&tree).await?;
    let client = world.client("a").await?;
    let shelf = client.walk("/d/shelf").await?;
    let file = client.open_create(&shelf, "f").await?;
    let layout = client
        .layoutget(&file.fh, file.stateid, Layoutiomode4::Read)
        .await;
    assert_eq!(layout.status(), Nfsstat4::Layoutunavailable);
    let layout = client
        .layoutget(&file.fh, file.stateid, Layoutiomode4::Rw)
        .await;
    assert_eq!(layout.status(), Nfsstat4::Layoutunavailable);
    let seek = ArgOp::Seek(Seek4Args {
        stateid: file.stateid,
        offset: 0,
        what: DataContent4::Hole,
    });
    let status = client.compound([putfh(&file.fh), seek]).await?.status;
    assert_eq!(status, Nfsstat4::Notsupp);
    let birth = client
        .compound([putfh(&file.fh), getattr(&[Attr::TimeCreate])])
        .await?;
    assert_eq!(birth.status, Nfsstat4::Ok, "left out, and no error");
    Ok(())
}
