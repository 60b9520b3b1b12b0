//! What Headrace asks of a data server, whoever made it: a trait, its capabilities, few kinds of
//! error, an in-memory one for tests, a wrapper that injects faults, and the suite that each passes.
//!
//! Never here: NFS status codes, policy.

mod contract;

pub use contract::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, ObjectStat, Space, Stability, WriteVerifier, Written,
};
