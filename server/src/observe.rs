//! What a running server shows to the outside over HTTP: `/metrics` and `/healthz`.
//! Never here: counting, which each crate does for itself.

mod http;
mod later;
mod readiness;
mod render;
mod samples;

pub use http::{Observed, serve};
pub use later::Later;
pub use readiness::{Alive, Phase, Readiness};
pub use samples::{
    BytesSample, ClientBytes, Counter, DataServerHealth, DataServerSample, Direction, Gauge,
    Histogram, JunctionSample, KeeperSample, Latency, LegacySample, OperationSample, ReportOf,
    ReportSample, Route, Samples, ScanSample, Source,
};
