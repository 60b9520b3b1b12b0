//! Mount options: real work under each, and what the server sees of it where it sees anything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Verdict;
use crate::harness::clock::{let_pass, say};
use crate::harness::guest::Guest;
use crate::harness::headrace::{DemoOptions, METRICS, Server};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, unmount};
use crate::harness::metrics::Scrape;
use crate::harness::net::{MDS, MDS_PORT};

/// Each with what /proc/mounts must say of it.
const EACH: [(&str, &str); 14] = [
    ("vers=4.1", "vers=4.1"),
    ("vers=4.2", "vers=4.2"),
    ("vers=4.2,nconnect=4", "nconnect=4"),
    ("vers=4.2,trunkdiscovery", "trunkdiscovery"),
    ("vers=4.2,noac", "noac"),
    ("vers=4.2,lookupcache=none", "lookupcache=none"),
    ("vers=4.2,soft", "soft"),
    ("vers=4.2,softerr", "softerr"),
    ("vers=4.2,hard", "hard"),
    ("vers=4.2,sec=sys", "sec=sys"),
    ("vers=4.2,rsize=4096,wsize=4096", "rsize=4096,wsize=4096"),
    ("vers=4.2,nosharecache", "nosharecache"),
    ("vers=4.2,noresvport", "noresvport"),
    ("vers=4.1,nconnect=4,noac,lookupcache=none", "nconnect=4"),
];

const WORK: &str = r#"
expect() { if ! eval "$1"; then echo "did not hold: $1" >&2; exit 1; fi; }
cd /run/mnt && mkdir work && cd work
head -c 3000001 /dev/urandom >/run/source
expect 'cp /run/source f && sync f && cmp /run/source f'
expect 'dd if=/run/source of=f bs=1000 count=50 conv=notrunc status=none && cmp /run/source f'
expect 'echo one >log && echo two >>log && [ "$(tr "\n" " " <log)" = "one two " ]'
expect 'mv f g && ! [ -e f ] && ln g h && ln -s g s && cmp /run/source s && [ "$(stat -c %h h)" = 2 ]'
expect 'truncate -s 100 g && [ "$(stat -c %s h)" = 100 ]'
expect 'flock g true && flock -s g true'
expect 'chmod 640 g && [ "$(stat -c %a h)" = 640 ]'
expect 'mkdir many && i=0; while [ $i -lt 60 ]; do echo $i >many/$i; i=$((i+1)); done; [ "$(ls many | wc -l)" = 60 ]'
expect '[ "$(cat many/* | wc -l)" = 60 ] && rm -r many && ! [ -e many ]'
cd .. && rm -r work && [ -z "$(ls)" ]
"#;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    // A lease that outlives the time out of reach.
    let mut server = lab.demo(DemoOptions {
        lease_seconds: 90,
        grace_seconds: 90,
        ..DemoOptions::default()
    })?;
    let mut client = lab.client("a")?;
    for (options, shown) in EACH {
        mount(&mut client, options)?;
        is_shown(&mut client, shown)?;
        client
            .sh(WORK, MINUTE * 2)
            .with_context(|| format!("mounted with {options}"))?;
        unmount(&mut client)?;
        say(format!("mounted with {options}: works"));
    }
    let facts = vec![
        format!("{} sets of options work", EACH.len()),
        connections(lab, &mut client)?,
        ports(lab, &mut client)?,
        trunking(&mut client)?,
        caches(&mut client)?,
        read_only(&mut client)?,
        two_caches(&mut client)?,
        patience(lab, &mut client)?,
        impatience(&mut server, &mut client)?,
        others_are_refused(&mut client)?,
    ];
    for fact in &facts {
        say(fact);
    }
    ensure!(
        client.warnings().is_empty(),
        "the client's kernel warned: {}",
        client.warnings().join("; ")
    );
    client.power_off()?;
    Ok(Verdict::Held(facts))
}

/// Linux leaves out what is the default anyway.
fn is_shown(client: &mut Guest, options: &str) -> Result<()> {
    let line = client.sh(&format!("grep ' {MOUNT} ' /proc/mounts"), MINUTE)?;
    let shown: BTreeSet<&str> = line.split([' ', ',']).collect();
    const SILENT: [&str; 2] = ["nosharecache", "trunkdiscovery"];
    for option in options.split(',').filter(|o| !SILENT.contains(o)) {
        ensure!(shown.contains(option), "{option} isn't in force: {line}");
    }
    Ok(())
}

fn operations(name: &str) -> Result<f64> {
    let label = format!("operation=\"{name}\"");
    Ok(Scrape::of(METRICS)?.sum("headrace_operations_total", &[&label]))
}

