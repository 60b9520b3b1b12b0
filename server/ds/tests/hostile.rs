//! Peers that send garbage, half records, or too many connections: they are cut off, and others
//! don't notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use wire::nfs3::*;

mod world;
use world::*;

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.running().addresses()[0]).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout is set");
    stream
}

/// The server ends the connection, without a reply.
fn assert_cut(mut stream: TcpStream) {
    match stream.read(&mut [0; 64]) {
        Ok(count) => assert_eq!(count, 0, "a reply came"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_connection_and_no_other() {
    for engine in engines() {
        let world = World::new(engine);
        let object = world.object(1).await;
        let mut endless = 0x8000_4000_u32.to_be_bytes().to_vec();
        endless.resize(4 + 0x4000, 0);
        let no_call = [
            &0x8000_0008_u32.to_be_bytes()[..],
            &[0, 0, 0, 1, 0, 0, 0, 9],
        ]
        .concat();
        for garbage in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            vec![0xff; 100],
            no_call,
            endless,
        ] {
            let mut stream = connect(&world);
            // The server may cut it before all is sent.
            let _ = stream.write_all(&garbage);
            assert_cut(stream);
        }
        world
            .owner(OWNER)
            .read(&object, 0, 1)
            .await
            .expect("others are served");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_record_and_an_idle_connection_are_cut_in_time() {
    for engine in engines() {
        let short = Duration::from_millis(100);
        let world = World::with(engine, |config| config.record_timeout = short);
        let mut half = connect(&world);
        half.write_all(&[0x80, 0, 1, 0, 1, 2, 3])
            .expect("half a record is sent");
        assert_cut(half);
        assert_eq!(world.running().metrics().connections_cut, 1);
        world.stop().await;
        let world = World::with(engine, |config| config.idle_timeout = short);
        assert_cut(connect(&world));
        assert_eq!(world.running().metrics().connections_cut, 1);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_closed_and_the_others_stay() {
    for engine in engines() {
        let world = World::with(engine, |config| config.max_connections = 4);
        let client = world.mds();
        client.null().await.expect("a first connection is served");
        // They come in the order in which they were made: three fill the server up.
        let mut taken: Vec<_> = (0..20).map(|_| connect(&world)).collect();
        taken.drain(3..).for_each(assert_cut);
        let metrics = world.running().metrics();
        assert_eq!((metrics.connections, metrics.connections_refused), (4, 17));
        client.null().await.expect("the first is served still");
        drop(taken);
        until("the places are free again", || {
            world.running().metrics().connections == 1
        })
        .await;
        world.mds().null().await.expect("a later one gets in");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_no_replies_holds_up_nobody_else() {
    for engine in engines() {
        let world = World::with(engine, |config| {
            config.buffer_bytes = 16 << 20;
            config.connection_bytes = 8 << 20;
        });
        let object = world.object(1).await;
        world
            .mds()
            .setattr(&object, size_is(64 << 20), None)
            .await
            .expect("sized");
        let mut out = wire::record::begin();
        wire::rpc::CallHeader {
            xid: 1,
            program: PROGRAM,
            version: VERSION,
            procedure: Procedure::Read as u32,
            credential: wire::rpc::Credential::Sys(wire::rpc::AuthSys {
                uid: OWNER,
                gid: GROUP,
                ..wire::rpc::AuthSys::default()
            }),
            verifier: wire::rpc::OpaqueAuth::none(),
        }
        .encode(&mut out);
        wire::Xdr::encode(
            &Read3args {
                file: object.clone(),
                offset: 0,
                count: 1 << 20,
            },
            &mut out,
        );
        let mut greedy = connect(&world);
        let length = out.len() as u32 - 4;
        out.patch_u32(0, 0x8000_0000 | length);
        let call = out.finish();
        for _ in 0..100 {
            greedy.write_all(&call).expect("a request is sent");
        }
        let reader = world.reader();
        for at in 0..16 {
            reader
                .read(&object, at << 20, 1 << 20)
                .await
                .expect("others are served");
        }
        assert!(world.running().metrics().in_flight_bytes <= 16 << 20);
        drop(greedy);
        world.stop().await;
    }
}
