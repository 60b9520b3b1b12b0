//! The procedures, by kind. Each names its section of RFC 1813 and says who may call it.
//! Never sockets or records; arguments in, outcome out.

pub(crate) mod attributes;
pub(crate) mod directory;
pub(crate) mod io;
pub(crate) mod mount;
pub(crate) mod names;
