//! The fuzz targets, on stable Rust: each is also a test of the crate `interop-tests`, in files named `fuzz_*`.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::checks::add_result_line;
use crate::interop::Counts;
use crate::progress::say;
use crate::shell;
use crate::workspace::Workspace;

pub const CI_INPUTS: u64 = 200_000;

pub fn run(workspace: &Workspace, inputs: u64) -> Result<ExitCode> {
    let counts = all(workspace, inputs)?;
    println!("fuzz: {} passed, {} failed", counts.passed, counts.failed);
    Ok(if counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub fn all(workspace: &Workspace, inputs: u64) -> Result<Counts> {
    let folder = workspace.root.join("interop-tests/tests");
    let mut targets = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(target) = name.strip_suffix(".rs")
            && target.starts_with("fuzz")
        {
            targets.push(target.to_owned());
        }
    }
    targets.sort();
    say(format!("{inputs} inputs each: {}", targets.join(", ")));
    let mut command = workspace.cargo(&["test", "--release", "--locked", "-p", "interop-tests"]);
    for target in &targets {
        command.args(["--test", target]);
    }
    command
        .env("BOLERO_RANDOM_ITERATIONS", inputs.to_string())
        .env("HEADRACE_FUZZ_INPUTS", inputs.to_string());
    let mut counts = Counts::default();
    let status = shell::passing_on(&mut command, |line| add_result_line(&mut counts, line))?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}
