//! What several clients did to one folder, and whether a file system may answer so.
//!
//! Workers run inside guests, take turns with nobody, and write down each operation between two ticks of a clock
//! that they all share. The checker reads what they wrote; it is pure, and knows nothing of servers.

pub mod check;
pub mod event;
pub mod plan;
pub mod ticks;
pub mod work;
