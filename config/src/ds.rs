//! What a data server is told: its sections and their keys.
//! Never here: the metadata server's view of it, which is `[[data_server]]`.

use crate::address::{Cidr, ExportPath};
use crate::backend::Backend;
use crate::document::Document;
use crate::fault::{Faults, Notes};
use crate::log::{LogFormat, LogLevel};
use crate::mds::read_all;
use crate::rules::{check_backends, check_listeners, check_power_of_two};
use crate::section::Change::Reload;
use crate::section::Default::{Toml, Unset};
use crate::section::section;
use crate::units::Bytes;
use crate::value::words;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

words! {
    /// What moves the bytes between network and disk.
    Engine {
        /// io_uring where the kernel allows it, else threads.
        Auto = "auto",
        /// io_uring, or no start.
        IoUring = "io_uring",
        /// A pool of threads.
        Threads = "threads",
    }
}

section! {
    "[ds]"
    /// The data server.
    DataServerProcess {
        /// Where NFSv3 is served: one address, or several in brackets.
        listen: Vec<SocketAddr> = {
            default: Toml(r#"["0.0.0.0:2049", "[::]:2049"]"#),
            example: r#""10.0.0.11:2049""#,
        };
        /// Folder of the data objects, on the NVMe that they are to lie on. One process at a time
        /// holds it.
        data_dir: PathBuf = {
            example: r#""/nvme/headrace""#,
        };
        /// The path that it is known by, as `export` of the metadata server's `[[data_server]]`.
        export: ExportPath = {
            default: Toml(r#""/data""#),
            example: r#""/nvme""#,
        };
        /// The metadata servers: who may create, fence and remove data objects. Everybody else only
        /// reads and writes those that a layout names.
        mds: Vec<Cidr> = {
            example: r#"["10.0.0.2"]"#,
        };
        /// Bytes that the data objects may take up together.
        capacity: Option<Bytes> = {
            default: Unset("what the file system holds"),
            range: (1 << 20, u64::MAX),
            example: r#""3TB""#,
        };
        /// Bytes that chunks of buckets may take up besides, in `data_dir`. Each `[[backend]]` of kind
        /// `s3` in this file is a bucket that the metadata server may name this data server for, as
        /// `cache`; the names must be the same there. Chunks that are just being fetched or came a
        /// moment ago take up to 400 MiB of memory besides.
        cache_capacity: Option<Bytes> = {
            default: Unset("a tenth of the file system"),
            range: (16 << 20, u64::MAX),
            example: r#""500GB""#,
        };
        /// What moves the bytes: `io_uring`, a pool of `threads`, or `auto`, which takes io_uring
        /// where the kernel allows it.
        engine: Engine = {
            default: Toml(r#""auto""#),
            example: r#""threads""#,
        };
        /// Threads that talk to the network: with io_uring each owns a ring.
        ring_threads: Option<u32> = {
            default: Unset("one for two cores"),
            range: (1, 256),
            example: "4",
        };
        /// Threads for what may block, such as opening a file; without io_uring, for all file I/O.
        worker_threads: Option<u32> = {
            default: Unset("four for each core"),
            range: (1, 1024),
            example: "16",
        };
        /// Where /metrics and /healthz are served, over HTTP and to anybody who can reach it.
        metrics_listen: Option<SocketAddr> = {
            default: Unset("not served"),
            example: r#""127.0.0.1:9650""#,
        };
        /// Form of the log on standard error: for people, or one JSON object a line.
        log_format: LogFormat = {
            default: Toml(r#""human""#),
            example: r#""json""#,
        };
        /// The least serious event that is logged. `debug` and `trace` log operations.
        log_level: LogLevel = {
            default: Toml(r#""info""#),
            change: Reload,
            example: r#""debug""#,
        };
    }
}

section! {
    "[limits]"
    /// What the data server holds at most. At a limit a client waits or is refused; others are
    /// served on.
    DsLimits {
        /// TCP connections.
        connections: u32 = {
            default: Toml("16384"), range: (1, 1_000_000), example: "4096",
        };
        /// Requests that are worked on at the same time; the next ones wait unread.
        requests_under_way: u32 = {
            default: Toml("65536"), range: (16, 1_000_000), example: "16384",
        };
        /// Largest READ or WRITE; a power of two.
        transfer_bytes: Bytes = {
            default: Toml(r#""1MiB""#), range: (4096, 1 << 20), example: r#""512KiB""#,
        };
        /// Memory for the bytes of requests that are worked on; the next ones wait unread.
        buffer_bytes: Bytes = {
            default: Toml(r#""256MiB""#), range: (32 << 20, 1 << 40), example: r#""1GiB""#,
        };
        /// Memory for the bytes of one connection's requests.
        buffer_bytes_per_connection: Bytes = {
            default: Toml(r#""32MiB""#), range: (16 << 20, 1 << 40), example: r#""64MiB""#,
        };
        /// Data objects that are kept open.
        open_objects: u32 = {
            default: Toml("4096"), range: (16, 1_000_000), example: "65536",
        };
    }
}

/// The configuration of `headrace ds`, valid as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DsConfig {
    pub ds: DataServerProcess,
    /// Buckets that are cached here.
    pub backends: Vec<Backend>,
    pub limits: DsLimits,
}

impl DsConfig {
    /// Reads and validates a file.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        crate::document::load(path, Self::parse)
    }

    /// Reads and validates a text; `file` is its name in the faults.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        Document::read(file, text, Self::from_document)
    }

    pub(crate) fn from_document(document: &Document<'_>, notes: &mut Notes) -> Option<Self> {
        document.refuse_other_sections(
            &[DataServerProcess::SCHEMA, Backend::SCHEMA, DsLimits::SCHEMA],
            notes,
        );
        let backends = document.several(Backend::SCHEMA, notes);
        check_backends(document.text, &backends, notes);
        let ds = document.one(DataServerProcess::SCHEMA, notes);
        let limits = document.one(DsLimits::SCHEMA, notes);
        check_listeners(&ds, notes);
        check_power_of_two(&limits, "transfer_bytes", notes);
        let ds = DataServerProcess::read(&ds, notes);
        let backends = read_all(&backends, Backend::read, notes);
        let limits = DsLimits::read(&limits, notes);
        Some(Self {
            ds: ds?,
            backends: backends?,
            limits: limits?,
        })
    }
}
