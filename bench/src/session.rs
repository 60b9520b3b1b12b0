//! A client as small as can be: one connection, one session, COMPOUNDs on its slots. It answers no
//! callback.

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::nfs4::*;
use wire::record::{self, Frame, RecordReader};
use wire::rpc::{
    AuthSys, CallHeader, Credential, Gids, MachineName, Message, OpaqueAuth, ReplyHeader,
};
use wire::{Decoder, Encoder, Xdr};

/// Before asking again what was answered GRACE or DELAY.
pub const LATER: Duration = Duration::from_millis(20);

type Pending = Arc<Mutex<HashMap<u32, oneshot::Sender<Decoder>>>>;

pub struct Session {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Pending,
    xid: AtomicU32,
    reader: JoinHandle<()>,
    id: Sessionid4,
    pub client: Clientid4,
    /// Last sequence of each slot.
    slots: Vec<AtomicU32>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn root() -> Credential {
    Credential::Sys(AuthSys {
        stamp: 0,
        machine: MachineName::default(),
        uid: 0,
        gid: 0,
        gids: Gids::default(),
    })
}

/// A kernel that takes stripes says so.
fn linux() -> NfsImplId4 {
    NfsImplId4 {
        domain: Bytes::from_static(b"kernel.org"),
        name: Bytes::from_static(b"Linux 6.18.0 #1 SMP x86_64"),
        date: Nfstime4 {
            seconds: 0,
            nseconds: 0,
        },
    }
}

fn channel(slots: u32) -> ChannelAttrs4 {
    ChannelAttrs4 {
        headerpadsize: 0,
        maxrequestsize: 64 << 10,
        maxresponsesize: 64 << 10,
        maxresponsesize_cached: 2048,
        maxoperations: 64,
        maxrequests: slots,
        rdma_ird: None,
    }
}

impl Session {
    /// EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE. Another `boot` of a name ends what the one before it held.
    pub async fn mount(address: SocketAddr, name: &str, boot: u64, slots: u32) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let pending = Pending::default();
        let mut session = Self {
            writer: tokio::sync::Mutex::new(write),
            reader: tokio::spawn(read_replies(read, Arc::clone(&pending))),
            pending,
            xid: AtomicU32::new(1),
            id: Sessionid4([0; 16]),
            client: Clientid4(0),
            slots: Vec::new(),
        };
        let exchange = ExchangeId4Args {
            clientowner: ClientOwner4 {
                verifier: Verifier4(boot.to_be_bytes()),
                ownerid: Bytes::copy_from_slice(name.as_bytes()),
            },
            flags: EXCHGID4_FLAG_USE_PNFS_MDS,
            state_protect: StateProtect4A::None,
            client_impl_id: Some(linux()),
        };
        let exchanged = match session.ask(vec![ArgOp::ExchangeId(exchange)]).await?.pop() {
            Some(ResOp::ExchangeId(Ok(exchanged))) => exchanged,
            other => bail!("EXCHANGE_ID: {other:?}"),
        };
        let create = CreateSession4Args {
            clientid: exchanged.clientid,
            sequence: exchanged.sequenceid,
            flags: CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
            fore_chan_attrs: channel(slots),
            back_chan_attrs: channel(4),
            cb_program: NFS4_CALLBACK,
            sec_parms: vec![CallbackSecParms4::None],
        };
        let created = match session.ask(vec![ArgOp::CreateSession(create)]).await?.pop() {
            Some(ResOp::CreateSession(Ok(created))) => created,
            other => bail!("CREATE_SESSION: {other:?}"),
        };
        session.client = exchanged.clientid;
        session.id = created.sessionid;
        let granted = created.fore_chan_attrs.maxrequests;
        session.slots = (0..granted).map(|_| AtomicU32::new(0)).collect();
        let complete = ReclaimComplete4Args { one_fs: false };
        session
            .call(0, vec![ArgOp::ReclaimComplete(complete)])
            .await?;
        Ok(session)
    }

    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// SEQUENCE on a slot that nobody else uses now, then `ops`; the results of `ops`, up to the first
    /// that failed.
    pub async fn call(&self, slot: usize, ops: Vec<ArgOp>) -> Result<Vec<ResOp>> {
        let sequence = Sequence4Args {
            sessionid: self.id,
            sequenceid: self.slots[slot].fetch_add(1, Relaxed) + 1,
            slotid: slot as u32,
            highest_slotid: self.slots.len() as u32 - 1,
            cachethis: false,
        };
        let all = std::iter::once(ArgOp::Sequence(sequence)).chain(ops);
        let mut results = self.ask(all.collect()).await?;
        anyhow::ensure!(!results.is_empty(), "an empty answer");
        match results.remove(0) {
            ResOp::Sequence(Ok(_)) => Ok(results),
            other => bail!("SEQUENCE: {other:?}"),
        }
    }

