//! A bucket of SeaweedFS with an object that another client put there, shown in the mount and cached by a data
//! server: read, changed, and overwritten while it is open.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::Verdict;
use crate::harness::headrace::{self, SplitOptions, data_server_metrics};
use crate::harness::lab::{Lab, MINUTE, mount};
use crate::harness::metrics::Scrape;
use crate::harness::net;
use crate::harness::seaweed::Seaweed;

pub const BUCKET: &str = "lake";

pub const EXPORT_OF_ALL: &str =
    "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n";

/// SeaweedFS with a bucket that appears at `/lake`, and that data server 0 caches.
pub struct Lake {
    pub s3: Seaweed,
}

impl Lake {
    pub fn start(lab: &Lab, address: Ipv4Addr) -> Result<Self> {
        let s3 = Seaweed::start(&lab.cache, &lab.state, address, BUCKET)?;
        Ok(Self { s3 })
    }

    /// What the data server's file says of it.
    pub fn cached(&self) -> String {
        self.s3.backend("lake", BUCKET)
    }

    /// What the metadata server's file says of it.
    pub fn tables(&self) -> String {
        format!(
            "{}cache = \"ds0\"\n\n[[junction]]\npath = \"/lake\"\nbackend = \"lake\"\n",
            self.cached()
        )
    }
}

const WORK: &str = r#"
set -e
cd /run/mnt/lake
[ "$(cat there/before.txt)" = "put by another" ]
echo mine >f
[ "$(cat f)" = mine ]
mkdir folder
dd if=/dev/urandom of=folder/large bs=1M count=20 conv=fsync 2>/dev/null
sha256sum folder/large >/run/large.sum
mv folder/large folder/moved
echo more >>f
chmod 600 f
[ "$(stat -c %a f)" = 600 ]
ln -s f link && [ "$(cat link)" = "$(cat f)" ]
mkdir headers
for i in $(seq 50); do echo "file $i" >headers/$i; done
[ "$(ls headers | wc -l)" = 50 ]
rsync -a headers/ synced && diff -r headers synced && [ -z "$(rsync -ain headers/ synced)" ]
echo changed >headers/7 && rsync -a --delete headers/ synced && [ "$(cat synced/7)" = changed ] && rm -r synced
echo 3 >/proc/sys/vm/drop_caches
[ "$(sha256sum <folder/moved)" = "$(sed 's/ .*/  -/' /run/large.sum)" ]
[ "$(cat f)" = "mine
more" ]
truncate -s 3 f && [ "$(cat f)" = min ]
rm -r headers
# The markers of SeaweedFS keep nothing.
mkdir -m 750 made && chown 5:6 made && setfattr -n user.color -v blue made && touch -d 2001-01-01 made && mv made kept
[ "$(stat -c %a:%u:%g:%Y kept)" = 750:5:6:978307200 ] && [ "$(getfattr --only-values -n user.color kept)" = blue ]
rmdir kept
mv /run/mnt/lake/folder /run/mnt/lake/elsewhere
[ "$(sha256sum <elsewhere/moved)" = "$(sed 's/ .*/  -/' /run/large.sum)" ]
"#;

/// Twice without the client's own cache.
const READ_TWICE: &str = r#"
set -e
cd /run/mnt/lake
for i in 1 2; do
  echo 3 >/proc/sys/vm/drop_caches
  [ "$(sha256sum <elsewhere/moved)" = "$(sed 's/ .*/  -/' /run/large.sum)" ]
done
"#;

/// Another version, while the first one is open.
const OVERWRITE: &str = r"
set -e
cd /run/mnt/lake
exec 7<elsewhere/moved
head -c 4096 <&7 >/dev/null
dd if=/dev/urandom of=/run/new bs=1M count=20 2>/dev/null
cat /run/new >elsewhere/moved
exec 7<&-
echo 3 >/proc/sys/vm/drop_caches
cmp /run/new elsewhere/moved
";

const MIB: f64 = 1048576.0;
const LARGE_BYTES: f64 = 20.0 * MIB;

/// What a data server counts of its cache, in bytes.
#[derive(Default)]
struct Cached {
    read: f64,
    fetched: f64,
}

impl Cached {
    fn now() -> Result<Self> {
        let counted = Scrape::of(data_server_metrics(0))?;
        Ok(Self {
            read: counted.sum("headrace_cache_read_bytes_total", &[]),
            fetched: counted.sum("headrace_cache_fetched_bytes_total", &[]),
        })
    }

    /// Read and fetched.
    fn since(&self, before: &Self) -> (f64, f64) {
        (self.read - before.read, self.fetched - before.fetched)
    }
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut lake = Lake::start(lab, net::MDS)?;
    lake.s3
        .put(BUCKET, "there/before.txt", b"put by another\n")?;
    let mut split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports: format!("{EXPORT_OF_ALL}{}", lake.tables()),
            lease_seconds: 10,
            grace_seconds: 10,
            cached: lake.cached(),
            environment: Seaweed::environment().to_vec(),
            ..SplitOptions::default()
        },
    )?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    client.sh(WORK, MINUTE * 5)?;
    // How often that has read there depends on what the client's own cache kept.
    let before = Cached::now()?;
    client.sh(READ_TWICE, MINUTE * 5)?;
    let (read, fetched) = Cached::now()?.since(&before);
    ensure!(
        read >= 2.0 * LARGE_BYTES && fetched < 1.1 * LARGE_BYTES,
        "read twice, {read} bytes were read at the data server, and {fetched} fetched for it"
    );
    let before = Cached::now()?;
    client.sh(OVERWRITE, MINUTE * 5)?;
    let (read, fetched) = Cached::now()?.since(&before);
    ensure!(
        read >= LARGE_BYTES && fetched < 1.1 * LARGE_BYTES,
        "of another version {read} bytes were read at the data server, and {fetched} fetched for it"
    );
    let (read, fetched) = Cached::now()?.since(&Cached::default());
    ensure!(
        lake.s3.get(BUCKET, "f")? == b"min",
        "another client of the bucket sees other bytes"
    );
    lake.s3.still_runs()?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(vec![
        "read, written, renamed and removed in a bucket that was there".to_owned(),
        format!(
            "{:.0} MiB read at the data server, {:.0} MiB fetched for it",
            read / MIB,
            fetched / MIB
        ),
    ]))
}
