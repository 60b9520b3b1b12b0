//! Starts each scenario in a sandbox, with a time limit, some at the same time, and counts what came of them.

use std::cmp::Reverse;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use crate::Places;
use crate::demo;
use crate::harness::clock::say;
use crate::harness::kernels::{self, Kernel};
use crate::harness::lab::Lab;
use crate::harness::net::Clients;
use crate::harness::sandbox;
use crate::scenarios::{self, Kernels, Scenario, Verdict};

const SKIPPED: u8 = 77;

pub struct Wanted {
    pub names: Vec<String>,
    pub kernel: String,
    pub keep: bool,
    /// So many scenarios are under way.
    pub at_once: u8,
    pub seed: Option<u64>,
    pub summary: Option<PathBuf>,
    pub places: Places,
}

struct Ended {
    title: String,
    code: Option<i32>,
    time: Duration,
    reason: String,
}

impl Ended {
    fn word(&self) -> &'static str {
        match self.code {
            Some(0) => "passed",
            Some(code) if code == i32::from(SKIPPED) => "skipped",
            _ => "FAILED",
        }
    }
}

pub fn run(wanted: &Wanted) -> Result<ExitCode> {
    let all = kernels::all(&wanted.places.cache)?;
    let chosen = kernels::choose(&all, &wanted.kernel)?;
    let selected = select(&wanted.names)?;
    let mut runs: Vec<(&Scenario, &Kernel)> = Vec::new();
    for scenario in selected {
        let kernels: &[Kernel] = match scenario.kernels {
            Kernels::Each => &chosen,
            Kernels::Newest => &chosen[chosen.len() - 1..],
        };
        runs.extend(kernels.iter().map(|kernel| (scenario, kernel)));
    }
    if wanted.at_once > 1 {
        // Who takes longest begins, so that nobody is left to run alone in the end.
        runs.sort_by_key(|(scenario, _)| Reverse(scenario.limit_minutes));
    }
    report(&run_all(&runs, wanted)?, wanted)
}

/// In the order of `runs`, whichever ended first.
fn run_all(runs: &[(&Scenario, &Kernel)], wanted: &Wanted) -> Result<Vec<Ended>> {
    let next = Mutex::new(runs.iter().enumerate());
    let take = || next.lock().ok()?.next();
    let mut results = thread::scope(|scope| {
        let work = || {
            let mut ended = Vec::new();
            while let Some((number, (scenario, kernel))) = take() {
                ended.push((number, run_one(scenario, kernel, wanted)?));
            }
            Ok(ended)
        };
        let workers: Vec<_> = (0..wanted.at_once).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            let ended: Result<Vec<_>> = worker.join().map_err(|_| anyhow!("a runner died"))?;
            all.extend(ended?);
        }
        Ok::<_, anyhow::Error>(all)
    })?;
    results.sort_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, ended)| ended).collect())
}

fn select(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(scenarios::ALL.iter().filter(|s| !s.only_by_name).collect());
    }
    names
        .iter()
        .map(|name| {
            scenarios::find(name).with_context(|| {
                let known: Vec<&str> = scenarios::ALL.iter().map(|s| s.name).collect();
                format!("no scenario `{name}`; there are: {}", known.join(", "))
            })
        })
        .collect()
}

fn run_one(scenario: &Scenario, kernel: &Kernel, wanted: &Wanted) -> Result<Ended> {
    let title = format!("{} on Linux {}", scenario.name, kernel.release);
    say(format!("── {title}: {}", scenario.about));
    let mut places = wanted.places.clone();
    places.state = places
        .state
        .join(format!("{}-{}", scenario.name, kernel.release));
    let begun = Instant::now();
    let limit = Duration::from_mins(u64::from(scenario.limit_minutes));
    let mut command = command_of(scenario.name, &kernel.release, wanted.seed, &places)?;
    let status = if wanted.at_once > 1 {
        let mut child = command.stdout(Stdio::piped()).spawn().context(NO_SANDBOX)?;
        thread::scope(|scope| {
            if let Some(told) = child.stdout.take() {
                scope.spawn(|| {
                    for line in BufReader::new(told).lines().map_while(Result::ok) {
                        println!("{title}: {line}");
                    }
                });
            }
            wait(&mut child, limit)
        })?
    } else {
        wait(&mut command.spawn().context(NO_SANDBOX)?, limit)?
    };
    let ended = Ended {
        title,
        code: status.and_then(|status| status.code()),
        time: begun.elapsed(),
        reason: fs::read_to_string(places.state.join("verdict"))
            .unwrap_or_else(|_| format!("did not end within {} minutes", scenario.limit_minutes)),
    };
    say(format!(
        "── {}: {} after {:.0} s",
        ended.title,
        ended.word(),
        ended.time.as_secs_f64()
    ));
    if ended.word() != "FAILED" && !wanted.keep {
        let _ = fs::remove_dir_all(&places.state);
    } else {
        say(format!("logs are in {}", places.state.display()));
    }
    Ok(ended)
}

