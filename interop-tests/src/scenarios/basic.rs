//! What a person does first: mount, look, make files of all kinds, unmount; by both minor versions.

use anyhow::{Context, Result, ensure};

use super::Verdict;
use crate::harness::guest::Guest;
use crate::harness::headrace::{DemoOptions, METRICS};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, unmount};
use crate::harness::metrics::Scrape;

/// What holds by any version, in a new folder `$V`. Each line is one expectation; the first that fails ends the script,
/// and its text is in the error.
pub const BY_ANY_VERSION: &str = r#"
set -e
expect() { if ! eval "$1"; then echo "did not hold: $1" >&2; exit 1; fi; }
cd /run/mnt; mkdir "$V"; cd "$V"
expect 'ls >/dev/null && stat . >/dev/null && [ -z "$(ls -A)" ] && [ "$(ls -a | wc -l)" = 2 ]'
expect 'echo hello >a && [ "$(cat a)" = hello ]'
expect 'ln a b && [ "$(stat -c %h a)" = 2 ] && rm a && [ "$(cat b)" = hello ] && [ "$(stat -c %h b)" = 1 ]'
expect 'mv b c && [ ! -e b ] && [ "$(cat c)" = hello ]'
expect 'echo other >d && mv -f d c && [ "$(cat c)" = other ]'
expect 'ln -s c s && [ "$(readlink s)" = c ] && [ "$(cat s)" = other ]'
expect 'mkfifo p && [ -p p ] && mknod n c 1 3 && [ -c n ] && [ "$(stat -c %t:%T n)" = 1:3 ]'
expect 'chmod 640 c && chown 1234:2345 c && [ "$(stat -c %a:%u:%g c)" = 640:1234:2345 ]'
expect 'mkdir g && chgrp 777 g && chmod 2775 g && touch g/x && mkdir g/y && [ "$(stat -c %g:%a g/y | cut -c1-5)" = 777:2 ] && [ "$(stat -c %g g/x)" = 777 ]'
expect 'mkdir k && chmod 1000 k && touch k/x && [ "$(ls k)" = x ] && chmod 1777 k && [ "$(stat -c %a k)" = 1777 ]'
expect 'touch -d "2001-02-03 04:05:06.123456789 UTC" c && [ "$(stat -c %.9Y c)" = 981173106.123456789 ]'
expect '! mkdir g 2>/dev/null && ! rmdir g 2>/dev/null && rm -r g && [ ! -e g ]'
long=$(printf "%0255d" 7)
expect 'echo x >$long && [ "$(cat $long)" = x ] && rm $long && ! touch ${long}8 2>/dev/null'
odd=$(printf "\377\376name")
expect 'echo y >"$odd" && [ "$(cat "$odd")" = y ] && ls | grep -qa name && rm "$odd"'
expect 'exec 7>u && echo before >&7 && rm u && echo after >&7 && exec 7>&- && [ ! -e u ]'
expect 'exec 7<>v && echo kept >&7 && rm v && [ "$(cat /proc/self/fd/7)" = kept ]; exec 7>&-'
expect '(umask 377; echo once >w) && [ "$(stat -c %a w)" = 400 ] && rm -f w'
expect 'printf 0123456789 >t && truncate -s 4 t && [ "$(cat t)" = 0123 ] && truncate -s 8 t && [ "$(od -An -tx1 t | tr -d " ")" = 3031323300000000 ]'
expect 'printf x >>t && [ "$(stat -c %s t)" = 9 ]'
expect 'set -C; ! echo no >t 2>/dev/null; echo new >only && [ "$(cat only)" = new ]; set +C'
expect 'dd if=/dev/urandom of=r bs=1M count=20 status=none && cp r r2 && cmp r r2 && rm r r2'
expect 'dd if=/etc/passwd of=far bs=4k seek=1310720 conv=notrunc status=none && [ "$(stat -c %s far)" -gt 5368709120 ] && dd if=far bs=4k skip=1310720 status=none | cmp - /etc/passwd && rm far'
expect 'truncate -s 8T sparse && printf end | dd of=sparse bs=1 seek=8796093022205 conv=notrunc status=none && [ "$(tail -c 3 sparse)" = end ] && [ "$(head -c 4096 sparse | tr -d "\0" | wc -c)" = 0 ]'
expect 'i=0; while [ $i -lt 500 ]; do : >many$i; i=$((i+1)); done; [ "$(ls | grep -c many)" = 500 ] && [ "$(ls -l | grep -c many)" = 500 ] && rm many*'
expect 'df -k . | tail -1 | grep -q "[1-9]" && df -i . >/dev/null && [ "$(stat -f -c %l .)" -ge 255 ]'
expect 'cp -a /etc/passwd kept && cmp /etc/passwd kept && sync kept'
expect '[ "$(du -k sparse | cut -f1)" -lt 1024 ] && rm sparse'
alice() { setpriv --reuid=1001 --regid=1001 --clear-groups "$@" 2>/dev/null; }
"#;

