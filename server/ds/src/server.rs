//! Starting and stopping a data server: the folder, the engine, the listeners, the watch over
//! connections. Never a signal, a configuration file or an exporter; those are the binary's.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buffers::Pool;
use parking_lot::{Condvar, Mutex};
use rustix::net::Shutdown;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::oneshot;

use crate::cache::Cache;
use crate::config::{Config, EngineChoice};
use crate::connection::{self, Connections, Limits};
use crate::engine::Engine;
use crate::engine::ring::Rings;
use crate::engine::threads::Threads;
use crate::fetcher::Fetcher;
use crate::metrics::{CacheSnapshot, Metrics, Snapshot};
use crate::procedures::attributes::room;
use crate::pulse::Pulse;
use crate::service::Service;
use crate::store::{Cuts, Folder, FolderError, Objects, Space, probe};
use crate::verifier::Verifier;
use crate::workers::Workers;

/// How often deadlines are looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Why a data server doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the data server can't listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("the data server has no address to listen on")]
    NoAddress,
    #[error("transfer_bytes is {bytes}: it must be a multiple of 4096, from 4096 to 1048576 bytes")]
    TransferSize { bytes: u32 },
    #[error(
        "the kernel refuses io_uring ({source}).\n\
         Allow it (sysctl kernel.io_uring_disabled=0, or the container's seccomp profile), or set the engine to threads."
    )]
    NoUring { source: io::Error },
    #[error("{path}: the objects' space can't be measured: {source}")]
    Measure { path: PathBuf, source: io::Error },
    #[error("{path}: what the file system can do couldn't be tried: {source}")]
    Probe { path: PathBuf, source: io::Error },
    #[error("{path}: what is cached can't be opened: {source}")]
    Cache { path: PathBuf, source: io::Error },
    #[error("the data server's threads can't be started: {source}")]
    Threads { source: io::Error },
}

/// The engine that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    IoUring,
    Threads,
}

pub struct Server;

/// A data server that serves. Dropped, it ends on its own; [`Running::stop`] waits for that.
pub struct Running {
    inner: Option<Inner>,
    addresses: Vec<SocketAddr>,
    kind: EngineKind,
}

struct Inner {
    service: Arc<Service>,
    connections: Arc<Connections>,
    listeners: Vec<Arc<dyn AsFd + Send + Sync>>,
    runtime: Option<tokio::runtime::Runtime>,
    rings: Option<Rings>,
    watch: Arc<Watch>,
    pulse: Arc<Pulse>,
    stop_timeout: Duration,
}

#[derive(Default)]
struct Watch {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Server {
    /// Opens the folder, listens, and serves on threads of its own.
    pub fn start(config: Config) -> Result<Running, StartError> {
        let transfer = config.transfer_bytes;
        if !transfer.is_multiple_of(4096) || !(4096..=1 << 20).contains(&transfer) {
            return Err(StartError::TransferSize { bytes: transfer });
        }
        raise_file_limit(config.max_connections + config.open_objects);
        let folder = Arc::new(Folder::open(&config.folder)?);
        let space = Space::measure(&config.folder.join("data"), config.capacity_bytes)
            .map_err(|source| StartError::Measure {
                path: config.folder.clone(),
                source,
            })
            .map(Arc::new)?;
        let cuts = Cuts::start(Arc::clone(&folder), Arc::clone(&space))
            .map_err(|source| StartError::Threads { source })?;
        let abilities = probe(&folder).map_err(|source| StartError::Probe {
            path: config.folder.clone(),
            source,
        })?;
        let cache = match config.cache {
            Some(cache) => {
                let opened = Cache::open(&config.folder, cache);
                Some(opened.map_err(|source| StartError::Cache {
                    path: config.folder.clone(),
                    source,
                })?)
            }
            None => None,
        };
        let seed = config.write_verifier.unwrap_or_else(rand::random);
        let verifier = Arc::new(Verifier::new(seed));
        let workers =
            Workers::start(config.workers).map_err(|source| StartError::Threads { source })?;
        let listeners = listen(&config.listen)?;
        let addresses = listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect();
        let service = Arc::new(Service {
            objects: Arc::new(Objects::new(
                Arc::clone(&folder),
                Arc::clone(&space),
                Arc::clone(&verifier),
                config.open_objects,
            )),
            folder,
            space,
            cuts: Arc::new(cuts),
            verifier,
            pool: Pool::new(config.buffer_bytes),
            workers: workers.clone(),
            metrics: Arc::new(Metrics::default()),
            export: config.export,
            mds: config.mds,
            transfer_bytes: transfer,
            abilities,
            fetcher: Fetcher::new(),
            cache,
        });
        let limits = Limits {
            connections: config.max_connections,
            window_bytes: config.connection_bytes,
            idle: config.idle_timeout,
            record: config.record_timeout,
            send: config.send_timeout,
        };
        let mut inner = Inner {
            connections: Connections::new(limits, config.max_requests),
            service,
            listeners: Vec::new(),
            runtime: None,
            rings: None,
            watch: Arc::default(),
            pulse: Pulse::new(),
            stop_timeout: config.stop_timeout,
        };
        let kind = if let Some((engine, rings)) = rings(config.engine, config.rings)? {
            inner.rings = Some(rings);
            inner.serve(&engine, listeners)?;
            inner.watch(engine)?;
            EngineKind::IoUring
        } else {
            let (engine, runtime) = Threads::start(config.rings, workers)
                .map_err(|source| StartError::Threads { source })?;
            inner.runtime = Some(runtime);
            inner.serve(&engine, listeners)?;
            inner.watch(engine)?;
            EngineKind::Threads
        };
        Ok(Running {
            inner: Some(inner),
            addresses,
            kind,
        })
    }
}

/// Lets the process have as many files as the host allows: the usual 1024 are soon spent on
/// connections and objects.
fn raise_file_limit(wanted: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files can't be raised");
    }
    if let Some(most) = limit.maximum
        && most < wanted as u64
    {
        tracing::warn!(
            most,
            wanted,
            "the host allows fewer open files than connections and objects may take: raise LimitNOFILE"
        );
    }
}

