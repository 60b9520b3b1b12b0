//! The engine for hosts that refuse io_uring: sockets watched by a small runtime, files on the
//! workers. Never differs from the other engine in what a peer can see.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use buffers::Buffer;
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use tokio::io::Interest;
use tokio::net::{TcpListener as TokioListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};

use super::{Batch, Engine};
use crate::intake::Space;
use crate::syncs::Depth;
use crate::workers::Workers;

#[derive(Clone)]
pub struct Threads {
    runtime: Handle,
    workers: Workers,
}

impl Threads {
    /// The engine, and the runtime that it lives on.
    pub fn start(threads: usize, workers: Workers) -> io::Result<(Self, Runtime)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("ds-sockets")
            .enable_io()
            .build()?;
        let engine = Self {
            runtime: runtime.handle().clone(),
            workers,
        };
        Ok((engine, runtime))
    }
}

/// A worker that panicked took the buffer with it; the request can't go on.
fn panicked() -> io::Error {
    io::Error::other("the file operation panicked")
}

impl Engine for Threads {
    type Socket = TcpStream;
    type Listener = TokioListener;

    fn listener(&self, listener: TcpListener) -> io::Result<Arc<TokioListener>> {
        listener.set_nonblocking(true)?;
        let _inside = self.runtime.enter();
        TokioListener::from_std(listener).map(Arc::new)
    }

    async fn accept(
        &self,
        listener: &Arc<TokioListener>,
    ) -> io::Result<(Arc<TcpStream>, SocketAddr)> {
        let (socket, peer) = listener.accept().await?;
        Ok((Arc::new(socket), peer))
    }

    async fn receive(
        &self,
        socket: &Arc<TcpStream>,
        mut space: Space,
    ) -> (io::Result<usize>, Space) {
        let received = socket
            .async_io(Interest::READABLE, || socket.try_read(space.bytes_mut()))
            .await;
        (received, space)
    }

    async fn send(&self, socket: &Arc<TcpStream>, batch: Batch) -> (io::Result<usize>, Batch) {
        let sent = socket
            .async_io(Interest::WRITABLE, || {
                socket.try_write_vectored(&batch.slices())
            })
            .await;
        (sent, batch)
    }

    async fn read(
        &self,
        file: &Arc<File>,
        offset: u64,
        mut buffer: Buffer,
        from: usize,
    ) -> (io::Result<usize>, Buffer) {
        let file = Arc::clone(file);
        let done = self
            .workers
            .run(move || {
                let result = file.read_at(&mut buffer.bytes_mut()[from..], offset);
                (result, buffer)
            })
            .await;
        done.expect("reading into a slice doesn't panic")
    }

    async fn write(
        &self,
        file: &Arc<File>,
        offset: u64,
        buffer: Buffer,
        through: Option<Depth>,
    ) -> (io::Result<usize>, Buffer) {
        let file = Arc::clone(file);
        let flags = match through {
            None => ReadWriteFlags::empty(),
            Some(Depth::Data) => ReadWriteFlags::DSYNC,
            Some(Depth::All) => ReadWriteFlags::SYNC,
        };
        let done = self
            .workers
            .run(move || {
                let parts = [IoSlice::new(buffer.bytes())];
                let result = rustix::io::pwritev2(&*file, &parts, offset, flags);
                (result.map_err(Into::into), buffer)
            })
            .await;
        done.expect("writing from a slice doesn't panic")
    }

    async fn fallocate(
        &self,
        file: &Arc<File>,
        mode: FallocateFlags,
        range: Range<u64>,
    ) -> io::Result<()> {
        let file = Arc::clone(file);
        let done = self.workers.run(move || {
            let length = range.end - range.start;
            rustix::fs::fallocate(&*file, mode, range.start, length).map_err(Into::into)
        });
        done.await.unwrap_or_else(|| Err(panicked()))
    }

    async fn sync(&self, file: &Arc<File>, depth: Depth) -> io::Result<()> {
        let file = Arc::clone(file);
        let done = self.workers.run(move || match depth {
            Depth::Data => file.sync_data(),
            Depth::All => file.sync_all(),
        });
        done.await.unwrap_or_else(|| Err(panicked()))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    fn next(&self) -> Self {
        self.clone()
    }

    fn lanes(&self) -> Vec<Self> {
        vec![self.clone()]
    }
}
