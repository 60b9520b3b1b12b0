use super::super::fixture::*;
use super::super::*;
use super::*;

fn asks(client: ClientId, open: Stateid, kind: LockKind, wait: bool) -> LockRequest {
    LockRequest {
        client,
        inode: FILE,
        range: LockRange::new(0, 10).expect("ten bytes"),
        kind,
        reclaim: false,
        wait: wait.then_some(3),
        who: Locker::New {
            open,
            owner: Bytes::from_static(b"p"),
        },
    }
}

/// A state in which the first of three clients has locked what the others want.
struct Queue {
    state: State,
    clients: [ClientId; 3],
    opens: [Stateid; 3],
    held: Stateid,
}

impl Queue {
    fn with(limits: Limits) -> Queue {
        let mut state = open_for_business(limits);
        let clients = ["a", "b", "c"].map(|owner| ready(&mut state, owner));
        let opens =
            clients.map(|client| open(&mut state, client, Access::Both, Deny::None).unwrap());
        let held = state
            .lock(
                Time::ZERO,
                asks(clients[0], opens[0], LockKind::Write, false),
            )
            .unwrap();
        Queue {
            state,
            clients,
            opens,
            held,
        }
    }

    fn ask(&mut self, who: usize, at: Time, wait: bool) -> Result<Stateid, LockRefusal> {
        let asked = asks(self.clients[who], self.opens[who], LockKind::Write, wait);
        self.state.lock(at, asked)
    }

    /// The first client lets go.
    fn free(&mut self, at: Time) -> Vec<LockNotice> {
        self.state
            .unlock(self.clients[0], self.held, FILE, LockRange::ALL)
            .unwrap();
        self.state.lock_turns(at, FILE)
    }
}

#[test]
fn the_first_to_wait_is_the_first_to_be_told_and_the_lock_is_kept_for_it() {
    let mut queue = Queue::with(Limits::default());
    assert!(queue.ask(1, Time::ZERO, true).is_err());
    assert!(queue.ask(2, Time::ZERO, true).is_err());
    let told = queue.free(Time::ZERO);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].client, told[0].tag), (queue.clients[1], 3));
    let Err(LockRefusal::Denied(denied)) = queue.ask(2, Time::ZERO, true) else {
        panic!("it is another's turn");
    };
    assert_eq!(denied.client, queue.clients[1]);
    let taken = queue.ask(1, Time::ZERO, true).unwrap();
    assert_eq!(queue.state.metrics().lock_waiters, 1);
    queue
        .state
        .unlock(queue.clients[1], taken, FILE, LockRange::ALL)
        .unwrap();
    let next = queue.state.lock_turns(Time::ZERO, FILE);
    assert_eq!(next[0].client, queue.clients[2]);
}

#[test]
fn who_doesnt_come_back_loses_its_turn_to_the_next() {
    let mut queue = Queue::with(Limits::default());
    assert!(queue.ask(1, Time::ZERO, true).is_err());
    assert!(queue.ask(2, Time::ZERO, true).is_err());
    let told = queue.free(Time::ZERO);
    assert_eq!(queue.state.next_deadline(), Some(told[0].until));
    assert!(queue.state.lock_turns_due(Time::ZERO).is_empty());
    let next = queue.state.lock_turns_due(told[0].until);
    assert_eq!(next[0].client, queue.clients[2]);
    assert!(!queue.state.has_lock_turn(&told[0]));
    let last = queue.state.lock_turn_lost(told[0].until, &next[0]);
    assert!(last.is_empty());
    assert!(queue.ask(0, told[0].until, false).is_ok(), "nobody waits");
}

#[test]
fn readers_get_their_turn_together() {
    let mut queue = Queue::with(Limits::default());
    for who in [1, 2] {
        let asked = asks(queue.clients[who], queue.opens[who], LockKind::Read, true);
        assert!(queue.state.lock(Time::ZERO, asked).is_err());
    }
    assert_eq!(queue.free(Time::ZERO).len(), 2);
    assert!(queue.ask(0, Time::ZERO, false).is_err(), "a writer waits");
}

#[test]
fn nobody_waits_behind_one_who_cant_have_its_lock_yet() {
    let mut queue = Queue::with(Limits::default());
    let all = LockRequest {
        range: LockRange::ALL,
        ..asks(queue.clients[1], queue.opens[1], LockKind::Write, true)
    };
    assert!(queue.state.lock(Time::ZERO, all).is_err());
    let beside = LockRequest {
        range: LockRange::new(100, 1).unwrap(),
        ..asks(queue.clients[0], queue.opens[0], LockKind::Write, true)
    };
    assert!(queue.state.lock(Time::ZERO, beside).is_ok());
}

#[test]
fn one_that_asks_again_keeps_its_place_and_one_silent_for_long_has_given_up() {
    let mut queue = Queue::with(Limits::default());
    assert!(queue.ask(1, Time::ZERO, true).is_err());
    assert!(queue.ask(2, Time::ZERO, true).is_err());
    let later = Time::ZERO.plus(PATIENCE * 2);
    assert!(queue.ask(2, later, true).is_err());
    assert_eq!(queue.state.metrics().lock_waiters, 2);
    assert_eq!(queue.free(later)[0].client, queue.clients[2]);
}

#[test]
fn the_queue_is_bounded_and_empties_with_its_clients_and_opens() {
    let mut queue = Queue::with(Limits {
        lock_waiters_per_file: 1,
        ..Limits::default()
    });
    assert!(queue.ask(1, Time::ZERO, true).is_err());
    assert!(queue.ask(2, Time::ZERO, true).is_err());
    assert_eq!(queue.state.metrics().lock_waiters, 1);
    queue
        .state
        .close(queue.clients[1], queue.opens[1], FILE)
        .unwrap();
    assert_eq!(queue.state.metrics().lock_waiters, 0);
    assert!(queue.ask(2, Time::ZERO, true).is_err());
    queue.state.revoke_client(queue.clients[2]).unwrap();
    queue.state.drop_client(queue.clients[2]).unwrap();
    assert_eq!(queue.state.metrics().lock_waiters, 0);
}

#[test]
fn one_that_cant_be_called_isnt_queued() {
    let mut queue = Queue::with(Limits::default());
    assert!(queue.state.can_call_back(queue.clients[1]));
    queue.state.connection_closed(ConnectionId(1));
    assert!(!queue.state.can_call_back(queue.clients[1]));
    assert!(queue.ask(1, Time::ZERO, true).is_err());
    assert_eq!(queue.state.metrics().lock_waiters, 0);
}
