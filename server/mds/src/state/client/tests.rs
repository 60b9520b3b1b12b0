use std::time::Duration;

use super::super::fixture::*;
use super::super::*;
use super::*;

#[test]
fn a_client_that_restarts_loses_its_state_when_it_is_confirmed_and_not_before() {
    let mut state = open_for_business(Limits::default());
    let before = ready(&mut state, "a");
    let stateid = open(&mut state, before, Access::Read, Deny::None).unwrap();
    let after = state
        .exchange_id(Time::ZERO, exchange("a", 2, "a"))
        .unwrap();
    assert!(!after.confirmed);
    assert_eq!(state.test_stateid(before, stateid), Ok(()));
    let created = state
        .create_session(Time::ZERO, create(after.client, 1, "a"))
        .unwrap();
    assert_eq!(created.dropped.unwrap().closed, [FILE]);
    assert_eq!(created.supersedes, [before.0]);
    assert!(state.test_stateid(before, stateid).is_err());
}

#[test]
fn another_principal_cannot_take_a_client_that_holds_anything() {
    let mut state = open_for_business(Limits::default());
    ready(&mut state, "a");
    let stolen = state.exchange_id(Time::ZERO, exchange("a", 1, "mallory"));
    assert_eq!(stolen, Err(ExchangeIdRefusal::InUse));
}

#[test]
fn another_principal_displaces_a_client_that_holds_nothing() {
    let mut state = open_for_business(Limits::default());
    let (idle, session) = join(&mut state, "a");
    state
        .destroy_session(session, ConnectionId(1), b"a", None)
        .unwrap();
    let taken = state
        .exchange_id(Time::ZERO, exchange("a", 2, "b"))
        .unwrap();
    assert_eq!(taken.displaced, Some(idle));
    assert_ne!(taken.client, idle);
    let back = state.create_session(Time::ZERO, create(idle, 2, "a"));
    assert_eq!(back, Err(CreateSessionRefusal::StaleClientId));
}

#[test]
fn an_update_needs_the_confirmed_client_its_principal_and_its_verifier() {
    let mut state = open_for_business(Limits::default());
    let mut update = |verifier, principal: &str| {
        let asked = ExchangeId {
            update: true,
            ..exchange("a", verifier, principal)
        };
        let answer = state.exchange_id(Time::ZERO, asked);
        if answer == Err(ExchangeIdRefusal::NoConfirmedRecord) {
            ready(&mut state, "a");
        }
        answer.map(|known| known.confirmed)
    };
    assert_eq!(update(1, "a"), Err(ExchangeIdRefusal::NoConfirmedRecord));
    assert_eq!(update(1, "b"), Err(ExchangeIdRefusal::PrincipalDiffers));
    assert_eq!(update(2, "a"), Err(ExchangeIdRefusal::VerifierDiffers));
    assert_eq!(update(1, "a"), Ok(true));
}

#[test]
fn a_repeated_create_session_makes_one_session() {
    let mut state = open_for_business(Limits::default());
    let known = state
        .exchange_id(Time::ZERO, exchange("a", 1, "a"))
        .unwrap();
    let first = state
        .create_session(Time::ZERO, create(known.client, 1, "a"))
        .unwrap();
    let again = state
        .create_session(Time::ZERO, create(known.client, 1, "a"))
        .unwrap();
    assert_eq!(first.session, again.session);
    assert!(again.replay);
    assert_eq!(state.metrics().sessions, 1);
    let skipped = state.create_session(Time::ZERO, create(known.client, 3, "a"));
    assert_eq!(skipped, Err(CreateSessionRefusal::Misordered));
}

#[test]
fn a_client_with_a_session_is_busy_and_one_with_layouts_alone_is_not() {
    let mut state = open_for_business(Limits::default());
    let (client, session) = join(&mut state, "a");
    state.reclaim_complete(client).unwrap();
    let stateid = open(&mut state, client, Access::Both, Deny::None).unwrap();
    let reservation = layout(&mut state, client, stateid, LayoutMode::Write).unwrap();
    state.layout_confirm(reservation).unwrap();
    assert_eq!(
        state.destroy_client(client),
        Err(DestroyClientRefusal::Busy)
    );
    state.close(client, stateid, FILE).unwrap();
    state
        .destroy_session(session, ConnectionId(1), b"a", None)
        .unwrap();
    let dropped = state.destroy_client(client).unwrap();
    assert_eq!(dropped[0].grants.len(), 1, "to be fenced and settled");
    assert!(state.has_rw_holder(FILE, None));
    state.fenced(dropped[0].grants[0].id);
    assert!(!state.file_is_held(FILE));
}

