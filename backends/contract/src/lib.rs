//! What Headrace asks of a data server, of whoever keeps a namespace of his own, and of whoever
//! keeps objects as wholes: a trait each, its capabilities, few kinds of error, an in-memory one for tests, a wrapper that injects faults, and
//! the suite that each passes.
//!
//! Never here: NFS status codes, policy.

mod chance;
pub mod conformance;
mod content;
mod contract;
mod fate;
mod faulty;
mod memory;
pub mod ranges;
pub mod tree;
pub mod upstream;

pub use contract::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, Fetched, FoundObject, Nanos,
    ObjectStat, Space, Stability, WriteVerifier, Written,
};
pub use fate::Faults;
pub use faulty::Faulty;
pub use memory::{LateWrite, MemoryServer, Rack};
pub use ranges::{Origin, RangeAbilities, Seek, Sought};
