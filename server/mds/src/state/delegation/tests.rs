use std::time::Duration;

use super::super::fixture::{FILE, open, open_for_business, ready};
use super::super::{Deny, FreeRefusal, LayoutMode, LayoutRefusal, Limits, OpenRefusal};
use super::*;

fn ask(client: ClientId, kind: DelegationKind) -> DelegationRequest {
    DelegationRequest {
        client,
        inode: FILE,
        kind,
        times: false,
        change: 1,
        modified: catalog::Timestamp {
            seconds: 0,
            nanos: 0,
        },
        tag: 0,
        reclaim: false,
        notices: Notices::NONE,
        unasked: false,
    }
}

fn limits() -> Limits {
    Limits {
        delegation_recall: Duration::from_secs(10),
        delegation_rest: Duration::from_secs(30),
        ..Limits::default()
    }
}

fn seconds(count: u64) -> Time {
    Time::ZERO.plus(Duration::from_secs(count))
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    let mut state = open_for_business(limits());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    let read = |client| ask(client, DelegationKind::Read);
    let write = |client| ask(client, DelegationKind::Write);
    assert!(state.delegate(Time::ZERO, read(a)).is_ok());
    assert!(state.delegate(Time::ZERO, read(b)).is_ok());
    assert_eq!(
        state.delegate(Time::ZERO, write(a)),
        Err(NoDelegation::Upgrade)
    );
    assert_eq!(
        state.delegate(Time::ZERO, read(a)),
        Err(NoDelegation::Held),
        "not twice"
    );
    let held = state.delegates(FILE);
    state
        .delegation_return(a, FILE, held[0].stateid)
        .expect("a's own");
    assert_eq!(
        state.delegate(Time::ZERO, write(a)),
        Err(NoDelegation::Contended),
        "b reads"
    );
    state
        .delegation_return(b, FILE, held[1].stateid)
        .expect("b's own");
    assert!(state.delegate(Time::ZERO, write(a)).is_ok());
    assert_eq!(
        state.delegate(Time::ZERO, read(b)),
        Err(NoDelegation::Contended)
    );
    assert_eq!(
        state.delegate(Time::ZERO, read(a)),
        Err(NoDelegation::Downgrade)
    );
}

#[test]
fn an_open_of_somebody_else_keeps_a_delegation_out_and_the_other_way_round() {
    let mut state = open_for_business(limits());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    open(&mut state, b, Access::Read, Deny::None).expect("nobody is there");
    assert_eq!(
        state.delegate(Time::ZERO, ask(a, DelegationKind::Write)),
        Err(NoDelegation::Contended)
    );
    assert!(
        state
            .delegate(Time::ZERO, ask(a, DelegationKind::Read))
            .is_ok()
    );
    assert_eq!(
        open(&mut state, b, Access::Both, Deny::None),
        Err(OpenRefusal::Delegated(Touch::Change))
    );
    assert_eq!(
        open(&mut state, b, Access::Read, Deny::Read),
        Err(OpenRefusal::Delegated(Touch::Change)),
        "who reads by a delegation could not be denied"
    );
    assert!(
        open(&mut state, a, Access::Both, Deny::None).is_ok(),
        "one's own delegation is in nobody's way but others'"
    );
}

#[test]
fn a_layout_to_write_that_somebody_keeps_is_in_the_way() {
    let mut state = open_for_business(limits());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    let stateid = open(&mut state, a, Access::Both, Deny::None).expect("nobody is there");
    let layout = super::super::fixture::layout(&mut state, a, stateid, LayoutMode::Write)
        .expect("it is open");
    state.layout_confirm(layout).expect("nobody recalls");
    state.close(a, stateid, FILE).expect("no locks");
    assert_eq!(
        state.delegate(Time::ZERO, ask(b, DelegationKind::Read)),
        Err(NoDelegation::LayoutOut)
    );
    assert!(
        state
            .delegate(Time::ZERO, ask(a, DelegationKind::Write))
            .is_ok()
    );
}

#[test]
fn a_delegation_stands_for_an_open_in_io_and_layouts() {
    use super::super::{IoGrant, IoKind, IoRefusal};
    let mut state = open_for_business(limits());
    let a = ready(&mut state, "a");
    let held = state
        .delegate(Time::ZERO, ask(a, DelegationKind::Read))
        .expect("nobody is there");
    assert_eq!(
        state.authorize_io(a, held.stateid, FILE, IoKind::Read),
        Ok(IoGrant::Delegation)
    );
    assert_eq!(
        state.authorize_io(a, held.stateid, FILE, IoKind::Write),
        Err(IoRefusal::OpenMode)
    );
    let layout = super::super::fixture::layout(&mut state, a, held.stateid, LayoutMode::Write);
    assert_eq!(layout, Err(LayoutRefusal::OpenMode));
    let layout = super::super::fixture::layout(&mut state, a, held.stateid, LayoutMode::Read)
        .expect("it reads");
    state.layout_rollback(layout);
}

