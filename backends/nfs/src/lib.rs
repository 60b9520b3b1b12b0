//! Data servers over NFSv3, ours and anybody's, and existing exports, as the `backend` contracts want
//! them.
//!
//! Never here: the metadata server, the catalog, what a person is told of a data server.

mod export;
mod failure;
mod found;
mod place;
mod proof;
mod ranges;
mod server;
mod stat;
mod view;

pub use export::{ExportError, ExportOptions, NfsExport};
pub use proof::{Proof, TRIAL_OBJECTS, TrialIds};
pub use server::{Address, ConnectError, NfsDataServer, Options};
pub use view::ClientView;
