//! What an operator writes, as checked plain data: the files of `headrace mds` and `headrace ds`,
//! every fault in them with its place and its way out, and the reference of every key.
//!
//! Never here: our other crates, the network, or anything that a running server learns.

mod address;
mod any;
mod backend;
mod document;
mod ds;
mod fault;
mod identity;
mod limits;
mod log;
mod mds;
mod reference;
mod referral;
mod reload;
mod rules;
mod section;
mod units;
mod value;

pub use address::{Cidr, ExportPath, HostPort, IdRange, NFS_PORT, Name};
pub use any::AnyConfig;
pub use backend::{Backend, BackendKind, BackendMode, Junction, Text, Writers};
pub use ds::{DataServerProcess, DsConfig, DsLimits, Engine};
pub use fault::{Fault, Faults, Place};
pub use identity::{AccountName, Group, Identity, IdentityDomain, IdentityMode, User};
pub use limits::Limits;
pub use log::{LogFormat, LogLevel};
pub use mds::{
    Access, DataServer, Export, Fence, FileDelegations, Layout, MdsConfig, Placement,
    SecurityLabels, Server, ServerCopy, Squash, Switch,
};
pub use reference::reference_markdown;
pub use referral::{Host, Referral};
pub use reload::ReloadDiff;
pub use units::{Bytes, Seconds};
pub use value::StripeCount;
