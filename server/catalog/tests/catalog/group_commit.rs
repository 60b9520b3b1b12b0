//! Many commits, few syncs.

use crate::world::*;
use catalog::store::{
    Direction, FjallOptions, FjallStore, IdempotencyKey, KeyRange, Outcome, Store, Transaction,
    Write,
};
use std::sync::Arc;

#[test]
fn commits_that_wait_together_share_a_sync() {
    run_on_threads(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog = in_folder(folder.path()).await;
        let before = catalog.stats();
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let catalog = catalog.clone();
                tokio::spawn(async move {
                    for number in 0..8 {
                        calls(&catalog)
                            .make(ROOT, &format!("{task}-{number}"), file())
                            .await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let after = catalog.stats();
        let (commits, batches) = (
            after.commits - before.commits,
            after.batches - before.batches,
        );
        assert!(commits >= 64 * 8);
        assert!(
            batches * 4 < commits,
            "{batches} syncs for {commits} commits"
        );
        assert!(after.largest_batch > 4);
    });
}

fn add_one(number: u128) -> Arc<Transaction> {
    let mut transaction = Transaction::blind(IdempotencyKey(number));
    transaction
        .writes
        .insert("sum".into(), Write::Add(vec![1, 0, 0, 0].into()));
    Arc::new(transaction)
}

#[test]
fn a_transaction_sent_again_after_a_restart_is_answered_from_the_record() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let open = || FjallStore::open(folder.path(), &FjallOptions::default()).unwrap();
        let first = open().commit(add_one(1)).await.unwrap();
        let store = open();
        assert_eq!(store.commit(add_one(1)).await.unwrap(), first);
        let second = store.commit(add_one(2)).await.unwrap();
        let (Outcome::Committed(first), Outcome::Committed(second)) = (first, second) else {
            panic!()
        };
        assert_eq!(second.merged[0].before, Some(first.merged[0].after.clone()));
        assert!(second.version > first.version);
    });
}

#[test]
fn a_range_is_cleared_and_a_scan_goes_both_ways_in_pages() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let store = FjallStore::open(folder.path(), &FjallOptions::default()).unwrap();
        let mut transaction = Transaction::blind(IdempotencyKey(1));
        for number in 0..10_u8 {
            transaction
                .writes
                .insert(vec![b'k', number].into(), Write::Set(vec![number].into()));
        }
        store.commit(Arc::new(transaction)).await.unwrap();
        let mut transaction = Transaction::blind(IdempotencyKey(2));
        transaction.clears.push(KeyRange {
            start: vec![b'k', 3].into(),
            end: vec![b'k', 6].into(),
        });
        transaction
            .writes
            .insert(vec![b'k', 4].into(), Write::Stamp);
        let Outcome::Committed(stamped) = store.commit(Arc::new(transaction)).await.unwrap() else {
            panic!()
        };
        let snapshot = store.snapshot().await.unwrap();
        let stamp = snapshot.get(&[b'k', 4]).await.unwrap().unwrap();
        assert_eq!(stamp.as_ref(), stamped.version.to_be_bytes());
        for (direction, expected) in [
            (Direction::Forward, vec![0, 1, 2, 4, 6, 7, 8, 9]),
            (Direction::Backward, vec![9, 8, 7, 6, 4, 2, 1, 0]),
        ] {
            let mut rest = Some(KeyRange {
                start: "k".into(),
                end: "l".into(),
            });
            let mut seen = Vec::new();
            while let Some(range) = rest {
                let page = snapshot.scan(&range, direction, 3).await.unwrap();
                assert!(page.rows.len() <= 3);
                seen.extend(page.rows.iter().map(|(key, _)| key[1]));
                rest = page.rest;
            }
            assert_eq!(seen, expected);
        }
    });
}

#[test]
fn a_snapshot_does_not_see_later_commits() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog = in_folder(folder.path()).await;
        let early = catalog.read();
        assert!(names_in(&early, ROOT).await.is_empty());
        calls(&catalog).make(ROOT, "a", file()).await;
        assert!(names_in(&early, ROOT).await.is_empty());
        assert_eq!(names_in(&catalog.read(), ROOT).await, ["a"]);
    });
}
