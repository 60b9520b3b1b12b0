//! Data servers over NFSv3: ours and anybody's, as the `backend` contract wants them, and the proof
//! that one is fit for it.
//!
//! Never here: the metadata server, the catalog.

mod failure;
mod place;
mod prove;
mod server;

pub use prove::{Finding, Report, TrialIds, Verdict, prove};
pub use server::{Address, ClientView, ConnectError, NfsDataServer, Options};
