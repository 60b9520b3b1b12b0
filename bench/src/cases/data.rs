//! Load on a data server, and the same by fio on the disk itself.

use super::{Place, Size, full, loopback};
use crate::rounds::{Rate, Sample};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use nfs_client::{Caller, Client, Options, SourcePort};
use serde_json::Value;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use wire::nfs3::*;

#[derive(Debug, Clone, Copy)]
pub struct Transfer {
    bytes: u32,
    writes: bool,
}

impl Transfer {
    pub const fn read(bytes: u32) -> Self {
        Self {
            bytes,
            writes: false,
        }
    }

    pub const fn write(bytes: u32) -> Self {
        Self {
            bytes,
            writes: true,
        }
    }

    /// One after the other, or anywhere.
    const fn is_stream(self) -> bool {
        self.bytes >= 1 << 20
    }
}

/// Calls under way.
const DEPTH: usize = 32;
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(4).unwrap();
const OBJECTS: u64 = 4;
/// Written between two COMMITs of a caller, as Linux does when a program calls fsync now and then.
const COMMIT_EVERY_BYTES: u64 = 64 << 20;

/// Of each object. All of them stay in the page cache.
const fn object_bytes(size: Size) -> u64 {
    match size {
        Size::Full => 256 << 20,
        Size::Quick => 64 << 20,
    }
}

pub async fn run(transfer: Transfer, place: Place<'_>) -> Result<Sample> {
    let server = place.side.data_server(place.disk)?;
    let options = Options {
        connections: CONNECTIONS,
        in_flight_max: NonZeroUsize::new(DEPTH).context("a depth")?,
        source_port: SourcePort::Any,
        ..Options::default()
    };
    let address = server.address;
    let caller = Caller::root("headrace-mds/1");
    let port = Some(server.mount_port);
    let root = nfs_client::mount::mnt(address.ip(), port, &server.export, &caller, &options)
        .await?
        .fhandle;
    let client = Client::new(address, caller, &options);
    let data = Bytes::from(vec![7; 1 << 20]);
    let objects: Arc<[Fh3]> = make_objects(&client, &root, &data, object_bytes(place.size))
        .await?
        .into();
    let bytes = u64::from(transfer.bytes);
    let data = data.slice(..transfer.bytes as usize);
    let size = place.size;
    let one = move |caller: usize, turn: u64| {
        let (client, data, objects) = (client.clone(), data.clone(), Arc::clone(&objects));
        async move {
            let object = &objects[caller % objects.len()];
            let offset = bytes * place_of(transfer, object_bytes(size), caller, turn);
            if transfer.writes {
                let written = client
                    .write(object, offset, StableHow::Unstable, data)
                    .await?;
                ensure!(
                    u64::from(written.count) == bytes,
                    "{} written",
                    written.count
                );
                if (turn + 1).is_multiple_of((COMMIT_EVERY_BYTES / bytes).max(1)) {
                    client.commit(object, 0, 0).await?;
                }
            } else {
                let read = client.read(object, offset, transfer.bytes).await?;
                ensure!(read.data.len() as u64 == bytes, "{} read", read.data.len());
            }
            Ok(())
        }
    };
    let (closed, figures) = full(
        DEPTH,
        place,
        &server.processes(),
        Some(u64::from(transfer.bytes)),
        one,
    )
    .await?;
    Ok(Sample {
        rate: Some(Rate {
            per_second: closed.per_second(),
            busy: closed.latencies,
            easy: None,
            bytes_each: Some(bytes),
        }),
        figures,
    })
}

/// Which block of an object a caller takes next. Callers of one object share it out among them.
fn place_of(transfer: Transfer, object_bytes: u64, caller: usize, turn: u64) -> u64 {
    let blocks = object_bytes / u64::from(transfer.bytes);
    let sharers = DEPTH as u64 / OBJECTS;
    let own = blocks / sharers;
    let at = if transfer.is_stream() {
        turn
    } else {
        // Every block once before any comes again, in no order: `own` is a power of two.
        turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 7
    };
    (caller as u64 / OBJECTS) * own + at % own
}

