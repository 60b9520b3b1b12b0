//! A data server on loopback and its callers, for the tests of the whole.
//! Never an assertion of a test's own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ds::{Config, EngineChoice, Running, Server, StartError};
use nfs_client::{Caller, Client, Options, SourcePort};
use wire::nfs3::*;

pub const OWNER: u32 = 70_001;
pub const NEXT_OWNER: u32 = 70_002;
pub const GROUP: u32 = 80_001;
pub const STRANGER: u32 = 70_099;

/// Both engines: what is so for one is so for the other. Where the kernel refuses io_uring, only threads, and
/// that is said.
pub fn engines() -> Vec<EngineChoice> {
    static FOUND: OnceLock<Vec<EngineChoice>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::new(dir.path().join("ds"));
        config.engine = EngineChoice::IoUring;
        match Server::start(config) {
            Ok(_) => vec![EngineChoice::IoUring, EngineChoice::Threads],
            Err(StartError::NoUring { source }) => {
                println!("skipped: io_uring, which this kernel refuses: {source}");
                vec![EngineChoice::Threads]
            }
            Err(other) => panic!("the data server doesn't start: {other}"),
        }
    });
    found.clone()
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub config: Config,
    pub server: Option<Running>,
}

impl World {
    pub fn new(engine: EngineChoice) -> Self {
        Self::with(engine, |_| {})
    }

    pub fn with(engine: EngineChoice, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::new(dir.path().join("ds"));
        config.engine = engine;
        config.rings = 2;
        change(&mut config);
        let server = Server::start(config.clone()).expect("the data server starts");
        Self {
            dir,
            config,
            server: Some(server),
        }
    }

    pub fn running(&self) -> &Running {
        self.server.as_ref().expect("the server runs")
    }

    pub async fn restart(&mut self) {
        let running = self.server.take().expect("the server runs");
        running.stop().await;
        self.server = Some(Server::start(self.config.clone()).expect("it starts again"));
    }

    pub async fn stop(mut self) {
        self.server.take().expect("the server runs").stop().await;
    }

    pub fn caller(&self, caller: Caller) -> Client {
        let options = Options {
            deadline: Duration::from_mins(1),
            in_flight_max: NonZeroUsize::new(256).expect("256 is not 0"),
            source_port: SourcePort::Any,
            ..Options::default()
        };
        Client::new(self.running().addresses()[0], caller, &options)
    }

    pub fn mds(&self) -> Client {
        self.mds_of_term(1)
    }

    pub fn mds_of_term(&self, term: u64) -> Client {
        self.caller(Caller::root(&format!("headrace-mds/{term}")))
    }

    /// A client with an RW layout's credential.
    pub fn owner(&self, uid: u32) -> Client {
        self.caller(Caller::sys("client", uid, GROUP, &[]))
    }

    /// A client with a READ layout's credential.
    pub fn reader(&self) -> Client {
        self.caller(Caller::sys("client", STRANGER, GROUP, &[]))
    }

    pub async fn root(&self) -> Fh3 {
        let address = self.running().addresses()[0];
        let options = Options {
            source_port: SourcePort::Any,
            ..Options::default()
        };
        let caller = Caller::root("headrace-mds/1");
        let port = Some(address.port());
        nfs_client::mount::mnt(address.ip(), port, "/headrace", &caller, &options)
            .await
            .expect("the metadata server mounts")
            .fhandle
    }

    /// A fresh object of [`OWNER`] and [`GROUP`].
    pub async fn object(&self, number: u8) -> Fh3 {
        let root = self.root().await;
        self.mds()
            .create(&root, &object_name(number), Createhow3::Guarded(owned()))
            .await
            .expect("the metadata server creates")
            .obj
            .expect("a created object has a handle")
    }

    pub fn folder(&self) -> &Path {
        &self.config.folder
    }
}

/// Ends when `holds`; fails when it doesn't in time.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn owned() -> Sattr3 {
    Sattr3 {
        mode: Some(0o640),
        uid: Some(OWNER),
        gid: Some(GROUP),
        ..Sattr3::default()
    }
}

pub fn owner_is(uid: u32) -> Sattr3 {
    Sattr3 {
        uid: Some(uid),
        ..Sattr3::default()
    }
}

pub fn size_is(bytes: u64) -> Sattr3 {
    Sattr3 {
        size: Some(bytes),
        ..Sattr3::default()
    }
}

pub fn name(text: &str) -> Filename3 {
    Filename3::new(text.as_bytes().to_vec()).expect("a short name")
}

pub fn object_name(number: u8) -> Filename3 {
    name(&format!("{number:02x}").repeat(16))
}

pub fn pattern(length: usize, seed: u8) -> Bytes {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect::<Vec<_>>()
        .into()
}

pub fn status<T: std::fmt::Debug>(result: Result<T, nfs_client::Error>) -> Option<Nfsstat3> {
    result.expect_err("a refusal was expected").status()
}
