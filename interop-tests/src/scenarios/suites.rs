//! Public test suites through the mount. What a Linux NFS client cannot give on any server is in lists with reasons.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::Verdict;
use crate::harness::clock::say;
use crate::harness::guest::{Guest, Job};
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};

/// Of each pattern.
const FSX_OPERATIONS: u32 = 3000;
/// What may fail behind a data server, and on an existing export.
pub const EXPECTED: &str = "expected/pjdfstest.txt";
pub const EXPECTED_OF_EXPORT: &str = "expected/pjdfstest-export.txt";
const SKIPPED: &str = "expected/pjdfstest-skipped.txt";

pub fn pjdfstest(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    run_pjdfstest(lab, &mut client, EXPECTED)
}

/// Runs pjdfstest below the mount point, whatever server is behind it; `expected` lists what may fail.
pub fn run_pjdfstest(lab: &Lab, client: &mut Guest, expected: &str) -> Result<Verdict> {
    run_some_of_pjdfstest(lab, client, expected, "")
}

/// The cases whose names have one of these words in them.
pub fn run_some_of_pjdfstest(
    lab: &Lab,
    client: &mut Guest,
    expected: &str,
    cases: &str,
) -> Result<Verdict> {
    let newest = lab.kernels.last() == Some(&lab.kernel);
    let list = lab.sources.join(expected);
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let expected = expected_failures(&text, newest)?;
    let configure = |file: &str, remount: bool| {
        let text = format!(
            "[features]\nsecondary_fs = \"/var/tmp/second\"\n\
             rename_ctime = {{}}\nutime_now = {{}}\nutimensat = {{}}\nposix_fallocate = {{}}\n\
             [settings]\nnaptime = 0.02\nallow_remount = {remount}\nexpected_failures = {expected:?}\n\
             [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n"
        );
        fs::write(client.shared().join(file), text)
    };
    configure("pjdfstest.toml", false)?;
    configure("remount.toml", true)?;
    let output = client.run(
        &format!(
            "mkdir -p /var/tmp/second {MOUNT}/pjd && chmod 1777 /var/tmp/second && chmod 755 {MOUNT}/pjd && \
             NO_COLOR=1 /run/cache/bin/pjdfstest -c /run/shared/pjdfstest.toml -p {MOUNT}/pjd {cases}"
        ),
        MINUTE * 12,
    )?;
    fs::write(lab.state.join("pjdfstest.out"), &output.stdout)?;
    let summary = output
        .stdout
        .lines()
        .find(|line| line.starts_with("Summary:"))
        .map(str::to_owned);
    let Some(summary) = summary else {
        bail!(
            "pjdfstest gave no summary: {}{}",
            output.stdout,
            output.stderr
        );
    };
    say(&summary);
    if !output.succeeded() {
        let failed: Vec<&str> = output
            .stdout
            .lines()
            .filter(|line| line.contains("FAILED") || line.contains("UNEXPECTEDLY"))
            .collect();
        bail!("{summary}\n{}", failed.join("\n"))
    }
    let mut skipped = skipped(&output.stdout);
    let read_only: Vec<String> = skipped
        .extract_if(.., |name| name.contains("erofs"))
        .collect();
    read_only_cases(client, &read_only)?;
    skipped_for_reasons(&skipped, &lab.sources.join(SKIPPED))?;
    Ok(Verdict::Held(vec![
        summary,
        format!(
            "{} of the skipped then passed, each on a mount turned read-only",
            read_only.len()
        ),
    ]))
}

