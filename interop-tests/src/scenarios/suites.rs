//! Public test suites through the mount. What a Linux NFS client cannot give on any server is in lists with reasons.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::Verdict;
use crate::harness::clock::say;
use crate::harness::guest::Guest;
use crate::harness::headrace::DemoOptions;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};

const FSX_OPERATIONS: u32 = 8000;

pub fn pjdfstest(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    run_pjdfstest(lab, &mut client)
}

/// Runs pjdfstest below the mount point, whatever server is behind it.
pub fn run_pjdfstest(lab: &Lab, client: &mut Guest) -> Result<Verdict> {
    let newest = lab.kernels.last() == Some(&lab.kernel);
    let list = lab.sources.join("expected/pjdfstest.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let expected = expected_failures(&text, newest)?;
    let names: Vec<String> = expected.iter().map(|name| format!("{name:?}")).collect();
    fs::write(
        client.shared().join("pjdfstest.toml"),
        format!(
            "[features]\nrename_ctime = {{}}\nutime_now = {{}}\nutimensat = {{}}\nposix_fallocate = {{}}\n\
             [settings]\nnaptime = 0.02\nallow_remount = false\nexpected_failures = [{}]\n\
             [dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n",
            names.join(", ")
        ),
    )?;
    let output = client.run(
        &format!(
            "mkdir -p {MOUNT}/pjd && chmod 755 {MOUNT}/pjd && NO_COLOR=1 /run/cache/bin/pjdfstest -c /run/shared/pjdfstest.toml -p {MOUNT}/pjd"
        ),
        MINUTE * 12,
    )?;
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
    if output.succeeded() {
        return Ok(Verdict::Held(vec![summary]));
    }
    fs::write(lab.state.join("pjdfstest.out"), &output.stdout)?;
    let failed: Vec<&str> = output
        .stdout
        .lines()
        .filter(|line| line.contains("FAILED") || line.contains("UNEXPECTEDLY"))
        .collect();
    bail!("{summary}\n{}", failed.join("\n"))
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

pub fn fsx(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    run_fsx(&mut client)
}

pub fn run_fsx(client: &mut Guest) -> Result<Verdict> {
    // Memory maps included; then again with what closes and reopens, and drops the cache, far more often.
    let weights =
        "[weights]\nread = 10.0\nwrite = 10.0\nmapread = 5.0\nmapwrite = 5.0\ntruncate = 3.0\n";
    let plain = format!("flen = 2097152\n{weights}");
    let reopening = format!("{plain}close_open = 5.0\ninvalidate = 3.0\n");
    let mut facts = Vec::new();
    for (name, config, seed) in [("plain", plain, 11), ("reopening", reopening, 12)] {
        fs::write(client.shared().join(format!("fsx-{name}.toml")), config)?;
        client.sh(
            &format!(
                "/run/cache/bin/fsx -N {FSX_OPERATIONS} -S {seed} -P /run/shared -f /run/shared/fsx-{name}.toml {MOUNT}/fsx-{name}"
            ),
            MINUTE * 8,
        )?;
        say(format!("fsx {name}: {FSX_OPERATIONS} operations"));
        facts.push(format!("{name} {FSX_OPERATIONS} operations"));
    }
    Ok(Verdict::Held(facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_failures_are_chosen_by_kernel_and_need_a_reason() {
        let text = "# head\na::b | all | why\nc::d | old | why\ne::f | new | why\n";
        assert_eq!(expected_failures(text, true).unwrap(), ["a::b", "e::f"]);
        assert_eq!(expected_failures(text, false).unwrap(), ["a::b", "c::d"]);
        assert!(expected_failures("a::b | all |", true).is_err());
        assert!(expected_failures("a::b", true).is_err());
    }
}
