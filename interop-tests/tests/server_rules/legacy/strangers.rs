//! Calls that come twice, and calls that make no sense.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Connection, root_user, user as user4};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wire::Xdr;
use wire::nfs3::*;
use wire::rpc::{Accepted, AuthStat, Credential, Denied, OpaqueAuth, ReplyBody};
use wire::xdr::{from_bytes, to_bytes};

use super::{connection, create, mkdir, mode, mount_of, name, world};

/// Sends a call under that number and gives its result.
async fn call<R: Xdr>(
    over: &Connection,
    xid: u32,
    procedure: Procedure,
    args: &impl Xdr,
) -> Result<R> {
    let target = (PROGRAM, VERSION, procedure as u32);
    let mut answer = over
        .rpc_of(xid, target, root_user(), &to_bytes(args))
        .await?;
    Ok(from_bytes(answer.result.rest())?)
}

fn at(dir: &Fh3, entry: &str) -> Diropargs3 {
    Diropargs3 {
        dir: dir.clone(),
        name: name(entry),
    }
}

/// A connection breaks before a reply comes, and its client sends the call again over the next one.
#[tokio::test]
async fn a_call_that_comes_again_gets_its_first_answer() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let mut xid = 1;
    macro_rules! twice {
        ($procedure:ident, $args:expr, $result:ty) => {{
            xid += 1;
            let (args, procedure) = ($args, Procedure::$procedure);
            let first: $result = call(&*connection(&world).await?, xid, procedure, &args).await?;
            let again: $result = call(&*connection(&world).await?, xid, procedure, &args).await?;
            assert_eq!(first, again);
            assert!(first.is_ok(), "{procedure}: {first:?}");
            // Another call of the same words is another call.
            xid += 1;
            let other: $result = call(&*connection(&world).await?, xid, procedure, &args).await?;
            other.err().map(|failed| failed.status)
        }};
    }
    use Nfsstat3::*;
    let made = Create3args {
        target: at(&root, "f"),
        how: Createhow3::Guarded(mode(0o644)),
    };
    assert_eq!(twice!(Create, made, Create3res), Some(Exist));
    let made = Mkdir3args {
        target: at(&root, "d"),
        attributes: mode(0o755),
    };
    assert_eq!(twice!(Mkdir, made, Mkdir3res), Some(Exist));
    let made = Symlink3args {
        target: at(&root, "s"),
        attributes: mode(0o777),
        data: Nfspath3::new(Bytes::from_static(b"f")).expect("it is short"),
    };
    assert_eq!(twice!(Symlink, made, Symlink3res), Some(Exist));
    let made = Mknod3args {
        target: at(&root, "p"),
        what: Mknoddata3::Fifo(mode(0o600)),
    };
    assert_eq!(twice!(Mknod, made, Mknod3res), Some(Exist));
    let file = client.lookup(&root, &name("f")).await?.object;
    let linked = Link3args {
        file: file.clone(),
        link: at(&root, "g"),
    };
    assert_eq!(twice!(Link, linked, Link3res), Some(Exist));
    let moved = Rename3args {
        from: at(&root, "g"),
        to: at(&root, "h"),
    };
    assert_eq!(twice!(Rename, moved, Rename3res), Some(Noent));
    let removed = Remove3args {
        object: at(&root, "h"),
    };
    assert_eq!(twice!(Remove, removed, Remove3res), Some(Noent));
    let removed = Rmdir3args {
        object: at(&root, "d"),
    };
    assert_eq!(twice!(Rmdir, removed, Rmdir3res), Some(Noent));
    let set = Setattr3args {
        object: file.clone(),
        new_attributes: mode(0o600),
        guard: Some(client.getattr(&file).await?.ctime),
    };
    assert_eq!(twice!(Setattr, set, Setattr3res), Some(NotSync));
    world.ends_without_leak().await
}

#[tokio::test]
async fn another_callers_call_of_the_same_number_is_not_taken_for_it() -> Result<()> {
    let world = world().await?;
    let (_, root) = mount_of(&world, 0).await?;
    let over = connection(&world).await?;
    let target = (PROGRAM, VERSION, Procedure::Mkdir as u32);
    let args = |entry| {
        to_bytes(&Mkdir3args {
            target: at(&root, entry),
            attributes: mode(0o755),
        })
    };
    let mut answers = Vec::new();
    for (credential, entry) in [
        (root_user(), "d"),
        (user4(1001, 1001), "d"),
        (root_user(), "e"),
        (root_user(), "d"),
    ] {
        let mut answer = over.rpc_of(7, target, credential, &args(entry)).await?;
        let made: Mkdir3res = from_bytes(answer.result.rest())?;
        answers.push(made.err().map(|failed| failed.status));
    }
    assert_eq!(answers, [None, Some(Nfsstat3::Exist), None, None]);
    world.ends_without_leak().await
}