/// The cases that turn the mount read-only. Linux refuses that while it keeps the inode of anything removed
/// (`sb_prepare_remount_readonly`), whatever the file system: each case comes after the caches were dropped.
fn read_only_cases(client: &mut Guest, names: &[String]) -> Result<()> {
    ensure!(!names.is_empty(), "no case of a read-only mount is known");
    let output = client.run(
        &format!(
            "for name in {}; do sync; echo 2 > /proc/sys/vm/drop_caches; \
             NO_COLOR=1 /run/cache/bin/pjdfstest -c /run/shared/remount.toml -e -p {MOUNT}/pjd pjdfstest::tests::$name || exit 1; done",
            names.join(" ")
        ),
        MINUTE * 2,
    )?;
    let passed = output.stdout.matches(" 0 skipped, 1 passed").count();
    ensure!(
        output.succeeded() && passed == names.len(),
        "of {} cases on a read-only mount {passed} passed: {}{}",
        names.len(),
        output.stdout,
        output.stderr
    );
    Ok(())
}

fn skipped(stdout: &str) -> BTreeSet<String> {
    stdout
        .lines()
        .filter_map(|line| line.trim_end().strip_suffix("skipped"))
        .map(str::trim)
        .filter(|name| name.contains("::"))
        .map(str::to_owned)
        .collect()
}

/// Each case that the suite left out is in the list, and each of the list was left out.
fn skipped_for_reasons(skipped: &BTreeSet<String>, list: &Path) -> Result<()> {
    let text = fs::read_to_string(list).with_context(|| format!("reading {}", list.display()))?;
    let mut known = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(" | ") {
            Some((name, reason)) if !reason.trim().is_empty() => {
                known.insert(name.trim().to_owned())
            }
            _ => bail!("not `name | reason`: {line}"),
        };
    }
    let silent: Vec<_> = skipped.difference(&known).collect();
    ensure!(silent.is_empty(), "left out without a reason: {silent:?}");
    let run: Vec<_> = known.difference(skipped).collect();
    ensure!(
        run.is_empty(),
        "on the list of what is left out, and run: {run:?}"
    );
    Ok(())
}

/// Lines "name | all, old or new | reason"; a line without a reason is a fault.
fn expected_failures(text: &str, newest: bool) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.splitn(3, '|').map(str::trim);
        let (Some(name), Some(kernels), Some(reason)) =
            (fields.next(), fields.next(), fields.next())
        else {
            bail!("not `name | kernels | reason`: {line}");
        };
        ensure!(!reason.is_empty(), "no reason is given: {line}");
        match kernels {
            "all" => names.push(name.to_owned()),
            "old" if !newest => names.push(name.to_owned()),
            "new" if newest => names.push(name.to_owned()),
            "old" | "new" => {}
            _ => bail!("`{kernels}` is not all, old or new: {line}"),
        }
    }
    Ok(names)
}

/// What fsx does, by weight: a name, and a table of its configuration.
const FSX_PATTERNS: [(&str, &str); 3] = [
    // Memory maps included.
    (
        "plain",
        "read = 10.0\nwrite = 10.0\nmapread = 5.0\nmapwrite = 5.0\ntruncate = 3.0\n",
    ),
    // The same with what closes and opens again, and drops the cache, far more often.
    (
        "reopening",
        "read = 10.0\nwrite = 10.0\nmapread = 5.0\nmapwrite = 5.0\ntruncate = 3.0\n\
         close_open = 5.0\ninvalidate = 3.0\n",
    ),
    // ALLOCATE, DEALLOCATE and COPY among writes, with syncs between.
    (
        "ranges",
        "read = 10.0\nwrite = 10.0\nmapread = 3.0\nmapwrite = 3.0\ntruncate = 3.0\n\
         posix_fallocate = 3.0\npunch_hole = 4.0\ncopy_file_range = 5.0\nsendfile = 2.0\n\
         posix_fadvise = 1.0\nfsync = 1.0\nfdatasync = 1.0\ninvalidate = 1.0\n",
    ),
];

/// What fsx works on by a client of that kernel.
pub fn fsx_files(release: &str) -> Vec<String> {
    let names = FSX_PATTERNS.iter().map(|(name, _)| name);
    names.map(|name| format!("fsx-{name}-{release}")).collect()
}

