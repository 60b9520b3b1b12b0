//! A client that has nothing newer than NFSv3, with a real kernel: what a person does first, what clients of NFSv4
//! beside it see of it, a restart of the server in the middle, the rules of exports; and an existing export below.

use anyhow::{Context, Result, ensure};

use super::Verdict;
use super::basic::BY_ANY_VERSION;
use super::junction::{Filer, beside_with};
use crate::harness::client::Client;
use crate::harness::guest::Guest;
use crate::harness::headrace::{self, DemoOptions, METRICS, Server, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, unmount};
use crate::harness::metrics::Scrape;

const OPTIONS: &str = "vers=3,nolock,proto=tcp,port=2049,mountproto=tcp,mountport=2049,retry=0";
/// Where what is mounted by NFSv4 lies beside it.
const BESIDE: &str = "/run/beside";

/// What holds besides what does by any version.
const BY_NFS3: &str = r#"
expect 'grep -q " /run/mnt nfs .*vers=3" /proc/mounts'
expect 'echo listed >l && chmod 600 l && ! alice cat l && ! alice sh -c "echo more >>l" && chmod 644 l && [ "$(alice cat l)" = listed ]'
expect 'mkdir shared && chmod 1777 shared && alice touch shared/hers && [ "$(stat -c %u shared/hers)" = 1001 ]'
expect 'cp -r /usr/include/linux tree && diff -r /usr/include/linux tree && tar cf /run/tmp.tar tree && mv tree again && rm -r again && tar xf /run/tmp.tar && diff -r /usr/include/linux tree'
expect 'flock t true'
"#;

/// What is told of every file: by both versions the same.
const TOLD: &str = "find . -printf '%P %y %m %U %G %n %i %s %T@ %C@ %l\\n' | sort";

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut facts = Vec::new();
    {
        let mut server = lab.demo(DemoOptions {
            nfsv3: true,
            ..DemoOptions::default()
        })?;
        let other_kernel = lab.other_kernel();
        let mut old = lab.client("old")?;
        let mut new = lab.client_with("new", &other_kernel)?;
        mount(&mut new, "vers=4.2")?;
        mount_legacy(&mut old, "10.99.0.1:/", MOUNT)?;
        old.sh(&format!("V=v3\n{BY_ANY_VERSION}{BY_NFS3}"), MINUTE * 4)?;
        both_versions_tell_the_same(&mut old)?;
        each_sees_what_the_other_did(&mut old, &mut new)?;
        work_goes_on_over_a_restart(&mut old, &mut server)?;
        let scrape = Scrape::of(METRICS)?;
        ensure!(
            scrape.sum("headrace_nfsv3_calls_total", &["procedure=\"READDIRPLUS\""]) > 0.0,
            "the metrics don't tell of calls by NFSv3"
        );
        for client in [&mut old, &mut new] {
            unmount(client)?;
            ensure!(
                client.warnings().is_empty(),
                "the client's kernel warned: {}",
                client.warnings().join("; ")
            );
        }
        new.power_off()?;
        old.power_off()?;
        server
            .stop(MINUTE)
            .context("SIGTERM drains and ends with status 0")?;
        facts.push("the work of a person, beside NFSv4, over a kill -9 of the server".to_owned());
    }
    facts.push(exports(lab)?);
    Ok(Verdict::Held(facts))
}

pub fn mount_legacy(client: &mut dyn Client, source: &str, at: &str) -> Result<()> {
    client.sh(
        &format!("mkdir -p {at} && timeout 60 mount -t nfs -o {OPTIONS} {source} {at}"),
        MINUTE * 2,
    )?;
    Ok(())
}

/// In one kernel, which takes the two for two servers.
fn both_versions_tell_the_same(client: &mut Guest) -> Result<()> {
    client.sh(
        &format!(
            "sync; mkdir -p {BESIDE} && mount -t nfs4 -o vers=4.2 10.99.0.1:/ {BESIDE} && \
             (cd {MOUNT}/v3 && {TOLD}) >/run/by3 && (cd {BESIDE}/v3 && {TOLD}) >/run/by4 && \
             [ -s /run/by3 ] && diff /run/by3 /run/by4 && diff -r --no-dereference {MOUNT}/v3/tree {BESIDE}/v3/tree && \
             umount {BESIDE}"
        ),
        MINUTE * 3,
    )?;
    Ok(())
}

fn each_sees_what_the_other_did(old: &mut Guest, new: &mut Guest) -> Result<()> {
    new.sh(
        &format!(
            "cd {MOUNT} && mkdir -m 777 both && echo 'by the new' >both/n && dd if=/dev/urandom of=both/large bs=1M count=16 status=none && \
             sha256sum both/large >both/sum"
        ),
        MINUTE,
    )?;
    old.sh(
        &format!(
            "cd {MOUNT} && [ \"$(cat both/n)\" = 'by the new' ] && sha256sum -c both/sum && echo 'by the old' >both/o && \
             echo more >>both/n && mv both/large both/moved && dd if=/dev/urandom of=both/other bs=1M count=16 status=none && \
             sha256sum both/other >both/sum-of-other && sync"
        ),
        MINUTE,
    )?;
    // Closed there, opened here; names are looked at again when the client's own cache lapses.
    new.sh(
        &format!(
            "cd {MOUNT} && [ \"$(cat both/o)\" = 'by the old' ] && [ \"$(cat both/n)\" = \"$(printf 'by the new\\nmore')\" ] && \
             sha256sum -c both/sum-of-other && {GONE} && [ -e both/moved ] && rm both/moved",
            GONE = until_gone("both/large")
        ),
        MINUTE * 2,
    )?;
    old.sh(
        &format!("cd {MOUNT} && {}", until_gone("both/moved")),
        MINUTE * 2,
    )?;
    Ok(())
}