/// The ports from which the client spoke to the metadata server while `script` ran on a mount of its own.
fn ports_used(lab: &Lab, client: &mut Guest, options: &str, script: &str) -> Result<BTreeSet<u16>> {
    let before = lab.net.traffic()?;
    mount(client, options)?;
    client.sh(script, MINUTE)?;
    unmount(client)?;
    let traffic = lab.net.traffic()?.since(&before);
    let ports = traffic
        .connections()
        .filter(|(connection, counted)| {
            *connection.server.ip() == MDS
                && connection.server.port() == MDS_PORT
                && counted.to_server_bytes > 2000
        })
        .map(|(connection, _)| connection.client.port());
    Ok(ports.collect())
}

fn connections(lab: &Lab, client: &mut Guest) -> Result<String> {
    let busy = format!("cd {MOUNT}; for i in $(seq 200); do : >c$i; done; rm c*");
    let mut seen = Vec::new();
    for (options, wanted) in [("vers=4.2", 1), ("vers=4.2,nconnect=4", 4)] {
        let sessions = operations("CREATE_SESSION")?;
        let ports = ports_used(lab, client, options, &busy)?;
        let sessions = operations("CREATE_SESSION")? - sessions;
        ensure!(
            ports.len() == wanted && (sessions - 1.0).abs() < 0.1,
            "mounted with {options}: {} connections, {sessions} sessions",
            ports.len()
        );
        seen.push(ports.len());
    }
    Ok(format!(
        "{} connection, and {} of one session with nconnect=4",
        seen[0], seen[1]
    ))
}

fn ports(lab: &Lab, client: &mut Guest) -> Result<String> {
    let work = format!("cd {MOUNT}; for i in $(seq 20); do : >c$i; done; rm c*");
    let reserved = ports_used(lab, client, "vers=4.2", &work)?;
    let other = ports_used(lab, client, "vers=4.2,noresvport", &work)?;
    ensure!(
        reserved.iter().all(|port| *port < 1024) && other.iter().all(|port| *port >= 1024),
        "ports {reserved:?}, and {other:?} with noresvport"
    );
    Ok("noresvport comes from a port above 1023 and is served".to_owned())
}

/// Linux asks for fs_locations when it looks for other addresses of a server that has the attribute.
fn trunking(client: &mut Guest) -> Result<String> {
    let mut asked = Vec::new();
    for options in ["vers=4.2", "vers=4.2,trunkdiscovery"] {
        mount(client, options)?;
        let stats = client.sh(
            &format!(
                "sed -n '/ mounted on {} /,$p' /proc/self/mountstats",
                MOUNT.replace('/', "\\/")
            ),
            MINUTE,
        )?;
        unmount(client)?;
        let count = stats
            .lines()
            .find_map(|line| line.trim().strip_prefix("FS_LOCATIONS: "))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .context("no FS_LOCATIONS in /proc/self/mountstats")?;
        let known = stats
            .split_once("bm0=0x")
            .and_then(|(_, rest)| u32::from_str_radix(rest.split([',', '\n']).next()?, 16).ok())
            .context("no bm0 in /proc/self/mountstats")?;
        let has_attribute = known & (1 << 24) != 0;
        asked.push((count, has_attribute));
    }
    let (quiet, looking) = (asked[0], asked[1]);
    ensure!(
        quiet.0 == 0 && (looking.0 > 0) == looking.1,
        "FS_LOCATIONS was asked {} times, and {} times with trunkdiscovery; the attribute is there: {}",
        quiet.0,
        looking.0,
        looking.1
    );
    Ok(if looking.1 {
        "trunkdiscovery asks for fs_locations".to_owned()
    } else {
        "trunkdiscovery finds no fs_locations to ask for".to_owned()
    })
}

/// How often the server is asked by what a cache would answer.
fn caches(client: &mut Guest) -> Result<String> {
    let mut asked = Vec::new();
    for options in ["vers=4.2", "vers=4.2,noac", "vers=4.2,lookupcache=none"] {
        mount(client, options)?;
        client.sh(&format!("echo x >{MOUNT}/f; stat {MOUNT}/f"), MINUTE)?;
        let before = (operations("GETATTR")?, operations("LOOKUP")?);
        client.sh(
            &format!("for i in 1 2 3 4 5 6 7 8; do stat {MOUNT}/f; done"),
            MINUTE,
        )?;
        let after = (operations("GETATTR")?, operations("LOOKUP")?);
        unmount(client)?;
        asked.push((after.0 - before.0, after.1 - before.1));
    }
    let (plain, noac, no_names) = (asked[0], asked[1], asked[2]);
    ensure!(
        plain.0 < 4.0 && plain.1 < 4.0 && noac.0 >= 8.0 && no_names.1 >= 8.0,
        "eight times stat(1): {plain:?} GETATTRs and LOOKUPs, {noac:?} with noac, {no_names:?} with lookupcache=none"
    );
    Ok(format!(
        "eight times stat: {} GETATTRs and {} LOOKUPs, {} GETATTRs with noac, {} LOOKUPs with lookupcache=none",
        plain.0, plain.1, noac.0, no_names.1
    ))
}