/// What holds by NFSv4 besides.
const BY_NFS4: &str = r#"
expect 'echo listed >l && chmod 600 l && ! alice cat l && nfs4_getfacl l | grep -q "^A::OWNER@:rw"'
expect 'nfs4_setfacl -a A::1001:R l && nfs4_getfacl l | grep -q "^A::1001:r" && [ "$(alice cat l)" = listed ] && ! alice sh -c "echo more >>l"'
expect 'chmod 600 l && ! alice cat l && chmod 640 l && [ "$(alice cat l)" = listed ] && [ "$(stat -c %a l)" = 640 ]'
expect 'mkdir h && nfs4_setfacl -a A:fd:1001:RX h && (umask 027; echo heir >h/f) && [ "$(alice cat h/f)" = heir ] && [ "$(stat -c %a h/f)" = 640 ]'
expect 'mkdir h/d && (umask 077; echo deep >h/d/f; umask 022; echo shut >h/d/g; chmod 600 h/d/g) && ! alice cat h/d/g'
if [ "$V" = v4.2 ]; then
expect '[ "$(alice cat h/d/f)" = deep ] && [ "$(stat -c %a h/d/f)" = 600 ]'
expect 'setfattr -n user.color -v blue l && [ "$(getfattr --only-values -n user.color l)" = blue ] && setfattr -n user.color -v red l'
expect 'head -c 65536 /dev/zero | tr "\0" x >big && setfattr -n user.big -v "$(head -c 60000 big)" l && [ "$(getfattr --only-values -n user.big l | wc -c)" = 60000 ]'
expect 'i=0; while [ $i -lt 100 ]; do setfattr -n user.many$i -v $i h; i=$((i+1)); done; [ "$(getfattr h | grep -c user.many)" = 100 ]'
expect 'setfattr -x user.color l && ! getfattr -n user.color l 2>/dev/null && cp -a l l2 && [ "$(getfattr --only-values -n user.big l2 | wc -c)" = 60000 ]'
expect '! alice setfattr -n user.no -v x l && ! alice getfattr -n user.big h/d/g'
fi
expect 'rm -r h l'
"#;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let server = lab.demo(DemoOptions::default())?;
    let mut client = lab.client("a")?;
    let mut facts = Vec::new();
    for version in ["4.1", "4.2"] {
        mount(&mut client, &format!("vers={version}"))?;
        client.sh(
            &format!("V=v{version}\n{BY_ANY_VERSION}{BY_NFS4}"),
            MINUTE * 3,
        )?;
        unmount(&mut client)?;
        no_clientid_was_busy()?;
        facts.push(format!("{version} unmounted at once"));
        mount(&mut client, &format!("vers={version}"))?;
        client.sh(&format!("cmp /etc/passwd {MOUNT}/v{version}/kept"), MINUTE)?;
        unmount(&mut client)?;
    }
    locks_hold_between_clients(lab, &mut client)?;
    older_versions_are_refused(&mut client)?;
    ensure!(
        client.warnings().is_empty(),
        "the client's kernel warned: {}",
        client.warnings().join("; ")
    );
    client.power_off()?;
    let mut server = server;
    server
        .stop(MINUTE)
        .context("SIGTERM drains and ends with status 0")?;
    Ok(Verdict::Held(facts))
}

