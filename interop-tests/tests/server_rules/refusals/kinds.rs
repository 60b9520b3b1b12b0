//! Kinds of what is made, and attributes.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{name, putfh, user};
use wire::nfs4::*;

use super::{case, refused, refused_as};
use crate::world::World;

#[tokio::test]
async fn what_is_made_must_be_of_a_kind_that_create_makes() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let create = |objtype, size| {
        let attributes = Attributes {
            size,
            ..Attributes::default()
        };
        let args = Create4Args {
            objtype,
            objname: name("new"),
            createattrs: attributes.into(),
        };
        vec![putfh(&root), ArgOp::Create(args)]
    };
    let device = Specdata4 {
        specdata1: 1,
        specdata2: 2,
    };
    let cases = vec![
        case(
            "a file",
            create(Createtype4::Other(Ftype4::Reg), None),
            Nfsstat4::Badtype,
        ),
        case(
            "a folder with a size",
            create(Createtype4::Dir, Some(0)),
            Nfsstat4::Inval,
        ),
        case(
            "a link to nothing",
            create(Createtype4::Lnk(Bytes::new()), None),
            Nfsstat4::Inval,
        ),
        case(
            "a link to too much",
            create(Createtype4::Lnk("x".repeat(4096).into()), None),
            Nfsstat4::Nametoolong,
        ),
    ];
    refused(&a, cases).await?;
    let cases = vec![
        case(
            "a block device",
            create(Createtype4::Blk(device), None),
            Nfsstat4::Perm,
        ),
        case(
            "a character device",
            create(Createtype4::Chr(device), None),
            Nfsstat4::Perm,
        ),
    ];
    refused_as(&a, user(1000, 1000), cases).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn attributes_that_are_not_there_or_can_not_be_set_or_asked_are_refused() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let unsupported = || Fattr4::Unsupported {
        attr: 95,
        raw: RawFattr4 {
            attrmask: vec![0, 0, 1 << 31],
            attr_vals: Bytes::new(),
        },
    };
    let nameless = || {
        Fattr4::from(Attributes {
            owner: Some("no such user@nowhere".into()),
            ..Attributes::default()
        })
    };
    let fileid = || {
        Fattr4::from(Attributes {
            fileid: Some(1),
            ..Attributes::default()
        })
    };
    let set = |obj_attributes| {
        let args = Setattr4Args {
            stateid: Stateid4::ANONYMOUS,
            obj_attributes,
        };
        vec![putfh(&file.fh), ArgOp::Setattr(args)]
    };
    let create = |createattrs| {
        let args = Create4Args {
            objtype: Createtype4::Dir,
            objname: name("new"),
            createattrs,
        };
        vec![putfh(&root), ArgOp::Create(args)]
    };
    let open = |attributes| {
        let how = Openflag4::Create(Createhow4::Unchecked(attributes));
        vec![putfh(&root), ArgOp::Open(a.open_args("new", how))]
    };
    let mut cases = Vec::new();
    for (what, attributes, status) in [
        (
            "one that is not there",
            unsupported as fn() -> Fattr4,
            Nfsstat4::Attrnotsupp,
        ),
        ("an owner that is none", nameless, Nfsstat4::Badowner),
        ("one that is read alone", fileid, Nfsstat4::Inval),
    ] {
        for (verb, ops) in [
            ("SETATTR", set(attributes())),
            ("CREATE", create(attributes())),
            ("OPEN", open(attributes())),
        ] {
            cases.push(case(format!("{verb} {what}"), ops, status));
        }
    }
    let verify = |obj_attributes| {
        vec![
            putfh(&file.fh),
            ArgOp::Verify(Verify4Args { obj_attributes }),
        ]
    };
    let nverify = |obj_attributes| {
        vec![
            putfh(&file.fh),
            ArgOp::Nverify(Nverify4Args { obj_attributes }),
        ]
    };
    cases.push(case("VERIFY", verify(unsupported()), Nfsstat4::Attrnotsupp));
    cases.push(case(
        "NVERIFY",
        nverify(unsupported()),
        Nfsstat4::Attrnotsupp,
    ));
    let cleared = || {
        Fattr4::from(Attributes {
            size: Some(0),
            ..Attributes::default()
        })
    };
    let other = || {
        Fattr4::from(Attributes {
            size: Some(1),
            ..Attributes::default()
        })
    };
    cases.push(case(
        "VERIFY of another size",
        verify(other()),
        Nfsstat4::NotSame,
    ));
    cases.push(case(
        "NVERIFY of the same size",
        nverify(cleared()),
        Nfsstat4::Same,
    ));
    let ask = |attribute| {
        let attr_request = [attribute].into_iter().collect();
        vec![
            putfh(&file.fh),
            ArgOp::Getattr(Getattr4Args { attr_request }),
        ]
    };
    cases.push(case("GETATTR", ask(Attr::TimeModifySet), Nfsstat4::Inval));
    refused(&a, cases).await?;
    world.ends_without_leak().await
}
