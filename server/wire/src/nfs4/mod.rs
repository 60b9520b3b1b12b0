//! NFSv4.1 and NFSv4.2 as plain data, for the server's side and the client's: RFC 8881, 5662, 7862, 7863,
//! 8275, 8276, 8435, 9754. Whether a message makes sense is never decided here.
//!
//! - [`Compound4Args`], [`ArgOp`], [`Compound4Res`], [`ResOp`]: COMPOUND and its table of operations
//! - `file_ops`, `open_ops`, `data_ops`, `session_ops`, `layout_ops`: arguments and results by family
//! - [`Attributes`], [`Attr`], [`Fattr4`], [`Bitmap4`]: attributes
//! - [`CbCompound4Args`] and what it holds: callbacks
//! - [`flex`]: bodies of the flexible file layout

#[macro_use]
mod codec;

mod attribute_types;
mod attributes;
mod callback;
mod compound;
mod data_ops;
mod file_ops;
pub mod flex;
mod layout_ops;
mod notify;
mod open_ops;
mod opnum;
#[cfg(test)]
mod sample;
mod session_ops;
mod status;
#[cfg(test)]
mod tests;
mod types;

pub use attribute_types::*;
pub use attributes::*;
pub use callback::*;
pub use codec::OperationError;
pub use compound::*;
pub use data_ops::*;
pub use file_ops::*;
pub use layout_ops::*;
pub use notify::*;
pub use open_ops::*;
pub use opnum::*;
pub use session_ops::*;
pub use status::*;
pub use types::*;
