//! What there is to say of data servers and backends: how they do, what lies there, what waits here.
//! Never here: how it looks (`table`).

use crate::metadata::{AssimilatedShown, CacheAt, Keeper, ManagedShown, Shown};
use crate::observe::{DataServerHealth, DataServerSample, Latency};
use crate::sources::MetadataSource;
use backend::Space;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// For a backend's answer of its space.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whom the control socket asks.
pub struct Asked(pub Arc<MetadataSource>);

impl Asked {
    pub(super) async fn told(&self) -> Value {
        let backends = self.0.backends().shown();
        let junctions = join_all(backends.iter().map(junction)).await;
        let data_servers: Vec<Value> = self.0.data_servers().iter().map(data_server).collect();
        let scans: Vec<Value> = self.0.assimilated().shown().iter().map(scan).collect();
        let managed = self.0.managed().shown();
        let managed = join_all(managed.iter().map(self::managed)).await;
        json!({
            "data_servers": data_servers, "junctions": junctions, "scans": scans, "managed": managed,
        })
    }
}

pub(super) fn data_server(sample: &DataServerSample) -> Value {
    let state = match sample.health {
        DataServerHealth::Up => "up",
        DataServerHealth::Full => "full",
        DataServerHealth::Suspect => "suspect",
        DataServerHealth::Down => "away",
        DataServerHealth::Unfit => "unfit",
    };
    json!({
        "name": sample.name,
        "state": state,
        "total_bytes": sample.total_bytes,
        "free_bytes": sample.free_bytes,
    })
}

fn scan(shown: &AssimilatedShown) -> Value {
    let ((state, why), totals) = (shown.state(), shown.totals());
    let (_, place) = place(&Keeper::Nfs(shown.spec.nfs.clone()));
    json!({
        "backend": shown.spec.name,
        "path": shown.spec.path,
        "place": place,
        "state": state,
        "why": why,
        "directories_left": totals.left,
        "directories": totals.directories,
        "files": totals.files,
        "bytes": totals.bytes,
    })
}

async fn managed(shown: &ManagedShown) -> Value {
    let (state, why) = shown.state();
    let cache = match &shown.cache {
        Some(at) => Some(cache(at).await),
        None => None,
    };
    json!({
        "backend": shown.spec.name,
        "path": shown.spec.path,
        "place": shown.spec.storage.place(),
        "state": state,
        "why": why,
        "unsent_files": shown.unsent.files,
        "unsent_bytes": shown.unsent.bytes,
        "unsent_seconds": shown.unsent.oldest.as_secs(),
        "cache": cache,
    })
}

async fn junction(shown: &Shown) -> Value {
    let tree = shown.junction.tree();
    let space = match shown.absence {
        Some(_) => None,
        None => tokio::time::timeout(PATIENCE, tree.space()).await.ok(),
    };
    let Space { total, free } = match space {
        Some(Ok(space)) => space,
        _ => Space { total: 0, free: 0 },
    };
    let (kind, place) = place(&shown.keeper);
    let cache = match &shown.cache {
        Some(at) => Some(cache(at).await),
        None => None,
    };
    let counters = shown.junction.counters();
    let unsent = tree.unsent();
    json!({
        "path": shown.spec.path,
        "backend": shown.spec.backend,
        "kind": kind,
        "place": place,
        "state": if shown.absence.is_none() { "up" } else { "away" },
        "why": shown.absence.as_deref(),
        "total_bytes": total,
        "free_bytes": free,
        "calls": shown.calls.counts.iter().sum::<u64>(),
        "call_p50_micros": quantile(&shown.calls, 0.5),
        "call_p99_micros": quantile(&shown.calls, 0.99),
        "delayed": counters.delayed.load(Relaxed),
        "failed": counters.broken.load(Relaxed),
        "layouts": counters.layouts.load(Relaxed),
        "read_bytes": counters.read_bytes.load(Relaxed),
        "written_bytes": counters.written_bytes.load(Relaxed),
        "unsent_files": unsent.files,
        "unsent_bytes": unsent.bytes,
        "unsent_seconds": unsent.oldest.as_secs(),
        "cache": cache,
    })
}

/// Counted since that data server started.
async fn cache(at: &CacheAt) -> Value {
    let name = at.name();
    let why = match tokio::time::timeout(PATIENCE, at.demand()).await {
        Ok(Ok(demand)) => {
            return json!({
                "data_server": name,
                "hits": demand.hits,
                "misses": demand.misses,
                "fetched_bytes": demand.fetched_bytes,
                "read_bytes": demand.read_bytes,
                "saved_bytes": demand.saved_bytes(),
                "held_bytes": demand.held_bytes,
                "limit_bytes": demand.limit_bytes,
            });
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("data server {name} doesn't answer"),
    };
    json!({ "data_server": name, "why": why })
}

/// Never with credentials: none are in a configuration.
fn place(keeper: &Keeper) -> (&'static str, String) {
    match keeper {
        Keeper::Nfs(spec) => ("nfs", format!("{}:{}", spec.host, spec.export)),
        Keeper::S3(spec) => ("s3", format!("{}/{}", spec.bucket, spec.prefix)),
        Keeper::Given(_) => ("given", String::new()),
    }
}

/// The bound of the bucket that so many of all are within; `None` where there were no calls, or it is beyond all bounds.
pub(super) fn quantile(latency: &Latency, share: f64) -> Option<u64> {
    let all: u64 = latency.counts.iter().sum();
    let wanted = ((all as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    let bucket = latency.counts.iter().position(|count| {
        seen += count;
        seen >= wanted
    })?;
    latency.bounds_micros.get(bucket).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(counts: &[u64]) -> Latency {
        Latency {
            bounds_micros: vec![100, 1_000, 10_000],
            counts: counts.to_vec(),
            total_micros: 0,
        }
    }

    #[test]
    fn a_quantile_is_the_bound_that_so_many_are_within() {
        assert_eq!(quantile(&latency(&[0, 0, 0, 0]), 0.5), None, "no calls");
        assert_eq!(quantile(&latency(&[1, 0, 0, 0]), 0.99), Some(100));
        assert_eq!(quantile(&latency(&[50, 50, 0, 0]), 0.5), Some(100));
        assert_eq!(quantile(&latency(&[50, 49, 1, 0]), 0.99), Some(1_000));
        assert_eq!(quantile(&latency(&[50, 48, 2, 0]), 0.99), Some(10_000));
        assert_eq!(quantile(&latency(&[0, 0, 0, 5]), 0.5), None, "beyond all");
    }
}
