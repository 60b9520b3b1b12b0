//! An error of the disk as an NFS status. The only place where one becomes the other.

use std::io;

use wire::nfs3::Nfsstat3;

/// Linux clients take PERM for a broken connection and retry it for ever, so it is never sent.
pub fn of(error: &io::Error) -> Nfsstat3 {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => Nfsstat3::Nospc,
        Some(libc::EDQUOT) => Nfsstat3::Dquot,
        Some(libc::EFBIG | libc::EOVERFLOW) => Nfsstat3::Fbig,
        Some(libc::EROFS) => Nfsstat3::Rofs,
        Some(libc::EINVAL) => Nfsstat3::Inval,
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY | libc::EXDEV) => Nfsstat3::Notsupp,
        Some(libc::ENOENT | libc::ESTALE) => Nfsstat3::Stale,
        Some(libc::EACCES | libc::EPERM) => Nfsstat3::Acces,
        // These pass; the client waits and asks again.
        Some(
            libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN | libc::EINTR | libc::EBUSY,
        ) => Nfsstat3::Jukebox,
        _ => Nfsstat3::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let status = |code| of(&io::Error::from_raw_os_error(code));
        assert_eq!(status(libc::ENOSPC), Nfsstat3::Nospc);
        assert_eq!(status(libc::EDQUOT), Nfsstat3::Dquot);
        assert_eq!(status(libc::EFBIG), Nfsstat3::Fbig);
        assert_eq!(status(libc::EIO), Nfsstat3::Io);
        assert_eq!(of(&io::Error::other("anything")), Nfsstat3::Io);
    }

    #[test]
    fn perm_is_never_sent() {
        for code in 1..200 {
            assert_ne!(of(&io::Error::from_raw_os_error(code)), Nfsstat3::Perm);
        }
    }
}
