//! What a running server shows to the outside over HTTP: `/metrics` and `/healthz`.
//! Never here: counting, which each crate does for itself.

mod data_server;
mod http;
mod readiness;
mod render;
mod samples;

pub use data_server::DataServerSource;
pub use http::{Observed, serve};
pub use readiness::{Phase, Readiness};
pub use samples::{
    BytesSample, Counter, DataServerHealth, DataServerSample, Direction, Gauge, Latency,
    OperationSample, Route, Samples, Source,
};
