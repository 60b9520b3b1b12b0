//! Attributes, VERIFY, NVERIFY, and the operations that aren't there: RFC 8881 §5, RFC 7862 §12.

use anyhow::Result;
use interop_tests::nfs41::{ClientSetup, StatusOf, getattr, putfh};
use wire::nfs4::*;

use crate::world::World;

#[tokio::test]
async fn everything_supported_that_can_be_read_is_answered() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let supported = a
        .getattr(&root, &[Attr::SupportedAttrs])
        .await?
        .supported_attrs
        .unwrap_or_default();
    let set_only = [
        Attr::TimeAccessSet,
        Attr::TimeModifySet,
        Attr::ModeSetMasked,
        Attr::ModeUmask,
        Attr::TimeDelegAccess,
        Attr::TimeDelegModify,
    ];
    for attr in set_only {
        assert!(supported.contains(attr));
        assert_eq!(a.getattr(&root, &[attr]).await.status(), Nfsstat4::Inval);
    }
    let readable: Vec<Attr> = supported
        .attributes()
        .filter(|attr| !set_only.contains(attr))
        .collect();
    let told = a.getattr(&root, &readable).await?;
    assert_eq!(told.mask(), readable.iter().copied().collect());
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_exclusive_create_may_set_what_suppattr_exclcreat_names() -> Result<()> {
    // Fact 26.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let told = a
        .getattr(&a.root().await?, &[Attr::SuppattrExclcreat])
        .await?
        .suppattr_exclcreat
        .unwrap_or_default();
    for needed in [
        Attr::Size,
        Attr::Mode,
        Attr::Owner,
        Attr::OwnerGroup,
        Attr::TimeAccessSet,
        Attr::TimeModifySet,
    ] {
        assert!(told.contains(needed), "{needed:?}");
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn verify_goes_on_when_it_is_so_and_nverify_when_it_is_not() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let is = |size| Verify4Args {
        obj_attributes: Attributes {
            file_type: Some(Ftype4::Reg),
            size: Some(size),
            ..Attributes::default()
        }
        .into(),
    };
    let is_not = |size| Nverify4Args {
        obj_attributes: Attributes {
            size: Some(size),
            ..Attributes::default()
        }
        .into(),
    };
    let file = a.open_create(&root, "f").await?;
    a.write(&file.fh, file.stateid, 0, "12345").await?;
    let ask = async |op| {
        anyhow::Ok(
            a.compound([putfh(&file.fh), op, ArgOp::Getfh])
                .await?
                .status,
        )
    };
    assert_eq!(ask(ArgOp::Verify(is(5))).await?, Nfsstat4::Ok);
    assert_eq!(ask(ArgOp::Verify(is(6))).await?, Nfsstat4::NotSame);
    assert_eq!(ask(ArgOp::Nverify(is_not(5))).await?, Nfsstat4::Same);
    assert_eq!(ask(ArgOp::Nverify(is_not(6))).await?, Nfsstat4::Ok);
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_can_only_be_read_is_not_set() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let set = async |attributes| {
        anyhow::Ok(
            a.setattr(&root, Stateid4::ANONYMOUS, attributes)
                .await
                .status(),
        )
    };
    assert_eq!(
        set(Attributes {
            fileid: Some(5),
            ..Attributes::default()
        })
        .await?,
        Nfsstat4::Inval
    );
    assert_eq!(
        set(Attributes {
            size: Some(5),
            ..Attributes::default()
        })
        .await?,
        Nfsstat4::Isdir
    );
    assert_eq!(
        set(Attributes {
            mode: Some(0o10_000),
            ..Attributes::default()
        })
        .await?,
        Nfsstat4::Inval
    );
    assert_eq!(
        set(Attributes {
            hidden: Some(true),
            ..Attributes::default()
        })
        .await?,
        Nfsstat4::Attrnotsupp
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_operation_of_4_2_is_illegal_in_4_1_and_one_that_is_not_there_says_notsupp() -> Result<()>
{
    let world = World::start().await?;
    let (older, newer) = (
        ClientSetup {
            minorversion: 1,
            ..ClientSetup::named("older")
        },
        ClientSetup::named("newer"),
    );
    let notify = ArgOp::CopyNotify(CopyNotify4Args {
        src_stateid: Stateid4::ANONYMOUS,
        destination_server: Netloc4::Name("elsewhere".into()),
    });
    let named = ArgOp::Openattr(Openattr4Args { createdir: false });
    for (setup, op, answer) in [
        (older, notify, (Opnum::Illegal, Nfsstat4::OpIllegal)),
        (newer, named, (Opnum::Openattr, Nfsstat4::Notsupp)),
    ] {
        let client = setup.mount(world.address).await?;
        let reply = client.compound([ArgOp::Putrootfh, op]).await?;
        assert_eq!(reply.statuses().last(), Some(&answer));
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn the_current_stateid_is_that_of_the_last_open_and_goes_with_the_filehandle() -> Result<()> {
    // RFC 8881 §16.2.3.1.2.
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let how = || {
        Openflag4::Create(Createhow4::Unchecked(
            Attributes {
                mode: Some(0o600),
                ..Attributes::default()
            }
            .into(),
        ))
    };
    let write = || {
        ArgOp::Write(Write4Args {
            stateid: Stateid4::CURRENT,
            offset: 0,
            stable: StableHow4::FileSync,
            data: "x".into(),
        })
    };
    let close = ArgOp::Close(Close4Args {
        seqid: 0,
        open_stateid: Stateid4::CURRENT,
    });
    a.ok([
        putfh(&root),
        ArgOp::Open(a.open_args("f", how())),
        write(),
        close,
    ])
    .await?;
    let fh = a.lookup(&root, "f").await?;
    assert_eq!(a.size_of(&fh).await?, 1);
    let lost = [
        putfh(&root),
        ArgOp::Open(a.open_args("g", how())),
        putfh(&fh),
        write(),
    ];
    assert_eq!(a.compound(lost).await?.status, Nfsstat4::BadStateid);
    let saved = [
        putfh(&root),
        ArgOp::Open(a.open_args("g", how())),
        ArgOp::Savefh,
        putfh(&fh),
        ArgOp::Restorefh,
        write(),
    ];
    a.ok(saved).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn without_a_filehandle_nothing_is_done() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    for op in [
        ArgOp::Getfh,
        getattr(&[Attr::Type]),
        ArgOp::Savefh,
        ArgOp::Lookupp,
        ArgOp::Readlink,
    ] {
        assert_eq!(a.compound([op]).await?.status, Nfsstat4::Nofilehandle);
    }
    assert_eq!(
        a.compound([ArgOp::Putrootfh, ArgOp::Restorefh])
            .await?
            .status,
        Nfsstat4::Nofilehandle
    );
    world.ends_without_leak().await
}