#[test]
fn a_silent_client_excludes_others_until_its_record_is_gone() {
    let mut state = open_for_business(Limits {
        courtesy: Duration::ZERO,
        ..Limits::default()
    });
    let silent = ready(&mut state, "a");
    let stateid = open(&mut state, silent, Access::Read, Deny::Both).unwrap();
    let later = Time::ZERO.plus(state.limits().lease * 2);
    let lapsed = state.lapse(later);
    assert_eq!(lapsed[0].client, silent);
    assert_eq!(
        state.test_stateid(silent, stateid),
        Err(StateidRefusal::Expired)
    );
    let other = ready(&mut state, "b");
    let early = open(&mut state, other, Access::Read, Deny::None);
    assert_eq!(early, Err(OpenRefusal::ShareDenied));
    assert_eq!(
        state.lapse(Time::ZERO),
        lapsed,
        "listed until it is dropped"
    );
    state.drop_client(silent).unwrap();
    assert!(open(&mut state, other, Access::Read, Deny::None).is_ok());
}

#[test]
fn who_is_taking_things_back_when_grace_would_end_has_up_to_as_long_again() {
    let recorded = |owner: &'static str, record| RecordedClient {
        record,
        owner: Bytes::from_static(owner.as_bytes()),
        principal: Bytes::from_static(owner.as_bytes()),
    };
    let limits = Limits {
        grace: Duration::from_secs(10),
        ..Limits::default()
    };
    let at = |seconds| Time::ZERO.plus(Duration::from_secs(seconds));
    let begun = || {
        let mut state = boot(limits.clone(), vec![recorded("a", 5), recorded("b", 6)]);
        let (busy, _) = join(&mut state, "a");
        (state, busy)
    };

    let (mut state, busy) = begun();
    for second in (1..20).step_by(2) {
        assert_eq!(state.grace_due(at(second)), None, "after {second} s");
        assert_eq!(state.admit(busy, true), Ok(()));
    }
    assert!(state.grace_due(at(20)).is_some(), "not longer than twice");

    let (mut state, busy) = begun();
    assert_eq!(state.admit(busy, true), Ok(()));
    assert_eq!(state.grace_due(at(9)), None);
    assert_eq!(state.grace_due(at(11)), None, "it may go on any moment");
    assert!(state.grace_due(at(12)).is_some(), "it didn't");

    let (mut state, _) = begun();
    assert!(
        state.grace_due(at(10)).is_some(),
        "nobody took anything back"
    );
}

#[test]
fn grace_admits_reclaims_of_those_on_record_alone_and_ends_when_all_are_back() {
    let recorded = RecordedClient {
        record: 5,
        owner: Bytes::from_static(b"a"),
        principal: Bytes::from_static(b"a"),
    };
    let mut state = boot(Limits::default(), vec![recorded]);
    let (known, _) = join(&mut state, "a");
    let (stranger, _) = join(&mut state, "b");
    assert_eq!(state.may_reclaim(known), Ok(()));
    assert_eq!(state.may_reclaim(stranger), Err(GraceRefusal::NotOnRecord));
    assert_eq!(state.may_take_new(stranger), Err(GraceRefusal::InGrace));
    assert_eq!(state.grace_due(Time::ZERO), None);
    state.reclaim_complete(known).unwrap();
    assert_eq!(
        state.reclaim_complete(known),
        Err(ReclaimCompleteRefusal::AlreadyComplete)
    );
    let end = state.grace_due(Time::ZERO).unwrap();
    assert!(end.lapsed_records.is_empty());
    assert_eq!(state.may_reclaim(known), Err(GraceRefusal::NoGrace));
    state.end_grace();
    assert_eq!(state.may_take_new(known), Ok(()));
    assert_eq!(state.may_take_new(stranger), Err(GraceRefusal::NotComplete));
}
