//! What an NFSv3 answer means to those who use a data server, or a tree: few kinds of error.
//!
//! Never here: what is done about one.

use backend::ErrorKind;
use backend::tree::{TreeError, TreeErrorKind};
use nfs_client::{CallError, Error, RpcFault};
use std::time::Duration;
use wire::nfs3::Nfsstat3;
use wire::rpc::{Accepted, Denied};

const AFTER_SILENCE: Duration = Duration::from_secs(1);
const AFTER_JUKEBOX: Duration = Duration::from_millis(200);

pub(crate) fn failure(server: &str, error: &Error) -> backend::Error {
    let kind = match error {
        Error::Call { .. } => ErrorKind::Retry {
            after: AFTER_SILENCE,
        },
        Error::Refused { status, .. } => kind_of(*status),
    };
    backend::Error::new(kind, format!("data server {server}: {error}"))
}

fn kind_of(status: Nfsstat3) -> ErrorKind {
    use Nfsstat3::*;
    match status {
        Stale | Badhandle | Noent => ErrorKind::Gone,
        Acces => ErrorKind::Fenced,
        Nospc | Dquot => ErrorKind::Full,
        Fbig => ErrorKind::TooLarge,
        Jukebox => ErrorKind::Retry {
            after: AFTER_JUKEBOX,
        },
        // REMOTE: a PULL from where that server can't read.
        Perm | Inval | Notsupp | Badtype | Rofs | Remote => ErrorKind::Unsupported,
        Io | Nxio | Exist | Xdev | Nodev | Notdir | Isdir | Mlink | Nametoolong | Notempty
        | NotSync | BadCookie | Toosmall | Serverfault => ErrorKind::Broken,
    }
}

pub(crate) fn tree_failure(filer: &str, error: &Error) -> TreeError {
    let kind = match error {
        Error::Call { source, .. } => tree_kind_of_silence(source),
        Error::Refused { status, .. } => tree_kind_of(*status),
    };
    TreeError::new(kind, format!("filer {filer}: {error}"))
}

fn tree_kind_of(status: Nfsstat3) -> TreeErrorKind {
    use Nfsstat3::*;
    match status {
        Stale | Badhandle => TreeErrorKind::Gone,
        Noent => TreeErrorKind::NoEntry,
        Exist => TreeErrorKind::Exists,
        Acces => TreeErrorKind::Denied,
        Perm => TreeErrorKind::NotOwner,
        Notdir => TreeErrorKind::NotFolder,
        Isdir => TreeErrorKind::IsFolder,
        Notempty => TreeErrorKind::NotEmpty,
        Rofs => TreeErrorKind::ReadOnly,
        Nametoolong => TreeErrorKind::NameTooLong,
        // Some filers answer so what only files can be asked for.
        Inval | Badtype => TreeErrorKind::Invalid,
        Mlink => TreeErrorKind::TooManyLinks,
        Xdev => TreeErrorKind::OtherDevice,
        Nospc => TreeErrorKind::Full,
        Dquot => TreeErrorKind::OverQuota,
        Fbig => TreeErrorKind::TooLarge,
        NotSync => TreeErrorKind::Conflict,
        BadCookie => TreeErrorKind::BadCookie,
        Notsupp => TreeErrorKind::Unsupported,
        Jukebox => TreeErrorKind::Retry {
            after: AFTER_JUKEBOX,
        },
        Io | Nxio | Nodev | Remote | Toosmall | Serverfault => TreeErrorKind::Broken,
    }
}

fn tree_kind_of_silence(why: &CallError) -> TreeErrorKind {
    match why {
        CallError::Rpc(RpcFault::Denied(Denied::AuthError(_))) => TreeErrorKind::Denied,
        CallError::Rpc(RpcFault::Accepted(Accepted::ProcUnavail)) => TreeErrorKind::Unsupported,
        CallError::Rpc(
            RpcFault::Denied(Denied::RpcMismatch { .. })
            | RpcFault::Accepted(Accepted::GarbageArgs),
        )
        | CallError::Decode(_)
        | CallError::ReplyTooLong { .. } => TreeErrorKind::Broken,
        // The program may be gone while the filer starts.
        CallError::Rpc(RpcFault::Accepted(_))
        | CallError::Timeout { .. }
        | CallError::Unreachable { .. }
        | CallError::Disconnected { .. } => TreeErrorKind::Retry {
            after: AFTER_SILENCE,
        },
    }
}