fn until_gone(name: &str) -> String {
    format!("for i in $(seq 100); do [ ! -e {name} ] && break; sleep 1; done; [ ! -e {name} ]")
}

/// A mount of NFSv3 waits until its server is there again, and knows its files by the same handles.
fn work_goes_on_over_a_restart(client: &mut Guest, server: &mut Server) -> Result<()> {
    let writing = client.spawn(&format!(
        "cd {MOUNT}/v3 && mkdir over && exec 7>over/open && i=0; \
         until [ -e /run/enough ]; do i=$((i+1)); echo $i >&7 && echo $i >/run/progress && echo $i >over/$i && sync over/$i && mv over/$i over/done$i && rm over/done$i || exit 1; done; \
         exec 7>&- && [ \"$(tail -n 1 over/open)\" = $i ] && [ \"$(wc -l <over/open)\" = $i ] && [ \"$(ls over)\" = open ]"
    ))?;
    const GOES_ON: &str = "until [ -s /run/progress ]; do sleep 0.1; done; \
        n=$(cat /run/progress); until [ \"$(cat /run/progress)\" -gt $((n+10)) ]; do sleep 0.1; done";
    for _ in 0..3 {
        client.sh(GOES_ON, MINUTE * 2)?;
        server.kill9()?;
        server.start()?;
    }
    client.sh(&format!("{GOES_ON}; : >/run/enough"), MINUTE * 2)?;
    client.must(&writing, MINUTE * 3)?;
    Ok(())
}

const EXPORTS: &str = r#"
[[export]]
path = "/open"
clients = "10.99.0.0/24"
squash = "none"

[[export]]
path = "/squashed"
clients = "10.99.0.0/24"

[[export]]
path = "/read-only"
clients = "10.99.0.0/24"
access = "ro"
squash = "none"

[[export]]
path = "/others"
clients = "10.99.1.0/24"
squash = "none"
"#;

fn exports(lab: &mut Lab) -> Result<String> {
    let _split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports: EXPORTS.to_owned(),
            lease_seconds: 10,
            grace_seconds: 10,
            nfsv3: true,
            ..SplitOptions::default()
        },
    )?;
    let mut client = lab.client("a")?;
    for (export, script) in [
        (
            "/open",
            "mkdir d && [ $(stat -c %u d) = 0 ] && chown 1000:1000 d",
        ),
        (
            "/squashed",
            "! mkdir made 2>/dev/null && ! chown 7 . 2>/dev/null",
        ),
        (
            "/read-only",
            "ls >/dev/null && ! mkdir x 2>/run/err && grep -qi read-only /run/err",
        ),
    ] {
        mount_legacy(&mut client, &format!("10.99.0.1:{export}"), MOUNT)?;
        client.sh(&format!("cd {MOUNT} && {script}"), MINUTE)?;
        unmount(&mut client)?;
    }
    let refused = client.run(
        &format!("timeout 30 mount -t nfs -o {OPTIONS} 10.99.0.1:/others {MOUNT}"),
        MINUTE,
    )?;
    ensure!(
        !refused.succeeded() && refused.status != 124,
        "a client outside an export's list mounted it"
    );
    mount_legacy(&mut client, "10.99.0.1:/", MOUNT)?;
    let names = client.sh(&format!("ls {MOUNT} && ls -d {MOUNT}/open/d"), MINUTE)?;
    ensure!(
        names
            .split_whitespace()
            .take(3)
            .eq(["open", "read-only", "squashed"]),
        "the root shows: {names}"
    );
    unmount(&mut client)?;
    client.power_off()?;
    Ok("the rules of exports".to_owned())
}

/// An existing export is entered below the mount, as a file system of its own.
const BELOW: &str = r#"
set -e
cd /run/mnt/projects
[ "$(cat team/latest)" = "note 7" ]
[ "$(ls team | wc -l)" = 201 ]
grep -q " /run/mnt/projects nfs .*vers=3" /proc/mounts
setpriv --reuid 1001 --regid 1001 --clear-groups sh -c 'echo more >>team/note-7; mkdir team/new; echo x >team/new/f'
! setpriv --reuid 1002 --regid 1002 --clear-groups sh -c 'echo no >team/note-8' 2>/dev/null
! setpriv --reuid 1002 --regid 1002 --clear-groups cat large >/dev/null 2>&1
[ "$(stat -c %u:%g team/new/f)" = 1001:1001 ]
echo here >/run/mnt/here
! ln /run/mnt/here across 2>/dev/null
mv /run/mnt/here moved
[ "$(cat moved)" = here ]
cp large /run/mnt/copied && cmp large /run/mnt/copied && cp /run/mnt/copied back && cmp large back && rm back
ln moved linked && [ "$(stat -c %h linked)" = 2 ] && rm linked
df /run/mnt/projects >/dev/null
"#;

pub fn junction(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::start(lab)?;
    let mut split = beside_with(lab, &filer, true)?;
    let mut client = lab.client("b")?;
    mount_legacy(&mut client, "10.99.0.1:/", MOUNT)?;
    client.sh(BELOW, MINUTE * 3)?;
    unmount(&mut client)?;
    client.power_off()?;
    filer.still_runs()?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(vec![
        "an existing export below the mount".to_owned(),
    ]))
}
