//! What every data server must do with ranges of objects, by itself or by what stands in for it.
//!
//! Never here: what only one kind of data server does.

use super::*;
use crate::{Origin, Seek, Sought};
use layout::Stripe;
use std::ops::Range;

/// Whole blocks of every file system there is.
const BLOCK: u64 = 64 << 10;
/// Calls until something of a few megabytes must be done.
const ROUNDS: u32 = 1000;

/// Asks on until the search ends.
async fn sought(
    server: &dyn DataServer,
    handle: &Bytes,
    within: Range<u64>,
    stripe: Stripe,
    what: Seek,
) -> Option<u64> {
    let mut rest = within.clone();
    for _ in 0..ROUNDS {
        let found = server
            .seek(handle, rest.clone(), stripe, what)
            .await
            .expect("a search succeeds");
        match found {
            Sought::At(at) => {
                assert_eq!(stripe.run(&(at..within.end)).map(|run| run.start), Some(at));
                assert!(at >= rest.start);
                return Some(at);
            }
            Sought::Nowhere => return None,
            Sought::NotBefore(at) => {
                assert!(at > rest.start && at <= rest.end, "a search gets further");
                rest.start = at;
            }
        }
    }
    panic!("a search ends");
}

async fn holed(server: &dyn DataServer, handle: &Bytes, range: Range<u64>) {
    let mut at = range.start;
    for _ in 0..ROUNDS {
        if at >= range.end {
            return;
        }
        let reached = server
            .deallocate(handle, at..range.end)
            .await
            .expect("a hole can be made");
        assert!(reached > at && reached <= range.end, "it gets further");
        at = reached;
    }
    panic!("a hole is made in the end");
}

async fn cloned(
    server: &dyn DataServer,
    source: &Bytes,
    offset: u64,
    handle: &Bytes,
    range: Range<u64>,
) {
    let mut at = range.start;
    for _ in 0..ROUNDS {
        if at >= range.end {
            return;
        }
        let from = offset + (at - range.start);
        let reached = server
            .clone_range(source, from, handle, at..range.end)
            .await
            .expect("blocks can be shared");
        assert!(reached > at && reached <= range.end, "it gets further");
        at = reached;
    }
    panic!("a clone is made in the end");
}

async fn pulled(
    server: &dyn DataServer,
    origin: &Origin,
    from: u64,
    handle: &Bytes,
    to: u64,
    length: u32,
) {
    let mut done = 0;
    while done < length {
        let (at, place) = (from + u64::from(done), to + u64::from(done));
        let written = server
            .pull(origin, at, handle, place, length - done)
            .await
            .expect("bytes can be fetched");
        assert!(written.count > 0 && written.count <= length - done);
        done += written.count;
    }
    server.commit(handle).await.expect("a COMMIT succeeds");
}

pub async fn holes_are_told_from_data_or_all_is_data(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 20).await;
    let data = pattern(1000, 1);
    write_all(&*server, &handle, 4 * BLOCK + 10, &data, Stability::Durable).await;
    let size = 4 * BLOCK + 1010;
    let seek =
        async |from, what| sought(&*server, &handle, from..8 * BLOCK, Stripe::WHOLE, what).await;
    let found = seek(0, Seek::Data).await.expect("there is data");
    if server.capabilities().ranges.sparse {
        assert!((4 * BLOCK..=4 * BLOCK + 10).contains(&found), "{found}");
        assert_eq!(seek(5, Seek::Hole).await, Some(5));
    } else {
        assert_eq!(found, 0);
        assert_eq!(seek(5, Seek::Hole).await, Some(size));
    }
    let end = seek(4 * BLOCK + 500, Seek::Hole)
        .await
        .expect("past the end all is hole");
    assert!(end >= size.min(end) && end <= 5 * BLOCK, "{end}");
    assert_eq!(seek(size, Seek::Data).await, None);
    assert_eq!(seek(6 * BLOCK, Seek::Hole).await, Some(6 * BLOCK));
    let before = sought(&*server, &handle, 0..0, Stripe::WHOLE, Seek::Hole).await;
    assert_eq!(before, None, "nothing is in an empty range");
}

pub async fn a_search_looks_at_what_the_stripe_owns_alone(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 21).await;
    let stripe = Stripe::new(BLOCK as u32, 4, 1).expect("a share");
    // As one of four stripes that are dense up to 12 units, with one hole.
    for unit in [1, 5, 9] {
        let data = pattern(BLOCK as usize, unit as u8);
        write_all(&*server, &handle, unit * BLOCK, &data, Stability::Unstable).await;
    }
    server
        .extend(&handle, 40 * BLOCK)
        .await
        .expect("it can be padded");
    let seek = async |from, what| sought(&*server, &handle, from..64 * BLOCK, stripe, what).await;
    assert_eq!(seek(0, Seek::Data).await, Some(BLOCK));
    assert_eq!(seek(2 * BLOCK, Seek::Data).await, Some(5 * BLOCK));
    let hole = seek(0, Seek::Hole).await;
    if server.capabilities().ranges.sparse {
        assert_eq!(
            hole,
            Some(13 * BLOCK),
            "holes between the units are other stripes'"
        );
        assert_eq!(seek(10 * BLOCK, Seek::Data).await, None);
    } else {
        assert_eq!(hole, Some(41 * BLOCK));
    }
}

