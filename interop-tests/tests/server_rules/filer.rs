//! The filer of the backend's own tests: NFSv3 in front of a tree in memory, which judges each caller.

#![allow(dead_code, reason = "the backend's tests use the rest of it")]

#[path = "../../../backends/nfs/tests/filer/procedures.rs"]
mod procedures;
#[path = "../../../backends/nfs/tests/filer/server.rs"]
pub mod server;
#[path = "../../../backends/nfs/tests/filer/words.rs"]
mod words;
