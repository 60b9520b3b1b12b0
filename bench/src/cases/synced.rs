//! 4 KiB made durable as Linux does it: written at the data server that a layout names, then LAYOUTCOMMIT. Where
//! there are no layouts, written at the server itself.

use super::{Place, full_and_half};
use crate::rounds::Sample;
use crate::servers::until_they_rest;
use crate::session::{LATER, Session, at, create, layoutget, make_folder};
use crate::sides::Kind;
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use nfs_client::{Caller, Client, Options, SourcePort};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use wire::nfs3::{Fh3, StableHow};
use wire::nfs4::*;
use wire::xdr::from_bytes;

#[derive(Debug, Clone, Copy)]
pub enum Synced {
    /// Again and again in the caller's own file, as by fsync after each.
    Again,
    /// In a new file each time, which is closed then.
    NewFile,
}

const BYTES: u64 = 4096;
/// Of a file that is written again and again.
const BLOCKS: u64 = 4096;

impl Synced {
    /// Each waits for the disk and for nothing else: how long one takes is what is asked.
    const fn callers(self) -> usize {
        match self {
            Self::Again => 4,
            Self::NewFile => 1,
        }
    }
}

/// A file that is open, and where its bytes go.
struct Open {
    fh: Fh4,
    stateid: Stateid4,
    layout: Option<Layout>,
}

struct Layout {
    stateid: Stateid4,
    data_server: Client,
    object: Fh3,
}

struct World {
    session: Session,
    folder: Fh4,
    lays_out: bool,
    data: Bytes,
    data_servers: Mutex<HashMap<Deviceid4, Client>>,
    /// One for each caller.
    files: Vec<Open>,
}

pub async fn run(work: Synced, place: Place<'_>) -> Result<Sample> {
    let server = place.side.metadata_server(place.disk, "")?;
    let callers = work.callers();
    let session = Session::mount(server.address, "synced", 1, callers as u32).await?;
    let folder = make_folder(&session, "synced").await?;
    let mut world = World {
        session,
        folder,
        lays_out: matches!(place.side.kind, Kind::Headrace { .. }),
        data: vec![7; BYTES as usize].into(),
        data_servers: Mutex::default(),
        files: Vec::new(),
    };
    for caller in 0..callers {
        let file = world.made(caller, &format!("file{caller}")).await?;
        world.files.push(file);
    }
    let processes = server.processes();
    until_they_rest(&processes).await?;
    let world = Arc::new(world);
    let one = move |caller, turn| {
        let world = Arc::clone(&world);
        async move {
            match work {
                Synced::Again => {
                    let file = &world.files[caller];
                    world.written(caller, file, turn % BLOCKS * BYTES).await
                }
                Synced::NewFile => {
                    let file = world.made(caller, &format!("new{caller}-{turn}")).await?;
                    world.written(caller, &file, 0).await?;
                    world.closed(caller, &file).await
                }
            }
        }
    };
    full_and_half(callers, place, &processes, one).await
}

impl World {
    /// A new file, open, with a layout to write where there are any: asked for in the same request, as by Linux.
    async fn made(&self, slot: usize, name: &str) -> Result<Open> {
        loop {
            let mut ops = vec![
                at(&self.folder),
                create(self.session.client, name),
                ArgOp::Getfh,
            ];
            if self.lays_out {
                ops.push(layoutget(Layoutiomode4::Rw, false, Stateid4::CURRENT));
            }
            let results = self.session.call(slot, ops).await?;
            let last = results.last().context("an empty answer")?.status();
            if matches!(last, Nfsstat4::Grace | Nfsstat4::Delay) {
                tokio::time::sleep(LATER).await;
                continue;
            }
            let mut results = results.into_iter().skip(1);
            let (stateid, fh) = match (results.next(), results.next()) {
                (Some(ResOp::Open(Ok(opened))), Some(ResOp::Getfh(Ok(got)))) => {
                    (opened.stateid, got.object)
                }
                other => bail!("OPEN: {other:?}"),
            };
            let layout = match results.next() {
                None => None,
                Some(ResOp::Layoutget(Ok(granted))) => Some(self.layout(slot, granted).await?),
                other => bail!("LAYOUTGET: {other:?}"),
            };
            return Ok(Open {
                fh,
                stateid,
                layout,
            });
        }
    }

