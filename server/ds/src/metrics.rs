//! Counters of what the server does, and a snapshot of them for whoever publishes it.
//! Never an exporter's format, and never unbounded by what peers do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use wire::ds;
use wire::nfs3::{Nfsstat3, Procedure};

use crate::call::Called;

/// Addresses whose bytes are counted apart; the others share one count.
const ADDRESSES_MAX: usize = 1024;

/// Upper bounds of the latency buckets, in microseconds; a last bucket holds what is slower.
pub const LATENCY_BOUNDS_MICROS: [u64; 20] = {
    let mut bounds = [0; 20];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = 16 << at;
        at += 1;
    }
    bounds
};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusClass {
    Ok,
    /// ACCES, PERM, ROFS, BADHANDLE.
    Refused,
    /// NOENT, STALE.
    Gone,
    /// NOSPC, DQUOT, FBIG.
    Full,
    /// JUKEBOX.
    Later,
    /// IO, SERVERFAULT: ours to look into.
    Fault,
    /// The rest: the caller's mistake.
    Other,
}

impl StatusClass {
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Refused,
        Self::Gone,
        Self::Full,
        Self::Later,
        Self::Fault,
        Self::Other,
    ];

    pub fn of(status: Option<Nfsstat3>) -> Self {
        match status {
            None => Self::Ok,
            Some(Nfsstat3::Acces | Nfsstat3::Perm | Nfsstat3::Rofs | Nfsstat3::Badhandle) => {
                Self::Refused
            }
            Some(Nfsstat3::Noent | Nfsstat3::Stale) => Self::Gone,
            Some(Nfsstat3::Nospc | Nfsstat3::Dquot | Nfsstat3::Fbig) => Self::Full,
            Some(Nfsstat3::Jukebox) => Self::Later,
            Some(Nfsstat3::Io | Nfsstat3::Serverfault) => Self::Fault,
            Some(_) => Self::Other,
        }
    }
}

/// NFSv3's, and behind them those of the metadata server's own program but for its NULL.
const PROCEDURES: usize = NFS_PROCEDURES + ds::Procedure::Make as usize;
const NFS_PROCEDURES: usize = Procedure::Commit as usize + 1;

fn name_of(place: usize) -> Option<&'static str> {
    if place < NFS_PROCEDURES {
        Procedure::from_u32(place as u32).map(Procedure::name)
    } else {
        let number = place - NFS_PROCEDURES + ds::Procedure::Abilities as usize;
        ds::Procedure::from_u32(number as u32).map(ds::Procedure::name)
    }
}

#[derive(Debug, Default)]
struct ProcedureCounters {
    by_class: [AtomicU64; StatusClass::ALL.len()],
    latency: [AtomicU64; LATENCY_BOUNDS_MICROS.len() + 1],
    micros: AtomicU64,
}

/// Bytes of one address.
#[derive(Debug, Default)]
pub struct Traffic {
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    procedures: [ProcedureCounters; PROCEDURES],
    pub mount_calls: AtomicU64,
    pub rpc_refusals: AtomicU64,
    pub fences: AtomicU64,
    /// Times that an object was made durable on its disk.
    pub syncs: AtomicU64,
    pub connections_accepted: AtomicU64,
    pub connections_refused: AtomicU64,
    pub connections_cut: AtomicU64,
    traffic: Mutex<HashMap<IpAddr, Arc<Traffic>>>,
    other_traffic: Arc<Traffic>,
}