/// What was told to come later is done when it comes, under the same number too.
#[tokio::test]
async fn an_answer_of_later_is_not_kept() -> Result<()> {
    use wire::nfs4::OPEN4_SHARE_ACCESS_READ;
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let file = create(&client, &root, "f").await?;
    let new = world.client("new").await?;
    let top = super::fh4(&root);
    let (_, delegation) = new
        .open_delegated(&top, "f", OPEN4_SHARE_ACCESS_READ)
        .await?;
    let over = connection(&world).await?;
    let removed = Remove3args {
        object: at(&root, "f"),
    };
    let first: Remove3res = call(&over, 9, Procedure::Remove, &removed).await?;
    assert_eq!(
        first.err().map(|failed| failed.status),
        Some(Nfsstat3::Jukebox)
    );
    new.delegreturn(&super::fh4(&file), delegation).await?;
    let again: Remove3res = call(&over, 9, Procedure::Remove, &removed).await?;
    assert!(again.is_ok(), "{again:?}");
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_says_who_he_is_in_no_way_known_is_told_so() -> Result<()> {
    let world = world().await?;
    let over = connection(&world).await?;
    let (_, root) = mount_of(&world, 0).await?;
    let args = to_bytes(&Getattr3args { object: root });
    let target = (PROGRAM, VERSION, Procedure::Getattr as u32);
    for (flavor, why) in [(6, AuthStat::TooWeak), (1, AuthStat::BadCred)] {
        let credential = Credential::Other(OpaqueAuth {
            flavor,
            body: wire::rpc::AuthBody::new(vec![1; 3]).expect("a short body"),
        });
        let answer = over.rpc(target, credential, &args).await?;
        assert_eq!(answer.body, ReplyBody::Denied(Denied::AuthError(why)));
    }
    world.ends_without_leak().await
}

/// Half of a call, more than a call, and bytes of chance: refused as garbage or by a status, and the server goes on.
#[tokio::test]
async fn calls_that_make_no_sense_are_refused_and_harm_nobody() -> Result<()> {
    let world = world().await?;
    let (client, root) = mount_of(&world, 0).await?;
    let folder = mkdir(&client, &root, "d", 0o755).await?;
    let file = create(&client, &folder, "f").await?;
    let over = connection(&world).await?;
    let handle = to_bytes(&file);
    let whole = [&handle[..], &[0xff; 64]].concat();
    let garbage = async |program, version, procedure, args: &[u8]| {
        let call = (program, version, procedure);
        let answer = over.rpc(call, root_user(), args).await?;
        let ReplyBody::Accepted { status, .. } = answer.body else {
            anyhow::bail!("{:?}", answer.body)
        };
        anyhow::Ok(status == Accepted::GarbageArgs)
    };
    for procedure in 1..22 {
        for length in [0, 3, 4, handle.len() - 1] {
            let cut = &whole[..length];
            assert!(garbage(PROGRAM, VERSION, procedure, cut).await?);
        }
        // No call goes on like this.
        assert!(garbage(PROGRAM, VERSION, procedure, &whole).await?);
    }
    for procedure in [1, 3] {
        let path = [0, 0, 0x10, 0];
        assert!(garbage(wire::mount::PROGRAM, wire::mount::VERSION, procedure, &path).await?);
    }
    let mut chance = StdRng::seed_from_u64(3);
    for round in 0..2000 {
        let procedure = chance.random_range(1..22);
        let mut args = if round % 2 == 0 {
            handle.to_vec()
        } else {
            to_bytes(&folder).to_vec()
        };
        for _ in 0..chance.random_range(0..24) {
            let word: u32 = match chance.random_range(0..4) {
                0 => chance.random(),
                1 => u32::MAX,
                _ => chance.random_range(0..5),
            };
            args.extend_from_slice(&word.to_be_bytes());
        }
        garbage(PROGRAM, VERSION, procedure, &args).await?;
    }
    // Handles that nobody was given.
    for length in 0..=64 {
        let object = Fh3::new(vec![length as u8; length]).expect("not too long");
        let answer = client.getattr(&object).await;
        let status = answer.err().and_then(|error| error.status());
        assert_eq!(status, Some(Nfsstat3::Badhandle));
    }
    client.getattr(&root).await?;
    world.ends_without_leak().await
}