    async fn layout(&self, slot: usize, granted: Layoutget4Ok) -> Result<Layout> {
        let content = granted.layout.first().context("no layout")?;
        let told: flex::Layout = from_bytes(content.content.body.clone())?;
        let mirror = told.mirrors.into_iter().next().context("no mirror")?;
        let stripe = mirror.data_servers.into_iter().next();
        let stripe = stripe.context("no data server")?;
        let id = |text: &Bytes| anyhow::Ok(std::str::from_utf8(text)?.parse::<u32>()?);
        let caller = Caller::sys("bench", id(&stripe.user)?, id(&stripe.group)?, &[]);
        let handle = stripe.fh_vers.first().context("no filehandle")?;
        Ok(Layout {
            stateid: granted.stateid,
            data_server: self
                .data_server(slot, stripe.deviceid)
                .await?
                .as_caller(caller),
            object: Fh3::new(handle.clone()).context("a filehandle of NFSv3")?,
        })
    }

    async fn data_server(&self, slot: usize, deviceid: Deviceid4) -> Result<Client> {
        if let Some(known) = self.data_servers.lock().get(&deviceid) {
            return Ok(known.clone());
        }
        let ask = ArgOp::Getdeviceinfo(Getdeviceinfo4Args {
            device_id: deviceid,
            layout_type: LAYOUT4_FLEX_FILES,
            maxcount: 65_536,
            notify_types: Bitmap4::EMPTY,
        });
        let device: flex::DeviceAddr = match self.session.call(slot, vec![ask]).await?.pop() {
            Some(ResOp::Getdeviceinfo(Ok(told))) => from_bytes(told.device_addr.addr_body)?,
            other => bail!("GETDEVICEINFO: {other:?}"),
        };
        let address = device.netaddrs.first().context("no address")?;
        let options = Options {
            source_port: SourcePort::Any,
            ..Options::default()
        };
        let client = Client::new(
            address.to_socket_addr().context("an address over TCP")?,
            Caller::root("bench"),
            &options,
        );
        self.data_servers.lock().insert(deviceid, client.clone());
        Ok(client)
    }

    async fn written(&self, slot: usize, file: &Open, offset: u64) -> Result<()> {
        let data = self.data.clone();
        let Some(layout) = &file.layout else {
            let write = ArgOp::Write(Write4Args {
                stateid: file.stateid,
                offset,
                stable: StableHow4::FileSync,
                data,
            });
            return match self
                .session
                .call(slot, vec![at(&file.fh), write])
                .await?
                .pop()
            {
                Some(ResOp::Write(Ok(written))) if u64::from(written.count) == BYTES => Ok(()),
                other => bail!("WRITE: {other:?}"),
            };
        };
        let written = layout
            .data_server
            .write(&layout.object, offset, StableHow::FileSync, data)
            .await?;
        ensure!(u64::from(written.count) == BYTES, "{written:?}");
        let commit = ArgOp::Layoutcommit(Layoutcommit4Args {
            offset,
            length: BYTES,
            reclaim: false,
            stateid: layout.stateid,
            last_write_offset: Some(offset + BYTES - 1),
            time_modify: None,
            layoutupdate: Layoutupdate4 {
                layout_type: LAYOUT4_FLEX_FILES,
                body: Bytes::new(),
            },
        });
        match self
            .session
            .call(slot, vec![at(&file.fh), commit])
            .await?
            .pop()
        {
            Some(ResOp::Layoutcommit(Ok(_))) => Ok(()),
            other => bail!("LAYOUTCOMMIT: {other:?}"),
        }
    }

    async fn closed(&self, slot: usize, file: &Open) -> Result<()> {
        let close = ArgOp::Close(Close4Args {
            seqid: 0,
            open_stateid: file.stateid,
        });
        match self
            .session
            .call(slot, vec![at(&file.fh), close])
            .await?
            .pop()
        {
            Some(ResOp::Close(Ok(_))) => Ok(()),
            other => bail!("CLOSE: {other:?}"),
        }
    }
}
