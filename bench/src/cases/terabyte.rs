//! A file of a terabyte on three data servers: how long who removes it waits, and who cuts it while very many read.

use super::memory::raise_descriptors;
use super::{Place, Size, names};
use crate::costs;
use crate::rounds::{Figure, Sample};
use crate::servers::{DataServer, until_they_rest};
use crate::session::{LATER, Session, at, create, done, layoutget, open};
use crate::sides::Kind;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wire::nfs4::*;
use wire::xdr;

const SIZE_BYTES: u64 = 1 << 40;
/// Written in each file, spread over all of it.
const BLOCKS: u64 = 1024;
const BLOCK_BYTES: usize = 32 << 10;
const SERVERS: u64 = 3;
const FILES: usize = 5;
const AT_ONCE: usize = 64;
const SPACE_LIMIT: Duration = Duration::from_mins(2);
/// Less than one file's blocks, and more than what else a data server may write meanwhile.
const SPACE_LEFT_BYTES: u64 = 8 << 20;

const fn readers(size: Size) -> usize {
    match size {
        Size::Full => 1_000,
        Size::Quick => 100,
    }
}

pub async fn run(place: Place<'_>) -> Result<Sample> {
    let Kind::Headrace { program, .. } = &place.side.kind else {
        bail!("nobody else stripes");
    };
    raise_descriptors();
    let further = [
        DataServer::start(program, place.disk)?,
        DataServer::start(program, place.disk)?,
    ];
    let mut more = "\n[limits]\nconnections_per_address = 5000\n".to_owned();
    for (number, server) in further.iter().enumerate() {
        let address = server.address;
        let section = format!("name = \"further{number}\"\naddress = \"{address}\"");
        more.extend(["\n[[data_server]]\n", &section, "\nexport = \"/data\"\n"]);
    }
    let server = place.side.metadata_server(place.disk, &more)?;
    let session = Session::mount(server.address, "writer", 1, AT_ONCE as u32).await?;
    let data_servers = further.iter().chain(server.data_server());
    let folders: Vec<PathBuf> = data_servers.map(DataServer::objects).collect();

    let (mut removals, mut returns) = (Vec::new(), Vec::new());
    for number in 0..FILES {
        let before = taken(&folders)?;
        let name = format!("removed{number}");
        let file = made(&session, &name).await?;
        closed(&session, &file).await?;
        until_they_rest(&server.processes()).await?;
        let began = Instant::now();
        let remove = ArgOp::Remove(Remove4Args {
            target: Bytes::from(name),
        });
        done(&session, 0, vec![ArgOp::Putrootfh, remove]).await?;
        removals.push(began.elapsed());
        while taken(&folders)? > before + SPACE_LEFT_BYTES {
            ensure!(began.elapsed() < SPACE_LIMIT, "its objects don't go");
            tokio::time::sleep(LATER).await;
        }
        returns.push(began.elapsed());
    }

    let readers = readers(place.size);
    let (mut cuts, mut alone) = (Vec::new(), Vec::new());
    for number in 0..FILES {
        let name = format!("cut{number}");
        let file = made(&session, &name).await?;
        let reading = read_by_many(server.address, &file.fh, number, readers).await?;
        until_they_rest(&server.processes()).await?;
        let began = Instant::now();
        done(&session, 0, vec![at(&file.fh), resize(&file, 0)]).await?;
        cuts.push(began.elapsed());
        drop(reading);
        alone.push(cut_alone(place.disk)?);
    }
    let slowest = |times: &[Duration]| {
        let slowest = times.iter().max().copied().unwrap_or_default();
        slowest.as_secs_f64() * 1e3
    };
    let figure = |what: String, times: &[Duration]| Figure::new(what, "ms", slowest(times));
    Ok(Sample {
        rate: None,
        figures: vec![
            figure(format!("REMOVE, the slowest of {FILES}"), &removals),
            figure("until its objects were gone".to_owned(), &returns),
            figure(
                format!("SETATTR to no size with {readers} readers, the slowest of {FILES}"),
                &cuts,
            ),
            figure(
                "the disk's own ftruncate of one of its three objects".to_owned(),
                &alone,
            ),
        ],
    })
}

