//! How copy-notify stateids end without their client's doing: RFC 7862 §15.3. The client that bears one is told
//! what became of that which it came of.

use std::time::Duration;

use anyhow::{Context, Result};
use interop_tests::nfs41::{StatusOf, delegated, putfh};
use wire::nfs4::*;

use crate::copies::filled;
use crate::copies_between::{location, notify};
use crate::world::{World, at_last, until};

const LEASE: Duration = Duration::from_secs(90);

fn every_way_to_read(stateid: Stateid4) -> [ArgOp; 3] {
    let (offset, count) = (0, 10);
    [
        ArgOp::Read(Read4Args {
            stateid,
            offset,
            count,
        }),
        ArgOp::ReadPlus(ReadPlus4Args {
            stateid,
            offset,
            count,
        }),
        ArgOp::Seek(Seek4Args {
            stateid,
            offset,
            what: DataContent4::Hole,
        }),
    ]
}

#[tokio::test]
async fn what_was_announced_is_expired_with_its_client_and_gone_when_that_is_put_out() -> Result<()>
{
    // Nobody is shown courtesy, so that a lease's end is the end.
    let mut source = World::with(1, |spec| spec.limits.courtesy = Duration::ZERO).await?;
    let (a, b) = (source.client("a").await?, source.client("b").await?);
    let root = a.root().await?;
    let from = a.open_create(&root, "from").await?;
    let there = location(source.address);
    let notified = notify(&a, &from, from.stateid, there).await?.stateid;
    let read = async || b.read(&from.fh, notified, 0, 10).await.map(|_| ()).status();
    // The writes of a client that is put out are fenced first, and nobody can be fenced there now.
    let other = a.open_create(&root, "other").await?;
    let held = source.to_write(&a, &other).await?;
    held.write(0, "before").await?;
    source.stop_data_server(0).await?;
    source.let_pass(LEASE / 2);
    assert_eq!(read().await, Nfsstat4::Ok);
    source.let_pass(LEASE / 2);
    until("the client is out of its lease", async || {
        let told = read().await;
        anyhow::ensure!(told != Nfsstat4::PartnerNoAuth, "it was never told");
        Ok(told == Nfsstat4::Expired)
    })
    .await?;
    for op in every_way_to_read(notified) {
        let late = b.compound([putfh(&from.fh), op]).await?;
        assert_eq!(late.status, Nfsstat4::Expired);
    }
    until("the client is gone", async || {
        Ok(read().await == Nfsstat4::PartnerNoAuth)
    })
    .await?;
    assert_eq!(a.root().await.status(), Nfsstat4::Badsession);
    source.start_data_server(0)?;
    source.ends_without_leak().await
}

#[tokio::test]
async fn what_was_announced_of_a_delegation_is_revoked_with_it() -> Result<()> {
    let source = World::with(1, |spec| {
        spec.limits.delegation_recall = Duration::from_millis(300);
    })
    .await?;
    let (a, b) = (source.client("a").await?, source.client("b").await?);
    let from = filled(&a, "from", 100, 3).await?;
    let want = OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
    let given = a.want_delegation(&from.fh, want, DelegClaim4::Fh).await?;
    let (delegation, _) = delegated(&given).context("a delegation")?;
    let there = location(source.address);
    let notified = notify(&a, &from, delegation, there).await?.stateid;
    for op in every_way_to_read(notified) {
        b.ok([putfh(&from.fh), op]).await?;
    }
    let root = b.root().await?;
    at_last("an open of another", &[Nfsstat4::Delay], async || {
        let mut args = b.open_args("from", Openflag4::NoCreate);
        args.share_access = OPEN4_SHARE_ACCESS_WRITE | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
        b.open_with(&root, args).await
    })
    .await?;
    for op in every_way_to_read(notified) {
        let late = b.compound([putfh(&from.fh), op]).await?;
        assert_eq!(late.status, Nfsstat4::DelegRevoked);
    }
    // Once its holder knows, there is no such delegation.
    a.free_stateid(delegation).await?;
    for op in every_way_to_read(notified) {
        let late = b.compound([putfh(&from.fh), op]).await?;
        assert_eq!(late.status, Nfsstat4::BadStateid);
    }
    source.ends_without_leak().await
}
