//! What clients tell of data servers: errors and statistics (RFC 7862 §15.6 and §15.7, RFC 8435 §9),
//! kept per data server, and per file for those that are used most. Memory is bounded.
//!
//! Never here: what is done about an error.

use crate::state::ClientId;
use catalog::InodeId;
use layout::{DataServerId, DeviceId};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use wire::nfs4::Nfsstat4;

/// Files whose numbers are kept; the least used makes room.
const FILES_MAX: usize = 4096;
/// Earlier reports that later ones are compared with.
const SERIES_MAX: usize = 65_536;
/// Files known to have lost an object. Beyond it one is found out again at its next error.
const LOST_MAX: usize = 65_536;
/// Files checked for lost objects at the same time.
const CHECKS_MAX: usize = 256;

/// Requests and bytes between clients and data servers, as clients count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub written_bytes: u64,
}

impl Traffic {
    fn add(&mut self, more: Traffic) {
        self.reads = self.reads.saturating_add(more.reads);
        self.read_bytes = self.read_bytes.saturating_add(more.read_bytes);
        self.writes = self.writes.saturating_add(more.writes);
        self.written_bytes = self.written_bytes.saturating_add(more.written_bytes);
    }

    /// `None` when it is no continuation of `earlier`.
    fn since(self, earlier: Traffic) -> Option<Traffic> {
        Some(Traffic {
            reads: self.reads.checked_sub(earlier.reads)?,
            read_bytes: self.read_bytes.checked_sub(earlier.read_bytes)?,
            writes: self.writes.checked_sub(earlier.writes)?,
            written_bytes: self.written_bytes.checked_sub(earlier.written_bytes)?,
        })
    }

    pub fn bytes(self) -> u64 {
        self.read_bytes.saturating_add(self.written_bytes)
    }
}

/// What clients told of one data server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerReport {
    pub traffic: Traffic,
    pub errors: BTreeMap<Nfsstat4, u64>,
}

/// What clients told of one file, on all its data servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileReport {
    pub traffic: Traffic,
    pub errors: u64,
}

impl FileReport {
    fn weight(&self) -> (u64, u64) {
        (self.traffic.bytes(), self.errors)
    }
}

/// One LAYOUTSTATS: totals since the client got its layout, as Linux tells them, and over what time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statistics {
    pub client: ClientId,
    pub file: InodeId,
    pub device: DeviceId,
    pub traffic: Traffic,
    pub duration: Duration,
}

#[derive(Default)]
struct Told {
    servers: BTreeMap<DataServerId, ServerReport>,
    files: HashMap<InodeId, FileReport>,
    series: HashMap<(ClientId, InodeId, DeviceId), (Duration, Traffic)>,
    /// Probes and checks under way: one at a time for each.
    probed: BTreeSet<DataServerId>,
    checked: BTreeSet<InodeId>,
    lost: BTreeSet<InodeId>,
}

impl Told {
    fn file(&mut self, file: InodeId) -> &mut FileReport {
        if self.files.len() >= FILES_MAX && !self.files.contains_key(&file) {
            let weights = self.files.iter();
            let least = weights.min_by_key(|(file, report)| (report.weight(), **file));
            if let Some(least) = least.map(|(file, _)| *file) {
                self.files.remove(&least);
            }
        }
        self.files.entry(file).or_default()
    }
}

#[derive(Default)]
pub(crate) struct Reports(Mutex<Told>);

impl Reports {
    pub fn error(&self, server: DataServerId, file: InodeId, status: Nfsstat4) {
        let mut told = self.0.lock();
        let errors = &mut told.servers.entry(server).or_default().errors;
        *errors.entry(status).or_default() += 1;
        told.file(file).errors += 1;
    }

    pub fn statistics(&self, server: DataServerId, said: Statistics) {
        let mut told = self.0.lock();
        let key = (said.client, said.file, said.device);
        let earlier = told.series.get(&key).copied();
        let new = earlier
            .filter(|(duration, _)| *duration <= said.duration)
            .and_then(|(_, earlier)| said.traffic.since(earlier))
            // Another layout than the one before, or the first report of all.
            .unwrap_or(said.traffic);
        if told.series.len() >= SERIES_MAX && earlier.is_none() {
            // What goes on is counted anew once: rather too much now and then than without end.
            told.series.clear();
        }
        told.series.insert(key, (said.duration, said.traffic));
        told.servers.entry(server).or_default().traffic.add(new);
        told.file(said.file).traffic.add(new);
    }