async fn make_objects(client: &Client, root: &Fh3, data: &Bytes, bytes: u64) -> Result<Vec<Fh3>> {
    let mut objects = Vec::new();
    for number in 0..OBJECTS {
        let name = Filename3::new(format!("{number:032x}").into_bytes()).context("a name")?;
        let how = Createhow3::Guarded(Sattr3::default());
        let object = client
            .create(root, &name, how)
            .await?
            .obj
            .context("a handle")?;
        for offset in (0..bytes).step_by(data.len()) {
            let stable = StableHow::Unstable;
            client.write(&object, offset, stable, data.clone()).await?;
        }
        client.commit(&object, 0, 0).await?;
        objects.push(object);
    }
    Ok(objects)
}

/// fio with io_uring at the same depth on files of the same size: through the page cache, as the data server goes, and
/// past it.
pub fn bounds(transfer: Transfer, place: Place<'_>) -> Result<Vec<(&'static str, Sample)>> {
    let folder = tempfile::tempdir_in(place.disk)?;
    lay_out(folder.path(), place.size)?;
    let cached = fio(transfer, folder.path(), place, false)?;
    let direct = fio(transfer, folder.path(), place, true)?;
    let mut bounds = vec![("fio, page cache", cached), ("fio, O_DIRECT", direct)];
    if transfer.is_stream() {
        let copied = loopback::copy(u64::from(transfer.bytes), place)?;
        bounds.push(("TCP on loopback", copied));
    }
    Ok(bounds)
}

/// Files for fio, written as the objects are: by themselves they would be holes, and what is written to them later by
/// 4 KiB would lie in the page cache in other pieces, which ext4 is three times as fast with.
fn lay_out(folder: &Path, size: Size) -> Result<()> {
    let mut command = on_files(folder, size);
    command.args(["--rw=write", "--bs=1M", "--ioengine=psync", "--end_fsync=1"]);
    done(command).map(drop)
}

fn fio(transfer: Transfer, folder: &Path, place: Place<'_>, direct: bool) -> Result<Sample> {
    let rw = match (transfer.writes, transfer.is_stream()) {
        (false, true) => "read",
        (false, false) => "randread",
        (true, true) => "write",
        (true, false) => "randwrite",
    };
    let (warm_up, time) = place.span.parts();
    let mut command = on_files(folder, place.size);
    command
        .arg(format!("--rw={rw}"))
        .arg(format!("--bs={}", transfer.bytes))
        .arg(format!("--iodepth={}", DEPTH / OBJECTS as usize))
        .arg(format!("--direct={}", u8::from(direct)))
        .arg(format!("--ramp_time={}ms", warm_up.as_millis()))
        .arg(format!("--runtime={}ms", time.as_millis()))
        .args(["--ioengine=io_uring", "--time_based", "--invalidate=0"]);
    if transfer.writes {
        let every = (COMMIT_EVERY_BYTES / u64::from(transfer.bytes)).max(1);
        command.arg(format!("--fdatasync={every}"));
    }
    let told = done(command)?;
    let side = if transfer.writes { "write" } else { "read" };
    let per_second = told["jobs"][0][side]["iops"]
        .as_f64()
        .context("fio tells no rate")?;
    Ok(Sample::bound(per_second, Some(u64::from(transfer.bytes))))
}

fn on_files(folder: &Path, size: Size) -> Command {
    let mut command = Command::new("fio");
    command
        .arg("--name=bound")
        .arg(format!("--directory={}", folder.display()))
        .arg(format!("--numjobs={OBJECTS}"))
        .arg(format!("--size={}", object_bytes(size)))
        .args(["--thread", "--group_reporting", "--output-format=json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    command
}

/// What fio tells at its end.
fn done(mut command: Command) -> Result<Value> {
    let output = command
        .output()
        .context("fio can't be started: install it")?;
    ensure!(output.status.success(), "fio ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("what fio said")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn callers_go_over_all_blocks_of_their_own_and_no_others() {
        for transfer in [Transfer::read(1 << 20), Transfer::write(4 << 10)] {
            let bytes = object_bytes(Size::Full);
            let blocks = bytes / u64::from(transfer.bytes);
            let own = blocks / (DEPTH as u64 / OBJECTS);
            let mut all = HashSet::new();
            for caller in (0..DEPTH).filter(|caller| caller % OBJECTS as usize == 0) {
                let places: HashSet<u64> = (0..4 * own)
                    .map(|turn| place_of(transfer, bytes, caller, turn))
                    .collect();
                assert!(places.iter().all(|place| *place < blocks));
                assert!(all.is_disjoint(&places));
                all.extend(places);
            }
            assert!(
                all.len() as u64 > blocks * 9 / 10,
                "{} of {blocks}",
                all.len()
            );
        }
    }
}
