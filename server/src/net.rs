//! The metadata server's TCP connections: records in, records out, callbacks the other way.
//! Never here: what a call means.

mod budget;
mod turns;

use anyhow::Context;
use budget::{Budget, Part, ReplyRoom};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use mds::{Answered, BackChannel, BackChannelError, Connection, Server};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turns::{Share, Shares};
use wire::Xdr;
use wire::nfs4::NFS_CB_VERSION;
use wire::record::{Frame, RecordReader, begin};
use wire::rpc::{
    Accepted, CallHeader, Credential, Denied, Message, OpaqueAuth, RPC_VERSION, ReplyBody,
    ReplyHeader,
};
use wire::xdr::Decoder;

/// What connections may take of the process.
#[derive(Debug, Clone)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    /// Requests of all connections that are worked on; the next ones wait unread.
    pub requests: usize,
    /// Largest request, its header included.
    pub record_bytes: usize,
    /// Requests of one connection that are worked on or whose replies it hasn't taken; the next ones wait unread.
    pub requests_per_connection: usize,
    /// Bytes of requests that are coming in or worked on, of all connections. What a connection has of
    /// [`SMALL_BYTES`] counts apart.
    pub requests_bytes: usize,
    /// Bytes of replies that are made or not yet taken, of all connections.
    pub replies_bytes: usize,
    /// A record must arrive whole within this time of its first byte.
    pub record_timeout: Duration,
    /// A connection without a request for this long is closed: Linux renews its lease more often.
    pub idle_timeout: Duration,
    /// A peer that takes no reply for this long is cut off.
    pub send_timeout: Duration,
    pub callback_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1024,
            requests: 4096,
            record_bytes: (1 << 20) + (64 << 10),
            requests_per_connection: 256,
            requests_bytes: 256 << 20,
            replies_bytes: 256 << 20,
            record_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(10),
            send_timeout: Duration::from_mins(1),
            callback_timeout: Duration::from_secs(5),
        }
    }
}

/// One write takes so many replies together, or fewer of so many bytes.
const TOGETHER: usize = 32;
const TOGETHER_BYTES: usize = 64 << 10;

/// A request up to this size waits for nobody else's: it has this much of its own.
const SMALL_BYTES: usize = 4 << 10;

/// Listening sockets; dropping them closes them.
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    pub fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        addresses
            .iter()
            .map(|address| listen(*address).with_context(|| format!("can't listen on {address}")))
            .collect::<anyhow::Result<_>>()
            .map(Self)
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if address.is_ipv6() {
        // Both families have sockets of their own, as the default `listen` names both.
        SockRef::from(&socket).set_only_v6(true)?;
    }
    // A restart must not wait for the connections of the last start to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Who is connected, to keep within the limits.
#[derive(Default)]
struct Peers(Mutex<HashMap<IpAddr, usize>>, AtomicUsize);

impl Peers {
    fn admit(self: &Arc<Self>, address: IpAddr, limits: &Limits) -> Option<Admitted> {
        let mut peers = self.0.lock();
        let of_address = peers.entry(address).or_default();
        if *of_address >= limits.connections_per_address
            || self.1.load(Relaxed) >= limits.connections
        {
            if *of_address == 0 {
                peers.remove(&address);
            }
            return None;
        }
        *of_address += 1;
        self.1.fetch_add(1, Relaxed);
        Some(Admitted {
            peers: Arc::clone(self),
            address,
        })
    }
}

/// A connection's place within the limits, given back when dropped.
struct Admitted {
    peers: Arc<Peers>,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut peers = self.peers.0.lock();
        self.peers.1.fetch_sub(1, Relaxed);
        if let Some(of_address) = peers.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                peers.remove(&self.address);
            }
        }
    }
}

/// What all connections share.
struct Shared {
    server: Arc<Server>,
    limits: Limits,
    requests: Arc<Semaphore>,
    shares: Arc<Shares>,
    coming: Arc<Budget>,
    going: Arc<Budget>,
}

/// A record to be sent, with what it holds until it is.
struct Outgoing {
    frame: Frame,
    held: Option<(OwnedSemaphorePermit, ReplyRoom)>,
}

impl Outgoing {
    /// One that no request asked for.
    fn unasked(frame: Frame) -> Self {
        Self { frame, held: None }
    }
}

