//! How a client connects, waits and tries again. Never here: what it calls.

use std::num::NonZeroUsize;
use std::time::Duration;

/// What a [`Client`](crate::Client) is made with. Every queue and every wait has its limit here.
#[derive(Debug, Clone)]
pub struct Options {
    /// TCP connections over which calls are spread.
    pub connections: NonZeroUsize,
    /// Calls in flight over all connections; further ones wait, within their deadline.
    pub in_flight_max: NonZeroUsize,
    /// Of each call, from the moment it is made, unless the handle says another one.
    pub deadline: Duration,
    /// Of one attempt to connect.
    pub dial_deadline: Duration,
    /// A peer whose host has not acknowledged anything for so long is given up.
    pub dead_peer_after: Duration,
    pub backoff: Backoff,
    pub source_port: SourcePort,
    /// The longest reply that is received; more than READ's largest payload.
    pub reply_limit_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: NonZeroUsize::MIN,
            in_flight_max: NonZeroUsize::new(128).unwrap_or(NonZeroUsize::MIN),
            deadline: Duration::from_secs(30),
            dial_deadline: Duration::from_secs(5),
            dead_peer_after: Duration::from_secs(20),
            backoff: Backoff::default(),
            source_port: SourcePort::default(),
            reply_limit_bytes: wire::nfs3::PAYLOAD_MAX_BYTES + 64 * 1024,
        }
    }
}

/// The wait before connecting again after a failure: `first`, then twice as long each time, up to
/// `longest`. After a connection that gave a reply there is none.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(5),
        }
    }
}

/// The port that connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SourcePort {
    /// Below 1024, as knfsd's and Ganesha's `secure` exports ask for; any port where the process
    /// may not have one.
    #[default]
    Privileged,
    Any,
}

/// Whether a call may be sent again when its connection breaks before its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Executing twice comes to the same as once.
    Idempotent,
    /// The caller is told that it may have been executed.
    Never,
}
