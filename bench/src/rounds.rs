//! Cases in rounds, each side in turn, so that what else the machine does falls on both.

use crate::cases::{self, Case, Place};
use crate::report::{self, Outcome};
use anyhow::{Context, Result, bail};
use clap::Args;
use hdrhistogram::Histogram;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Two rounds of two seconds: what a change is tried with
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
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
    pub per_second: f64,
    /// Nanoseconds that answers took while callers asked as fast as they could.
    pub busy: Histogram<u64>,
    /// The same at half the rate, with callers that don't wait.
    pub easy: Option<Histogram<u64>>,
    pub cost: Option<Cost>,
    /// Of data, for each operation.
    pub bytes_each: Option<u64>,
}

/// For each operation, but for memory.
pub struct Cost {
    /// Processor time of the servers that the load is on.
    pub servers: Duration,
    /// Processor time of this program: it shares the processors with them.
    pub load: Duration,
    pub resident_bytes: u64,
}

pub async fn run(options: &Options) -> Result<()> {
    let cases = chosen(&options.names)?;
    let mut sides = vec![("headrace".to_owned(), beside(options.headrace.clone())?)];
    if let Some(other) = &options.against {
        sides.push((options.against_name.clone(), other.clone()));
    }
    let (rounds, seconds) = if options.quick {
        (2, 2)
    } else {
        (options.rounds, options.seconds)
    };
    let span = Span {
        warm_up: Duration::from_millis(500),
        time: Duration::from_secs(seconds),
    };
    let mut outcomes = Vec::new();
    for case in cases {
        let mut outcome = Outcome::new(case, sides.iter().map(|(name, _)| name.clone()));
        for round in 0..rounds as usize {
            // Who is first has the emptier caches.
            for turn in 0..sides.len() {
                let side = (turn + round) % sides.len();
                let place = Place {
                    program: &sides[side].1,
                    disk: &options.disk,
                    span,
                };
                let sample = case
                    .run(place)
                    .await
                    .with_context(|| format!("{}, {}", case.name, sides[side].0))?;
                outcome.sides[side].1.push(sample);
            }
            let place = Place {
                program: &sides[0].1,
                disk: &options.disk,
                span,
            };
            for (name, sample) in case.bounds(place)? {
                outcome.add_bound(name, sample);
            }
        }
        print!("{}", report::lines(&outcome));
        outcomes.push(outcome);
    }
    report::write(&options.report, &options.disk, (rounds, seconds), &outcomes)?;
    println!("{}", options.report.join("report.md").display());
    Ok(())
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
