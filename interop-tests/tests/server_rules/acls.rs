//! Access control lists (RFC 8881 §6): set and shown, heeded by every operation, beside the mode, inherited.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, Failure, Reply, StatusOf, name, putfh, user};
use wire::nfs4::*;

use crate::world::World;

const ALICE: u32 = 1001;
const BOB: u32 = 1002;

const READ: u32 = ACE4_READ_DATA;
const WRITE: u32 = ACE4_WRITE_DATA | ACE4_APPEND_DATA;
const SEE: u32 = ACE4_READ_ATTRIBUTES | ACE4_READ_ACL | ACE4_SYNCHRONIZE;
const INHERITED: u32 = ACE4_FILE_INHERIT_ACE | ACE4_DIRECTORY_INHERIT_ACE;

fn ace(acetype: u32, flag: u32, who: &str, access_mask: u32) -> Nfsace4 {
    Nfsace4 {
        acetype,
        flag,
        access_mask,
        who: Bytes::copy_from_slice(who.as_bytes()),
    }
}

fn allow(who: &str, mask: u32) -> Nfsace4 {
    ace(ACE4_ACCESS_ALLOWED_ACE_TYPE, 0, who, mask)
}

fn deny(who: &str, mask: u32) -> Nfsace4 {
    ace(ACE4_ACCESS_DENIED_ACE_TYPE, 0, who, mask)
}

fn list(aces: &[Nfsace4]) -> Attributes {
    Attributes {
        acl: Some(aces.to_vec()),
        ..Attributes::default()
    }
}

fn mode(mode: u32) -> Attributes {
    Attributes {
        mode: Some(mode),
        ..Attributes::default()
    }
}

fn setattr(attributes: Attributes) -> ArgOp {
    ArgOp::Setattr(Setattr4Args {
        stateid: Stateid4::ANONYMOUS,
        obj_attributes: attributes.into(),
    })
}

async fn set(a: &Client, fh: &Fh4, attributes: Attributes) -> Result<Bitmap4, Failure> {
    a.setattr(fh, Stateid4::ANONYMOUS, attributes).await
}

async fn ask(a: &Client, uid: u32, fh: &Fh4, op: ArgOp) -> Result<Reply, Failure> {
    a.compound_as(user(uid, uid), [putfh(fh), op]).await
}

fn open(a: &Client, uid: u32, entry: &str, share: u32, how: Openflag4) -> ArgOp {
    let mut args = a.open_args(entry, how);
    args.owner.owner = Bytes::from(format!("user {uid}"));
    args.share_access = share | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    ArgOp::Open(args)
}

async fn opens(a: &Client, uid: u32, at: &Fh4, entry: &str, share: u32) -> Result<Nfsstat4> {
    let op = open(a, uid, entry, share, Openflag4::NoCreate);
    Ok(ask(a, uid, at, op).await?.status)
}

async fn mode_of(a: &Client, fh: &Fh4) -> Result<u32> {
    Ok(a.getattr(fh, &[Attr::Mode]).await?.mode.unwrap_or(u32::MAX))
}

#[tokio::test]
async fn a_file_without_a_list_shows_the_one_of_its_mode_and_a_set_one_moves_the_mode() -> Result<()>
{
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    set(&a, &fh, mode(0o640)).await?;
    let told = a.getattr(&fh, &[Attr::Acl, Attr::Aclsupport]).await?;
    assert_eq!(
        told.aclsupport,
        Some(ACL4_SUPPORT_ALLOW_ACL | ACL4_SUPPORT_DENY_ACL)
    );
    let of_group = allow("GROUP@", READ | SEE);
    let owners = READ | WRITE | SEE | ACE4_WRITE_ATTRIBUTES | ACE4_WRITE_ACL;
    let expected = [allow("OWNER@", owners), of_group, allow("EVERYONE@", SEE)];
    assert_eq!(told.acl.as_deref(), Some(&expected[..]));
    let change = a.change_of(&fh).await?;
    let asked = [
        allow("OWNER@", READ | WRITE),
        allow("1002", READ),
        allow("EVERYONE@", ACE4_EXECUTE),
    ];
    let done = set(&a, &fh, list(&asked)).await?;
    assert!(done.contains(Attr::Acl));
    let told = a.getattr(&fh, &[Attr::Acl, Attr::Dacl, Attr::Mode]).await?;
    assert_eq!(told.acl.as_deref(), Some(&asked[..]));
    assert_eq!(
        told.mode,
        Some(0o711),
        "everybody's counts for owner and group too"
    );
    assert_eq!(told.dacl.map(|list| list.aces), Some(asked.to_vec()));
    assert!(a.change_of(&fh).await? > change);
    world.ends_without_leak().await
}

