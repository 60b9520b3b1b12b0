//! A bucket keeps the contract of data servers: over a server in memory, or over the one that
//! `HEADRACE_S3_ENDPOINT` names. And what only a bucket has to prove.

mod keeper;
mod s3_server;
mod shelf;
mod world;

use async_trait::async_trait;
use backend::conformance::Subject;
use backend::tree::Direct;
use backend::{DataServer, Error, ErrorKind, Fetched, Stability};
use bytes::Bytes;
use keeper::{Keeper, MARK, OWNER, key};
use layout::{ObjectId, Owner};
use shelf::Shelf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

const MIB: usize = 1 << 20;

struct Kept(Arc<Keeper>);

#[async_trait]
impl Subject for Kept {
    fn server(&self) -> Arc<dyn DataServer> {
        self.0.clone()
    }

    async fn client_read(&self, _: Owner, _: &Bytes, _: u64, _: u32) -> Result<Fetched, Error> {
        Err(Error::new(ErrorKind::Unsupported, "no client speaks S3"))
    }

    async fn client_write(&self, _: Owner, _: &Bytes, _: u64, _: Bytes) -> Result<(), Error> {
        Err(Error::new(ErrorKind::Unsupported, "no client speaks S3"))
    }

    async fn restart(&self) -> bool {
        self.0.restart().await;
        true
    }
}

async fn subject() -> Kept {
    Kept(Keeper::any().await)
}

backend::conformance_tests!(subject());

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn what_has_no_bytes_needs_no_request() {
    let keeper = Keeper::new().await;
    let asked = keeper.server().asked().len();
    let handle = keeper.object(1).await;
    let other = Owner { uid: 5, gid: 6 };
    keeper.fence(&handle, other).await.expect("it is given");
    keeper.extend(&handle, 1 << 30).await.expect("it grows");
    keeper.set_size(&handle, 3 << 20).await.expect("it is cut");
    let read = keeper.read(&handle, 2 << 20, 1 << 20).await;
    assert_eq!(read.expect("zeros").data, vec![0; MIB]);
    let stat = keeper.stat(&handle).await.expect("it is there");
    assert_eq!((stat.size, stat.owner), (3 << 20, other));
    keeper.remove(ObjectId(1)).await.expect("it is removed");
    assert_eq!(keeper.server().asked().len(), asked);
}

#[tokio::test]
async fn committed_bytes_lie_in_the_bucket_and_a_removal_leaves_nothing() {
    let keeper = Keeper::new().await;
    let (small, large) = (keeper.object(0x12ab).await, keeper.object(0x34cd).await);
    keeper.put(&small, 0, "hello").await;
    keeper.put(&large, 0, pattern(20 * MIB)).await;
    assert_eq!(keeper.objects().unsent().files, 2);
    for handle in [&small, &large] {
        keeper.commit(handle).await.expect("a COMMIT");
    }
    let there = keeper.server().object(&key(0x12ab)).expect("it is there");
    assert_eq!(there.body, "hello");
    assert!(
        keeper
            .server()
            .object(&key(0x34cd))
            .expect("it is there")
            .body
            == pattern(20 * MIB)
    );
    keeper.put(&large, 17 << 20, "changed").await;
    let mut whole = pattern(20 * MIB);
    whole[17 * MIB..17 * MIB + 7].copy_from_slice(b"changed");
    assert!(keeper.whole(&large).await == whole);
    keeper.commit(&large).await.expect("a COMMIT");
    assert!(keeper.whole(&large).await == whole);
    keeper.put(&small, 1, "unsent").await;
    for number in [0x12ab, 0x34cd] {
        keeper
            .remove(ObjectId(number))
            .await
            .expect("it is removed");
    }
    nothing_is_left(&keeper).await;
}

