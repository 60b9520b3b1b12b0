//! Operations in a file system that is elsewhere (RFC 8881 §11.4, §15.1.2.4).
//!
//! State, gate, catalog: none. Linux: LOOKUP of a referral goes well, GETFH behind it is MOVED, and then
//! GETATTR of `fs_locations` comes by the folder's name; the client mounts what that names.

use wire::nfs4::Opnum;

/// Whether an operation makes sense though the current filehandle's file system isn't here: it doesn't
/// look at it, or tells where it is.
pub(crate) fn goes_on_elsewhere(operation: Opnum) -> bool {
    use Opnum::*;
    match operation {
        // `attributes::absent` decides by what is asked for.
        Getattr | Verify | Nverify => true,
        Putfh | Putrootfh | Putpubfh | Restorefh => true,
        BackchannelCtl | BindConnToSession | ExchangeId | CreateSession | DestroySession
        | DestroyClientid | Sequence | SetSsv | ReclaimComplete | FreeStateid | TestStateid
        | Getdeviceinfo | Delegpurge | Illegal => true,
        // Of no minor version that is served.
        OpenConfirm | Renew | Setclientid | SetclientidConfirm | ReleaseLockowner => true,
        Access | Close | Commit | Create | Delegreturn | Getfh | Link | Lock | Lockt | Locku
        | Lookup | Lookupp | Open | Openattr | OpenDowngrade | Read | Readdir | Readlink
        | Remove | Rename | Savefh | Secinfo | SecinfoNoName | Setattr | Write
        | GetDirDelegation | Getdevicelist | Layoutcommit | Layoutget | Layoutreturn
        | WantDelegation | Allocate | Deallocate | Copy | CopyNotify | IoAdvise | Layouterror
        | Layoutstats | OffloadCancel | OffloadStatus | ReadPlus | Seek | WriteSame | Clone
        | Getxattr | Setxattr | Listxattrs | Removexattr => false,
    }
}
