//! An existing export with a million files in one folder and a million in a thousand folders: shown in place, listed
//! and looked at by a real kernel, and taken over, with a death of the server half-way. What it costs is told.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::Verdict;
use super::assimilate;
use super::junction::{Filer, beside};
use crate::harness::clock::{self, say};
use crate::harness::guest::Guest;
use crate::harness::headrace::{METRICS, Server};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::metrics::Scrape;

const FILES: u64 = 1_000_000;
const FOLDERS: u64 = 1000;
const EACH: u64 = FILES / FOLDERS;
/// Of the server, while it shows what the filer keeps: nothing of that is kept here.
const MOST_BYTES: u64 = 300 << 20;

/// One folder of a million files, and a thousand folders of a thousand.
fn fill(folder: &Path) -> Result<()> {
    let begun = Instant::now();
    let (one, tree) = (folder.join("one"), folder.join("tree"));
    fs::create_dir_all(&one)?;
    let wide = thread::spawn(move || -> Result<()> {
        for number in 0..FILES {
            File::create(one.join(format!("f{number}")))?;
        }
        Ok(())
    });
    for number in 0..FOLDERS {
        let inner = tree.join(format!("d{number}"));
        fs::create_dir_all(&inner)?;
        for number in 0..EACH {
            File::create(inner.join(format!("f{number}")))?;
        }
    }
    wide.join().ok().context("a thread panicked")??;
    say(format!(
        "{} files made in {:.0} s",
        2 * FILES,
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// What a command finds, how long it takes, and what the server has at most by then. Names that the client had in memory
/// from the command before would each be looked up by themselves.
fn timed(client: &mut Guest, server: &Server, command: &str, found: u64) -> Result<String> {
    client.sh("echo 3 > /proc/sys/vm/drop_caches", MINUTE)?;
    let begun = Instant::now();
    let said = client.sh(&format!("cd {MOUNT}/projects && {command}"), MINUTE * 20)?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        said.trim() == found.to_string(),
        "{command}: {said}, not {found}"
    );
    let peak = server.peak_memory_bytes()?;
    ensure!(peak < MOST_BYTES, "the server has {} MiB", peak >> 20);
    let fact = format!(
        "{command}: {seconds:.0} s, the server had {} MiB at most",
        peak >> 20
    );
    say(&fact);
    Ok(fact)
}

pub fn in_place(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::empty(lab)?;
    fill(&filer.folder)?;
    let split = beside(lab, &filer)?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    let mut facts = Vec::new();
    for (command, found) in [
        ("ls -U one | wc -l", FILES),
        ("find tree -type f | wc -l", FILES),
        ("ls -lU one | grep -c ^-", FILES),
        (
            "find tree -type f -printf '%s %i\\n' | sort -u | wc -l",
            FILES,
        ),
        (
            "printf '%s\\n' one/f?????0 | xargs stat -c %i | sort -u | wc -l",
            FILES / 10 * 9 / 10,
        ),
    ] {
        facts.push(timed(&mut client, &split.mds, command, found)?);
    }
    client.power_off()?;
    filer.still_runs()?;
    fs::remove_dir_all(&filer.folder)?;
    Ok(Verdict::Held(facts))
}

fn files() -> Result<f64> {
    Ok(Scrape::of(METRICS)?.sum("headrace_scan_files", &[]))
}

/// Of everything in a folder, on the disk.
fn used_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            used_bytes(&entry.path())?
        } else {
            entry.metadata()?.blocks() * 512
        };
    }
    Ok(bytes)
}

pub fn taken_over(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::empty(lab)?;
    fill(&filer.folder)?;
    let all = (2 * FILES) as f64;
    let mut split = assimilate::split_over(lab, &filer)?;
    let begun = Instant::now();
    let half = clock::wait_for("half of the files", MINUTE * 20, || {
        let files = files()?;
        Ok((files >= all / 2.0).then_some(files))
    })?;
    let first = begun.elapsed().as_secs_f64();
    let memory = split.mds.peak_memory_bytes()? >> 20;
    split.mds.kill9()?;
    let again = Instant::now();
    split.mds.start()?;
    assimilate::scan_ends(MINUTE * 20)?;
    let second = again.elapsed().as_secs_f64();
    let found = files()?;
    ensure!(
        (found - all).abs() < 0.5,
        "{found} files are in the catalog, not {all}"
    );
    let (mib, disk) = (
        split.mds.peak_memory_bytes()? >> 20,
        used_bytes(&lab.state.join("mds/catalog"))?,
    );
    let fact = format!(
        "taken over: {half:.0} files in {first:.0} s ({:.0} a second), killed, the rest in {second:.0} s ({:.0} a \
         second with the start); {memory} and {mib} MiB of memory, {:.0} bytes a file in the catalog",
        half / first,
        (all - half) / second,
        disk as f64 / all
    );
    say(&fact);
    let mut facts = vec![fact];
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    for (command, found) in [
        ("ls -U one | wc -l", FILES),
        ("find tree -type f | wc -l", FILES),
        ("ls -lU one | grep -c ^-", FILES),
    ] {
        let begun = Instant::now();
        let said = client.sh(&format!("cd {MOUNT}/projects && {command}"), MINUTE * 20)?;
        ensure!(said.trim() == found.to_string(), "{command}: {said}");
        let fact = format!(
            "{command}: {:.0} s, of the catalog",
            begun.elapsed().as_secs_f64()
        );
        say(&fact);
        facts.push(fact);
    }
    client.power_off()?;
    filer.still_runs()?;
    fs::remove_dir_all(&filer.folder)?;
    Ok(Verdict::Held(facts))
}