#[tokio::test]
async fn a_hole_lies_in_the_bucket_as_zeros() {
    let keeper = Keeper::new().await;
    // By one request, and by parts, of which one is nothing but hole.
    for (number, size) in [(1, MIB), (2, 40 * MIB)] {
        let handle = keeper.object(number).await;
        keeper.put(&handle, 0, "first").await;
        keeper.put(&handle, size as u64 - 4, "last").await;
        keeper.commit(&handle).await.expect("a COMMIT");
        let mut whole = vec![0; size];
        whole[..5].copy_from_slice(b"first");
        whole[size - 4..].copy_from_slice(b"last");
        let there = keeper.server().object(&key(number));
        assert!(there.expect("it is there").body == whole);
        assert!(keeper.whole(&handle).await == whole);
    }
}

/// But the bucket's mark.
async fn nothing_is_left(keeper: &Keeper) {
    assert_eq!(keeper.server().keys(), [MARK]);
    assert_eq!(keeper.server().uploads(), 0);
    keeper.stop().await;
    let records = backend_s3::Records::of(&keeper.options.state).expect("it can be read");
    assert!(records.objects.is_empty(), "{records:?}");
    let left = (records.unwritten.len(), records.under_way, records.spooled);
    assert_eq!(left, (0, 0, 0));
    keeper.start().await.expect("it is attached again");
}

#[tokio::test]
async fn a_size_holds_over_a_death_and_what_is_written_then_goes_up_as_it_is_seen() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(7).await;
    keeper.put(&handle, 0, "0123456789").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    keeper.set_size(&handle, 4).await.expect("it is cut");
    keeper.extend(&handle, 8).await.expect("it grows");
    keeper.restart().await;
    assert_eq!(keeper.whole(&handle).await, b"0123\0\0\0\0");
    keeper.put(&handle, 6, "x").await;
    assert_eq!(keeper.whole(&handle).await, b"0123\0\0x\0");
    // Cut while it is under change, and the change is lost.
    keeper.set_size(&handle, 3).await.expect("it is cut");
    keeper.extend(&handle, 5).await.expect("it grows");
    keeper.restart().await;
    assert_eq!(keeper.whole(&handle).await, b"012\0\0");
    keeper.put(&handle, 4, "y").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    let there = keeper.server().object(&key(7)).expect("it is there");
    assert_eq!(&there.body[..], b"012\0y");
}

#[tokio::test]
async fn one_that_is_made_again_has_none_of_its_bytes() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(7).await;
    keeper.put(&handle, 0, "secret").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    keeper.put(&handle, 0, "unsent").await;
    let handle = keeper.object(7).await;
    keeper.extend(&handle, 6).await.expect("it grows");
    assert_eq!(keeper.whole(&handle).await, [0; 6]);
    keeper.restart().await;
    keeper.put(&handle, 1, "x").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    assert_eq!(keeper.whole(&handle).await, b"\0x\0\0\0\0");
}