/// The rings, unless threads are chosen or all that the kernel lets us have.
fn rings(
    choice: EngineChoice,
    count: usize,
) -> Result<Option<(crate::engine::ring::Ring, Rings)>, StartError> {
    match choice {
        EngineChoice::Threads => Ok(None),
        EngineChoice::IoUring => Rings::start(count)
            .map(Some)
            .map_err(|source| StartError::NoUring { source }),
        EngineChoice::Auto => match Rings::start(count) {
            Ok(rings) => Ok(Some(rings)),
            Err(error) => {
                tracing::info!(%error, "the kernel refuses io_uring: the data server uses threads");
                Ok(None)
            }
        },
    }
}

fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    if addresses.is_empty() {
        return Err(StartError::NoAddress);
    }
    addresses
        .iter()
        .map(|address| {
            bind(*address, PORT_PATIENCE).map_err(|source| StartError::Listen {
                address: *address,
                source,
            })
        })
        .collect()
}

/// How long the port may still be held by what a killed data server listened on: the kernel takes its rings
/// down, and their sockets, a moment after the process is gone.
const PORT_PATIENCE: Duration = Duration::from_secs(5);

fn bind(address: SocketAddr, patience: Duration) -> io::Result<TcpListener> {
    const LOOK_AGAIN: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + patience;
    loop {
        match bind_now(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(LOOK_AGAIN);
            }
            bound => return bound,
        }
    }
}

