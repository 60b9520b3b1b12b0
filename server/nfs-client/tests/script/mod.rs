#![allow(
    dead_code,
    reason = "each test file is a crate of its own and uses a part"
)]

//! A server that does what a test tells it to, call by call. Never here: an assertion.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nfs_client::{Backoff, Caller, Client, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::nfs3::{Fattr3, Fh3, Filename3, Ftype3, Nfstime3, Procedure, Specdata3};
use wire::record::{self, Frame, RecordReader};
use wire::rpc::{Accepted, CallHeader, Message, ReplyHeader};
use wire::{Decoder, Xdr};

pub struct Server {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub fn client(&self) -> Client {
        self.client_with(&options())
    }

    pub fn client_with(&self, options: &Options) -> Client {
        Client::new(self.address, Caller::root("tester"), options)
    }

    pub async fn accept(&self) -> Peer {
        let (stream, from) = self.listener.accept().await.unwrap();
        Peer {
            stream,
            from,
            reader: RecordReader::new(64 << 20),
            input: BytesMut::new(),
        }
    }
}

/// Quick to connect again, and patient otherwise.
pub fn options() -> Options {
    Options {
        backoff: Backoff {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(5),
        },
        ..Options::default()
    }
}

/// One connection of a client.
pub struct Peer {
    stream: TcpStream,
    pub from: SocketAddr,
    reader: RecordReader,
    input: BytesMut,
}

pub struct Call {
    pub header: CallHeader,
    pub args: Decoder,
}

impl Call {
    pub fn xid(&self) -> u32 {
        self.header.xid
    }

    pub fn procedure(&self) -> Procedure {
        Procedure::from_u32(self.header.procedure).unwrap()
    }

    pub fn args<A: Xdr>(&self) -> A {
        let mut args = self.args.clone();
        let decoded = A::decode(&mut args).unwrap();
        args.finish().unwrap();
        decoded
    }
}

impl Peer {
    /// The next call, or `None` when the client has closed the connection.
    pub async fn next(&mut self) -> Option<Call> {
        loop {
            if let Some(record) = self.reader.next(&mut self.input).unwrap() {
                let mut args = Decoder::new(record);
                let Ok(Message::Call(header)) = Message::decode(&mut args) else {
                    panic!("the client sends calls");
                };
                return Some(Call { header, args });
            }
            if matches!(self.stream.read_buf(&mut self.input).await, Ok(0) | Err(_)) {
                return None;
            }
        }
    }

    pub async fn call(&mut self) -> Call {
        self.next().await.expect("the client keeps the connection")
    }

    pub async fn reply<R: Xdr>(&mut self, xid: u32, result: &R) {
        self.send(&framed(xid, Accepted::Success, result)).await;
    }

    pub async fn refuse(&mut self, xid: u32, status: Accepted) {
        self.send(&framed(xid, status, &())).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

pub fn framed<R: Xdr>(xid: u32, status: Accepted, result: &R) -> Bytes {
    let mut out = record::begin();
    ReplyHeader::accepted(xid, status).encode(&mut out);
    result.encode(&mut out);
    Frame::new(out)
        .into_parts()
        .collect::<Vec<_>>()
        .concat()
        .into()
}

pub fn fh(name: &'static str) -> Fh3 {
    Fh3::new(name).unwrap()
}

pub fn name(name: &'static str) -> Filename3 {
    Filename3::new(name).unwrap()
}

pub fn file_of(size: u64) -> Fattr3 {
    let time = Nfstime3 {
        seconds: 1,
        nseconds: 2,
    };
    Fattr3 {
        ftype: Ftype3::Reg,
        mode: 0o640,
        nlink: 1,
        uid: 3,
        gid: 4,
        size,
        used: size,
        rdev: Specdata3::default(),
        fsid: 5,
        fileid: 6,
        atime: time,
        mtime: time,
        ctime: time,
    }
}