#[tokio::test]
async fn open_and_access_heed_the_entries_in_order() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    let group = ace(
        ACE4_ACCESS_DENIED_ACE_TYPE,
        ACE4_IDENTIFIER_GROUP,
        "1002",
        READ,
    );
    let aces = [allow("1001", READ | WRITE), group, allow("EVERYONE@", READ)];
    set(&a, &fh, list(&aces)).await?;
    let (r, w) = (OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_ACCESS_WRITE);
    assert_eq!(opens(&a, ALICE, &root, "f", r | w).await?, Nfsstat4::Ok);
    assert_eq!(opens(&a, BOB, &root, "f", r).await?, Nfsstat4::Access);
    assert_eq!(opens(&a, 1003, &root, "f", r).await?, Nfsstat4::Ok);
    assert_eq!(opens(&a, 1003, &root, "f", w).await?, Nfsstat4::Access);
    let everything = ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_EXECUTE;
    for (uid, granted) in [
        (ALICE, ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND),
        (BOB, 0),
        (1003, ACCESS4_READ),
    ] {
        let op = ArgOp::Access(Access4Args { access: everything });
        assert_eq!(ask(&a, uid, &fh, op).await?.access()?.access, granted);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn chmod_bounds_a_list_and_gives_back_what_it_took() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    let aces = [allow("OWNER@", READ | WRITE), allow("1001", READ | WRITE)];
    set(&a, &fh, list(&aces)).await?;
    assert_eq!(mode_of(&a, &fh).await?, 0o600);
    let both = OPEN4_SHARE_ACCESS_BOTH;
    assert_eq!(opens(&a, ALICE, &root, "f", both).await?, Nfsstat4::Ok);
    set(&a, &fh, mode(0o604)).await?;
    assert_eq!(mode_of(&a, &fh).await?, 0o604);
    assert_eq!(
        opens(&a, ALICE, &root, "f", OPEN4_SHARE_ACCESS_READ).await?,
        Nfsstat4::Access,
        "the group's bits bound her, and everybody's don't let her in"
    );
    assert_eq!(
        opens(&a, BOB, &root, "f", OPEN4_SHARE_ACCESS_READ).await?,
        Nfsstat4::Ok
    );
    set(&a, &fh, mode(0o660)).await?;
    assert_eq!(opens(&a, ALICE, &root, "f", both).await?, Nfsstat4::Ok);
    // Both at once: the mode first, then the list.
    let both = Attributes {
        mode: Some(0o4777),
        ..list(&[allow("OWNER@", READ)])
    };
    set(&a, &fh, both).await?;
    assert_eq!(mode_of(&a, &fh).await?, 0o4400);
    let masked = |value_to_set, mask_bits| Attributes {
        mode_set_masked: Some(ModeMasked4 {
            value_to_set,
            mask_bits,
        }),
        ..Attributes::default()
    };
    set(&a, &fh, masked(0o2111, 0o6000)).await?;
    assert_eq!(
        mode_of(&a, &fh).await?,
        0o2400,
        "only bits of the mask change"
    );
    assert_eq!(
        a.getattr(&fh, &[Attr::Acl]).await?.acl.as_deref(),
        Some(&[allow("OWNER@", READ)][..]),
        "and a list isn't concerned by those"
    );
    assert_eq!(
        set(&a, &fh, masked(0, 0o10_000)).await.status(),
        Nfsstat4::Inval
    );
    let both = Attributes {
        mode: Some(0o600),
        ..masked(0, 1)
    };
    assert_eq!(set(&a, &fh, both).await.status(), Nfsstat4::Inval);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_list_that_makes_no_sense_is_refused() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.acl_entries = 8).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    let refused = async |aces: &[Nfsace4]| set(&a, &fh, list(aces)).await.status();
    let audit = ace(ACE4_SYSTEM_AUDIT_ACE_TYPE, 0x10, "EVERYONE@", READ);
    assert_eq!(refused(&[audit]).await, Nfsstat4::Attrnotsupp);
    for who in ["", "nobody@example", "INTERACTIVE@", "4294967295", "-1"] {
        assert_eq!(
            refused(&[allow(who, READ)]).await,
            Nfsstat4::Badowner,
            "{who}"
        );
    }
    assert_eq!(refused(&[allow("1", 1 << 25)]).await, Nfsstat4::Inval);
    let odd = ace(ACE4_ACCESS_ALLOWED_ACE_TYPE, 1 << 20, "1", READ);
    assert_eq!(refused(&[odd]).await, Nfsstat4::Attrnotsupp);
    let inheriting = ace(ACE4_ACCESS_ALLOWED_ACE_TYPE, INHERITED, "1", READ);
    assert_eq!(refused(&[inheriting]).await, Nfsstat4::Attrnotsupp);
    let for_none = ace(
        ACE4_ACCESS_ALLOWED_ACE_TYPE,
        ACE4_INHERIT_ONLY_ACE,
        "1",
        READ,
    );
    let refusal = set(&a, &root, list(&[for_none])).await.status();
    assert_eq!(refusal, Nfsstat4::Attrnotsupp);
    assert_eq!(refused(&vec![allow("1", READ); 9]).await, Nfsstat4::Nospc);
    assert_eq!(refused(&vec![allow("1", READ); 8]).await, Nfsstat4::Ok);
    let empty = Nfsacl41 {
        flag: 0,
        aces: Vec::new(),
    };
    let both = Attributes {
        dacl: Some(Box::new(empty.clone())),
        ..list(&[])
    };
    assert_eq!(set(&a, &fh, both).await.status(), Nfsstat4::Attrnotsupp);
    let audits = Attributes {
        sacl: Some(Box::new(empty)),
        ..Attributes::default()
    };
    assert_eq!(set(&a, &fh, audits).await.status(), Nfsstat4::Attrnotsupp);
    let link = a.symlink(&root, "l", "f").await?;
    assert_eq!(
        set(&a, &link, list(&[])).await.status(),
        Nfsstat4::Attrnotsupp
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn lists_grant_chmod_times_and_ownership_to_others_and_hide_what_they_deny() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    let alices = ACE4_WRITE_ACL | ACE4_WRITE_ATTRIBUTES | ACE4_WRITE_OWNER | SEE;
    set(&a, &fh, list(&[allow("1001", alices), deny("1002", SEE)])).await?;
    let status = async |uid, op: ArgOp| anyhow::Ok(ask(&a, uid, &fh, op).await?.status);
    let see = |attributes: &[Attr]| {
        ArgOp::Getattr(Getattr4Args {
            attr_request: attributes.iter().copied().collect(),
        })
    };
    assert_eq!(status(BOB, see(&[Attr::Size])).await?, Nfsstat4::Access);
    assert_eq!(status(BOB, see(&[Attr::Acl])).await?, Nfsstat4::Access);
    assert_eq!(
        status(BOB, see(&[Attr::Type, Attr::Fileid])).await?,
        Nfsstat4::Ok
    );
    assert_eq!(
        status(1003, see(&[Attr::Size])).await?,
        Nfsstat4::Ok,
        "nothing denies it"
    );
    assert_eq!(status(1003, see(&[Attr::Acl])).await?, Nfsstat4::Access);
    let readdir = Readdir4Args {
        cookie: 0,
        cookieverf: Verifier4::default(),
        dircount: 999,
        maxcount: 9999,
        attr_request: [Attr::RdattrError, Attr::Size].into_iter().collect(),
    };
    let entries = ask(&a, BOB, &root, ArgOp::Readdir(readdir))
        .await?
        .readdir()?;
    assert_eq!(
        entries.entries[0].attrs.rdattr_error,
        Some(Nfsstat4::Access)
    );
    let then = Attributes {
        time_modify_set: Some(Settime4::ClientTime(Nfstime4 {
            seconds: 5,
            nseconds: 0,
        })),
        ..Attributes::default()
    };
    assert_eq!(status(1003, setattr(then.clone())).await?, Nfsstat4::Perm);
    assert_eq!(status(ALICE, setattr(then)).await?, Nfsstat4::Ok);
    let to = |uid: u32| Attributes {
        owner: Some(Bytes::from(uid.to_string())),
        ..Attributes::default()
    };
    assert_eq!(
        status(ALICE, setattr(to(BOB))).await?,
        Nfsstat4::Perm,
        "not hers to give"
    );
    assert_eq!(status(1003, setattr(to(1003))).await?, Nfsstat4::Perm);
    assert_eq!(status(ALICE, setattr(mode(0o620))).await?, Nfsstat4::Ok);
    assert_eq!(status(ALICE, setattr(to(ALICE))).await?, Nfsstat4::Ok);
    assert_eq!(status(1003, setattr(mode(0o666))).await?, Nfsstat4::Perm);
    world.ends_without_leak().await
}

