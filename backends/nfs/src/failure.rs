//! What an NFSv3 answer means to those who use a data server: few kinds of error.
//!
//! Never here: what is done about one.

use backend::ErrorKind;
use nfs_client::Error;
use std::time::Duration;
use wire::nfs3::Nfsstat3;

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
