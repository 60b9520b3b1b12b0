//! The io_uring engine: threads that own a ring each, and run there the tasks whose sockets and
//! files it moves. Never unsafe here; what the kernel is handed is made in `operation`.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use buffers::Buffer;
use io_uring::IoUring;
use rustix::fs::FallocateFlags;

use super::{Batch, Engine};
use crate::intake::Space;
use crate::syncs::Depth;

mod executor;
mod operation;

use executor::{Shared, run};
use operation::Work;

/// Entries of a submission queue; more than that waits in the task that asks.
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 8192;

/// One ring, as tasks use it.
#[derive(Clone)]
pub struct Ring {
    shared: Arc<Shared>,
    all: Arc<Vec<Arc<Shared>>>,
    next: Arc<AtomicUsize>,
}

/// The threads of all rings.
pub struct Rings {
    all: Arc<Vec<Arc<Shared>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Rings {
    /// Starts `count` rings, or says why the kernel gives none.
    pub fn start(count: usize) -> io::Result<(Ring, Self)> {
        let all: Vec<_> = (0..count.max(1))
            .map(|_| Shared::new().map(Arc::new))
            .collect::<io::Result<_>>()?;
        let all = Arc::new(all);
        let mut rings = Self {
            all: Arc::clone(&all),
            threads: Vec::with_capacity(all.len()),
        };
        for (number, shared) in all.iter().enumerate() {
            let shared = Arc::clone(shared);
            let (answer, built) = std::sync::mpsc::channel();
            // The ring is made by the thread that uses it: at its end the kernel interrupts the
            // system calls of whoever made it, and that must be nobody else's thread.
            let serve = move || match build() {
                Ok(uring) => {
                    let _ = answer.send(Ok(()));
                    run(&shared, uring);
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                }
            };
            let thread = std::thread::Builder::new()
                .name(format!("ds-ring-{number}"))
                .spawn(serve)?;
            rings.threads.push(thread);
            let built = built.recv();
            built.unwrap_or_else(|_| Err(io::Error::other("a ring's thread panicked")))?;
        }
        let ring = Ring {
            shared: Arc::clone(&all[0]),
            all,
            next: Arc::default(),
        };
        Ok((ring, rings))
    }

    /// Waits until every task has ended, and ends the threads.
    pub fn stop(mut self) {
        self.end();
        for thread in self.threads.drain(..) {
            // A panic in a task is caught where it happens.
            let _ = thread.join();
        }
    }

    fn end(&self) {
        for shared in self.all.iter() {
            shared.end();
        }
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        self.end();
    }
}

/// A ring with what this kernel has to make it cheaper.
fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_cqsize(COMPLETIONS)
        .setup_coop_taskrun()
        .setup_single_issuer()
        .build(SUBMISSIONS)
        .or_else(|_| {
            IoUring::builder()
                .setup_cqsize(COMPLETIONS)
                .build(SUBMISSIONS)
        })
}

fn outcome(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// The work that comes back from an operation is the work that went in.
fn other_work() -> ! {
    unreachable!("an operation gives back its own kind of work")
}

impl Engine for Ring {
    type Socket = TcpStream;
    type Listener = TcpListener;

    fn listener(&self, listener: TcpListener) -> io::Result<Arc<TcpListener>> {
        Ok(Arc::new(listener))
    }

    async fn accept(
        &self,
        listener: &Arc<TcpListener>,
    ) -> io::Result<(Arc<TcpStream>, SocketAddr)> {
        loop {
            let work = Work::Accept {
                listener: Arc::clone(listener),
                accepted: None,
            };
            let (result, work) = self.shared.submit(work).await;
            outcome(result)?;
            let Work::Accept { accepted, .. } = work else {
                other_work()
            };
            // A peer that is gone already has no address.
            if let Some(socket) = accepted
                && let Ok(peer) = socket.peer_addr()
            {
                return Ok((Arc::new(socket), peer));
            }
        }
    }

    async fn receive(&self, socket: &Arc<TcpStream>, space: Space) -> (io::Result<usize>, Space) {
        let work = Work::Receive {
            socket: Arc::clone(socket),
            space,
        };
        match self.shared.submit(work).await {
            (result, Work::Receive { space, .. }) => (outcome(result), space),
            _ => other_work(),
        }
    }

    async fn send(&self, socket: &Arc<TcpStream>, batch: Batch) -> (io::Result<usize>, Batch) {
        let work = Work::Send {
            socket: Arc::clone(socket),
            batch,
        };
        match self.shared.submit(work).await {
            (result, Work::Send { batch, .. }) => (outcome(result), batch),
            _ => other_work(),
        }
    }

    async fn read(
        &self,
        file: &Arc<File>,
        offset: u64,
        buffer: Buffer,
        from: usize,
    ) -> (io::Result<usize>, Buffer) {
        let work = Work::Read {
            file: Arc::clone(file),
            offset,
            buffer,
            from,
        };
        match self.shared.submit(work).await {
            (result, Work::Read { buffer, .. }) => (outcome(result), buffer),
            _ => other_work(),
        }
    }

    async fn write(
        &self,
        file: &Arc<File>,
        offset: u64,
        buffer: Buffer,
        through: Option<Depth>,
    ) -> (io::Result<usize>, Buffer) {
        let work = Work::Write {
            file: Arc::clone(file),
            offset,
            buffer,
            through,
        };
        match self.shared.submit(work).await {
            (result, Work::Write { buffer, .. }) => (outcome(result), buffer),
            _ => other_work(),
        }
    }

    async fn fallocate(
        &self,
        file: &Arc<File>,
        mode: FallocateFlags,
        range: Range<u64>,
    ) -> io::Result<()> {
        let work = Work::Fallocate {
            file: Arc::clone(file),
            mode,
            range,
        };
        outcome(self.shared.submit(work).await.0).map(drop)
    }

    async fn sync(&self, file: &Arc<File>, depth: Depth) -> io::Result<()> {
        let work = Work::Sync {
            file: Arc::clone(file),
            depth,
        };
        outcome(self.shared.submit(work).await.0).map(drop)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.spawn(task);
    }

    fn next(&self) -> Self {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
        Self {
            shared: Arc::clone(&self.all[at]),
            ..self.clone()
        }
    }

    fn lanes(&self) -> Vec<Self> {
        let lane = |shared| Self {
            shared: Arc::clone(shared),
            ..self.clone()
        };
        self.all.iter().map(lane).collect()
    }
}
