//! The operations, one file each (small families share one), and the table that leads to them.
//! Never here: what a session or a slot is (`state`), how a COMPOUND runs (`execute`).

mod absent;
mod access;
mod allocate;
mod clone;
mod close;
mod copied_range;
mod copy;
mod copy_notify;
mod create;
mod delegreturn;
mod exchange_id;
mod filehandles;
mod get_dir_delegation;
mod getattr;
mod getdeviceinfo;
mod getxattr;
mod io;
mod io_advise;
mod junction;
mod layoutcommit;
mod layouterror;
mod layoutget;
mod layoutreturn;
mod layoutstats;
pub(crate) mod legacy;
mod link;
mod listxattrs;
mod location;
mod lock;
mod lookup;
mod offload;
mod open;
mod read_plus;
mod readdir;
mod readlink;
mod remove;
mod removexattr;
mod rename;
mod secinfo;
mod seek;
mod sessions;
mod setattr;
mod setxattr;
mod table;
mod verify;
mod want_delegation;
mod write_same;

pub(crate) use copy::is_between_servers;
pub(crate) use open::delegation::open_arguments;
pub(crate) use table::Row;

use crate::compound::Compound;
use crate::status::Refusal;
use wire::nfs4::{
    ArgOp, Bitmap4, Copy4Error, Layoutget4Error, Layoutiomode4, Nfsstat4, OperationError, Opnum,
    ResOp, Setattr4Error,
};

pub(crate) fn lays_out_to_write(operation: &ArgOp) -> bool {
    matches!(operation, ArgOp::Layoutget(args) if args.iomode == Layoutiomode4::Rw)
}

