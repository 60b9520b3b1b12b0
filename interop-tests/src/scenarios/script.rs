//! A script of your own on a mounted client, to look at something by hand:
//! `HEADRACE_SCRIPT=/path/to/script cargo xtask interop script --kernel new --keep`.

use std::fs;

use anyhow::{Context, Result};

use super::Verdict;
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, mount};

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let file = std::env::var("HEADRACE_SCRIPT").context("HEADRACE_SCRIPT names no file")?;
    let script = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let _server = lab.demo(DemoOptions::default())?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    let output = client.run(&script, MINUTE * 115)?;
    print!("{}{}", output.stdout, output.stderr);
    Ok(Verdict::Held(vec![format!("status {}", output.status)]))
}
