//! What the fuzz target of whole COMPOUNDs stands on. Never here: the target.

pub mod hand;
pub mod world;
