//! Clients that are given files and folders to manage by themselves: what that saves, and that another client misses
//! nothing of it, whether the holder answers, dies, or the metadata server does.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Verdict;
use crate::harness::clock::{self, say};
use crate::harness::guest::Guest;
use crate::harness::headrace::{self, METRICS, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_afresh};
use crate::harness::metrics::Scrape;

const LEASE_SECONDS: u32 = 10;
/// After a holder's death: its lease, the recall that nobody answers, and what this machine takes.
const DEAD_HOLDER: Duration = Duration::from_secs(2 * LEASE_SECONDS as u64 + 15);

/// For what a client sees of another's change once its attribute cache is over.
const SOON: Duration = Duration::from_secs(10);

/// What the metadata server has counted.
#[derive(Clone, Copy)]
struct Counted {
    opens: u64,
    given: u64,
    recalled: u64,
    revoked: u64,
    told: u64,
    folders_asked: u64,
    held: u64,
}

impl Counted {
    fn now() -> Result<Self> {
        let scrape = Scrape::of(METRICS)?;
        let all = |name: &str| scrape.sum(&format!("headrace_{name}"), &[]) as u64;
        Ok(Self {
            opens: scrape.sum("headrace_operations_total", &["operation=\"OPEN\""]) as u64,
            given: all("delegations_given_total"),
            recalled: all("delegations_recalled_total"),
            revoked: all("delegations_revoked_total"),
            folders_asked: scrape.sum(
                "headrace_operations_total",
                &["operation=\"GET_DIR_DELEGATION\""],
            ) as u64,
            told: all("delegates_asked_total"),
            held: all("delegations"),
        })
    }
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 2,
            exports: headrace::DELEGATING.to_owned(),
            lease_seconds: LEASE_SECONDS,
            grace_seconds: LEASE_SECONDS,
            ..SplitOptions::default()
        },
    )?;
    let (mut a, mut b) = lab.two_mounted()?;
    let mut facts = vec![
        reader_opens_by_itself(&mut a)?,
        writer_opens_by_itself(&mut a)?,
    ];
    others_see_what_a_writer_holds(&mut a, &mut b)?;
    every_change_by_another_recalls(&mut a, &mut b)?;
    facts.extend(folder_is_asked_back(&mut a, &mut b)?);
    restart_is_survived(&mut split, &mut a, &mut b)?;
    for client in [&a, &b] {
        ensure!(
            client.warnings().is_empty(),
            "the kernel of client {} warned: {}",
            client.name(),
            client.warnings().join("; ")
        );
    }
    ensure!(
        Counted::now()?.revoked == 0,
        "a delegation of a client that is well was revoked"
    );
    facts.push(dead_holder_holds_up_others_for_a_bounded_time(a, &mut b)?);
    Ok(Verdict::Held(facts))
}

/// Runs a script that must leave the count of OPENs where it is.
fn without_an_open(client: &mut Guest, script: &str) -> Result<()> {
    let before = Counted::now()?;
    client.sh(script, MINUTE)?;
    let after = Counted::now()?;
    ensure!(
        after.opens == before.opens,
        "`{script}` took {} OPENs though the client has a delegation",
        after.opens - before.opens
    );
    Ok(())
}

/// Makes a file and forgets it, so that its next open is the first.
fn made_by(client: &mut Guest, name: &str, text: &str) -> Result<()> {
    client.sh(
        &format!("echo {text} >{MOUNT}/{name}; sync {MOUNT}/{name}"),
        MINUTE,
    )?;
    Ok(())
}

fn reader_opens_by_itself(a: &mut Guest) -> Result<String> {
    made_by(a, "read", "once")?;
    let before = Counted::now()?;
    mount_afresh(a, "vers=4.2")?;
    // Most files are read once: it comes with the second open.
    a.sh(&format!("cat {MOUNT}/read {MOUNT}/read"), MINUTE)?;
    ensure!(
        Counted::now()?.given > before.given,
        "who reads a file alone was given no delegation"
    );
    without_an_open(
        a,
        &format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do [ \"$(cat {MOUNT}/read)\" = once ] || exit 1; done"
        ),
    )?;
    Ok("10 opens to read took no OPEN".to_owned())
}

fn writer_opens_by_itself(a: &mut Guest) -> Result<String> {
    let before = Counted::now()?;
    made_by(a, "written", "0")?;
    ensure!(
        Counted::now()?.given > before.given,
        "who writes a file alone was given no delegation"
    );
    without_an_open(
        a,
        &format!(
            "for i in 1 2 3 4 5 6 7 8 9; do echo $i >>{MOUNT}/written || exit 1; done; \
             [ \"$(tr -d '\\n' <{MOUNT}/written)\" = 0123456789 ]"
        ),
    )?;
    without_an_open(a, &format!("flock {MOUNT}/written true"))?;
    Ok("9 appends, a read and a lock took no OPEN".to_owned())
}

