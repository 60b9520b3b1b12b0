//! Measurements, run by hand in release: `cargo run --release -p bench -- NAME`. Each prints what it
//! measured and fails when a promise of docs/BOUNDS.md isn't kept.

mod bounds;
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
    /// How much memory many clients with open files take, and how much one that misbehaves slows the
    /// others.
    Bounds(bounds::Options),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match Cli::parse().what {
        What::Bounds(options) => runtime.block_on(bounds::run(options)),
    }
}
