//! Where a file's bytes lie, as pure data and arithmetic: extents, stripes and mirrors, devices,
//! what a given kernel can take, and the choice of data servers for a new extent.
//!
//! Never here: wire types, I/O, a clock.

mod device;
mod extent;
mod geometry;
mod kernel;
mod offer;
mod placement;
mod stripe;

pub use device::{Device, DeviceChange, DeviceId, DeviceTable, universal_address};
pub use extent::{
    AsFound, DataServerId, Extent, ExtentState, HANDLE_LIMIT_BYTES, Mirror, ObjectId, ObjectRef,
    Owner, Unsound,
};
pub use geometry::{Locate, Segment, locate, object_size_for, stripe_of, written_end};
pub use kernel::{Capability, ClientKernel};
pub use offer::{Access, Grant, NoOffer, data_server_bytes, grant, most_objects, result_bytes};
pub use placement::{Candidate, NoPlace, Want, place};
pub use stripe::Stripe;
