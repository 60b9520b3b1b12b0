//! Delegations of files: who gets one, what it stands for, and how it is taken away.
//! RFC 8881 §10.2, §10.4, §18.6, §18.49; RFC 9754. Those of folders are in `folders`.

mod folders;
mod notifications;
mod reclaims;
mod times;
mod wishes;
mod writers;

use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{
    CallbackAnswer, Client, ClientSetup, Failure, OpenFile, StatusOf, delegated, putfh, recalled,
};
use wire::nfs4::*;

use crate::world::{World, at_last, until};

pub const READ: u32 = OPEN4_SHARE_ACCESS_READ;
pub const BOTH: u32 = OPEN4_SHARE_ACCESS_BOTH;
pub const SEQ4_STATUS_RECALLABLE_STATE_REVOKED: u32 = 0x40;

/// Where a recall that nobody answers ends soon.
async fn impatient() -> Result<World> {
    World::with(1, |spec| {
        spec.limits.delegation_recall = Duration::from_millis(700);
    })
    .await
}

/// A file that is there and that nobody has open.
async fn made(client: &Client, entry: &str) -> Result<(Fh4, Fh4), Failure> {
    let root = client.root().await?;
    let file = client.open_create(&root, entry).await?;
    client.close(&file).await?;
    Ok((root, file.fh))
}

async fn opened_at_last(client: &Client, directory: &Fh4, access: u32) -> Result<OpenFile> {
    at_last("an open", &[Nfsstat4::Delay], async || {
        client
            .open_wanting(directory, "f", access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG)
            .await
    })
    .await
}

async fn status_flags(client: &Client) -> Result<u32, Failure> {
    let mut reply = client.ok([ArgOp::Putrootfh]).await?;
    Ok(reply.sequence()?.status_flags)
}

