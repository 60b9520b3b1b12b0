//! The metadata server's own program: who may call it, what it refuses, and that nothing it is asked
//! takes long. What it does right is the conformance suite's, in `backend-nfs`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nfs_client::{Client, Error};
use wire::ds::*;
use wire::nfs3::*;

mod world;
use world::*;

const ALL: Share = Share {
    unit: 0,
    count: 1,
    index: 0,
};

fn span(begin: u64, end: u64) -> Span {
    Span { begin, end }
}

fn seek(object: &Fh3, within: Span, share: Share, what: What) -> SeekArgs {
    SeekArgs {
        object: object.clone(),
        within,
        share,
        what,
    }
}

fn allocate(object: &Fh3, span: Span, share: Share) -> AllocateArgs {
    AllocateArgs {
        object: object.clone(),
        span,
        share,
    }
}

fn deallocate(object: &Fh3, span: Span) -> DeallocateArgs {
    DeallocateArgs {
        object: object.clone(),
        span,
    }
}

fn pull(origin: SocketAddr, source: &Fh3, object: &Fh3, length: u32) -> PullArgs {
    PullArgs {
        origin: Address(origin),
        source: source.clone(),
        source_offset: 0,
        uid: OWNER,
        gid: GROUP,
        object: object.clone(),
        offset: 0,
        length,
    }
}