/// Serves until `stop`; then takes no more requests, ends those under way, and returns.
pub async fn serve(
    listeners: Listeners,
    server: Arc<Server>,
    limits: Limits,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let peers = Arc::new(Peers::default());
    let shared = Arc::new(Shared {
        server,
        requests: Arc::new(Semaphore::new(limits.requests)),
        shares: Arc::default(),
        coming: Budget::new(limits.requests_bytes),
        going: Budget::new(limits.replies_bytes),
        limits,
    });
    let ids = Arc::new(AtomicU64::new(1));
    for listener in listeners.0 {
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        let (peers, ids, tracker) = (Arc::clone(&peers), Arc::clone(&ids), connections.clone());
        connections.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let (stream, peer) = match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        // Out of file descriptors: to try again at once would only spin.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let Some(admitted) = peers.admit(peer.ip(), &shared.limits) else {
                    tracing::debug!(%peer, "closed: as many connections are open as may be");
                    continue;
                };
                let id = ids.fetch_add(1, Relaxed);
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                tracker.spawn(async move {
                    if let Err(error) = connection(stream, (id, peer), shared, stop).await {
                        tracing::debug!(%peer, %error, "a connection ended");
                    }
                    drop(admitted);
                });
            }
        });
    }
    connections.close();
    connections.wait().await;
}

/// Calls towards the client, over the connection that it opened.
struct Back {
    frames: mpsc::Sender<Outgoing>,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Bytes>>>,
    next_xid: AtomicU32,
    deadline: Duration,
}

impl Back {
    fn answered(&self, reply: &ReplyHeader, result: Bytes) {
        let Some(waiter) = self.waiting.lock().remove(&reply.xid) else {
            return;
        };
        let accepted = matches!(
            reply.body,
            ReplyBody::Accepted {
                status: Accepted::Success,
                ..
            }
        );
        if accepted {
            // Whoever gave up meanwhile doesn't mind.
            let _ = waiter.send(result);
        }
    }
}

impl BackChannel for Back {
    fn call(
        &self,
        program: u32,
        procedure: u32,
        credential: Credential,
        arguments: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, BackChannelError>> {
        Box::pin(async move {
            let xid = self.next_xid.fetch_add(1, Relaxed);
            let header = CallHeader {
                xid,
                program,
                version: NFS_CB_VERSION,
                procedure,
                credential,
                verifier: OpaqueAuth::none(),
            };
            let mut out = begin();
            header.encode(&mut out);
            out.raw(&arguments);
            let (answer, answered) = oneshot::channel();
            self.waiting.lock().insert(xid, answer);
            let outcome = async {
                self.frames
                    .send(Outgoing::unasked(Frame::new(out)))
                    .await
                    .map_err(|_| BackChannelError::Closed)?;
                answered.await.map_err(|_| BackChannelError::Refused)
            };
            let result = timeout(self.deadline, outcome)
                .await
                .unwrap_or(Err(BackChannelError::Timeout));
            self.waiting.lock().remove(&xid);
            result
        })
    }
}

async fn connection(
    stream: TcpStream,
    (id, peer): (u64, SocketAddr),
    shared: Arc<Shared>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let limits = &shared.limits;
    stream.set_nodelay(true)?;
    // A client that lost its power says nothing.
    let alive = TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(15));
    SockRef::from(&stream).set_tcp_keepalive(&alive)?;
    let local = stream.local_addr()?;
    let (input, output) = stream.into_split();
    let (frames, to_send) = mpsc::channel(limits.requests_per_connection);
    let back = Arc::new(Back {
        frames: frames.clone(),
        waiting: Mutex::default(),
        next_xid: AtomicU32::new(1),
        deadline: limits.callback_timeout,
    });
    let connection = Connection::new(id, (local, peer), Arc::clone(&back) as Arc<dyn BackChannel>);
    shared.server.connection_opened(&connection);
    let broken = CancellationToken::new();
    let going = Part::new(&shared.going, id, broken.clone());
    let slots = Arc::new(Semaphore::new(limits.requests_per_connection));
    let writing = Writing {
        going,
        slots: Arc::clone(&slots),
        most: limits.requests_per_connection,
        patience: limits.send_timeout,
        broken: broken.clone(),
    };
    let writer = tokio::spawn(writing.run(output, to_send));
    let requests = TaskTracker::new();
    let mut share = shared.shares.of_connection();
    let coming = Part::new(&shared.coming, id, broken.clone());
    let reading = Reading {
        shared: &shared,
        connection: &connection,
        back: &back,
        frames: &frames,
        requests: &requests,
        slots: &slots,
    };
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = broken.cancelled() => Ok(()),
        ended = reading.run(input, coming, &mut share) => ended,
    };
    shared.server.connection_closed(&connection);
    // What was taken on is ended and answered, also when the server stops.
    requests.close();
    requests.wait().await;
    drop((frames, back, connection, share));
    writer.await?;
    ended
}

/// The receiving side of a connection.
struct Reading<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Arc<Connection>,
    back: &'a Arc<Back>,
    frames: &'a mpsc::Sender<Outgoing>,
    requests: &'a TaskTracker,
    slots: &'a Arc<Semaphore>,
}

