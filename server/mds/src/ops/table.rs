//! One row per operation, and the dispatch. RFC 8881 §17, RFC 7862 §13, RFC 8276 §8.

use super::copy_notify::ADDRESSES_MAX;
use wire::nfs4::Opnum;

/// What the executor must know of an operation before it runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// The lowest minor version that has the operation.
    pub minor: u32,
    /// May be the first of a COMPOUND that has no SEQUENCE (RFC 8881 §2.10.2.2).
    pub without_session: bool,
    /// Leaves something behind that a retry must not do again.
    pub changes: bool,
    /// Bytes that its successful result takes at least, status and number included: a reply
    /// without that much room is refused before anything is done (RFC 8881 §2.10.6.4).
    pub least_reply_bytes: usize,
}

const fn row(minor: u32, without_session: bool, changes: bool, least_reply_bytes: usize) -> Row {
    Row {
        minor,
        without_session,
        changes,
        least_reply_bytes: least_reply_bytes + 8,
    }
}

const CHANGE_INFO: usize = 20;
const STATEID: usize = 16;
/// With the stateid of a copy that goes on.
const WRITE_RESPONSE: usize = 4 + STATEID + 8 + 4 + 8;
/// Kind, netid, and an address of IPv6 with its port.
const NETLOC: usize = 4 + 8 + 4 + 56;
/// Attributes that were set: three words behind their count.
const BITMAP: usize = 16;
/// Type, stateid, recall, space limit, an entry for nobody.
const DELEGATION: usize = 4 + STATEID + 4 + 12 + 16;

impl Row {
    pub const fn of(operation: Opnum) -> Row {
        use Opnum::*;
        match operation {
            Access => row(1, false, false, 8),
            Close => row(1, false, true, STATEID),
            Commit => row(1, false, true, 8),
            Create => row(1, false, true, CHANGE_INFO + BITMAP),
            Delegpurge | Delegreturn => row(1, false, true, 0),
            Getattr => row(1, false, false, 8),
            Getfh => row(1, false, false, 36),
            Link => row(1, false, true, CHANGE_INFO),
            Lock => row(1, false, true, STATEID),
            Lockt => row(1, false, false, 0),
            Locku => row(1, false, true, STATEID),
            Lookup | Lookupp | Nverify | Verify => row(1, false, false, 0),
            Open => row(
                1,
                false,
                true,
                STATEID + CHANGE_INFO + 4 + BITMAP + DELEGATION,
            ),
            Openattr => row(1, false, true, 0),
            OpenDowngrade => row(1, false, true, STATEID),
            Putfh | Putpubfh | Putrootfh => row(1, false, false, 0),
            Read => row(1, false, false, 8),
            Readdir => row(1, false, false, 16),
            Readlink => row(1, false, false, 4),
            Remove => row(1, false, true, CHANGE_INFO),
            Rename => row(1, false, true, 2 * CHANGE_INFO),
            Restorefh | Savefh => row(1, false, false, 0),
            Secinfo | SecinfoNoName => row(1, false, false, 4),
            Setattr => row(1, false, true, BITMAP),
            Write => row(1, false, true, 16),
            BackchannelCtl => row(1, false, true, 0),
            BindConnToSession => row(1, true, true, 24),
            ExchangeId => row(1, true, true, 256),
            CreateSession => row(1, true, true, 80),
            DestroySession => row(1, true, true, 0),
            FreeStateid => row(1, false, true, 0),
            GetDirDelegation => row(1, false, true, 4 + 8 + STATEID + 3 * 4),
            Getdeviceinfo => row(1, false, false, 8),
            Getdevicelist => row(1, false, false, 8),
            Layoutcommit => row(1, false, true, 12),
            Layoutget => row(1, false, true, STATEID + 8),
            Layoutreturn => row(1, false, true, 4 + STATEID),
            Sequence => row(1, true, false, 36),
            SetSsv => row(1, false, true, 4),
            TestStateid => row(1, false, false, 4),
            WantDelegation => row(1, false, true, DELEGATION),
            DestroyClientid => row(1, true, true, 0),
            ReclaimComplete => row(1, false, true, 0),
            Allocate | Deallocate => row(2, false, true, 0),
            Copy => row(2, false, true, WRITE_RESPONSE + 8),
            CopyNotify => row(2, false, true, 12 + STATEID + 4 + NETLOC * ADDRESSES_MAX),
            IoAdvise => row(2, false, false, 4),
            Layouterror | Layoutstats => row(2, false, true, 0),
            OffloadCancel => row(2, false, true, 0),
            OffloadStatus => row(2, false, false, 8),
            ReadPlus => row(2, false, false, 8),
            Seek => row(2, false, false, 12),
            WriteSame => row(2, false, true, WRITE_RESPONSE),
            Clone => row(2, false, true, 0),
            Getxattr | Listxattrs => row(2, false, false, 4),
            Setxattr | Removexattr => row(2, false, true, CHANGE_INFO),
            // Of version 4.0 alone: NOTSUPP in any later one (RFC 8881 §17).
            OpenConfirm | Renew | Setclientid | SetclientidConfirm | ReleaseLockowner => {
                row(1, false, false, 0)
            }
            Illegal => row(1, false, false, 0),
        }
    }
}