    /// The client is gone, and its series with it.
    pub fn forget(&self, client: ClientId) {
        let mut told = self.0.lock();
        told.series.retain(|(of, _, _), _| *of != client);
    }

    pub fn servers(&self) -> Vec<(DataServerId, ServerReport)> {
        let told = self.0.lock();
        let servers = told.servers.iter();
        servers
            .map(|(server, report)| (*server, report.clone()))
            .collect()
    }

    /// The `most` files that clients moved most bytes of.
    pub fn busiest(&self, most: usize) -> Vec<(InodeId, FileReport)> {
        let told = self.0.lock();
        let mut files: Vec<_> = told.files.iter().map(|(file, it)| (*file, *it)).collect();
        files.sort_unstable_by_key(|(file, report)| (std::cmp::Reverse(report.weight()), *file));
        files.truncate(most);
        files
    }

    /// Whether nobody probes the server yet; the caller does, and says so when it is done.
    pub fn begin_probe(&self, server: DataServerId) -> bool {
        self.0.lock().probed.insert(server)
    }

    pub fn end_probe(&self, server: DataServerId) {
        self.0.lock().probed.remove(&server);
    }

    pub fn begin_check(&self, file: InodeId) -> bool {
        let mut told = self.0.lock();
        told.checked.len() < CHECKS_MAX && told.checked.insert(file)
    }

    pub fn end_check(&self, file: InodeId) {
        self.0.lock().checked.remove(&file);
    }

    /// Whether that is news.
    pub fn lost(&self, file: InodeId) -> bool {
        let mut told = self.0.lock();
        told.lost.len() < LOST_MAX && told.lost.insert(file)
    }

    pub fn found(&self, file: InodeId) {
        self.0.lock().lost.remove(&file);
    }

    pub fn is_lost(&self, file: InodeId) -> bool {
        self.0.lock().lost.contains(&file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: DataServerId = DataServerId(3);

    fn file(number: u64) -> InodeId {
        InodeId { home: 1, number }
    }

    fn said(number: u64, bytes: u64, seconds: u64) -> Statistics {
        Statistics {
            client: ClientId(1),
            file: file(number),
            device: DeviceId::of(SERVER, 1),
            traffic: Traffic {
                reads: bytes / 10,
                read_bytes: bytes,
                ..Traffic::default()
            },
            duration: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn totals_told_again_and_again_are_counted_once() {
        let reports = Reports::default();
        for (bytes, seconds) in [(100, 60), (100, 120), (250, 180)] {
            reports.statistics(SERVER, said(1, bytes, seconds));
        }
        assert_eq!(reports.servers()[0].1.traffic.read_bytes, 250);
        // The layout went and came again: its totals begin anew.
        reports.statistics(SERVER, said(1, 30, 10));
        assert_eq!(reports.servers()[0].1.traffic.read_bytes, 280);
        assert_eq!(reports.busiest(5)[0].1.traffic.reads, 28);
    }

    #[test]
    fn files_without_number_take_no_more_memory_and_the_busiest_are_kept() {
        let reports = Reports::default();
        reports.statistics(SERVER, said(1, 1_000_000, 1));
        for number in 2..3 * FILES_MAX as u64 {
            reports.statistics(SERVER, said(number, 1, 1));
        }
        assert_eq!(reports.0.lock().files.len(), FILES_MAX);
        let busiest = reports.busiest(3);
        assert_eq!((busiest.len(), busiest[0].0), (3, file(1)));
        reports.forget(ClientId(1));
        assert!(reports.0.lock().series.is_empty());
    }

    #[test]
    fn errors_are_counted_by_server_and_status_and_probed_once_at_a_time() {
        let reports = Reports::default();
        for _ in 0..3 {
            reports.error(SERVER, file(1), Nfsstat4::Stale);
        }
        assert_eq!(reports.servers()[0].1.errors[&Nfsstat4::Stale], 3);
        assert!(reports.begin_probe(SERVER) && !reports.begin_probe(SERVER));
        reports.end_probe(SERVER);
        assert!(reports.begin_probe(SERVER));
    }
}
