//! The parts of the `headrace` binary, for it and for tests: the command line, the log, signals,
//! what is shown over HTTP and on the control socket, and the wiring of the servers.
//!
//! Never here: decisions about files; those are in the crates below.

pub mod check;
pub mod cli;
pub mod clock;
pub mod control;
pub mod daemon;
pub mod logging;
pub mod metadata;
pub mod net;
pub mod observe;
pub mod program;
pub mod roles;
pub mod signals;
pub mod sources;
