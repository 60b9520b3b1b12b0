//! The servers' numbers, in the form that `/metrics` shows.
//! Never here: counting.

use crate::metadata::{
    Absence, Assimilated, AssimilatedShown, Backends, Census, Managed, ManagedShown, Running, Shown,
};
use crate::observe::{
    BytesSample, ClientBytes, Counter, DataServerHealth, DataServerSample, Direction, Gauge,
    Histogram, JunctionSample, KeeperSample, Latency, LegacySample, OperationSample, ReportOf,
    ReportSample, Route, Samples, ScanSample, Source,
};
use catalog::{Catalog, store::BATCH_BOUNDS};
use ds::{LATENCY_BOUNDS_MICROS as DS_BOUNDS, StatusClass};
use layout::DataServerId;
use mds::Server;
use objects::{Health, Objects};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub struct MetadataSource {
    server: Arc<Server>,
    catalog: Arc<Catalog>,
    objects: Arc<Objects>,
    census: Arc<Census>,
    backends: Arc<Backends>,
    assimilated: Arc<Assimilated>,
    managed: Arc<Managed>,
    /// Names by number, for people.
    names: Vec<(DataServerId, String)>,
}

impl MetadataSource {
    pub async fn of(running: &Running) -> Result<Self, catalog::Error> {
        let known = running.catalog.data_servers().await?;
        Ok(Self {
            server: Arc::clone(&running.server),
            catalog: Arc::clone(&running.catalog),
            objects: Arc::clone(&running.objects),
            census: Arc::clone(&running.census),
            backends: Arc::clone(&running.backends),
            assimilated: Arc::clone(&running.assimilated),
            managed: Arc::clone(&running.managed),
            names: known
                .into_iter()
                .map(|record| (record.id, record.name))
                .collect(),
        })
    }
}

impl Source for MetadataSource {
    fn labels(&self) -> Vec<(&'static str, String)> {
        vec![("role", "mds".into())]
    }

