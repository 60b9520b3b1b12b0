//! The data server of Headrace, reached over NFSv3, keeps the contract.

use async_trait::async_trait;
use backend::conformance::Subject;
use backend::{DataServer, Error, FenceGrade, Fetched};
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
    assert_eq!(server.capabilities().fence, FenceGrade::Exact);
    Ours {
        _folder: folder,
        config,
        running: Mutex::new(Some(running)),
        server: Arc::new(server),
    }
}

#[async_trait]
impl Subject for Ours {
    fn server(&self) -> Arc<dyn DataServer> {
        self.server.clone()
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
}

mod by_io_uring_where_it_is_allowed {
    use super::*;

    backend::conformance_tests!(ours(EngineChoice::Auto));
}

mod by_threads {
    use super::*;

    backend::conformance_tests!(ours(EngineChoice::Threads));
}