/// Everything that changes an object.
async fn changes(
    caller: &Client,
    origin: SocketAddr,
    from: &Fh3,
    to: &Fh3,
) -> [Option<Nfsstat3>; 3] {
    let why = |answer: Result<(), Error>| answer.err().and_then(|error| error.status());
    [
        why(caller
            .allocate(&allocate(to, span(0, 8192), ALL))
            .await
            .map(drop)),
        why(caller
            .deallocate(&deallocate(to, span(0, 4096)))
            .await
            .map(drop)),
        why(caller.pull(&pull(origin, from, to, 4096)).await.map(drop)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_the_metadata_server_of_this_term_is_obeyed() {
    for engine in engines() {
        let world = World::new(engine);
        let (from, to) = (world.object(1).await, world.object(2).await);
        let origin = world.running().addresses()[0];
        let owner = world.owner(OWNER);
        let acces = Some(Nfsstat3::Acces);
        assert_eq!(changes(&owner, origin, &from, &to).await, [acces; 3]);
        assert_eq!(status(owner.abilities().await), acces);
        let asked = seek(&from, span(0, 10), ALL, What::Data);
        assert_eq!(status(owner.seek(&asked).await), acces);
        let mds = world.mds();
        assert_eq!(changes(&mds, origin, &from, &to).await, [None; 3]);
        let successor = world.mds_of_term(2);
        successor
            .setattr(&to, owner_is(NEXT_OWNER), None)
            .await
            .expect("a new term's fence");
        assert_eq!(
            changes(&mds, origin, &from, &to).await,
            [Some(Nfsstat3::Rofs); 3]
        );
        assert_eq!(changes(&successor, origin, &from, &to).await, [None; 3]);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_within_bounds() {
    for engine in engines() {
        let world = World::new(engine);
        let (mds, object) = (world.mds(), world.object(1).await);
        for (unit, count, index) in [(4096, 4, 4), (0, 2, 0), (4096, 0, 0), (4096, 1, 1)] {
            let share = Share { unit, count, index };
            let asked = seek(&object, span(0, 10), share, What::Hole);
            assert_eq!(status(mds.seek(&asked).await), Some(Nfsstat3::Inval));
            let asked = allocate(&object, span(0, 10), share);
            assert_eq!(status(mds.allocate(&asked).await), Some(Nfsstat3::Inval));
        }
        let far = span(u64::MAX - 10, u64::MAX);
        let found = mds
            .seek(&seek(&object, far, ALL, What::Hole))
            .await
            .expect("it is answered");
        assert_eq!((found.verdict, found.offset), (Verdict::Found, far.begin));
        let found = mds
            .seek(&seek(&object, far, ALL, What::Data))
            .await
            .expect("it is answered");
        assert_eq!(found.verdict, Verdict::Nowhere);
        let asked = allocate(&object, far, ALL);
        assert_eq!(status(mds.allocate(&asked).await), Some(Nfsstat3::Fbig));
        let reached = mds
            .deallocate(&deallocate(&object, far))
            .await
            .expect("nothing is there");
        assert_eq!(reached.offset, far.end);
        let backwards = mds.deallocate(&deallocate(&object, span(10, 5))).await;
        assert_eq!(backwards.expect("an empty range").offset, 5);
        let stranger = Fh3::new(vec![7; 44]).expect("44 bytes are a handle");
        let refused = mds.deallocate(&deallocate(&stranger, span(0, 1))).await;
        assert_eq!(status(refused), Some(Nfsstat3::Badhandle));
        let unknown = Share {
            unit: 1,
            count: u32::MAX,
            index: 0,
        };
        let began = Instant::now();
        let asked = seek(&object, span(0, u64::MAX), unknown, What::Data);
        assert_eq!(
            mds.seek(&asked).await.expect("it is answered").verdict,
            Verdict::Nowhere
        );
        let tiny = Share {
            unit: 1,
            count: 2,
            index: 0,
        };
        let asked = allocate(&object, span(0, 1 << 40), tiny);
        let reached = mds
            .allocate(&asked)
            .await
            .expect("a beginning is done")
            .offset;
        assert!(reached > 0 && reached < 1 << 20, "{reached}");
        assert!(began.elapsed() < Duration::from_secs(20));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn space_beyond_the_operator_s_limit_is_not_set_aside() {
    for engine in engines() {
        let world = World::with(engine, |config| config.capacity_bytes = Some(4 << 20));
        let (mds, object) = (world.mds(), world.object(1).await);
        let asked = allocate(&object, span(0, 64 << 20), ALL);
        assert_eq!(status(mds.allocate(&asked).await), Some(Nfsstat3::Nospc));
        let fits = allocate(&object, span(0, 3 << 20), ALL);
        assert_eq!(mds.allocate(&fits).await.expect("it fits").offset, 3 << 20);
        let other = world.object(2).await;
        let asked = allocate(&other, span(0, 2 << 20), ALL);
        assert_eq!(status(mds.allocate(&asked).await), Some(Nfsstat3::Nospc));
        mds.setattr(&object, size_is(3 << 20), None)
            .await
            .expect("padded, as it always is after that");
        mds.deallocate(&deallocate(&object, span(0, 3 << 20)))
            .await
            .expect("it is given back");
        assert_eq!(
            mds.allocate(&asked).await.expect("now it fits").offset,
            2 << 20
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_can_t_be_read_is_told_soon_and_holds_up_no_fence() {
    for engine in engines() {
        let (world, other) = (World::new(engine), World::new(engine));
        let (mds, object) = (world.mds(), world.object(1).await);
        let source = other.object(1).await;
        let mut there = pull(other.running().addresses()[0], &source, &object, 4096);
        there.uid = STRANGER;
        there.gid = STRANGER;
        assert_eq!(
            status(mds.pull(&there).await),
            Some(Nfsstat3::Remote),
            "it may not be read"
        );
        // Bound and never accepted from: a server that hangs.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let silent_at = silent.local_addr().expect("a bound socket has an address");
        let began = Instant::now();
        let hanging = pull(silent_at, &source, &object, 4096);
        let (pulled, fenced) = tokio::join!(mds.pull(&hanging), async {
            let fenced = mds.setattr(&object, owner_is(NEXT_OWNER), None).await;
            (fenced, began.elapsed())
        });
        assert_eq!(status(pulled), Some(Nfsstat3::Remote));
        assert!(
            began.elapsed() < Duration::from_secs(9),
            "sooner than its caller gives up"
        );
        fenced.0.expect("the fence is answered");
        assert!(fenced.1 < Duration::from_secs(3), "and not after the pull");
        other.stop().await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_procedures_are_counted_by_name() {
    let world = World::new(ds::EngineChoice::Threads);
    let (mds, object) = (world.mds(), world.object(1).await);
    let asked = seek(&object, span(0, 10), ALL, What::Hole);
    mds.seek(&asked).await.expect("it is answered");
    let metrics = world.running().metrics();
    let counted = |name| {
        let procedure = metrics
            .procedures
            .iter()
            .find(|counted| counted.name == name);
        procedure.expect("it is counted").calls()
    };
    assert_eq!((counted("SEEK"), counted("PULL")), (1, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_takes_no_space_where_blocks_can_be_shared() {
    const BYTES: usize = 32 << 20;
    let world = World::new(ds::EngineChoice::Threads);
    let mds = world.mds();
    let (from, to) = (world.object(1).await, world.object(2).await);
    let block = mds.abilities().await.expect("told").clone_block_bytes;
    let clone = |source_offset, span| CloneArgs {
        source: from.clone(),
        source_offset,
        object: to.clone(),
        span,
    };
    let whole = clone(0, span(0, BYTES as u64));
    if block == 0 {
        println!("skipped: the file system of the temporary folder shares no blocks");
        let refused = mds.clone_range(&whole).await;
        assert_eq!(status(refused), Some(Nfsstat3::Notsupp));
        return;
    }
    let data = pattern(BYTES, 1);
    for at in (0..BYTES).step_by(1 << 20) {
        let piece = data.slice(at..at + (1 << 20));
        mds.write(&from, at as u64, StableHow::Unstable, piece)
            .await
            .expect("it is written");
    }
    mds.commit(&from, 0, 0).await.expect("it is committed");
    let before = world.running().metrics().free_bytes;
    let reached = mds.clone_range(&whole).await.expect("blocks are shared");
    assert_eq!(reached.offset, BYTES as u64);
    let after = world.running().metrics().free_bytes;
    assert!(
        before.abs_diff(after) < BYTES as u64 / 4,
        "{before} {after}"
    );
    let read = mds.read(&to, 17 << 20, 1 << 20).await.expect("it is read");
    assert_eq!(read.data, data.slice(17 << 20..18 << 20));
    let amiss = clone(1, span(0, 10));
    assert_eq!(status(mds.clone_range(&amiss).await), Some(Nfsstat3::Inval));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_objects_are_made_by_one_call_for_the_metadata_server_alone() {
    for engine in engines() {
        let mut world = World::new(engine);
        let new = |number: u8| NewObject {
            id: [number; 16],
            uid: OWNER,
            gid: GROUP,
        };
        let args = MakeArgs {
            mode: 0o640,
            objects: (1..=3).map(new).collect(),
        };
        let refused = world.owner(OWNER).make(&args).await;
        assert_eq!(status(refused), Some(Nfsstat3::Acces));
        let made = world
            .mds_of_term(2)
            .make(&args)
            .await
            .expect("all are made");
        let late = world.mds_of_term(1).make(&args).await;
        assert_eq!(status(late), Some(Nfsstat3::Rofs));
        world.restart().await;
        let owner = world.owner(OWNER);
        for handle in &made.handles {
            let data = pattern(5000, 1);
            let wrote = owner.write(handle, 0, StableHow::FileSync, data).await;
            assert_eq!(
                wrote.expect("its owner writes").committed,
                StableHow::FileSync
            );
        }
        let used = world.mds_of_term(2).make(&args).await;
        assert!(status(used).is_some());
        world.stop().await;
    }
}