pub async fn a_hole_reads_as_zeros_and_leaves_the_size(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 22).await;
    let mut expected = pattern(8 * BLOCK as usize + 100, 3).to_vec();
    let data = Bytes::from(expected.clone());
    write_all(&*server, &handle, 0, &data, Stability::Durable).await;
    let before = server.stat(&handle).await.expect("the object is there");
    for range in [
        10..20,
        BLOCK - 1..3 * BLOCK + 7,
        8 * BLOCK..64 * BLOCK,
        9 * BLOCK..u64::MAX,
    ] {
        holed(&*server, &handle, range.clone()).await;
        let end = range.end.min(expected.len() as u64);
        if range.start < end {
            expected[range.start as usize..end as usize].fill(0);
        }
        assert!(
            read_all(&*server, &handle, 0, expected.len() + 1).await == expected,
            "{range:?}"
        );
    }
    let after = server.stat(&handle).await.expect("the object is there");
    assert_eq!(after.size, before.size);
    if server.capabilities().ranges.sparse {
        assert!(
            after.used < before.used,
            "{} of {} are given back",
            after.used,
            before.used
        );
        let all = 0..8 * BLOCK;
        let hole = sought(&*server, &handle, all, Stripe::WHOLE, Seek::Hole).await;
        assert!(
            hole.is_some_and(|at| (BLOCK - 4096..=BLOCK + 4096).contains(&at)),
            "{hole:?}"
        );
    }
}

pub async fn a_hole_survives_a_restart(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 23).await;
    write_all(
        &*server,
        &handle,
        0,
        &pattern(3 * BLOCK as usize, 1),
        Stability::Durable,
    )
    .await;
    write_all(
        &*server,
        &handle,
        BLOCK,
        &pattern(BLOCK as usize, 2),
        Stability::Unstable,
    )
    .await;
    holed(&*server, &handle, BLOCK..2 * BLOCK).await;
    if !server.capabilities().ranges.sparse {
        server.commit(&handle).await.expect("a COMMIT succeeds");
    }
    if !subject.restart().await {
        println!("skipped: this test can't restart the server");
        return;
    }
    let mut expected = pattern(3 * BLOCK as usize, 1).to_vec();
    expected[BLOCK as usize..2 * BLOCK as usize].fill(0);
    assert!(read_all(&*server, &handle, 0, expected.len()).await == expected);
}

pub async fn space_set_aside_changes_no_byte_and_no_size(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 24).await;
    write_all(&*server, &handle, 0, &pattern(100, 1), Stability::Durable).await;
    let before = server.stat(&handle).await.expect("the object is there");
    let stripe = Stripe::new(BLOCK as u32, 2, 0).expect("a share");
    let range = 0..32 * BLOCK;
    if !server.capabilities().ranges.reserve {
        let refused = server.allocate(&handle, range, stripe).await;
        assert_eq!(kind(refused), ErrorKind::Unsupported);
        return;
    }
    let mut at = range.start;
    while at < range.end {
        let reached = server
            .allocate(&handle, at..range.end, stripe)
            .await
            .expect("there is space");
        assert!(reached > at && reached <= range.end, "it gets further");
        at = reached;
    }
    let after = server.stat(&handle).await.expect("the object is there");
    assert_eq!(after.size, before.size);
    let taken = after.used - before.used;
    assert!(
        (15 * BLOCK..=17 * BLOCK).contains(&taken),
        "every other unit: {taken}"
    );
    server
        .extend(&handle, range.end)
        .await
        .expect("it can be padded");
    let mut expected = pattern(100, 1).to_vec();
    expected.resize(range.end as usize, 0);
    assert!(read_all(&*server, &handle, 0, expected.len()).await == expected);
    let kept = server.stat(&handle).await.expect("the object is there");
    assert_eq!(kept.used, after.used, "padding gives none of it back");
    let past = server.allocate(&handle, 0..u64::MAX, stripe).await;
    assert_eq!(kind(past), ErrorKind::TooLarge, "no object is so long");
}

