//! A data object's life: made ahead, taken by a file, written through this server, padded, cut,
//! fenced, removed; and ranges of files: holes, space set aside, blocks shared, bytes copied. Whatever must end is durable first, idempotent, and taken up again at start.
//!
//! Never here: wire types, NFS statuses, who may do what.

mod clone;
mod copy;
mod deletion;
mod error;
mod fence;
mod found;
mod member;
mod objects;
mod observe;
mod orders;
mod owner;
mod placement;
mod pool;
mod proxy;
mod span;
mod sparse;
mod turns;
mod verifier;

pub use clone::Place;
pub use error::Error;
pub use member::{Health, Holds, Member};
pub use objects::{Objects, Options};
pub use observe::Observed;
pub use orders::{TruncateOrder, Truncating};
pub use owner::{BadRange, OwnerRange};
pub use placement::{Claim, Making, Placement};
