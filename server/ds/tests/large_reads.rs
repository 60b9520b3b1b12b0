//! Large READs: what lies there, wherever they begin and end, and however many are under way.

use bytes::Bytes;
use futures_util::future::join_all;
use nfs_client::Caller;
use wire::nfs3::*;

mod world;
use world::*;

const MIB: usize = 1 << 20;
/// An odd end, in the middle of a page.
const LENGTH: usize = 3 * MIB + 300_001;

async fn filled(world: &World) -> (Fh3, Bytes) {
    let (object, owner) = (world.object(1).await, world.owner(OWNER));
    let content = pattern(LENGTH, 3);
    for start in (0..LENGTH).step_by(MIB) {
        let piece = content.slice(start..LENGTH.min(start + MIB));
        owner
            .write(&object, start as u64, StableHow::Unstable, piece)
            .await
            .expect("a write");
    }
    (object, content)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_read_is_what_lies_there_wherever_it_begins_and_ends() {
    for engine in engines() {
        let world = World::new(engine);
        let (object, content) = filled(&world).await;
        let owner = world.owner(OWNER);
        let ends = [
            LENGTH - 300_001,
            LENGTH - 262_145,
            LENGTH - 1,
            LENGTH + 4096,
        ];
        let starts = [0, 1, 4096, 65_536, MIB, 2 * MIB].into_iter().chain(ends);
        for start in starts {
            for count in [256 << 10, (256 << 10) + 2, 700_001, MIB] {
                let read = owner.read(&object, start as u64, count as u32).await;
                let read = read.expect("a read");
                let from = start.min(LENGTH);
                let expected = content.slice(from..LENGTH.min(from + count));
                assert!(read.data == expected, "{count} bytes from {start}");
                assert_eq!(read.eof, start + count >= LENGTH, "{count} from {start}");
            }
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_small_reads_of_one_connection_come_whole_and_apart() {
    for engine in engines() {
        let world = World::new(engine);
        let (object, content) = filled(&world).await;
        let owner = world.owner(OWNER);
        // More than a connection may have in flight.
        let reads = (0..200_usize).map(|number| {
            let (owner, object, content) = (&owner, &object, &content);
            async move {
                let start = number * 4096 % (2 * MIB);
                let count = if number % 3 == 0 { 1000 } else { MIB };
                let read = owner.read(object, start as u64, count as u32).await;
                let read = read.expect("a read");
                assert!(read.data == content.slice(start..start + count), "{number}");
            }
        });
        join_all(reads).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_read_of_a_hole_is_zeros_and_a_stranger_gets_none() {
    for engine in engines() {
        let world = World::new(engine);
        let object = world.object(1).await;
        world
            .mds()
            .setattr(&object, size_is(5 * MIB as u64), None)
            .await
            .expect("sized");
        let owner = world.owner(OWNER);
        let hole = owner.read(&object, MIB as u64, MIB as u32).await;
        let hole = hole.expect("a hole");
        assert!(hole.data.len() == MIB && hole.data.iter().all(|byte| *byte == 0));
        let stranger = world.caller(Caller::sys("client", STRANGER, GROUP + 1, &[]));
        let refused = stranger.read(&object, 0, MIB as u32).await;
        assert_eq!(status(refused), Some(Nfsstat3::Acces));
        world.stop().await;
    }
}
