//! The data server of Headrace, reached over NFSv3, keeps the contract.

use async_trait::async_trait;
use backend::conformance::Subject;
use backend::{DataServer, Error, Faults, Faulty, FenceGrade, Fetched};
use backend_nfs::{Address, NfsDataServer, Options};
use bytes::Bytes;
use ds::{Config, EngineChoice, Running, Server};
use layout::Owner;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Mutex;

struct Ours {
    _folder: tempfile::TempDir,
    config: Config,
    running: Mutex<Option<Running>>,
    server: Arc<NfsDataServer>,
    /// In front of it, where a test wants faults.
    front: Arc<dyn DataServer>,
    neighbour: Mutex<Option<Box<Ours>>>,
}

fn address(at: SocketAddr) -> Address {
    Address {
        name: "ds1".to_owned(),
        host: at.ip(),
        nfs_port: Some(at.port()),
        mount_port: None,
        export: "/headrace".to_owned(),
    }
}

async fn ours(engine: EngineChoice) -> Ours {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = Config::new(folder.path().join("ds"));
    config.engine = engine;
    // An address of its own: a port that a restart gives up for a moment is nobody else's.
    let [b, c, d] = rand::random::<[u8; 3]>();
    config.listen = vec![SocketAddr::from(([127, b, c, d.clamp(2, 254)], 0))];
    config.rings = 1;
    config.workers = 4;
    let running = Server::start(config.clone()).expect("the data server starts");
    let at = running.addresses()[0];
    // The same port after a restart, as a real one has.
    config.listen = vec![at];
    let server = NfsDataServer::connect(address(at), Options::new(1))
        .await
        .expect("the data server can be mounted");
    assert!(server.is_ours());
    let can = server.capabilities().ranges;
    assert!(can.sparse && can.reserve && can.pull, "{can:?}");
    let server = Arc::new(server);
    assert_eq!(server.capabilities().fence, FenceGrade::Exact);
    Ours {
        _folder: folder,
        config,
        running: Mutex::new(Some(running)),
        front: server.clone(),
        server,
        neighbour: Mutex::default(),
    }
}

#[async_trait]
impl Subject for Ours {
    fn server(&self) -> Arc<dyn DataServer> {
        self.front.clone()
    }

    async fn client_read(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, Error> {
        self.server
            .as_client(client)
            .read(handle, offset, count)
            .await
    }

    async fn client_write(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error> {
        self.server
            .as_client(client)
            .write(handle, offset, data)
            .await
    }

    async fn restart(&self) -> bool {
        let mut running = self.running.lock().await;
        if let Some(server) = running.take() {
            server.stop().await;
        }
        *running = Some(Server::start(self.config.clone()).expect("it starts again"));
        true
    }

    async fn neighbour(&self) -> Option<Arc<dyn DataServer>> {
        let neighbour = Box::new(ours(self.config.engine).await);
        let server = neighbour.server.clone();
        *self.neighbour.lock().await = Some(neighbour);
        Some(server)
    }
}

mod by_io_uring_where_it_is_allowed {
    use super::*;

    backend::conformance_tests!(ours(EngineChoice::Auto));
}

mod by_threads {
    use super::*;

    backend::conformance_tests!(ours(EngineChoice::Threads));
}

mod with_short_transfers {
    use super::*;

    async fn subject() -> Ours {
        let mut ours = ours(EngineChoice::Auto).await;
        let faults = Faults {
            short: 500,
            ..Faults::default()
        };
        ours.front = Arc::new(Faulty::new(ours.server.clone(), 3, faults, |_| {}));
        ours
    }

    backend::conformance_tests!(
        subject();
        holes_are_told_from_data_or_all_is_data,
        a_search_looks_at_what_the_stripe_owns_alone,
        a_hole_reads_as_zeros_and_leaves_the_size,
        a_hole_survives_a_restart,
        space_set_aside_changes_no_byte_and_no_size,
        bytes_are_fetched_from_where_they_lie
    );
}
