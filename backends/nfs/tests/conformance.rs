//! The data server of Headrace, reached over NFSv3, keeps the contract; and `prove` finds it fit.

use async_trait::async_trait;
use backend::conformance::Subject;
use backend::{DataServer, Error, FenceGrade, Fetched};
use backend_nfs::{Address, NfsDataServer, Options, TrialIds, Verdict, prove};
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

fn ids() -> TrialIds {
    TrialIds {
        first: Owner {
            uid: 70_001,
            gid: 70_011,
        },
        second: Owner {
            uid: 70_002,
            gid: 70_011,
        },
        reader_uid: 70_000,
    }
}

#[tokio::test]
async fn our_data_server_is_proved_fit_and_left_as_it_was() {
    let ours = ours(EngineChoice::Auto).await;
    let at = ours.server.socket_address();
    let report = prove(&address(at), &Options::new(1), ids()).await;
    let faults: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Fault)
        .collect();
    assert!(report.is_fit(), "{faults:?}");
    for what in ["create", "fence", "readers don't write", "guarded SETATTR"] {
        let seen = report.findings.iter().find(|finding| finding.what == what);
        assert_eq!(
            seen.map(|finding| finding.verdict),
            Some(Verdict::Good),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_data_server_that_is_away_is_told_with_the_way_out() {
    // Bound and closed again: nobody listens there.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = socket.local_addr().expect("a bound socket has an address");
    drop(socket);
    let options = Options {
        deadline: std::time::Duration::from_millis(500),
        probe_deadline: std::time::Duration::from_millis(300),
        ..Options::new(1)
    };
    let report = prove(&address(at), &options, ids()).await;
    assert!(!report.is_fit());
    assert!(
        report.findings[0].detail.contains("ds1"),
        "{:?}",
        report.findings
    );
    assert!(report.findings[0].way_out.is_some());
}
