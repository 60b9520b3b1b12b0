//! A real source tree, copied through the mount and compared byte by byte from the other kernel.

use std::time::Instant;

use anyhow::{Context, Result};

use super::Verdict;
use crate::harness::client::Client;
use crate::harness::clock::say;
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh};

const SOURCE: &str = "/run/cache/tree/source";

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let other_kernel = lab.other_kernel();
    let mut writer = lab.client("writer")?;
    let mut reader = lab.client_with("reader", &other_kernel)?;
    mount(&mut writer, "vers=4.2")?;
    mount(&mut reader, "vers=4.2")?;
    let copied = copy(lab, &mut writer)?;
    let compared = compare(&mut reader)?;
    // And once more from the writer, with nothing in its caches; then it all goes.
    mount_afresh(&mut writer, "vers=4.2")?;
    writer.sh(
        &format!("rm -r {MOUNT}/tree && [ -z \"$(ls {MOUNT})\" ]"),
        MINUTE * 5,
    )?;
    writer.power_off()?;
    reader.power_off()?;
    Ok(Verdict::Held(vec![copied, compared]))
}

/// Copies the tree through the mount.
pub fn copy(lab: &Lab, writer: &mut dyn Client) -> Result<String> {
    let name = std::fs::read_to_string(lab.cache.join("tree/name"))
        .context("no source tree in the cache: run `cargo xtask provision`")?;
    let begun = Instant::now();
    let counted = writer.sh(
        &format!(
            "cp -a {SOURCE} {MOUNT}/tree && find {SOURCE} | wc -l && du -sm {SOURCE} | cut -f1"
        ),
        MINUTE * 8,
    )?;
    let mut counted = counted.lines();
    let (names, mib) = (
        counted.next().unwrap_or_default(),
        counted.next().unwrap_or_default(),
    );
    let fact = format!(
        "{} ({names} names, {mib} MiB) copied by Linux {} in {:.0} s",
        name.trim(),
        writer.release(),
        begun.elapsed().as_secs_f64()
    );
    say(&fact);
    Ok(fact)
}

/// Compares the copy with the tree, after a fresh mount.
pub fn compare(reader: &mut dyn Client) -> Result<String> {
    let begun = Instant::now();
    mount_afresh(reader, "vers=4.2")?;
    reader.sh(
        &format!("diff -r --no-dereference {SOURCE} {MOUNT}/tree"),
        MINUTE * 8,
    )?;
    let fact = format!(
        "compared byte by byte by Linux {} in {:.0} s",
        reader.release(),
        begun.elapsed().as_secs_f64()
    );
    say(&fact);
    Ok(fact)
}
