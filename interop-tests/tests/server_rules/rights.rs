//! Who may do what: mode bits, owners, groups, the sticky bit, set-id bits. POSIX, RFC 8881 §6 and §18.30.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, Failure, OpenFile, Reply, name, putfh, user};
use wire::nfs4::*;

use crate::world::World;

const ALICE: u32 = 1001;
const BOB: u32 = 1002;

/// A client whose requests come from a user.
struct As<'a>(&'a Client, u32);

impl As<'_> {
    async fn ask(&self, ops: impl IntoIterator<Item = ArgOp>) -> Result<Reply, Failure> {
        self.0.compound_as(user(self.1, self.1), ops).await
    }

    async fn create(&self, directory: &Fh4, entry: &str, mode: u32) -> Result<OpenFile> {
        let attributes = Attributes {
            mode: Some(mode),
            ..Attributes::default()
        };
        let mut args = self.0.open_args(
            entry,
            Openflag4::Create(Createhow4::Unchecked(attributes.into())),
        );
        args.owner.owner = Bytes::from(format!("user {}", self.1));
        let mut reply = self
            .ask([putfh(directory), ArgOp::Open(args), ArgOp::Getfh])
            .await?
            .ok()?;
        let opened = reply.open()?;
        Ok(OpenFile {
            fh: reply.getfh()?.object,
            stateid: opened.stateid,
            opened,
        })
    }

    async fn open(&self, directory: &Fh4, entry: &str, share_access: u32) -> Result<Nfsstat4> {
        let mut args = self.0.open_args(entry, Openflag4::NoCreate);
        args.owner.owner = Bytes::from(format!("user {}", self.1));
        args.share_access = share_access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
        Ok(self
            .ask([putfh(directory), ArgOp::Open(args)])
            .await?
            .status)
    }

    async fn set(&self, fh: &Fh4, attributes: Attributes) -> Result<Nfsstat4> {
        let args = Setattr4Args {
            stateid: Stateid4::ANONYMOUS,
            obj_attributes: attributes.into(),
        };
        Ok(self.ask([putfh(fh), ArgOp::Setattr(args)]).await?.status)
    }

    async fn remove(&self, directory: &Fh4, entry: &str) -> Result<Nfsstat4> {
        let args = Remove4Args {
            target: name(entry),
        };
        Ok(self
            .ask([putfh(directory), ArgOp::Remove(args)])
            .await?
            .status)
    }
}

fn mode(mode: u32) -> Attributes {
    Attributes {
        mode: Some(mode),
        ..Attributes::default()
    }
}

fn owner(uid: u32) -> Attributes {
    Attributes {
        owner: Some(Bytes::from(uid.to_string())),
        ..Attributes::default()
    }
}

fn group(gid: u32) -> Attributes {
    Attributes {
        owner_group: Some(Bytes::from(gid.to_string())),
        ..Attributes::default()
    }
}

