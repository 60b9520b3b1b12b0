//! Reading a server's own counters over HTTP, in Prometheus text form.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// One scrape: name, labels as written, value.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    samples: Vec<(String, String, f64)>,
}

impl Scrape {
    pub fn of(address: SocketAddrV4) -> Result<Self> {
        Ok(Self::parse(&get(address, "/metrics")?))
    }

    fn parse(text: &str) -> Self {
        let mut samples = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let Ok(value) = value.parse() else { continue };
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.trim_end_matches('}')),
                None => (series, ""),
            };
            samples.push((name.to_owned(), labels.to_owned(), value));
        }
        Self { samples }
    }

    /// Sum of a metric over the label sets that contain every one of `with` (`op="READ"`).
    pub fn sum(&self, name: &str, with: &[&str]) -> f64 {
        self.samples
            .iter()
            .filter(|(n, labels, _)| n == name && with.iter().all(|label| labels.contains(label)))
            .map(|(_, _, value)| value)
            .sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(n, _, _)| n == name)
    }
}

/// GET, with the body as the answer; anything but 200 is an error.
pub fn get(address: SocketAddrV4, path: &str) -> Result<String> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address.into(), patience)
        .with_context(|| format!("connecting to {address} for {path}"))?;
    stream.set_read_timeout(Some(patience))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("{address}{path}: not HTTP"))?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("{address}{path} answered {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let scrape = Scrape::parse(
            "# HELP x y\nx_total{op=\"READ\",path=\"proxy\"} 3\nx_total{op=\"WRITE\",path=\"proxy\"} 4\ny 1.5\n",
        );
        assert!((scrape.sum("x_total", &[]) - 7.0).abs() < 1e-9);
        assert!((scrape.sum("x_total", &["op=\"READ\""]) - 3.0).abs() < 1e-9);
        assert!(scrape.has("y"));
    }
}
