//! What others keep, in the demo's mount: the export of a filer and a bucket, both with files that were there before;
//! and the table that says which way the bytes of each came.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use super::{Served, Speed};
use crate::harness::bytes::{MIB, human};
use crate::harness::client::Client;
use crate::harness::command;
use crate::harness::headrace::data_server_metrics;
use crate::harness::lab::{Lab, MINUTE, MOUNT};
use crate::harness::metrics::Scrape;
use crate::harness::net::{self, Traffic};
use crate::scenarios::bucket::{BUCKET, Lake};
use crate::scenarios::junction::{Filer, LARGE_MIB};

/// The bucket's place on the network, beside the data servers and the filer.
const S3: u8 = 6;
const OBJECT_BYTES: u64 = 64 * MIB;
/// A share of the bytes of an object at its data server less than this is a failure.
const LEAST_CACHED: f64 = 0.99;

pub struct Elsewhere {
    filer: Filer,
    pub lake: Lake,
    /// SHA-256 of what another client put into the bucket, in hexadecimal digits.
    sum: String,
}

/// Which way the bytes of some files went.
#[derive(Clone, Debug, Default)]
pub struct Way {
    path: &'static str,
    keeper: &'static str,
    direct_bytes: u64,
    cache_bytes: u64,
    proxy_bytes: u64,
}

pub struct Shown {
    pub ways: Vec<Way>,
    /// For the end of the demo's table.
    pub said: Vec<String>,
}

impl Elsewhere {
    pub fn start(lab: &Lab) -> Result<Self> {
        let filer = Filer::start(lab)?;
        let lake = Lake::start(lab, net::data_server(S3))?;
        let object = lab.state.join("object");
        command::run(
            "dd",
            &[
                "if=/dev/urandom",
                &format!("of={}", object.display()),
                "bs=1M",
                &format!("count={}", OBJECT_BYTES / MIB),
            ],
        )?;
        let sum = command::run("sha256sum", &[&object.display().to_string()])?;
        let bytes = fs::read(&object).context("reading what the bucket is to hold")?;
        lake.s3.put(BUCKET, "run-17/shard-0", &bytes)?;
        lake.s3.put(BUCKET, "run-17/README", b"kept since 2019\n")?;
        Ok(Self {
            filer,
            lake,
            sum: sum.split(' ').next().context("a sum")?.to_owned(),
        })
    }

    pub fn exports(&self) -> String {
        format!("{}\n{}", self.filer.exports(), self.lake.tables())
    }

    /// Each client reads what the filer and the bucket had before, byte for byte; one leaves a file in the bucket,
    /// and another client of that finds it.
    pub fn read(
        &mut self,
        lab: &Lab,
        native: bool,
        clients: &mut [(Box<dyn Client>, Ipv4Addr)],
    ) -> Result<Shown> {
        let before = Counted::now(lab)?;
        for (client, address) in clients.iter_mut() {
            client.sh(
                &format!("[ \"$(cat {MOUNT}/projects/team/latest)\" = 'note 7' ]"),
                MINUTE,
            )?;
            // The bytes of one machine with itself aren't counted.
            if native {
                self.filer.read(client.as_mut(), "large")?;
            } else {
                self.filer
                    .read_directly(lab, (client.as_mut(), *address), "large")?;
            }
        }
        let between = Counted::now(lab)?;
        for (client, _) in clients.iter_mut() {
            let sum = client.sh(
                &format!(
                    "[ \"$(cat {MOUNT}/lake/run-17/README)\" = 'kept since 2019' ] && echo 3 >/proc/sys/vm/drop_caches && sha256sum {MOUNT}/lake/run-17/shard-0"
                ),
                MINUTE,
            )?;
            ensure!(
                sum.starts_with(&self.sum),
                "Linux {} read other bytes of the bucket",
                client.release()
            );
        }
        let after = Counted::now(lab)?;
        clients[0].0.sh(
            &format!("echo 'seen by Headrace' >{MOUNT}/lake/run-17/NOTE"),
            MINUTE,
        )?;
        ensure!(
            self.lake.s3.get(BUCKET, "run-17/NOTE")? == b"seen by Headrace\n",
            "another client of the bucket doesn't find what was written there"
        );
        self.filer.still_runs()?;
        self.lake.s3.still_runs()?;
        let readers = clients.len() as u64;
        let filer = Way {
            path: "/projects",
            keeper: "an export of NFS-Ganesha",
            ..between.since(&before, native, readers * LARGE_MIB * MIB)
        };
        let lake = Way {
            path: "/lake",
            keeper: "a bucket of SeaweedFS",
            ..after.since(&between, native, readers * OBJECT_BYTES)
        };
        let cached = lake.cache_bytes as f64 / (lake.cache_bytes + lake.proxy_bytes) as f64;
        ensure!(
            lake.cache_bytes >= readers * OBJECT_BYTES && cached >= LEAST_CACHED,
            "of the bucket's object {} were read at the data server that caches it, and {} passed the metadata server",
            human(lake.cache_bytes),
            human(lake.proxy_bytes)
        );
        let fetched = Scrape::of(data_server_metrics(0))?
            .sum("headrace_cache_fetched_bytes_total", &[]) as u64;
        Ok(Shown {
            ways: vec![filer, lake],
            said: vec![
                format!(
                    "existing export  {} of NFS-Ganesha's read at /projects by each client, byte for byte",
                    human(LARGE_MIB * MIB)
                ),
                format!(
                    "bucket           {} put by another client read at /lake by each client, byte for byte; {} fetched for all; a file written there is in the bucket",
                    human(OBJECT_BYTES),
                    human(fetched)
                ),
            ],
        })
    }
}

