//! Everything that Headrace says on a wire, as plain data: XDR, record marking, ONC RPC, and the
//! messages of NFSv3, MOUNT, NFSv4.1/4.2, their callbacks, the flexible file layout, and what our own
//! servers say to each other.
//!
//! Never here: what a message means, a socket, a clock.

pub mod ds;
pub mod mount;
pub mod nfs3;
pub mod nfs4;
pub mod portmap;
pub mod record;
pub mod rpc;
#[cfg(test)]
mod testing;
pub mod xdr;

pub use xdr::{DecodeError, Decoder, Encoder, Xdr};