/// While the holder has unwritten bytes: `stat` shows them, and so does reading, before any close.
fn others_see_what_a_writer_holds(a: &mut Guest, b: &mut Guest) -> Result<()> {
    let text = b.sh(&format!("cat {MOUNT}/written"), MINUTE)?;
    ensure!(
        text.split_whitespace().count() == 10,
        "the other client reads {text:?}"
    );
    made_by(a, "open", "first")?;
    let before = Counted::now()?;
    let holding = a.spawn(&format!(
        "rm -f /run/enough; exec 7>>{MOUNT}/open; echo second >&7; date +%s.%N >/run/shared/at; : >/run/have; \
         until [ -e /run/enough ]; do sleep 0.1; done; echo third >&7; exec 7>&-; rm /run/have"
    ))?;
    a.sh("until [ -e /run/have ]; do sleep 0.1; done", MINUTE)?;
    let shown = b.sh(&format!("stat -c '%s %.9Y' {MOUNT}/open"), MINUTE)?;
    ensure!(
        shown.starts_with("13 "),
        "the size of what a delegation hides: {shown:?}, and 13 bytes were written"
    );
    let asked = Counted::now()?;
    ensure!(
        asked.told > before.told,
        "the holder was not asked what its file is like"
    );
    ensure!(
        asked.recalled == before.recalled,
        "a look at a file took its delegation away"
    );
    let (at, mtime) = (
        seconds(&std::fs::read_to_string(a.shared().join("at"))?)?,
        seconds(shown.split_whitespace().last().unwrap_or_default())?,
    );
    ensure!(
        (mtime - at).abs() < 5.0,
        "written just before {at}, and shown as of {mtime}"
    );
    let text = b.sh(&format!("cat {MOUNT}/open"), MINUTE)?;
    ensure!(
        text == "first\nsecond\n",
        "a reader finds {text:?} in a file that was written by a delegation"
    );
    ensure!(
        Counted::now()?.recalled > before.recalled,
        "no delegation was recalled for a reader"
    );
    a.sh(": >/run/enough", MINUTE)?;
    a.must(&holding, MINUTE)?;
    let text = b.sh(&format!("cat {MOUNT}/open"), MINUTE)?;
    ensure!(
        text == "first\nsecond\nthird\n",
        "after the close a reader finds {text:?}"
    );
    say("size, times and bytes under a delegation to write are seen by others");
    Ok(())
}

fn seconds(text: &str) -> Result<f64> {
    text.trim().parse().with_context(|| format!("{text:?}"))
}

/// What the other client does, and what the holder must see at once afterwards.
const CHANGES: [(&str, &str); 8] = [
    (
        "echo more >>f",
        "[ \"$(cat f)\" = \"$(printf 'f\\nmore')\" ]",
    ),
    ("echo new >f", "[ \"$(cat f)\" = new ]"),
    (
        "truncate -s 1 f",
        "[ \"$(cat f)\" = f ] && [ \"$(stat -c %s f)\" = 1 ]",
    ),
    ("chmod 600 f", "[ \"$(stat -c %a f)\" = 600 ]"),
    (
        "touch -d @1000000000 f",
        "[ \"$(stat -c %Y f)\" = 1000000000 ]",
    ),
    ("ln f g", "[ \"$(stat -c %h f)\" = 2 ] && rm g"),
    ("mv f g", "[ \"$(cat g)\" = f ]"),
    ("rm f", "! cat f 2>/dev/null"),
];

fn every_change_by_another_recalls(a: &mut Guest, b: &mut Guest) -> Result<()> {
    const HELD: [(&str, &str); 2] = [("r", "cat f f >/dev/null"), ("w", ": >>f")];
    let folders = || {
        let numbers = 0..CHANGES.len();
        numbers.flat_map(|number| HELD.map(|(kind, _)| format!("{MOUNT}/change-{number}{kind}")))
    };
    for folder in folders() {
        a.sh(&format!("mkdir {folder} && echo f >{folder}/f"), MINUTE)?;
    }
    // What came with making them is given back unasked, so that nothing is contended for.
    mount_afresh(a, "vers=4.2,actimeo=1")?;
    for folder in folders() {
        // What the other client has looked at is in its caches.
        b.sh(&format!("cat {folder}/f && stat {folder}/f"), MINUTE)?;
    }
    mount_afresh(b, "vers=4.2")?;
    let mut slowest = Duration::ZERO;
    for (number, (change, seen)) in CHANGES.into_iter().enumerate() {
        for (kind, held) in HELD {
            let folder = format!("{MOUNT}/change-{number}{kind}");
            a.sh(&format!("cd {folder} && {held} && stat f"), MINUTE)
                .with_context(|| format!("before {change}"))?;
            let before = Counted::now()?;
            let begun = Instant::now();
            b.sh(&format!("cd {folder} && {change}"), MINUTE)?;
            slowest = slowest.max(begun.elapsed());
            ensure!(
                Counted::now()?.recalled > before.recalled,
                "`{change}` of a file that another client has a delegation of ({kind}) recalled nothing"
            );
            // As without a delegation, attributes may come from the client's cache for a second.
            a.sh(
                &format!("cd {folder}; until {{ {seen}; }} do sleep 0.2; done"),
                SOON,
            )
            .with_context(|| format!("after `{change}` by the other client ({kind})"))?;
        }
    }
    say(format!(
        "{} changes by another client, the slowest in {} ms",
        2 * CHANGES.len(),
        slowest.as_millis()
    ));
    Ok(())
}