    fn samples(&self) -> Samples {
        let metrics = &self.server.metrics;
        let operations = metrics
            .operations()
            .into_iter()
            .map(|counted| OperationSample {
                name: upper_snake(&format!("{:?}", counted.operation)),
                count: counted.count,
                errors: counted
                    .errors
                    .iter()
                    .map(|(status, count)| (upper_snake(&format!("{status:?}")), *count))
                    .collect(),
                latency: Latency {
                    bounds_micros: mds::LATENCY_BOUNDS_MICROS.to_vec(),
                    counts: counted.latency.to_vec(),
                    total_micros: counted.total_micros,
                },
            })
            .collect();
        let proxied = |direction, counter: &AtomicU64| BytesSample {
            route: Route::Proxy,
            direction,
            bytes: counter.load(Relaxed),
        };
        let held = self.server.held();
        let store = self.catalog.stats();
        let counter =
            |name, help, counter: &AtomicU64| Counter::new(name, help, counter.load(Relaxed));
        let legacy = self.server.legacy_calls().into_iter();
        Samples {
            operations,
            legacy: legacy
                .map(|(program, procedure, count)| LegacySample {
                    program,
                    procedure,
                    count,
                })
                .collect(),
            bytes: vec![
                proxied(Direction::Read, &metrics.proxy_read_bytes),
                proxied(Direction::Written, &metrics.proxy_written_bytes),
            ],
            client_bytes: Vec::new(),
            data_servers: self.data_servers(),
            reports: self.reports(),
            junctions: self.junctions(),
            scans: self.scans(),
            keepers: self.keepers(),
            counters: vec![
                counter("compounds", "COMPOUNDs answered", &metrics.compounds),
                counter("recalls", "Layouts recalled", &metrics.recalls),
                counter(
                    "recalls_timed_out",
                    "Recalled layouts that did not come back in time",
                    &metrics.recalls_timed_out,
                ),
                counter("fences", "Files fenced", &metrics.fences),
                counter(
                    "delegations_given",
                    "Delegations given",
                    &metrics.delegations_given,
                ),
                counter(
                    "delegations_reclaimed",
                    "Those of them that clients had before the server restarted",
                    &metrics.delegations_reclaimed,
                ),
                counter(
                    "delegation_reclaims_refused",
                    "Delegations that clients had before the server restarted and were not given back",
                    &metrics.delegation_reclaims_refused,
                ),
                counter(
                    "delegations_recalled",
                    "Delegations recalled",
                    &metrics.delegations_recalled,
                ),
                counter(
                    "delegations_revoked",
                    "Delegations that did not come back in time",
                    &metrics.delegations_revoked,
                ),
                counter(
                    "delegations_disowned",
                    "Delegations that their holders said they don't have",
                    &metrics.delegations_disowned,
                ),
                counter(
                    "delegates_asked",
                    "Holders of a delegation to write that were asked what their file is like",
                    &metrics.delegates_asked,
                ),
                counter(
                    "notifications",
                    "Changes of folders that holders of their delegations were told of",
                    &metrics.notifications,
                ),
                counter(
                    "settled",
                    "Files whose size was settled with their data servers",
                    &metrics.settled,
                ),
                counter(
                    "layout_errors",
                    "Errors of data servers that clients reported",
                    &metrics.layout_errors,
                ),
                counter(
                    "accounts_asked",
                    "Questions for users and groups that no kept answer answered",
                    &metrics.accounts.asked,
                ),
                counter(
                    "accounts_failed",
                    "Questions for users and groups that failed",
                    &metrics.accounts.failed,
                ),
                Counter::new("catalog_commits", "Transactions committed", store.commits),
                Counter::new(
                    "catalog_batches",
                    "What they were written to the catalog's journal in",
                    store.batches,
                ),
                Counter::new("catalog_syncs", "Journal syncs of the catalog", store.syncs),
                Counter::new(
                    "catalog_conflicts",
                    "Transactions that lost to others and ran again",
                    store.conflicts,
                ),
            ],
            gauges: vec![
                Gauge::new(
                    "objects_to_delete",
                    "Data objects of removed files that their data servers still have",
                    self.objects.to_delete().unwrap_or_default(),
                ),
                Gauge::new("clients", "Clients", held.clients),
                Gauge::new(
                    "courtesy_clients",
                    "Clients out of their lease that keep what nobody wants",
                    held.courtesy_clients,
                ),
                Gauge::new("sessions", "Sessions", held.sessions),
                Gauge::new("opens", "Opens", held.opens),
                Gauge::new("locks", "Byte-range locks", held.locks),
                Gauge::new("layouts", "Layouts held", held.layouts),
                Gauge::new("delegations", "Delegations held", held.delegations),
                Gauge::new(
                    "accounts_kept",
                    "Answers about users and groups that are kept",
                    self.server.accounts_kept(),
                ),
                Gauge::new(
                    "recalls_pending",
                    "Layouts recalled and not yet back",
                    held.recalls,
                ),
                Gauge::new(
                    "cached_reply_bytes",
                    "Replies kept for retries, bytes",
                    held.cached_reply_bytes,
                ),
            ],
            histograms: vec![Histogram {
                name: "catalog_batch_transactions",
                help: "Transactions in one journal sync",
                bounds: BATCH_BOUNDS.to_vec(),
                counts: store.batch_sizes.to_vec(),
                total: store.commits,
            }],
        }
    }
}

/// Files whose numbers are shown: those that most bytes went of.
const BUSIEST_FILES: usize = 10;

impl MetadataSource {
    fn name_of(&self, id: DataServerId) -> String {
        let known = self.names.iter().find(|(known, _)| *known == id);
        known.map_or_else(|| id.0.to_string(), |(_, name)| name.clone())
    }

    fn reports(&self) -> Vec<ReportSample> {
        let sample = |of, traffic: mds::Traffic, errors| ReportSample {
            of,
            read_bytes: traffic.read_bytes,
            written_bytes: traffic.written_bytes,
            reads: traffic.reads,
            writes: traffic.writes,
            errors,
        };
        let servers = self.server.reports_of_servers().into_iter();
        let servers = servers.map(|(id, told)| {
            let errors = told.errors.iter();
            let errors =
                errors.map(|(status, count)| (upper_snake(&format!("{status:?}")), *count));
            let of = ReportOf::DataServer(self.name_of(id));
            sample(of, told.traffic, errors.collect())
        });
        let files = self.server.busiest_files(BUSIEST_FILES).into_iter();
        let files = files.map(|(id, told)| {
            let errors = vec![("ANY".to_owned(), told.errors)];
            sample(ReportOf::File(id.number), told.traffic, errors)
        });
        servers.chain(files).collect()
    }