const NO_SANDBOX: &str = "cannot start a sandbox (packages util-linux, iproute2)";

/// In a folder of its own that holds nothing yet.
fn command_of(name: &str, release: &str, seed: Option<u64>, places: &Places) -> Result<Command> {
    if places.state.exists() {
        fs::remove_dir_all(&places.state)
            .with_context(|| format!("removing {} of an earlier run", places.state.display()))?;
    }
    fs::create_dir_all(&places.state)
        .with_context(|| format!("creating {}", places.state.display()))?;
    let mut command = sandbox::command_inside()?;
    command.args(["inside", name, release]);
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    command
        .arg("--cache")
        .arg(&places.cache)
        .arg("--headrace")
        .arg(&places.headrace)
        .arg("--state")
        .arg(&places.state);
    Ok(command)
}

/// Gives no status when the time was over.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Of a failure's reason in the summary, behind its first: often all that is kept of a run.
const REASON_LINES: usize = 8;

fn report(results: &[Ended], wanted: &Wanted) -> Result<ExitCode> {
    let count = |word: &str| results.iter().filter(|r| r.word() == word).count();
    println!();
    for result in results {
        let mut reason = result.reason.lines();
        println!(
            "{:8} {:36} {:5.0} s  {}",
            result.word(),
            result.title,
            result.time.as_secs_f64(),
            reason.next().unwrap_or_default()
        );
        for line in reason.take(REASON_LINES) {
            println!("         {line}");
        }
    }
    let (passed, failed, skipped) = (count("passed"), count("FAILED"), count("skipped"));
    if let Some(file) = &wanted.summary {
        let text = json!({"passed": passed, "failed": failed, "skipped": skipped}).to_string();
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    println!("interop: {passed} passed, {failed} failed, {skipped} skipped");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one scenario, in the sandbox already.
pub fn inside(name: &str, release: &str, seed: Option<u64>, places: &Places) -> Result<ExitCode> {
    sandbox::settle_in()?;
    let kernels = kernels::all(&places.cache)?;
    let verdict = if name == demo::NAME {
        demo::run(release == "native", places, &kernels)
    } else {
        let scenario = scenarios::find(name).context("no such scenario")?;
        let kernel = kernels
            .iter()
            .find(|kernel| kernel.release == release)
            .with_context(|| format!("no kernel {release} in the cache"))?
            .clone();
        Lab::new(
            &places.state,
            &places.cache,
            &places.headrace,
            kernels,
            kernel,
            Clients::Guests,
        )
        .and_then(|mut lab| {
            lab.seed = seed;
            (scenario.run)(&mut lab)
        })
    };
    let (code, text) = match verdict {
        Ok(Verdict::Held(facts)) => (0, facts.join("; ")),
        Ok(Verdict::Skipped(reason)) => (SKIPPED, reason),
        Err(error) => (1, format!("{error:#}")),
    };
    say(if code == 1 {
        format!("FAILED: {text}")
    } else {
        text.clone()
    });
    fs::write(places.state.join("verdict"), text)?;
    Ok(ExitCode::from(code))
}

/// The demo, in a sandbox; its folder is removed unless something did not hold.
pub fn demo(native: bool, places: &Places) -> Result<ExitCode> {
    let kind = if native { "native" } else { "guests" };
    let limit = Duration::from_mins(15);
    let mut command = command_of(demo::NAME, kind, None, places)?;
    match wait(&mut command.spawn().context(NO_SANDBOX)?, limit)? {
        Some(status) if status.success() => {
            let _ = fs::remove_dir_all(&places.state);
            Ok(ExitCode::SUCCESS)
        }
        Some(_) => {
            say(format!("logs are in {}", places.state.display()));
            Ok(ExitCode::FAILURE)
        }
        None => bail!(
            "the demo did not end within {} minutes",
            limit.as_secs() / 60
        ),
    }
}
