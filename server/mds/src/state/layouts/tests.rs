use super::super::fixture::*;
use super::super::{
    Deny, GateMode, Limits, LockKind, LockRange, LockRefusal, LockRequest, Locker, OpenRefusal,
    RecallWhat, Ticket, Time,
};
use super::*;

fn writer(state: &mut State, owner: &str) -> (ClientId, Stateid, Stateid) {
    let client = ready(state, owner);
    let opened = open(state, client, Access::Both, Deny::None).expect("no denies here");
    let reserved = layout(state, client, opened, LayoutMode::Write).expect("nobody objects");
    let stateid = state.layout_confirm(reserved).expect("no recall");
    (client, opened, stateid)
}

fn lock(state: &mut State, client: ClientId, open: Stateid) -> Result<Stateid, LockRefusal> {
    let request = LockRequest {
        client,
        inode: FILE,
        range: LockRange::ALL,
        kind: LockKind::Write,
        reclaim: false,
        wait: None,
        who: Locker::New {
            open,
            owner: bytes::Bytes::from_static(b"locker"),
        },
    };
    state.lock(Time::ZERO, request)
}

#[test]
fn a_layout_recalled_before_it_leaves_never_leaves() {
    let mut state = open_for_business(Limits::default());
    let a = ready(&mut state, "a");
    let opened = open(&mut state, a, Access::Both, Deny::None).unwrap();
    let reserved = layout(&mut state, a, opened, LayoutMode::Write).unwrap();
    assert!(state.has_rw_holder(FILE, None), "its intent is on its way");
    let orders = state.recall(Time::ZERO, FILE, RecallWhat::All, None);
    assert!(orders.is_empty(), "there is nothing to call back yet");
    assert_eq!(
        state.layout_confirm(reserved),
        Err(LayoutRefusal::RecallConflict)
    );
    assert_eq!(state.metrics().layouts, 0);
}

#[test]
fn a_recall_ends_with_the_return_and_raises_the_seqid() {
    let mut state = open_for_business(Limits::default());
    let (a, opened, stateid) = writer(&mut state, "a");
    let orders = state.recall(Time::ZERO, FILE, RecallWhat::All, None);
    assert_eq!(orders[0].stateid.seqid, stateid.seqid + 1);
    let again = state.recall(Time::ZERO, FILE, RecallWhat::All, None);
    assert!(again.is_empty());
    let refused = layout(&mut state, a, opened, LayoutMode::Read);
    assert_eq!(refused, Err(LayoutRefusal::RecallConflict));
    let returned = state
        .layout_return(a, FILE, orders[0].stateid, ReturnMode::Any, Span::WHOLE)
        .unwrap();
    assert!(returned.was_writer && returned.stateid.is_none());
    assert!(!state.recalls_pending(FILE, None));
    assert_eq!(state.metrics().recalls, 0);
}

#[test]
fn a_recall_without_answer_is_fenced_and_its_layout_honoured_no_more() {
    let mut state = open_for_business(Limits::default());
    let (a, _, stateid) = writer(&mut state, "a");
    let orders = state.recall(Time::ZERO, FILE, RecallWhat::Writers, None);
    assert!(state.overdue(Time::ZERO).is_empty());
    let fences = state.overdue(orders[0].deadline);
    assert_eq!(fences[0].client, a);
    assert_eq!(state.layout_of(a, stateid), Err(StateidRefusal::Revoked));
    assert!(state.has_rw_holder(FILE, None), "until the fence is done");
    assert_eq!(state.fences_after(None, 9), fences);
    assert_eq!(state.fences_of(FILE), fences);
    state.fenced(fences[0].id);
    assert!(!state.has_rw_holder(FILE, None));
    assert!(!state.writer_lingers(FILE, None));
}

#[test]
fn nothing_that_excludes_writers_is_given_while_one_is_being_fenced() {
    let mut state = open_for_business(Limits::default());
    let (a, opened, _) = writer(&mut state, "a");
    let b = ready(&mut state, "b");
    let other = open(&mut state, b, Access::Both, Deny::None).unwrap();
    state.revoke_client(a).expect("it was there");
    assert!(state.begin_fences_of(a));
    let gone = state.drop_client(a).expect("it lapsed");
    assert_eq!(gone.grants, state.fences_of(FILE));
    for mode in [LayoutMode::Read, LayoutMode::Write] {
        let refused = layout(&mut state, b, other, mode);
        assert_eq!(refused, Err(LayoutRefusal::Fencing));
    }
    let denying = open(&mut state, b, Access::Read, Deny::Write);
    assert_eq!(denying, Err(OpenRefusal::Fencing));
    let locked = lock(&mut state, b, other);
    assert_eq!(locked, Err(LockRefusal::Fencing));
    assert!(state.open_of(a, opened).is_err());
    state.fenced(gone.grants[0].id);
    assert!(lock(&mut state, b, other).is_ok());
    assert!(layout(&mut state, b, other, LayoutMode::Read).is_ok());
}

#[test]
fn the_one_whose_own_layout_is_fenced_may_lock() {
    let mut state = open_for_business(Limits::default());
    let (a, opened, _) = writer(&mut state, "a");
    state.begin_fences_of(a);
    assert!(state.writer_lingers(FILE, None) && !state.writer_lingers(FILE, Some(a)));
    assert!(lock(&mut state, a, opened).is_ok());
}

#[test]
fn a_forgotten_layout_counts_as_returned() {
    let mut state = open_for_business(Limits::default());
    writer(&mut state, "a");
    let orders = state.recall_server(Time::ZERO, ::layout::DataServerId(3));
    assert!(state.recall_forgotten(orders[0].grant).is_some());
    assert!(state.holders_on(::layout::DataServerId(3)).is_empty());
}