    pub fn backends(&self) -> &Backends {
        &self.backends
    }

    pub fn assimilated(&self) -> &Assimilated {
        &self.assimilated
    }

    pub fn managed(&self) -> &Managed {
        &self.managed
    }

    fn keepers(&self) -> Vec<KeeperSample> {
        let shown = self.managed.shown().into_iter();
        let sample = |shown: ManagedShown| KeeperSample {
            state: shown.state().0,
            unsent_bytes: shown.unsent.bytes,
            backend: shown.spec.name,
        };
        shown.map(sample).collect()
    }

    fn scans(&self) -> Vec<ScanSample> {
        let shown = self.assimilated.shown().into_iter();
        let sample = |shown: AssimilatedShown| {
            let totals = shown.totals();
            ScanSample {
                state: shown.state().0,
                backend: shown.spec.name,
                directories_left: totals.left,
                directories_done: totals.directories,
                files: totals.files,
                bytes: totals.bytes,
            }
        };
        shown.map(sample).collect()
    }

    fn junctions(&self) -> Vec<JunctionSample> {
        let shown = self.backends.shown().into_iter();
        let sample = |shown: Shown| {
            let counters = shown.junction.counters();
            let count = |counter: &AtomicU64| counter.load(Relaxed);
            JunctionSample {
                path: shown.spec.path,
                backend: shown.spec.backend,
                there: shown.absence.is_none(),
                layouts: count(&counters.layouts),
                refused: vec![
                    ("not_there", count(&counters.not_there)),
                    ("denied", count(&counters.denied)),
                    ("write", count(&counters.writes_through)),
                ],
                read_bytes: count(&counters.read_bytes),
                written_bytes: count(&counters.written_bytes),
                delayed: count(&counters.delayed),
                broken: count(&counters.broken),
                calls: shown.calls,
                unsent_bytes: shown.junction.tree().unsent().bytes,
            }
        };
        shown.map(sample).collect()
    }

    pub fn data_servers(&self) -> Vec<DataServerSample> {
        let health = self.objects.health().borrow().clone();
        health
            .iter()
            .map(|(id, health)| {
                let space = self.objects.space_of(*id);
                DataServerSample {
                    name: self.name_of(*id),
                    health: match health {
                        _ if self.census.absence(*id) == Some(Absence::Unfit) => {
                            DataServerHealth::Unfit
                        }
                        Health::Up => DataServerHealth::Up,
                        Health::Full => DataServerHealth::Full,
                        Health::Suspect => DataServerHealth::Suspect,
                        Health::Down => DataServerHealth::Down,
                    },
                    total_bytes: space.total,
                    free_bytes: space.free,
                }
            })
            .collect()
    }
}

pub struct DataSource {
    pub name: String,
    pub observer: ds::Observer,
}

impl Source for DataSource {
    fn labels(&self) -> Vec<(&'static str, String)> {
        vec![("role", "ds".into()), ("server", self.name.clone())]
    }

