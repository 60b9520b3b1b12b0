//! A data server that caches, as far as it is told of versions.
//!
//! Never here: claims.

use async_trait::async_trait;
use backend::tree::Direct;
use backend::upstream::{ChunkCache, Version};
use backend::{Error, ErrorKind, Nanos};
use bytes::Bytes;
use layout::Owner;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

const READER: Owner = Owner {
    uid: 70_001,
    gid: 70_011,
};

#[derive(Default)]
pub struct Shelf {
    served: Mutex<HashMap<Bytes, Version>>,
    drawn: AtomicUsize,
    pub away: AtomicBool,
}

impl Shelf {
    fn is_here(&self) -> Result<(), Error> {
        let after = Duration::from_millis(1);
        if self.away.load(SeqCst) {
            return Err(Error::new(ErrorKind::Retry { after }, "it is away"));
        }
        Ok(())
    }

    pub fn serves(&self, direct: &Direct) -> Option<Version> {
        self.served.lock().get(&direct.handle).cloned()
    }
}

#[async_trait]
impl ChunkCache for Shelf {
    async fn offer(&self, version: &Version, _: Nanos) -> Result<Direct, Error> {
        self.is_here()?;
        let mut served = self.served.lock();
        served.retain(|_, there| there.key != version.key || there == version);
        let known = served.iter().find(|(_, there)| *there == version);
        let handle = match known {
            Some((handle, _)) => handle.clone(),
            // None is given twice.
            None => Bytes::from(self.drawn.fetch_add(1, SeqCst).to_string()),
        };
        served.insert(handle.clone(), version.clone());
        Ok(Direct {
            handle,
            reader: READER,
            of_this_version: true,
        })
    }

    async fn withdraw(&self, handle: &Bytes) -> Result<(), Error> {
        self.is_here()?;
        self.served.lock().remove(handle);
        Ok(())
    }
}
