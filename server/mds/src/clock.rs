//! Time, as an argument: the binary gives the system's, a test a virtual one.

use crate::state::Time;
use catalog::Timestamp;

pub trait Clock: Send + Sync + 'static {
    /// For leases and deadlines: never goes back.
    fn monotonic(&self) -> Time;

    /// For what files show.
    fn wall(&self) -> Timestamp;
}
