//! Data servers over NFSv3: ours and anybody's, as the `backend` contract wants them.
//!
//! Never here: the metadata server, the catalog, what a person is told of a data server.

mod failure;
mod place;
mod proof;
mod server;

pub use proof::{Proof, TRIAL_OBJECTS, TrialIds};
pub use server::{Address, ClientView, ConnectError, NfsDataServer, Options};