fn bind_now(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    // A restart finds connections of before lingering on the port.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

impl Inner {
    fn serve<E: Engine>(
        &mut self,
        engine: &E,
        listeners: Vec<TcpListener>,
    ) -> Result<(), StartError> {
        for listener in listeners {
            let listener = engine
                .listener(listener)
                .map_err(|source| StartError::Threads { source })?;
            self.listeners.push(Arc::clone(&listener) as _);
            engine.spawn(connection::accept(
                engine.clone(),
                listener,
                Arc::clone(&self.service),
                Arc::clone(&self.connections),
            ));
        }
        Ok(())
    }

    /// Starts the thread that cuts connections whose time is up, and feels the engine's pulse.
    fn watch<E: Engine>(&self, engine: E) -> Result<(), StartError> {
        let pulse = Arc::clone(&self.pulse);
        let watch = Arc::clone(&self.watch);
        let connections = Arc::clone(&self.connections);
        let metrics = Arc::clone(&self.service.metrics);
        let look = move || {
            let mut stopped = watch.stopped.lock();
            while !*stopped {
                watch.changed.wait_for(&mut stopped, WATCH_INTERVAL);
                connections.cut_late(&metrics.connections_cut);
                if !*stopped {
                    pulse.feel(&engine);
                }
            }
        };
        std::thread::Builder::new()
            .name("ds-watch".into())
            .spawn(look)
            .map(drop)
            .map_err(|source| StartError::Threads { source })
    }

    /// Ends everything, in order; blocks until it has ended.
    fn stop(self) {
        self.connections.begin_stop();
        for listener in &self.listeners {
            // Accepting fails from now on, and its task ends.
            let _ = rustix::net::shutdown(&**listener, Shutdown::Both);
        }
        let ended = self.connections.stop(self.stop_timeout);
        *self.watch.stopped.lock() = true;
        self.watch.changed.notify_all();
        if !ended {
            // Threads that hang on the disk can't be waited for, nor can a sync.
            if let Some(runtime) = self.runtime {
                runtime.shutdown_background();
            }
            return;
        }
        if let Some(rings) = self.rings {
            rings.stop();
        }
        if let Some(runtime) = self.runtime {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.service.workers.stop();
        if let Err(error) = self.service.folder.sync_all() {
            tracing::error!(%error, "the folder couldn't be synced at the stop");
        }
    }
}

impl Running {
    /// Where it listens, in the order configured, with the ports it was given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub fn engine(&self) -> EngineKind {
        self.kind
    }

    /// What has been counted so far. Asks the file system for its space, so not for every request.
    pub fn metrics(&self) -> Snapshot {
        self.observer()
            .map_or_else(Snapshot::default, |o| o.metrics())
    }

    /// Something that can go on being asked for metrics elsewhere.
    pub fn observer(&self) -> Option<Observer> {
        self.inner.as_ref().map(|inner| Observer {
            service: Arc::clone(&inner.service),
            connections: Arc::clone(&inner.connections),
            pulse: Arc::clone(&inner.pulse),
        })
    }

    /// Accepts nothing more, answers what is in flight, syncs, and returns.
    pub async fn stop(mut self) {
        if let Some(ended) = self.begin_stop() {
            // It fails only if the stopping thread panicked, and then there is nothing to wait for.
            let _ = ended.await;
        }
    }

    fn begin_stop(&mut self) -> Option<oneshot::Receiver<()>> {
        let inner = self.inner.take()?;
        let (end, ended) = oneshot::channel();
        let stopping = move || {
            inner.stop();
            let _ = end.send(());
        };
        // Without a thread to wait on, the connections end with the process.
        let thread = std::thread::Builder::new().name("ds-stop".into());
        thread.spawn(stopping).ok().map(|_| ended)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.begin_stop();
    }
}

/// Reads a server's metrics from anywhere.
#[derive(Clone)]
pub struct Observer {
    service: Arc<Service>,
    connections: Arc<Connections>,
    pulse: Arc<Pulse>,
}

impl Observer {
    /// Whether its threads still go round, as opposed to merely being there.
    pub fn is_alive(&self) -> bool {
        self.pulse.is_there()
    }

    pub fn metrics(&self) -> Snapshot {
        let service = &self.service;
        let (total_bytes, free_bytes) = match service.folder.statvfs() {
            Ok(stat) => room(&stat, &service.space),
            Err(_) => (0, 0),
        };
        Snapshot {
            connections: self.connections.count(),
            in_flight_bytes: service.pool.in_use_bytes(),
            in_flight_requests: self.connections.requests_in_flight(),
            open_objects: service.objects.open_count(),
            cut_off_bytes: service.cuts.waiting_bytes(),
            free_bytes,
            total_bytes,
            mds_term: service.folder.term(),
            cache: service
                .cache
                .as_ref()
                .map(|cache| CacheSnapshot::of(&cache.store)),
            ..service.metrics.snapshot()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_last_start_still_holds_is_waited_for_and_one_that_stays_taken_is_told() {
        let last = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = last.local_addr().expect("it is bound");
        let taken = bind(address, Duration::ZERO).map_err(|error| error.kind());
        assert_eq!(taken.err(), Some(io::ErrorKind::AddrInUse));
        let (begun, begins) = std::sync::mpsc::channel();
        let next = std::thread::spawn(move || {
            begun.send(()).expect("somebody waits");
            bind(address, Duration::from_mins(1))
        });
        begins.recv().expect("it begins");
        drop(last);
        let next = next.join().expect("no panic").expect("the port is free");
        assert_eq!(next.local_addr().expect("it is bound"), address);
    }
}
