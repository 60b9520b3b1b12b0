//! A server that a copy is to come from, and that answers READs as a test says: what no honest server does.
//! Everything up to there it answers well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wire::nfs4::*;
use wire::record::{self, Frame, RecordReader};
use wire::rpc::{Message, ReplyHeader};
use wire::{Decoder, Xdr};

/// To a READ.
#[derive(Debug, Clone)]
pub enum Says {
    Data {
        data: Bytes,
        eof: bool,
    },
    Status(Nfsstat4),
    /// Nothing comes; what else is asked is answered.
    Silence,
    /// It is gone, and takes no other connection.
    Gone,
    /// No XDR at all.
    Rubbish,
}

pub struct Liar {
    pub address: SocketAddr,
    /// READs of at least a byte so far.
    pub reads: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

type Reading = dyn Fn(&Read4Args, usize) -> Says + Send + Sync;
type Seeking = dyn Fn(&Seek4Args) -> Result<Seek4Ok, Nfsstat4> + Send + Sync;

/// How a liar's file is.
struct Tale {
    size: u64,
    reading: Box<Reading>,
    seeking: Box<Seeking>,
}

impl Liar {
    /// A file of `size` bytes of which no holes are told. `reading` is told which READ it is, from 0.
    pub async fn start(
        size: u64,
        reading: impl Fn(&Read4Args, usize) -> Says + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::sparse(size, |_| Err(Nfsstat4::Notsupp), reading).await
    }

    pub async fn sparse(
        size: u64,
        seeking: impl Fn(&Seek4Args) -> Result<Seek4Ok, Nfsstat4> + Send + Sync + 'static,
        reading: impl Fn(&Read4Args, usize) -> Says + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let tale = Tale {
            size,
            reading: Box::new(reading),
            seeking: Box::new(seeking),
        };
        let serving = tokio::spawn(async move {
            // One connection at a time: a copy has no other.
            while let Ok((stream, _)) = listener.accept().await {
                if serve(stream, &tale, &counted).await == Ended::Server {
                    return;
                }
            }
        });
        Ok(Self {
            address,
            reads,
            serving,
        })
    }

    pub fn location(&self) -> Netloc4 {
        Netloc4::Netaddr(Netaddr4::tcp(self.address))
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Says {
    pub fn bytes(count: u32) -> Self {
        Self::Data {
            data: vec![7; count as usize].into(),
            eof: false,
        }
    }
}

#[derive(PartialEq)]
enum Ended {
    Connection,
    Server,
}

async fn serve(mut stream: TcpStream, tale: &Tale, reads: &AtomicUsize) -> Ended {
    let mut records = RecordReader::new(1 << 20);
    let mut input = BytesMut::new();
    'requests: loop {
        let Ok(next) = records.next(&mut input) else {
            return Ended::Connection;
        };
        let Some(record) = next else {
            match stream.read_buf(&mut input).await {
                Ok(1..) => continue,
                Ok(0) | Err(_) => return Ended::Connection,
            }
        };
        let mut decoder = Decoder::new(record);
        let Ok(Message::Call(call)) = Message::decode(&mut decoder) else {
            return Ended::Connection;
        };
        let Ok(request) = Compound4Args::decode_bounded(&mut decoder, 16) else {
            return Ended::Connection;
        };
        let mut out = record::begin();
        ReplyHeader::success(call.xid).encode(&mut out);
        let mut results = Vec::new();
        for operation in request.ops {
            let result = match &operation {
                ArgOp::Read(args) if args.count > 0 => {
                    let nth = reads.fetch_add(1, Ordering::Relaxed);
                    match (tale.reading)(args, nth) {
                        Says::Data { data, eof } => ResOp::Read(Ok(Read4Ok { eof, data })),
                        Says::Status(status) => ResOp::failed(Opnum::Read, status),
                        Says::Silence => continue 'requests,
                        Says::Gone => return Ended::Server,
                        Says::Rubbish => {
                            out.raw(&[0xee; 64]);
                            results.clear();
                            break;
                        }
                    }
                }
                ArgOp::Seek(args) => ResOp::Seek((tale.seeking)(args)),
                operation => well(operation, tale.size),
            };
            let status = result.status();
            results.push(result);
            if status != Nfsstat4::Ok {
                break;
            }
        }
        if let Some(last) = results.last() {
            let reply = Compound4Res {
                status: last.status(),
                tag: Bytes::new(),
                results,
            };
            reply.encode(&mut out);
        }
        let mut frame = Frame::new(out);
        let bytes = frame.copy_to_bytes(frame.remaining());
        if stream.write_all(&bytes).await.is_err() {
            return Ended::Connection;
        }
    }
}

fn well(operation: &ArgOp, size: u64) -> ResOp {
    match operation {
        ArgOp::ExchangeId(_) => ResOp::ExchangeId(Ok(ExchangeId4Ok {
            clientid: Clientid4(1),
            sequenceid: 1,
            flags: EXCHGID4_FLAG_USE_NON_PNFS,
            state_protect: StateProtect4R::None,
            server_owner: ServerOwner4 {
                minor_id: 0,
                major_id: "liar".into(),
            },
            server_scope: "liar".into(),
            server_impl_id: None,
        })),
        ArgOp::CreateSession(args) => ResOp::CreateSession(Ok(CreateSession4Ok {
            sessionid: Sessionid4([5; 16]),
            sequence: args.sequence,
            flags: 0,
            fore_chan_attrs: args.fore_chan_attrs.clone(),
            back_chan_attrs: args.back_chan_attrs.clone(),
        })),
        ArgOp::Sequence(args) => ResOp::Sequence(Ok(Sequence4Ok {
            sessionid: args.sessionid,
            sequenceid: args.sequenceid,
            slotid: args.slotid,
            highest_slotid: args.highest_slotid,
            target_highest_slotid: args.highest_slotid,
            status_flags: 0,
        })),
        ArgOp::Putfh(_) => ResOp::Putfh(Ok(())),
        ArgOp::Getattr(_) => ResOp::Getattr(Ok(Getattr4Ok {
            obj_attributes: Box::new(Attributes {
                size: Some(size),
                ..Attributes::default()
            }),
        })),
        ArgOp::Read(_) => ResOp::Read(Ok(Read4Ok {
            eof: false,
            data: Bytes::new(),
        })),
        ArgOp::DestroySession(_) => ResOp::DestroySession(Ok(())),
        ArgOp::DestroyClientid(_) => ResOp::DestroyClientid(Ok(())),
        other => ResOp::failed(other.opnum(), Nfsstat4::Notsupp),
    }
}
