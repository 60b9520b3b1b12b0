use super::super::fixture::*;
use super::super::{Deny, GateMode, Limits, RecallWhat, Ticket, Time};
use super::*;

fn writer(state: &mut State, owner: &str) -> (ClientId, Stateid, Stateid) {
    let client = ready(state, owner);
    let opened = open(state, client, Access::Both, Deny::None).expect("no denies here");
    let reserved = layout(state, client, opened, LayoutMode::Write).expect("nobody objects");
    let stateid = state.layout_confirm(reserved).expect("no recall");
    (client, opened, stateid)
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
        .layout_return(a, FILE, orders[0].stateid, ReturnMode::Any)
        .unwrap();
    assert!(returned.drained && returned.was_writer && returned.stateid.is_none());
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
    assert_eq!(state.fences(), fences);
    state.fenced(fences[0].id);
    assert!(!state.has_rw_holder(FILE, None));
    assert!(!state.recalls_pending(FILE, None));
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
    let early = state.layout_return(a, FILE, first, ReturnMode::Any);
    assert_eq!(early, Err(StateidRefusal::Old));
    state.recall(Time::ZERO, FILE, RecallWhat::All, None);
    let crossing = state.layout_return(a, FILE, second, ReturnMode::Any);
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
