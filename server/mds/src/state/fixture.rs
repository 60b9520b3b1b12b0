//! A state with clients in it, for the tests beside. It tells the story up to where a test begins.

use bytes::Bytes;
use catalog::InodeId;

use super::*;

pub(super) const FILE: InodeId = InodeId {
    home: 1,
    number: 10,
};
pub(super) const CHANNEL: Channel = Channel {
    header_pad_bytes: 0,
    max_request_bytes: 65_536,
    max_response_bytes: 65_536,
    max_cached_bytes: 4_096,
    max_operations: 16,
    max_requests: 16,
};

pub(super) fn boot(limits: Limits, on_record: Vec<RecordedClient>) -> State {
    let boot = Boot {
        epoch: 7,
        seed: 1,
        now: Time::ZERO,
        on_record,
    };
    State::new(limits, boot)
}

/// A state past its grace.
pub(super) fn open_for_business(limits: Limits) -> State {
    let mut state = boot(limits, Vec::new());
    assert!(state.grace_due(Time::ZERO).is_some());
    state.end_grace();
    state
}

pub(super) fn exchange(owner: &str, verifier: u8, principal: &str) -> ExchangeId {
    ExchangeId {
        owner: Bytes::from(owner.to_owned()),
        verifier: [verifier; 8],
        principal: Bytes::from(principal.to_owned()),
        update: false,
        implementation: None,
    }
}

pub(super) fn create(client: ClientId, sequence: u32, principal: &str) -> CreateSession {
    CreateSession {
        client,
        sequence,
        principal: Bytes::from(principal.to_owned()),
        connection: ConnectionId(1),
        fore: CHANNEL,
        back: CHANNEL,
        back_channel: true,
        minor: 2,
        callback_program: 1,
        callback_security: Bytes::new(),
    }
}

/// A confirmed client, its session, before RECLAIM_COMPLETE.
pub(super) fn join(state: &mut State, owner: &str) -> (ClientId, SessionId) {
    let known = state
        .exchange_id(Time::ZERO, exchange(owner, 1, owner))
        .expect("a new client");
    let created = state
        .create_session(Time::ZERO, create(known.client, known.sequence, owner))
        .expect("its first session");
    (known.client, created.session)
}

/// A client that may take opens and locks.
pub(super) fn ready(state: &mut State, owner: &str) -> ClientId {
    let (client, _) = join(state, owner);
    state.reclaim_complete(client).expect("its first");
    client
}

pub(super) fn open(
    state: &mut State,
    client: ClientId,
    access: Access,
    deny: Deny,
) -> Result<Stateid, OpenRefusal> {
    let reservation = state.open_reserve(OpenRequest {
        client,
        owner: Bytes::from_static(b"owner"),
        inode: FILE,
        access,
        deny,
        reclaim: false,
        under: None,
    })?;
    state.open_confirm(reservation)
}

pub(super) fn layout(
    state: &mut State,
    client: ClientId,
    stateid: Stateid,
    mode: LayoutMode,
) -> Result<LayoutReservation, LayoutRefusal> {
    state.layout_reserve(&LayoutRequest {
        client,
        inode: FILE,
        stateid,
        mode,
        size_epoch: 0,
        servers: &[::layout::DataServerId(3)],
        tag: 0,
    })
}
