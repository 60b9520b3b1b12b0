//! What a client may wish for, and what it is told: the want bits of OPEN, WANT_DELEGATION, RFC 9754.

use anyhow::Result;
use interop_tests::nfs41::{ClientSetup, StatusOf, delegated, putfh, user};
use mds::Delegations;
use wire::nfs4::*;

use super::{BOTH, READ, made};
use crate::world::{World, everything};

fn none(why: OpenNoneDelegation4) -> OpenDelegation4 {
    OpenDelegation4::NoneExt(why)
}

#[tokio::test]
async fn each_wish_is_granted_or_answered_with_its_reason() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let wish = async |bits| {
        let file = a.open_wanting(&root, "f", bits).await?;
        if let Some((stateid, _)) = delegated(&file.opened.delegation) {
            a.delegreturn(&fh, stateid).await?;
        }
        a.close(&file).await?;
        anyhow::Ok(file.opened.delegation)
    };
    let kind = |delegation: &OpenDelegation4| delegated(delegation).map(|(_, writes)| writes);
    for (bits, writes) in [
        (READ, false),
        (READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG, false),
        (READ | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG, true),
        (READ | OPEN4_SHARE_ACCESS_WANT_ANY_DELEG, false),
        (BOTH, true),
        (BOTH | OPEN4_SHARE_ACCESS_WANT_READ_DELEG, false),
        (BOTH | OPEN4_SHARE_ACCESS_WANT_ANY_DELEG, true),
        (OPEN4_SHARE_ACCESS_WRITE, true),
        (
            READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG
                | OPEN4_SHARE_ACCESS_WANT_SIGNAL_DELEG_WHEN_RESRC_AVAIL
                | OPEN4_SHARE_ACCESS_WANT_PUSH_DELEG_WHEN_UNCONTENDED,
            false,
        ),
    ] {
        let given = wish(bits).await?;
        assert_eq!(kind(&given), Some(writes), "{bits:#x}: {given:?}");
    }
    assert_eq!(
        wish(BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG).await?,
        none(OpenNoneDelegation4::NotWanted)
    );
    assert_eq!(
        wish(BOTH | OPEN4_SHARE_ACCESS_WANT_CANCEL).await?,
        none(OpenNoneDelegation4::Cancelled)
    );
    assert_eq!(
        a.open_wanting(&root, "f", READ | 0x600)
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Inval,
        "no such wish"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_delegation_is_neither_raised_nor_lowered() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let (_, reads) = a.open_delegated(&root, "f", READ).await?;
    let more = a
        .open_wanting(&root, "f", BOTH | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG)
        .await?;
    assert_eq!(
        more.opened.delegation,
        none(OpenNoneDelegation4::NotSuppUpgrade)
    );
    // Given again it could cross its own return on the wire.
    let same = a.open_wanting(&root, "f", READ).await?;
    assert_eq!(same.opened.delegation, OpenDelegation4::None);
    a.delegreturn(&fh, reads).await?;
    a.open_delegated(&root, "f", BOTH).await?;
    let less = a
        .open_wanting(&root, "f", READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG)
        .await?;
    assert_eq!(
        less.opened.delegation,
        none(OpenNoneDelegation4::NotSuppDowngrade)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn an_export_gives_what_it_is_told_to_and_changes_at_once() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, _) = made(&a, "f").await?;
    let mut export = everything("/");
    export.delegations = Delegations {
        write: false,
        ..Delegations::ALL
    };
    world
        .running()
        .change_exports(&[export.clone()], &[], (&[], &[]))
        .await?;
    let wanted = BOTH | OPEN4_SHARE_ACCESS_WANT_ANY_DELEG;
    let file = a.open_wanting(&root, "f", wanted).await?;
    assert_eq!(
        file.opened.delegation,
        none(OpenNoneDelegation4::WriteDelegNotSuppFtype)
    );
    a.close(&file).await?;
    export.delegations = Delegations::default();
    world
        .running()
        .change_exports(&[export], &[], (&[], &[]))
        .await?;
    let wanted = READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
    let file = a.open_wanting(&root, "f", wanted).await?;
    assert_eq!(
        file.opened.delegation,
        none(OpenNoneDelegation4::NotSuppFtype)
    );
    assert_eq!(
        a.get_dir_delegation(&root).await?,
        GetDirDelegation4Ok::Unavail(false)
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn want_delegation_gives_one_without_an_open() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let want = |fh, bits| a.want_delegation(fh, bits, DelegClaim4::Fh);
    let any = want(&fh, OPEN4_SHARE_ACCESS_WANT_ANY_DELEG).await?;
    let Some((stateid, true)) = delegated(&any) else {
        panic!("{any:?}")
    };
    a.write(&fh, stateid, 0, "x").await?;
    a.delegreturn(&fh, stateid).await?;
    let read = want(&fh, OPEN4_SHARE_ACCESS_WANT_READ_DELEG).await?;
    assert!(matches!(delegated(&read), Some((_, false))));
    assert_eq!(
        want(&fh, OPEN4_SHARE_ACCESS_WANT_CANCEL).await?,
        none(OpenNoneDelegation4::Cancelled)
    );
    assert_eq!(
        want(&root, OPEN4_SHARE_ACCESS_WANT_READ_DELEG).await?,
        none(OpenNoneDelegation4::IsDir)
    );
    for useless in [0, OPEN4_SHARE_ACCESS_WANT_NO_DELEG, 0x700] {
        assert_eq!(want(&fh, useless).await.status(), Nfsstat4::Inval);
    }
    let link = a.symlink(&root, "l", "f").await?;
    assert_eq!(
        want(&link, OPEN4_SHARE_ACCESS_WANT_READ_DELEG)
            .await
            .status(),
        Nfsstat4::WrongType
    );
    let bits = OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
    let claimed = |claim| a.want_delegation(&fh, bits, claim);
    assert_eq!(
        claimed(DelegClaim4::DelegPrevFh).await.status(),
        Nfsstat4::Notsupp
    );
    assert_eq!(
        claimed(DelegClaim4::Previous(OpenDelegationType4::Read))
            .await
            .status(),
        Nfsstat4::NoGrace
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn who_may_not_open_a_file_gets_no_delegation_of_it() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (_, fh) = made(&a, "f").await?;
    let stranger = ClientSetup::named("b").with_credential(user(1000, 1000));
    let b = stranger.mount(world.address).await?;
    let want = async |bits| b.want_delegation(&fh, bits, DelegClaim4::Fh).await;
    assert_eq!(
        want(OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG).await?,
        none(OpenNoneDelegation4::Resource(false))
    );
    let any = want(OPEN4_SHARE_ACCESS_WANT_ANY_DELEG).await?;
    assert!(matches!(delegated(&any), Some((_, false))), "{any:?}");
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_delegation_stands_for_the_open_where_the_client_wants_no_more() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let bits = BOTH | OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION;
    let file = a.open_wanting(&root, "f", bits).await?;
    assert_ne!(file.opened.rflags & OPEN4_RESULT_NO_OPEN_STATEID, 0);
    assert_eq!(file.opened.stateid, Stateid4::ANONYMOUS);
    let Some((stateid, true)) = delegated(&file.opened.delegation) else {
        panic!("{:?}", file.opened.delegation)
    };
    a.write(&fh, stateid, 0, "x").await?;
    assert_eq!(world.running().server.held().opens, 0);
    a.delegreturn(&fh, stateid).await?;
    let bits = bits | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    let file = a.open_wanting(&root, "f", bits).await?;
    assert_eq!(file.opened.rflags & OPEN4_RESULT_NO_OPEN_STATEID, 0);
    a.close(&file).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_in_the_same_compound_goes_by_the_delegation() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, _) = made(&a, "f").await?;
    let mut open = a.open_args("f", Openflag4::NoCreate);
    open.share_access = BOTH | OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION;
    let layoutget = Layoutget4Args {
        signal_layout_avail: false,
        layout_type: LAYOUT4_FLEX_FILES,
        iomode: Layoutiomode4::Rw,
        offset: 0,
        length: u64::MAX,
        minlength: 0,
        stateid: Stateid4::CURRENT,
        maxcount: 4096,
    };
    let ops = [putfh(&root), ArgOp::Open(open), ArgOp::Layoutget(layoutget)];
    assert_eq!(a.ok(ops).await?.layoutget()?.layout.len(), 1);
    world.ends_without_leak().await
}

#[tokio::test]
async fn open_arguments_say_what_can_be_asked_for_in_4_2() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let asked = [Attr::SupportedAttrs, Attr::OpenArguments];
    let told = a.getattr(&root, &asked).await?;
    let arguments = told.open_arguments.expect("in 4.2");
    for want in [20, 21] {
        assert!(arguments.share_access_want.iter().any(|bit| bit == want));
    }
    let supported = told.supported_attrs.expect("asked for");
    assert!(supported.contains(Attr::TimeDelegModify));
    let older = ClientSetup {
        minorversion: 1,
        ..ClientSetup::named("older")
    };
    let told = older
        .mount(world.address)
        .await?
        .getattr(&root, &asked)
        .await?;
    assert_eq!(told.open_arguments, None);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_file_that_is_read_once_is_not_delegated_unless_it_is_asked_for() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.delegation_trials = 2).await?;
    let a = world.client("a").await?;
    for entry in ["f", "g", "h", "i"] {
        made(&a, entry).await?;
    }
    let root = a.root().await?;
    let comes_with_one = async |entry: &str, access| -> Result<bool> {
        let file = a.open_wanting(&root, entry, access).await?;
        let given = delegated(&file.opened.delegation);
        if let Some((stateid, _)) = given {
            a.delegreturn(&file.fh, stateid).await?;
        }
        a.close(&file).await?;
        Ok(given.is_some())
    };
    assert!(!comes_with_one("f", READ).await?);
    assert!(comes_with_one("f", READ).await?, "it is read again");
    let wanted = READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
    assert!(comes_with_one("g", wanted).await?, "it was asked for");
    assert!(comes_with_one("g", BOTH).await?, "it is written");
    // Two are remembered: the first is forgotten.
    for entry in ["h", "i", "f"] {
        assert!(!comes_with_one(entry, READ).await?, "{entry}");
    }
    world.ends_without_leak().await
}
