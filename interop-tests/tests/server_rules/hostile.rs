//! Peers that mean harm, or are broken: an error or a closed connection, bounded memory, others served.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Buf;
use interop_tests::nfs41::{
    Callbacks, Client, ClientSetup, Connection, Failure, StatusOf, putfh, root_user,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use wire::Xdr;
use wire::nfs4::*;
use wire::rpc::{Accepted, CallHeader, OpaqueAuth, ReplyBody};

use crate::world::{PATIENCE, World, until};

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
    for _ in 0..1000 {
        kept.push(TcpStream::connect(world.address).await?);
    }
    // They are taken in the order in which they came: these are beyond the limit.
    for stream in &mut kept[64..] {
        closed(stream).await?;
    }
    good.root().await?;
    drop(kept);
    until("a new client gets in", async || {
        Ok(world.client("new").await.is_ok())
    })
    .await?;
    world.ends_without_leak().await
}

/// Ends when the server has closed the connection, unasked.
async fn closed(stream: &mut TcpStream) -> Result<()> {
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0])).await?;
    ensure!(!matches!(read, Ok(1..)), "the server said something");
    Ok(())
}

/// Lets this process have as many open files as both ends of so many connections take.
fn may_open(files: u64) -> bool {
    let limit = Rlimit {
        current: Some(files),
        maximum: Some(
            getrlimit(Resource::Nofile)
                .maximum
                .unwrap_or(files)
                .max(files),
        ),
    };
    setrlimit(Resource::Nofile, limit).is_ok()
}

