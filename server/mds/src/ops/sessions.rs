//! CREATE_SESSION, BIND_CONN_TO_SESSION, BACKCHANNEL_CTL, DESTROY_SESSION, RECLAIM_COMPLETE:
//! RFC 8881 §18.36, §18.34, §18.33, §18.37, §18.51.
//!
//! State: sessions and their connections. Catalog: the client's record, durable before the session
//! that confirms it is answered, so that it may reclaim after a restart (invariant 7).
//! Linux: asks for PERSIST, which isn't granted: replies don't outlive the server yet.

use crate::compound::Compound;
use crate::state::{
    BindDirection, BoundDirection, Channel, ClientId, ConnectionId, CreateSession,
    ReclaimCompleteRefusal, SessionId,
};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::{ClientRecord, transact};
use wire::nfs4::{
    BackchannelCtl4Args, BindConnToSession4Args, BindConnToSession4Ok,
    CREATE_SESSION4_FLAG_CONN_BACK_CHAN, CREATE_SESSION4_FLAG_CONN_RDMA,
    CREATE_SESSION4_FLAG_PERSIST, CallbackSecParms4, ChannelAttrs4, ChannelDirFromClient4,
    ChannelDirFromServer4, CreateSession4Args, CreateSession4Ok, DestroySession4Args, Nfsstat4,
    ReclaimComplete4Args, Sessionid4,
};

fn channel(asked: &ChannelAttrs4) -> Channel {
    Channel {
        header_pad_bytes: asked.headerpadsize,
        max_request_bytes: asked.maxrequestsize,
        max_response_bytes: asked.maxresponsesize,
        max_cached_bytes: asked.maxresponsesize_cached,
        max_operations: asked.maxoperations,
        max_requests: asked.maxrequests,
    }
}

fn attributes(granted: &Channel) -> ChannelAttrs4 {
    ChannelAttrs4 {
        headerpadsize: granted.header_pad_bytes,
        maxrequestsize: granted.max_request_bytes,
        maxresponsesize: granted.max_response_bytes,
        maxresponsesize_cached: granted.max_cached_bytes,
        maxoperations: granted.max_operations,
        maxrequests: granted.max_requests,
        rdma_ird: None,
    }
}

/// With what identity callbacks are made: the first offered that is spoken here, as XDR.
fn security(offered: &[CallbackSecParms4]) -> Result<Bytes, Refusal> {
    let spoken = offered
        .iter()
        .find(|parms| !matches!(parms, CallbackSecParms4::Gss(_)));
    match (spoken, offered.is_empty()) {
        (Some(parms), _) => Ok(wire::xdr::to_bytes(parms)),
        (None, true) => Ok(wire::xdr::to_bytes(&CallbackSecParms4::None)),
        (None, false) => Err(Nfsstat4::Inval.into()),
    }
}

pub(crate) async fn create_session(
    args: CreateSession4Args,
    cx: &mut Compound<'_>,
) -> Result<CreateSession4Ok, Refusal> {
    const KNOWN: u32 = CREATE_SESSION4_FLAG_PERSIST
        | CREATE_SESSION4_FLAG_CONN_BACK_CHAN
        | CREATE_SESSION4_FLAG_CONN_RDMA;
    if args.flags & !KNOWN != 0 {
        return Err(Nfsstat4::Inval.into());
    }
    let created = cx.server.state.lock().create_session(
        cx.time,
        CreateSession {
            client: ClientId(args.clientid.0),
            sequence: args.sequence,
            principal: cx.principal.clone(),
            connection: ConnectionId(cx.connection.id),
            fore: channel(&args.fore_chan_attrs),
            back: channel(&args.back_chan_attrs),
            back_channel: args.flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN != 0,
            minor: cx.minor,
            callback_program: args.cb_program,
            callback_security: security(&args.sec_parms)?,
        },
    )?;
    if created.confirmed_now {
        record(created.client, &created.supersedes, cx).await?;
    }
    if let Some(dropped) = created.dropped {
        cx.server.clean_up(dropped);
    }
    Ok(CreateSession4Ok {
        sessionid: Sessionid4(created.session.0),
        sequence: created.sequence,
        flags: if created.back_channel {
            CREATE_SESSION4_FLAG_CONN_BACK_CHAN
        } else {
            0
        },
        fore_chan_attrs: attributes(&created.fore),
        back_chan_attrs: attributes(&created.back),
    })
}

