//! A raw client of NFSv4.1 and 4.2 for tests: it sends what a script says, well-formed or not, and hands back
//! what came. It never retries, recovers or hides a status.
//!
//! - [`Connection`]: one TCP connection, RPC calls both ways
//! - [`Callbacks`]: the back channel's answers, by script
//! - [`Client`]: a client with one session over one or more connections
//! - `rfc`: with what each operation may fail
//! - `delegations`: asking for delegations and returning them
//! - `verbs`: what a script says most often (`open`, `layoutget`, `rename`, …)

mod callbacks;
mod client;
mod connection;
mod delegations;
mod failure;
pub mod rfc;
mod verbs;
mod xattrs;

pub use callbacks::{CallbackAnswer, Callbacks};
pub use client::{Client, ClientSetup, Reply, anyone, root_user, user};
pub use connection::{Connection, RpcAnswer};
pub use delegations::{delegated, notified, recalled};
pub use failure::{Failure, StatusOf};
pub use verbs::{OpenFile, getattr, name, owner_of_opens, putfh};