fn taken(folders: &[PathBuf]) -> Result<u64> {
    folders.iter().map(|folder| costs::on_disk(folder)).sum()
}

/// A file that is open.
struct Open {
    fh: Fh4,
    stateid: Stateid4,
}

/// A file of that size, striped, with data here and there.
async fn made(session: &Session, name: &str) -> Result<Open> {
    let ops = vec![
        ArgOp::Putrootfh,
        create(session.client, name),
        ArgOp::Getfh,
        layoutget(Layoutiomode4::Rw, false, Stateid4::CURRENT),
    ];
    let results = done(session, 0, ops).await?;
    let mut results = results.into_iter().skip(1);
    let (Some(ResOp::Open(Ok(opened))), Some(ResOp::Getfh(Ok(got)))) =
        (results.next(), results.next())
    else {
        bail!("no OPEN and GETFH");
    };
    let Some(ResOp::Layoutget(Ok(granted))) = results.next() else {
        bail!("no LAYOUTGET");
    };
    let content = granted.layout.first().context("no layout")?;
    let told: flex::Layout = xdr::from_bytes(content.content.body.clone())?;
    let stripes = told.mirrors.iter().flat_map(|mirror| &mirror.data_servers);
    let servers: BTreeSet<_> = stripes.map(|stripe| stripe.deviceid.0).collect();
    ensure!(
        servers.len() == 3,
        "it lies on {} data servers",
        servers.len()
    );
    let file = Open {
        fh: got.object,
        stateid: opened.stateid,
    };
    done(session, 0, vec![at(&file.fh), resize(&file, SIZE_BYTES)]).await?;
    let data = Bytes::from(vec![7; BLOCK_BYTES]);
    stream::iter(0..BLOCKS)
        .map(|block| {
            let write = ArgOp::Write(Write4Args {
                stateid: file.stateid,
                offset: block * (SIZE_BYTES / BLOCKS),
                stable: StableHow4::FileSync,
                data: data.clone(),
            });
            Ok((block as usize % AT_ONCE, vec![at(&file.fh), write]))
        })
        .try_for_each_concurrent(1, |(slot, ops)| async move {
            done(session, slot, ops).await.map(drop)
        })
        .await?;
    Ok(file)
}

/// Clients that hold the file open with a layout to read.
async fn read_by_many(
    address: SocketAddr,
    file: &Fh4,
    turn: usize,
    readers: usize,
) -> Result<Vec<Session>> {
    stream::iter(0..readers)
        .map(|number| async move {
            let name = format!("reader {turn} {number}");
            let session = Session::mount(address, &name, 1, 1).await?;
            let ops = vec![
                at(file),
                open(session.client, OpenClaim4::Fh, Openflag4::NoCreate),
                layoutget(Layoutiomode4::Read, false, Stateid4::CURRENT),
            ];
            done(&session, 0, ops).await?;
            Ok(session)
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn resize(file: &Open, size_bytes: u64) -> ArgOp {
    let attributes = Attributes {
        size: Some(size_bytes),
        ..Attributes::default()
    };
    ArgOp::Setattr(Setattr4Args {
        stateid: file.stateid,
        obj_attributes: attributes.into(),
    })
}

/// Layout and open go back, so that nothing but the name keeps the file.
async fn closed(session: &Session, file: &Open) -> Result<()> {
    let close = ArgOp::Close(Close4Args {
        seqid: 0,
        open_stateid: file.stateid,
    });
    let layout = layoutget(Layoutiomode4::Rw, false, file.stateid);
    done(
        session,
        0,
        vec![at(&file.fh), layout, names::layoutreturn(), close],
    )
    .await?;
    Ok(())
}

/// The same of one object's blocks on the disk itself, without a server: to no size, durably.
fn cut_alone(disk: &Path) -> Result<Duration> {
    let file = tempfile::tempfile_in(disk)?;
    file.set_len(SIZE_BYTES)?;
    let block_bytes = vec![7; BLOCK_BYTES];
    for block in 0..BLOCKS / SERVERS {
        file.write_all_at(&block_bytes, block * (SIZE_BYTES / BLOCKS) * SERVERS)?;
    }
    file.sync_all()?;
    let began = Instant::now();
    file.set_len(0)?;
    file.sync_all()?;
    Ok(began.elapsed())
}
