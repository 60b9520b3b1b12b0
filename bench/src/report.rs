//! What was measured, for people (Markdown), programs (JSON) and eyes (SVG).

use crate::cases::{Absent, Case};
use crate::costs;
use crate::durability;
use crate::plot;
use crate::rounds::{Figure, Rate, Sample};
use crate::sides::Side;
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
    pub sides: Vec<Measured>,
    pub bounds: Vec<Measured>,
}

/// One of those who are compared.
pub struct Measured {
    pub name: String,
    /// One of each round; none where it can't be had.
    pub samples: Vec<Sample>,
    pub absent: Option<Absent>,
}

/// What all cases of a run have in common.
pub struct Run<'a> {
    pub disk: &'a Path,
    pub rounds: u32,
    pub seconds: u64,
    /// What isn't as durable as by default.
    pub odd: Vec<String>,
    pub notes: Vec<String>,
}

impl Outcome {
    pub fn new(case: &'static Case, sides: &[Side]) -> Self {
        let sides = sides.iter().map(|side| Measured {
            name: side.name.clone(),
            samples: Vec::new(),
            absent: case.absent(side),
        });
        Self {
            case,
            sides: sides.collect(),
            bounds: Vec::new(),
        }
    }

    pub fn add_bound(&mut self, name: &str, sample: Sample) {
        match self.bounds.iter_mut().find(|known| known.name == name) {
            Some(known) => known.samples.push(sample),
            None => self.bounds.push(Measured {
                name: name.to_owned(),
                samples: vec![sample],
                absent: None,
            }),
        }
    }

    /// Everybody who was measured, the measured side first.
    pub fn rows(&self) -> impl Iterator<Item = &Measured> {
        let all = self.sides.iter().chain(&self.bounds);
        all.filter(|measured| !measured.samples.is_empty())
    }

    /// Those of which there is a rate.
    pub fn rated(&self) -> impl Iterator<Item = (&Measured, Spread)> {
        self.rows()
            .filter_map(|measured| Some((measured, measured.rates()?)))
    }
}

impl Measured {
    fn rated(&self) -> impl Iterator<Item = &Rate> {
        self.samples
            .iter()
            .filter_map(|sample| sample.rate.as_ref())
    }

    fn rates(&self) -> Option<Spread> {
        Spread::of(self.rated().map(|rate| rate.per_second))
    }

    fn bytes_each(&self) -> Option<u64> {
        self.rated().find_map(|rate| rate.bytes_each)
    }

    /// Of `first` to this one, round by round.
    fn ratio(&self, first: &Self, value: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        let pairs = first.samples.iter().zip(&self.samples);
        Spread::of(pairs.filter_map(|(first, this)| {
            let ratio = value(first)? / value(this)?;
            ratio.is_finite().then_some(ratio)
        }))
    }

    fn quantile(
        &self,
        which: impl Fn(&Rate) -> Option<&Histogram<u64>>,
        part: f64,
    ) -> Option<Duration> {
        let mut all: Option<Histogram<u64>> = None;
        for histogram in self
            .rated()
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
}

fn per_second(sample: &Sample) -> Option<f64> {
    Some(sample.rate.as_ref()?.per_second)
}

/// A median and what it lies between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// None of nothing.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self {
            median,
            least: values[0],
            most: values[values.len() - 1],
        })
    }

    /// With `digits` behind the point.
    fn shown(&self, digits: usize) -> String {
        format!(
            "{:.digits$} ({:.digits$} to {:.digits$})",
            self.median, self.least, self.most
        )
    }
}

fn shown(time: Option<Duration>) -> String {
    match time {
        None => "–".to_owned(),
        Some(time) if time < Duration::from_millis(1) => format!("{} µs", time.as_micros()),
        Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    }
}

