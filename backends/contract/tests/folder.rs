//! The worked example of docs/ARCHITECTURE.md keeps the contract, healthy and behind faults.

#[path = "folder/server.rs"]
mod server;

use async_trait::async_trait;
use backend::conformance::Subject;
use backend::{DataServer, Error, Faults, Faulty, Fetched};
use bytes::Bytes;
use layout::Owner;
use server::FolderServer;
use std::future::{Ready, ready};
use std::sync::Arc;

struct Folder {
    server: FolderServer,
    front: Arc<dyn DataServer>,
    _place: tempfile::TempDir,
}

fn subject(faults: Faults) -> Ready<Folder> {
    let place = tempfile::tempdir().expect("a folder");
    let server = FolderServer::open(place.path().join("objects")).expect("it opens");
    let again = server.clone();
    let front = Faulty::new(Arc::new(server.clone()), 3, faults, move |_| again.begin());
    ready(Folder {
        server,
        front: Arc::new(front),
        _place: place,
    })
}

#[async_trait]
impl Subject for Folder {
    fn server(&self) -> Arc<dyn DataServer> {
        Arc::clone(&self.front)
    }

    async fn client_read(
        &self,
        _client: Owner,
        _handle: &Bytes,
        _offset: u64,
        _count: u32,
    ) -> Result<Fetched, Error> {
        unreachable!("no client reaches it")
    }

    async fn client_write(
        &self,
        _client: Owner,
        _handle: &Bytes,
        _offset: u64,
        _data: Bytes,
    ) -> Result<(), Error> {
        unreachable!("no client reaches it")
    }

    async fn restart(&self) -> bool {
        self.server.begin();
        true
    }
}

mod healthy {
    use super::*;

    backend::conformance_tests!(subject(Faults::default()));
}

mod short_transfers {
    use super::*;

    const SHORT: Faults = Faults {
        refused: 0,
        lost_replies: 0,
        broken: 0,
        short: 500,
        restarts: 0,
        delay: std::time::Duration::ZERO,
    };

    backend::conformance_tests!(
        subject(SHORT);
        what_was_written_is_read_back,
        what_a_truncate_cut_never_comes_back,
        transfers_of_the_largest_size_work,
        writers_of_different_ranges_do_not_disturb_each_other
    );
}