#[tokio::test]
async fn ten_thousand_connections_leave_others_served() -> Result<()> {
    const CONNECTIONS: usize = 10_000;
    const OF_ONE_ADDRESS: usize = 1000;
    // The limits are the default ones: as many of one address, and of all, as they let in.
    let world = World::with(1, |spec| spec.net = headrace::net::Limits::default()).await?;
    if !may_open(65_536) {
        println!("skipped: ten thousand connections, whose open files this host doesn't allow");
        return world.ends_without_leak().await;
    }
    let good = world.client("good").await?;
    let mut kept = Vec::new();
    for number in 0..CONNECTIONS {
        let socket = TcpSocket::new_v4()?;
        let address = [127, 200, 0, 1 + (number / OF_ONE_ADDRESS) as u8];
        socket.bind(SocketAddr::from((address, 0)))?;
        let mut stream = socket.connect(world.address).await?;
        // Half of a small record each: they are not idle.
        stream.write_all(&[0x80, 0, 1, 0, 7]).await?;
        kept.push(stream);
        if number % OF_ONE_ADDRESS == 0 {
            good.root().await?;
        }
    }
    serves(&world, &good).await?;
    for stream in &mut kept {
        let said = stream.try_read(&mut [0]);
        let waits = said.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        ensure!(waits, "a connection within the limits was closed");
    }
    drop(kept);
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn halves_of_large_records_stay_within_their_budget_and_others_write() -> Result<()> {
    const HALF: usize = 900 << 10;
    let world = World::with(1, |spec| spec.net.requests_bytes = 4 << 20).await?;
    let good = world.client("good").await?;
    let root = good.root().await?;
    let file = good.open_create(&root, "f").await?;
    let mut half = 0x8010_0000_u32.to_be_bytes().to_vec();
    half.resize(HALF, 7);
    let mut holders = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(world.address).await?;
        let half = half.clone();
        holders.push(tokio::spawn(async move {
            // It is taken in as far as there is room, and then no further.
            let _ = stream.write_all(&half).await;
            let _ = stream.read(&mut [0]).await;
        }));
    }
    // Small requests need none of the budget; a large one gets its room from the peers that keep it longest.
    for number in 0..20 {
        good.root().await?;
        if number % 10 == 0 {
            good.write(&file.fh, file.stateid, 0, vec![3; 512 << 10])
                .await?;
        }
    }
    until("the slowest are cut off", async || {
        Ok(holders.iter().any(tokio::task::JoinHandle::is_finished))
    })
    .await?;
    holders.iter().for_each(tokio::task::JoinHandle::abort);
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_peer_that_takes_no_replies_is_cut_off_when_others_need_the_room() -> Result<()> {
    const PIECE: u32 = 256 << 10;
    let world = World::with(1, |spec| spec.net.replies_bytes = 1 << 20).await?;
    let good = world.client("good").await?;
    let root = good.root().await?;
    let file = good.open_create(&root, "f").await?;
    good.write(&file.fh, file.stateid, 0, vec![9; PIECE as usize])
        .await?;
    let mut setup = ClientSetup::named("greedy");
    // More than the kernel takes for a peer that doesn't read.
    setup.fore.maxrequests = 64;
    let greedy = setup.mount(world.address).await?;
    let theirs = greedy.open(&root, "f").await?;
    // Over a connection that nobody reads from: what the kernel doesn't take for it stays with the server.
    let deaf = TcpSocket::new_v4()?;
    deaf.set_recv_buffer_size(4096)?;
    let mut deaf = deaf.connect(world.address).await?;
    let slots = greedy.created().fore_chan_attrs.maxrequests;
    assert_eq!(slots, 64);
    for slot in 0..slots {
        let read = ArgOp::Read(Read4Args {
            stateid: theirs.stateid,
            offset: 0,
            count: PIECE,
        });
        let mut sequence = greedy.next_sequence(slot);
        sequence.cachethis = false;
        let request = greedy.request(sequence, [putfh(&theirs.fh), read]);
        deaf.write_all(&record(&request)).await?;
    }
    for _ in 0..8 {
        let read = good.read(&file.fh, file.stateid, 0, PIECE).await?;
        assert_eq!(read.data.len(), PIECE as usize);
    }
    // What the kernel had taken for it is still there to be read, and then the end.
    let mut read = Vec::new();
    let end = tokio::time::timeout(PATIENCE, deaf.read_to_end(&mut read)).await?;
    drop(end);
    assert!(read.len() < (slots * PIECE) as usize, "it was served on");
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

/// A COMPOUND as it goes over the wire.
fn record(request: &Compound4Args) -> Vec<u8> {
    let mut out = wire::record::begin();
    CallHeader {
        xid: 1,
        program: NFS4_PROGRAM,
        version: NFS_V4,
        procedure: NFSPROC4_COMPOUND,
        credential: root_user(),
        verifier: OpaqueAuth::none(),
    }
    .encode(&mut out);
    request.encode(&mut out);
    let mut frame = wire::record::Frame::new(out);
    frame.copy_to_bytes(frame.remaining()).to_vec()
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

/// What a COMPOUND is answered whose arguments are these bytes.
async fn answer_to(connection: &Connection, arguments: &[u8]) -> Result<Compound4Res> {
    let call = (NFS4_PROGRAM, NFS_V4, NFSPROC4_COMPOUND);
    let mut answer = connection.rpc(call, root_user(), arguments).await?;
    Ok(Compound4Res::decode(&mut answer.result)?)
}

#[tokio::test]
async fn a_compound_that_claims_all_the_operations_there_could_be_is_refused() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    let stranger = stranger(&world).await?;
    for claimed in [1025, 1 << 20, u32::MAX] {
        let mut request = good.request(good.next_sequence(0), [ArgOp::Putrootfh]);
        request.ops_claimed = claimed;
        let mut arguments = wire::Encoder::new();
        request.encode(&mut arguments);
        let refused = answer_to(&good.connection(), &arguments.finish()).await?;
        assert_eq!(refused.status, Nfsstat4::TooManyOps, "{claimed}");
        // Refused before it counted.
        good.forget_sequence(0);
        // Without a session: the first one decides.
        request.ops.remove(0);
        let mut arguments = wire::Encoder::new();
        request.encode(&mut arguments);
        let refused = answer_to(&stranger, &arguments.finish()).await?;
        assert_eq!(refused.status, Nfsstat4::OpNotInSession, "{claimed}");
    }
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn a_compound_as_long_as_a_record_before_any_session_is_refused() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    let bad = stranger(&world).await?;
    let exchange = ArgOp::ExchangeId(ClientSetup::named("bad").exchange_id());
    for (first, refusal) in [
        (ArgOp::Putrootfh, Nfsstat4::OpNotInSession),
        (exchange, Nfsstat4::NotOnlyOp),
        (ArgOp::Illegal(9999), Nfsstat4::OpIllegal),
    ] {
        let ops = std::iter::once(first).chain(std::iter::repeat_n(ArgOp::Putrootfh, 260_000));
        let request = Compound4Args::new(2, ops.collect());
        let mut arguments = wire::Encoder::new();
        request.encode(&mut arguments);
        let refused = answer_to(&bad, &arguments.finish()).await?;
        assert_eq!(refused.status, refusal);
        assert_eq!(refused.results.len(), 1);
    }
    serves(&world, &good).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn endless_exchange_ids_push_out_their_own_and_new_clients_are_served() -> Result<()> {
    let world = World::with(1, |spec| spec.limits.clients = 50).await?;
    let good = world.client("good").await?;
    let bad = stranger(&world).await?;
    for number in 0..500 {
        let setup = ClientSetup::named(&format!("client {number}"));
        setup.exchange(&bad).await?;
        if number % 100 == 99 {
            serves(&world, &good).await?;
        }
    }
    let held = world.running().server.held();
    assert!(held.clients <= 50, "{held:?}");
    let root = good.root().await?;
    good.open_create(&root, "f").await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn random_bytes_are_answered_or_hung_up_on() -> Result<()> {
    let world = World::start().await?;
    let good = world.client("good").await?;
    // HEADRACE_SEED repeats a run.
    let seed: u64 = match std::env::var("HEADRACE_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => rand::random(),
    };
    println!("HEADRACE_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    for _ in 0..200 {
        let bad = stranger(&world).await?;
        let length = dice.random_range(0..512_usize);
        let mut bytes = (0x8000_0000 | length as u32).to_be_bytes().to_vec();
        bytes.extend((0..length).map(|_| dice.random::<u8>()));
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

#[tokio::test]
async fn who_asks_again_without_waiting_is_told_late_and_its_other_requests_are_not() -> Result<()>
{
    let world = World::with(1, |spec| {
        spec.limits.layouts_per_client = 1;
        spec.limits.refusals_per_second = 1;
    })
    .await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let (held, more) = (
        a.open_create(&root, "held").await?,
        a.open_create(&root, "more").await?,
    );
    let layout = world.to_read(&a, &held).await?.stateid;
    let refused = async || world.to_read(&a, &more).await.map(|_| ()).status();
    assert_eq!(refused().await, Nfsstat4::Layouttrylater);
    let began = Instant::now();
    let others = async {
        serves(&world, &a).await?;
        serves(&world, &b).await
    };
    tokio::select! {
        status = refused() => panic!("{status:?} after {:?}, before the others", began.elapsed()),
        served = others => served?,
    }
    assert_eq!(refused().await, Nfsstat4::Layouttrylater);
    ensure!(began.elapsed() >= Duration::from_secs(1), "told at once");
    a.layoutreturn(&held.fh, layout, Layoutiomode4::Any).await?;
    world.ends_without_leak().await
}
