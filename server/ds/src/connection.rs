//! One connection: records in, requests beside each other, replies out as they end.
//! Never more in flight than its window; a peer that sends or takes too slowly is cut off.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::net::Shutdown;
use slab::Slab;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wire::nfs3::Procedure;

use crate::call::{self, Call, Called, Refused, Request};
use crate::engine::{Batch, Engine, Outgoing};
use crate::intake::{Incoming, Intake, Progress};
use crate::metrics::Traffic;
use crate::reply::{Queued, Reply};
use crate::service::Service;

/// A request takes at least so much of its connection's window, however small its payload.
const REQUEST_BYTES: usize = 16 << 10;
/// Replies that go out in one system call.
const BATCH_REPLIES: usize = 64;
const BATCH_BYTES: usize = 4 << 20;
/// No deadline.
const NEVER: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub connections: usize,
    pub window_bytes: usize,
    pub idle: Duration,
    pub record: Duration,
    pub send: Duration,
}

/// All open connections, so that they can be bounded, watched and ended.
pub(crate) struct Connections {
    open: Mutex<Slab<Arc<Connection>>>,
    ended: Condvar,
    stopping: AtomicBool,
    limits: Limits,
    /// Places for requests, over all connections.
    requests: Arc<Semaphore>,
    requests_max: usize,
    epoch: Instant,
}

pub(crate) struct Connection {
    socket: Arc<dyn AsFd + Send + Sync>,
    peer: IpAddr,
    traffic: Arc<Traffic>,
    /// In milliseconds of the epoch: when to cut it for what it hasn't sent, or hasn't taken.
    receive_by: AtomicU64,
    send_by: AtomicU64,
    cut: AtomicBool,
}

/// A connection's entry, for as long as it is served.
struct Entry {
    all: Arc<Connections>,
    key: usize,
    connection: Arc<Connection>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.open.lock().remove(self.key);
        self.all.ended.notify_all();
    }
}

impl Connections {
    pub fn new(limits: Limits, requests_max: usize) -> Arc<Self> {
        let requests_max = requests_max.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            open: Mutex::default(),
            ended: Condvar::new(),
            stopping: AtomicBool::new(false),
            limits,
            requests: Arc::new(Semaphore::new(requests_max)),
            requests_max,
            epoch: Instant::now(),
        })
    }

    pub fn count(&self) -> usize {
        self.open.lock().len()
    }

    pub fn requests_in_flight(&self) -> usize {
        self.requests_max - self.requests.available_permits()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Takes in a connection, or `None` when there are too many or the server stops.
    fn admit(self: &Arc<Self>, connection: Connection) -> Option<Entry> {
        let mut open = self.open.lock();
        if self.is_stopping() || open.len() >= self.limits.connections {
            return None;
        }
        let connection = Arc::new(connection);
        let key = open.insert(Arc::clone(&connection));
        drop(open);
        Some(Entry {
            all: Arc::clone(self),
            key,
            connection,
        })
    }

    fn deadline(&self, after: Duration) -> u64 {
        (self.epoch.elapsed() + after).as_millis() as u64
    }

    /// Cuts the connections whose time is up. Each is counted once, before its peer can see it.
    pub fn cut_late(&self, count: &AtomicU64) {
        let now = self.epoch.elapsed().as_millis() as u64;
        let open = self.open.lock();
        for (_, connection) in open.iter() {
            let receive_by = connection.receive_by.load(Ordering::Relaxed);
            let send_by = connection.send_by.load(Ordering::Relaxed);
            if receive_by.min(send_by) < now && !connection.cut.swap(true, Ordering::Relaxed) {
                count.fetch_add(1, Ordering::Relaxed);
                connection.shutdown(Shutdown::Both);
            }
        }
    }

    /// Admits nothing more.
    pub fn begin_stop(&self) {
        let _open = self.open.lock();
        self.stopping.store(true, Ordering::Release);
    }

    /// Ends all connections: first what they send, so that what is in flight is answered; after
    /// `patience`, altogether. Blocks until they are gone, which is true, or for twice the patience.
    pub fn stop(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut open = self.open.lock();
        for (_, connection) in open.iter() {
            connection.shutdown(Shutdown::Read);
        }
        while !open.is_empty() {
            if self.ended.wait_until(&mut open, deadline).timed_out() {
                for (_, connection) in open.iter() {
                    connection.shutdown(Shutdown::Both);
                }
                break;
            }
        }
        // What is cut ends at once, but for a request that waits on the disk.
        let deadline = deadline + patience;
        while !open.is_empty() {
            if self.ended.wait_until(&mut open, deadline).timed_out() {
                let connections = open.len();
                tracing::error!(
                    connections,
                    "requests hang on the disk; stopping without them"
                );
                return false;
            }
        }
        true
    }
}

