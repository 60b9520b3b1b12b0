//! Cases in rounds, each side in turn, so that what else the machine does falls on both.

use crate::cases::clients::Kernels;
use crate::cases::{self, Case, Place, Size};
use crate::durability;
use crate::ganesha::Names;
use crate::load;
use crate::report::{self, Outcome, Run};
use crate::sandbox;
use crate::sides::{Kind, Side};
use anyhow::{Context, Result, bail};
use clap::Args;
use hdrhistogram::Histogram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Cases to run; all when none is named
    names: Vec<String>,
    /// The `headrace` that is measured; beside this program unless said
    #[arg(long, value_name = "PROGRAM")]
    headrace: Option<PathBuf>,
    /// Another `headrace`, measured in turn with it
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// What the report calls it
    #[arg(long, value_name = "NAME", default_value = "the other")]
    against_name: String,
    /// Leave NFS-Ganesha out
    #[arg(long)]
    alone: bool,
    /// Folder on the disk that the servers work on
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,
    /// Folder for report.md, report.json and the plots
    #[arg(long, value_name = "DIR", default_value = "bench-report")]
    report: PathBuf,
    /// Times that each side is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Two rounds of one second on fewer files: what a change is tried with. Ends within five minutes
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// A line for `[server]` of the metadata server's configuration
    #[arg(long, value_name = "KEY = VALUE")]
    set: Vec<String>,
    /// Measure although something isn't as durable as by default; the report tells what
    #[arg(long)]
    not_default: bool,
    /// Files of the catalog that the case `large` grows to
    #[arg(long, value_name = "COUNT", default_value_t = 10_000_000)]
    large_files: usize,
    /// Folder that `cargo xtask provision` filled: kernels and an S3 server, for the cases `clients`, `training`, `dlio`, `listing`, `filer`, `filer-far`, `bucket` and `bucket-far`
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Folder of a Python environment that has dlio-benchmark, for the case `dlio`; not below /tmp or /run
    #[arg(long, value_name = "DIR")]
    dlio: Option<PathBuf>,
    /// Already in a sandbox
    #[arg(long, hide = true)]
    pub inside: bool,
}

/// How long a load runs: first without being counted.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    warm_up: Duration,
    time: Duration,
}

impl Span {
    pub fn parts(self) -> (Duration, Duration) {
        (self.warm_up, self.time)
    }

    pub fn whole(self) -> Duration {
        self.warm_up + self.time
    }
}

/// One side of a case in one round.
pub struct Sample {
    pub rate: Option<Rate>,
    pub figures: Vec<Figure>,
}

pub struct Rate {
    pub per_second: f64,
    /// Nanoseconds that answers took while callers asked as fast as they could.
    pub busy: Histogram<u64>,
    /// The same at half the rate, with callers that don't wait.
    pub easy: Option<Histogram<u64>>,
    /// Of data, for each operation.
    pub bytes_each: Option<u64>,
}

/// What is told beside rates, or without one.
#[derive(Debug, Clone)]
pub struct Figure {
    pub what: String,
    pub unit: &'static str,
    pub value: f64,
}

impl Figure {
    /// The unit of what was there, which is no result.
    pub const COUNT: &str = "many";
    /// The unit of what is told of one side alone: of less time the same share is less.
    pub const SHARE: &str = "% of all servers' time";

    pub fn new(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self {
            what: what.into(),
            unit,
            value,
        }
    }
}

impl Sample {
    /// What the machine gives.
    pub fn bound(per_second: f64, bytes_each: Option<u64>) -> Self {
        let rate = Rate {
            per_second,
            busy: load::histogram(),
            easy: None,
            bytes_each,
        };
        Self {
            rate: Some(rate),
            figures: Vec::new(),
        }
    }
}

/// Of a quick run, with some time left for the last case to end in.
const QUICK_LIMIT: Duration = Duration::from_secs(230);

pub async fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let cases = chosen(&options.names)?;
    let odd = durability::faults(&options.disk, &options.set);
    if !odd.is_empty() && !options.not_default {
        bail!(
            "what is acknowledged here isn't as durable as by default:\n  {}\nGive --not-default to measure it all the same; the report will say so",
            odd.join("\n  ")
        );
    }
    let (sides, mut notes) = sides(options)?;
    let (rounds, seconds) = if options.quick {
        (2, 1)
    } else {
        (options.rounds, options.seconds)
    };
    let span = Span {
        warm_up: Duration::from_millis(if options.quick { 250 } else { 500 }),
        time: Duration::from_secs(seconds),
    };
    let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy: Vec<&str> = busy.split_whitespace().take(3).collect();
    notes.push(format!(
        "load of the machine before the run: {}",
        busy.join(", ")
    ));
    if options.quick {
        notes.push("a quick run: fewer files, layouts and clients than cases say, and system calls aren't counted".to_owned());
    }
    let kernels = kernels(options)?;
    let (mut outcomes, mut failed) = (Vec::new(), Vec::new());
    for case in cases {
        if let Some(why) = cannot(case, options, kernels.as_ref()) {
            anyhow::ensure!(options.names.is_empty(), "{}: {why}", case.name);
            notes.push(format!("{} was left out: {why}", case.name));
            continue;
        }
        if options.quick && began.elapsed() > QUICK_LIMIT {
            notes.push(format!(
                "left out, since the time of a quick run was over: {}",
                case.name
            ));
            continue;
        }
        match measure(case, &sides, options, kernels.as_ref(), rounds, span).await {
            Ok(outcome) => {
                print!("{}", report::lines(&outcome));
                outcomes.push(outcome);
            }
            // What the others tell isn't lost for it.
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(case.name);
                notes.push(format!("failed: {error:#}"));
            }
        }
    }
    let run = Run {
        disk: &options.disk,
        rounds,
        seconds,
        odd,
        notes,
    };
    report::write(&options.report, &run, &outcomes)?;
    println!("{}", options.report.join("report.md").display());
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