fn row(outcome: &Outcome, measured: &Measured, rate: Spread, is_first: bool) -> String {
    let mib = measured.bytes_each().map_or(String::new(), |bytes| {
        format!(
            " = {:.0} MiB/s",
            rate.median * bytes as f64 / f64::from(1 << 20)
        )
    });
    let ratio = if is_first {
        None
    } else {
        measured.ratio(&outcome.sides[0], per_second)
    };
    let ratio = ratio.map_or("–".to_owned(), |ratio| ratio.shown(2));
    format!(
        "| {} | {}{mib} | {ratio} | {} | {} | {} |\n",
        measured.name,
        rate.shown(0),
        shown(measured.quantile(|rate| Some(&rate.busy), 0.99)),
        shown(measured.quantile(|rate| rate.easy.as_ref(), 0.5)),
        shown(measured.quantile(|rate| rate.easy.as_ref(), 0.99)),
    )
}

/// One case as tables: rates, then what isn't a rate.
pub fn lines(outcome: &Outcome) -> String {
    let mut text = format!("## {}\n\n{}\n\n", outcome.case.name, outcome.case.what);
    for (place, (measured, rate)) in outcome.rated().enumerate() {
        if place == 0 {
            text.push_str("| side | a second | headrace to it | p99, full | median, half full | p99, half full |\n|---|---|---|---|---|---|\n");
        }
        text.push_str(&row(outcome, measured, rate, place == 0));
    }
    text.push('\n');
    text.push_str(&figures(outcome));
    for side in &outcome.sides {
        if let Some(Absent::Because(why)) = side.absent {
            // Into a string: can't fail.
            let _ = writeln!(text, "{} isn't measured here: {why}.\n", side.name);
        }
    }
    text
}

/// Names of all figures, as they come.
fn whats(outcome: &Outcome) -> Vec<(&str, &'static str)> {
    let mut known = Vec::new();
    let all = outcome.rows().flat_map(|measured| &measured.samples);
    for figure in all.flat_map(|sample| &sample.figures) {
        let what = (figure.what.as_str(), figure.unit);
        if !known.contains(&what) {
            known.push(what);
        }
    }
    known
}

fn figures(outcome: &Outcome) -> String {
    let whats = whats(outcome);
    let having: Vec<&Measured> = outcome
        .rows()
        .filter(|measured| {
            measured
                .samples
                .iter()
                .any(|sample| !sample.figures.is_empty())
        })
        .collect();
    if whats.is_empty() {
        return String::new();
    }
    let table_row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut head = vec!["what".to_owned(), "unit".to_owned()];
    head.extend(having.iter().map(|measured| measured.name.clone()));
    let mut text = table_row(head) + "|---|---|" + &"---|".repeat(having.len()) + "\n";
    for (what, unit) in whats {
        let value = |sample: &Sample| {
            let same = |figure: &&Figure| figure.what == what && figure.unit == unit;
            sample.figures.iter().find(same).map(|figure| figure.value)
        };
        let mut cells = vec![what.to_owned(), unit.to_owned()];
        cells.extend(having.iter().enumerate().map(|(place, measured)| {
            let Some(spread) = Spread::of(measured.samples.iter().filter_map(value)) else {
                return "–".to_owned();
            };
            let cell = spread.shown(digits(spread.median));
            match measured.ratio(&outcome.sides[0], value) {
                Some(ratio) if place > 0 && ![Figure::COUNT, Figure::SHARE].contains(&unit) => {
                    format!("{cell}; headrace to it {}", ratio.shown(2))
                }
                _ => cell,
            }
        }));
        text.push_str(&table_row(cells));
    }
    text.push('\n');
    text
}

/// Enough to tell one value from another.
fn digits(value: f64) -> usize {
    match value.abs() {
        100.0.. => 0,
        1.0.. => 1,
        _ => 3,
    }
}

const HOW: &str = "Rates are medians with the least and the most of all rounds; ratios are of the two sides of a round, and medians of those. *Full*: callers ask as soon as they have their answers. *Half full*: half of that rate, by callers who don't wait, each answer counted from when it was due. The load runs on the same processors as the servers: what both cost is told. System calls are counted in a run of their own, since counting slows; what io_uring does without a call isn't in them. Where the servers spend their processors' time perf samples in one more run.";