impl Connection {
    fn shutdown(&self, how: Shutdown) {
        // It fails where the peer has gone already, which is as good.
        let _ = rustix::net::shutdown(&*self.socket, how);
    }
}

/// Accepts connections until the listener is shut down.
pub(crate) async fn accept<E: Engine>(
    engine: E,
    listener: Arc<E::Listener>,
    service: Arc<Service>,
    all: Arc<Connections>,
) {
    let metrics = &service.metrics;
    loop {
        let (socket, peer) = match engine.accept(&listener).await {
            Ok(accepted) => accepted,
            Err(_) if all.is_stopping() => return,
            Err(error) => {
                // Out of files, most likely. Others will close; until then, don't spin.
                tracing::warn!(%error, "a connection couldn't be accepted");
                let pause = || std::thread::sleep(Duration::from_millis(20));
                service.workers.run(pause).await;
                continue;
            }
        };
        let peer = peer.ip().to_canonical();
        let admitted = all.admit(Connection {
            socket: Arc::clone(&socket) as _,
            peer,
            traffic: metrics.traffic(peer),
            receive_by: AtomicU64::new(NEVER),
            send_by: AtomicU64::new(NEVER),
            cut: AtomicBool::new(false),
        });
        let Some(entry) = admitted else {
            metrics.connections_refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        metrics.connections_accepted.fetch_add(1, Ordering::Relaxed);
        // Replies are whole records; waiting to fill a segment would only delay them.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&*socket, true);
        let place = engine.next();
        let serving = serve(place.clone(), Arc::clone(&service), socket, entry);
        place.spawn(serving);
    }
}

/// Serves a connection to its end.
async fn serve<E: Engine>(engine: E, service: Arc<Service>, socket: Arc<E::Socket>, entry: Entry) {
    let (replies, queue) = mpsc::unbounded_channel();
    let entry = Arc::new(entry);
    engine.spawn(send(
        engine.clone(),
        Arc::clone(&socket),
        Arc::clone(&entry),
        queue,
    ));
    let reader = Reader {
        window: Arc::new(Semaphore::new(
            (entry.all.limits.window_bytes / REQUEST_BYTES).max(128),
        )),
        engine,
        service,
        socket,
        entry,
        replies,
    };
    if let Err(error) = reader.run().await {
        let peer = reader.entry.connection.peer;
        tracing::debug!(%peer, %error, "a connection ended");
        // Requests in flight are done, but nobody takes their replies.
        reader.entry.connection.shutdown(Shutdown::Both);
    }
}

struct Reader<E: Engine> {
    engine: E,
    service: Arc<Service>,
    socket: Arc<E::Socket>,
    entry: Arc<Entry>,
    /// Bounded by the window: each reply keeps its places until it has been sent.
    replies: mpsc::UnboundedSender<Box<Queued>>,
    window: Arc<Semaphore>,
}

impl<E: Engine> Reader<E> {
    async fn run(&self) -> io::Result<()> {
        let (limits, connection) = (self.entry.all.limits, &self.entry.connection);
        let mut intake = Intake::new(self.service.transfer_bytes as usize);
        let mut housed: Option<OwnedSemaphorePermit> = None;
        let mut begun = false;
        loop {
            match intake.advance().map_err(io::Error::other)? {
                Progress::Bytes => {
                    // One deadline for the whole of a record, however it trickles.
                    if !begun || !intake.begun() {
                        begun = intake.begun();
                        let patience = if begun { limits.record } else { limits.idle };
                        let deadline = self.entry.all.deadline(patience);
                        connection.receive_by.store(deadline, Ordering::Relaxed);
                    }
                    let (received, space) = self.engine.receive(&self.socket, intake.space()).await;
                    let received = received?;
                    intake.filled(space, received);
                    if received == 0 {
                        return Ok(());
                    }
                }
                Progress::Buffer(length) => {
                    // Waiting here is ours, not the peer's.
                    connection.receive_by.store(NEVER, Ordering::Relaxed);
                    begun = false;
                    housed = Some(self.place(length).await);
                    let buffer = self.service.pool.acquire(length).await;
                    intake.give(buffer);
                }
                Progress::Record(incoming) => {
                    begun = false;
                    connection.receive_by.store(NEVER, Ordering::Relaxed);
                    self.handle(incoming, housed.take()).await?;
                }
            }
        }
    }

    /// A place in the connection's window for a request with so many bytes of payload.
    async fn place(&self, bytes: usize) -> OwnedSemaphorePermit {
        let units = bytes.div_ceil(REQUEST_BYTES).max(1) as u32;
        Arc::clone(&self.window)
            .acquire_many_owned(units)
            .await
            .expect("a window is never closed")
    }

    async fn handle(
        &self,
        incoming: Incoming,
        housed: Option<OwnedSemaphorePermit>,
    ) -> io::Result<()> {
        let service = &self.service;
        let peer = self.entry.connection.peer;
        let payload_bytes = incoming.payload.as_ref().map(buffers::Buffer::len);
        let parsed = call::parse(incoming.head, payload_bytes, peer, &service.mds);
        let place = match (housed, &parsed) {
            (Some(housed), _) => housed,
            (None, Ok(call)) => self.place(answer_bytes(call, service)).await,
            (None, Err(_)) => self.place(0).await,
        };
        let request = Arc::clone(&self.entry.all.requests)
            .acquire_owned()
            .await
            .expect("the requests' places are never closed");
        let places = [place, request];
        let replies = self.replies.clone();
        match parsed {
            Ok(call) => {
                let service = Arc::clone(service);
                let entry = Arc::clone(&self.entry);
                let engine = self.engine.clone();
                self.engine.spawn(async move {
                    let traffic = &entry.connection.traffic;
                    let reply = service
                        .answer(&engine, call, incoming.payload, peer, traffic)
                        .await;
                    // The sender has ended where the peer is gone.
                    let _ = replies.send(Queued::new(reply, places));
                });
            }
            Err(Refused::Reply(header)) => {
                service.metrics.rpc_refusals.fetch_add(1, Ordering::Relaxed);
                let reply = Reply::refusal(&header);
                let _ = replies.send(Queued::new(reply, places));
            }
            Err(Refused::Garbage) => {
                service.metrics.rpc_refusals.fetch_add(1, Ordering::Relaxed);
                return Err(io::Error::other("what came is no call"));
            }
        }
        Ok(())
    }
}

/// Payload that the answer may have.
fn answer_bytes(call: &Call, service: &Service) -> usize {
    match &call.request {
        Request::Read(args) => args.count.min(service.transfer_bytes) as usize,
        request => match request.called() {
            Called::Nfs(Procedure::Readdir | Procedure::Readdirplus) => {
                service.transfer_bytes as usize
            }
            _ => 0,
        },
    }
}

/// Sends replies in the order in which they come, several at once where they pile up.
async fn send<E: Engine>(
    engine: E,
    socket: Arc<E::Socket>,
    entry: Arc<Entry>,
    mut queue: mpsc::UnboundedReceiver<Box<Queued>>,
) {
    let connection = &entry.connection;
    while let Some(first) = queue.recv().await {
        let mut batch = Batch::new();
        batch.push(first as Box<dyn Outgoing>);
        while batch.len() < BATCH_REPLIES && batch.remaining() < BATCH_BYTES {
            match queue.try_recv() {
                Ok(next) => batch.push(next as Box<dyn Outgoing>),
                Err(_) => break,
            }
        }
        let deadline = entry.all.deadline(entry.all.limits.send);
        connection.send_by.store(deadline, Ordering::Relaxed);
        while batch.remaining() > 0 {
            let (sent, unsent) = engine.send(&socket, batch).await;
            batch = unsent;
            match sent {
                Ok(count) if count > 0 => batch.advance(count),
                Ok(_) | Err(_) => {
                    connection.shutdown(Shutdown::Both);
                    return;
                }
            }
        }
        connection.send_by.store(NEVER, Ordering::Relaxed);
    }
}
