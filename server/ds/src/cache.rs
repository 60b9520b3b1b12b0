//! The chunk store of this server, with the runtime that its fetches run on.
//! Never here: what a READ of it answers.

use std::io;
use std::path::Path;

use chunks::{Options, Store};
use tokio::runtime::{Builder, Runtime};

use crate::config::Cache as Config;

const THREADS: usize = 2;
/// For files of chunks: checked, written, opened, removed.
const BLOCKING_THREADS: usize = 16;
/// Of the file system, where nothing else is said.
const SHARE: u64 = 10;

pub(crate) struct Cache {
    pub store: Store,
    runtime: Option<Runtime>,
}

impl Cache {
    /// In a folder of its own, within that of the objects.
    pub fn open(folder: &Path, config: Config) -> io::Result<Self> {
        let bytes = if let Some(bytes) = config.bytes {
            bytes
        } else {
            let stat = rustix::fs::statvfs(folder)?;
            stat.f_blocks * stat.f_frsize / SHARE
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("ds-cache")
            .enable_all()
            .build()?;
        let options = Options {
            chunk_bytes: config.chunk_bytes,
            ..Options::new(folder.join("cache"), bytes)
        };
        let handle = runtime.handle().clone();
        // From here on it is dropped as it must be, also where the store can't be opened.
        let mut runtime = Some(runtime);
        match Store::open(options, config.upstreams, handle) {
            Ok(store) => Ok(Self { store, runtime }),
            Err(error) => {
                end(&mut runtime);
                Err(io::Error::other(error))
            }
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        end(&mut self.runtime);
    }
}

/// Waiting isn't allowed where the last of the server may go: in a task.
fn end(runtime: &mut Option<Runtime>) {
    if let Some(runtime) = runtime.take() {
        runtime.shutdown_background();
    }
}
