//! Many commits, few syncs, and who sees which.

use crate::world::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

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
        // How many share one is up to the disk: the slower it is, the more.
        assert!(batches < commits, "{batches} syncs for {commits} commits");
        assert_eq!(after.batch_sizes.iter().sum::<u64>(), after.batches);
        let of_several: u64 = after.batch_sizes[1..].iter().sum();
        assert!(of_several > 0, "{:?}", after.batch_sizes);
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

#[test]
fn a_look_at_an_inode_never_shows_less_than_was_acknowledged_before() {
    const CHANGES: u32 = 200;
    run_on_threads(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog = in_folder(folder.path()).await;
        let id = calls(&catalog).make(ROOT, "f", file()).await;
        let acknowledged = Arc::new(AtomicU32::new(0));
        let looking: Vec<_> = (0..3)
            .map(|_| {
                let (catalog, acknowledged) = (catalog.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    let mut looks = 0_u32;
                    while acknowledged.load(SeqCst) < CHANGES {
                        let least = acknowledged.load(SeqCst);
                        let seen = catalog.inode(id).await.unwrap().uid;
                        assert!(seen >= least, "{seen} after {least} was acknowledged");
                        looks += 1;
                        tokio::task::yield_now().await;
                    }
                    looks
                })
            })
            .collect();
        for change in 1..=CHANGES {
            let mut inode = catalog.read().inode(id).await.unwrap();
            inode.uid = change;
            calls(&catalog).put(&inode).await.unwrap();
            acknowledged.store(change, SeqCst);
        }
        for looked in looking {
            assert!(looked.await.unwrap() > CHANGES);
        }
    });
}
