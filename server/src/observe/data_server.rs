//! The numbers of a data server in this process.
//! Never here: what another process's data server says of itself.

use super::samples::{
    BytesSample, Counter, Direction, Gauge, Latency, OperationSample, Route, Samples, Source,
};
use ds::{LATENCY_BOUNDS_MICROS, Observer, ProcedureSnapshot, Snapshot, StatusClass};

/// A data server, watched.
pub struct DataServerSource {
    name: String,
    observer: Observer,
}

impl DataServerSource {
    /// `name` tells it from others in the process.
    pub fn new(name: impl Into<String>, observer: Observer) -> Self {
        Self {
            name: name.into(),
            observer,
        }
    }
}

impl Source for DataServerSource {
    fn labels(&self) -> Vec<(&'static str, String)> {
        vec![("role", "ds".to_owned()), ("server", self.name.clone())]
    }

    fn samples(&self) -> Samples {
        samples(&self.observer.metrics())
    }
}

fn samples(now: &Snapshot) -> Samples {
    let bytes = |direction, bytes| BytesSample {
        route: Route::Direct,
        direction,
        bytes,
    };
    Samples {
        operations: now
            .procedures
            .iter()
            .filter(|procedure| procedure.calls() > 0)
            .map(operation)
            .collect(),
        bytes: vec![
            bytes(Direction::Read, now.read_bytes),
            bytes(Direction::Written, now.written_bytes),
        ],
        data_servers: Vec::new(),
        counters: vec![
            Counter::new("fences", "Data objects given another owner", now.fences),
            Counter::new("mount_calls", "Calls of MOUNT", now.mount_calls),
            Counter::new(
                "rpc_refusals",
                "Calls refused before they were understood",
                now.rpc_refusals,
            ),
            Counter::new(
                "connections_accepted",
                "Connections that were taken",
                now.connections_accepted,
            ),
            Counter::new(
                "connections_refused",
                "Connections closed as they came, at the limit",
                now.connections_refused,
            ),
            Counter::new(
                "connections_cut",
                "Connections closed for what the peer sent, or didn't",
                now.connections_cut,
            ),
        ],
        gauges: vec![
            Gauge::new("connections", "Connections", now.connections),
            Gauge::new(
                "requests_under_way",
                "Requests that are worked on",
                now.in_flight_requests,
            ),
            Gauge::new(
                "buffer_bytes",
                "Memory for the bytes of requests that are worked on",
                now.in_flight_bytes,
            ),
            Gauge::new("open_objects", "Data objects kept open", now.open_objects),
            Gauge::new("free_bytes", "Free space for data objects", now.free_bytes),
            Gauge::new("total_bytes", "Space for data objects", now.total_bytes),
            Gauge::new(
                "mds_term",
                "Term of the metadata server whose orders are obeyed",
                now.mds_term,
            ),
        ],
    }
}

fn operation(procedure: &ProcedureSnapshot) -> OperationSample {
    OperationSample {
        name: procedure.procedure.to_string(),
        count: procedure.calls(),
        errors: procedure
            .by_class
            .iter()
            .filter(|(class, count)| *class != StatusClass::Ok && *count > 0)
            .map(|(class, count)| (class_name(*class).to_owned(), *count))
            .collect(),
        latency: Latency {
            bounds_micros: LATENCY_BOUNDS_MICROS.to_vec(),
            counts: procedure.latency.clone(),
            total_micros: procedure.total_micros,
        },
    }
}

fn class_name(class: StatusClass) -> &'static str {
    match class {
        StatusClass::Ok => "ok",
        StatusClass::Refused => "refused",
        StatusClass::Gone => "gone",
        StatusClass::Full => "full",
        StatusClass::Later => "later",
        StatusClass::Fault => "fault",
        StatusClass::Other => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Observed, Phase, Readiness};
    use nfs_client::{Caller, Client, Options};
    use std::sync::Arc;

    #[tokio::test]
    async fn what_a_data_server_answered_shows_in_its_metrics() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let running = ds::Server::start(ds::Config::new(folder.path())).expect("it starts");
        let client = Client::connect(
            running.addresses()[0],
            Caller::root("test"),
            &Options::default(),
        )
        .await
        .expect("it listens");
        client.null().await.expect("it answers");
        let observer = running.observer().expect("it runs");
        let readiness = Readiness::starting("the test");
        readiness.set(Phase::Ready);
        let observed = Observed {
            readiness,
            sources: vec![Arc::new(DataServerSource::new("nvme1", observer))],
        };
        let text = observed.metrics().expect("memory takes everything");
        for line in [
            "headrace_operations_total{role=\"ds\",server=\"nvme1\",operation=\"NULL\"} 2",
            "headrace_data_bytes_total{role=\"ds\",server=\"nvme1\",direction=\"read\",path=\"direct\"} 0",
            "headrace_connections{role=\"ds\",server=\"nvme1\"} 1.0",
            "headrace_ready 1.0",
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "no {line} in\n{text}"
            );
        }
        running.stop().await;
    }
}
