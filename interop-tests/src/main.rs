//! Runs Headrace under real Linux kernels: the list of scenarios, and one sandbox for each run.
//! `cargo xtask interop` and `cargo xtask demo` build what is needed and call this.

mod demo;
mod harness;
mod history;
mod load;
mod runner;
mod scenarios;
mod train;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use history::work;

#[derive(Parser)]
#[command(about = "Runs Headrace under real Linux kernels")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs scenarios (all of them when none is named), each in a sandbox of its own
    Run {
        names: Vec<String>,
        /// all, old, new, or the beginning of a release: 6.1
        #[arg(long, default_value = "all")]
        kernel: String,
        /// Keep the folders of scenarios that passed
        #[arg(long)]
        keep: bool,
        /// How many scenarios are under way at the same time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        at_once: u8,
        /// What random scenarios draw from; a run tells its own
        #[arg(long)]
        seed: Option<u64>,
        /// Where to write the counts, as JSON
        #[arg(long)]
        summary: Option<PathBuf>,
        #[command(flatten)]
        places: Places,
    },
    /// Names every scenario
    List,
    /// Shows what Headrace does, and ends with a table
    Demo {
        /// Mount with this machine's own kernel instead of booting others
        #[arg(long)]
        native: bool,
        #[command(flatten)]
        places: Places,
    },
    /// One scenario; called inside the sandbox
    #[command(hide = true)]
    Inside {
        name: String,
        release: String,
        #[arg(long)]
        seed: Option<u64>,
        #[command(flatten)]
        places: Places,
    },
    /// The load of the crash scenarios; called inside a guest
    #[command(hide = true)]
    Load {
        folder: PathBuf,
        manifest: PathBuf,
        stop: PathBuf,
        #[arg(long)]
        seed: u64,
        #[arg(long, default_value_t = 2)]
        workers: u64,
        #[arg(long, default_value_t = 0)]
        keep: u32,
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
        /// The files lie in a managed bucket
        #[arg(long, conflicts_with = "contest")]
        managed: bool,
        /// A bucket's folder of files that somebody else writes as well
        #[arg(long, requires_all = ["contested", "clock"])]
        contest: Option<PathBuf>,
        /// How many they are
        #[arg(long)]
        contested: Option<u64>,
        /// Whom both writers ask for the time
        #[arg(long)]
        clock: Option<SocketAddr>,
    },
    /// Reads the files that another client's load keeps open; called inside a guest
    #[command(hide = true)]
    Peek { folder: PathBuf, told: PathBuf },
    /// Writes and fsyncs a file in two halves, the second once it is told; called inside a guest
    #[command(hide = true)]
    Twice {
        file: PathBuf,
        bytes: u64,
        ready: PathBuf,
        go: PathBuf,
    },
    /// Compares a file with what `twice` wrote; called inside a guest
    #[command(hide = true)]
    CheckTwice { file: PathBuf, bytes: u64 },
    /// A worker of the scenario `history`; called inside a guest
    #[command(hide = true)]
    History {
        part: Part,
        folder: PathBuf,
        clock: SocketAddr,
        who: String,
        history: PathBuf,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 0)]
        worker: u64,
        #[arg(long, default_value_t = 0)]
        steps: usize,
    },
    /// Makes the samples of a training; called inside a guest
    #[command(hide = true)]
    Samples { folder: PathBuf, count: u64 },
    /// Trains on them, and says for which part of the time the accelerators were busy; called inside a guest
    #[command(hide = true)]
    Train {
        folder: PathBuf,
        samples: u64,
        accelerators: u64,
        seconds: u64,
    },
    /// Compares a folder with what a load wrote down; called inside a guest
    #[command(hide = true)]
    Verify { folder: PathBuf, manifest: PathBuf },
}

/// What a worker of the scenario `history` does.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    Prepare,
    Work,
    Look,
}

/// Where things are on the host.
#[derive(Args, Clone, Debug)]
struct Places {
    /// What `cargo xtask provision` filled: kernels, test programs, a source tree
    #[arg(long)]
    cache: PathBuf,
    /// The program under test
    #[arg(long)]
    headrace: PathBuf,
    /// Where logs and data of the runs go
    #[arg(long)]
    state: PathBuf,
}

fn main() -> ExitCode {
    // The first line's time is the start.
    harness::clock::elapsed();
    match obey(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run {
            names,
            kernel,
            keep,
            at_once,
            seed,
            summary,
            places,
        } => runner::run(&runner::Wanted {
            names,
            kernel,
            keep,
            at_once,
            seed,
            summary,
            places,
        }),
        Verb::List => {
            for scenario in scenarios::ALL {
                println!("{:16} {}", scenario.name, scenario.about);
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Demo { native, places } => runner::demo(native, &places),
        Verb::Inside {
            name,
            release,
            seed,
            places,
        } => runner::inside(&name, &release, seed, &places),
        Verb::Load {
            folder,
            manifest,
            stop,
            seed,
            workers,
            keep,
            seconds,
            managed,
            contest,
            contested,
            clock,
        } => {
            let contest = contest
                .zip(contested)
                .zip(clock)
                .map(|((folder, files), clock)| load::bucket::Contest {
                    folder,
                    files,
                    clock,
                    told: manifest.with_file_name(load::bucket::CONTESTED),
                });
            let lies = match (&contest, managed) {
                (Some(_), _) => load::Lies::InBucket,
                (None, true) => load::Lies::InManagedBucket,
                (None, false) => load::Lies::OnDataServers,
            };
            load::run(&load::Plan {
                folder,
                manifest,
                stop,
                seed,
                workers,
                keep,
                lies,
                contest,
                limit: Duration::from_secs(seconds),
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Peek { folder, told } => {
            load::peek(&folder, &told)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Twice {
            file,
            bytes,
            ready,
            go,
        } => {
            load::twice(&file, bytes, &ready, &go)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::CheckTwice { file, bytes } => {
            load::check_twice(&file, bytes)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::History {
            part,
            folder,
            clock,
            who,
            history,
            seed,
            worker,
            steps,
        } => {
            let plan = work::Plan {
                folder,
                clock,
                who,
                history,
                seed,
                worker,
                steps,
            };
            let begun = work::Worker::new(&plan)?;
            match part {
                Part::Prepare => begun.prepare()?,
                Part::Work => begun.work(&plan)?,
                Part::Look => begun.look()?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Samples { folder, count } => {
            train::make(&folder, count)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Train {
            folder,
            samples,
            accelerators,
            seconds,
        } => {
            let time = Duration::from_secs(seconds);
            println!("{}", train::busy(&folder, samples, accelerators, time)?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Verify { folder, manifest } => {
            load::verify(&folder, &manifest)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
