//! One TCP connection that carries calls both ways. It knows RPC and record marking; sessions are `client`'s.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wire::nfs4::{
    CB_COMPOUND, CbCompound4Args, Compound4Args, Compound4Res, NFS_CB_VERSION, NFS_V4,
    NFS4_CALLBACK, NFS4_PROGRAM, NFSPROC4_COMPOUND,
};
use wire::record::{self, Frame, RecordReader};
use wire::rpc::{Accepted, CallHeader, Credential, Message, OpaqueAuth, ReplyBody, ReplyHeader};
use wire::{Decoder, Encoder, Xdr};

use super::callbacks::Callbacks;
use super::failure::Failure;

/// Longer than any wait that a server is entitled to, so that a test that waits in vain ends.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const RECORD_LIMIT_BYTES: usize = 64 << 20;

/// What came for one call: RPC's verdict, and the bytes behind it.
#[derive(Debug)]
pub struct RpcAnswer {
    pub body: ReplyBody,
    pub result: Decoder,
}

type Pending = Mutex<Option<HashMap<u32, oneshot::Sender<Bytes>>>>;

pub struct Connection {
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    /// Who waits for which xid; `None` once the connection has ended.
    pending: Arc<Pending>,
    next_xid: AtomicU32,
    reader: JoinHandle<()>,
}

impl Connection {
    pub async fn to(address: SocketAddr, callbacks: Arc<Callbacks>) -> Result<Arc<Self>, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(write));
        let pending = Arc::new(Mutex::new(Some(HashMap::new())));
        let reader = tokio::spawn(read_messages(
            read,
            Arc::clone(&writer),
            Arc::clone(&pending),
            callbacks,
        ));
        Ok(Arc::new(Self {
            writer,
            pending,
            next_xid: AtomicU32::new(rand::random()),
            reader,
        }))
    }

    /// One call of any program, answered or not by RPC as it likes.
    pub async fn rpc(
        &self,
        call: (u32, u32, u32),
        credential: Credential,
        arguments: &[u8],
    ) -> Result<RpcAnswer, Failure> {
        let xid = self.next_xid.fetch_add(1, Ordering::Relaxed);
        self.rpc_of(xid, call, credential, arguments).await
    }

    /// The same under a number of the caller's: a call that comes again carries that of the first.
    pub async fn rpc_of(
        &self,
        xid: u32,
        (program, version, procedure): (u32, u32, u32),
        credential: Credential,
        arguments: &[u8],
    ) -> Result<RpcAnswer, Failure> {
        let (tell, told) = oneshot::channel();
        match &mut *lock(&self.pending) {
            Some(pending) => pending.insert(xid, tell),
            None => return Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        };
        let verifier = OpaqueAuth::none();
        let mut message = record::begin();
        CallHeader {
            xid,
            program,
            version,
            procedure,
            credential,
            verifier,
        }
        .encode(&mut message);
        message.raw(arguments);
        send(&self.writer, message).await?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, told)
            .await
            .map_err(io::Error::from)?;
        let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset))?;
        let mut result = Decoder::new(answer);
        match Message::decode(&mut result)? {
            Message::Reply(ReplyHeader { body, .. }) => Ok(RpcAnswer { body, result }),
            other => Err(Failure::Unasked(format!("{other:?}"))),
        }
    }

    /// One COMPOUND, exactly as given.
    pub async fn compound(
        &self,
        credential: Credential,
        args: &Compound4Args,
    ) -> Result<Compound4Res, Failure> {
        let mut arguments = Encoder::new();
        args.encode(&mut arguments);
        let call = (NFS4_PROGRAM, NFS_V4, NFSPROC4_COMPOUND);
        let mut answer = self.rpc(call, credential, &arguments.finish()).await?;
        match answer.body {
            ReplyBody::Accepted {
                status: Accepted::Success,
                ..
            } => {}
            other => return Err(Failure::Rpc(other)),
        }
        let result = Compound4Res::decode(&mut answer.result)?;
        answer.result.finish()?;
        Ok(result)
    }

    /// Sends bytes as they are, record mark included.
    pub async fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.writer.lock().await.write_all(bytes).await
    }

    /// Ends when the server has closed the connection.
    pub async fn closed_by_server(&self) -> Result<(), Failure> {
        let (tell, told) = oneshot::channel::<Bytes>();
        match &mut *lock(&self.pending) {
            // No call has this xid while it is watched: the sender is dropped with the table.
            Some(pending) => pending.insert(self.next_xid.fetch_add(1, Ordering::Relaxed), tell),
            None => return Ok(()),
        };
        tokio::time::timeout(ANSWER_TIMEOUT, told)
            .await
            .map_err(io::Error::from)?
            .map_or(Ok(()), |bytes| {
                Err(Failure::Unasked(format!(
                    "{} bytes for an xid that was never sent",
                    bytes.len()
                )))
            })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Tests go on after a panic elsewhere: what the table holds is still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn send(writer: &tokio::sync::Mutex<OwnedWriteHalf>, message: Encoder) -> io::Result<()> {
    let mut frame = Frame::new(message);
    let bytes = frame.copy_to_bytes(frame.remaining());
    writer.lock().await.write_all(&bytes).await
}

async fn read_messages(
    mut stream: OwnedReadHalf,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    pending: Arc<Pending>,
    callbacks: Arc<Callbacks>,
) {
    let mut records = RecordReader::new(RECORD_LIMIT_BYTES);
    let mut input = BytesMut::new();
    loop {
        match records.next(&mut input) {
            Ok(Some(message)) => hand_over(message, &writer, &pending, &callbacks).await,
            Ok(None) => match stream.read_buf(&mut input).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => break,
            },
            Err(_) => break,
        }
    }
    lock(&pending).take();
}