/// Makes the client's record durable, in place of those of its earlier starts.
async fn record(client: ClientId, supersedes: &[u64], cx: &Compound<'_>) -> Result<(), Refusal> {
    let Some(known) = cx.server.state.lock().client_record(client) else {
        return Err(Nfsstat4::StaleClientid.into());
    };
    let record = ClientRecord {
        id: client.0,
        owner: known.owner,
        verifier: known.verifier,
        principal: known.principal,
        // Since its last RECLAIM_COMPLETE (§8.4.2.1): who lapsed and came back must not reclaim
        // after a further restart what others got meanwhile.
        reclaim_complete: known.reclaimable,
    };
    transact!(cx.server.catalog, cx.now, |tx| -> Result<(), Refusal> {
        for former in supersedes {
            tx.remove_client(*former);
        }
        tx.put_client(&record);
        Ok(())
    })?;
    Ok(())
}

pub(crate) fn bind_conn_to_session(
    args: &BindConnToSession4Args,
    cx: &mut Compound<'_>,
) -> Result<BindConnToSession4Ok, Refusal> {
    let asked = match args.dir {
        ChannelDirFromClient4::Fore => BindDirection::Fore,
        ChannelDirFromClient4::Back => BindDirection::Back,
        ChannelDirFromClient4::ForeOrBoth => BindDirection::ForeOrBoth,
        ChannelDirFromClient4::BackOrBoth => BindDirection::BackOrBoth,
    };
    let connection = ConnectionId(cx.connection.id);
    let bound =
        cx.server
            .state
            .lock()
            .bind_connection(SessionId(args.sessid.0), connection, asked)?;
    let dir = match bound {
        BoundDirection::Fore => ChannelDirFromServer4::Fore,
        BoundDirection::Back => ChannelDirFromServer4::Back,
        BoundDirection::Both => ChannelDirFromServer4::Both,
    };
    Ok(BindConnToSession4Ok {
        sessid: args.sessid,
        dir,
        use_conn_in_rdma_mode: false,
    })
}

pub(crate) fn backchannel_ctl(
    args: &BackchannelCtl4Args,
    cx: &mut Compound<'_>,
) -> Result<(), Refusal> {
    let session = cx
        .admitted
        .as_ref()
        .ok_or(Nfsstat4::OpNotInSession)?
        .slot
        .session;
    let security = security(&args.sec_parms)?;
    cx.server
        .state
        .lock()
        .backchannel_control(session, args.cb_program, security)?;
    Ok(())
}

pub(crate) fn destroy_session(
    args: &DestroySession4Args,
    cx: &mut Compound<'_>,
) -> Result<(), Refusal> {
    let own_slot = cx.admitted.as_ref().map(|admitted| admitted.slot);
    // What came after it would have no session (RFC 8881 §18.37.3).
    if !cx.is_last && own_slot.is_some_and(|own| own.session.0 == args.sessionid.0) {
        return Err(Nfsstat4::NotOnlyOp.into());
    }
    let connection = ConnectionId(cx.connection.id);
    let session = SessionId(args.sessionid.0);
    cx.server
        .state
        .lock()
        .destroy_session(session, connection, &cx.principal, own_slot)?;
    Ok(())
}

pub(crate) async fn reclaim_complete(
    args: ReclaimComplete4Args,
    cx: &mut Compound<'_>,
) -> Result<(), Refusal> {
    if args.one_fs {
        // One file system came here from elsewhere: there is no such thing yet, and nothing to wait for.
        cx.file()?;
        return Ok(());
    }
    let client = cx.client()?;
    let completed = cx.server.state.lock().reclaim_complete(client);
    // Also for one who said so before: its record may have failed then, and is what counts.
    if matches!(
        completed,
        Ok(()) | Err(ReclaimCompleteRefusal::AlreadyComplete)
    ) {
        record(client, &[], cx).await?;
    }
    completed?;
    cx.server.wake_housekeeping();
    Ok(())
}