impl Metrics {
    pub fn answered(&self, called: Called, status: Option<Nfsstat3>, took: Duration) {
        let place = match called {
            Called::Nfs(procedure) => procedure as usize,
            Called::Ranges(ds::Procedure::Null) => Procedure::Null as usize,
            Called::Ranges(procedure) => {
                NFS_PROCEDURES + procedure as usize - ds::Procedure::Abilities as usize
            }
            Called::Mount => {
                self.mount_calls.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let counters = &self.procedures[place];
        counters.by_class[StatusClass::of(status) as usize].fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        counters.latency[bucket].fetch_add(1, Ordering::Relaxed);
        counters.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The count that a connection from `peer` adds to.
    pub fn traffic(&self, peer: IpAddr) -> Arc<Traffic> {
        let mut traffic = self.traffic.lock();
        if let Some(known) = traffic.get(&peer) {
            return Arc::clone(known);
        }
        if traffic.len() >= ADDRESSES_MAX {
            return Arc::clone(&self.other_traffic);
        }
        Arc::clone(traffic.entry(peer).or_default())
    }
}

impl Traffic {
    pub fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn written(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn snapshot(&self) -> TrafficSnapshot {
        TrafficSnapshot {
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrafficSnapshot {
    pub read_bytes: u64,
    pub written_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct ProcedureSnapshot {
    /// Of NFSv3's, or of the metadata server's own program.
    pub name: &'static str,
    /// Calls by what became of them; their sum is the number of calls.
    pub by_class: Vec<(StatusClass, u64)>,
    /// Calls by latency: one per bound of [`LATENCY_BOUNDS_MICROS`], and the slower ones.
    pub latency: Vec<u64>,
    pub total_micros: u64,
}

impl ProcedureSnapshot {
    pub fn calls(&self) -> u64 {
        self.by_class.iter().map(|(_, count)| count).sum()
    }
}

/// Everything counted since the start, and what is so at this moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub procedures: Vec<ProcedureSnapshot>,
    pub mount_calls: u64,
    pub rpc_refusals: u64,
    pub fences: u64,
    pub syncs: u64,
    pub read_bytes: u64,
    pub written_bytes: u64,
    pub connections_accepted: u64,
    pub connections_refused: u64,
    pub connections_cut: u64,
    pub by_address: Vec<(IpAddr, TrafficSnapshot)>,
    pub other_addresses: TrafficSnapshot,
    pub connections: usize,
    pub in_flight_bytes: usize,
    pub in_flight_requests: usize,
    pub open_objects: usize,
    /// Of large objects that were cut to nothing, and that the file system doesn't have back yet.
    pub cut_off_bytes: u64,
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub mds_term: u64,
    /// Of a server that keeps chunks of what others keep.
    pub cache: Option<CacheSnapshot>,
}

/// What became of READs of cached objects, and what is here of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheSnapshot {
    /// Chunks that a READ found here, and those that it had to have fetched.
    pub hits: u64,
    pub misses: u64,
    pub fetched_bytes: u64,
    pub read_bytes: u64,
    pub failed_fetches: u64,
    pub evictions: u64,
    pub damaged: u64,
    pub unwritten: u64,
    pub held_bytes: u64,
}

impl CacheSnapshot {
    pub(crate) fn of(store: &chunks::Store) -> Self {
        let counters = store.counters();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all =
            |of: fn(&chunks::Demand) -> &AtomicU64| store.demands().map(|d| load(of(d))).sum();
        Self {
            hits: all(|demand| &demand.hits),
            misses: all(|demand| &demand.misses),
            fetched_bytes: all(|demand| &demand.fetched_bytes),
            read_bytes: all(|demand| &demand.read_bytes),
            failed_fetches: load(&counters.failed_fetches),
            evictions: load(&counters.evictions),
            damaged: load(&counters.damaged),
            unwritten: load(&counters.unwritten),
            held_bytes: store.held_bytes(),
        }
    }
}

impl Metrics {
    pub fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let procedures = self
            .procedures
            .iter()
            .enumerate()
            .filter_map(|(place, counters)| Some((name_of(place)?, counters)))
            .map(|(name, counters)| ProcedureSnapshot {
                name,
                by_class: StatusClass::ALL
                    .into_iter()
                    .map(|class| (class, load(&counters.by_class[class as usize])))
                    .collect(),
                latency: counters.latency.iter().map(load).collect(),
                total_micros: load(&counters.micros),
            })
            .collect();
        let by_address: Vec<_> = self
            .traffic
            .lock()
            .iter()
            .map(|(address, traffic)| (*address, traffic.snapshot()))
            .collect();
        let other_addresses = self.other_traffic.snapshot();
        let all = || by_address.iter().map(|(_, t)| t).chain([&other_addresses]);
        Snapshot {
            procedures,
            mount_calls: load(&self.mount_calls),
            rpc_refusals: load(&self.rpc_refusals),
            fences: load(&self.fences),
            syncs: load(&self.syncs),
            read_bytes: all().map(|t| t.read_bytes).sum(),
            written_bytes: all().map(|t| t.written_bytes).sum(),
            connections_accepted: load(&self.connections_accepted),
            connections_refused: load(&self.connections_refused),
            connections_cut: load(&self.connections_cut),
            other_addresses,
            by_address,
            ..Snapshot::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_beyond_the_limit_share_one_count() {
        let metrics = Metrics::default();
        for at in 0..ADDRESSES_MAX as u32 + 10 {
            metrics.traffic(IpAddr::from(at.to_be_bytes())).read(1);
        }
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.by_address.len(), ADDRESSES_MAX);
        assert_eq!(snapshot.other_addresses.read_bytes, 10);
        assert_eq!(snapshot.read_bytes, ADDRESSES_MAX as u64 + 10);
    }

    #[test]
    fn a_call_is_counted_in_its_class_and_its_bucket() {
        let metrics = Metrics::default();
        metrics.answered(
            Called::Nfs(Procedure::Write),
            Some(Nfsstat3::Acces),
            Duration::from_micros(17),
        );
        metrics.answered(
            Called::Ranges(ds::Procedure::Pull),
            None,
            Duration::from_micros(17),
        );
        let snapshot = metrics.snapshot();
        let write = &snapshot.procedures[Procedure::Write as usize];
        assert_eq!(write.calls(), 1);
        assert!(write.by_class.contains(&(StatusClass::Refused, 1)));
        assert_eq!(write.latency[1], 1);
        let pull = snapshot.procedures.iter().find(|p| p.name == "PULL");
        assert_eq!(pull.map(ProcedureSnapshot::calls), Some(1));
    }
}
