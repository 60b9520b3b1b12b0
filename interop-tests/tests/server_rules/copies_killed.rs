//! A copy between two servers of which one dies in the middle: nothing is told as copied that isn't there, the
//! other server is left with nothing, and the copy goes on from what was told.

use std::time::Duration;

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, OpenFile, putfh};
use wire::nfs3::Nfsstat3;
use wire::nfs4::*;

use crate::copies::all_of;
use crate::copies_between::{Pair, told};
use crate::direct::Refused;
use crate::restart::{back, complete, grace_is_over, reclaim};
use crate::world::{MIB, World, at_last, until};

/// What is durable before more is fetched.
const STRETCH: u64 = 16 * MIB;
const BYTES: u64 = 20 * MIB;
/// A lease, and grace.
const LEASE: Duration = Duration::from_secs(90);

/// A copy of which one stretch is durable, and that gets no further: at the source, the data server with the
/// rest is away.
struct Halfway {
    pair: Pair,
    stateid: Stateid4,
    away: usize,
}

/// The number of the data server that holds a stripe.
async fn holder(world: &World, client: &Client, file: &OpenFile, stripe: usize) -> Result<usize> {
    let held = world.to_read(client, file).await?;
    let deviceid = held.layout.mirrors[0].data_servers[stripe].deviceid;
    let device = client.getdeviceinfo(deviceid).await?;
    let address = device.netaddrs[0].to_socket_addr().context("TCP")?;
    client
        .layoutreturn(&file.fh, held.stateid, Layoutiomode4::Any)
        .await?;
    let servers = &world.spec().data_servers;
    let number = servers.iter().position(|ds| ds.port == address.port());
    number.context("it is one of them")
}

impl Halfway {
    /// For so long it waits for the source.
    async fn start(patience: Duration) -> Result<Self> {
        let source = World::with(2, |spec| spec.stripe_unit = STRETCH as u32).await?;
        let destination = World::with(2, |spec| spec.server_copy.patience = patience).await?;
        let mut pair = Pair::of(source, destination, BYTES).await?;
        let away = holder(&pair.source, &pair.at_source, &pair.from, 1).await?;
        pair.source.stop_data_server(away).await?;
        let notified = pair.notify().await?;
        let args = Copy4Args {
            synchronous: false,
            ..pair.args(&notified, (0, 0, BYTES))
        };
        let stateid = pair.copy(args).await?.callback_id.context("it goes on")?;
        let halfway = Self {
            pair,
            stateid,
            away,
        };
        until("a stretch is durable", async || {
            let client = &halfway.pair.at_destination;
            let mut asked = client.ok(halfway.status()).await?;
            Ok(asked.offload_status()?.count == STRETCH)
        })
        .await?;
        Ok(halfway)
    }

    fn status(&self) -> [ArgOp; 2] {
        let stateid = self.stateid;
        let status = ArgOp::OffloadStatus(OffloadStatus4Args { stateid });
        [putfh(&self.pair.to.fh), status]
    }

    /// Asks for what is left of the copy, and waits for its end.
    async fn finish(&self) -> Result<()> {
        let pair = &self.pair;
        at_last("the rest can be read", &[Nfsstat4::Delay], async || {
            let (client, from) = (&pair.at_source, &pair.from);
            client.read(&from.fh, from.stateid, STRETCH, 1).await
        })
        .await?;
        let notified = pair.notify().await?;
        let rest = Copy4Args {
            synchronous: false,
            ..pair.args(&notified, (STRETCH, STRETCH, 0))
        };
        let stateid = pair.copy(rest).await?.callback_id.context("it goes on")?;
        let end = told(&pair.at_destination, stateid).await?;
        let OffloadInfo4::Ok(end) = end else {
            panic!("it failed: {end:?}")
        };
        assert_eq!(end.count, BYTES - STRETCH);
        let copied = all_of(&pair.at_destination, &pair.to, 0, BYTES as u32).await?;
        assert_eq!(copied, 3);
        Ok(())
    }
}

/// The client after its server's restart, with its file open again, and grace over for everybody.
async fn again(world: &World, file: &OpenFile) -> Result<(Client, OpenFile)> {
    let client = back(world, "a").await?;
    let open = reclaim(&client, &file.fh).await?;
    complete(&client).await?;
    world.let_pass_for(&[&client], LEASE).await?;
    grace_is_over(&client, &client.root().await?).await?;
    Ok((client, open))
}

