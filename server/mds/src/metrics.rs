//! Counters of the metadata server, as plain atomics: whoever shows them reads a snapshot.

use crate::identity::AccountCounters;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use wire::nfs4::{Nfsstat4, Opnum};

/// Upper bounds of the latency buckets, in microseconds; one more holds the rest.
pub const LATENCY_BOUNDS_MICROS: [u64; 12] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000,
];
const BUCKETS: usize = LATENCY_BOUNDS_MICROS.len() + 1;
/// Operation numbers run from 3 (ACCESS) to 75 (REMOVEXATTR); 0 gathers what is no operation.
const OPERATIONS: usize = 76;

#[derive(Default)]
struct Cell {
    count: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
    errors: Mutex<BTreeMap<Nfsstat4, u64>>,
}

/// One operation's counters at one moment.
#[derive(Debug, Clone)]
pub struct OperationCounters {
    pub operation: Opnum,
    pub count: u64,
    pub total_micros: u64,
    /// Not cumulative: one per bound, and the rest.
    pub latency: [u64; BUCKETS],
    pub errors: Vec<(Nfsstat4, u64)>,
}

pub struct Metrics {
    operations: [Cell; OPERATIONS],
    pub proxy_read_bytes: AtomicU64,
    pub proxy_written_bytes: AtomicU64,
    pub compounds: AtomicU64,
    pub recalls: AtomicU64,
    pub recalls_timed_out: AtomicU64,
    pub delegations_given: AtomicU64,
    pub delegations_reclaimed: AtomicU64,
    pub delegation_reclaims_refused: AtomicU64,
    pub delegations_recalled: AtomicU64,
    pub delegations_revoked: AtomicU64,
    pub delegations_disowned: AtomicU64,
    pub delegates_asked: AtomicU64,
    pub notifications: AtomicU64,
    pub fences: AtomicU64,
    pub settled: AtomicU64,
    pub layout_errors: AtomicU64,
    pub accounts: Arc<AccountCounters>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            operations: std::array::from_fn(|_| Cell::default()),
            proxy_read_bytes: AtomicU64::default(),
            proxy_written_bytes: AtomicU64::default(),
            compounds: AtomicU64::default(),
            recalls: AtomicU64::default(),
            recalls_timed_out: AtomicU64::default(),
            delegations_given: AtomicU64::default(),
            delegations_reclaimed: AtomicU64::default(),
            delegation_reclaims_refused: AtomicU64::default(),
            delegations_recalled: AtomicU64::default(),
            delegations_revoked: AtomicU64::default(),
            delegations_disowned: AtomicU64::default(),
            delegates_asked: AtomicU64::default(),
            notifications: AtomicU64::default(),
            fences: AtomicU64::default(),
            settled: AtomicU64::default(),
            layout_errors: AtomicU64::default(),
            accounts: Arc::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn operation(&self, operation: Opnum, status: Nfsstat4, took: Duration) {
        let cell = &self.operations[operation as usize % OPERATIONS];
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        cell.count.fetch_add(1, Relaxed);
        cell.micros.fetch_add(micros, Relaxed);
        cell.buckets[bucket].fetch_add(1, Relaxed);
        if status != Nfsstat4::Ok {
            let mut errors = cell
                .errors
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            *errors.entry(status).or_default() += 1;
        }
    }

    /// Every operation that was asked for at least once.
    pub fn operations(&self) -> Vec<OperationCounters> {
        let asked = self
            .operations
            .iter()
            .enumerate()
            .filter(|(_, cell)| cell.count.load(Relaxed) > 0);
        asked
            .filter_map(|(number, cell)| {
                let errors = cell
                    .errors
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                Some(OperationCounters {
                    operation: Opnum::from_u32(number as u32)?,
                    count: cell.count.load(Relaxed),
                    total_micros: cell.micros.load(Relaxed),
                    latency: std::array::from_fn(|bucket| cell.buckets[bucket].load(Relaxed)),
                    errors: errors
                        .iter()
                        .map(|(status, count)| (*status, *count))
                        .collect(),
                })
            })
            .collect()
    }
}
