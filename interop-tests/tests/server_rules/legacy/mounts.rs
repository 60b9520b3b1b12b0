//! MOUNT, and whom exports let in: by MNT and by each call.

use anyhow::Result;
use headrace::metadata::{ExportSpec, ReferralSpec};
use interop_tests::nfs41::root_user;
use mds::{Access, Squash};
use nfs_client::{Caller, mount};
use wire::mount::{Dirpath, Exports, Mountlist, Mountstat3, Procedure};
use wire::nfs3::*;
use wire::nfs4::{NFS_V4, NFS4_PROGRAM};
use wire::rpc::{Accepted, ReplyBody};
use wire::xdr::{from_bytes, to_bytes};
use wire::{Xdr, mount as mount3};

use super::{
    Refused, client_of, connection, create, mkdir, mount_of, mounted, name, options, put, user,
    world, world_with,
};
use crate::world::{World, everything};

fn foreign(path: &str) -> ExportSpec {
    ExportSpec {
        clients: vec!["192.0.2.0/24".parse().expect("a network")],
        ..everything(path)
    }
}

async fn refused(world: &World, path: &str) -> Option<Mountstat3> {
    match mounted(world, path, &user(0)).await {
        Err(mount::MountError::Refused { status, .. }) => Some(status),
        _ => None,
    }
}

/// A call of MOUNT, with what it answers.
async fn asked<A: Xdr, R: Xdr>(world: &World, procedure: Procedure, args: &A) -> Result<R> {
    let call = (mount3::PROGRAM, mount3::VERSION, procedure as u32);
    let answer = connection(world).await?;
    let mut answer = answer.rpc(call, root_user(), &to_bytes(args)).await?;
    Ok(from_bytes(answer.result.rest())?)
}