#[tokio::test]
async fn a_copy_whose_source_is_killed_tells_what_it_has_and_goes_on_when_that_is_back()
-> Result<()> {
    let mut halfway = Halfway::start(Duration::from_secs(6)).await?;
    let pair = &mut halfway.pair;
    pair.source.crash().await?;
    let OffloadInfo4::Failed {
        status,
        bytes_copied,
    } = told(&pair.at_destination, halfway.stateid).await?
    else {
        panic!("half a copy is none")
    };
    // The client copies by itself what it wasn't told of.
    assert_eq!((status, bytes_copied), (Nfsstat4::OffloadDenied, STRETCH));
    let client = &pair.at_destination;
    assert_eq!(client.size_of(&pair.to.fh).await?, STRETCH);
    assert_eq!(all_of(client, &pair.to, 0, STRETCH as u32).await?, 3);
    pair.source.start_data_server(halfway.away)?;
    pair.source.begin().await?;
    (pair.at_source, pair.from) = again(&pair.source, &pair.from).await?;
    halfway.finish().await?;
    halfway.pair.end().await
}

#[tokio::test]
async fn a_copy_whose_source_restarts_is_told_and_not_waited_for() -> Result<()> {
    let mut halfway = Halfway::start(Duration::from_secs(6)).await?;
    let pair = &mut halfway.pair;
    // Its session is gone, and so is what was announced.
    pair.source.crash_and_restart().await?;
    let OffloadInfo4::Failed { bytes_copied, .. } =
        told(&pair.at_destination, halfway.stateid).await?
    else {
        panic!("half a copy is none")
    };
    assert_eq!(bytes_copied, STRETCH);
    pair.source.start_data_server(halfway.away)?;
    (pair.at_source, pair.from) = again(&pair.source, &pair.from).await?;
    halfway.finish().await?;
    halfway.pair.end().await
}

#[tokio::test]
async fn a_copy_whose_destination_is_killed_is_nobody_s_and_its_target_is_sound() -> Result<()> {
    let mut halfway = Halfway::start(Duration::from_secs(12)).await?;
    let pair = &mut halfway.pair;
    // Another client writes into the target directly, further out, and never says so.
    let b = pair.destination.new_kernel("b").await?;
    let same = b.open(&b.root().await?, "to").await?;
    let held = pair.destination.to_write(&b, &same).await?;
    let before = b.change_of(&same.fh).await?;
    held.write(2 * BYTES, vec![9; 1000]).await?;
    pair.destination.crash().await?;
    pair.destination.begin().await?;
    assert!(
        pair.at_destination.callbacks.is_quiet().await,
        "nothing was told of half a copy"
    );
    (pair.at_destination, pair.to) = again(&pair.destination, &pair.to).await?;
    // What goes on behind a stateid goes with the server.
    let client = &halfway.pair.at_destination;
    let asked = client.compound(halfway.status()).await?;
    assert_eq!(asked.status, Nfsstat4::BadStateid);
    let pair = &mut halfway.pair;
    let (client, to) = (&pair.at_destination, &pair.to);
    // As long as a fence is under way the size is what it was before.
    until("what the other client wrote is told", async || {
        Ok(client.size_of(&to.fh).await? == 2 * BYTES + 1000)
    })
    .await?;
    let late = held.write(0, "late").await.refused();
    assert!(
        matches!(late, Some(Nfsstat3::Acces | Nfsstat3::Stale)),
        "{late:?}"
    );
    assert_eq!(all_of(client, to, 0, STRETCH as u32).await?, 3);
    assert_eq!(all_of(client, to, 2 * BYTES, 1000).await?, 9);
    assert!(client.change_of(&to.fh).await? > before);
    // At the source a lease forgets the destination, after the last of its requests was answered.
    until("the destination is gone from the source", async || {
        let source = &pair.source;
        source.let_pass_for(&[&pair.at_source], LEASE / 2).await?;
        Ok(source.running().server.held().clients == 1)
    })
    .await?;
    pair.source.start_data_server(halfway.away)?;
    halfway.finish().await?;
    let pair = &halfway.pair;
    let (client, to) = (&pair.at_destination, &pair.to);
    assert_eq!(client.size_of(&to.fh).await?, 2 * BYTES + 1000);
    assert_eq!(all_of(client, to, 2 * BYTES, 1000).await?, 9);
    halfway.pair.end().await
}
