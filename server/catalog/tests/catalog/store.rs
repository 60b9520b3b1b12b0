//! What every engine promises, tried on each.

use crate::world::*;
use bytes::Bytes;
use catalog::store::{
    Committed, Direction, Durability, Faults, FjallOptions, FjallStore, IdempotencyKey, KeyRange,
    MemoryStore, Outcome, Snapshot, Store, StoreError, Transaction, VALUE_MAX_BYTES, Write,
};
use std::sync::Arc;

/// Runs the body on each engine, fresh.
fn on_each_engine(body: &impl AsyncFn(&dyn Store)) {
    let folder = tempfile::tempdir().unwrap();
    let fjall = FjallStore::open(folder.path(), &FjallOptions::default()).unwrap();
    run(async {
        body(&MemoryStore::new()).await;
        body(&fjall).await;
    });
}

fn writing(number: u128, writes: impl IntoIterator<Item = (Bytes, Write)>) -> Transaction {
    let mut transaction = Transaction::blind(IdempotencyKey(number));
    transaction.writes.extend(writes);
    transaction
}

fn set(key: &[u8], value: &str) -> (Bytes, Write) {
    (
        Bytes::copy_from_slice(key),
        Write::Set(Bytes::copy_from_slice(value.as_bytes())),
    )
}

fn range(start: &[u8], end: &[u8]) -> KeyRange {
    KeyRange {
        start: Bytes::copy_from_slice(start),
        end: Bytes::copy_from_slice(end),
    }
}

async fn committed(store: &dyn Store, transaction: Transaction) -> Committed {
    match store.commit(Arc::new(transaction)).await.unwrap() {
        Outcome::Committed(committed) => committed,
        other => panic!("{other:?}"),
    }
}

async fn text(snapshot: &Arc<dyn Snapshot>, key: &str) -> Option<String> {
    let value = snapshot.get(key.as_bytes()).await.unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

fn add_one(number: u128) -> Transaction {
    writing(
        number,
        [("sum".into(), Write::Add(vec![1, 0, 0, 0].into()))],
    )
}

#[test]
fn a_snapshot_shows_what_was_committed_before_it_and_nothing_later() {
    on_each_engine(&async |store| {
        committed(store, writing(1, [set(b"a", "1"), set(b"b", "1")])).await;
        let early = store.snapshot().await.unwrap();
        committed(
            store,
            writing(2, [set(b"a", "2"), ("b".into(), Write::Delete)]),
        )
        .await;
        let late = store.snapshot().await.unwrap();
        assert!(late.version() > early.version());
        assert_eq!(
            (text(&early, "a").await, text(&early, "b").await),
            (Some("1".into()), Some("1".into()))
        );
        assert_eq!(
            (text(&late, "a").await, text(&late, "b").await),
            (Some("2".into()), None)
        );
        let keys = [Bytes::from("b"), Bytes::from("a")];
        assert_eq!(
            late.multi_get(&keys).await.unwrap(),
            [None, Some("2".into())]
        );
    });
}

#[test]
fn a_transaction_whose_reads_have_changed_conflicts_and_leaves_no_trace() {
    on_each_engine(&async |store| {
        let version = store.snapshot().await.unwrap().version();
        committed(store, writing(1, [set(b"k5", "x")])).await;
        let reader = |number, reads: Option<&'static str>, ranges: Option<KeyRange>| {
            let mut transaction = writing(number, [set(b"trace", "x")]);
            transaction.read_version = version;
            transaction.reads.extend(reads.map(Bytes::from));
            transaction.read_ranges.extend(ranges);
            Arc::new(transaction)
        };
        let conflicting = [
            reader(2, Some("k5"), None),
            reader(3, None, Some(range(b"k0", b"k9"))),
        ];
        for transaction in conflicting {
            assert_eq!(store.commit(transaction).await.unwrap(), Outcome::Conflict);
        }
        assert_eq!(text(&store.snapshot().await.unwrap(), "trace").await, None);
        let others = [
            reader(4, Some("k4"), None),
            reader(5, None, Some(range(b"k6", b"k9"))),
        ];
        for transaction in others {
            assert!(matches!(
                store.commit(transaction).await,
                Ok(Outcome::Committed(_))
            ));
        }
    });
}

/// Of which a crash may take back what it says.
fn ordered(number: u128, key: &'static [u8]) -> Transaction {
    Transaction {
        durability: Durability::Ordered,
        ..writing(number, [set(key, "x")])
    }
}

#[test]
fn what_needs_no_sync_is_seen_at_once_and_syncs_nothing() {
    on_each_engine(&async |store| {
        committed(store, writing(1, [set(b"a", "1")])).await;
        let before = store.stats();
        committed(store, ordered(2, b"b")).await;
        let snapshot = store.snapshot().await.unwrap();
        assert_eq!(text(&snapshot, "b").await, Some("x".into()));
        let after = store.stats();
        assert_eq!(after.syncs, before.syncs);
        assert_eq!(after.batches, before.batches + 1);
        committed(store, writing(3, [set(b"c", "1")])).await;
        assert_eq!(store.stats().syncs, before.syncs + 1);
    });
}

