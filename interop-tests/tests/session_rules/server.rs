//! The server that the rules are tried on: a metadata server of its own for each test, in this process and
//! without data servers, as no rule here moves a byte.

use std::net::SocketAddr;
use std::sync::Arc;

use headrace::metadata::{ExportSpec, IdentitySpec, Running, Spec, Watch};
use interop_tests::nfs41::{Callbacks, Client, Connection, Failure};
use mds::{Access, Delegations, Squash, state};
use tempfile::TempDir;
use wire::nfs4::Fh4;

pub struct Server {
    pub address: SocketAddr,
    _running: Running,
    _state_dir: TempDir,
}

impl Server {
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(state::Limits::default()).await
    }

    pub async fn with(limits: state::Limits) -> anyhow::Result<Self> {
        let state_dir = tempfile::tempdir()?;
        let export = ExportSpec {
            path: "/".into(),
            clients: vec!["127.0.0.0/8".parse()?],
            access: Access::ReadWrite,
            squash: Squash::None,
            anonymous: (65_534, 65_534),
            delegations: Delegations::ALL,
            manage_gids: false,
        };
        let spec = Spec {
            listen: vec!["127.0.0.1:0".parse()?],
            state_dir: state_dir.path().to_owned(),
            limits,
            net: headrace::net::Limits::default(),
            data_servers: Vec::new(),
            watch: Watch::default(),
            exports: vec![export],
            referrals: Vec::new(),
            backends: Vec::new(),
            junctions: Vec::new(),
            assimilated: Vec::new(),
            managed: Vec::new(),
            identity: IdentitySpec::default(),
            stripe_unit: 1 << 20,
            stripe_count: 1,
            local_first: false,
            server_copy: mds::ServerCopy::off(),
            ids: (2_000_000, 4096),
            nfsv3: false,
            stats_seconds: 60,
            away_error: None,
            root_mode: 0o755,
            catalog_cache_bytes: None,
        };
        let running = Running::start(spec, None).await?;
        let address = running.addresses[0];
        Ok(Self {
            address,
            _running: running,
            _state_dir: state_dir,
        })
    }

    /// A connection of nobody's.
    pub async fn connect(&self) -> Result<Arc<Connection>, Failure> {
        Connection::to(self.address, Arc::new(Callbacks::new(2))).await
    }

    /// A directory that `client` may change.
    pub async fn export(&self, client: &Client) -> Result<Fh4, Failure> {
        client.root().await
    }
}