#[test]
fn a_recall_without_answer_ends_in_revocation_until_the_client_takes_notice() {
    let mut state = open_for_business(limits());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    let held = state
        .delegate(Time::ZERO, ask(a, DelegationKind::Write))
        .expect("nobody is there");
    let orders = state.delegations_recall(Time::ZERO, FILE, Touch::Read, Some(b));
    assert_eq!(orders.len(), 1);
    assert!(
        state
            .delegations_recall(Time::ZERO, FILE, Touch::Change, None)
            .is_empty(),
        "it is under way"
    );
    assert!(state.delegations_overdue(seconds(9)).is_empty());
    assert_eq!(
        state.free_stateid(a, held.stateid),
        Err(FreeRefusal::LocksHeld)
    );
    assert_eq!(state.delegations_overdue(seconds(10)).len(), 1);
    assert_eq!(
        state.test_stateid(a, held.stateid),
        Err(StateidRefusal::DelegationRevoked)
    );
    assert!(open(&mut state, b, Access::Both, Deny::None).is_ok());
    assert_eq!(state.delegations.revoked(a), 1);
    assert_eq!(state.free_stateid(a, held.stateid), Ok(()));
    assert_eq!(
        state.test_stateid(a, held.stateid),
        Err(StateidRefusal::Bad)
    );
    assert_eq!(state.metrics().delegations, 0);
}

#[test]
fn a_file_that_was_contended_for_rests() {
    let mut state = open_for_business(limits());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    let held = state
        .delegate(Time::ZERO, ask(a, DelegationKind::Read))
        .expect("nobody is there");
    state.delegations_recall(Time::ZERO, FILE, Touch::Change, Some(b));
    state
        .delegation_return(a, FILE, held.stateid)
        .expect("its own");
    let again = ask(a, DelegationKind::Read);
    assert_eq!(
        state.delegate(seconds(29), again),
        Err(NoDelegation::Contended)
    );
    assert!(state.delegate(seconds(30), again).is_ok());
}

#[test]
fn nothing_is_given_while_somebody_changes_the_file() {
    let mut state = open_for_business(limits());
    let a = ready(&mut state, "a");
    let asked = ask(a, DelegationKind::Read);
    let first = state.delegations_bar(FILE);
    let second = state.delegations_bar(FILE);
    state.delegations_unbar(FILE, first);
    assert_eq!(
        state.delegate(Time::ZERO, asked),
        Err(NoDelegation::Contended)
    );
    state.delegations_unbar(FILE, second);
    assert!(state.delegate(Time::ZERO, asked).is_ok());
}

#[test]
fn opens_made_by_a_delegation_are_taken_over_while_it_is_recalled() {
    use super::super::OpenRequest;
    use bytes::Bytes;
    let mut state = open_for_business(limits());
    let a = ready(&mut state, "a");
    let held = state
        .delegate(Time::ZERO, ask(a, DelegationKind::Read))
        .expect("nobody is there");
    state.delegations_recall(Time::ZERO, FILE, Touch::Change, None);
    let mut claim = |access| {
        state.open_reserve(OpenRequest {
            client: a,
            owner: Bytes::from_static(b"owner"),
            inode: FILE,
            access,
            deny: Deny::None,
            reclaim: false,
            under: Some(held.stateid),
        })
    };
    assert_eq!(
        claim(Access::Write),
        Err(OpenRefusal::Stateid(StateidRefusal::Bad))
    );
    let reserved = claim(Access::Read).expect("it was opened by the delegation");
    assert!(state.open_confirm(reserved).is_ok());
}

#[test]
fn delegations_have_limits_and_holders_are_told_before() {
    let mut state = open_for_business(Limits {
        delegations_per_client: 2,
        ..limits()
    });
    let a = ready(&mut state, "a");
    let file = |number| InodeId { home: 1, number };
    let asked = |number| DelegationRequest {
        inode: file(number),
        ..ask(a, DelegationKind::Read)
    };
    assert!(state.delegate(Time::ZERO, asked(1)).is_ok());
    assert!(state.delegations_to_spare(a).is_empty());
    assert!(state.delegate(Time::ZERO, asked(2)).is_ok());
    assert_eq!(state.delegations_to_spare(a), [(a, 1)]);
    assert_eq!(
        state.delegate(Time::ZERO, asked(3)),
        Err(NoDelegation::TooMany)
    );
}

#[test]
fn a_silent_client_keeps_others_out_until_it_is_dropped_and_is_honoured_in_nothing() {
    let mut state = open_for_business(limits());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    let held = state
        .delegate(Time::ZERO, ask(a, DelegationKind::Write))
        .expect("nobody is there");
    state.revoke_client(a);
    assert_eq!(
        state.delegation_of(a, held.stateid),
        Err(StateidRefusal::Expired)
    );
    assert_eq!(
        open(&mut state, b, Access::Read, Deny::None),
        Err(OpenRefusal::Delegated(Touch::Read))
    );
    let dropped = state.drop_client(a).expect("it lapsed");
    assert_eq!(dropped.closed, [FILE]);
    assert!(open(&mut state, b, Access::Read, Deny::None).is_ok());
}

#[test]
fn a_delegation_holds_a_file_that_lost_its_names() {
    let mut state = open_for_business(limits());
    let a = ready(&mut state, "a");
    let held = state
        .delegate(Time::ZERO, ask(a, DelegationKind::Read))
        .expect("nobody is there");
    assert!(state.file_is_held(FILE));
    let released = state
        .delegation_return(a, FILE, held.stateid)
        .expect("its own");
    assert!(released.last);
}
