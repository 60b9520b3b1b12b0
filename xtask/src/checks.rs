//! Everything that CI runs, one check after the other; a failed one does not keep the others from running.

use std::process::ExitCode;

use anyhow::Result;

use crate::fuzz;
use crate::interop::{self, Counts};
use crate::progress::{elapsed, say};
use crate::provision::{self, For};
use crate::shell;
use crate::workspace::{Build, Workspace};

#[derive(Default)]
struct Tally {
    counts: Counts,
    lines: Vec<String>,
}

impl Tally {
    fn add(&mut self, name: &str, counts: Counts, seconds: f64) {
        self.counts.passed += counts.passed;
        self.counts.failed += counts.failed;
        self.counts.skipped += counts.skipped;
        self.lines.push(format!(
            "{:8} {name:28} {seconds:5.0} s  {} passed, {} failed, {} skipped",
            if counts.failed == 0 {
                "passed"
            } else {
                "FAILED"
            },
            counts.passed,
            counts.failed,
            counts.skipped
        ));
    }

    /// Runs one check; an error is one failure.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<Counts>) {
        say(format!("── {name}"));
        let begun = elapsed();
        let counts = check().unwrap_or_else(|error| {
            eprintln!("{name}: {error:#}");
            Counts {
                failed: 1,
                ..Counts::default()
            }
        });
        self.add(name, counts, elapsed().saturating_sub(begun).as_secs_f64());
    }
}

const ONE_PASSED: Counts = Counts {
    passed: 1,
    failed: 0,
    skipped: 0,
};

pub fn run(workspace: &Workspace) -> Result<ExitCode> {
    provision::provide(workspace, For::Tests)?;
    let mut tally = Tally::default();
    tally.check("formatting", || {
        shell::must(&mut workspace.cargo(&["fmt", "--all", "--check"]))?;
        Ok(ONE_PASSED)
    });
    tally.check("clippy", || {
        shell::must(&mut workspace.cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))?;
        Ok(ONE_PASSED)
    });
    tally.check("tests of the workspace", || cargo_tests(workspace));
    tally.check("fuzz targets", || fuzz::all(workspace, fuzz::CI_INPUTS));
    tally.check("real Linux kernels", || {
        interop::build(workspace, Build::Checked)?;
        Ok(interop::run(workspace, &interop::Options::of_ci())?.1)
    });
    println!();
    for line in &tally.lines {
        println!("{line}");
    }
    let Counts {
        passed,
        failed,
        skipped,
    } = tally.counts;
    println!(
        "{passed} passed, {failed} failed, {skipped} skipped in {:.0} minutes",
        elapsed().as_secs_f64() / 60.0
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn cargo_tests(workspace: &Workspace) -> Result<Counts> {
    let mut counts = Counts::default();
    // Tests of servers wait for each other more than they compute.
    let status = shell::passing_on(
        workspace
            .cargo(&["test", "--workspace", "--locked", "--no-fail-fast"])
            .env("RUST_TEST_THREADS", "4"),
        |line| add_result_line(&mut counts, line),
    )?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}

/// "test result: ok. 8 passed; 0 failed; 1 ignored; …"
pub fn add_result_line(counts: &mut Counts, line: &str) {
    let Some(result) = line.strip_prefix("test result: ") else {
        return;
    };
    for part in result.split(['.', ';']) {
        let mut words = part.split_whitespace();
        let number = words.next().and_then(|word| word.parse::<u64>().ok());
        match (number, words.next()) {
            (Some(number), Some("passed")) => counts.passed += number,
            (Some(number), Some("failed")) => counts.failed += number,
            (Some(number), Some("ignored")) => counts.skipped += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_added_up() {
        let mut counts = Counts::default();
        let line = "test result: ok. 8 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.99s";
        add_result_line(&mut counts, line);
        add_result_line(
            &mut counts,
            "test result: FAILED. 3 passed; 2 failed; 0 ignored",
        );
        add_result_line(&mut counts, "test x ... ok");
        assert_eq!((counts.passed, counts.failed, counts.skipped), (11, 2, 1));
    }
}
