//! Samples as the text that Prometheus reads (OpenMetrics 1.0).
//! Never here: HTTP.

use super::samples::{
    Counter, DataServerHealth, DataServerSample, Direction, Gauge, JunctionSample, KeeperSample,
    Latency, LegacySample, OperationSample, ReportOf, ReportSample, Route, Samples, ScanSample,
};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;

/// Before each name.
const PREFIX: &str = "headrace";

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Point {
    Counter(u64),
    Gauge(f64),
    Histogram {
        sum: f64,
        count: u64,
        /// Upper bound, and how many fell into the bucket.
        buckets: Vec<(f64, u64)>,
    },
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: MetricType,
    points: Vec<(Labels, Point)>,
}

/// All numbers of one scrape, by name.
#[derive(Debug, Default)]
pub(super) struct Page(BTreeMap<&'static str, Family>);

impl Page {
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.push(name, help, Labels::new(), Point::Gauge(value));
    }

    /// Adds all numbers of a source under its labels.
    pub(super) fn add(&mut self, common: &Labels, samples: &Samples) {
        for operation in &samples.operations {
            self.add_operation(common, operation);
        }
        for LegacySample {
            program,
            procedure,
            count,
        } in &samples.legacy
        {
            self.push(
                "nfsv3_calls",
                "Calls of clients that have nothing newer than NFSv3",
                with(common, &[("program", program), ("procedure", procedure)]),
                Point::Counter(*count),
            );
        }
        for bytes in &samples.bytes {
            let direction = match bytes.direction {
                Direction::Read => "read",
                Direction::Written => "written",
            };
            let route = match bytes.route {
                Route::Direct => "direct",
                Route::Proxy => "proxy",
            };
            self.push(
                "data_bytes",
                "File data that passed, by direction and path",
                with(common, &[("direction", direction), ("path", route)]),
                Point::Counter(bytes.bytes),
            );
        }
        for clients in &samples.client_bytes {
            for (direction, bytes) in [("read", clients.read), ("written", clients.written)] {
                self.push(
                    "client_bytes",
                    "File data that passed, by client and direction",
                    with(
                        common,
                        &[("client", &clients.client), ("direction", direction)],
                    ),
                    Point::Counter(bytes),
                );
            }
        }
        for server in &samples.data_servers {
            self.add_data_server(common, server);
        }
        for report in &samples.reports {
            self.add_report(common, report);
        }
        for junction in &samples.junctions {
            self.add_junction(common, junction);
        }
        for scan in &samples.scans {
            self.add_scan(common, scan);
        }
        for keeper in &samples.keepers {
            self.add_keeper(common, keeper);
        }
        for Counter { name, help, value } in &samples.counters {
            self.push(name, help, common.clone(), Point::Counter(*value));
        }
        for Gauge { name, help, value } in &samples.gauges {
            self.push(name, help, common.clone(), Point::Gauge(*value));
        }
        for histogram in &samples.histograms {
            let bounds = histogram.bounds.iter().map(|bound| *bound as f64);
            let point = buckets(bounds, &histogram.counts, histogram.total as f64);
            self.push(histogram.name, histogram.help, common.clone(), point);
        }
    }

    fn add_operation(&mut self, common: &Labels, sample: &OperationSample) {
        let labels = with(common, &[("operation", &sample.name)]);
        self.push(
            "operations",
            "Operations that were answered",
            labels.clone(),
            Point::Counter(sample.count),
        );
        for (status, count) in &sample.errors {
            self.push(
                "operation_errors",
                "Operations that were answered with a status other than OK",
                with(common, &[("operation", &sample.name), ("status", status)]),
                Point::Counter(*count),
            );
        }
        self.push(
            "operation_latency_seconds",
            "Time from the request's arrival at the operation to its result",
            labels,
            histogram(&sample.latency),
        );
    }

    fn add_data_server(&mut self, common: &Labels, sample: &DataServerSample) {
        for (health, word) in [
            (DataServerHealth::Up, "up"),
            (DataServerHealth::Full, "full"),
            (DataServerHealth::Suspect, "suspect"),
            (DataServerHealth::Down, "down"),
            (DataServerHealth::Unfit, "unfit"),
        ] {
            self.push(
                "data_server_health",
                "1 for what the metadata server thinks of the data server",
                with(common, &[("data_server", &sample.name), ("health", word)]),
                Point::Gauge(f64::from(u8::from(sample.health == health))),
            );
        }
        for (name, help, bytes) in [
            (
                "data_server_total_bytes",
                "Space of the data server",
                sample.total_bytes,
            ),
            (
                "data_server_free_bytes",
                "Free space of the data server",
                sample.free_bytes,
            ),
        ] {
            self.push(
                name,
                help,
                with(common, &[("data_server", &sample.name)]),
                Point::Gauge(bytes as f64),
            );
        }
    }

    fn add_report(&mut self, common: &Labels, sample: &ReportSample) {
        // Files come and go by how busy they are: no counters, which would have to go on.
        let (of, bytes_name, requests_name, errors_name, point): (_, _, _, _, fn(u64) -> Point) =
            match &sample.of {
                ReportOf::DataServer(name) => (
                    ("data_server", name.clone()),
                    "client_data_bytes",
                    "client_data_requests",
                    "client_data_errors",
                    Point::Counter,
                ),
                ReportOf::File(number) => (
                    ("file", number.to_string()),
                    "busiest_file_bytes",
                    "busiest_file_requests",
                    "busiest_file_errors",
                    |value| Point::Gauge(value as f64),
                ),
            };
        let of = |more: &[(&'static str, &str)]| {
            let mut labels = with(common, &[(of.0, &of.1)]);
            labels.extend(with(&Labels::new(), more));
            labels
        };
        for (direction, bytes, requests) in [
            ("read", sample.read_bytes, sample.reads),
            ("written", sample.written_bytes, sample.writes),
        ] {
            self.push(
                bytes_name,
                "File data that went past the metadata server, as clients told (LAYOUTSTATS)",
                of(&[("direction", direction)]),
                point(bytes),
            );
            self.push(
                requests_name,
                "Reads and writes past the metadata server, as clients told (LAYOUTSTATS)",
                of(&[("direction", direction)]),
                point(requests),
            );
        }
        for (status, count) in &sample.errors {
            self.push(
                errors_name,
                "Errors that clients met at data servers, as they told (LAYOUTERROR)",
                of(&[("status", status)]),
                point(*count),
            );
        }
    }

    fn add_junction(&mut self, common: &Labels, sample: &JunctionSample) {
        let of = |more: &[(&'static str, &str)]| {
            let mut labels = with(
                common,
                &[("junction", &sample.path), ("backend", &sample.backend)],
            );
            labels.extend(with(&Labels::new(), more));
            labels
        };
        self.push(
            "junction_there",
            "1 where the backend of the junction has been reached",
            of(&[]),
            Point::Gauge(f64::from(u8::from(sample.there))),
        );
        self.push(
            "junction_layouts",
            "Layouts by which clients read a backend's files directly",
            of(&[]),
            Point::Counter(sample.layouts),
        );
        for (reason, count) in &sample.refused {
            self.push(
                "junction_layouts_refused",
                "Files of a backend that were not laid out for a client, and why",
                of(&[("reason", reason)]),
                Point::Counter(*count),
            );
        }
        for (direction, bytes) in [
            ("read", sample.read_bytes),
            ("written", sample.written_bytes),
        ] {
            self.push(
                "junction_bytes",
                "Data of a backend's files that passed the metadata server",
                of(&[("direction", direction)]),
                Point::Counter(bytes),
            );
        }
        for (outcome, count) in [("later", sample.delayed), ("failed", sample.broken)] {
            self.push(
                "junction_errors",
                "Calls of a backend that were to come again later, or that failed",
                of(&[("outcome", outcome)]),
                Point::Counter(count),
            );
        }
        self.push(
            "junction_call_seconds",
            "How long calls of a backend took",
            of(&[]),
            histogram(&sample.calls),
        );
        self.push(
            "junction_unsent_bytes",
            "Data of a backend's files that waits on this host for a COMMIT",
            of(&[]),
            Point::Gauge(sample.unsent_bytes as f64),
        );
    }

    fn add_scan(&mut self, common: &Labels, sample: &ScanSample) {
        let of = |more: &[(&'static str, &str)]| {
            let mut labels = with(common, &[("backend", &sample.backend)]);
            labels.extend(with(&Labels::new(), more));
            labels
        };
        self.push(
            "scan_state",
            "1 for the state that the scan of an assimilated backend is in",
            of(&[("state", sample.state)]),
            Point::Gauge(1.0),
        );
        for (state, directories) in [
            ("left", sample.directories_left),
            ("done", sample.directories_done),
        ] {
            self.push(
                "scan_directories",
                "Directories of an assimilated backend that are scanned, and that are known and not scanned yet",
                of(&[("state", state)]),
                Point::Gauge(directories as f64),
            );
        }
        self.push(
            "scan_files",
            "Names of an assimilated backend, but those of directories, that are in the catalog",
            of(&[]),
            Point::Gauge(sample.files as f64),
        );
        self.push(
            "scan_bytes",
            "Sizes of its files that are in the catalog",
            of(&[]),
            Point::Gauge(sample.bytes as f64),
        );
    }

    fn add_keeper(&mut self, common: &Labels, sample: &KeeperSample) {
        let of = |more: &[(&'static str, &str)]| {
            let mut labels = with(common, &[("backend", &sample.backend)]);
            labels.extend(with(&Labels::new(), more));
            labels
        };
        self.push(
            "managed_state",
            "1 for the state that a managed backend is in",
            of(&[("state", sample.state)]),
            Point::Gauge(1.0),
        );
        self.push(
            "managed_unsent_bytes",
            "Data of a managed backend's files that waits on this host for a COMMIT",
            of(&[]),
            Point::Gauge(sample.unsent_bytes as f64),
        );
    }

    fn push(&mut self, name: &'static str, help: &'static str, labels: Labels, point: Point) {
        let kind = match point {
            Point::Counter(_) => MetricType::Counter,
            Point::Gauge(_) => MetricType::Gauge,
            Point::Histogram { .. } => MetricType::Histogram,
        };
        self.0
            .entry(name)
            .or_insert_with(|| Family {
                help,
                kind,
                points: Vec::new(),
            })
            .points
            .push((labels, point));
    }

    /// The text of the page.
    pub(super) fn text(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn with(common: &Labels, own: &[(&'static str, &str)]) -> Labels {
    let own = own.iter().map(|(key, value)| (*key, (*value).to_owned()));
    common.iter().cloned().chain(own).collect()
}

fn histogram(latency: &Latency) -> Point {
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bounds = latency.bounds_micros.iter().map(|bound| seconds(*bound));
    buckets(bounds, &latency.counts, seconds(latency.total_micros))
}

/// One count for each bound, and one for what is above them all.
fn buckets(bounds: impl Iterator<Item = f64>, counts: &[u64], sum: f64) -> Point {
    let bounds = bounds.chain([f64::INFINITY]);
    let all = counts.iter().copied().chain(std::iter::repeat(0));
    Point::Histogram {
        sum,
        count: counts.iter().sum(),
        buckets: bounds.zip(all).collect(),
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, family) in &self.0 {
            let mut metric = encoder.encode_descriptor(name, family.help, None, family.kind)?;
            for (labels, point) in &family.points {
                if labels.is_empty() {
                    encode_point(&mut metric, point)?;
                } else {
                    encode_point(&mut metric.encode_family(labels)?, point)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_point(encoder: &mut MetricEncoder<'_>, point: &Point) -> Result<(), fmt::Error> {
    match point {
        Point::Counter(value) => encoder.encode_counter::<NoLabelSet, u64, f64>(value, None),
        Point::Gauge(value) => encoder.encode_gauge(value),
        Point::Histogram {
            sum,
            count,
            buckets,
        } => encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::BytesSample;
    use super::*;

    fn page_of(samples: &Samples) -> String {
        let mut page = Page::default();
        page.add(&vec![("role", "mds".to_owned())], samples);
        page.text().expect("memory takes everything")
    }

    #[test]
    fn an_operation_has_its_count_its_errors_and_its_latency() {
        let text = page_of(&Samples {
            operations: vec![OperationSample {
                name: "OPEN".to_owned(),
                count: 3,
                errors: vec![("NOENT".to_owned(), 1)],
                latency: Latency {
                    bounds_micros: vec![100, 1000],
                    counts: vec![1, 1, 1],
                    total_micros: 2_500_000,
                },
            }],
            ..Samples::default()
        });
        for line in [
            "# TYPE headrace_operations counter",
            "headrace_operations_total{role=\"mds\",operation=\"OPEN\"} 3",
            "headrace_operation_errors_total{role=\"mds\",operation=\"OPEN\",status=\"NOENT\"} 1",
            "headrace_operation_latency_seconds_sum{role=\"mds\",operation=\"OPEN\"} 2.5",
            "headrace_operation_latency_seconds_count{role=\"mds\",operation=\"OPEN\"} 3",
            "headrace_operation_latency_seconds_bucket{le=\"0.0001\",role=\"mds\",operation=\"OPEN\"} 1",
            "headrace_operation_latency_seconds_bucket{le=\"0.001\",role=\"mds\",operation=\"OPEN\"} 2",
            "headrace_operation_latency_seconds_bucket{le=\"+Inf\",role=\"mds\",operation=\"OPEN\"} 3",
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "no {line} in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn bytes_are_told_by_direction_and_path() {
        let sample = |route, direction, bytes| BytesSample {
            route,
            direction,
            bytes,
        };
        let text = page_of(&Samples {
            bytes: vec![
                sample(Route::Direct, Direction::Written, 5),
                sample(Route::Proxy, Direction::Read, 7),
            ],
            ..Samples::default()
        });
        for line in [
            "headrace_data_bytes_total{role=\"mds\",direction=\"written\",path=\"direct\"} 5",
            "headrace_data_bytes_total{role=\"mds\",direction=\"read\",path=\"proxy\"} 7",
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "no {line} in\n{text}"
            );
        }
    }

    #[test]
    fn a_data_server_that_is_away_shows() {
        let text = page_of(&Samples {
            data_servers: vec![DataServerSample {
                name: "nvme1".to_owned(),
                health: DataServerHealth::Down,
                total_bytes: 10,
                free_bytes: 0,
            }],
            ..Samples::default()
        });
        let up = "headrace_data_server_health{role=\"mds\",data_server=\"nvme1\",health=\"up\"} 0";
        let down =
            "headrace_data_server_health{role=\"mds\",data_server=\"nvme1\",health=\"down\"} 1";
        assert!(text.contains(up), "{text}");
        assert!(text.contains(down), "{text}");
    }

    #[test]
    fn what_clients_tell_is_shown_by_data_server_and_by_busy_file() {
        let report = |of| ReportSample {
            of,
            read_bytes: 10,
            written_bytes: 20,
            reads: 1,
            writes: 2,
            errors: vec![("STALE".to_owned(), 3)],
        };
        let text = page_of(&Samples {
            reports: vec![
                report(ReportOf::DataServer("nvme1".to_owned())),
                report(ReportOf::File(77)),
            ],
            ..Samples::default()
        });
        for line in [
            "headrace_client_data_bytes_total{role=\"mds\",data_server=\"nvme1\",direction=\"read\"} 10",
            "headrace_client_data_errors_total{role=\"mds\",data_server=\"nvme1\",status=\"STALE\"} 3",
            "headrace_busiest_file_bytes{role=\"mds\",file=\"77\",direction=\"written\"} 20.0",
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "no {line} in\n{text}"
            );
        }
    }

    #[test]
    fn the_same_number_of_two_servers_is_one_family() {
        let mut page = Page::default();
        for server in ["nvme1", "nvme2"] {
            let labels = vec![("role", "ds".to_owned()), ("server", server.to_owned())];
            let samples = Samples {
                counters: vec![Counter::new("fences", "Fences", 1)],
                gauges: vec![Gauge::new("connections", "Connections", 2_u64)],
                ..Samples::default()
            };
            page.add(&labels, &samples);
        }
        let text = page.text().expect("memory takes everything");
        assert_eq!(text.matches("# TYPE headrace_fences counter").count(), 1);
        assert!(
            text.contains("headrace_fences_total{role=\"ds\",server=\"nvme2\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("headrace_connections{role=\"ds\",server=\"nvme1\"} 2"),
            "{text}"
        );
    }

    #[test]
    fn a_label_with_quotes_and_line_ends_stays_one_line() {
        let text = page_of(&Samples {
            data_servers: vec![DataServerSample {
                name: "a\"b\nc\\d".to_owned(),
                health: DataServerHealth::Up,
                total_bytes: 0,
                free_bytes: 0,
            }],
            ..Samples::default()
        });
        assert!(text.contains("data_server=\"a\\\"b\\nc\\\\d\""), "{text}");
    }
}