pub async fn a_clone_holds_the_same_bytes_and_lives_on_its_own(subject: &dyn Subject) {
    let server = subject.server();
    let (source, target) = (object(&*server, 25).await, object(&*server, 26).await);
    let held = pattern(4 * BLOCK as usize + 77, 1);
    write_all(&*server, &source, BLOCK, &held, Stability::Unstable).await;
    write_all(
        &*server,
        &target,
        0,
        &pattern(2 * BLOCK as usize, 9),
        Stability::Durable,
    )
    .await;
    let range = BLOCK..6 * BLOCK + 77;
    if server.capabilities().ranges.clone_block_bytes.is_none() {
        let refused = server.clone_range(&source, 0, &target, range).await;
        assert_eq!(kind(refused), ErrorKind::Unsupported);
        return;
    }
    cloned(&*server, &source, 0, &target, range.clone()).await;
    cloned(&*server, &source, 0, &target, range).await;
    let mut expected = pattern(2 * BLOCK as usize, 9).to_vec();
    expected.resize(2 * BLOCK as usize, 0);
    expected[BLOCK as usize..].fill(0);
    expected.extend_from_slice(&held);
    write_all(
        &*server,
        &source,
        BLOCK,
        &pattern(BLOCK as usize, 50),
        Stability::Durable,
    )
    .await;
    assert!(read_all(&*server, &target, 0, expected.len() + 1).await == expected);
    if server.capabilities().ranges.sparse {
        let hole = sought(&*server, &target, 0..4 * BLOCK, Stripe::WHOLE, Seek::Hole).await;
        assert_eq!(hole, Some(BLOCK), "a hole is cloned as one");
    }
    subject.restart().await;
    assert!(read_all(&*server, &target, 0, expected.len() + 1).await == expected);
}

pub async fn a_clone_within_a_block_or_past_the_end_is_refused(subject: &dyn Subject) {
    let server = subject.server();
    let (source, target) = (object(&*server, 27).await, object(&*server, 28).await);
    write_all(
        &*server,
        &source,
        0,
        &pattern(BLOCK as usize, 1),
        Stability::Durable,
    )
    .await;
    for (offset, range) in [
        (1, 0..10),
        (0, 1..10),
        (0, 0..BLOCK + 1),
        (u64::MAX - BLOCK + 1, 0..10),
    ] {
        let refused = server.clone_range(&source, offset, &target, range).await;
        assert_eq!(kind(refused), ErrorKind::Unsupported);
    }
    assert_eq!(
        server
            .stat(&target)
            .await
            .expect("the object is there")
            .size,
        0
    );
}

pub async fn bytes_are_fetched_from_where_they_lie(subject: &dyn Subject) {
    let server = subject.server();
    if !server.capabilities().ranges.pull {
        let handle = object(&*server, 29).await;
        assert_eq!(server.origin(&handle, FIRST), None);
        return;
    }
    let target = object(&*server, 30).await;
    let data = pattern(3 * BLOCK as usize + 5, 7);
    for (turn, from) in [Some(subject.server()), subject.neighbour().await]
        .into_iter()
        .flatten()
        .enumerate()
    {
        let source = object(&*from, 31 + turn as u128).await;
        write_all(&*from, &source, 100, &data, Stability::Unstable).await;
        let origin = from.origin(&source, FIRST).expect("it can be read");
        let place = turn as u64 * 16 * BLOCK + 3;
        let length = data.len() as u32 + 50;
        pulled(&*server, &origin, 90, &target, place, length).await;
        pulled(&*server, &origin, 90, &target, place, length).await;
        let mut expected = vec![0; 10];
        expected.extend_from_slice(&data);
        expected.resize(length as usize, 0);
        assert!(read_all(&*server, &target, place, expected.len()).await == expected);
    }
    let own = subject
        .server()
        .origin(&target, FIRST)
        .expect("it can be read");
    let nowhere = Origin {
        handle: Bytes::from_static(&[9; 44]),
        ..own
    };
    let refused = server.pull(&nowhere, 0, &target, 0, 10).await;
    assert_eq!(
        kind(refused),
        ErrorKind::Unsupported,
        "it can't be read there"
    );
}

pub async fn ranges_of_a_removed_object_are_gone(subject: &dyn Subject) {
    let server = subject.server();
    let (kept, handle) = (object(&*server, 40).await, object(&*server, 41).await);
    write_all(
        &*server,
        &kept,
        0,
        &pattern(BLOCK as usize, 1),
        Stability::Durable,
    )
    .await;
    let id = ObjectId(41 << 64 | 0x7e57);
    server.remove(id).await.expect("an object can be removed");
    let can = server.capabilities().ranges;
    let found = server.seek(&handle, 0..10, Stripe::WHOLE, Seek::Data).await;
    assert_eq!(kind(found), ErrorKind::Gone);
    assert_eq!(
        kind(server.deallocate(&handle, 0..10).await),
        ErrorKind::Gone
    );
    if can.reserve {
        let refused = server.allocate(&handle, 0..10, Stripe::WHOLE).await;
        assert_eq!(kind(refused), ErrorKind::Gone);
    }
    if can.clone_block_bytes.is_some() {
        let refused = server.clone_range(&kept, 0, &handle, 0..BLOCK).await;
        assert_eq!(kind(refused), ErrorKind::Gone);
    }
    if let Some(origin) = server.origin(&kept, FIRST) {
        assert_eq!(
            kind(server.pull(&origin, 0, &handle, 0, 10).await),
            ErrorKind::Gone
        );
    }
}