/// What each side promises with an answer.
const ACKNOWLEDGED: &str = "What an answer promises: that of an unstable WRITE nothing, that of a COMMIT that the bytes are synced to the disk: alike on all sides. A create, a rename or a removal of `headrace` is on the disk when it is answered. `ganesha` answers it from the page cache, and a crash of the machine may lose it. `ganesha, durable` is the same server on a folder whose changes ext4 syncs each before it returns (`chattr +D`): that is what `headrace` promises.";

pub fn write(folder: &Path, run: &Run<'_>, outcomes: &[Outcome]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let machine = machine(run.disk);
    let mut text = format!("# Measurements\n\n{HOW}\n\n{ACKNOWLEDGED}\n\n");
    if run.odd.is_empty() {
        text.push_str("All settings are the defaults.\n\n");
    } else {
        writeln!(
            text,
            "**Not as durable as by default: {}.**\n",
            run.odd.join("; ")
        )?;
    }
    for (what, value) in &machine {
        writeln!(text, "- {what}: {value}")?;
    }
    writeln!(text, "- {} rounds of {} s each", run.rounds, run.seconds)?;
    if costs::energy::so_far().is_none() {
        text.push_str(
            "- energy: this machine shows no RAPL counters (powercap), so joules can't be told\n",
        );
    }
    for note in &run.notes {
        writeln!(text, "- {note}")?;
    }
    text.push('\n');
    for outcome in outcomes {
        text.push_str(&lines(outcome));
        if outcome.rated().next().is_some() {
            let picture = format!("{}.svg", outcome.case.name);
            fs::write(folder.join(&picture), plot::bars(outcome))?;
            writeln!(text, "![{}]({picture})\n", outcome.case.name)?;
        }
    }
    fs::write(folder.join("report.md"), text)?;
    let all = json!({
        "machine": machine.iter().map(|(what, value)| ((*what).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "rounds": run.rounds,
        "seconds": run.seconds,
        "not_default": run.odd,
        "notes": run.notes,
        "cases": outcomes.iter().map(as_json).collect::<Vec<_>>(),
    });
    fs::write(folder.join("report.json"), serde_json::to_vec_pretty(&all)?)?;
    Ok(())
}

fn as_json(outcome: &Outcome) -> Value {
    let nanos = |histogram: &Histogram<u64>, part| {
        (!histogram.is_empty()).then(|| histogram.value_at_quantile(part))
    };
    let rate = |rate: &Rate| {
        json!({
            "per_second": rate.per_second,
            "bytes_each": rate.bytes_each,
            "full_p99_nanos": nanos(&rate.busy, 0.99),
            "half_full_p50_nanos": rate.easy.as_ref().and_then(|easy| nanos(easy, 0.5)),
            "half_full_p99_nanos": rate.easy.as_ref().and_then(|easy| nanos(easy, 0.99)),
        })
    };
    let round = |sample: &Sample| {
        let figures = sample.figures.iter().map(
            |figure| json!({ "what": figure.what, "unit": figure.unit, "value": figure.value }),
        );
        json!({ "rate": sample.rate.as_ref().map(rate), "figures": figures.collect::<Vec<_>>() })
    };
    let sides = outcome.sides.iter().chain(&outcome.bounds).map(|measured| {
        let rounds = measured.samples.iter().map(round);
        let absent = measured.absent.and_then(|absent| match absent {
            Absent::Because(why) => Some(why),
            Absent::AsTheOther => None,
        });
        json!({ "name": measured.name, "absent": absent, "rounds": rounds.collect::<Vec<_>>() })
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
    let all = [
        ("date", said("date", &["-u", "+%Y-%m-%d"])),
        ("kernel", said("uname", &["-r"])),
        ("processor", file("/proc/cpuinfo", "model name")),
        ("processors", said("nproc", &[])),
        ("memory", file("/proc/meminfo", "MemTotal")),
        ("file system", durability::file_system(disk)),
        (
            "NFS-Ganesha",
            said("dpkg-query", &["-W", "-f", "${Version}", "nfs-ganesha"]),
        ),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
    ];
    all.into_iter()
        .filter_map(|(what, value)| Some((what, value?)))
        .collect()
}

#[cfg(test)]
mod tests;
