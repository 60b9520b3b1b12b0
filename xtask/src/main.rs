//! `cargo xtask …`: everything that a newcomer or CI runs, from one command each.
//! Installs what is missing, builds, runs, and leaves nothing running; the tests themselves live elsewhere.

mod bench;
mod checks;
mod fuzz;
mod interop;
mod progress;
mod provision;
mod pynfs;
mod seaweed;
mod shell;
mod sid;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use provision::For;
use workspace::{Build, Workspace};

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "Builds, tests and shows Headrace",
    after_help = "Examples:\n  cargo xtask demo\n  cargo xtask test\n  cargo xtask interop tree fio --kernel 6.1"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Shows what Headrace does with real Linux clients, and ends with a table (under 10 minutes)
    Demo {
        /// Mount with this machine's own kernel instead of booting others
        #[arg(long)]
        native: bool,
    },
    /// Runs everything that CI runs (under 60 minutes)
    Test,
    /// Runs scenarios under real Linux kernels; all of them when none is named
    Interop(interop::Options),
    /// Measures Headrace, beside what the disk gives and, where you name one, beside another commit
    #[command(
        after_help = "Examples:\n  cargo xtask bench --quick create stat\n  cargo xtask bench --against HEAD~1 read-4k"
    )]
    Bench(bench::Options),
    /// Feeds every decoder, and whole COMPOUNDs, with random input
    Fuzz {
        /// Inputs for each target
        #[arg(long, default_value_t = fuzz::CI_INPUTS)]
        inputs: u64,
    },
    /// Runs pynfs, which you have built elsewhere, against a demo
    #[command(
        after_help = "Examples:\n  cargo xtask pynfs --path ~/pynfs --minor 1\n  cargo xtask pynfs --path ~/pynfs flex layoutreturn reboot"
    )]
    Pynfs(pynfs::Options),
    /// What pynfs calls to have its server restarted
    #[command(hide = true)]
    PynfsHelper {
        control: std::net::SocketAddr,
        word: String,
    },
    /// Installs what the other verbs need, and does nothing else
    Provision,
}

fn main() -> ExitCode {
    progress::start();
    match obey(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(verb: Verb) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match verb {
        Verb::Demo { native } => interop::demo(&workspace, native),
        Verb::Test => checks::run(&workspace),
        Verb::Interop(options) if options.list => interop::list(&workspace),
        Verb::Interop(options) => {
            provision::provide(&workspace, For::Tests)?;
            interop::build(&workspace, Build::Checked)?;
            Ok(interop::run(&workspace, &options)?.0)
        }
        Verb::Bench(options) => bench::run(&workspace, &options),
        Verb::Fuzz { inputs } => fuzz::run(&workspace, inputs),
        Verb::Pynfs(options) => pynfs::run(&workspace, &options),
        Verb::PynfsHelper { control, word } => {
            pynfs::ask_for_restart(control, &word)?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Provision => {
            provision::provide(&workspace, For::Tests)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
