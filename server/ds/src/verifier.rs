//! The write verifier (RFC 1813 §3.3.7): another one whenever unstable data may have been lost.
//! Never decides what is durable.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub struct Verifier(AtomicU64);

impl Verifier {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub fn current(&self) -> [u8; 8] {
        self.0.load(Ordering::SeqCst).to_be_bytes()
    }

    /// A sync failed: the kernel drops what it couldn't write, so clients must send again whatever
    /// they haven't committed.
    pub fn writes_lost(&self) {
        // An odd step, so that no value comes back before all have been used.
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
        tracing::error!(
            "a sync failed: the write verifier changes, and clients send uncommitted data again"
        );
    }
}
