//! Where a file's bytes lie, as pure data and arithmetic: extents, stripes and mirrors, devices,
//! what a given kernel can take, and the choice of data servers for a new extent.
//!
//! Never here: wire types, I/O, a clock.

mod extent;

pub use extent::{DataServerId, Extent, ExtentState, Mirror, ObjectId, ObjectRef, Owner};
