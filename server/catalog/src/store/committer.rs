//! The thread that commits: gathers all transactions that wait, makes them durable by one sync if any of them
//! needs it, then answers each. Never adds a wait of its own: while one batch syncs, the next gathers.

use super::failpoint::{Armed, Failpoint, Step};
use super::fjall_store::Disk;
use super::{BATCH_BOUNDS, Durability, Outcome, StoreError, Transaction, batch_bucket};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

/// Most transactions in one batch.
const BATCH_TRANSACTIONS: usize = 4096;
/// A batch takes no further transaction beyond this.
const BATCH_BYTES: usize = 16 << 20;

/// Of each transaction; an error is everybody's answer.
pub(crate) type Outcomes = Result<Vec<Outcome>, Result<Outcome, StoreError>>;

/// A transaction whose caller waits.
pub(crate) struct Waiting {
    pub transaction: Arc<Transaction>,
    pub answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub commits: AtomicU64,
    pub batches: AtomicU64,
    pub syncs: AtomicU64,
    pub batch_sizes: [AtomicU64; BATCH_BOUNDS.len() + 1],
    pub conflicts: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, outcomes: &Outcomes, durability: Durability) {
        let Ok(outcomes) = outcomes else { return };
        let committed = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Committed(_)))
            .count() as u64;
        self.conflicts
            .fetch_add(outcomes.len() as u64 - committed, Ordering::Relaxed);
        if committed > 0 {
            self.commits.fetch_add(committed, Ordering::Relaxed);
            self.batches.fetch_add(1, Ordering::Relaxed);
            let synced = durability == Durability::Synced;
            self.syncs.fetch_add(synced.into(), Ordering::Relaxed);
            self.batch_sizes[batch_bucket(committed)].fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) struct Committer {
    pub disk: Arc<Mutex<Disk>>,
    pub queue: mpsc::Receiver<Waiting>,
    pub counters: Arc<Counters>,
    pub failpoint: Option<Failpoint>,
}

impl Committer {
    /// Runs until every sender is gone, then ends what is queued.
    pub(crate) fn run(mut self) {
        let mut armed = self.failpoint.map(Armed::new);
        let mut gathered = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
            let mut bytes = first.transaction.size_bytes();
            gathered.push(first);
            while gathered.len() < BATCH_TRANSACTIONS && bytes < BATCH_BYTES {
                let Ok(next) = self.queue.try_recv() else {
                    break;
                };
                bytes += next.transaction.size_bytes();
                gathered.push(next);
            }
            let together = || gathered.iter().map(|waiting| waiting.transaction.as_ref());
            let needs_sync = |one: &Transaction| one.durability == Durability::Synced;
            let durability = if together().any(needs_sync) {
                Durability::Synced
            } else {
                Durability::Ordered
            };
            let outcomes = self
                .disk
                .lock()
                .commit(together(), durability, armed.as_mut());
            self.counters.count(&outcomes, durability);
            if let Some(armed) = &mut armed {
                armed.pass(Step::BeforeAnswer);
            }
            // A caller that went away has no use for its answer.
            match outcomes {
                Ok(outcomes) => {
                    for (waiting, outcome) in gathered.drain(..).zip(outcomes) {
                        let _ = waiting.answer.send(Ok(outcome));
                    }
                }
                Err(failure) => {
                    for waiting in gathered.drain(..) {
                        let _ = waiting.answer.send(failure.clone());
                    }
                }
            }
        }
        self.disk.lock().close();
    }
}
