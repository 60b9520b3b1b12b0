//! Why a script did not get what it asked for. A status of the server is a value to compare, never lost in text.

use std::fmt;

use wire::nfs4::{Nfsstat4, Opnum};

#[derive(Debug)]
pub enum Failure {
    /// An operation answered something else than OK.
    Status { op: Opnum, status: Nfsstat4 },
    /// The connection ended, or nothing came in time.
    Transport(std::io::Error),
    /// RPC did not accept the call.
    Rpc(wire::rpc::ReplyBody),
    /// The answer was no XDR of what was asked.
    Decode(wire::DecodeError),
    /// The answer was well-formed, and not one to this question.
    Unasked(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { op, status } => write!(f, "{op:?} answered {status:?}"),
            Self::Transport(error) => write!(f, "connection: {error}"),
            Self::Rpc(body) => write!(f, "RPC answered {body:?}"),
            Self::Decode(error) => write!(f, "the answer is malformed: {error}"),
            Self::Unasked(what) => write!(f, "unexpected answer: {what}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Transport(error)
    }
}

impl From<wire::DecodeError> for Failure {
    fn from(error: wire::DecodeError) -> Self {
        Self::Decode(error)
    }
}

/// The status of an answer, for assertions.
pub trait StatusOf {
    /// # Panics
    /// When there is no status to compare: a broken connection, a malformed answer.
    fn status(&self) -> Nfsstat4;
}

impl<T> StatusOf for Result<T, Failure> {
    #[track_caller]
    fn status(&self) -> Nfsstat4 {
        match self {
            Ok(_) => Nfsstat4::Ok,
            Err(Failure::Status { status, .. }) => *status,
            Err(other) => panic!("no status came: {other}"),
        }
    }
}