#[test]
fn no_layout_leaves_while_somebody_is_alone_with_the_file() {
    let mut state = open_for_business(Limits::default());
    let a = ready(&mut state, "a");
    let opened = open(&mut state, a, Access::Both, Deny::None).unwrap();
    state.gate_request(FILE, GateMode::Exclusive, Ticket(1));
    let refused = layout(&mut state, a, opened, LayoutMode::Read);
    assert_eq!(refused, Err(LayoutRefusal::Busy));
}

#[test]
fn who_holds_a_layout_while_somebody_is_alone_with_the_file_is_told_of_a_recall() {
    let mut state = open_for_business(Limits::default());
    let (a, _, held) = writer(&mut state, "a");
    state.gate_request(FILE, GateMode::Exclusive, Ticket(1));
    let refused = layout(&mut state, a, held, LayoutMode::Read);
    assert_eq!(refused, Err(LayoutRefusal::RecallConflict));
}

#[test]
fn a_return_that_does_not_know_of_the_latest_layout_is_old() {
    let mut state = open_for_business(Limits::default());
    let (a, _, first) = writer(&mut state, "a");
    let reserved = layout(&mut state, a, first, LayoutMode::Read).unwrap();
    let second = state.layout_confirm(reserved).unwrap();
    let early = state.layout_return(a, FILE, first, ReturnMode::Any, Span::WHOLE);
    assert_eq!(early, Err(StateidRefusal::Old));
    state.recall(Time::ZERO, FILE, RecallWhat::All, None);
    let crossing = state.layout_return(a, FILE, second, ReturnMode::Any, Span::WHOLE);
    assert_eq!(
        crossing.unwrap().stateid,
        None,
        "the recall's own seqid isn't needed"
    );
}

#[test]
fn an_earlier_layout_seqid_is_taken_and_a_future_one_or_zero_is_not() {
    let mut state = open_for_business(Limits::default());
    let (a, _, first) = writer(&mut state, "a");
    let reserved = layout(&mut state, a, first, LayoutMode::Read).unwrap();
    let second = state.layout_confirm(reserved).unwrap();
    assert_eq!((second.other, second.seqid), (first.other, first.seqid + 1));
    assert!(state.layout_of(a, first).is_ok());
    for seqid in [0, second.seqid + 1] {
        let wrong = Stateid { seqid, ..second };
        assert_eq!(state.layout_of(a, wrong), Err(StateidRefusal::Bad));
    }
}

#[test]
fn a_layout_of_which_a_part_came_back_is_held_until_the_rest_does() {
    let mut state = open_for_business(Limits::default());
    let (a, opened, _) = writer(&mut state, "a");
    let reserved = layout(&mut state, a, opened, LayoutMode::Read).unwrap();
    let stateid = state.layout_confirm(reserved).unwrap();
    let mut back = |mode, offset, length| {
        let span = Span::new(offset, length).unwrap();
        state.layout_return(a, FILE, stateid, mode, span).unwrap()
    };
    let part = back(ReturnMode::Any, 0, 1 << 20);
    assert!(part.stateid.is_some() && !part.was_writer);
    let rest = back(ReturnMode::Write, 1 << 20, u64::MAX);
    assert!(rest.was_writer, "all of it came back in two parts");
    assert!(rest.stateid.is_some(), "the right to read is another");
    let read = back(ReturnMode::Read, 1 << 20, u64::MAX);
    assert!(read.stateid.is_none());
    assert!(!state.has_rw_holder(FILE, None));
}

#[test]
fn a_part_that_came_back_counts_for_no_later_layout() {
    let mut state = open_for_business(Limits::default());
    let (a, opened, stateid) = writer(&mut state, "a");
    let (low, high) = (Span::new(0, 9).unwrap(), Span::new(9, u64::MAX).unwrap());
    let any = ReturnMode::Any;
    state.layout_return(a, FILE, stateid, any, low).unwrap();
    let reserved = layout(&mut state, a, opened, LayoutMode::Write).unwrap();
    let stateid = state.layout_confirm(reserved).unwrap();
    let back = state.layout_return(a, FILE, stateid, any, high).unwrap();
    assert!(back.stateid.is_some() && !back.was_writer);
}

#[test]
fn a_return_of_everything_keeps_to_its_mode() {
    let mut state = open_for_business(Limits::default());
    let (a, opened, _) = writer(&mut state, "a");
    let reserved = layout(&mut state, a, opened, LayoutMode::Read).unwrap();
    state.layout_confirm(reserved).unwrap();
    assert_eq!(
        state.layout_return_all(a, ReturnMode::Read, |_| true).len(),
        1
    );
    let left = state.holders(FILE);
    assert!(left[0].write && !left[0].read);
    assert!(
        state
            .layout_return_all(a, ReturnMode::Read, |_| true)
            .is_empty()
    );
    state.layout_return_all(a, ReturnMode::Any, |_| true);
    assert!(state.holders(FILE).is_empty());
}

#[test]
fn a_revoked_layout_is_acknowledged_by_freeing_its_stateid() {
    let mut state = open_for_business(Limits::default());
    let (a, _, stateid) = writer(&mut state, "a");
    assert!(state.free_stateid(a, stateid).is_err(), "it is held");
    state.begin_fences_of(a);
    assert_eq!(state.test_stateid(a, stateid), Err(StateidRefusal::Revoked));
    assert_eq!(state.free_stateid(a, stateid), Ok(()));
}