async fn measure(
    case: &'static Case,
    sides: &[Side],
    options: &Options,
    kernels: Option<&Kernels>,
    rounds: u32,
    span: Span,
) -> Result<Outcome> {
    let mut outcome = Outcome::new(case, sides);
    let on = |side| Place {
        side,
        disk: &options.disk,
        span,
        kernels,
        large_files: options.large_files,
        size: if options.quick {
            Size::Quick
        } else {
            Size::Full
        },
    };
    for round in 0..rounds as usize {
        // Who is first has the emptier caches.
        for turn in 0..sides.len() {
            let number = (turn + round) % sides.len();
            let side = &sides[number];
            if case.absent(side).is_some() {
                continue;
            }
            let sample = case
                .run(on(side))
                .await
                .with_context(|| format!("{}, {}", case.name, side.name))?;
            outcome.sides[number].samples.push(sample);
        }
        for (name, sample) in case.bounds(on(&sides[0])).await? {
            outcome.add_bound(name, sample);
        }
    }
    Ok(outcome)
}

/// What boots kernels: a program beside this one.
fn kernels(options: &Options) -> Result<Option<Kernels>> {
    let program = std::env::current_exe()?.with_file_name("interop-tests");
    let cache = options.cache.clone().filter(|_| program.is_file());
    let dlio = options.dlio.clone();
    Ok(cache.map(|cache| Kernels {
        cache,
        program,
        dlio,
    }))
}

fn cannot(case: &Case, options: &Options, kernels: Option<&Kernels>) -> Option<&'static str> {
    if options.quick && !case.is_quick() {
        return Some("a quick run has no time for it");
    }
    if case.wants_kernels() && (!options.inside || kernels.is_none()) {
        return Some("it wants root, `interop-tests` beside this program, and --cache");
    }
    if case.wants_dlio() && options.dlio.is_none() {
        return Some("it wants --dlio, a Python environment that has dlio-benchmark");
    }
    None
}

/// Who is measured, and why others aren't.
fn sides(options: &Options) -> Result<(Vec<Side>, Vec<String>)> {
    let settings = options.set.join("\n");
    let headrace = |name: &str, program: PathBuf| Side {
        name: name.to_owned(),
        kind: Kind::Headrace {
            program,
            settings: settings.clone(),
        },
    };
    let mut sides = vec![headrace("headrace", beside(options.headrace.clone())?)];
    if let Some(other) = &options.against {
        sides.push(headrace(&options.against_name, other.clone()));
    }
    let mut notes = Vec::new();
    if options.alone {
        notes.push("NFS-Ganesha was left out, as was asked for".to_owned());
    } else if options.inside {
        for (name, names) in [
            ("ganesha", Names::Unsynced),
            ("ganesha, durable", Names::Durable),
        ] {
            sides.push(Side {
                name: name.to_owned(),
                kind: Kind::Ganesha(names),
            });
        }
    } else {
        let why = sandbox::cannot().unwrap_or("it runs in a sandbox alone");
        notes.push(format!("NFS-Ganesha wasn't measured: {why}"));
    }
    Ok((sides, notes))
}

impl Options {
    /// Whether somebody takes part who has to be kept away from this machine's own services.
    pub fn wants_a_sandbox(&self) -> bool {
        !self.inside && !self.alone && sandbox::cannot().is_none()
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(cases::ALL.iter().collect());
    }
    let find = |name: &String| cases::ALL.iter().find(|case| case.name == name);
    let mut chosen = Vec::new();
    for name in names {
        let Some(case) = find(name) else {
            let known: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
            bail!("there is no case `{name}`: {}", known.join(", "));
        };
        chosen.push(case);
    }
    Ok(chosen)
}

fn beside(program: Option<PathBuf>) -> Result<PathBuf> {
    let program = match program {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("headrace"),
    };
    anyhow::ensure!(program.is_file(), "{} is not there", program.display());
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_is_none_is_refused_with_those_that_are() {
        let error = chosen(&["stat".into(), "stats".into()]).err().unwrap();
        let told = error.to_string();
        assert!(
            told.contains("`stats`") && told.contains("lookup"),
            "{told}"
        );
        assert_eq!(chosen(&["stat".into()]).unwrap().len(), 1);
        assert_eq!(chosen(&[]).unwrap().len(), cases::ALL.len());
    }
}