fn read_only(client: &mut Guest) -> Result<String> {
    mount(client, "vers=4.2,ro")?;
    let refused = client.run(&format!("cat {MOUNT}/f && mkdir {MOUNT}/d"), MINUTE)?;
    ensure!(
        refused.stdout == "x\n" && refused.stderr.contains("Read-only"),
        "on a mount with ro: {}{}",
        refused.stdout,
        refused.stderr
    );
    unmount(client)?;
    Ok("ro reads and refuses changes".to_owned())
}

/// One server mounted twice without a common cache: what one writes and closes, the other opens.
fn two_caches(client: &mut Guest) -> Result<String> {
    mount(client, "vers=4.2,nosharecache")?;
    client.sh(
        &format!(
            "mkdir -p /run/second && mount -t nfs4 -o vers=4.2,nosharecache {MDS}:/ /run/second && \
             [ \"$(stat -c %d {MOUNT})\" != \"$(stat -c %d /run/second)\" ] && \
             for i in $(seq 30); do echo $i >{MOUNT}/f && [ \"$(cat /run/second/f)\" = $i ] || exit 1; done; \
             rm {MOUNT}/f && umount /run/second"
        ),
        MINUTE,
    )?;
    unmount(client)?;
    Ok("two mounts with nosharecache see each other's closes".to_owned())
}

/// A server out of reach: a program on a hard mount waits, and goes on once it is back.
fn patience(lab: &Lab, client: &mut Guest) -> Result<String> {
    mount(client, "vers=4.2,hard,timeo=10,retrans=1,actimeo=0")?;
    client.sh(&format!("echo x >{MOUNT}/f"), MINUTE)?;
    lab.net.cut_off(client.address())?;
    let waiting = client.spawn(&format!("stat {MOUNT}/f"))?;
    let_pass(Duration::from_secs(10));
    let gave_up = client.is_done(&waiting);
    lab.net.join_again()?;
    ensure!(!gave_up, "a program on a hard mount didn't wait");
    client.must(&waiting, MINUTE)?;
    unmount(client)?;
    Ok("hard waits for a server out of reach".to_owned())
}

/// A server that is away: a program on a soft mount is told, one on a hard mount waits, and all go on once it is
/// back. It is killed, not cut off: what was sent on a connection that stands is waited for as long as TCP does.
fn impatience(server: &mut Server, client: &mut Guest) -> Result<String> {
    const SHORT: &str = "timeo=10,retrans=1,actimeo=0";
    const IMPATIENT: [(&str, &str); 2] = [
        ("soft", "Input/output error"),
        ("softerr", "Connection timed out"),
    ];
    mount(client, &format!("vers=4.2,hard,{SHORT}"))?;
    client.sh(&format!("echo x >{MOUNT}/f"), MINUTE)?;
    for (option, _) in IMPATIENT {
        let at = format!("/run/{option}");
        client.sh(
            &format!("mkdir -p {at} && mount -t nfs4 -o vers=4.2,{option},{SHORT} {MDS}:/ {at} && cat {at}/f"),
            MINUTE,
        )?;
    }
    server.kill9()?;
    let waiting = client.spawn(&format!("cat {MOUNT}/f"))?;
    let mut trying = Vec::new();
    for (option, error) in IMPATIENT {
        trying.push((
            option,
            error,
            client.spawn(&format!("cat /run/{option}/f"))?,
        ));
    }
    let began = Instant::now();
    for (option, error, job) in trying {
        let told = client.wait(&job, MINUTE)?;
        ensure!(
            !told.succeeded() && told.stderr.contains(error),
            "on a mount with {option}: status {}, {}",
            told.status,
            told.stderr
        );
    }
    let seconds = began.elapsed().as_secs();
    let gave_up = client.is_done(&waiting);
    server.start()?;
    ensure!(!gave_up, "a program on a hard mount didn't wait");
    client.must(&waiting, MINUTE)?;
    for (option, _) in IMPATIENT {
        client.sh(
            &format!("cat /run/{option}/f && umount /run/{option}"),
            MINUTE,
        )?;
    }
    unmount(client)?;
    Ok(format!(
        "a server that is away: soft says EIO and softerr ETIMEDOUT within {seconds} s, hard waits, and all go on once it is back"
    ))
}

fn others_are_refused(client: &mut Guest) -> Result<String> {
    for options in [
        "vers=4.0,retry=0",
        "vers=3,nolock,proto=tcp,retry=0,mountport=2049,mountproto=tcp",
    ] {
        let refused = client.run(
            &format!("timeout 30 mount -t nfs -o {options} {MDS}:/ {MOUNT}"),
            MINUTE,
        )?;
        ensure!(
            !refused.succeeded()
                && refused.status != 124
                && ["not supported", "Connection refused"]
                    .iter()
                    .any(|said| refused.stderr.contains(said)),
            "mounted with {options}: status {}, {}",
            refused.status,
            refused.stderr
        );
    }
    Ok("4.0 and 3 are refused in words".to_owned())
}
