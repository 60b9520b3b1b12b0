use super::super::fixture::*;
use super::super::*;

fn past_the_lease(state: &State) -> Time {
    Time::ZERO.plus(state.limits().lease * 2)
}

fn deny_all(client: ClientId) -> OpenRequest {
    OpenRequest {
        client,
        owner: bytes::Bytes::from_static(b"owner"),
        inode: FILE,
        access: Access::Both,
        deny: Deny::Both,
        reclaim: false,
        under: None,
    }
}

#[test]
fn a_client_that_comes_back_before_anybody_wanted_its_state_goes_on() {
    let mut state = open_for_business(Limits::default());
    let (client, session) = join(&mut state, "a");
    state.reclaim_complete(client).unwrap();
    let stateid = open(&mut state, client, Access::Both, Deny::Both).unwrap();
    let later = past_the_lease(&state);
    assert!(state.lapse(later).is_empty());
    assert_eq!(state.metrics().courtesy_clients, 1);
    assert_eq!(state.test_stateid(client, stateid), Ok(()));
    let request = SequenceRequest {
        connection: ConnectionId(1),
        session,
        slot: 0,
        sequence: 1,
        highest_slot: 0,
        cache_this: false,
        digest: 0,
        request_bytes: 100,
        operations: 1,
        reply_bytes: 84,
    };
    assert!(matches!(
        state.sequence(later, request),
        Ok(Sequenced::Execute(_))
    ));
    assert_eq!(state.metrics().courtesy_clients, 0);
    // Its lease runs anew, and is watched anew.
    let lease_ends = later.plus(state.limits().lease);
    assert_eq!(state.next_deadline(), Some(lease_ends));
}

#[test]
fn a_client_that_is_away_makes_way_for_an_open_once_its_record_is_gone() {
    let mut state = open_for_business(Limits::default());
    let away = ready(&mut state, "a");
    let stateid = open(&mut state, away, Access::Both, Deny::Both).unwrap();
    let later = past_the_lease(&state);
    state.lapse(later);
    let other = ready(&mut state, "b");
    let wanted = deny_all(other);
    assert_eq!(
        state.open_reserve(wanted.clone()),
        Err(OpenRefusal::ShareDenied)
    );
    let gone = state.make_way_for_open(&wanted);
    assert_eq!(gone[0].client, away);
    assert_eq!(
        state.test_stateid(away, stateid),
        Err(StateidRefusal::Expired)
    );
    assert_eq!(
        state.open_reserve(wanted.clone()),
        Err(OpenRefusal::ShareDenied),
        "its record is still there"
    );
    assert_eq!(state.make_way_for_open(&wanted), gone, "told again");
    state.drop_client(away).unwrap();
    let reserved = state.open_reserve(wanted).unwrap();
    assert!(state.open_confirm(reserved).is_ok());
}

#[test]
fn nobody_is_put_out_where_a_live_client_is_in_the_way_as_well() {
    let mut state = open_for_business(Limits::default());
    let away = ready(&mut state, "a");
    open(&mut state, away, Access::Write, Deny::None).unwrap();
    let later = past_the_lease(&state);
    state.lapse(later);
    let (live, other) = (ready(&mut state, "b"), ready(&mut state, "c"));
    open(&mut state, live, Access::Write, Deny::None).unwrap();
    let wanted = deny_all(other);
    assert!(state.open_reserve(wanted.clone()).is_err());
    assert!(state.make_way_for_open(&wanted).is_empty());
    assert_eq!(state.metrics().courtesy_clients, 1);
}