#[tokio::test]
async fn names_are_added_and_taken_away_by_the_rights_of_lists() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let folder = a.mkdir(&root, "d").await?;
    let file = a.open_create(&folder, "f").await?;
    a.close(&file).await?;
    let rights = |mask| list(&[allow("1001", ACE4_EXECUTE | SEE | mask)]);
    let status = async |op: ArgOp| anyhow::Ok(ask(&a, ALICE, &folder, op).await?.status);
    let make = |entry: &str| {
        ArgOp::Create(Create4Args {
            objtype: Createtype4::Dir,
            objname: name(entry),
            createattrs: mode(0o755).into(),
        })
    };
    let how = || Openflag4::Create(Createhow4::Guarded(mode(0o644).into()));
    let create = |entry| open(&a, ALICE, entry, OPEN4_SHARE_ACCESS_READ, how());
    let remove = |entry| {
        ArgOp::Remove(Remove4Args {
            target: name(entry),
        })
    };
    set(&a, &folder, rights(ACE4_WRITE_DATA)).await?;
    assert_eq!(status(create("x")).await?, Nfsstat4::Ok);
    assert_eq!(status(make("y")).await?, Nfsstat4::Access);
    set(&a, &folder, rights(ACE4_APPEND_DATA)).await?;
    assert_eq!(status(create("z")).await?, Nfsstat4::Access);
    assert_eq!(status(make("y")).await?, Nfsstat4::Ok);
    assert_eq!(status(remove("f")).await?, Nfsstat4::Access);
    set(&a, &file.fh, list(&[allow("1001", ACE4_DELETE)])).await?;
    let moved = Rename4Args {
        oldname: name("f"),
        newname: name("g"),
    };
    let renamed = a
        .compound_as(
            user(ALICE, ALICE),
            [putfh(&folder), ArgOp::Savefh, ArgOp::Rename(moved)],
        )
        .await?;
    assert_eq!(
        renamed.status,
        Nfsstat4::Access,
        "it may go, and no file may come"
    );
    assert_eq!(status(remove("f")).await?, Nfsstat4::Ok);
    set(&a, &folder, rights(ACE4_DELETE_CHILD)).await?;
    assert_eq!(status(remove("x")).await?, Nfsstat4::Ok);
    let access = ArgOp::Access(Access4Args {
        access: ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE,
    });
    let told = ask(&a, ALICE, &folder, access).await?.access()?;
    assert_eq!(told.access, ACCESS4_DELETE);
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_is_made_in_a_folder_inherits_and_the_umask_counts_only_without() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let folder = a.mkdir(&root, "d").await?;
    let below = ace(
        ACE4_ACCESS_ALLOWED_ACE_TYPE,
        INHERITED,
        "1001",
        READ | WRITE | ACE4_EXECUTE,
    );
    let owners = allow("OWNER@", READ | WRITE | ACE4_EXECUTE | SEE);
    let passes = allow("EVERYONE@", ACE4_EXECUTE | SEE);
    set(&a, &folder, list(&[owners, below, passes])).await?;
    let masked = |mode, umask| Attributes {
        mode_umask: Some(ModeUmask4 { mode, umask }),
        ..Attributes::default()
    };
    let create = async |at: &Fh4, entry, attributes: Attributes| {
        let how = Openflag4::Create(Createhow4::Guarded(attributes.into()));
        a.open_with(at, a.open_args(entry, how)).await
    };
    let (r, w) = (OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_ACCESS_WRITE);
    let open = create(&folder, "open", masked(0o666, 0o077)).await?;
    assert_eq!(mode_of(&a, &open.fh).await?, 0o600);
    assert_eq!(
        opens(&a, ALICE, &folder, "open", r | w).await?,
        Nfsstat4::Ok
    );
    assert_eq!(opens(&a, BOB, &folder, "open", r).await?, Nfsstat4::Access);
    // Bounded by the mode itself: a private file stays private.
    create(&folder, "private", masked(0o600, 0o077)).await?;
    assert_eq!(
        opens(&a, ALICE, &folder, "private", r).await?,
        Nfsstat4::Access
    );
    // Elsewhere the umask counts.
    let plain = create(&root, "plain", masked(0o666, 0o027)).await?;
    assert_eq!(mode_of(&a, &plain.fh).await?, 0o640);
    // A folder hands it on.
    let make = Create4Args {
        objtype: Createtype4::Dir,
        objname: name("sub"),
        createattrs: masked(0o777, 0o022).into(),
    };
    a.ok([putfh(&folder), ArgOp::Create(make)]).await?;
    let sub = a.lookup(&folder, "sub").await?;
    create(&sub, "deep", masked(0o666, 0o022)).await?;
    assert_eq!(opens(&a, ALICE, &sub, "deep", w).await?, Nfsstat4::Ok);
    // A mode without a umask bounds as chmod does; a list is taken as it is.
    create(&folder, "said", mode(0o640)).await?;
    assert_eq!(opens(&a, ALICE, &folder, "said", r).await?, Nfsstat4::Ok);
    assert_eq!(
        opens(&a, ALICE, &folder, "said", w).await?,
        Nfsstat4::Access
    );
    let own = create(&folder, "own", list(&[allow("1002", READ)])).await?;
    assert_eq!(opens(&a, ALICE, &folder, "own", r).await?, Nfsstat4::Access);
    assert_eq!(opens(&a, BOB, &folder, "own", r).await?, Nfsstat4::Ok);
    assert_eq!(mode_of(&a, &own.fh).await?, 0);
    // Of new files alone, and never asked for.
    assert_eq!(
        set(&a, &own.fh, masked(0o666, 0)).await.status(),
        Nfsstat4::Inval
    );
    assert_eq!(
        a.getattr(&own.fh, &[Attr::ModeUmask]).await.status(),
        Nfsstat4::Inval
    );
    let both = Attributes {
        mode: Some(0o644),
        ..masked(0o644, 0)
    };
    assert_eq!(
        create(&folder, "both", both).await.status(),
        Nfsstat4::Inval
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_list_outlives_a_restart() -> Result<()> {
    let mut world = World::start().await?;
    let a = world.client("a").await?;
    let fh = a.open_create(&a.root().await?, "f").await?.fh;
    let dacl = Nfsacl41 {
        flag: ACL4_AUTO_INHERIT,
        aces: vec![
            allow("OWNER@", READ),
            deny("7", WRITE),
            allow("EVERYONE@", READ),
        ],
    };
    let attributes = Attributes {
        dacl: Some(Box::new(dacl.clone())),
        ..Attributes::default()
    };
    set(&a, &fh, attributes).await?;
    world.crash_and_restart().await?;
    let b = world.client("b").await?;
    let told = b.getattr(&fh, &[Attr::Dacl]).await?.dacl;
    assert_eq!(told, Some(Box::new(dacl)));
    world.ends_without_leak().await
}
