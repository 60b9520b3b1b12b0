//! The fuzz targets, on stable Rust: each is also a test of its crate, in a file named `fuzz_*`. Inputs that are
//! worth trying every time lie beside it, in `__fuzz__/TARGET/corpus`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::checks::add_result_line;
use crate::interop::Counts;
use crate::progress::say;
use crate::shell;
use crate::workspace::Workspace;

/// Of each decoder.
pub const CI_INPUTS: u64 = 2_000_000;

/// A crate with fuzz targets.
struct Room {
    package: &'static str,
    folder: &'static str,
    /// Its targets are `tests/fuzz_*.rs`, or else the modules `fuzz` beside what they try, which nobody else can see.
    in_tests: bool,
    /// One input costs as much as so many of a decoder of messages: a text is read line by line, a COMPOUND is
    /// work for a whole server.
    cost: u64,
}

const ROOMS: [Room; 4] = [
    Room {
        package: "wire",
        folder: "server/wire",
        in_tests: true,
        cost: 1,
    },
    Room {
        package: "config",
        folder: "config",
        in_tests: true,
        cost: 100,
    },
    Room {
        package: "catalog",
        folder: "server/catalog",
        in_tests: false,
        cost: 1,
    },
    Room {
        package: "mds",
        folder: "server/mds",
        in_tests: true,
        cost: 200,
    },
];

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
    let mut counts = Counts::default();
    for room in &ROOMS {
        let inputs = (inputs / room.cost).max(1);
        // With the features of all: what the other tests have built serves here.
        let mut command = workspace.cargo(&["test", "--locked", "--workspace"]);
        let mut least = 1;
        if room.in_tests {
            let targets = targets(&workspace.root.join(room.folder).join("tests"))?;
            ensure!(
                !targets.is_empty(),
                "{}/tests has no fuzz target any more: CI would fuzz nothing there",
                room.folder
            );
            least = targets.len() as u64;
            for target in &targets {
                command.args(["--test", target]);
            }
        } else {
            command.args(["--tests", "fuzz::"]);
        }
        say(format!(
            "fuzz targets of {}, {inputs} inputs each",
            room.package
        ));
        command.env("BOLERO_RANDOM_ITERATIONS", inputs.to_string());
        let mut these = Counts::default();
        let status = shell::passing_on(&mut command, |line| add_result_line(&mut these, line))?;
        if these.failed == 0 && (!status.success() || these.passed < least) {
            eprintln!("the fuzz targets of {} did not all run", room.package);
            these.failed = 1;
        }
        counts.passed += these.passed;
        counts.failed += these.failed;
        counts.skipped += these.skipped;
    }
    Ok(counts)
}

/// Files named `fuzz_*`, without their ending.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(target) = name.strip_suffix(".rs")
            && target.starts_with("fuzz_")
        {
            found.push(target.to_owned());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fuzz_target_of_the_workspace_is_one_that_ci_runs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask lies in the workspace");
        let mut folders = vec![root.to_owned()];
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if path.is_dir() && name != "target" && !name.starts_with('.') {
                    folders.push(path);
                    continue;
                }
                let is_target = name.starts_with("fuzz") && name.ends_with(".rs");
                // This file, and what targets stand on.
                if !is_target || folder.ends_with("xtask/src") {
                    continue;
                }
                let runs = |room: &Room| {
                    let home = root.join(room.folder);
                    if room.in_tests {
                        folder == home.join("tests") && name.starts_with("fuzz_")
                    } else {
                        path.starts_with(home.join("src"))
                    }
                };
                assert!(
                    ROOMS.iter().any(runs),
                    "{} is run by nobody",
                    path.display()
                );
                assert!(
                    folder.join("__fuzz__").is_dir(),
                    "{} has no corpus beside it",
                    path.display()
                );
                found += 1;
            }
        }
        assert!(found >= 8, "only {found} targets");
    }
}