#[test]
fn a_client_that_is_away_makes_way_for_a_lock_and_for_io_without_an_open() {
    let mut state = open_for_business(Limits::default());
    let (away, other) = (ready(&mut state, "a"), ready(&mut state, "b"));
    open(&mut state, away, Access::Both, Deny::Write).unwrap();
    let anonymous =
        |state: &mut State| state.authorize_io(other, Stateid::ANONYMOUS, FILE, IoKind::Write);
    assert_eq!(anonymous(&mut state), Err(IoRefusal::Denied));
    assert!(state.make_way_for_lock(away).is_empty(), "it lives");
    let later = past_the_lease(&state);
    state.lapse(later);
    assert_eq!(anonymous(&mut state), Err(IoRefusal::MakingWay));
    assert_eq!(state.make_way_for_lock(away)[0].client, away);
    state.drop_client(away).unwrap();
    assert_eq!(anonymous(&mut state), Ok(IoGrant::Special));
}

#[test]
fn courtesy_is_for_those_who_hold_something_and_ends_in_time() {
    let mut state = open_for_business(Limits::default());
    let idle = ready(&mut state, "idle");
    let away = ready(&mut state, "away");
    open(&mut state, away, Access::Read, Deny::None).unwrap();
    let later = past_the_lease(&state);
    assert_eq!(state.lapse(later)[0].client, idle);
    state.drop_client(idle);
    let at_last = later.plus(state.limits().courtesy);
    assert_eq!(state.next_deadline(), Some(at_last));
    assert_eq!(state.lapse(at_last)[0].client, away);
    assert_eq!(state.metrics().courtesy_clients, 0);
}

#[test]
fn without_courtesy_a_lease_is_all_there_is() {
    let mut state = open_for_business(Limits {
        courtesy: std::time::Duration::ZERO,
        ..Limits::default()
    });
    let away = ready(&mut state, "a");
    open(&mut state, away, Access::Read, Deny::None).unwrap();
    let later = past_the_lease(&state);
    assert_eq!(state.lapse(later)[0].client, away);
}

#[test]
fn where_room_is_wanted_those_away_for_the_longest_go() {
    let mut state = open_for_business(Limits {
        clients: 2,
        ..Limits::default()
    });
    let away = ready(&mut state, "a");
    open(&mut state, away, Access::Read, Deny::None).unwrap();
    let later = past_the_lease(&state);
    state.lapse(later);
    let here = state.exchange_id(later, exchange("b", 1, "b")).unwrap();
    let session = create(here.client, here.sequence, "b");
    state.create_session(later, session).unwrap();
    let full = state.exchange_id(later, exchange("c", 1, "c"));
    assert_eq!(full, Err(ExchangeIdRefusal::TooMany));
    assert!(state.makes_room());
    assert_eq!(state.lapse(later)[0].client, away);
    state.drop_client(away).unwrap();
    assert!(state.exchange_id(later, exchange("c", 1, "c")).is_ok());
}

#[test]
fn a_layout_of_a_client_that_is_away_is_fenced_at_once_when_it_is_wanted() {
    let mut state = open_for_business(Limits::default());
    let away = ready(&mut state, "a");
    let stateid = open(&mut state, away, Access::Both, Deny::None).unwrap();
    let reservation = layout(&mut state, away, stateid, LayoutMode::Write).unwrap();
    state.layout_confirm(reservation).unwrap();
    let later = past_the_lease(&state);
    assert!(state.lapse(later).is_empty());
    let recalled = state.recall(later, FILE, RecallWhat::Writers, None);
    assert_eq!(recalled[0].deadline, later);
    assert_eq!(state.overdue(later).len(), 1);
    assert_eq!(state.metrics().courtesy_clients, 1, "it keeps its open");
}

#[test]
fn another_principal_takes_the_name_of_a_client_that_is_away() {
    let mut state = open_for_business(Limits::default());
    let away = ready(&mut state, "a");
    open(&mut state, away, Access::Read, Deny::None).unwrap();
    let later = past_the_lease(&state);
    state.lapse(later);
    let taken = state.exchange_id(later, exchange("a", 1, "other")).unwrap();
    assert_ne!(taken.client, away);
    assert_eq!(state.lapse(later)[0].client, away);
}
