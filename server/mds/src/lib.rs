//! The metadata server: NFSv4.1 and 4.2 COMPOUNDs in, decisions out. It owns sessions, opens,
//! locks and layouts, asks the catalog for names and the data servers for bytes.
//!
//! Never here: sockets, concrete backends, ambient time or randomness.

mod attributes;
mod callbacks;
mod clock;
mod compound;
mod connection;
mod courtesy;
mod delegations;
mod devices;
mod execute;
mod exports;
mod faults;
mod fencing;
mod filehandle;
mod gate;
mod housekeeping;
mod identity;
mod junction;
mod metrics;
mod ops;
mod partner;
mod placement;
mod recalls;
mod reports;
mod rounds;
mod scanning;
mod server;
mod settle;
pub mod state;
mod status;
mod truncate;
mod v3;
mod withdraw;
mod writing;

pub use clock::Clock;
pub use connection::{BackChannel, BackChannelError, Connection};
pub use execute::{Answered, ReplyRoom};
pub use exports::{Access, Delegations, Elsewhere, ExportRule, Exports, Squash};
pub use filehandle::HandleKey;
pub use identity::{
    AccountCounters, Accounts, AccountsError, Answer, Directory, DirectoryOptions, FixedAccounts,
    Question,
};
pub use junction::{DirectRefusal, Junction, JunctionCounters};
pub use metrics::{LATENCY_BOUNDS_MICROS, Metrics, OperationCounters};
pub use partner::{Partner, PartnerData, PartnerFault, PartnerFile, Partners, ServerCopy};
pub use reports::{FileReport, ServerReport, Traffic};
pub use scanning::Scanning;
pub use server::{Identity, Parts, Server, Settings};
