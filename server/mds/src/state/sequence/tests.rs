use super::super::Limits;
use super::super::fixture::*;
use super::*;

fn request(session: SessionId, slot: u32, sequence: u32) -> SequenceRequest {
    SequenceRequest {
        connection: ConnectionId(1),
        session,
        slot,
        sequence,
        highest_slot: slot,
        cache_this: true,
        digest: u64::from(sequence),
        request_bytes: 1000,
        operations: 4,
        reply_bytes: 84,
    }
}

fn run(state: &mut State, session: SessionId, slot: u32, sequence: u32) -> SequenceAnswer {
    let Ok(Sequenced::Execute(admitted)) =
        state.sequence(Time::ZERO, request(session, slot, sequence))
    else {
        panic!("slot {slot} does not execute {sequence}");
    };
    state.complete(Time::ZERO, admitted.slot, Bytes::from(vec![0; 1000]));
    admitted.answer
}

#[test]
fn a_retry_over_another_connection_gets_the_first_reply() {
    let mut state = open_for_business(Limits::default());
    let (_, session) = join(&mut state, "a");
    run(&mut state, session, 0, 1);
    let retry = SequenceRequest {
        connection: ConnectionId(2),
        ..request(session, 0, 1)
    };
    let answer = state.sequence(Time::ZERO, retry);
    assert_eq!(answer, Ok(Sequenced::Replay(Bytes::from(vec![0; 1000]))));
}

#[test]
fn a_request_beyond_its_session_changes_neither_slot_nor_lease() {
    let mut state = open_for_business(Limits::default());
    let (client, session) = join(&mut state, "a");
    run(&mut state, session, 0, 1);
    let late = Time(1_000_000_000);
    let renewed = state.clients.table[&client].renewed;
    let too_big = SequenceRequest {
        request_bytes: usize::MAX,
        ..request(session, 0, 2)
    };
    let too_many = SequenceRequest {
        operations: usize::MAX,
        ..request(session, 0, 2)
    };
    let too_much = SequenceRequest {
        reply_bytes: usize::MAX,
        ..request(session, 0, 2)
    };
    let answers = [too_big, too_many, too_much].map(|request| state.sequence(late, request));
    assert_eq!(answers[0], Err(SequenceRefusal::RequestTooBig));
    assert_eq!(answers[1], Err(SequenceRefusal::TooManyOperations));
    assert_eq!(answers[2], Err(SequenceRefusal::ReplyTooBig));
    assert_eq!(state.clients.table[&client].renewed, renewed);
    let retry = state.sequence(Time::ZERO, request(session, 0, 1));
    assert_eq!(retry, Ok(Sequenced::Replay(Bytes::from(vec![0; 1000]))));
}

#[test]
fn replies_that_take_too_much_memory_shrink_the_slots_and_are_given_back() {
    let mut state = open_for_business(Limits {
        cached_reply_bytes: 4_000,
        slots_under_pressure: 1,
        ..Limits::default()
    });
    let (_, session) = join(&mut state, "a");
    for slot in 0..4 {
        run(&mut state, session, slot, 1);
    }
    assert_eq!(state.metrics().cached_reply_bytes, 4_000);
    assert_eq!(run(&mut state, session, 0, 2).target_highest_slot, 0);
    run(&mut state, session, 0, 3);
    assert_eq!(state.metrics().cached_reply_bytes, 1_000);
}

#[test]
fn a_session_uses_fewer_slots_the_more_sessions_there_are() {
    let mut state = open_for_business(Limits {
        cached_reply_bytes: 16 * 4_096,
        slots_under_pressure: 3,
        ..Limits::default()
    });
    let (_, session) = join(&mut state, "a");
    assert_eq!(run(&mut state, session, 0, 1).target_highest_slot, 15);
    let (_, other) = join(&mut state, "b");
    let answer = run(&mut state, session, 0, 2);
    assert_eq!((answer.target_highest_slot, answer.highest_slot), (7, 15));
    let crowd: Vec<_> = (0..20)
        .map(|n| join(&mut state, &format!("c{n}")).1)
        .collect();
    assert_eq!(run(&mut state, session, 0, 3).target_highest_slot, 2);
    for gone in crowd.into_iter().chain([other]) {
        state
            .destroy_session(gone, ConnectionId(1), b"", None)
            .unwrap();
    }
    assert_eq!(run(&mut state, session, 0, 4).target_highest_slot, 15);
}

#[test]
fn no_reply_is_forgotten_to_make_room_for_another() {
    let mut state = open_for_business(Limits {
        cached_reply_bytes: 1_000,
        cached_reply_bytes_hard: 1_000,
        ..Limits::default()
    });
    let (_, session) = join(&mut state, "a");
    run(&mut state, session, 0, 1);
    let full = state.sequence(Time::ZERO, request(session, 1, 1));
    assert_eq!(full, Err(SequenceRefusal::MemoryShort));
    run(&mut state, session, 0, 2);
}

#[test]
fn a_session_goes_with_what_it_keeps_and_late_completions_find_nothing() {
    let mut state = open_for_business(Limits::default());
    let (_, session) = join(&mut state, "a");
    run(&mut state, session, 0, 1);
    let Ok(Sequenced::Execute(late)) = state.sequence(Time::ZERO, request(session, 1, 1)) else {
        panic!("a new slot executes");
    };
    let busy = state.destroy_session(session, ConnectionId(1), b"a", None);
    assert_eq!(busy, Err(super::super::DestroySessionRefusal::Busy));
    let own = Some(late.slot);
    assert_eq!(
        state.destroy_session(session, ConnectionId(1), b"a", own),
        Ok(())
    );
    state.complete(Time::ZERO, late.slot, Bytes::new());
    assert_eq!(state.metrics().cached_reply_bytes, 0);
    let gone = state.sequence(Time::ZERO, request(session, 0, 2));
    assert_eq!(gone, Err(SequenceRefusal::BadSession));
}

#[test]
fn a_lost_back_channel_is_told_until_a_connection_is_bound() {
    let mut state = open_for_business(Limits::default());
    let (_, session) = join(&mut state, "a");
    assert_eq!(run(&mut state, session, 0, 1).status_flags, 0);
    state.connection_closed(ConnectionId(1));
    let flags = run(&mut state, session, 0, 2).status_flags;
    assert_ne!(flags & status_flags::CB_PATH_DOWN, 0);
    state
        .bind_connection(
            session,
            ConnectionId(3),
            super::super::BindDirection::ForeOrBoth,
        )
        .unwrap();
    assert_eq!(run(&mut state, session, 0, 3).status_flags, 0);
}

#[test]
fn that_layouts_are_gone_is_told_until_a_slot_that_heard_of_it_comes_again() {
    // Linux gives up its layouts each time it hears of it, and takes the lowest slot that is free: one that waits
    // for a layout never comes to a higher slot again.
    let mut state = open_for_business(Limits::default());
    let (client, session) = join(&mut state, "a");
    state.clients.table.get_mut(&client).unwrap().notice = Notice::Due;
    let mut hears = |slot, sequence| {
        run(&mut state, session, slot, sequence).status_flags
            & status_flags::RECALLABLE_STATE_REVOKED
            != 0
    };
    assert!(hears(5, 1), "told");
    assert!(hears(0, 1), "nothing shows yet that it heard");
    assert!(!hears(0, 2), "it has the answer of before");
    assert!(!hears(5, 2));
}
