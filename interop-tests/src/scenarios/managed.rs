//! A bucket of SeaweedFS that holds the files of a folder: they are files as all others, over a death of the server,
//! and their keys go with them.

use anyhow::{Result, ensure};

use super::Verdict;
use super::basic::BY_ANY_VERSION;
use super::bucket::{BUCKET, EXPORT_OF_ALL};
use super::junction::is_apart;
use super::legacy::mount_legacy;
use super::suites::{EXPECTED, run_fsx_short, run_some_of_pjdfstest};
use crate::harness::clock::{self, say};
use crate::harness::headrace::{self, METRICS, Split, SplitOptions, data_server_metrics};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh, mount_from, unmount};
use crate::harness::metrics::Scrape;
use crate::harness::net;
use crate::harness::seaweed::Seaweed;

/// What the keys begin with: the harness's own first one is beside it.
const PREFIX: &str = "files/";
/// Of fsx, each pattern: after each sync SeaweedFS has another copy of the file.
const OPERATIONS: u32 = 200;

/// All cases of pjdfstest but `open::interact_2gb`: its file of 2 GiB, nearly all of it a hole, goes up as zeros, and
/// this SeaweedFS has no room for it.
const CASES: &str = "chmod:: chown:: ftruncate:: link:: mkdir:: mkfifo:: mknod:: posix_fallocate:: rename:: rmdir:: \
                     symlink:: truncate:: unlink:: utimensat:: open::c open::e open::f open::o open::p open::s open::u";

struct Lake {
    s3: Seaweed,
    split: Split,
}

impl Lake {
    fn start(lab: &Lab) -> Result<Self> {
        let s3 = Seaweed::start(&lab.cache, &lab.state, net::MDS, BUCKET)?;
        let cached = s3.backend("lake", BUCKET);
        let tables = format!(
            "{cached}mode = \"managed\"\nprefix = \"{PREFIX}\"\ncache = \"ds0\"\n\n\
             [[junction]]\npath = \"/lake\"\nbackend = \"lake\"\n",
        );
        let split = headrace::split(
            &lab.headrace,
            &lab.state,
            &SplitOptions {
                own_data_servers: 1,
                exports: format!("{EXPORT_OF_ALL}{tables}"),
                lease_seconds: 10,
                grace_seconds: 10,
                cached,
                nfsv3: true,
                environment: Seaweed::environment().to_vec(),
                ..SplitOptions::default()
            },
        )?;
        is_up()?;
        Ok(Self { s3, split })
    }

    /// Keys of objects: those whose names begin with a point are marks.
    fn objects(&self) -> Result<Vec<(String, u64)>> {
        let keys = self.s3.keys(BUCKET)?.into_iter();
        let of_objects = keys.filter(|(key, _)| {
            let key = key.strip_prefix(PREFIX);
            key.is_some_and(|key| !key.starts_with('.'))
        });
        Ok(of_objects.collect())
    }

    fn is_empty(&self) -> Result<()> {
        clock::wait_for("a bucket without objects", MINUTE, || {
            Ok(self.objects()?.is_empty().then_some(()))
        })
    }

    fn still_run(&mut self) -> Result<()> {
        self.s3.still_runs()?;
        self.split.mds.still_runs()
    }
}

pub fn is_up() -> Result<()> {
    clock::wait_for("the bucket's state", MINUTE, || {
        let up = Scrape::of(METRICS)?.sum("headrace_managed_state", &["state=\"up\""]);
        Ok((up > 0.0).then_some(()))
    })
}

/// What a bucket would have to be sent zeros for is left out.
fn basic() -> String {
    let costly = |line: &&str| line.contains("sparse") || line.contains("far");
    let lines = BY_ANY_VERSION.lines().filter(|line| !costly(line));
    let lines: Vec<&str> = lines.collect();
    format!("V=lake/basic\n{}\n", lines.join("\n"))
}

const ACROSS: &str = r#"
set -e
cd /run/mnt
where() { getfattr --only-values -n user.headrace.backend "$1"; }
mkdir lake/one lake/two outside
dd if=/dev/urandom of=lake/one/large bs=1M count=40 conv=fsync 2>/dev/null
dd if=/dev/urandom of=outside/brought bs=1M count=8 conv=fsync 2>/dev/null
sha256sum <lake/one/large >/run/large; sha256sum <outside/brought >/run/brought
[ "$(where lake/one/large)" = lake ] && [ "$(where outside/brought)" = ds0 ] && [ "$(where lake/two)" = lake ]
mv lake/one/large lake/two/moved && ln lake/two/moved lake/one/name && rm lake/two/moved
# Another file system: what is moved there is copied.
mv outside/brought lake/two/brought && [ "$(where lake/two/brought)" = lake ]
cp lake/one/name outside/copy && [ "$(where outside/copy)" = ds0 ] && cmp lake/one/name outside/copy
cp --reflink=auto outside/copy lake/two/copy && [ "$(where lake/two/copy)" = lake ]
cmp outside/copy lake/two/copy
for i in $(seq 100); do echo "file $i" >lake/one/$i; done
echo more >>lake/one/7 && truncate -s 3 lake/one/8
setfattr -n user.color -v blue lake/one/9 && chmod 640 lake/one/9 && chown 1234:2345 lake/one/9
flock lake/one/9 true
sync
"#;