    async fn ask(&self, ops: Vec<ArgOp>) -> Result<Vec<ResOp>> {
        let xid = self.xid.fetch_add(1, Relaxed);
        let (tell, told) = oneshot::channel();
        self.pending.lock().insert(xid, tell);
        let mut message = record::begin();
        CallHeader {
            xid,
            program: NFS4_PROGRAM,
            version: NFS_V4,
            procedure: NFSPROC4_COMPOUND,
            credential: root(),
            verifier: OpaqueAuth::none(),
        }
        .encode(&mut message);
        let mut arguments = Encoder::new();
        Compound4Args::new(2, ops).encode(&mut arguments);
        message.raw(&arguments.finish());
        let mut frame = Frame::new(message);
        let bytes = frame.copy_to_bytes(frame.remaining());
        self.writer.lock().await.write_all(&bytes).await?;
        let mut answer = told.await.context("the connection ended")?;
        Ok(Compound4Res::decode(&mut answer)?.results)
    }
}

async fn read_replies(mut stream: OwnedReadHalf, pending: Pending) {
    let mut records = RecordReader::new(16 << 20);
    let mut input = BytesMut::new();
    loop {
        match records.next(&mut input) {
            Ok(Some(message)) => {
                let mut decoder = Decoder::new(message);
                if let Ok(Message::Reply(ReplyHeader { xid, .. })) = Message::decode(&mut decoder)
                    && let Some(waiting) = pending.lock().remove(&xid)
                {
                    // Who asked may have given up.
                    let _ = waiting.send(decoder);
                }
            }
            Ok(None) => match stream.read_buf(&mut input).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            },
            Err(_) => break,
        }
    }
    pending.lock().clear();
}

/// As a client that is told to come again later, in a grace period too.
pub async fn done(session: &Session, slot: usize, ops: Vec<ArgOp>) -> Result<Vec<ResOp>> {
    loop {
        let results = session.call(slot, ops.clone()).await?;
        match results.last().map(ResOp::status) {
            Some(Nfsstat4::Ok) => return Ok(results),
            Some(Nfsstat4::Delay | Nfsstat4::Grace) => tokio::time::sleep(LATER).await,
            _ => bail!("{:?}", results.last()),
        }
    }
}

/// PUTFH.
pub fn at(file: &Fh4) -> ArgOp {
    ArgOp::Putfh(Putfh4Args {
        object: file.clone(),
    })
}

/// OPEN of the current filehandle for reading and writing.
pub fn open(client: Clientid4, claim: OpenClaim4, openhow: Openflag4) -> ArgOp {
    ArgOp::Open(Open4Args {
        seqid: 0,
        share_access: OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
        share_deny: OPEN4_SHARE_DENY_NONE,
        owner: StateOwner4 {
            clientid: client,
            owner: Bytes::from_static(b"bench"),
        },
        openhow,
        claim,
    })
}

/// An empty file of this name in `folder`, or in the root.
pub async fn make(session: &Session, slot: usize, folder: Option<&Fh4>, name: &str) -> Result<Fh4> {
    let place = || folder.map_or(ArgOp::Putrootfh, at);
    loop {
        let ops = vec![place(), create(session.client, name), ArgOp::Getfh];
        let mut results = session.call(slot, ops).await?.into_iter().skip(1);
        match (results.next(), results.next()) {
            (_, Some(ResOp::Getfh(Ok(got)))) => return Ok(got.object),
            (Some(ResOp::Open(Err(Nfsstat4::Grace | Nfsstat4::Delay))), _) => {
                tokio::time::sleep(LATER).await;
            }
            other => bail!("OPEN: {other:?}"),
        }
    }
}

/// OPEN that creates `name` in the current filehandle, if it isn't there.
pub fn create(client: Clientid4, name: &str) -> ArgOp {
    let attributes = Attributes {
        mode: Some(0o666),
        ..Attributes::default()
    };
    let how = Openflag4::Create(Createhow4::Unchecked(attributes.into()));
    let claim = OpenClaim4::Null(Bytes::copy_from_slice(name.as_bytes()));
    open(client, claim, how)
}

/// CLOSE of what was opened before in the same request.
pub fn close() -> ArgOp {
    ArgOp::Close(Close4Args {
        seqid: 0,
        open_stateid: Stateid4::CURRENT,
    })
}

/// An empty folder in the root.
pub async fn make_folder(session: &Session, name: &str) -> Result<Fh4> {
    let attributes = Attributes {
        mode: Some(0o777),
        ..Attributes::default()
    };
    let args = Create4Args {
        objtype: Createtype4::Dir,
        objname: Bytes::copy_from_slice(name.as_bytes()),
        createattrs: attributes.into(),
    };
    loop {
        let ops = vec![ArgOp::Putrootfh, ArgOp::Create(args.clone()), ArgOp::Getfh];
        let mut results = session.call(0, ops).await?.into_iter().skip(1);
        match (results.next(), results.next()) {
            (_, Some(ResOp::Getfh(Ok(got)))) => return Ok(got.object),
            (Some(ResOp::Create(Err(Nfsstat4::Grace | Nfsstat4::Delay))), _) => {
                tokio::time::sleep(LATER).await;
            }
            other => bail!("CREATE: {other:?}"),
        }
    }
}

/// LAYOUTGET of the whole file; `signal`: to be told when there are layouts.
pub fn layoutget(iomode: Layoutiomode4, signal: bool, stateid: Stateid4) -> ArgOp {
    ArgOp::Layoutget(Layoutget4Args {
        signal_layout_avail: signal,
        layout_type: LAYOUT4_FLEX_FILES,
        iomode,
        offset: 0,
        length: u64::MAX,
        minlength: 0,
        stateid,
        maxcount: 4096,
    })
}
