//! Who may do what: squashing, read-only exports, supplementary groups, clients outside the list; and clients that
//! go through the metadata server because they know no layouts.

use anyhow::{Result, ensure};

use super::Verdict;
use super::fio::Work;
use crate::harness::guest::Guest;
use crate::harness::headrace::{self, DemoOptions, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh, mount_from};

const EXPORTS: &str = r#"
[[export]]
path = "/open"
clients = "10.99.0.0/24"
squash = "none"

[[export]]
path = "/squashed"
clients = "10.99.0.0/24"

[[export]]
path = "/everybody"
clients = "10.99.0.0/24"
squash = "all"
anon_uid = 4000
anon_gid = 4001

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

pub fn exports(lab: &mut Lab) -> Result<Verdict> {
    let _split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports: EXPORTS.to_owned(),
            lease_seconds: 10,
            grace_seconds: 10,
            ..SplitOptions::default()
        },
    )?;
    let mut client = lab.client("a")?;
    on(&mut client, "/open", OPEN)?;
    on(&mut client, "/squashed", SQUASHED)?;
    on(&mut client, "/everybody", EVERYBODY)?;
    on(&mut client, "/read-only", READ_ONLY)?;
    let refused = client.run(
        &format!("timeout 30 mount -t nfs4 -o vers=4.2,retry=0 10.99.0.1:/others {MOUNT}"),
        MINUTE,
    )?;
    ensure!(
        !refused.succeeded() && refused.status != 124,
        "a client outside an export's list mounted it"
    );
    // The root shows the exports that this client may use, and nothing else.
    mount(&mut client, "vers=4.2")?;
    let names = client.sh(&format!("ls {MOUNT}"), MINUTE)?;
    ensure!(
        names
            .split_whitespace()
            .eq(["everybody", "open", "read-only", "squashed"]),
        "the root shows: {names}"
    );
    client.power_off()?;
    Ok(Verdict::Held(vec![
        "root and all squashed, read-only, by network, groups".to_owned(),
    ]))
}

const AS: &str = r#"
expect() { if ! eval "$1"; then echo "did not hold: $1" >&2; exit 1; fi; }
as() { id=$1; shift; setpriv --reuid $id --regid $id --clear-groups "$@"; }
as_member() { id=$1; groups=$2; shift 2; setpriv --reuid $id --regid $id --groups $groups "$@"; }
cd /run/mnt
"#;

const OPEN: &str = r#"
expect 'mkdir d && chmod 750 d && chown 1000:2000 d && echo secret >d/f && chmod 640 d/f && chown 1000:2000 d/f'
expect 'as 1000 cat d/f >/dev/null'
expect '! as 1001 ls d 2>/dev/null'
expect 'as_member 1001 2000 cat d/f >/dev/null'
expect 'as_member 1001 5,6,7,8,9,10,11,12,13,14,2000 ls d >/dev/null'
expect '! as_member 1001 2000 sh -c ": >>d/f" 2>/dev/null'
expect 'mkdir t && chmod 1777 t && as 1000 touch t/x && ! as 1001 rm -f t/x 2>/dev/null && as 1000 rm t/x'
expect '! as 1000 chown 1001 d/f 2>/dev/null && ! as 1001 chmod 777 d/f 2>/dev/null'
expect 'chmod 777 d && as 1000 cp /bin/true d/p && chmod 4777 d/p && as 1001 sh -c ": >>d/p; echo x >>d/p" && [ "$(stat -c %a d/p)" = 777 ]'
"#;

const SQUASHED: &str = r"
expect '! mkdir made 2>/dev/null || [ $(stat -c %u made) = 65534 ]'
expect '! chown 7 . 2>/dev/null'
";

const EVERYBODY: &str = r"
expect 'as 1000 ls . >/dev/null'
expect '! as 1000 touch f 2>/dev/null || [ $(stat -c %u:%g f) = 4000:4001 ]'
";

const READ_ONLY: &str = r"
expect 'ls >/dev/null'
expect '! mkdir x 2>/run/err && grep -qi read-only /run/err'
expect '! touch y 2>/dev/null'
";

fn on(client: &mut Guest, export: &str, script: &str) -> Result<()> {
    mount_from(client, &format!("10.99.0.1:{export}"), "vers=4.2")?;
    client.sh(&format!("{AS}{script}"), MINUTE)?;
    client.sh(&format!("umount {MOUNT}"), MINUTE)?;
    Ok(())
}

/// A client without the layout driver sees and writes the same bytes as one with it.
pub fn proxied(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let kernel = lab.kernel.clone();
    let other_kernel = lab.other_kernel();
    let mut plain = lab.boot("plain", &kernel, "nfsv4,nfsv3", 768)?;
    let mut direct = lab.client_with("direct", &other_kernel)?;
    mount(&mut plain, "vers=4.2")?;
    mount(&mut direct, "vers=4.2")?;
    let before = lab.net.traffic()?;
    for (name, block_kib, is_direct) in [("p-large", 1024, true), ("p-small", 4, false)] {
        let work = Work {
            name,
            block_kib,
            direct: is_direct,
            size_mib: 16,
            offset_mib: 0,
            seed: 31,
        };
        let file = format!("{MOUNT}/{name}");
        plain.sh(&work.write(&file), MINUTE * 3)?;
        mount_afresh(&mut direct, "vers=4.2")?;
        direct.sh(&work.verify(&file), MINUTE * 3)?;
        // The other way round, over what the first wrote.
        let work = Work { seed: 32, ..work };
        direct.sh(&work.write(&file), MINUTE * 3)?;
        mount_afresh(&mut plain, "vers=4.2")?;
        plain.sh(&work.verify(&file), MINUTE * 3)?;
    }
    let traffic = lab.net.traffic()?.since(&before);
    let beside = traffic.sum(|connection| {
        *connection.client.ip() == plain.address() && connection.server.port() != 2049
    });
    ensure!(
        beside.both_bytes() == 0,
        "a client without a layout driver talked to a data server"
    );
    // Appends from both, one after the other, must all be there.
    for round in 0..10 {
        let client = if round % 2 == 0 {
            &mut plain
        } else {
            &mut direct
        };
        client.sh(&format!("echo {round} >>{MOUNT}/log"), MINUTE)?;
    }
    let log = plain.sh(&format!("tr '\\n' ' ' <{MOUNT}/log"), MINUTE)?;
    ensure!(log.trim() == "0 1 2 3 4 5 6 7 8 9", "appended: {log}");
    Ok(Verdict::Held(vec![
        "proxied and direct clients on one file agree".to_owned(),
    ]))
}
