//! Security labels (RFC 7862 §12.2.4): kept and given back where they are switched on.

use anyhow::Result;
use interop_tests::nfs41::{ClientSetup, StatusOf, name, putfh};
use wire::nfs4::*;

use crate::world::World;

fn label(data: &str) -> Attributes {
    Attributes {
        sec_label: Some(Box::new(SecLabel4 {
            lfs: 3,
            pi: 0,
            data: name(data),
        })),
        ..Attributes::default()
    }
}

#[tokio::test]
async fn a_label_is_kept_from_birth_replaced_and_bounded() -> Result<()> {
    let mut world = World::with(1, |spec| spec.limits.label_bytes = 40).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let told = a
        .getattr(&root, &[Attr::SupportedAttrs, Attr::SecLabel])
        .await?;
    assert!(
        told.supported_attrs
            .is_some_and(|all| all.contains(Attr::SecLabel))
    );
    assert_eq!(told.sec_label, None, "none was set");
    let how = Openflag4::Create(Createhow4::Exclusive41(Creatverfattr {
        verf: Verifier4([7; 8]),
        attrs: label("system_u:object_r:a_t:s0").into(),
    }));
    let file = a.open_with(&root, a.open_args("f", how)).await?;
    assert!(file.opened.attrset.contains(Attr::SecLabel));
    let make = Create4Args {
        objtype: Createtype4::Dir,
        objname: name("d"),
        createattrs: label("d_t").into(),
    };
    a.ok([putfh(&root), ArgOp::Create(make)]).await?;
    let folder = a.lookup(&root, "d").await?;
    let of = async |fh: &Fh4| anyhow::Ok(a.getattr(fh, &[Attr::SecLabel]).await?.sec_label);
    assert_eq!(
        of(&file.fh).await?,
        label("system_u:object_r:a_t:s0").sec_label
    );
    assert_eq!(of(&folder).await?, label("d_t").sec_label);
    let change = a.change_of(&file.fh).await?;
    a.setattr(&file.fh, Stateid4::ANONYMOUS, label("b_t"))
        .await?;
    assert_eq!(of(&file.fh).await?, label("b_t").sec_label);
    assert!(a.change_of(&file.fh).await? > change);
    for wrong in ["", &"x".repeat(41)] {
        let refused = a.setattr(&file.fh, Stateid4::ANONYMOUS, label(wrong)).await;
        assert_eq!(refused.status(), Nfsstat4::Badlabel);
    }
    a.close(&file).await?;
    world.crash_and_restart().await?;
    let b = world.client("b").await?;
    let told = b.getattr(&file.fh, &[Attr::SecLabel]).await?;
    assert_eq!(told.sec_label, label("b_t").sec_label);
    world.ends_without_leak().await
}

#[tokio::test]
async fn without_the_switch_and_in_4_1_there_are_no_labels() -> Result<()> {
    let world = World::start().await?;
    let kept = World::with(1, |spec| spec.limits.label_bytes = 40).await?;
    let older = ClientSetup {
        minorversion: 1,
        ..ClientSetup::named("older")
    };
    for a in [world.client("a").await?, older.mount(kept.address).await?] {
        let root = a.root().await?;
        let told = a
            .getattr(&root, &[Attr::SupportedAttrs, Attr::SecLabel])
            .await?;
        assert!(
            !told
                .supported_attrs
                .is_some_and(|all| all.contains(Attr::SecLabel))
        );
        let refused = a.setattr(&root, Stateid4::ANONYMOUS, label("a_t")).await;
        assert_eq!(refused.status(), Nfsstat4::Attrnotsupp);
    }
    kept.ends_without_leak().await?;
    world.ends_without_leak().await
}