/// A reply goes to who waits for it, a call to the back channel. What is neither is dropped: who waits for it
/// will say so.
async fn hand_over(
    message: Bytes,
    writer: &tokio::sync::Mutex<OwnedWriteHalf>,
    pending: &Pending,
    callbacks: &Callbacks,
) {
    let mut input = Decoder::new(message.clone());
    match Message::decode(&mut input) {
        Ok(Message::Reply(ReplyHeader { xid, .. })) => {
            let waiting = lock(pending)
                .as_mut()
                .and_then(|pending| pending.remove(&xid));
            if let Some(waiting) = waiting {
                // Who asked may have given up.
                let _ = waiting.send(message);
            }
        }
        Ok(Message::Call(call)) => {
            if let Some(answer) = called_back(&call, &mut input, callbacks) {
                // A connection that ends is noticed by the next read.
                let _ = send(writer, answer).await;
            }
        }
        Ok(Message::ForeignCall { .. }) | Err(_) => {}
    }
}

fn called_back(call: &CallHeader, input: &mut Decoder, callbacks: &Callbacks) -> Option<Encoder> {
    let mut out = record::begin();
    let mut refuse = |status| {
        let mut out = std::mem::take(&mut out);
        ReplyHeader::accepted(call.xid, status).encode(&mut out);
        Some(out)
    };
    if call.program != NFS4_CALLBACK {
        return refuse(Accepted::ProgUnavail);
    }
    if call.version != NFS_CB_VERSION {
        return refuse(Accepted::ProgMismatch {
            low: NFS_CB_VERSION,
            high: NFS_CB_VERSION,
        });
    }
    if call.procedure != CB_COMPOUND {
        return refuse(Accepted::Success);
    }
    let Ok(args) = CbCompound4Args::decode(input) else {
        return refuse(Accepted::GarbageArgs);
    };
    let answer = callbacks.answer(args)?;
    ReplyHeader::success(call.xid).encode(&mut out);
    answer.encode(&mut out);
    Some(out)
}

#[cfg(test)]
mod tests;