/// Fact 25: a DESTROY_CLIENTID that is answered CLIENTID_BUSY costs an unmount ten seconds.
fn no_clientid_was_busy() -> Result<()> {
    let scrape = Scrape::of(METRICS)?;
    let destroy = "operation=\"DESTROY_CLIENTID\"";
    let asked = scrape.sum("headrace_operations_total", &[destroy]);
    let refused = scrape.sum("headrace_operation_errors_total", &[destroy]);
    ensure!(asked > 0.0, "the unmount sent no DESTROY_CLIENTID");
    ensure!(
        refused == 0.0,
        "{refused} of {asked} DESTROY_CLIENTIDs were refused"
    );
    Ok(())
}

fn locks_hold_between_clients(lab: &mut Lab, client: &mut Guest) -> Result<()> {
    let mut other = lab.client_with("b", &lab.other_kernel())?;
    mount(client, "vers=4.2")?;
    mount(&mut other, "vers=4.2")?;
    let script = format!(
        "exec 9<>{MOUNT}/locked; flock 9; : >/run/have; until [ -e /run/enough ]; do sleep 0.1; done"
    );
    let holder = client.spawn(&format!(": >{MOUNT}/locked; {script}"))?;
    client.sh("until [ -e /run/have ]; do sleep 0.1; done", MINUTE)?;
    let refused = other.run(&format!("flock -n {MOUNT}/locked true"), MINUTE)?;
    ensure!(
        !refused.succeeded(),
        "two clients held one lock at the same time"
    );
    client.sh(": >/run/enough", MINUTE)?;
    client.must(&holder, MINUTE)?;
    other.sh(&format!("flock {MOUNT}/locked true"), MINUTE)?;
    under_a_lock_nothing_comes_from_a_cache(client, &mut other)?;
    unmount(client)?;
    unmount(&mut other)?;
    other.power_off()
}

/// A file that both have open all the while, and that one has read already: taking the lock drops what it read.
fn under_a_lock_nothing_comes_from_a_cache(writer: &mut Guest, reader: &mut Guest) -> Result<()> {
    writer.sh(
        &format!("printf one >{MOUNT}/shared; rm -f /run/read"),
        MINUTE,
    )?;
    let reading = reader.spawn(&format!(
        "rm -f /run/written; exec 7<{MOUNT}/shared 8<>{MOUNT}/shared; head -c 3 <&7; : >/run/read; \
         until [ -e /run/written ]; do sleep 0.1; done; flock 8; head -c 3 <&8"
    ))?;
    reader.sh("until [ -e /run/read ]; do sleep 0.1; done", MINUTE)?;
    writer.sh(
        &format!("exec 9<>{MOUNT}/shared; flock 9; printf two >&9; flock -u 9"),
        MINUTE,
    )?;
    reader.sh(": >/run/written", MINUTE)?;
    let read = reader.must(&reading, MINUTE)?;
    ensure!(read == "onetwo", "read {read:?} before and under a lock");
    Ok(())
}

fn older_versions_are_refused(client: &mut Guest) -> Result<()> {
    for options in [
        "vers=4.0,retry=0",
        "vers=3,nolock,proto=tcp,retry=0,mountport=2049,mountproto=tcp",
    ] {
        let refused = client.run(
            &format!("timeout 30 mount -t nfs -o {options} 10.99.0.1:/ {MOUNT}"),
            MINUTE,
        )?;
        ensure!(
            !refused.succeeded() && refused.status != 124,
            "a mount with {options} was not refused: status {}",
            refused.status
        );
    }
    Ok(())
}
