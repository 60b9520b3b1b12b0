//! Measures a data server over loopback: throughput of 1 MiB and 4 KiB reads and writes, for each
//! engine. `cargo run --release -p ds --example load -- <folder>`

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ds::{Config, EngineChoice, Server};
use nfs_client::{Caller, Client, Options, SourcePort};
use wire::nfs3::*;

const OBJECTS: u64 = 4;
const OBJECT_BYTES: u64 = 64 << 20;
const SPAN: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

fn main() {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    for engine in [EngineChoice::IoUring, EngineChoice::Threads] {
        let dir = tempfile::tempdir_in(&folder).expect("a folder");
        let mut config = Config::new(dir.path());
        config.engine = engine;
        runtime.block_on(measure(config));
    }
}

async fn measure(config: Config) {
    let engine = config.engine;
    let server = Server::start(config).expect("the data server starts");
    let address = server.addresses()[0];
    let options = Options {
        connections: NonZeroUsize::new(4).expect("4 is not 0"),
        in_flight_max: NonZeroUsize::new(1024).expect("1024 is not 0"),
        source_port: SourcePort::Any,
        ..Options::default()
    };
    let mds = Client::new(address, Caller::root("headrace-mds/1"), &options);
    let port = Some(address.port());
    let caller = Caller::root("headrace-mds/1");
    let root = nfs_client::mount::mnt(address.ip(), port, "/headrace", &caller, &options)
        .await
        .expect("the export is mounted")
        .fhandle;
    let mut objects = Vec::new();
    for number in 0..OBJECTS {
        let name = Filename3::new(format!("{number:032x}").into_bytes()).expect("a short name");
        let sized = Sattr3 {
            size: Some(OBJECT_BYTES),
            ..Sattr3::default()
        };
        let created = mds.create(&root, &name, Createhow3::Guarded(sized)).await;
        objects.push(created.expect("created").obj.expect("a handle"));
    }
    let objects: Arc<[Fh3]> = objects.into();
    for (kind, bytes, streams) in [
        (Kind::Write, 1 << 20, 16),
        (Kind::Read, 1 << 20, 16),
        (Kind::Write, 4096, 128),
        (Kind::Read, 4096, 128),
        (Kind::Read, 4096, 1),
    ] {
        let spent_before = processor_seconds();
        let (calls, took) = run(&mds, &objects, kind, bytes, streams).await;
        let rate = calls as f64 / took.as_secs_f64();
        let spent = processor_seconds() - spent_before;
        println!(
            "{engine:?} {} {bytes:>7} bytes x{streams:<3}: {rate:>9.0} calls/s {:>7.0} MiB/s {:>6.0} us of processor each",
            match kind {
                Kind::Read => "read ",
                Kind::Write => "write",
            },
            rate * bytes as f64 / f64::from(1 << 20),
            spent * 1e6 / calls as f64,
        );
    }
    server.stop().await;
}

/// What this process, server and client, has spent so far: it tells more than the clock does on a
/// busy machine.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let fields = stat.rsplit(") ").next().expect("fields follow the name");
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}

async fn run(
    client: &Client,
    objects: &Arc<[Fh3]>,
    kind: Kind,
    bytes: u64,
    streams: u64,
) -> (u64, Duration) {
    let calls = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let data = Bytes::from(vec![7; bytes as usize]);
    let tasks: Vec<_> = (0..streams)
        .map(|stream| {
            let (client, calls, data) = (client.clone(), Arc::clone(&calls), data.clone());
            let objects = Arc::clone(objects);
            tokio::spawn(async move {
                let object = &objects[(stream % OBJECTS) as usize];
                let mut at = stream * 37 * bytes % OBJECT_BYTES;
                while began.elapsed() < SPAN {
                    match kind {
                        Kind::Read => {
                            let read = client.read(object, at, bytes as u32).await;
                            assert_eq!(read.expect("a read").data.len() as u64, bytes);
                        }
                        Kind::Write => {
                            let stable = StableHow::Unstable;
                            let write = client.write(object, at, stable, data.clone()).await;
                            assert_eq!(u64::from(write.expect("a write").count), bytes);
                        }
                    }
                    at = (at + bytes) % OBJECT_BYTES;
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a stream doesn't panic");
    }
    (calls.load(Ordering::Relaxed), began.elapsed())
}
