//! Measurements, in release. `cargo xtask bench` builds what is measured, and runs them.

mod bounds;
mod cases;
mod costs;
mod durability;
mod ganesha;
mod load;
mod plot;
mod report;
mod rounds;
mod sandbox;
mod servers;
mod session;
mod sides;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Measures Headrace")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs cases, each side in turn, and writes a report
    Run(rounds::Options),
    /// Names the cases
    List,
    /// How much memory many clients with open files take, and how much one that misbehaves slows the
    /// others: fails when a promise of docs/BOUNDS.md isn't kept
    Bounds(bounds::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let what = Cli::parse().what;
    if let What::Run(options) = &what {
        if options.wants_a_sandbox() {
            return sandbox::run_inside();
        }
        if options.inside {
            sandbox::settle_in()?;
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match what {
        What::Run(options) => runtime.block_on(rounds::run(&options))?,
        What::List => {
            for case in cases::ALL {
                println!("{:14} {}", case.name, case.what);
            }
        }
        What::Bounds(options) => runtime.block_on(bounds::run(options))?,
    }
    Ok(ExitCode::SUCCESS)
}
