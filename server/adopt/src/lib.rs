//! A filer's tree, brought into the catalog without moving a byte: a scan of its directories, which goes
//! on after restarts and hurries to where somebody waits.
//!
//! Never here: a message of NFS, and what becomes of a file once it is in the catalog.

mod folder;
mod scan;

pub use scan::{BeginError, Parts, Progress, Scan, ScanState};
