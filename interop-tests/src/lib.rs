//! Clients for the tests of a running server, and what those tests share. Imported by nothing but them.

pub mod nfs41;