#[tokio::test]
async fn mode_bits_are_kept_by_class_and_the_owners_class_is_final() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let root = client.root().await?;
    let (alice, bob) = (As(&client, ALICE), As(&client, BOB));
    let file = alice.create(&root, "f", 0o600).await?;
    client.close(&file).await?;
    assert_eq!(
        alice.open(&root, "f", OPEN4_SHARE_ACCESS_BOTH).await?,
        Nfsstat4::Ok
    );
    assert_eq!(
        bob.open(&root, "f", OPEN4_SHARE_ACCESS_READ).await?,
        Nfsstat4::Access
    );
    assert_eq!(alice.set(&file.fh, mode(0o066)).await?, Nfsstat4::Ok);
    assert_eq!(
        bob.open(&root, "f", OPEN4_SHARE_ACCESS_BOTH).await?,
        Nfsstat4::Ok
    );
    assert_eq!(
        alice.open(&root, "f", OPEN4_SHARE_ACCESS_READ).await?,
        Nfsstat4::Access
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_creates_a_read_only_file_may_write_it_through_that_open() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let alice = As(&client, ALICE);
    let file = alice.create(&client.root().await?, "f", 0o444).await?;
    let args = Write4Args {
        stateid: file.stateid,
        offset: 0,
        stable: StableHow4::FileSync,
        data: "x".into(),
    };
    assert_eq!(
        alice
            .ask([putfh(&file.fh), ArgOp::Write(args)])
            .await?
            .status,
        Nfsstat4::Ok
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn only_owner_and_root_change_the_mode_and_only_root_the_owner() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let (alice, bob, root_user) = (As(&client, ALICE), As(&client, BOB), As(&client, 0));
    let fh = alice.create(&client.root().await?, "f", 0o666).await?.fh;
    assert_eq!(bob.set(&fh, mode(0o777)).await?, Nfsstat4::Perm);
    assert_eq!(alice.set(&fh, mode(0o640)).await?, Nfsstat4::Ok);
    assert_eq!(alice.set(&fh, owner(BOB)).await?, Nfsstat4::Perm);
    assert_eq!(
        alice.set(&fh, group(BOB)).await?,
        Nfsstat4::Perm,
        "not one of hers"
    );
    assert_eq!(root_user.set(&fh, owner(BOB)).await?, Nfsstat4::Ok);
    assert_eq!(
        client.getattr(&fh, &[Attr::Owner]).await?.owner,
        Some(Bytes::from("1002"))
    );
    assert_eq!(
        root_user
            .set(
                &fh,
                Attributes {
                    owner: Some("nobody@example".into()),
                    ..Attributes::default()
                }
            )
            .await?,
        Nfsstat4::Badowner
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn times_are_set_by_the_owner_and_to_now_by_who_may_write() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let (alice, bob) = (As(&client, ALICE), As(&client, BOB));
    let fh = alice.create(&client.root().await?, "f", 0o666).await?.fh;
    let at = |time| Attributes {
        time_modify_set: Some(time),
        ..Attributes::default()
    };
    let then = Settime4::ClientTime(Nfstime4 {
        seconds: 1,
        nseconds: 2,
    });
    assert_eq!(bob.set(&fh, at(then.clone())).await?, Nfsstat4::Perm);
    assert_eq!(bob.set(&fh, at(Settime4::ServerTime)).await?, Nfsstat4::Ok);
    assert_eq!(alice.set(&fh, at(then)).await?, Nfsstat4::Ok);
    assert_eq!(alice.set(&fh, mode(0o644)).await?, Nfsstat4::Ok);
    assert_eq!(
        bob.set(&fh, at(Settime4::ServerTime)).await?,
        Nfsstat4::Access
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_set_id_bit_goes_with_a_change_of_hands_and_with_a_write() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let (alice, bob, root_user) = (As(&client, ALICE), As(&client, BOB), As(&client, 0));
    let root = client.root().await?;
    let file = alice.create(&root, "f", 0o666).await?;
    let told = async || anyhow::Ok(client.getattr(&file.fh, &[Attr::Mode]).await?.mode);
    assert_eq!(alice.set(&file.fh, mode(0o6777)).await?, Nfsstat4::Ok);
    assert_eq!(told().await?, Some(0o6777));
    let args = Write4Args {
        stateid: Stateid4::ANONYMOUS,
        offset: 0,
        stable: StableHow4::FileSync,
        data: "x".into(),
    };
    bob.ask([putfh(&file.fh), ArgOp::Write(args)]).await?.ok()?;
    assert_eq!(told().await?, Some(0o777));
    assert_eq!(alice.set(&file.fh, mode(0o6777)).await?, Nfsstat4::Ok);
    assert_eq!(root_user.set(&file.fh, owner(BOB)).await?, Nfsstat4::Ok);
    assert_eq!(told().await?, Some(0o777));
    // A pipe's bits as well; those of a folder stay.
    for (entry, kind, left) in [
        ("pipe", Createtype4::Fifo, 0o555),
        ("folder", Createtype4::Dir, 0o6555),
    ] {
        let fh = client.create(&root, entry, kind).await?;
        assert_eq!(root_user.set(&fh, owner(ALICE)).await?, Nfsstat4::Ok);
        assert_eq!(root_user.set(&fh, mode(0o6555)).await?, Nfsstat4::Ok);
        assert_eq!(alice.set(&fh, group(ALICE)).await?, Nfsstat4::Ok);
        let shown = client.getattr(&fh, &[Attr::Mode]).await?.mode;
        assert_eq!(shown, Some(left), "{entry}");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_set_id_bit_goes_with_a_write_by_a_layout_whoever_tells_of_it() -> Result<()> {
    // Linux sends LAYOUTGET and LAYOUTCOMMIT in the right of whoever opened the file first (fact 57).
    let world = World::start().await?;
    let client = world.client("a").await?;
    let (alice, bob) = (As(&client, ALICE), As(&client, BOB));
    let root = client.root().await?;
    let file = alice.create(&root, "f", 0o666).await?;
    client.close(&file).await?;
    let of_root = client.open(&root, "f").await?;
    let held = world.to_write(&client, &of_root).await?;
    let told = async || anyhow::Ok(client.getattr(&file.fh, &[Attr::Mode]).await?.mode);
    assert_eq!(alice.set(&file.fh, mode(0o6777)).await?, Nfsstat4::Ok);
    held.write(0, "by root").await?;
    client.layoutcommit(&file.fh, held.stateid, Some(6)).await?;
    assert_eq!(told().await?, Some(0o6777));
    assert_eq!(
        bob.open(&root, "f", OPEN4_SHARE_ACCESS_WRITE).await?,
        Nfsstat4::Ok
    );
    held.write(7, "by bob").await?;
    client
        .layoutcommit(&file.fh, held.stateid, Some(12))
        .await?;
    assert_eq!(told().await?, Some(0o777));
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_set_id_bit_that_is_set_after_a_write_stays_though_the_write_is_told_of_later()
-> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let alice = As(&client, ALICE);
    let file = alice.create(&client.root().await?, "f", 0o700).await?;
    let held = world.to_write(&client, &file).await?;
    held.write(0, "first").await?;
    assert_eq!(alice.set(&file.fh, mode(0o4755)).await?, Nfsstat4::Ok);
    client.layoutcommit(&file.fh, held.stateid, Some(4)).await?;
    let told = async || anyhow::Ok(client.getattr(&file.fh, &[Attr::Mode]).await?.mode);
    assert_eq!(told().await?, Some(0o4755));
    held.write(5, "and then").await?;
    client
        .layoutcommit(&file.fh, held.stateid, Some(12))
        .await?;
    assert_eq!(told().await?, Some(0o755));
    world.ends_without_leak().await
}

#[tokio::test]
async fn in_a_sticky_folder_only_owners_take_names_away() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let (alice, bob) = (As(&client, ALICE), As(&client, BOB));
    let directory = client.mkdir(&client.root().await?, "tmp").await?;
    client
        .setattr(&directory, Stateid4::ANONYMOUS, mode(0o1777))
        .await?;
    alice.create(&directory, "f", 0o666).await?;
    bob.create(&directory, "g", 0o666).await?;
    assert!(matches!(
        bob.remove(&directory, "f").await?,
        Nfsstat4::Access | Nfsstat4::Perm
    ));
    let over = Rename4Args {
        oldname: name("g"),
        newname: name("f"),
    };
    let renamed = bob
        .ask([putfh(&directory), ArgOp::Savefh, ArgOp::Rename(over)])
        .await?
        .status;
    assert!(matches!(renamed, Nfsstat4::Access | Nfsstat4::Perm));
    assert_eq!(alice.remove(&directory, "f").await?, Nfsstat4::Ok);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_set_gid_folder_hands_its_group_down() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let alice = As(&client, ALICE);
    let directory = client.mkdir(&client.root().await?, "shared").await?;
    let shared = Attributes {
        mode: Some(0o2777),
        ..group(500)
    };
    client
        .setattr(&directory, Stateid4::ANONYMOUS, shared)
        .await?;
    let file = alice.create(&directory, "f", 0o644).await?;
    let sub = client.mkdir(&directory, "sub").await?;
    assert_eq!(
        client
            .getattr(&file.fh, &[Attr::OwnerGroup])
            .await?
            .owner_group,
        Some("500".into())
    );
    let told = client
        .getattr(&sub, &[Attr::OwnerGroup, Attr::Mode])
        .await?;
    assert_eq!(
        (told.owner_group, told.mode.map(|mode| mode & 0o2000)),
        (Some("500".into()), Some(0o2000))
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn access_tells_what_would_be_granted() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let (alice, bob) = (As(&client, ALICE), As(&client, BOB));
    let file = alice.create(&client.root().await?, "f", 0o640).await?;
    let everything = ACCESS4_READ
        | ACCESS4_LOOKUP
        | ACCESS4_MODIFY
        | ACCESS4_EXTEND
        | ACCESS4_DELETE
        | ACCESS4_EXECUTE;
    let ask = ArgOp::Access(Access4Args { access: everything });
    let of =
        async |who: &As<'_>| anyhow::Ok(who.ask([putfh(&file.fh), ask.clone()]).await?.access()?);
    assert_eq!(
        of(&alice).await?.access,
        ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND
    );
    assert_eq!(of(&bob).await?.access, 0);
    assert_eq!(
        of(&As(&client, 0)).await?.access & ACCESS4_EXECUTE,
        0,
        "root executes only what somebody may"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_folder_that_may_not_be_searched_hides_its_names() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let bob = As(&client, BOB);
    let directory = client.mkdir(&client.root().await?, "d").await?;
    client.open_create(&directory, "f").await?;
    client
        .setattr(&directory, Stateid4::ANONYMOUS, mode(0o744))
        .await?;
    let lookup = Lookup4Args { objname: name("f") };
    assert_eq!(
        bob.ask([putfh(&directory), ArgOp::Lookup(lookup)])
            .await?
            .status,
        Nfsstat4::Access
    );
    assert_eq!(bob.remove(&directory, "f").await?, Nfsstat4::Access);
    assert_eq!(
        bob.open(&directory, "f", OPEN4_SHARE_ACCESS_READ).await?,
        Nfsstat4::Access
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_truncate_needs_the_right_to_write_or_an_open_that_has_it() -> Result<()> {
    let world = World::start().await?;
    let client = world.client("a").await?;
    let (alice, bob) = (As(&client, ALICE), As(&client, BOB));
    let file = alice.create(&client.root().await?, "f", 0o444).await?;
    let size = || Attributes {
        size: Some(3),
        ..Attributes::default()
    };
    assert_eq!(bob.set(&file.fh, size()).await?, Nfsstat4::Access);
    assert_eq!(alice.set(&file.fh, size()).await?, Nfsstat4::Access);
    let args = Setattr4Args {
        stateid: file.stateid,
        obj_attributes: size().into(),
    };
    assert_eq!(
        alice
            .ask([putfh(&file.fh), ArgOp::Setattr(args)])
            .await?
            .status,
        Nfsstat4::Ok
    );
    world.ends_without_leak().await
}
