//! An NFSv3 client: many calls in flight over few connections, replies in any order, reconnecting,
//! and a deadline on each call. MOUNT and the port mapper are here as far as they lead to NFS,
//! and the program that our own data servers have besides it. An NFSv4.2 session reads another server's files.
//!
//! Never here: what a file is for, and a cache.

mod caller;
mod channel;
mod client;
mod dial;
mod error;
mod lane;
pub mod mount;
mod options;
mod procedures;
mod ranges;
mod session;

pub use caller::Caller;
pub use client::Client;
pub use error::{CallError, Called, Error, RpcFault};
pub use options::{Backoff, Options, Resend, SourcePort};
pub use session::{Session, SessionError};
