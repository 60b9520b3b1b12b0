//! The port mapper, version 2 (RFC 1833 §3): as much of it as finding a port needs. Never here:
//! rpcbind versions 3 and 4.

use crate::{xdr_enum, xdr_struct};

pub const PROGRAM: u32 = 100_000;
pub const VERSION: u32 = 2;
pub const PORT: u16 = 111;

pub const IPPROTO_TCP: u32 = 6;
pub const IPPROTO_UDP: u32 = 17;

xdr_enum! {
    pub enum Procedure {
        Null = 0,
        Set = 1,
        Unset = 2,
        Getport = 3,
        Dump = 4,
        Callit = 5,
    }
}

xdr_struct! {
    /// The argument of GETPORT, whose `port` is ignored. The result is one word: the port, or 0
    /// when the program is not registered.
    #[derive(Copy)]
    pub struct Mapping {
        pub program: u32,
        pub version: u32,
        pub protocol: u32,
        pub port: u32,
    }
}
