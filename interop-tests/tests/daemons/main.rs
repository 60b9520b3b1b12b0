//! `headrace` as processes of its own: signals, exit codes, the log on standard error, and what is shown
//! over HTTP after real work.

mod asked;
mod buckets;
#[path = "../server_rules/filer.rs"]
mod filer;
mod outage;
mod process;
#[path = "../../../backends/s3/tests/s3_server/mod.rs"]
mod s3_server;
mod seen;
mod signals;

use std::process::ExitCode;

/// `headrace` with the words that a test gives it.
#[test]
#[ignore = "the program itself, which the other tests start"]
fn the_program_itself() -> ExitCode {
    let words = std::env::var(process::WORDS).expect("only the other tests start it");
    headrace::program::main(words.split('\n').map(Into::into))
}
