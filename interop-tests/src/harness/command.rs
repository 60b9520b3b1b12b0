//! Running the host's programs, with an error that says what was run and what it answered.
//! Long-lived programs are started elsewhere, by whoever ends them.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program to its end and gives its standard output.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    finish(program, arguments, None)
}

/// As [`run`], with `input` on standard input.
pub fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    finish(program, arguments, Some(input))
}

/// Runs words that hold no blank inside one: `words("ip link set lo up")`.
pub fn words(line: &str) -> Result<String> {
    let mut parts = line.split_whitespace();
    let program = parts.next().context("empty command line")?;
    finish(program, &parts.collect::<Vec<_>>(), None)
}

fn finish(program: &str, arguments: &[&str], input: Option<&str>) -> Result<String> {
    let shown = || format!("{program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path_with_sbin())
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown()))?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin
            .write_all(text.as_bytes())
            .with_context(|| format!("writing to {}", shown()))?;
    }
    let output = child.wait_with_output().with_context(shown)?;
    if !output.status.success() {
        bail!(
            "`{}` ended with {}: {}{}",
            shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The search path with the folders of administration programs, which an ordinary user's path may lack.
pub fn path_with_sbin() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
}
