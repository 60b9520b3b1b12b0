//! Measurements, in release. `cargo xtask bench` builds what is measured, and runs them.

mod bounds;
mod cases;
mod costs;
mod load;
mod plot;
mod report;
mod rounds;
mod servers;
mod session;

use clap::{Parser, Subcommand};

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

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match Cli::parse().what {
        What::Run(options) => runtime.block_on(rounds::run(&options)),
        What::List => {
            for case in cases::ALL {
                println!("{:14} {}", case.name, case.what);
            }
            Ok(())
        }
        What::Bounds(options) => runtime.block_on(bounds::run(options)),
    }
}