/// What `df` shows of a bucket.
const BUCKET_KIB: u64 = 1 << 50;

/// Bytes of the largest file in the bucket.
const LARGE_BYTES: f64 = (40 << 20) as f64;

fn read_at_the_cache() -> Result<f64> {
    Ok(Scrape::of(data_server_metrics(0))?.sum("headrace_cache_read_bytes_total", &[]))
}

const THERE: &str = r#"
set -e
cd /run/mnt
[ "$(sha256sum <lake/one/name)" = "$(cat /run/shared/large)" ]
[ "$(sha256sum <lake/two/copy)" = "$(cat /run/shared/large)" ]
[ "$(sha256sum <lake/two/brought)" = "$(cat /run/shared/brought)" ]
for i in $(seq 10 100); do [ "$(cat lake/one/$i)" = "file $i" ]; done
[ "$(cat lake/one/7)" = "file 7
more" ] && [ "$(cat lake/one/8)" = fil ]
[ "$(stat -c %a:%u:%g lake/one/9)" = 640:1234:2345 ]
[ "$(getfattr --only-values -n user.color lake/one/9)" = blue ]
"#;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut lake = Lake::start(lab)?;
    let (mut a, mut b) = lab.two_mounted()?;
    a.sh(&basic(), MINUTE * 3)?;
    a.sh(ACROSS, MINUTE * 3)?;
    for client in [&mut a, &mut b] {
        is_apart(client, "lake", BUCKET_KIB)?;
    }
    for sum in ["large", "brought"] {
        let text = a.sh(&format!("cat /run/{sum}"), MINUTE)?;
        std::fs::write(b.shared().join(sum), &text)?;
        std::fs::write(a.shared().join(sum), &text)?;
    }
    let before = read_at_the_cache()?;
    b.sh(THERE, MINUTE * 2)?;
    let cached = read_at_the_cache()? - before;
    ensure!(
        cached >= LARGE_BYTES,
        "only {cached} bytes were read at the data server that caches the bucket"
    );
    let held = lake.objects()?;
    ensure!(held.len() > 100, "{} keys hold over 100 files", held.len());
    // What was acknowledged as durable is in the bucket, or sent there after the server's end.
    let copies = b.spawn(&format!(
        "cp -r {MOUNT}/lake/one {MOUNT}/lake/again && sync"
    ))?;
    lake.split.mds.kill9()?;
    lake.split.mds.start()?;
    is_up()?;
    b.must(&copies, MINUTE * 2)?;
    for client in [&mut a, &mut b] {
        mount_afresh(client, "vers=4.2")?;
        client.sh(THERE, MINUTE * 2)?;
    }
    a.sh(
        &format!("diff -r {MOUNT}/lake/one {MOUNT}/lake/again"),
        MINUTE,
    )?;
    say("the same bytes by both clients after the server's death");
    a.sh(&format!("rm -r {MOUNT}/lake/* {MOUNT}/outside"), MINUTE)?;
    lake.is_empty()?;
    unmount(&mut a)?;
    mount_legacy(&mut a, "10.99.0.1:/", MOUNT)?;
    is_apart(&mut a, "lake", BUCKET_KIB)?;
    lake.is_empty()?;
    unmount(&mut a)?;
    mount_from(&mut a, "10.99.0.1:/lake", "vers=4.2")?;
    run_fsx_short(&mut a, OPERATIONS)?;
    lake.still_run()?;
    Ok(Verdict::Held(vec![
        format!("{} files in as many keys, which went with them", held.len()),
        format!("{cached} bytes read at the data server that caches the bucket"),
        format!("fsx, 3 × {OPERATIONS} operations"),
    ]))
}

/// The suites of POSIX in a folder of such files.
pub fn suites(lab: &mut Lab) -> Result<Verdict> {
    let mut lake = Lake::start(lab)?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    unmount(&mut client)?;
    mount_from(&mut client, "10.99.0.1:/lake", "vers=4.2")?;
    let verdict = run_some_of_pjdfstest(lab, &mut client, EXPECTED, CASES)?;
    run_fsx_short(&mut client, OPERATIONS)?;
    lake.still_run()?;
    Ok(verdict)
}