#[tokio::test]
async fn where_nfsv3_is_off_older_clients_are_told_which_version_there_is() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let connection = connection(&world).await?;
    let verdict = async |program, version| {
        let answer = connection
            .rpc((program, version, 0), root_user(), &[])
            .await?;
        let ReplyBody::Accepted { status, .. } = answer.body else {
            anyhow::bail!("{:?}", answer.body)
        };
        Ok(status)
    };
    let mismatch = Accepted::ProgMismatch { low: 4, high: 4 };
    assert_eq!(verdict(PROGRAM, VERSION).await?, mismatch);
    let unavailable = Accepted::ProgUnavail;
    assert_eq!(
        verdict(mount3::PROGRAM, mount3::VERSION).await?,
        unavailable
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn versions_and_procedures_that_are_not_there_are_told_as_such() -> Result<()> {
    let world = world().await?;
    let connection = connection(&world).await?;
    let verdict = async |program, version, procedure| {
        let call = (program, version, procedure);
        let answer = connection.rpc(call, root_user(), &[]).await?;
        let ReplyBody::Accepted { status, .. } = answer.body else {
            anyhow::bail!("{:?}", answer.body)
        };
        Ok(status)
    };
    use Accepted::*;
    let nfs = ProgMismatch { low: 3, high: 4 };
    let mount = ProgMismatch { low: 3, high: 3 };
    for (program, version, procedure, expected) in [
        (PROGRAM, VERSION, 0, Success),
        (mount3::PROGRAM, mount3::VERSION, 0, Success),
        (NFS4_PROGRAM, NFS_V4, 0, Success),
        (PROGRAM, 2, 0, nfs),
        (mount3::PROGRAM, 1, 0, mount),
        (PROGRAM, VERSION, 22, ProcUnavail),
        (mount3::PROGRAM, mount3::VERSION, 6, ProcUnavail),
        (PROGRAM, VERSION, Procedure3::Getattr as u32, GarbageArgs),
        // The lock manager isn't there: clients mount with `nolock`.
        (100_021, 4, 0, ProgUnavail),
    ] {
        let told = verdict(program, version, procedure).await?;
        assert_eq!(told, expected, "{program} {version} {procedure}");
    }
    world.ends_without_leak().await
}

use wire::nfs3::Procedure as Procedure3;

#[tokio::test]
async fn a_path_is_mounted_by_whom_its_export_admits() -> Result<()> {
    let world = world_with(|spec| {
        spec.exports = vec![
            everything("/a/data"),
            everything("/b"),
            foreign("/a/secret"),
            foreign("/c"),
        ];
        spec.referrals = vec![ReferralSpec {
            path: "/b/gone".into(),
            servers: vec!["192.0.2.7".into()],
            remote_path: "/far".into(),
        }];
    })
    .await?;
    let caller = user(0);
    let client = client_of(&world, caller.clone());
    let data = mounted(&world, "/a/data", &caller).await?;
    let folder = mkdir(&client, &data, "d", 0o755).await?;
    create(&client, &folder, "f").await?;
    // A folder inside is mounted as well, however it is written.
    for path in ["/a/data/d", "//a/./data/d/"] {
        assert_eq!(mounted(&world, path, &caller).await?, folder);
    }
    // The way to exports shows them, and nothing can be changed on it.
    let root = mounted(&world, "/", &caller).await?;
    let way = client.lookup(&root, &name("a")).await?.object;
    assert_eq!(client.lookup(&way, &name("data")).await?.object, data);
    let made = client.mkdir(&root, &name("x"), Sattr3::default()).await;
    assert_eq!(made.refused(), Some(Nfsstat3::Rofs));
    for how in [
        Createhow3::Unchecked(Sattr3::default()),
        Createhow3::Guarded(Sattr3::default()),
        Createhow3::Exclusive(*b"verifier"),
    ] {
        for entry in ["c", "new"] {
            let made = client.create(&root, &name(entry), how.clone()).await;
            assert_eq!(made.refused(), Some(Nfsstat3::Rofs), "{entry}");
        }
    }
    let hidden = client.lookup(&way, &name("secret")).await;
    assert_eq!(hidden.refused(), Some(Nfsstat3::Noent));
    use Mountstat3::*;
    for (path, status) in [
        ("/a/secret", Acces),
        ("/c", Acces),
        ("/c/deeper", Acces),
        ("/nowhere", Noent),
        ("/a/data/nowhere", Noent),
        ("/a/data/d/f", Notdir),
        ("/a/data/d/f/x", Notdir),
        ("relative", Inval),
        ("", Inval),
        ("/a/../b", Inval),
        ("/b/gone", Notsupp),
    ] {
        assert_eq!(refused(&world, path).await, Some(status), "{path}");
    }
    let long = format!("/b/{}", "x".repeat(256));
    assert_eq!(refused(&world, &long).await, Some(Nametoolong));
    // What another server has is listed and can't be entered.
    let b = mounted(&world, "/b", &caller).await?;
    let entered = client.lookup(&b, &name("gone")).await;
    assert_eq!(entered.refused(), Some(Nfsstat3::Remote));
    let page = client.readdirplus(&b, 2, [0; 8], 4096, 4096).await?;
    let entry = &page.reply.entries[0];
    assert_eq!(entry.name, name("gone"));
    assert_eq!((entry.name_attributes, &entry.name_handle), (None, &None));
    world.ends_without_leak().await
}

#[tokio::test]
async fn exports_and_mounts_are_listed_for_those_who_may_mount() -> Result<()> {
    let world = world_with(|spec| spec.exports = vec![everything("/a"), foreign("/c")]).await?;
    let caller = user(0);
    let (host, port) = (world.address.ip(), Some(world.address.port()));
    let Exports(exports) = mount::exports(host, port, &caller, &options()).await?;
    let [export] = &exports[..] else {
        panic!("{exports:?}")
    };
    assert_eq!(&export.dir.bytes()[..], b"/a");
    assert_eq!(&export.groups[0].bytes()[..], b"127.0.0.0/8");
    let none: Mountlist = asked(&world, Procedure::Dump, &()).await?;
    assert_eq!(none, Mountlist::default());
    mounted(&world, "/a", &caller).await?;
    let Mountlist(mounts) = asked(&world, Procedure::Dump, &()).await?;
    assert_eq!(mounts.len(), 1);
    assert_eq!(&mounts[0].directory.bytes()[..], b"/a");
    let path = Dirpath::new("/a".to_owned()).expect("a short path");
    asked::<_, ()>(&world, Procedure::Umnt, &path).await?;
    let none: Mountlist = asked(&world, Procedure::Dump, &()).await?;
    assert_eq!(none, Mountlist::default());
    mounted(&world, "/a", &caller).await?;
    asked::<_, ()>(&world, Procedure::Umntall, &()).await?;
    let none: Mountlist = asked(&world, Procedure::Dump, &()).await?;
    assert_eq!(none, Mountlist::default());
    world.ends_without_leak().await
}

/// A handle gives no right by itself.
#[tokio::test]
async fn an_export_that_admits_a_client_no_more_refuses_each_of_its_calls() -> Result<()> {
    let world = world_with(|spec| spec.exports = vec![everything("/a")]).await?;
    let caller = user(0);
    let client = client_of(&world, caller.clone());
    let folder = mounted(&world, "/a", &caller).await?;
    let file = create(&client, &folder, "f").await?;
    let exporting = async |exports: &[ExportSpec]| {
        let running = world.running();
        running.change_exports(exports, &[], (&[], &[])).await
    };
    let read_only = ExportSpec {
        access: Access::ReadOnly,
        ..everything("/a")
    };
    for (exports, status) in [
        (foreign("/a"), Nfsstat3::Acces),
        (foreign("/b"), Nfsstat3::Stale),
    ] {
        exporting(&[exports]).await?;
        let answers = [
            client.getattr(&file).await.refused(),
            client.access(&file, 0x3f).await.refused(),
            client.read(&file, 0, 10).await.refused(),
            client.commit(&file, 0, 0).await.refused(),
            client.lookup(&folder, &name("f")).await.refused(),
            client
                .readdirplus(&folder, 0, [0; 8], 4096, 4096)
                .await
                .refused(),
            client.remove(&folder, &name("f")).await.refused(),
            client.fsstat(&folder).await.refused(),
            client.fsinfo(&folder).await.refused(),
            client.pathconf(&folder).await.refused(),
        ];
        assert_eq!(answers, [Some(status); 10]);
    }
    exporting(&[read_only]).await?;
    client.read(&file, 0, 10).await?;
    let answers = [
        client
            .setattr(&file, super::mode(0o600), None)
            .await
            .refused(),
        client.remove(&folder, &name("f")).await.refused(),
        client
            .mkdir(&folder, &name("d"), super::mode(0o755))
            .await
            .refused(),
        put(&client, &file, 0, "x")
            .await
            .err()
            .and_then(|error| error.downcast::<nfs_client::Error>().ok())
            .and_then(|error| error.status()),
    ];
    assert_eq!(answers, [Some(Nfsstat3::Rofs); 4]);
    let granted = client.access(&file, 0x3f).await?.access;
    assert_eq!(granted & (ACCESS3_MODIFY | ACCESS3_EXTEND), 0);
    exporting(&[everything("/a")]).await?;
    put(&client, &file, 0, "x").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_is_squashed_as_by_nfsv4() -> Result<()> {
    let world = world_with(|spec| {
        let squashed = |path: &str, squash| ExportSpec {
            squash,
            anonymous: (4000, 4001),
            ..everything(path)
        };
        spec.exports = vec![
            everything("/open"),
            squashed("/root", Squash::Root),
            squashed("/all", Squash::All),
        ];
    })
    .await?;
    let open = mounted(&world, "/open", &user(0)).await?;
    let root = client_of(&world, user(0));
    let anybodys = async |path: &str| {
        let folder = mounted(&world, path, &user(0)).await?;
        let of_nobody = root.mkdir(&folder, &name("d"), super::mode(0o755)).await;
        assert_eq!(of_nobody.refused(), Some(Nfsstat3::Acces), "{path}");
        Ok::<_, anyhow::Error>(folder)
    };
    // The folders of exports are root's.
    anybodys("/root").await?;
    anybodys("/all").await?;
    let made = create(&root, &open, "f").await?;
    assert_eq!(root.getattr(&made).await?.uid, 0);
    let nobody = client_of(&world, Caller::none());
    let folder = mkdir(&root, &open, "everybody's", 0o777).await?;
    let made = create(&nobody, &folder, "f").await?;
    assert_eq!(root.getattr(&made).await?.uid, 65_534, "AUTH_NONE");
    world.ends_without_leak().await
}

#[tokio::test]
async fn handles_outlive_a_restart() -> Result<()> {
    let mut world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let file = create(&client, &root, "f").await?;
    world.restart().await?;
    // The same client, over a new connection.
    let read = client.read(&file, 0, 10).await?;
    assert!(read.eof);
    let root_now = mounted(&world, "/", &user(0)).await?;
    assert_eq!(root_now, root);
    world.ends_without_leak().await
}