fn start_fsx(client: &mut Guest, pattern: usize, operations: u32, seed: usize) -> Result<Job> {
    let (name, weights) = FSX_PATTERNS[pattern];
    let config = format!("flen = 2097152\n[weights]\n{weights}");
    fs::write(client.shared().join(format!("fsx-{name}.toml")), config)?;
    client.spawn(&format!(
        "/run/cache/bin/fsx -N {operations} -S {seed} -P /run/shared -f /run/shared/fsx-{name}.toml \
         {MOUNT}/fsx-{name}-$(uname -r)"
    ))
}

pub fn fsx(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    run_fsx(&mut client)
}

pub fn run_fsx(client: &mut Guest) -> Result<Verdict> {
    run_fsx_short(client, FSX_OPERATIONS)
}

/// With so many operations of each pattern.
pub fn run_fsx_short(client: &mut Guest, operations: u32) -> Result<Verdict> {
    run_fsx_patterns(client, FSX_PATTERNS.len(), operations)
}

/// On what can't allocate and deallocate: without the last pattern.
pub fn run_fsx_of_v3(client: &mut Guest) -> Result<Verdict> {
    run_fsx_patterns(client, FSX_PATTERNS.len() - 1, FSX_OPERATIONS)
}

fn run_fsx_patterns(client: &mut Guest, patterns: usize, operations: u32) -> Result<Verdict> {
    let mut facts = Vec::new();
    for (pattern, (name, _)) in FSX_PATTERNS.iter().enumerate().take(patterns) {
        let running = start_fsx(client, pattern, operations, 11 + pattern)?;
        client.must(&running, MINUTE * 8)?;
        say(format!("fsx {name}: {operations} operations"));
        facts.push(format!("{name} {operations} operations"));
    }
    Ok(Verdict::Held(facts))
}

/// All patterns at once on both clients, a million operations together.
pub fn fsx_million(lab: &mut Lab) -> Result<Verdict> {
    const EACH: u32 = 166_667;
    let _server = lab.demo(DemoOptions::default())?;
    let (mut a, mut b) = lab.two_mounted()?;
    let mut running = Vec::new();
    for (number, client) in [&mut a, &mut b].into_iter().enumerate() {
        for pattern in 0..FSX_PATTERNS.len() {
            let seed = 21 + 10 * number + pattern;
            running.push((number, start_fsx(client, pattern, EACH, seed)?));
        }
    }
    for (number, job) in &running {
        let client = if *number == 0 { &mut a } else { &mut b };
        client.must(job, MINUTE * 170)?;
        say(format!(
            "Linux {}: {EACH} operations more",
            client.release()
        ));
    }
    Ok(Verdict::Held(vec![format!(
        "{} operations by Linux {} and {}",
        running.len() * EACH as usize,
        a.release(),
        b.release()
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_suite_leaves_out_has_a_reason_and_no_reason_is_idle() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "# head\na::b | why\n").unwrap();
        let check = |stdout: &str| skipped_for_reasons(&skipped(stdout), &list);
        let ran = "a::b    skipped\n\trequires features: x\nc::d    success\n";
        check(ran).unwrap();
        assert!(check(&format!("{ran}e::f   skipped\n")).is_err());
        assert!(check("c::d success\n").is_err());
        fs::write(&list, "a::b |\n").unwrap();
        assert!(check(ran).is_err());
    }

    #[test]
    fn expected_failures_are_chosen_by_kernel_and_need_a_reason() {
        let text = "# head\na::b | all | why\nc::d | old | why\ne::f | new | why\n";
        assert_eq!(expected_failures(text, true).unwrap(), ["a::b", "e::f"]);
        assert_eq!(expected_failures(text, false).unwrap(), ["a::b", "c::d"]);
        assert!(expected_failures("a::b | all |", true).is_err());
        assert!(expected_failures("a::b", true).is_err());
    }
}
