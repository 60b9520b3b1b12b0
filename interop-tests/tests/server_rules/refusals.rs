//! With what each operation fails, a kind of fault at a time. Here: names, and folders that are none or of
//! others. RFC 8881 §15.2 and §18. What needs a story of its own (grace, recalls, exports) is in the other files.

mod arguments;
mod callbacks;
mod data;
mod disks;
mod kinds;
mod sessions;
mod stateids;

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, OpenFile, name, putfh, root_user, user};
use wire::nfs4::*;
use wire::rpc::Credential;

use crate::world::World;

/// One request that must fail, and how.
struct Case {
    what: String,
    ops: Vec<ArgOp>,
    status: Nfsstat4,
}

fn case(what: impl Into<String>, ops: impl Into<Vec<ArgOp>>, status: Nfsstat4) -> Case {
    Case {
        what: what.into(),
        ops: ops.into(),
        status,
    }
}

/// Tries all of them, and tells all that went otherwise.
async fn refused_as(client: &Client, credential: Credential, cases: Vec<Case>) -> Result<()> {
    let mut wrong = Vec::new();
    for Case { what, ops, status } in cases {
        let last = ops.last().map(ArgOp::opnum);
        let reply = client.compound_as(credential.clone(), ops).await?;
        if (reply.status, reply.results.last().map(ResOp::opnum)) != (status, last) {
            wrong.push(format!("{what}: {status:?}, not {:?}", reply.statuses()));
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

async fn refused(client: &Client, cases: Vec<Case>) -> Result<()> {
    refused_as(client, root_user(), cases).await
}

/// Objects that are no files with data: a folder, a symbolic link, a FIFO.
async fn others_than_files(client: &Client, root: &Fh4) -> Result<[Fh4; 3]> {
    Ok([
        client.mkdir(root, "d").await?,
        client.symlink(root, "l", "f").await?,
        client.create(root, "p", Createtype4::Fifo).await?,
    ])
}

/// An open of a new file `f` by which nobody else may open it.
async fn denying(client: &Client, root: &Fh4, share_access: u32) -> Result<OpenFile> {
    let made = client.open_create(root, "f").await?;
    client.close(&made).await?;
    let mut args = client.open_args("f", Openflag4::NoCreate);
    args.share_access = share_access;
    args.share_deny = OPEN4_SHARE_DENY_BOTH;
    Ok(client.open_with(root, args).await?)
}

/// What the name is given to. The file that LINK and RENAME start from is saved before.
fn operations_on_a_name(client: &Client, saved: &Fh4, at: &Fh4, entry: &Bytes) -> Vec<Vec<ArgOp>> {
    let create = Create4Args {
        objtype: Createtype4::Dir,
        objname: entry.clone(),
        createattrs: Attributes::default().into(),
    };
    let mut open = client.open_args("", Openflag4::NoCreate);
    open.claim = OpenClaim4::Null(entry.clone());
    let mut open_create = open.clone();
    open_create.openhow = Openflag4::Create(Createhow4::Guarded(Attributes::default().into()));
    let link = ArgOp::Link(Link4Args {
        newname: entry.clone(),
    });
    vec![
        vec![putfh(at), ArgOp::Create(create)],
        vec![putfh(saved), ArgOp::Savefh, putfh(at), link],
        vec![
            putfh(at),
            ArgOp::Lookup(Lookup4Args {
                objname: entry.clone(),
            }),
        ],
        vec![putfh(at), ArgOp::Open(open)],
        vec![putfh(at), ArgOp::Open(open_create)],
        vec![
            putfh(at),
            ArgOp::Remove(Remove4Args {
                target: entry.clone(),
            }),
        ],
        vec![
            putfh(at),
            ArgOp::Secinfo(Secinfo4Args {
                name: entry.clone(),
            }),
        ],
    ]
}

fn rename(from: &Fh4, oldname: Bytes, to: &Fh4, newname: Bytes) -> Vec<ArgOp> {
    let rename = ArgOp::Rename(Rename4Args { oldname, newname });
    vec![putfh(from), ArgOp::Savefh, putfh(to), rename]
}

#[tokio::test]
async fn every_operation_on_a_name_refuses_what_is_no_name() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let mut cases = Vec::new();
    for (entry, status) in [
        (Bytes::new(), Nfsstat4::Inval),
        (name("."), Nfsstat4::Badname),
        (name(".."), Nfsstat4::Badname),
        (name("a/b"), Nfsstat4::Badchar),
        (name("a\0"), Nfsstat4::Badchar),
        (name(&"x".repeat(256)), Nfsstat4::Nametoolong),
    ] {
        for ops in operations_on_a_name(&a, &file.fh, &root, &entry) {
            cases.push(case(format!("{entry:?} {:?}", ops.last()), ops, status));
        }
        for (old, new) in [(&entry, &name("g")), (&name("f"), &entry)] {
            let ops = rename(&root, old.clone(), &root, new.clone());
            cases.push(case(format!("{old:?} to {new:?}"), ops, status));
        }
    }
    refused(&a, cases).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_on_a_name_wants_a_folder_and_tells_who_walks_of_a_link() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let link = a.symlink(&root, "l", "f").await?;
    let mut cases = Vec::new();
    for (at, is_link) in [(&file.fh, false), (&link, true)] {
        for ops in operations_on_a_name(&a, &file.fh, at, &name("x")) {
            let walks = matches!(
                ops.last(),
                Some(ArgOp::Lookup(_) | ArgOp::Open(_) | ArgOp::Link(_))
            );
            let status = if is_link && walks {
                Nfsstat4::Symlink
            } else {
                Nfsstat4::Notdir
            };
            cases.push(case(format!("{:?}", ops.last()), ops, status));
        }
        for (from, to) in [(at, &root), (&root, at)] {
            let ops = rename(from, name("f"), to, name("g"));
            cases.push(case("a rename", ops, Nfsstat4::Notdir));
        }
        let readdir = Readdir4Args {
            cookie: 0,
            cookieverf: Verifier4::default(),
            dircount: 1000,
            maxcount: 1000,
            attr_request: Bitmap4::EMPTY,
        };
        cases.push(case(
            "a listing",
            [putfh(at), ArgOp::Readdir(readdir)],
            Nfsstat4::Notdir,
        ));
    }
    cases.push(case(
        "up from a file",
        [putfh(&file.fh), ArgOp::Lookupp],
        Nfsstat4::Notdir,
    ));
    let parent = SecinfoNoName4Args {
        style: SecinfoStyle4::Parent,
    };
    cases.push(case(
        "the parent of a file",
        [putfh(&file.fh), ArgOp::SecinfoNoName(parent.clone())],
        Nfsstat4::Notdir,
    ));
    cases.push(case(
        "the parent of the root",
        [putfh(&root), ArgOp::SecinfoNoName(parent)],
        Nfsstat4::Noent,
    ));
    cases.push(case(
        "above the root",
        [putfh(&root), ArgOp::Lookupp],
        Nfsstat4::Noent,
    ));
    refused(&a, cases).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_on_a_name_that_is_not_there_or_is_taken_says_so() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let mut cases = Vec::new();
    for ops in operations_on_a_name(&a, &file.fh, &root, &name("f")) {
        let taken = match ops.last() {
            Some(ArgOp::Create(_) | ArgOp::Link(_)) => true,
            Some(ArgOp::Open(open)) => open.openhow != Openflag4::NoCreate,
            _ => false,
        };
        if taken {
            cases.push(case(format!("{:?}", ops.last()), ops, Nfsstat4::Exist));
        }
    }
    for ops in operations_on_a_name(&a, &file.fh, &root, &name("none")) {
        let wanted = match ops.last() {
            Some(ArgOp::Lookup(_) | ArgOp::Remove(_) | ArgOp::Secinfo(_)) => true,
            Some(ArgOp::Open(open)) => open.openhow == Openflag4::NoCreate,
            _ => false,
        };
        if wanted {
            cases.push(case(format!("{:?}", ops.last()), ops, Nfsstat4::Noent));
        }
    }
    cases.push(case(
        "a rename of nothing",
        rename(&root, name("none"), &root, name("g")),
        Nfsstat4::Noent,
    ));
    refused(&a, cases).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_on_a_name_in_a_folder_of_somebody_else_is_denied() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let folder = a.mkdir(&root, "mine").await?;
    let file = a.open_create(&folder, "f").await?;
    a.open_create(&root, "f").await?;
    let private = Attributes {
        mode: Some(0o700),
        ..Attributes::default()
    };
    a.setattr(&folder, Stateid4::ANONYMOUS, private).await?;
    let mut cases = Vec::new();
    for ops in operations_on_a_name(&a, &file.fh, &folder, &name("x")) {
        cases.push(case(format!("{:?}", ops.last()), ops, Nfsstat4::Access));
    }
    for (from, to) in [(&folder, &root), (&root, &folder)] {
        let ops = rename(from, name("f"), to, name("g"));
        cases.push(case("a rename", ops, Nfsstat4::Access));
    }
    let readdir = Readdir4Args {
        cookie: 0,
        cookieverf: Verifier4::default(),
        dircount: 1000,
        maxcount: 1000,
        attr_request: Bitmap4::EMPTY,
    };
    cases.push(case(
        "a listing",
        [putfh(&folder), ArgOp::Readdir(readdir)],
        Nfsstat4::Access,
    ));
    refused_as(&a, user(1000, 1000), cases).await?;
    world.ends_without_leak().await
}
