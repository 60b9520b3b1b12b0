//! What was measured, for people (Markdown), programs (JSON) and eyes (SVG).

use crate::cases::Case;
use crate::plot;
use crate::rounds::Sample;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// All rounds of one case.
pub struct Outcome {
    pub case: &'static Case,
    pub sides: Vec<(String, Vec<Sample>)>,
    pub bounds: Vec<(&'static str, Vec<Sample>)>,
}

impl Outcome {
    pub fn new(case: &'static Case, sides: impl Iterator<Item = String>) -> Self {
        Self {
            case,
            sides: sides.map(|name| (name, Vec::new())).collect(),
            bounds: Vec::new(),
        }
    }

    pub fn add_bound(&mut self, name: &'static str, sample: Sample) {
        match self.bounds.iter_mut().find(|(known, _)| *known == name) {
            Some((_, samples)) => samples.push(sample),
            None => self.bounds.push((name, vec![sample])),
        }
    }

    /// Everybody, the measured side first.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &[Sample])> {
        let sides = self
            .sides
            .iter()
            .map(|(name, samples)| (name.as_str(), samples));
        let bounds = self.bounds.iter().map(|(name, samples)| (*name, samples));
        sides
            .chain(bounds)
            .map(|(name, samples)| (name, samples.as_slice()))
    }
}

/// A median and what it lies between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self {
            median,
            least: values[0],
            most: values[values.len() - 1],
        }
    }
}

pub fn rates(samples: &[Sample]) -> Spread {
    Spread::of(samples.iter().map(|sample| sample.per_second))
}

/// Of the first side to `others`, round by round.
fn ratios(outcome: &Outcome, others: &[Sample]) -> Spread {
    let pairs = outcome.sides[0].1.iter().zip(others);
    Spread::of(pairs.map(|(mine, other)| mine.per_second / other.per_second))
}

fn quantile(
    samples: &[Sample],
    which: impl Fn(&Sample) -> Option<&Histogram<u64>>,
    part: f64,
) -> Option<Duration> {
    let mut all: Option<Histogram<u64>> = None;
    for histogram in samples
        .iter()
        .filter_map(&which)
        .filter(|some| !some.is_empty())
    {
        match &mut all {
            Some(all) => all.add(histogram).ok()?,
            None => all = Some(histogram.clone()),
        }
    }
    all.map(|all| Duration::from_nanos(all.value_at_quantile(part)))
}

fn shown(time: Option<Duration>) -> String {
    match time {
        None => "–".to_owned(),
        Some(time) if time < Duration::from_millis(1) => format!("{} µs", time.as_micros()),
        Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    }
}

fn mean_micros(samples: &[Sample], of: impl Fn(&crate::rounds::Cost) -> Duration) -> Option<f64> {
    let costs: Vec<f64> = samples
        .iter()
        .filter_map(|sample| Some(of(sample.cost.as_ref()?).as_secs_f64() * 1e6))
        .collect();
    (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64)
}

fn row(outcome: &Outcome, name: &str, samples: &[Sample], is_first: bool) -> String {
    let rate = rates(samples);
    let mib = samples[0].bytes_each.map_or(String::new(), |bytes| {
        format!(
            " = {:.0} MiB/s",
            rate.median * bytes as f64 / f64::from(1 << 20)
        )
    });
    let ratio = if is_first {
        "–".to_owned()
    } else {
        let ratio = ratios(outcome, samples);
        format!(
            "{:.2} ({:.2} to {:.2})",
            ratio.median, ratio.least, ratio.most
        )
    };
    let micros =
        |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.1} µs"));
    format!(
        "| {name} | {:.0} ({:.0} to {:.0}){mib} | {ratio} | {} | {} | {} | {} | {} |\n",
        rate.median,
        rate.least,
        rate.most,
        shown(quantile(samples, |sample| Some(&sample.busy), 0.99)),
        shown(quantile(samples, |sample| sample.easy.as_ref(), 0.5)),
        shown(quantile(samples, |sample| sample.easy.as_ref(), 0.99)),
        micros(mean_micros(samples, |cost| cost.servers)),
        micros(mean_micros(samples, |cost| cost.load)),
    )
}

/// One case as a table.
pub fn lines(outcome: &Outcome) -> String {
    let mut text = format!(
        "## {}\n\n{}\n\n| side | a second | headrace to it | p99, full | median, half full | p99, half full | servers' processor each | load's processor each |\n|---|---|---|---|---|---|---|---|\n",
        outcome.case.name, outcome.case.what
    );
    for (place, (name, samples)) in outcome.rows().enumerate() {
        text.push_str(&row(outcome, name, samples, place == 0));
    }
    text.push('\n');
    text
}

