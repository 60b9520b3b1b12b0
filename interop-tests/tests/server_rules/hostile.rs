//! Peers that mean harm, or are broken: an error or a closed connection, bounded memory, others served.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use interop_tests::nfs41::{
    Callbacks, Client, ClientSetup, Connection, Failure, StatusOf, root_user,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use wire::Xdr;
use wire::nfs4::*;
use wire::rpc::{Accepted, ReplyBody};

use crate::world::{World, until};

async fn stranger(world: &World) -> Result<Arc<Connection>, Failure> {
    Connection::to(world.address, Arc::new(Callbacks::new(2))).await
}

/// Whoever else does what: an ordinary client works.
async fn serves(world: &World, client: &Client) -> Result<()> {
    client.root().await?;
    let other = world.client("another").await?;
    other.root().await?;
    other.destroy_session().await?;
    other
        .setup
        .alone(
            &*stranger(world).await?,
            ArgOp::DestroyClientid(DestroyClientid4Args {
                clientid: other.clientid,
            }),
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_record_that_is_too_large_ends_its_connection_alone() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    for mark in [0xffff_ffff_u32, 0x7fff_ffff, 0x8020_0000] {
        let bad = stranger(&world).await?;
        bad.send_bytes(&mark.to_be_bytes()).await?;
        bad.closed_by_server().await?;
    }
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn endless_fragments_of_one_record_are_cut_off() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    let bad = stranger(&world).await?;
    let mut fragment = vec![0, 1, 0, 0];
    fragment.resize(4 + 65_536, 0);
    for _ in 0..64 {
        // The server may have hung up by now.
        if bad.send_bytes(&fragment).await.is_err() {
            break;
        }
    }
    bad.closed_by_server().await?;
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn half_a_record_is_not_waited_for_for_ever() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.net.record_timeout = Duration::from_millis(200);
    })
    .await?;
    let good = world.client("good").await?;
    let bad = stranger(&world).await?;
    bad.send_bytes(&[0x80, 0, 0, 100, 1, 2, 3]).await?;
    bad.closed_by_server().await?;
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_live() -> Result<()> {
    let world = World::with(1, |spec| spec.net.connections_per_address = 64).await?;
    let good = world.client("good").await?;
    let mut kept = Vec::new();
    let mut closed = 0;
    for _ in 0..1000 {
        kept.push(TcpStream::connect(world.address).await?);
    }
    for stream in &mut kept {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte)).await;
        closed += usize::from(read.is_ok());
    }
    assert!(closed >= 900, "{closed} of 1000 closed");
    good.root().await?;
    drop(kept);
    until("a new client gets in", async || {
        Ok(world.client("new").await.is_ok())
    })
    .await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_compound_of_ten_thousand_operations_is_refused() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    let ops = std::iter::repeat_n(ArgOp::Putrootfh, 10_000);
    assert_eq!(good.compound(ops).await?.status, Nfsstat4::TooManyOps);
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn endless_exchange_ids_stay_within_the_limit_of_clients() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.clients = 50).await?;
    let good = world.client("good").await?;
    let bad = stranger(&world).await?;
    let mut refused = 0;
    for number in 0..500 {
        let setup = ClientSetup::named(&format!("client {number}"));
        match setup.exchange(&bad).await {
            Ok(_) => {}
            Err(Failure::Status { .. }) => refused += 1,
            Err(other) => return Err(other.into()),
        }
    }
    let held = world.running().server.held();
    assert!(held.clients <= 50, "{held:?}, {refused} refused");
    good.root().await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn random_bytes_are_answered_or_hung_up_on() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    for _ in 0..200 {
        let bad = stranger(&world).await?;
        let length = rand::random_range(0..512_usize);
        let mut bytes = (0x8000_0000 | length as u32).to_be_bytes().to_vec();
        bytes.extend((0..length).map(|_| rand::random::<u8>()));
        // It may be cut off at any byte.
        let _ = bad.send_bytes(&bytes).await;
    }
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn arguments_cut_short_are_bad_xdr_at_every_operation() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    // Operations 3 to 71, one after SEQUENCE each, with no argument behind the number.
    for number in 3..=71_u32 {
        let mut arguments = wire::Encoder::new();
        let request = good.request(good.next_sequence(0), [ArgOp::Illegal(number)]);
        request.encode(&mut arguments);
        let call = (NFS4_PROGRAM, NFS_V4, NFSPROC4_COMPOUND);
        let mut answer = good
            .connection()
            .rpc(call, root_user(), &arguments.finish())
            .await?;
        match answer.body {
            ReplyBody::Accepted {
                status: Accepted::Success,
                ..
            } => {
                let result = Compound4Res::decode(&mut answer.result)?;
                assert_ne!(result.status, Nfsstat4::Serverfault, "operation {number}");
            }
            ReplyBody::Accepted {
                status: Accepted::GarbageArgs,
                ..
            } => good.forget_sequence(0),
            other => panic!("operation {number}: {other:?}"),
        }
    }
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn endless_opens_stay_within_the_limit_of_a_client() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.opens_per_client = 20;
        spec.limits.open_owners_per_client = 20;
    })
    .await?;
    let (bad, good) = (world.client("bad").await?, world.client("good").await?);
    let root = bad.root().await?;
    bad.open_create(&root, "f").await?;
    let mut last = Nfsstat4::Ok;
    for number in 0..40 {
        let mut args = bad.open_args("f", Openflag4::NoCreate);
        args.owner.owner = format!("owner {number}").into();
        last = bad.open_with(&root, args).await.map(|_| ()).status();
    }
    assert_eq!(last, Nfsstat4::Delay);
    assert!(world.running().server.held().opens <= 20);
    good.open_create(&root, "g").await?;
    world.ends_without_leak().await
}