#[tokio::test]
async fn pieces_that_several_write_and_read_at_once_are_right() {
    const PIECES: u64 = 24;
    let keeper = Keeper::with(|options| options.spool_bytes = Some(8 << 20)).await;
    let handle = keeper.object(9).await;
    let mut callers = tokio::task::JoinSet::new();
    for piece in 0..PIECES {
        let (keeper, handle) = (keeper.clone(), handle.clone());
        callers.spawn(async move {
            let data = Bytes::from(vec![piece as u8 + 1; MIB]);
            let offset = piece << 20;
            while let Err(error) = keeper
                .write(&handle, offset, data.clone(), Stability::Unstable)
                .await
            {
                assert!(error.is_passing(), "{error}");
            }
            keeper.commit(&handle).await.expect("a COMMIT");
            let read = keeper.read(&handle, offset, 1 << 20).await.expect("a READ");
            assert!(read.data == data[..read.data.len()] && !read.data.is_empty());
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("a caller ends well");
    }
    let whole = keeper.whole(&handle).await;
    assert_eq!(whole.len() as u64, PIECES << 20);
    for (at, byte) in whole.iter().enumerate() {
        assert_eq!(usize::from(*byte), at / MIB + 1);
    }
    let there = keeper.server().object(&key(9)).expect("it is there");
    assert!(there.body == whole);
    assert_eq!(keeper.server().uploads(), 0);
}

#[tokio::test]
async fn ids_and_owners_survive_and_an_old_handle_names_no_new_object() {
    let keeper = Keeper::new().await;
    let old = keeper.object(3).await;
    keeper.remove(ObjectId(3)).await.expect("it is removed");
    let new = keeper.object(3).await;
    keeper.restart().await;
    let gone = keeper.stat(&old).await.expect_err("it is gone");
    assert_eq!(gone.kind, ErrorKind::Gone);
    assert_eq!(keeper.stat(&new).await.expect("it is there").owner, OWNER);
    assert_eq!(keeper.object(3).await, new);
}

async fn cached() -> (Arc<Keeper>, Arc<Shelf>, Bytes, Direct) {
    let shelf = Arc::new(Shelf::default());
    let cache = shelf.clone();
    let keeper = Keeper::with(|options| options.cache = Some(cache)).await;
    let handle = keeper.object(1).await;
    assert_eq!(keeper.cached(&handle).await.expect("it is asked"), None);
    keeper.put(&handle, 0, "0123456789").await;
    assert_eq!(keeper.cached(&handle).await.expect("it is asked"), None);
    keeper.commit(&handle).await.expect("a COMMIT");
    let direct = keeper.cached(&handle).await.expect("it is asked");
    let direct = direct.expect("it is cached");
    let there = keeper.server().object(&key(1)).expect("it is there");
    let version = shelf.serves(&direct).expect("it is served");
    assert_eq!(
        (version.key, version.etag, version.size),
        (key(1), there.etag, 10)
    );
    (keeper, shelf, handle, direct)
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Write,
    Cut,
    Grow,
    MakeAgain,
    Remove,
}

const CHANGES: [Change; 5] = [
    Change::Write,
    Change::Cut,
    Change::Grow,
    Change::MakeAgain,
    Change::Remove,
];

impl Change {
    async fn on(self, keeper: &Keeper, handle: &Bytes) -> Result<(), Error> {
        let data = Bytes::from_static(b"x");
        match self {
            Self::Write => keeper
                .write(handle, 3, data, Stability::Unstable)
                .await
                .map(drop),
            Self::Cut => keeper.set_size(handle, 5).await.map(drop),
            Self::Grow => keeper.extend(handle, 20).await.map(drop),
            Self::MakeAgain => keeper.create(ObjectId(1), OWNER).await.map(drop),
            Self::Remove => keeper.remove(ObjectId(1)).await,
        }
    }
}

#[tokio::test]
async fn what_is_cached_is_withdrawn_before_a_change_of_it_is_answered() {
    for change in CHANGES {
        for dies in [false, true] {
            let (keeper, shelf, handle, direct) = cached().await;
            if dies {
                keeper.restart().await;
            }
            shelf.away.store(true, SeqCst);
            let waits = change.on(&keeper, &handle).await;
            assert!(waits.is_err_and(|error| error.is_passing()), "{change:?}");
            assert_eq!(keeper.whole(&handle).await, b"0123456789", "{change:?}");
            shelf.away.store(false, SeqCst);
            change.on(&keeper, &handle).await.expect("it is changed");
            assert_eq!(shelf.serves(&direct), None, "{change:?}");
        }
    }
}

#[tokio::test]
async fn what_was_changed_is_cached_once_the_bucket_has_it_as_it_is() {
    let (keeper, shelf, handle, old) = cached().await;
    keeper.extend(&handle, 20).await.expect("it grows");
    assert_eq!(keeper.cached(&handle).await.expect("it is asked"), None);
    keeper.set_size(&handle, 5).await.expect("it is cut");
    assert_eq!(keeper.cached(&handle).await.expect("it is asked"), None);
    keeper.put(&handle, 5, "x").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    let new = keeper.cached(&handle).await.expect("it is asked");
    let new = new.expect("it is cached");
    assert_eq!(shelf.serves(&new).expect("it is served").size, 6);
    assert_eq!(shelf.serves(&old), None);
    let again = keeper.cached(&handle).await.expect("it is asked");
    assert_eq!(again, Some(new));
}
