//! EXCHANGE_ID and DESTROY_CLIENTID, RFC 8881 §18.35, §18.50.
//!
//! State: the client. Catalog: the durable record goes with DESTROY_CLIENTID, and with an EXCHANGE_ID
//! by which another principal takes over an owner that holds nothing; it is made when CREATE_SESSION
//! confirms the client.
//! Linux: sends both with every mount and unmount; its implementation id tells which layouts it takes.

use crate::compound::Compound;
use crate::state::{self, ClientId, Implementation};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::transact;
use wire::nfs4::{
    Clientid4, DestroyClientid4Args, EXCHGID4_2_FLAG_MASK_A, EXCHGID4_FLAG_CONFIRMED_R,
    EXCHGID4_FLAG_MASK_A, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A, EXCHGID4_FLAG_USE_PNFS_MDS,
    ExchangeId4Args, ExchangeId4Ok, NfsImplId4, Nfsstat4, Nfstime4, ServerOwner4, StateProtect4A,
    StateProtect4R,
};

pub(crate) async fn exchange_id(
    args: ExchangeId4Args,
    cx: &mut Compound<'_>,
) -> Result<ExchangeId4Ok, Refusal> {
    let known = if cx.minor < 2 {
        EXCHGID4_FLAG_MASK_A
    } else {
        EXCHGID4_2_FLAG_MASK_A
    };
    if args.flags & !known != 0 {
        return Err(Nfsstat4::Inval.into());
    }
    // SP4_MACH_CRED and SP4_SSV need RPCSEC_GSS, which isn't spoken here (RFC 8881 §18.35.3).
    match args.state_protect {
        StateProtect4A::None => {}
        StateProtect4A::MachCred(_) => return Err(Nfsstat4::Inval.into()),
        StateProtect4A::Ssv(_) => return Err(Nfsstat4::EncrAlgUnsupp.into()),
    }
    // Copies: a slice would keep the whole record that it came in.
    let kept = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
    let implementation = args.client_impl_id.map(|id| Implementation {
        domain: kept(id.domain),
        name: kept(id.name),
        date_seconds: id.date.seconds,
    });
    let exchanged = cx.server.state.lock().exchange_id(
        cx.time,
        state::ExchangeId {
            owner: kept(args.clientowner.ownerid),
            verifier: args.clientowner.verifier.0,
            principal: cx.principal.clone(),
            update: args.flags & EXCHGID4_FLAG_UPD_CONFIRMED_REC_A != 0,
            implementation,
        },
    );
    if exchanged == Err(state::ExchangeIdRefusal::TooMany) {
        // Clients that are away may have to go.
        cx.server.wake_housekeeping();
    }
    let exchanged = exchanged?;
    if let Some(displaced) = exchanged.displaced {
        cx.server.copies_called_off.notify_waiters();
        forget_record(displaced, cx).await?;
    }
    let confirmed = if exchanged.confirmed {
        EXCHGID4_FLAG_CONFIRMED_R
    } else {
        0
    };
    let identity = &cx.server.identity;
    Ok(ExchangeId4Ok {
        clientid: Clientid4(exchanged.client.0),
        sequenceid: exchanged.sequence,
        flags: EXCHGID4_FLAG_USE_PNFS_MDS | confirmed,
        state_protect: StateProtect4R::None,
        // The same over all addresses and restarts: clients may trunk (RFC 8881 §2.10.5).
        server_owner: ServerOwner4 {
            minor_id: 0,
            major_id: identity.owner.clone(),
        },
        server_scope: identity.owner.clone(),
        server_impl_id: Some(NfsImplId4 {
            domain: Bytes::from_static(b"headrace"),
            name: Bytes::from_static(concat!("headrace ", env!("CARGO_PKG_VERSION")).as_bytes()),
            date: Nfstime4::default(),
        }),
    })
}

pub(crate) async fn destroy_clientid(
    args: DestroyClientid4Args,
    cx: &mut Compound<'_>,
) -> Result<(), Refusal> {
    let client = ClientId(args.clientid.0);
    if cx
        .admitted
        .as_ref()
        .is_some_and(|admitted| admitted.client == client)
    {
        return Err(Nfsstat4::ClientidBusy.into());
    }
    let dropped = cx.server.state.lock().destroy_client(client)?;
    forget_record(client, cx).await?;
    for dropped in dropped {
        cx.server.clean_up(dropped);
    }
    Ok(())
}

async fn forget_record(client: ClientId, cx: &Compound<'_>) -> Result<(), Refusal> {
    transact!(cx.server.catalog, cx.now, |tx| -> Result<(), Refusal> {
        tx.remove_client(client.0);
        Ok(())
    })
    .map(drop)
}
