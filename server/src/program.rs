//! From a command line to an exit code: what `main` does, for it and for tests that run the program.
//! Never here: what any command means.

use crate::check::Asking;
use crate::cli::{
    Cli, Command, Question, ScanOrder, write_completions, write_man_page, write_man_pages,
};
use crate::{clock, control, roles};
use anyhow::Context;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// A configuration with faults, and usage that clap refuses.
const FAULTY: u8 = 2;

/// Runs the command line `words`, the program's name first.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match run(Cli::of(words).unwrap_or_else(|error| error.exit())) {
        Ok(code) => code,
        Err(error) => {
            // One line or, for faults of a file, one block for each: never a Debug print.
            eprintln!("{}", told(&error));
            if error.is::<config::Faults>() {
                ExitCode::from(FAULTY)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn told(error: &anyhow::Error) -> String {
    match error.downcast_ref::<config::Faults>() {
        Some(faults) => faults.to_string(),
        None => format!("headrace: {error:#}"),
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Mds(args) => roles::mds(&args.config, cli.log)?,
        Command::Ds(args) => roles::ds(&args.config, cli.log)?,
        Command::Demo(args) => roles::demo(&args, cli.log)?,
        Command::Check {
            config,
            as_client,
            over_restart,
        } => return check(&config, as_client, over_restart),
        Command::Ctl {
            state_dir,
            question,
        } => ctl(&state_dir, &question)?,
        Command::Fsck { state_dir } => return fsck(&state_dir),
        Command::Completions { shell } => write_completions(shell, &mut io::stdout())?,
        Command::Man { out: None } => write_man_page(&mut io::stdout())?,
        Command::Man { out: Some(folder) } => write_man_pages(&folder)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path, as_client: bool, over_restart: Option<u64>) -> anyhow::Result<ExitCode> {
    let asking = if as_client {
        Asking::AsClient
    } else {
        Asking::AsMetadataServer
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if let Some(seconds) = over_restart {
        eprintln!("restart each data server now: the check waits for it up to {seconds} s");
    }
    let over_restart = over_restart.map(Duration::from_secs);
    let report = runtime.block_on(crate::check::check(path, asking, over_restart))?;
    print!("{report}");
    io::stdout().flush()?;
    Ok(ExitCode::from(report.exit_code()))
}

fn ctl(state_dir: &Path, question: &Question) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match question {
        Question::Backends { json } => {
            let told = runtime.block_on(control::ask(state_dir, "/backends"))?;
            if *json {
                println!("{told:#}");
            } else {
                print!("{}", control::table(&told));
            }
        }
        Question::Scan { what, backend } => {
            let order = match what {
                ScanOrder::Pause => "pause",
                ScanOrder::Resume => "resume",
            };
            let page = format!("/scans/{backend}/{order}");
            let known = runtime.block_on(control::order(state_dir, &page))?;
            anyhow::ensure!(known, "no scan of a backend {backend} is under way");
        }
    }
    Ok(io::stdout().flush()?)
}

fn fsck(state_dir: &Path) -> anyhow::Result<ExitCode> {
    let folder = state_dir.join("catalog");
    anyhow::ensure!(folder.is_dir(), "{} holds no catalog", state_dir.display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let faults = runtime.block_on(async {
        let options = catalog::Options::new(rand::random(), clock::wall());
        let catalog = catalog::Catalog::open(&folder, options).await?;
        catalog
            .check()
            .await
            .context("the catalog can't be read through")
    })?;
    for fault in &faults {
        println!("{fault}");
    }
    match faults.len() {
        0 => println!("no faults"),
        count => println!("{count} faults"),
    }
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
