//! Chunks of other people's objects, kept on this host's disk: which versions are served, which chunks
//! of them are here, and how the others come.
//!
//! A version is *offered* and then served until it is *withdrawn*, over restarts. A chunk is fetched
//! once for all who wait for it, given to them piece by piece as it comes, answered from memory for a moment, and
//! served from its file afterwards; a file is believed only when its checksum fits.
//!
//! Never here: NFS, a concrete keeper of objects.

mod disk;
mod ledger;
mod shelf;
mod store;
mod streams;

pub use ledger::{ObjectId, Offer};
pub use store::{Counters, Demand, Failed, Held, OpenError, Options, Part, Store};