/// Bytes so far, on the network and as the servers count them.
struct Counted {
    traffic: Traffic,
    served: Served,
    cached_bytes: f64,
}

impl Counted {
    fn now(lab: &Lab) -> Result<Self> {
        Ok(Self {
            traffic: lab.net.traffic()?,
            served: Served::now()?,
            cached_bytes: Scrape::of(data_server_metrics(0))?
                .sum("headrace_cache_read_bytes_total", &[]),
        })
    }

    /// What was added while `bytes` of files were read. Of the network where clients are machines of their own; else
    /// what the servers counted, and the rest came from a server that isn't ours.
    fn since(&self, earlier: &Self, native: bool, bytes: u64) -> Way {
        if native {
            let cache_bytes = (self.cached_bytes - earlier.cached_bytes) as u64;
            let proxy_bytes = self.served.since(&earlier.served).proxied_bytes as u64;
            return Way {
                direct_bytes: bytes.saturating_sub(cache_bytes + proxy_bytes),
                cache_bytes,
                proxy_bytes,
                ..Way::default()
            };
        }
        let moved = self.traffic.since(&earlier.traffic);
        let all = moved.sum(|_| true).both_bytes();
        let cache_bytes = moved
            .sum(|c| *c.server.ip() == net::data_server(0))
            .both_bytes();
        let proxy_bytes = moved.to_mds().both_bytes();
        Way {
            direct_bytes: all - cache_bytes - proxy_bytes,
            cache_bytes,
            proxy_bytes,
            ..Way::default()
        }
    }
}

impl Way {
    /// Of the files that our own data servers keep.
    pub fn of_own_files(speed: &Speed, native: bool) -> Self {
        let (direct_bytes, proxy_bytes) = if native {
            let served = &speed.served;
            (served.direct_bytes as u64, served.proxied_bytes as u64)
        } else {
            let mds = speed.traffic.to_mds().both_bytes();
            (speed.traffic.sum(|_| true).both_bytes() - mds, mds)
        };
        Self {
            path: "/",
            keeper: "three data servers",
            direct_bytes,
            cache_bytes: 0,
            proxy_bytes,
        }
    }
}

pub fn print_ways(ways: &[Way], native: bool) {
    println!();
    println!(
        "  {:10} {:26} {:>12} {:>12} {:>12}",
        "files at", "that are kept by", "direct", "cache", "proxy"
    );
    for way in ways {
        println!(
            "  {:10} {:26} {:>12} {:>12} {:>12}",
            way.path,
            way.keeper,
            human(way.direct_bytes),
            human(way.cache_bytes),
            human(way.proxy_bytes)
        );
    }
    println!(
        "  (direct: between client and keeper; cache: at the data server that caches the bucket; proxy: through the metadata server{})",
        if native {
            ""
        } else {
            ", with its own messages"
        }
    );
    println!();
}