impl Reading<'_> {
    async fn run(
        &self,
        mut input: OwnedReadHalf,
        mut coming: Part,
        share: &mut Share,
    ) -> anyhow::Result<()> {
        let limits = &self.shared.limits;
        let mut reader = RecordReader::new(limits.record_bytes);
        let mut buffer = BytesMut::new();
        let mut taken = 0;
        let mut record_began = None;
        loop {
            while let Some(record) = reader.next(&mut buffer)? {
                record_began = None;
                taken = buffer.len();
                let part = coming.hand_over();
                self.record(record, part, share).await?;
            }
            let missing = reader.missing_bytes(&buffer);
            let room = if taken + missing <= SMALL_BYTES {
                SMALL_BYTES - taken
            } else {
                // Room for all of it before more of it is taken in: whoever waits keeps nothing from others.
                coming.grow_to(taken + missing).await;
                coming.waits_for_peer();
                missing
            };
            let deadline = if buffer.is_empty() && reader.is_between_records() {
                Instant::now() + limits.idle_timeout
            } else {
                // Counted from the first byte: a trickle doesn't keep half a record open for ever.
                *record_began.get_or_insert_with(Instant::now) + limits.record_timeout
            };
            buffer.reserve(room);
            let mut space = (&mut buffer).limit(room);
            let received = timeout_at(deadline, input.read_buf(&mut space)).await;
            match received.context("nothing came for too long")?? {
                0 => return Ok(()),
                received => {
                    taken += received;
                    if received == room {
                        // More is there already: others first.
                        yield_now().await;
                    }
                }
            }
        }
    }

    async fn record(
        &self,
        record: Bytes,
        part: Option<OwnedSemaphorePermit>,
        share: &mut Share,
    ) -> anyhow::Result<()> {
        let length = record.len();
        let mut decoder = Decoder::new(record);
        match Message::decode(&mut decoder)? {
            Message::Call(header) => {
                let slot = Arc::clone(self.slots).acquire_owned().await?;
                let of_all = Arc::clone(&self.shared.requests).acquire_owned().await?;
                let (server, connection, frames) = (
                    Arc::clone(&self.shared.server),
                    Arc::clone(self.connection),
                    self.frames.clone(),
                );
                let mut room = ReplyRoom::new(&self.shared.going);
                let underway = self.requests.token();
                share.of(self.connection.client()).add(async move {
                    let Answered { frame, wait } = server
                        .call(&connection, header, decoder, length, &mut room)
                        .await;
                    drop(part);
                    room.fit(frame.remaining()).await;
                    drop(of_all);
                    if !wait.is_zero() {
                        tokio::time::sleep(wait).await;
                    }
                    let reply = Outgoing {
                        frame,
                        held: Some((slot, room)),
                    };
                    // A closed connection: the reply stays in its slot for the retry.
                    let _ = frames.send(reply).await;
                    drop(underway);
                });
            }
            Message::Reply(reply) => self.back.answered(&reply, decoder.rest()),
            Message::ForeignCall { xid, .. } => {
                let mut out = begin();
                ReplyHeader::denied(
                    xid,
                    Denied::RpcMismatch {
                        low: RPC_VERSION,
                        high: RPC_VERSION,
                    },
                )
                .encode(&mut out);
                self.frames.send(Outgoing::unasked(Frame::new(out))).await?;
            }
        }
        Ok(())
    }
}

/// The sending side of a connection.
struct Writing {
    going: Part,
    /// One is held by each request that is worked on or whose reply isn't sent; there are `most`.
    slots: Arc<Semaphore>,
    most: usize,
    patience: Duration,
    broken: CancellationToken,
}

impl Writing {
    async fn run(mut self, mut output: OwnedWriteHalf, mut frames: mpsc::Receiver<Outgoing>) {
        let mut held = Vec::with_capacity(TOGETHER);
        while let Some(first) = frames.recv().await {
            if self.most - self.slots.available_permits() > 1 {
                // The others' replies may be there after everybody's turn, and go by the same call of the kernel.
                yield_now().await;
            }
            held.push(first.held);
            let mut frame = first.frame;
            while held.len() < TOGETHER
                && frame.remaining() < TOGETHER_BYTES
                && let Ok(next) = frames.try_recv()
            {
                held.push(next.held);
                frame.append(next.frame);
            }
            self.going.waits_for_peer();
            while frame.has_remaining() {
                let sending = timeout(self.patience, output.write_buf(&mut frame));
                let sent = tokio::select! {
                    sent = sending => sent,
                    // Others need what this peer doesn't take.
                    () = self.broken.cancelled() => return,
                };
                match sent {
                    Ok(Ok(sent)) if sent > 0 => {}
                    _ => {
                        self.broken.cancel();
                        return;
                    }
                }
            }
            self.going.peer_is_done();
            held.clear();
        }
    }
}
