//! How fast that is read which others keep: a filer's file straight from it, beside a plain mount of the filer; and an
//! object of a bucket at the data server that caches it, beside a file of that data server and beside the bucket.

use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use nfs_client::{Caller, Options, SourcePort};
use serde_json::{Value, json};
use wire::nfs3::{Fh3, StableHow};
use wire::nfs4::{Fh4, Layoutiomode4, Nfsstat4};

use super::{rate_in, seconds, tell};
use crate::harness::bytes::MIB;
use crate::harness::clock::say;
use crate::harness::far::{Far, Line};
use crate::harness::headrace::{self, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::net::{self, DS_PORT, MDS, MDS_PORT};
use crate::harness::seaweed::{S3Client, Seaweed};
use crate::scenarios::Verdict;
use crate::scenarios::bucket::{BUCKET, EXPORT_OF_ALL, Lake};
use crate::scenarios::junction::{Filer, LARGE_MIB, beside};
use interop_tests::nfs41::{Client, Failure, OpenFile};

/// Turn and turn about, so that what else the machine does falls on both.
const TURNS: usize = 3;

/// A file of NFS-Ganesha's through the namespace, and by NFSv3 from it.
pub fn filer(lab: &mut Lab) -> Result<Verdict> {
    let filer = Filer::start(lab)?;
    read_both_ways(lab, &filer)
}

/// As to a filer behind a line that a client fills with processor time left.
const FILERS_LINE: Line = Line {
    round_trip: Duration::from_millis(2),
    bytes_per_second: 200 * MIB,
};

/// The same, where the line is what bounds both.
pub fn filer_far(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::start(lab)?;
    let (near, far) = (filer.address, net::data_server(6));
    let way = |port| {
        let (listens, server) = (SocketAddrV4::new(far, port), SocketAddrV4::new(near, port));
        Far::start(listens, server, FILERS_LINE)
    };
    let _ways = [way(2049)?, way(20048)?];
    filer.address = far;
    read_both_ways(lab, &filer)
}

fn read_both_ways(lab: &mut Lab, filer: &Filer) -> Result<Verdict> {
    let _split = beside(lab, filer)?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    client.sh(&filer.plain_mount("/run/plain"), MINUTE)?;
    let seconds = seconds()?;
    let places = [
        (
            "a filer's file, through the namespace",
            format!("{MOUNT}/projects/large"),
        ),
        (
            "the same, by an NFSv3 mount of the filer",
            "/run/plain/large".to_owned(),
        ),
    ];
    let mut rates = [const { Vec::new() }; 2];
    for turn in 0..TURNS {
        for which in [turn % 2, (turn + 1) % 2] {
            let file = &places[which].1;
            let job = format!(
                "cd /run/home && {} fio --thread --output-format=json --name=job --filename={file} --rw=read --bs=1m --size={} --ioengine=libaio --direct=1 --iodepth=8 --time_based --ramp_time=300ms --runtime={seconds}",
                Filer::as_owner(),
                LARGE_MIB * MIB,
            );
            let limit = MINUTE + Duration::from_secs(seconds);
            rates[which].push(rate_in(&client.sh(&job, limit)?)?);
        }
    }
    let [through, plain] = rates;
    told(&[(places[0].0, through), (places[1].0, plain)])
}

const OBJECT_MIB: u64 = 128;
/// READs under way, each of 1 MiB: those of a stream, and those of many readers.
const STREAM: usize = 8;
const MANY: usize = 32;
/// GETs of the SDK under way, each of this many bytes.
const GETS: usize = 8;
const GET_BYTES: u64 = 8 * MIB;
/// Before asking for a layout again.
const LATER: Duration = Duration::from_millis(100);

/// A bucket that is cached, and what its objects are read by.
struct Cold {
    /// To the bucket by the same way as the data server.
    sdk: S3Client,
    object: Bytes,
    client: Client,
    runtime: tokio::runtime::Runtime,
    _split: Split,
    _s3: Seaweed,
}

impl Cold {
    /// `way`: where the data server and the SDK reach the bucket, once it is there.
    fn start(lab: &Lab, way: impl FnOnce(SocketAddrV4) -> Result<SocketAddrV4>) -> Result<Self> {
        let lake = Lake::start(lab, MDS)?;
        let object: Vec<u8> = (0..OBJECT_MIB * MIB / 8)
            .flat_map(|word| word.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        for turn in 0..TURNS {
            lake.s3.put(BUCKET, &format!("streamed-{turn}"), &object)?;
            lake.s3.put(BUCKET, &format!("gotten-{turn}"), &object)?;
        }
        let at = way(lake.s3.address())?;
        let split = headrace::split(
            &lab.headrace,
            &lab.state,
            &SplitOptions {
                own_data_servers: 1,
                exports: format!("{EXPORT_OF_ALL}{}", lake.tables()),
                // Nobody renews it while others are measured.
                lease_seconds: 300,
                grace_seconds: 300,
                cached: Seaweed::backend_at(at, "lake", BUCKET),
                environment: Seaweed::environment().to_vec(),
                ..SplitOptions::default()
            },
        )?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let mds = SocketAddr::V4(SocketAddrV4::new(MDS, MDS_PORT));
        let client = runtime.block_on(Client::mount(mds, "measure"))?;
        Ok(Self {
            sdk: S3Client::of(at)?,
            object: object.into(),
            client,
            runtime,
            _split: split,
            _s3: lake.s3,
        })
    }

    /// MiB a second of a stream, and of the SDK's GETs of an object like it; and the object that was read.
    fn turn(&self, lab: &Lab, turn: usize) -> Result<(f64, f64, Object)> {
        let key = format!("streamed-{turn}");
        let opened = self.runtime.block_on(opened(&self.client, "/lake", &key))?;
        let streamed = self.runtime.block_on(Object::of(&self.client, &opened))?;
        let stream = || -> Result<f64> { self.runtime.block_on(streamed.once(STREAM)) };
        let get = || -> Result<f64> {
            let key = format!("gotten-{turn}");
            let (bytes, time) = self.sdk.get_in_parts(BUCKET, &key, GETS, GET_BYTES)?;
            Ok(bytes as f64 / MIB as f64 / time.as_secs_f64())
        };
        memory_is_there(&lab.state)?;
        let (cold, gotten) = if turn.is_multiple_of(2) {
            (stream()?, get()?)
        } else {
            let gotten = get()?;
            (stream()?, gotten)
        };
        Ok((cold, gotten, streamed))
    }
}

const FIRST_TIME: &str = "an object read for the first time, as a stream";
const SDK_ALONE: &str = "the SDK alone, eight ranges at once";

/// An object that was never read there, one that was, a file of the data server's own; and the SDK alone.
pub fn bucket(lab: &mut Lab) -> Result<Verdict> {
    let cold = Cold::start(lab, Ok)?;
    let own = own_file(&cold.client, cold.object.clone());
    let own = cold.runtime.block_on(own)?;
    let (mut first, mut gotten, mut warm, mut plain) = (vec![], vec![], vec![], vec![]);
    let time = Duration::from_secs(seconds()?);
    for turn in 0..TURNS {
        let (stream, get, streamed) = cold.turn(lab, turn)?;
        first.push(stream);
        gotten.push(get);
        warm.push(cold.runtime.block_on(streamed.over(MANY, time))?);
        plain.push(cold.runtime.block_on(own.over(MANY, time))?);
    }
    told(&[
        (FIRST_TIME, first),
        (SDK_ALONE, gotten),
        ("an object that is cached", warm),
        ("a file of the data server's own", plain),
    ])
}

const FAR: SocketAddrV4 = SocketAddrV4::new(MDS, 8334);
/// As to a bucket in the same region.
const LINE: Line = Line {
    round_trip: Duration::from_millis(20),
    bytes_per_second: 200 * MIB,
};

/// What is read for the first time and the SDK alone, where the way to the bucket is what bounds both.
pub fn bucket_far(lab: &mut Lab) -> Result<Verdict> {
    let mut far = None;
    let cold = Cold::start(lab, |server| {
        let way = far.insert(Far::start(FAR, server, LINE)?);
        Ok(way.address())
    })?;
    let (mut first, mut gotten) = (vec![], vec![]);
    for turn in 0..TURNS {
        let (stream, get, _) = cold.turn(lab, turn)?;
        first.push(stream);
        gotten.push(get);
    }
    told(&[(FIRST_TIME, first), (SDK_ALONE, gotten)])
}

/// A virtual machine may get its memory from its host only as it touches it, at a tenth of the rate of a disk: what the
/// page cache will take for the next object was used a moment ago.
fn memory_is_there(folder: &Path) -> Result<()> {
    let (file, block) = (folder.join("touched"), vec![1; MIB as usize]);
    let mut touched = File::create(&file)?;
    for _ in 0..4 * OBJECT_MIB {
        touched.write_all(&block)?;
    }
    Ok(fs::remove_file(&file)?)
}

/// Medians, in MiB a second.
fn told(measured: &[(&str, Vec<f64>)]) -> Result<Verdict> {
    let (mut facts, mut list) = (Vec::new(), Vec::new());
    for (job, rates) in measured {
        let mut rates = rates.clone();
        rates.sort_by(f64::total_cmp);
        let median = rates[rates.len() / 2];
        let shown: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
        let fact = format!("{job}: {} MiB/s", shown.join(", "));
        say(&fact);
        facts.push(fact);
        list.push(json!({ "job": job, "clients": 1, "bytes": MIB, "per_second": median }));
    }
    tell(&Value::from(list))?;
    Ok(Verdict::Held(facts))
}

/// An object of a data server, as a layout shows it.
struct Object {
    server: nfs_client::Client,
    handle: Fh3,
}

impl Object {
    async fn of(client: &Client, file: &OpenFile) -> Result<Self> {
        Self::with(client, file, Layoutiomode4::Read).await
    }

    async fn with(client: &Client, file: &OpenFile, iomode: Layoutiomode4) -> Result<Self> {
        let layout = loop {
            match client.layoutget(&file.fh, file.stateid, iomode).await {
                Ok((_, layout)) => break layout,
                Err(Failure::Status {
                    status: Nfsstat4::Delay | Nfsstat4::Layoutunavailable | Nfsstat4::Grace,
                    ..
                }) => tokio::time::sleep(LATER).await,
                Err(other) => return Err(other.into()),
            }
        };
        let stripe = &layout.mirrors[0].data_servers[0];
        let number = |id: &Bytes| -> Result<u32> { Ok(std::str::from_utf8(id)?.parse()?) };
        let caller = Caller::sys(
            "measure",
            number(&stripe.user)?,
            number(&stripe.group)?,
            &[],
        );
        let options = Options {
            connections: NonZeroUsize::new(4).context("connections")?,
            in_flight_max: NonZeroUsize::new(MANY).context("a depth")?,
            source_port: SourcePort::Any,
            ..Options::default()
        };
        let address = SocketAddr::V4(SocketAddrV4::new(net::data_server(0), DS_PORT));
        Ok(Self {
            server: nfs_client::Client::new(address, caller, &options),
            handle: Fh3::new(stripe.fh_vers[0].clone()).context("a filehandle too long")?,
        })
    }

    /// From its beginning to its end, so many READs at a time: MiB a second.
    async fn once(&self, depth: usize) -> Result<f64> {
        self.read(depth, Some(OBJECT_MIB), Duration::MAX).await
    }

    /// Again and again.
    async fn over(&self, depth: usize, time: Duration) -> Result<f64> {
        self.read(depth, None, time).await
    }

    async fn read(&self, depth: usize, blocks: Option<u64>, time: Duration) -> Result<f64> {
        let (begun, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let readers: Vec<_> = (0..depth)
            .map(|_| {
                let (server, handle) = (self.server.clone(), self.handle.clone());
                let next = Arc::clone(&next);
                tokio::spawn(async move {
                    let mut bytes = 0;
                    while begun.elapsed() < time {
                        let block = next.fetch_add(1, Relaxed);
                        if blocks.is_some_and(|blocks| block >= blocks) {
                            break;
                        }
                        let offset = block % OBJECT_MIB * MIB;
                        let read = server.read(&handle, offset, MIB as u32).await?;
                        ensure!(read.data.len() as u64 == MIB, "{} read", read.data.len());
                        bytes += MIB;
                    }
                    Ok(bytes)
                })
            })
            .collect();
        let mut bytes = 0;
        for reader in readers {
            bytes += reader.await??;
        }
        Ok(bytes as f64 / MIB as f64 / begun.elapsed().as_secs_f64())
    }
}

async fn opened(client: &Client, folder: &str, name: &str) -> Result<OpenFile> {
    let folder: Fh4 = client.walk(folder).await?;
    Ok(client.open_to_read(&folder, name).await?)
}

/// A file of our own with these bytes.
async fn own_file(client: &Client, bytes: Bytes) -> Result<Object> {
    let root = client.root().await?;
    let file = client.open_create(&root, "own").await?;
    let object = Object::with(client, &file, Layoutiomode4::Rw).await?;
    for offset in (0..bytes.len()).step_by(MIB as usize) {
        let block = bytes.slice(offset..offset + MIB as usize);
        let how = StableHow::Unstable;
        object
            .server
            .write(&object.handle, offset as u64, how, block)
            .await?;
    }
    object.server.commit(&object.handle, 0, 0).await?;
    Ok(object)
}
