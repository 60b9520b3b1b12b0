use super::super::fixture::*;
use super::super::{Deny, Limits};
use super::*;

fn first_lock(
    client: ClientId,
    open: Stateid,
    owner: &'static [u8],
    kind: LockKind,
) -> LockRequest {
    LockRequest {
        client,
        inode: FILE,
        range: LockRange::new(0, 10).expect("ten bytes"),
        kind,
        reclaim: false,
        wait: None,
        who: Locker::New {
            open,
            owner: Bytes::from_static(owner),
        },
    }
}

#[test]
fn a_lock_owner_keeps_its_stateid_when_it_comes_as_new_again() {
    let mut state = open_for_business(Limits::default());
    let a = ready(&mut state, "a");
    let stateid = open(&mut state, a, Access::Both, Deny::None).unwrap();
    let first = state
        .lock(Time::ZERO, first_lock(a, stateid, b"p", LockKind::Write))
        .unwrap();
    let second = state
        .lock(Time::ZERO, first_lock(a, stateid, b"p", LockKind::Read))
        .unwrap();
    assert_eq!((first.other, first.seqid + 1), (second.other, second.seqid));
}

#[test]
fn a_denied_lock_names_who_holds_what() {
    let mut state = open_for_business(Limits::default());
    let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
    let of_a = open(&mut state, a, Access::Both, Deny::None).unwrap();
    let of_b = open(&mut state, b, Access::Both, Deny::None).unwrap();
    state
        .lock(Time::ZERO, first_lock(a, of_a, b"p", LockKind::Write))
        .unwrap();
    let denied = DeniedLock {
        range: LockRange::new(0, 10).unwrap(),
        kind: LockKind::Write,
        client: a,
        owner: Bytes::from_static(b"p"),
    };
    let refused = state.lock(Time::ZERO, first_lock(b, of_b, b"p", LockKind::Read));
    assert_eq!(refused, Err(LockRefusal::Denied(denied.clone())));
    let tested = state.lock_test(b, FILE, LockRange::ALL, LockKind::Read, b"p");
    assert_eq!(tested, Some(denied));
    let own = state.lock_test(a, FILE, LockRange::ALL, LockKind::Write, b"p");
    assert_eq!(own, None);
}

#[test]
fn a_file_with_locks_is_not_closed_and_an_idle_stateid_can_be_freed() {
    let mut state = open_for_business(Limits::default());
    let a = ready(&mut state, "a");
    let stateid = open(&mut state, a, Access::Both, Deny::None).unwrap();
    let lock = state
        .lock(Time::ZERO, first_lock(a, stateid, b"p", LockKind::Write))
        .unwrap();
    let early = state.close(a, stateid, FILE);
    assert_eq!(early, Err(super::super::CloseRefusal::LocksHeld));
    assert_eq!(state.free_stateid(a, lock), Err(FreeRefusal::LocksHeld));
    let lock = state.unlock(a, lock, FILE, LockRange::ALL).unwrap();
    assert_eq!(state.free_stateid(a, lock), Ok(()));
    assert_eq!(state.test_stateid(a, lock), Err(StateidRefusal::Bad));
    assert!(state.close(a, stateid, FILE).unwrap().last);
}

#[test]
fn a_write_lock_needs_a_file_open_for_writing() {
    let mut state = open_for_business(Limits::default());
    let a = ready(&mut state, "a");
    let stateid = open(&mut state, a, Access::Read, Deny::None).unwrap();
    let refused = state.lock(Time::ZERO, first_lock(a, stateid, b"p", LockKind::Write));
    assert_eq!(refused, Err(LockRefusal::OpenMode));
}
