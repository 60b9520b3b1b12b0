//! The procedures, by kind. Each says who may call it, and those of NFSv3 name their section of RFC 1813.
//! Never sockets or records; arguments in, outcome out.

pub(crate) mod attributes;
pub(crate) mod cached;
pub(crate) mod directory;
pub(crate) mod io;
pub(crate) mod mount;
pub(crate) mod names;
pub(crate) mod pull;
pub(crate) mod ranges;