    fn samples(&self) -> Samples {
        let now = self.observer.metrics();
        let operations = now
            .procedures
            .iter()
            .filter(|counted| counted.calls() > 0)
            .map(|counted| OperationSample {
                name: counted.name.to_owned(),
                count: counted.calls(),
                errors: counted
                    .by_class
                    .iter()
                    .filter(|(class, count)| *class != StatusClass::Ok && *count > 0)
                    .map(|(class, count)| (upper_snake(&format!("{class:?}")), *count))
                    .collect(),
                latency: Latency {
                    bounds_micros: DS_BOUNDS.to_vec(),
                    counts: counted.latency.clone(),
                    total_micros: counted.total_micros,
                },
            })
            .collect();
        let client = |client: String, traffic: &ds::TrafficSnapshot| ClientBytes {
            client,
            read: traffic.read_bytes,
            written: traffic.written_bytes,
        };
        let client_bytes = now
            .by_address
            .iter()
            .map(|(address, traffic)| client(address.to_string(), traffic))
            .chain([client("others".to_owned(), &now.other_addresses)])
            .collect();
        let direct = |direction, bytes| BytesSample {
            route: Route::Direct,
            direction,
            bytes,
        };
        let cache = now.cache.unwrap_or_default();
        Samples {
            operations,
            legacy: Vec::new(),
            bytes: vec![
                direct(Direction::Read, now.read_bytes),
                direct(Direction::Written, now.written_bytes),
            ],
            client_bytes,
            data_servers: Vec::new(),
            reports: Vec::new(),
            junctions: Vec::new(),
            scans: Vec::new(),
            keepers: Vec::new(),
            counters: vec![
                Counter::new("fences", "Objects given another owner", now.fences),
                Counter::new(
                    "cache_hits",
                    "Chunks of cached objects that READs found here",
                    cache.hits,
                ),
                Counter::new(
                    "cache_misses",
                    "Chunks of cached objects that READs had fetched",
                    cache.misses,
                ),
                Counter::new(
                    "cache_fetched_bytes",
                    "Bytes fetched for the cache",
                    cache.fetched_bytes,
                ),
                Counter::new(
                    "cache_read_bytes",
                    "Bytes of cached objects that READs were answered with",
                    cache.read_bytes,
                ),
                Counter::new(
                    "cache_fetches_failed",
                    "Fetches for the cache that failed",
                    cache.failed_fetches,
                ),
                Counter::new(
                    "cache_evictions",
                    "Chunks that went for others",
                    cache.evictions,
                ),
                Counter::new(
                    "cache_damaged",
                    "Chunks whose checksum didn't fit, fetched again",
                    cache.damaged,
                ),
                Counter::new(
                    "cache_unwritten",
                    "Chunks that the disk didn't take",
                    cache.unwritten,
                ),
                Counter::new(
                    "syncs",
                    "Times that an object was made durable on its disk",
                    now.syncs,
                ),
                Counter::new(
                    "connections_accepted",
                    "Connections accepted",
                    now.connections_accepted,
                ),
                Counter::new(
                    "connections_refused",
                    "Connections closed at the limit",
                    now.connections_refused,
                ),
                Counter::new(
                    "connections_cut",
                    "Connections cut for idling or stalling",
                    now.connections_cut,
                ),
                Counter::new("mount_calls", "Calls of MOUNT", now.mount_calls),
                Counter::new(
                    "rpc_refusals",
                    "Calls that were no NFSv3 or MOUNT",
                    now.rpc_refusals,
                ),
            ],
            gauges: vec![
                Gauge::new("connections", "Connections", now.connections),
                Gauge::new(
                    "in_flight_bytes",
                    "Payload of requests that are worked on, bytes",
                    now.in_flight_bytes,
                ),
                Gauge::new(
                    "in_flight_requests",
                    "Requests that are worked on",
                    now.in_flight_requests,
                ),
                Gauge::new("open_objects", "Objects kept open", now.open_objects),
                Gauge::new(
                    "cut_off_bytes",
                    "What large objects were cut off, and the file system doesn't have back yet, bytes",
                    now.cut_off_bytes,
                ),
                Gauge::new(
                    "cache_bytes",
                    "What the chunks of cached objects take, bytes",
                    cache.held_bytes,
                ),
                Gauge::new("space_free_bytes", "Space left, bytes", now.free_bytes),
                Gauge::new("space_total_bytes", "Space in all, bytes", now.total_bytes),
                Gauge::new(
                    "mds_term",
                    "Highest term of a metadata server seen",
                    now.mds_term,
                ),
            ],
            histograms: Vec::new(),
        }
    }
}

/// `BindConnToSession` as the RFC writes it: `BIND_CONN_TO_SESSION`.
fn upper_snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (index, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::upper_snake;

    #[test]
    fn operations_are_called_as_the_rfc_calls_them() {
        assert_eq!(upper_snake("BindConnToSession"), "BIND_CONN_TO_SESSION");
        assert_eq!(upper_snake("Open"), "OPEN");
    }
}