pub fn write(
    folder: &Path,
    disk: &Path,
    (rounds, seconds): (u32, u64),
    outcomes: &[Outcome],
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let machine = machine(disk);
    let mut text = "# Measurements\n\nRates are medians with the least and the most of all rounds; ratios are of the two sides of a round, and medians of those. *Full*: callers ask as soon as they have their answers. *Half full*: half of that rate, by callers who don't wait, each answer counted from when it was due. The load runs on the same processors as the servers: what both cost is told. All settings are the defaults.\n\n".to_owned();
    for (what, value) in &machine {
        writeln!(text, "- {what}: {value}")?;
    }
    writeln!(text, "- {rounds} rounds of {seconds} s each\n")?;
    for outcome in outcomes {
        text.push_str(&lines(outcome));
        let picture = format!("{}.svg", outcome.case.name);
        fs::write(folder.join(&picture), plot::bars(outcome))?;
        writeln!(text, "![{}]({picture})\n", outcome.case.name)?;
    }
    fs::write(folder.join("report.md"), text)?;
    let all = json!({
        "machine": machine.iter().map(|(what, value)| ((*what).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "rounds": rounds,
        "seconds": seconds,
        "cases": outcomes.iter().map(as_json).collect::<Vec<_>>(),
    });
    fs::write(folder.join("report.json"), serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}

fn as_json(outcome: &Outcome) -> Value {
    let sides = outcome.rows().map(|(name, samples)| {
        let rounds = samples.iter().map(|sample| {
            let nanos = |histogram: &Histogram<u64>, part| {
                (!histogram.is_empty()).then(|| histogram.value_at_quantile(part))
            };
            json!({
                "per_second": sample.per_second,
                "bytes_each": sample.bytes_each,
                "full_p99_nanos": nanos(&sample.busy, 0.99),
                "half_full_p50_nanos": sample.easy.as_ref().and_then(|easy| nanos(easy, 0.5)),
                "half_full_p99_nanos": sample.easy.as_ref().and_then(|easy| nanos(easy, 0.99)),
                "servers_processor_nanos_each": sample.cost.as_ref().map(|cost| cost.servers.as_nanos() as u64),
                "load_processor_nanos_each": sample.cost.as_ref().map(|cost| cost.load.as_nanos() as u64),
                "resident_bytes": sample.cost.as_ref().map(|cost| cost.resident_bytes),
            })
        });
        json!({ "name": name, "rounds": rounds.collect::<Vec<_>>() })
    });
    json!({ "name": outcome.case.name, "what": outcome.case.what, "sides": sides.collect::<Vec<_>>() })
}

/// What figures depend on; what can't be told is left out.
fn machine(disk: &Path) -> Vec<(&'static str, String)> {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    };
    let file = |path: &str, key: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    let disk = disk.display().to_string();
    let all = [
        ("date", said("date", &["-u", "+%Y-%m-%d"])),
        ("kernel", said("uname", &["-r"])),
        ("processor", file("/proc/cpuinfo", "model name")),
        ("processors", said("nproc", &[])),
        ("memory", file("/proc/meminfo", "MemTotal")),
        (
            "file system",
            said("findmnt", &["-no", "FSTYPE,OPTIONS", "-T", &disk]),
        ),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
    ];
    all.into_iter()
        .filter_map(|(what, value)| Some((what, value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;
    use crate::load::histogram;

    fn sample(per_second: f64) -> Sample {
        let mut busy = histogram();
        busy.record(2_500_000).unwrap();
        Sample {
            per_second,
            busy,
            easy: None,
            cost: None,
            bytes_each: Some(1 << 20),
        }
    }

    fn outcome() -> Outcome {
        let mut outcome = Outcome::new(
            &cases::ALL[0],
            ["headrace".into(), "other".into()].into_iter(),
        );
        outcome.sides[0].1 = vec![sample(100.0), sample(300.0), sample(200.0)];
        outcome.sides[1].1 = vec![sample(100.0), sample(100.0), sample(50.0)];
        outcome.add_bound("fio", sample(400.0));
        outcome
    }

    #[test]
    fn a_ratio_is_of_the_same_round_and_told_with_its_spread() {
        let text = lines(&outcome());
        assert!(
            text.contains("| headrace | 200 (100 to 300) = 200 MiB/s | – | 2.5 ms |"),
            "{text}"
        );
        assert!(
            text.contains("| other | 100 (50 to 100) = 100 MiB/s | 3.00 (1.00 to 4.00) |"),
            "{text}"
        );
        assert!(
            text.contains("| fio | 400 (400 to 400) = 400 MiB/s | 0.25 (0.25 to 0.25) |"),
            "{text}"
        );
    }

    #[test]
    fn a_report_is_there_for_people_programs_and_eyes() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), folder.path(), (3, 5), &[outcome()]).unwrap();
        let told: Value =
            serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap();
        assert_eq!(
            told["cases"][0]["sides"][0]["rounds"][1]["per_second"],
            300.0
        );
        let picture = fs::read_to_string(folder.path().join("write-1m.svg")).unwrap();
        assert!(picture.starts_with("<svg") && picture.contains("headrace"));
        let text = fs::read_to_string(folder.path().join("report.md")).unwrap();
        assert!(text.contains("write-1m.svg") && text.contains("3 rounds of 5 s"));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let spread = Spread::of([4.0, 1.0, 2.0, 8.0].into_iter());
        assert_eq!(
            spread,
            Spread {
                median: 3.0,
                least: 1.0,
                most: 8.0
            }
        );
    }
}
