//! READs of other data servers, for PULL: a small runtime of their own, made when the first is asked
//! for. Never more at once than its places, and never without a deadline.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use nfs_client::{Caller, Client, Error, Options};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::nfs3::{Fh3, Nfsstat3, Read3resok};

/// PULLs of other servers under way; each has one READ in flight.
const PLACES: usize = 32;
/// Servers whose connections are kept. Beyond it all are closed, and made again as they are needed.
const SERVERS_MAX: usize = 256;

/// Whom to read as, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub address: SocketAddr,
    pub uid: u32,
    pub gid: u32,
}

pub(crate) struct Fetcher {
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runtime: Option<Runtime>,
    clients: HashMap<SocketAddr, Client>,
}

impl Fetcher {
    pub fn new() -> Self {
        Self {
            places: Semaphore::new(PLACES),
            state: Mutex::default(),
        }
    }

    pub async fn place(&self) -> SemaphorePermit<'_> {
        self.places
            .acquire()
            .await
            .expect("the places are never closed")
    }

    /// Bytes of another server's object. NFS3ERR_REMOTE, whatever is in the way: the metadata server
    /// then reads by itself, and finds out.
    pub async fn fetch(
        &self,
        source: &Source,
        object: &Fh3,
        offset: u64,
        count: u32,
        patience: Duration,
    ) -> Result<Read3resok, Nfsstat3> {
        let (runtime, client) = self.client(source).map_err(|error| {
            tracing::warn!(%error, "no runtime to fetch from other data servers");
            Nfsstat3::Remote
        })?;
        let client = client.within(patience);
        let object = object.clone();
        let read = runtime.spawn(async move { client.read(&object, offset, count).await });
        let refused = match read.await {
            Ok(Ok(got)) if got.data.len() > count as usize => None,
            Ok(Ok(got)) if got.data.is_empty() && !got.eof => None,
            Ok(Ok(got)) => return Ok(got),
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        tracing::debug!(?refused, address = %source.address, "nothing could be fetched");
        match refused {
            Some(Error::Refused {
                status: Nfsstat3::Jukebox,
                ..
            }) => Err(Nfsstat3::Jukebox),
            _ => Err(Nfsstat3::Remote),
        }
    }

    fn client(&self, source: &Source) -> io::Result<(Handle, Client)> {
        let mut state = self.state.lock();
        let runtime = state.runtime()?;
        let caller = Caller::sys("headrace-ds", source.uid, source.gid, &[]);
        if let Some(client) = state.clients.get(&source.address) {
            return Ok((runtime, client.as_caller(caller)));
        }
        if state.clients.len() >= SERVERS_MAX {
            state.clients.clear();
        }
        let options = Options {
            connections: NonZeroUsize::MIN.saturating_add(1),
            dial_deadline: Duration::from_secs(2),
            ..Options::default()
        };
        let inside = runtime.enter();
        let client = Client::new(source.address, caller, &options);
        drop(inside);
        state.clients.insert(source.address, client.clone());
        Ok((runtime, client))
    }
}

impl State {
    fn runtime(&mut self) -> io::Result<Handle> {
        if let Some(runtime) = &self.runtime {
            return Ok(runtime.handle().clone());
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ds-fetcher")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        self.runtime = Some(runtime);
        Ok(handle)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // Waiting isn't allowed where the last of the server may go: in a task.
        if let Some(runtime) = self.state.get_mut().runtime.take() {
            runtime.shutdown_background();
        }
    }
}
