//! An NFSv3 data server: objects in a folder, served over TCP by io_uring or by threads, with
//! owners that the metadata server changes as an exact fence; and chunks of objects that others keep.
//!
//! Here: [`Server::start`], which takes a [`Config`] and gives a [`Running`]. Never here: the
//! metadata server, the catalog, configuration files, signals, exporters.

mod cache;
mod call;
mod config;
mod connection;
mod engine;
mod fetcher;
mod gate;
mod handle;
mod identity;
mod intake;
mod lru;
mod metrics;
mod procedures;
mod pulse;
mod record;
mod reply;
mod server;
mod service;
mod status;
mod store;
mod syncs;
mod verifier;
mod workers;

pub use config::{Cache, Config, EngineChoice, Network};
pub use metrics::{
    CacheSnapshot, LATENCY_BOUNDS_MICROS, ProcedureSnapshot, Snapshot, StatusClass, TrafficSnapshot,
};
pub use server::{EngineKind, Observer, Running, Server, StartError};
pub use store::FolderError;
