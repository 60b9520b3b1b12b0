//! Kinds of objects, rights, exports, sizes and names, each tried with every operation that minds. Which
//! those are, the page says.

use anyhow::Result;
use bytes::Bytes;
use headrace::metadata::ExportSpec;
use interop_tests::nfs41::{putfh, user};
use mds::Access;
use wire::nfs4::*;

use super::{Case, case, others_than_files, refused, refused_as};
use crate::operations::owed;
use crate::world::{World, everything};

/// On `fh`, which is saved too.
fn cases(fh: &Fh4, status: Nfsstat4, owed: Vec<(Opnum, ArgOp)>) -> Vec<Case> {
    let one = |(opnum, op)| case(format!("{opnum:?}"), [putfh(fh), ArgOp::Savefh, op], status);
    owed.into_iter().map(one).collect()
}

#[tokio::test]
async fn every_operation_says_what_kind_of_object_is_in_its_way() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let [folder, link, fifo] = others_than_files(&a, &root).await?;
    let mut wrong = cases(&folder, Nfsstat4::Isdir, owed(Nfsstat4::Isdir)?);
    wrong.extend(cases(&link, Nfsstat4::Symlink, owed(Nfsstat4::Symlink)?));
    let of_a_kind = owed(Nfsstat4::WrongType)?;
    wrong.extend(cases(&fifo, Nfsstat4::WrongType, of_a_kind));
    refused(&a, wrong).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_without_an_open_needs_the_right_itself() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let folder = a.mkdir(&root, "d").await?;
    let inner = a.mkdir(&folder, "inner").await?;
    let file = a.open_create(&root, "f").await?;
    for fh in [&inner, &file.fh] {
        let private = Attributes {
            mode: Some(0o600),
            ..Attributes::default()
        };
        a.setattr(fh, Stateid4::ANONYMOUS, private).await?;
    }
    let mut denied = Vec::new();
    for (opnum, mut op) in owed(Nfsstat4::Access)? {
        if let ArgOp::SecinfoNoName(args) = &mut op {
            args.style = SecinfoStyle4::Parent;
        }
        let at = match opnum {
            Opnum::Lookupp | Opnum::SecinfoNoName => &inner,
            _ => &file.fh,
        };
        denied.extend(cases(at, Nfsstat4::Access, vec![(opnum, op)]));
    }
    refused_as(&a, user(1000, 1000), denied).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_mark_on_a_sticky_folder_is_its_owner_s() -> Result<()> {
    // xattr(7).
    let world = World::start().await?;
    let a = world.client("a").await?;
    let folder = a.mkdir(&a.root().await?, "tmp").await?;
    let sticky = Attributes {
        mode: Some(0o1777),
        ..Attributes::default()
    };
    a.setattr(&folder, Stateid4::ANONYMOUS, sticky).await?;
    let refused = cases(&folder, Nfsstat4::Perm, owed(Nfsstat4::Perm)?);
    refused_as(&a, user(1000, 1000), refused).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_that_changes_is_refused_in_a_read_only_export() -> Result<()> {
    let world = World::with(1, |spec| spec.exports = vec![everything("/a")]).await?;
    let a = world.client("a").await?;
    let folder = a.walk("/a").await?;
    let file = a.open_create(&folder, "f").await?;
    let read_only = ExportSpec {
        access: Access::ReadOnly,
        ..everything("/a")
    };
    world
        .running()
        .change_exports(&[read_only], &[], (&[], &[]))
        .await?;
    let cases = cases(&file.fh, Nfsstat4::Rofs, owed(Nfsstat4::Rofs)?);
    refused(&a, cases).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_that_makes_a_file_longer_keeps_to_the_longest() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "data").await?;
    const FAR: u64 = 1 << 63;
    let mut beyond = Vec::new();
    for (opnum, mut op) in owed(Nfsstat4::Fbig)? {
        let long = || Attributes {
            size: Some(FAR),
            ..Attributes::default()
        };
        let mut at = &file.fh;
        match &mut op {
            ArgOp::Clone(args) => {
                (args.src_stateid, args.dst_stateid) = (file.stateid, file.stateid);
                args.dst_offset = FAR;
            }
            ArgOp::Deallocate(args) => args.offset = FAR,
            ArgOp::Open(_) => {
                let how = Createhow4::Guarded(long().into());
                op = ArgOp::Open(a.open_args("long", Openflag4::Create(how)));
                at = &root;
            }
            ArgOp::Setattr(args) => {
                args.stateid = file.stateid;
                args.obj_attributes = long().into();
            }
            ArgOp::Write(args) => {
                args.offset = FAR;
                args.data = "x".into();
            }
            ArgOp::WriteSame(args) => args.adb.offset = FAR,
            other => panic!("how does {other:?} make a file longer?"),
        }
        beyond.extend(cases(at, Nfsstat4::Fbig, vec![(opnum, op)]));
    }
    refused(&a, beyond).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_on_an_extended_attribute_refuses_what_is_no_name() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let named = |op: ArgOp, name: &Bytes| match op {
        ArgOp::Getxattr(mut args) => {
            args.name = name.clone();
            ArgOp::Getxattr(args)
        }
        ArgOp::Removexattr(mut args) => {
            args.name = name.clone();
            ArgOp::Removexattr(args)
        }
        other => panic!("{other:?} has no name of an attribute"),
    };
    let mut nameless = Vec::new();
    for (name, owed, status) in [
        (
            Bytes::from("a\0"),
            owed(Nfsstat4::Badchar)?,
            Nfsstat4::Badchar,
        ),
        (
            Bytes::from("x".repeat(256)),
            owed(Nfsstat4::Nametoolong)?,
            Nfsstat4::Nametoolong,
        ),
    ] {
        let owed = owed
            .into_iter()
            .map(|(opnum, op)| (opnum, named(op, &name)));
        nameless.extend(cases(&root, status, owed.collect()));
    }
    refused(&a, nameless).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn every_operation_refuses_arguments_without_a_meaning() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let error = || {
        Fattr4::from(Attributes {
            rdattr_error: Some(Nfsstat4::Ok),
            ..Attributes::default()
        })
    };
    let mut senseless = Vec::new();
    for (opnum, mut op) in owed(Nfsstat4::Inval)? {
        let mut at = &file.fh;
        match &mut op {
            ArgOp::Getxattr(args) => args.name = Bytes::new(),
            ArgOp::Removexattr(args) => args.name = Bytes::new(),
            ArgOp::Layoutcommit(args) => args.last_write_offset = Some(u64::MAX),
            // The reclaim of a layout is of one file's.
            ArgOp::Layoutreturn(args) => {
                args.reclaim = true;
                args.layoutreturn = Layoutreturn4::All;
            }
            ArgOp::Lockt(args) => args.length = 0,
            ArgOp::Locku(args) => args.length = 0,
            ArgOp::Verify(args) => args.obj_attributes = error(),
            ArgOp::Nverify(args) => args.obj_attributes = error(),
            ArgOp::Readdir(args) => {
                args.maxcount = 1000;
                args.attr_request = [Attr::TimeModifySet].into_iter().collect();
                at = &root;
            }
            other => panic!("what makes no sense to {other:?}?"),
        }
        senseless.extend(cases(at, Nfsstat4::Inval, vec![(opnum, op)]));
    }
    refused(&a, senseless).await?;
    world.ends_without_leak().await
}