/// Linux 7.2 asks for the folders that it looks names up in, and keeps what it saw there until they are asked back.
fn folder_is_asked_back(a: &mut Guest, b: &mut Guest) -> Result<Option<String>> {
    const CHANGES: [(&str, &str); 5] = [
        (": >two", "four one two"),
        ("mv one two", "four two"),
        ("mkdir three", "four one three"),
        ("rm one", "four"),
        ("rmdir four", "one"),
    ];
    if a.release().starts_with("6.1.") {
        return Ok(None);
    }
    for (number, (change, names)) in CHANGES.into_iter().enumerate() {
        let folder = format!("{MOUNT}/folder-{number}");
        let before = Counted::now()?;
        a.sh(
            &format!("mkdir {folder} {folder}/four && : >{folder}/one && ls {folder} && stat {folder}/one {folder}"),
            MINUTE,
        )?;
        let given = Counted::now()?;
        ensure!(
            given.folders_asked > before.folders_asked && given.given > before.given,
            "no folder was asked for or given"
        );
        b.sh(&format!("cd {folder} && {change}"), MINUTE)?;
        ensure!(
            Counted::now()?.recalled > given.recalled,
            "`{change}` in a folder that another client has a delegation of recalled nothing"
        );
        let shown = a.sh(&format!("cd {folder} && echo $(ls)"), MINUTE)?;
        ensure!(
            shown.trim() == names,
            "after `{change}` the folder shows {shown:?}"
        );
    }
    Ok(Some(format!(
        "{} changes of folders asked them back and were seen at once",
        CHANGES.len()
    )))
}

/// The metadata server dies while delegations are out: they are reclaimed, and asked back afterwards.
fn restart_is_survived(split: &mut Split, a: &mut Guest, b: &mut Guest) -> Result<()> {
    made_by(a, "kept", "before")?;
    made_by(a, "both", "before")?;
    let holding = a.spawn(&format!(
        "rm -f /run/enough /run/have; exec 7>>{MOUNT}/kept; echo unwritten >&7; : >/run/have; \
         until [ -e /run/enough ]; do sleep 0.1; done; echo after >&7; exec 7>&-"
    ))?;
    a.sh("until [ -e /run/have ]; do sleep 0.1; done", MINUTE)?;
    let before = Counted::now()?;
    split.mds.kill9()?;
    split.mds.start()?;
    // In grace this waits; it is the first thing that tells the client of the restart.
    a.sh(
        &format!("echo during >>{MOUNT}/both; : >{MOUNT}/new"),
        MINUTE,
    )?;
    let reclaimed = clock::wait_for("delegations that are reclaimed", MINUTE, || {
        let now = Counted::now()?;
        Ok((now.held > 0).then_some(now.held))
    })?;
    say(format!(
        "{} held before the restart, {reclaimed} after",
        before.held
    ));
    a.sh(": >/run/enough", MINUTE)?;
    a.must(&holding, MINUTE)?;
    let text = b.sh(&format!("cat {MOUNT}/kept {MOUNT}/both"), MINUTE)?;
    ensure!(
        text == "before\nunwritten\nafter\nbefore\nduring\n",
        "over a restart became {text:?}"
    );
    Ok(())
}

fn dead_holder_holds_up_others_for_a_bounded_time(mut a: Guest, b: &mut Guest) -> Result<String> {
    made_by(&mut a, "orphan", "left")?;
    a.sh(
        &format!("cat {MOUNT}/orphan; echo more >>{MOUNT}/orphan"),
        MINUTE,
    )?;
    let before = Counted::now()?;
    ensure!(before.held > 0, "nothing is delegated");
    let recipe = a.kill9();
    say(format!(
        "client {} is dead, with {} delegations",
        recipe.name, before.held
    ));
    let begun = Instant::now();
    b.sh(&format!("echo taken over >>{MOUNT}/orphan"), DEAD_HOLDER)
        .context("a dead client's delegation must not hold up others for long")?;
    let took = begun.elapsed();
    let text = b.sh(&format!("cat {MOUNT}/orphan"), MINUTE)?;
    ensure!(
        text == "left\nmore\ntaken over\n",
        "after the holder's death a reader finds {text:?}"
    );
    Ok(format!(
        "a dead holder's file was free after {:.0} s",
        took.as_secs_f64()
    ))
}