#[test]
fn what_needs_no_sync_and_what_does_are_committed_beside_each_other() {
    const CALLERS: u128 = 4;
    const EACH: u128 = 200;
    let folder = tempfile::tempdir().unwrap();
    let open = || FjallStore::open(folder.path(), &FjallOptions::default()).unwrap();
    let store = open();
    let callers = (0..CALLERS).map(async |caller| {
        for turn in 0..EACH {
            let durability = if caller % 2 == 0 {
                Durability::Ordered
            } else {
                Durability::Synced
            };
            let add = Transaction {
                durability,
                ..add_one(1 + turn * CALLERS + caller)
            };
            committed(&store, add).await;
        }
    });
    run(futures_util::future::join_all(callers));
    let all = u32::try_from(CALLERS * EACH).unwrap();
    assert_eq!(store.stats().commits, u64::from(all));
    drop(store);
    run(async {
        let last = committed(&open(), add_one(1 + CALLERS * EACH)).await;
        let before = last.merged[0].before.clone().unwrap();
        assert_eq!(before, Bytes::copy_from_slice(&all.to_le_bytes()));
    });
}

#[test]
fn a_stop_keeps_what_needed_no_sync() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let open = || FjallStore::open(folder.path(), &FjallOptions::default()).unwrap();
        committed(&open(), ordered(1, b"a")).await;
        let snapshot = open().snapshot().await.unwrap();
        assert_eq!(text(&snapshot, "a").await, Some("x".into()));
    });
}

#[test]
fn a_crash_takes_back_the_end_of_what_needed_no_sync_and_nothing_before() {
    run(async {
        let (mut all, mut none) = (0, 0);
        for seed in 1..100 {
            let store = MemoryStore::with_faults(Faults {
                seed,
                ..Faults::default()
            });
            committed(&store, ordered(1, b"a")).await;
            committed(&store, writing(2, [set(b"b", "1")])).await;
            committed(&store, ordered(3, b"c")).await;
            committed(&store, ordered(4, b"d")).await;
            let left = store.crash().snapshot().await.unwrap();
            for kept in ["a", "b"] {
                assert!(text(&left, kept).await.is_some(), "{kept}, seed {seed}");
            }
            let (c, d) = (text(&left, "c").await, text(&left, "d").await);
            assert!(c.is_some() || d.is_none(), "out of order, seed {seed}");
            all += u32::from(d.is_some());
            none += u32::from(c.is_none());
        }
        assert!(all > 0 && none > 0, "{all} kept all, {none} nothing");
    });
}

#[test]
fn a_transaction_sent_again_is_answered_and_not_repeated() {
    on_each_engine(&async |store| {
        let first = committed(store, add_one(1)).await;
        assert_eq!(committed(store, add_one(1)).await, first);
        let second = committed(store, add_one(2)).await;
        assert_eq!(second.merged[0].before, Some(first.merged[0].after.clone()));
        assert!(second.version > first.version);
    });
}

#[test]
fn the_record_of_answers_survives_a_restart() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let open = || FjallStore::open(folder.path(), &FjallOptions::default()).unwrap();
        let first = committed(&open(), add_one(1)).await;
        assert_eq!(committed(&open(), add_one(1)).await, first);
    });
}

#[test]
fn a_range_is_cleared_before_the_writes_and_a_scan_goes_both_ways_in_pages() {
    on_each_engine(&async |store| {
        let rows = (0..10_u8).map(|number| set(&[b'k', number], "x"));
        committed(store, writing(1, rows)).await;
        let mut transaction = writing(2, [(vec![b'k', 4].into(), Write::Stamp)]);
        transaction.clears.push(range(&[b'k', 3], &[b'k', 6]));
        let stamped = committed(store, transaction).await;
        let snapshot = store.snapshot().await.unwrap();
        let stamp = snapshot.get(&[b'k', 4]).await.unwrap().unwrap();
        assert_eq!(stamp.as_ref(), stamped.version.to_be_bytes());
        let forward = [0, 1, 2, 4, 6, 7, 8, 9];
        let backward = [9, 8, 7, 6, 4, 2, 1, 0];
        for (direction, expected) in [
            (Direction::Forward, forward),
            (Direction::Backward, backward),
        ] {
            let mut rest = Some(range(b"k", b"l"));
            let mut seen = Vec::new();
            while let Some(range) = rest {
                let page = snapshot.scan(&range, direction, 3).await.unwrap();
                assert!((1..=3).contains(&page.rows.len()));
                seen.extend(page.rows.iter().map(|(key, _)| key[1]));
                rest = page.rest;
            }
            assert_eq!(seen, expected);
        }
    });
}

#[test]
fn a_max_keeps_the_larger_and_tells_before_and_after() {
    on_each_engine(&async |store| {
        for (number, operand, after) in [(1, 5, 5_u64), (2, 3, 5), (3, 9, 9)] {
            let done = committed(store, writing(number, [("m".into(), Write::Max(operand))])).await;
            assert_eq!(done.merged[0].after.as_ref(), after.to_le_bytes());
        }
    });
}

#[test]
fn a_value_larger_than_every_engine_takes_is_refused() {
    on_each_engine(&async |store| {
        let large = Write::Set(vec![0; VALUE_MAX_BYTES + 1].into());
        let refused = store
            .commit(Arc::new(writing(1, [("a".into(), large)])))
            .await;
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    });
}
