//! Real kernels as clients, booted by `interop-tests` in a sandbox of each side; see its scenarios `measure-…`.

use super::Place;
use crate::ganesha::Names;
use crate::rounds::{Figure, Sample};
use crate::sides::Kind;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tokio::process::Command;

/// Where `cargo xtask provision` put kernels, and the program that boots them.
#[derive(Debug, Clone)]
pub struct Kernels {
    pub cache: PathBuf,
    pub program: PathBuf,
    /// Python environment that has dlio-benchmark.
    pub dlio: Option<PathBuf>,
}

pub async fn run(place: Place<'_>) -> Result<Sample> {
    match &place.side.kind {
        Kind::Headrace { program, .. } => scenario("measure-headrace", program, place).await,
        Kind::Ganesha(names) => {
            let name = match names {
                Names::Unsynced => "measure-ganesha",
                Names::Durable => "measure-ganesha-durable",
            };
            scenario(name, Path::new("/none"), place).await
        }
    }
}

/// A training, by the side's own mount.
pub async fn training(place: Place<'_>) -> Result<Sample> {
    match &place.side.kind {
        Kind::Headrace { program, .. } => scenario("measure-training", program, place).await,
        Kind::Ganesha(_) => scenario("measure-training-ganesha", Path::new("/none"), place).await,
    }
}

/// The same by DLIO itself.
pub async fn dlio(place: Place<'_>) -> Result<Sample> {
    match &place.side.kind {
        Kind::Headrace { program, .. } => scenario("measure-dlio", program, place).await,
        Kind::Ganesha(_) => scenario("measure-dlio-ganesha", Path::new("/none"), place).await,
    }
}

/// What else a client could mount.
pub async fn bounds(place: Place<'_>) -> Result<Vec<(&'static str, Sample)>> {
    let Kind::Headrace { program, .. } = &place.side.kind else {
        return Ok(Vec::new());
    };
    Ok(vec![
        (
            "a plain NFSv3 mount of one data server",
            scenario("measure-plain", program, place).await?,
        ),
        (
            "headrace, three data servers",
            scenario("measure-headrace-3", program, place).await?,
        ),
    ])
}

/// What others keep, read through the namespace and without it: one scenario measures both in turn.
pub async fn elsewhere(name: &str, place: Place<'_>) -> Result<Sample> {
    let Kind::Headrace { program, .. } = &place.side.kind else {
        anyhow::bail!("{name} is measured on headrace alone");
    };
    scenario(name, program, place).await
}

async fn scenario(name: &str, headrace: &Path, place: Place<'_>) -> Result<Sample> {
    let kernels = place.kernels.context("real kernels want --cache")?;
    let folder = tempfile::tempdir_in(place.disk.canonicalize()?)?;
    let result = folder.path().join("result.json");
    let (_, time) = place.span.parts();
    let mut command = Command::new(&kernels.program);
    if let Some(environment) = &kernels.dlio {
        command.env("HEADRACE_MEASURE_DLIO", environment.canonicalize()?);
    }
    let output = command
        .args(["run", name, "--kernel", "new", "--cache"])
        .arg(kernels.cache.canonicalize()?)
        .arg("--headrace")
        .arg(headrace)
        .arg("--state")
        .arg(folder.path().join("state"))
        .env("HEADRACE_MEASURE_SECONDS", time.as_secs().to_string())
        .env("HEADRACE_MEASURE_RESULT", &result)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {}", kernels.program.display()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{name}: {}", last_of(&told));
    let text = std::fs::read(&result).with_context(|| format!("{name} has no result"))?;
    Ok(Sample {
        rate: None,
        figures: figures(&serde_json::from_slice(&text)?).context("a result of another form")?,
    })
}

fn last_of(told: &str) -> String {
    const LINES: usize = 30;
    let from = told.lines().count().saturating_sub(LINES);
    told.lines().skip(from).collect::<Vec<_>>().join("\n")
}

fn figures(result: &Value) -> Option<Vec<Figure>> {
    let one = |measured: &Value| {
        let job = measured["job"].as_str()?;
        if let Some(count) = measured["count"].as_f64() {
            return Some(Figure::new(job, "of them", count));
        }
        let rate = measured["per_second"].as_f64()?;
        let (bytes, clients) = (measured["bytes"].as_f64()?, measured["clients"].as_u64()?);
        let who = if clients == 1 {
            "1 client"
        } else {
            "2 clients"
        };
        let what = format!("{job}, {who}");
        Some(if bytes > 4096.0 {
            Figure::new(what, "MiB/s", rate * bytes / f64::from(1 << 20))
        } else {
            Figure::new(what, "a second", rate)
        })
    };
    result.as_array()?.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn large_transfers_are_told_in_bytes_and_small_ones_in_operations() {
        let told = json!([
            { "job": "write", "clients": 2, "bytes": 1 << 20, "per_second": 5.0 },
            { "job": "small", "clients": 1, "bytes": 4096, "per_second": 7.0 },
            { "job": "things", "count": 3 },
        ]);
        let figures = figures(&told).unwrap();
        let shown: Vec<_> = figures
            .iter()
            .map(|figure| (figure.what.as_str(), figure.unit, figure.value))
            .collect();
        assert_eq!(
            shown,
            [
                ("write, 2 clients", "MiB/s", 5.0),
                ("small, 1 client", "a second", 7.0),
                ("things", "of them", 3.0)
            ]
        );
        assert!(super::figures(&json!([{ "job": 1 }])).is_none());
    }
}