/// Runs one operation. The executor has checked its row already. What looks at files most often is polled in its place;
/// the others are boxed, so that a request's future isn't as large as the largest of them.
pub(crate) async fn dispatch(operation: ArgOp, cx: &mut Compound<'_>) -> ResOp {
    let opnum = operation.opnum();
    let server = cx.server;
    let told = |operation, refusal: &Refusal| server.told(operation, refusal);
    let no = |refusal: Refusal| told(opnum, &refusal);
    if let Some(file) = &cx.current
        && file.export.elsewhere.is_some()
        && !absent::goes_on_elsewhere(opnum)
    {
        return ResOp::failed(opnum, Nfsstat4::Moved);
    }
    if junction::has_its_own(opnum, cx) {
        return Box::pin(junction::dispatch(operation, cx)).await;
    }
    match operation {
        ArgOp::Access(args) => ResOp::Access(access::access(args, cx).await.map_err(no)),
        ArgOp::Close(args) => ResOp::Close(close::close(&args, cx).map_err(no)),
        ArgOp::Commit(_) => ResOp::Commit(Box::pin(io::commit(cx)).await.map_err(no)),
        ArgOp::Create(args) => ResOp::Create(Box::pin(create::create(args, cx)).await.map_err(no)),
        ArgOp::Getattr(args) => ResOp::Getattr(getattr::getattr(args, cx).await.map_err(no)),
        ArgOp::Getfh => ResOp::Getfh(filehandles::getfh(cx).map_err(no)),
        ArgOp::Link(args) => ResOp::Link(Box::pin(link::link(args, cx)).await.map_err(no)),
        ArgOp::Lock(args) => ResOp::Lock(Box::pin(lock::lock(args, cx)).await.map_err(|failure| failure.into_wire(|r| told(opnum, r)))),
        ArgOp::Lockt(args) => ResOp::Lockt(Box::pin(lock::lockt(args, cx)).await.map_err(|failure| failure.into_wire(|r| told(opnum, r)))),
        ArgOp::Locku(args) => ResOp::Locku(lock::locku(&args, cx).map_err(no)),
        ArgOp::Lookup(args) => ResOp::Lookup(lookup::lookup(args, cx).await.map_err(no)),
        ArgOp::Lookupp => ResOp::Lookupp(lookup::lookupp(cx).await.map_err(no)),
        ArgOp::Nverify(args) => ResOp::Nverify(Box::pin(verify::nverify(args.obj_attributes, cx)).await.map_err(no)),
        ArgOp::Open(args) => ResOp::Open(Box::pin(open::open(args, cx)).await.map_err(no)),
        ArgOp::OpenDowngrade(args) => ResOp::OpenDowngrade(close::open_downgrade(&args, cx).map_err(no)),
        ArgOp::Putfh(args) => ResOp::Putfh(filehandles::putfh(args, cx).await.map_err(no)),
        ArgOp::Putpubfh => ResOp::Putpubfh(filehandles::putrootfh(cx).await.map_err(no)),
        ArgOp::Putrootfh => ResOp::Putrootfh(filehandles::putrootfh(cx).await.map_err(no)),
        ArgOp::Read(args) => ResOp::Read(Box::pin(io::read(&args, cx)).await.map_err(no)),
        ArgOp::Readdir(args) => ResOp::Readdir(Box::pin(readdir::readdir(args, cx)).await.map_err(no)),
        ArgOp::Readlink => ResOp::Readlink(Box::pin(readlink::readlink(cx)).await.map_err(no)),
        ArgOp::Remove(args) => ResOp::Remove(Box::pin(remove::remove(args, cx)).await.map_err(no)),
        ArgOp::Rename(args) => ResOp::Rename(Box::pin(rename::rename(args, cx)).await.map_err(no)),
        ArgOp::Restorefh => ResOp::Restorefh(filehandles::restorefh(cx).await.map_err(no)),
        ArgOp::Savefh => ResOp::Savefh(filehandles::savefh(cx).map_err(no)),
        ArgOp::Secinfo(args) => ResOp::Secinfo(Box::pin(secinfo::secinfo(args, cx)).await.map_err(no)),
        ArgOp::SecinfoNoName(args) => ResOp::SecinfoNoName(Box::pin(secinfo::secinfo_no_name(args, cx)).await.map_err(no)),
        ArgOp::Setattr(args) => ResOp::Setattr(
            Box::pin(setattr::setattr(args, cx)).await
                .map_err(|refusal| Setattr4Error { status: no(refusal), attrsset: Bitmap4::EMPTY }),
        ),
        ArgOp::Verify(args) => ResOp::Verify(Box::pin(verify::verify(args.obj_attributes, cx)).await.map_err(no)),
        ArgOp::Write(args) => ResOp::Write(Box::pin(io::write(args, cx)).await.map_err(no)),
        ArgOp::BackchannelCtl(args) => ResOp::BackchannelCtl(sessions::backchannel_ctl(&args, cx).map_err(no)),
        ArgOp::BindConnToSession(args) => {
            ResOp::BindConnToSession(sessions::bind_conn_to_session(&args, cx).map_err(no))
        }
        ArgOp::ExchangeId(args) => ResOp::ExchangeId(Box::pin(exchange_id::exchange_id(args, cx)).await.map_err(no)),
        ArgOp::CreateSession(args) => ResOp::CreateSession(Box::pin(sessions::create_session(args, cx)).await.map_err(no)),
        ArgOp::DestroySession(args) => ResOp::DestroySession(sessions::destroy_session(&args, cx).map_err(no)),
        ArgOp::DestroyClientid(args) => {
            ResOp::DestroyClientid(Box::pin(exchange_id::destroy_clientid(args, cx)).await.map_err(no))
        }
        ArgOp::FreeStateid(args) => ResOp::FreeStateid(lock::free_stateid(&args, cx).map_err(no)),
        ArgOp::TestStateid(args) => ResOp::TestStateid(lock::test_stateid(&args, cx).map_err(no)),
        ArgOp::ReclaimComplete(args) => {
            ResOp::ReclaimComplete(Box::pin(sessions::reclaim_complete(args, cx)).await.map_err(no))
        }
        ArgOp::Delegreturn(args) => ResOp::Delegreturn(delegreturn::delegreturn(&args, cx).map_err(no)),
        ArgOp::WantDelegation(args) => {
            ResOp::WantDelegation(Box::pin(want_delegation::want_delegation(args, cx)).await.map_err(no))
        }
        ArgOp::GetDirDelegation(args) => {
            ResOp::GetDirDelegation(Box::pin(get_dir_delegation::get_dir_delegation(args, cx)).await.map_err(no))
        }
        ArgOp::Getdeviceinfo(args) => ResOp::Getdeviceinfo(
            getdeviceinfo::getdeviceinfo(&args, cx).map_err(|failure| failure.into_wire(|r| told(opnum, r))),
        ),
        ArgOp::Getdevicelist(args) => ResOp::Getdevicelist(getdeviceinfo::getdevicelist(&args, cx).map_err(no)),
        ArgOp::Layoutcommit(args) => ResOp::Layoutcommit(Box::pin(layoutcommit::layoutcommit(args, cx)).await.map_err(no)),
        ArgOp::Layoutget(args) => ResOp::Layoutget(
            Box::pin(layoutget::layoutget(args, cx)).await.map_err(|refusal| Layoutget4Error::from_status(no(refusal))),
        ),
        ArgOp::Layoutreturn(args) => ResOp::Layoutreturn(Box::pin(layoutreturn::layoutreturn(args, cx)).await.map_err(no)),
        ArgOp::Layouterror(args) => ResOp::Layouterror(Box::pin(layouterror::layouterror(&args, cx)).await.map_err(no)),
        ArgOp::Layoutstats(args) => ResOp::Layoutstats(layoutstats::layoutstats(&args, cx).map_err(no)),
        ArgOp::Getxattr(args) => ResOp::Getxattr(Box::pin(getxattr::getxattr(args, cx)).await.map_err(no)),
        ArgOp::Setxattr(args) => ResOp::Setxattr(Box::pin(setxattr::setxattr(args, cx)).await.map_err(no)),
        ArgOp::Listxattrs(args) => ResOp::Listxattrs(Box::pin(listxattrs::listxattrs(args, cx)).await.map_err(no)),
        ArgOp::Removexattr(args) => ResOp::Removexattr(Box::pin(removexattr::removexattr(args, cx)).await.map_err(no)),
        ArgOp::Allocate(args) => ResOp::Allocate(Box::pin(allocate::allocate(&args, cx)).await.map_err(no)),
        ArgOp::Deallocate(args) => ResOp::Deallocate(Box::pin(allocate::deallocate(&args, cx)).await.map_err(no)),
        ArgOp::Clone(args) => ResOp::Clone(Box::pin(clone::clone(&args, cx)).await.map_err(no)),
        ArgOp::Copy(args) => ResOp::Copy(
            Box::pin(copy::copy(&args, cx)).await.map_err(|refusal| Copy4Error::from_status(no(refusal))),
        ),
        ArgOp::CopyNotify(args) => ResOp::CopyNotify(Box::pin(copy_notify::copy_notify(&args, cx)).await.map_err(no)),
        ArgOp::IoAdvise(args) => ResOp::IoAdvise(Box::pin(io_advise::io_advise(&args, cx)).await.map_err(no)),
        ArgOp::OffloadCancel(args) => ResOp::OffloadCancel(offload::cancel(&args, cx).map_err(no)),
        ArgOp::OffloadStatus(args) => ResOp::OffloadStatus(offload::status(&args, cx).map_err(no)),
        ArgOp::ReadPlus(args) => ResOp::ReadPlus(Box::pin(read_plus::read_plus(&args, cx)).await.map_err(no)),
        ArgOp::Seek(args) => ResOp::Seek(Box::pin(seek::seek(&args, cx)).await.map_err(no)),
        ArgOp::WriteSame(args) => ResOp::WriteSame(Box::pin(write_same::write_same(&args, cx)).await.map_err(no)),
        // The executor answers these three by itself.
        ArgOp::Sequence(_) => ResOp::failed(opnum, Nfsstat4::SequencePos),
        ArgOp::Illegal(_) => ResOp::failed(Opnum::Illegal, Nfsstat4::OpIllegal),
        ArgOp::Malformed { .. } => ResOp::failed(opnum, Nfsstat4::Badxdr),
        // Defined, and not there (yet), each with its reason in docs/SEMANTICS.md.
        ArgOp::Delegpurge(_)
        | ArgOp::Openattr(_)
        | ArgOp::SetSsv(_)
        // Of NFSv4.0 alone (RFC 8881 §18.49).
        | ArgOp::OpenConfirm(_)
        | ArgOp::Renew(_)
        | ArgOp::Setclientid(_)
        | ArgOp::SetclientidConfirm(_)
        | ArgOp::ReleaseLockowner(_) => ResOp::failed(opnum, Nfsstat4::Notsupp),
    }
}
