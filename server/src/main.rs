//! `headrace`: the command line, and nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    headrace::program::main(std::env::args_os())
}
