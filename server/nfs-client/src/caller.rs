//! Who a call comes from. Never here: whether a server believes it.

use std::sync::Arc;

use bytes::Bytes;
use wire::rpc::{AuthSys, Credential, Gids, MachineName};

/// A credential, cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Credential>);

impl Caller {
    /// AUTH_NONE
    pub fn none() -> Self {
        Self(Arc::new(Credential::None))
    }

    /// Whoever a credential names.
    pub fn of(credential: Credential) -> Self {
        Self(Arc::new(credential))
    }

    /// AUTH_SYS, which carries at most 255 bytes of `machine` and the first 16 of `gids`.
    pub fn sys(machine: &str, uid: u32, gid: u32, gids: &[u32]) -> Self {
        let machine = &machine.as_bytes()[..machine.len().min(MachineName::LIMIT_BYTES)];
        Self(Arc::new(Credential::Sys(AuthSys {
            stamp: 0,
            machine: MachineName::new(Bytes::copy_from_slice(machine)).unwrap_or_default(),
            uid,
            gid,
            gids: Gids::first(gids.to_vec()),
        })))
    }

    /// Root, as the machine calls itself.
    pub fn root(machine: &str) -> Self {
        Self::sys(machine, 0, 0, &[])
    }

    pub fn credential(&self) -> &Credential {
        &self.0
    }
}