#[tokio::test]
async fn who_reads_and_who_writes_alone_is_given_a_delegation_of_his_kind() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, _) = made(&a, "f").await?;
    made(&a, "g").await?;
    let read = a.open_wanting(&root, "f", READ).await?;
    assert!(matches!(read.opened.delegation, OpenDelegation4::Read(_)));
    let written = a.open_wanting(&root, "g", BOTH).await?;
    let OpenDelegation4::Write(write) = &written.opened.delegation else {
        panic!("{:?}", written.opened.delegation)
    };
    // Nothing may be kept back at close.
    assert_eq!(
        write.space_limit,
        NfsSpaceLimit4::Blocks(NfsModifiedLimit4 {
            num_blocks: 0,
            bytes_per_block: 0
        })
    );
    assert_eq!(
        a.test_stateids(&[write.stateid]).await?,
        [Nfsstat4::Ok],
        "a delegation's stateid is known"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_write_open_of_another_client_waits_until_readers_returned_theirs() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b, c) = (
        world.client("a").await?,
        world.client("b").await?,
        world.client("c").await?,
    );
    let (root, fh) = made(&a, "f").await?;
    let (_, of_a) = a.open_delegated(&root, "f", READ).await?;
    let (_, of_b) = b.open_delegated(&root, "f", READ).await?;
    let opening = opened_at_last(&c, &root, BOTH);
    let returning = async {
        for (client, stateid) in [(&a, of_a), (&b, of_b)] {
            let recall = recalled(client).await?;
            assert_eq!(
                (recall.stateid, &recall.fh, recall.truncate),
                (stateid, &fh, false)
            );
            client.delegreturn(&fh, stateid).await?;
        }
        anyhow::Ok(())
    };
    let (opened, returned) = tokio::join!(opening, returning);
    returned?;
    c.write(&fh, opened?.stateid, 0, "c's").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_recall_in_vain_answers_delay_in_a_bounded_time() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", READ).await?;
    assert_eq!(
        b.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Delay
    );
    assert_eq!(
        b.open_to_read(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Ok,
        "readers aren't concerned"
    );
    a.delegreturn(&fh, stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn ones_own_opens_locks_and_changes_recall_nothing() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", READ).await?;
    let both = a
        .open_wanting(&root, "f", BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG)
        .await?;
    a.lock(&both, "l", LockType4::WriteLt, (0, 10)).await?;
    a.write(&fh, both.stateid, 0, "mine").await?;
    a.truncate(&fh, both.stateid, 2).await?;
    a.link(&fh, &root, "second").await?;
    a.rename((&root, "second"), (&root, "third")).await?;
    a.remove(&root, "third").await?;
    assert!(a.callbacks.is_quiet().await);
    a.delegreturn(&fh, stateid).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn changes_by_others_recall_first() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let mode = |mode| Attributes {
        mode: Some(mode),
        ..Attributes::default()
    };
    for round in 0..5 {
        let name = format!("f{round}");
        let (_, fh) = made(&a, &name).await?;
        made(&b, "over").await?;
        let (file, stateid) = a.open_delegated(&root, &name, READ).await?;
        let status = match round {
            0 => b
                .setattr(&fh, Stateid4::ANONYMOUS, mode(0o600))
                .await
                .map(drop)
                .status(),
            1 => b.truncate(&fh, Stateid4::ANONYMOUS, 5).await.status(),
            2 => b.link(&fh, &root, "linked").await.map(drop).status(),
            3 => b
                .rename((&root, &name), (&root, "moved"))
                .await
                .map(drop)
                .status(),
            _ => b
                .rename((&root, "over"), (&root, &name))
                .await
                .map(drop)
                .status(),
        };
        assert_eq!(status, Nfsstat4::Delay, "round {round}");
        assert_eq!(recalled(&a).await?.stateid, stateid);
        a.delegreturn(&fh, stateid).await?;
        a.close(&file).await?;
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_removed_file_stays_for_who_holds_a_delegation_of_it_until_the_return() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let (file, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    a.write(&fh, file.stateid, 0, "still here").await?;
    a.close(&file).await?;
    a.remove(&root, "f").await?;
    let read = a.read(&fh, stateid, 0, 100).await?;
    assert_eq!(&read.data[..], b"still here");
    a.delegreturn(&fh, stateid).await?;
    at_last("the file is gone", &[Nfsstat4::Ok], async || {
        let read = a.getattr(&fh, &[Attr::Size]).await.map(drop);
        match read.status() {
            Nfsstat4::Stale => Ok(()),
            status => Err(Failure::Status {
                op: Opnum::Getattr,
                status,
            }),
        }
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_holder_opens_here_what_it_opened_by_itself_while_it_is_recalled() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (file, stateid) = a.open_delegated(&root, "f", READ).await?;
    a.close(&file).await?;
    assert_eq!(
        b.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Delay
    );
    recalled(&a).await?;
    assert_eq!(
        a.open_by_delegation(&fh, BOTH, stateid)
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::BadStateid,
        "it could not have been opened to write"
    );
    a.open_by_delegation(&fh, READ, stateid).await?;
    let mut by_name = a.open_args("", Openflag4::NoCreate);
    by_name.share_access = READ;
    by_name.claim = OpenClaim4::DelegateCur(OpenClaimDelegateCur4 {
        delegate_stateid: stateid,
        file: "f".into(),
    });
    let kept = a.open_with(&root, by_name).await?;
    a.delegreturn(&fh, stateid).await?;
    opened_at_last(&b, &root, BOTH).await?;
    a.read(&fh, kept.stateid, 0, 10).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_holder_that_never_returns_is_revoked_told_and_frees_it() -> Result<()> {
    let world = impatient().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", READ).await?;
    assert_eq!(a.free_stateid(stateid).await.status(), Nfsstat4::LocksHeld);
    opened_at_last(&b, &root, BOTH).await?;
    assert_eq!(a.test_stateids(&[stateid]).await?, [Nfsstat4::DelegRevoked]);
    assert_eq!(
        a.read(&fh, stateid, 0, 1).await.map(|_| ()).status(),
        Nfsstat4::DelegRevoked
    );
    assert_eq!(
        a.delegreturn(&fh, stateid).await.status(),
        Nfsstat4::DelegRevoked
    );
    for _ in 0..2 {
        assert_ne!(
            status_flags(&a).await? & SEQ4_STATUS_RECALLABLE_STATE_REVOKED,
            0,
            "until it is freed"
        );
    }
    a.free_stateid(stateid).await?;
    assert_eq!(
        status_flags(&a).await? & SEQ4_STATUS_RECALLABLE_STATE_REVOKED,
        0
    );
    assert_eq!(a.test_stateids(&[stateid]).await?, [Nfsstat4::BadStateid]);
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_recall_comes_again_when_the_client_asks_for_time_or_does_not_know_it_yet() -> Result<()>
{
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", READ).await?;
    for refusal in [Nfsstat4::Delay, Nfsstat4::BadStateid, Nfsstat4::Badhandle] {
        a.callbacks.answer_next(CallbackAnswer::Status(refusal));
    }
    assert_eq!(
        b.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Delay
    );
    for _ in 0..4 {
        assert_eq!(recalled(&a).await?.stateid, stateid);
    }
    a.delegreturn(&fh, stateid).await?;
    opened_at_last(&b, &root, BOTH).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_that_keeps_saying_it_has_none_is_believed() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, _) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", READ).await?;
    a.callbacks
        .answer_all(CallbackAnswer::Status(Nfsstat4::BadStateid));
    opened_at_last(&b, &root, BOTH).await?;
    assert_eq!(a.test_stateids(&[stateid]).await?, [Nfsstat4::BadStateid]);
    assert_eq!(
        status_flags(&a).await? & SEQ4_STATUS_RECALLABLE_STATE_REVOKED,
        0,
        "what the client doesn't have it can't free"
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_delegation_of_a_client_that_fell_silent_is_honoured_no_more() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.lease = Duration::from_secs(1);
        spec.limits.courtesy = Duration::ZERO;
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    // b's own requests keep its lease; a is silent.
    opened_at_last(&b, &root, BOTH).await?;
    assert_eq!(
        a.read(&fh, stateid, 0, 1).await.map(|_| ()).status(),
        Nfsstat4::Badsession
    );
    Ok(())
}

#[tokio::test]
async fn a_client_without_a_back_channel_gets_none() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let deaf = ClientSetup {
        session_flags: 0,
        ..ClientSetup::named("deaf")
    }
    .mount(world.address)
    .await?;
    let (root, _) = made(&deaf, "f").await?;
    let file = deaf
        .open_wanting(&root, "f", READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG)
        .await?;
    assert_eq!(
        file.opened.delegation,
        OpenDelegation4::NoneExt(OpenNoneDelegation4::Resource(false))
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_contended_file_gets_no_delegation_for_a_while() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (file, stateid) = a.open_delegated(&root, "f", READ).await?;
    a.delegreturn(&fh, stateid).await?;
    a.close(&file).await?;
    let (file, stateid) = a.open_delegated(&root, "f", READ).await?;
    assert_eq!(
        b.open(&root, "f").await.map(|_| ()).status(),
        Nfsstat4::Delay
    );
    a.delegreturn(&fh, stateid).await?;
    a.close(&file).await?;
    let again = a
        .open_wanting(&root, "f", READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG)
        .await?;
    assert_eq!(
        again.opened.delegation,
        OpenDelegation4::NoneExt(OpenNoneDelegation4::Contention(false))
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_near_its_limit_is_asked_for_some_and_gets_no_more_beyond_it() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.delegations_per_client = 2).await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    for entry in ["f", "g", "h"] {
        made(&a, entry).await?;
    }
    a.open_delegated(&root, "f", READ).await?;
    a.open_delegated(&root, "g", READ).await?;
    let CbArgOp::RecallAny(ask) = a.callbacks.next().await? else {
        panic!("no CB_RECALL_ANY")
    };
    assert_eq!(ask.objects_to_keep, 1);
    for kind in [
        RCA4_TYPE_MASK_RDATA_DLG,
        RCA4_TYPE_MASK_WDATA_DLG,
        RCA4_TYPE_MASK_DIR_DLG,
    ] {
        assert!(ask.type_mask.iter().any(|bit| bit == kind));
    }
    let third = a
        .open_wanting(&root, "h", READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG)
        .await?;
    assert_eq!(
        third.opened.delegation,
        OpenDelegation4::NoneExt(OpenNoneDelegation4::Resource(false))
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_layout_to_write_that_was_kept_is_asked_back_for_the_next_reader() -> Result<()> {
    // Linux keeps layouts after the close.
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let (granted, _) = a
        .layoutget(&file.fh, file.stateid, Layoutiomode4::Rw)
        .await?;
    a.close(&file).await?;
    let first = b.open_wanting(&root, "f", READ).await?;
    assert_eq!(delegated(&first.opened.delegation), None);
    assert!(matches!(
        a.callbacks.next().await?,
        CbArgOp::Layoutrecall(_)
    ));
    a.layoutreturn(&file.fh, granted.stateid, Layoutiomode4::Any)
        .await?;
    b.open_delegated(&root, "f", READ).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_client_with_delegations_is_busy_and_returns_them_before_it_goes() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let (file, stateid) = a.open_delegated(&root, "f", READ).await?;
    a.close(&file).await?;
    a.delegreturn(&fh, stateid).await?;
    assert_eq!(
        a.delegreturn(&fh, stateid).await.status(),
        Nfsstat4::BadStateid
    );
    let (_, stateid) = a.open_delegated(&root, "f", READ).await?;
    let other = a.mkdir(&root, "d").await?;
    assert_eq!(
        a.delegreturn(&other, stateid).await.status(),
        Nfsstat4::BadStateid,
        "of another file"
    );
    a.destroy_session().await?;
    assert_eq!(a.destroy_clientid().await.status(), Nfsstat4::ClientidBusy);
    Ok(())
}

#[tokio::test]
async fn delegpurge_and_claims_from_before_a_clients_own_restart_are_not_supported() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let purge = Delegpurge4Args {
        clientid: a.clientid,
    };
    assert_eq!(
        a.ok([ArgOp::Delegpurge(purge)]).await.map(|_| ()).status(),
        Nfsstat4::Notsupp
    );
    for (at, claim) in [
        (&root, OpenClaim4::DelegatePrev("f".into())),
        (&fh, OpenClaim4::DelegPrevFh),
    ] {
        let args = Open4Args {
            claim,
            ..a.open_args("", Openflag4::NoCreate)
        };
        assert_eq!(
            a.open_with(at, args).await.map(|_| ()).status(),
            Nfsstat4::Notsupp
        );
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn io_and_layouts_go_by_a_delegation_alone() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let a = world.client("a").await?;
    let (root, fh) = made(&a, "f").await?;
    let (file, stateid) = a.open_delegated(&root, "f", BOTH).await?;
    a.close(&file).await?;
    a.write(&fh, stateid, 0, "by delegation").await?;
    let (granted, _) = a.layoutget(&fh, stateid, Layoutiomode4::Rw).await?;
    a.layoutreturn(&fh, granted.stateid, Layoutiomode4::Any)
        .await?;
    a.truncate(&fh, stateid, 2).await?;
    // None is given while what the layout's return began is under way. What is read waits for its end.
    until("what was written is settled", async || {
        Ok(world.catalog().intents().await?.is_empty())
    })
    .await?;
    assert_eq!(&a.read(&fh, stateid, 0, 100).await?.data[..], b"by");
    a.delegreturn(&fh, stateid).await?;
    let (file, stateid) = a.open_delegated(&root, "f", READ).await?;
    assert_eq!(
        a.write(&fh, stateid, 0, "no").await.map(|_| ()).status(),
        Nfsstat4::Openmode
    );
    assert_eq!(
        a.layoutget(&fh, stateid, Layoutiomode4::Rw)
            .await
            .map(|_| ())
            .status(),
        Nfsstat4::Openmode
    );
    a.close(&file).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_write_without_an_open_recalls_as_well() -> Result<()> {
    let world = World::with(1, |_| {}).await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let (root, fh) = made(&a, "f").await?;
    let (_, stateid) = a.open_delegated(&root, "f", READ).await?;
    let write = b.write(&fh, Stateid4::ANONYMOUS, 0, "b").await.map(|_| ());
    assert_eq!(write.status(), Nfsstat4::Delay);
    assert_eq!(recalled(&a).await?.stateid, stateid);
    assert!(b.read(&fh, Stateid4::ANONYMOUS, 0, 1).await.is_ok());
    a.ok([
        putfh(&fh),
        ArgOp::Delegreturn(Delegreturn4Args {
            deleg_stateid: stateid,
        }),
    ])
    .await?;
    b.write(&fh, Stateid4::ANONYMOUS, 0, "b").await?;
    world.ends_without_leak().await
}
