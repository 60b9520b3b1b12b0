//! Why a call gave no result. Never here: what is done about it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::DecodeError;
use wire::nfs3::{Nfsstat3, Procedure};
use wire::rpc::{Accepted, Denied};

/// Which procedure, of which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    Nfs(Procedure),
    /// Of our own data servers.
    Ds(wire::ds::Procedure),
}

impl std::fmt::Display for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nfs(procedure) => procedure.fmt(f),
            Self::Ds(procedure) => procedure.fmt(f),
        }
    }
}

/// Why a procedure of NFS, or of our own data servers, gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("{procedure} to {server}: {source}")]
    Call {
        server: SocketAddr,
        procedure: Called,
        source: CallError,
    },
    #[error("{server} refused {procedure}: {status}")]
    Refused {
        server: SocketAddr,
        procedure: Called,
        status: Nfsstat3,
    },
}

impl Error {
    /// The status, when the server executed the call and refused it.
    pub fn status(&self) -> Option<Nfsstat3> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            Error::Call { .. } => None,
        }
    }

    /// Whether the server doesn't have the program, in this version, or the procedure.
    pub fn is_unknown_there(&self) -> bool {
        use Accepted::{ProcUnavail, ProgMismatch, ProgUnavail};
        matches!(
            self,
            Error::Call {
                source: CallError::Rpc(RpcFault::Accepted(
                    ProgUnavail | ProcUnavail | ProgMismatch { .. }
                )),
                ..
            }
        )
    }

    /// Whether the server may have done what it was asked, or may still do it.
    pub fn may_have_run(&self) -> bool {
        match self {
            Error::Refused { .. } => false,
            Error::Call { source, .. } => source.may_have_run(),
        }
    }
}

/// Why an RPC gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    #[error("no reply within {after:?}")]
    Timeout { after: Duration, may_have_run: bool },
    #[error("no connection within {after:?}: {reason}")]
    Unreachable {
        after: Duration,
        may_have_run: bool,
        reason: Arc<str>,
    },
    #[error("the connection broke before the reply: {reason}")]
    Disconnected { reason: Arc<str> },
    #[error(transparent)]
    Rpc(#[from] RpcFault),
    #[error("the reply is malformed: {0}")]
    Decode(#[from] DecodeError),
    #[error("the reply is longer than the {limit} bytes allowed")]
    ReplyTooLong { limit: usize },
}

impl CallError {
    /// Whether the server may have executed the call, or may still do so.
    pub fn may_have_run(&self) -> bool {
        match self {
            CallError::Timeout { may_have_run, .. }
            | CallError::Unreachable { may_have_run, .. } => *may_have_run,
            CallError::Disconnected { .. }
            | CallError::Decode(_)
            | CallError::ReplyTooLong { .. } => true,
            CallError::Rpc(fault) => *fault == RpcFault::Accepted(Accepted::SystemErr),
        }
    }
}

/// A reply of RPC itself: the procedure was not executed, or says nothing of how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RpcFault {
    #[error("the server {}", accepted_words(*.0))]
    Accepted(Accepted),
    #[error("the server denied the call: {}", denied_words(*.0))]
    Denied(Denied),
}

fn accepted_words(status: Accepted) -> String {
    match status {
        Accepted::Success => "succeeded".into(),
        Accepted::ProgUnavail => "doesn't have this program (PROG_UNAVAIL)".into(),
        Accepted::ProgMismatch { low, high } => {
            format!("has versions {low} to {high} of this program alone (PROG_MISMATCH)")
        }
        Accepted::ProcUnavail => "doesn't have this procedure (PROC_UNAVAIL)".into(),
        Accepted::GarbageArgs => "doesn't understand the arguments (GARBAGE_ARGS)".into(),
        Accepted::SystemErr => "failed (SYSTEM_ERR)".into(),
    }
}

fn denied_words(why: Denied) -> String {
    match why {
        Denied::RpcMismatch { low, high } => format!("it speaks RPC versions {low} to {high}"),
        Denied::AuthError(status) => format!("the credential is not accepted ({status:?})"),
    }
}
