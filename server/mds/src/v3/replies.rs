//! Replies of calls that must not run twice, kept for when they come again: a client whose connection broke before
//! a reply sends the call over its next one, with the same xid. Nothing of it outlives a restart.
//!
//! Bounded by calls of one address, of all, and by time: what a client hasn't repeated then, it won't.

use crate::state::Time;
use bytes::Bytes;
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use wire::rpc::Credential;
use wire::xdr::{Decoder, Encoder, Xdr};

/// As many as a client of many connections can have under way.
const OF_ADDRESS_MAX: usize = 4096;
const ALL_MAX: usize = 32_768;
/// Linux gives a connection up and dials again in less.
const KEPT_FOR: Duration = Duration::from_mins(5);

/// A call as it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub peer: IpAddr,
    pub xid: u32,
    pub procedure: u32,
    /// Of its arguments and its caller: another call may carry the same xid.
    pub digest: u64,
}

/// Not secret: it guards clients against their own mistakes.
pub(super) fn digest(credential: &Credential, arguments: &Decoder) -> u64 {
    let mut hasher = SipHasher13::new();
    let mut caller = Encoder::new();
    credential.encode(&mut caller);
    hasher.write(&caller.finish());
    hasher.write(&arguments.clone().rest());
    hasher.finish()
}

/// The place of a reply. Whoever comes while the call runs waits for it.
pub(super) type Place = Arc<OnceCell<Bytes>>;

#[derive(Debug)]
struct Kept {
    came: Time,
    serial: u64,
    reply: Place,
}

#[derive(Debug, Default)]
struct Inner {
    kept: HashMap<Asked, Kept>,
    order: BTreeMap<u64, Asked>,
    /// The same of each address.
    of_address: HashMap<IpAddr, VecDeque<u64>>,
    last: u64,
}

impl Inner {
    fn drop_serial(&mut self, serial: u64) {
        let Some(asked) = self.order.remove(&serial) else {
            return;
        };
        self.kept.remove(&asked);
        if let Some(serials) = self.of_address.get_mut(&asked.peer) {
            // The oldest, nearly always.
            if let Some(at) = serials.iter().position(|of| *of == serial) {
                serials.remove(at);
            }
            if serials.is_empty() {
                self.of_address.remove(&asked.peer);
            }
        }
    }

    fn drop_old(&mut self, now: Time) {
        while let Some((serial, asked)) = self.order.first_key_value() {
            let old = self
                .kept
                .get(asked)
                .is_none_or(|kept| now.since(kept.came) >= KEPT_FOR);
            if !old && self.order.len() < ALL_MAX {
                return;
            }
            self.drop_serial(*serial);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Replies(Mutex<Inner>);

impl Replies {
    /// Where the reply is, or is to be put.
    pub fn of(&self, now: Time, asked: Asked) -> Place {
        let mut inner = self.0.lock();
        if let Some(kept) = inner.kept.get(&asked)
            && now.since(kept.came) < KEPT_FOR
        {
            return Arc::clone(&kept.reply);
        }
        inner.drop_old(now);
        let oldest = inner.of_address.get(&asked.peer).and_then(|serials| {
            let full = serials.len() >= OF_ADDRESS_MAX;
            serials.front().copied().filter(|_| full)
        });
        if let Some(oldest) = oldest {
            inner.drop_serial(oldest);
        }
        inner.last += 1;
        let serial = inner.last;
        let reply = Place::default();
        inner.order.insert(serial, asked);
        inner
            .of_address
            .entry(asked.peer)
            .or_default()
            .push_back(serial);
        let kept = Kept {
            came: now,
            serial,
            reply: Arc::clone(&reply),
        };
        inner.kept.insert(asked, kept);
        reply
    }

    /// The call is to run when it comes again.
    pub fn forget(&self, asked: &Asked, place: &Place) {
        let mut inner = self.0.lock();
        let serial = inner
            .kept
            .get(asked)
            .filter(|kept| Arc::ptr_eq(&kept.reply, place))
            .map(|kept| kept.serial);
        if let Some(serial) = serial {
            inner.drop_serial(serial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: u8, xid: u32) -> Asked {
        Asked {
            peer: IpAddr::from([10, 0, 0, host]),
            xid,
            procedure: 12,
            digest: 7,
        }
    }

    fn at(seconds: u64) -> Time {
        Time::ZERO.plus(Duration::from_secs(seconds))
    }

    fn answered(replies: &Replies, now: Time, asked: Asked, reply: &'static str) {
        let place = replies.of(now, asked);
        place.set(Bytes::from_static(reply.as_bytes())).unwrap();
    }

    #[test]
    fn the_reply_of_a_call_is_found_when_it_comes_again_and_no_other() {
        let replies = Replies::default();
        answered(&replies, at(0), asked(1, 5), "removed");
        assert_eq!(replies.of(at(60), asked(1, 5)).get().unwrap(), "removed");
        let others = [
            asked(2, 5),
            asked(1, 6),
            Asked {
                digest: 8,
                ..asked(1, 5)
            },
            Asked {
                procedure: 13,
                ..asked(1, 5)
            },
        ];
        for other in others {
            assert!(!replies.of(at(60), other).initialized());
        }
    }

    #[test]
    fn a_reply_is_not_given_to_a_call_of_a_later_day() {
        let replies = Replies::default();
        answered(&replies, at(0), asked(1, 5), "removed");
        assert!(!replies.of(at(301), asked(1, 5)).initialized());
        assert_eq!(replies.0.lock().order.len(), 1);
    }

    #[test]
    fn what_passed_is_run_again() {
        let replies = Replies::default();
        let place = replies.of(at(0), asked(1, 5));
        place.set(Bytes::from_static(b"later")).unwrap();
        replies.forget(&asked(1, 5), &place);
        let again = replies.of(at(1), asked(1, 5));
        assert!(!again.initialized());
        // Whoever waited for the first one forgets nothing of the second.
        replies.forget(&asked(1, 5), &place);
        assert!(Arc::ptr_eq(&again, &replies.of(at(1), asked(1, 5))));
    }

    #[test]
    fn one_address_pushes_out_nobody_elses_replies_and_all_stay_bounded() {
        let replies = Replies::default();
        answered(&replies, at(0), asked(1, 1), "mine");
        for xid in 0..2 * OF_ADDRESS_MAX as u32 {
            replies.of(at(1), asked(2, xid));
        }
        assert_eq!(replies.of(at(1), asked(1, 1)).get().unwrap(), "mine");
        assert_eq!(replies.0.lock().kept.len(), OF_ADDRESS_MAX + 1);
        for host in 3..30 {
            for xid in 0..OF_ADDRESS_MAX as u32 {
                replies.of(at(2), asked(host, xid));
            }
        }
        let inner = replies.0.lock();
        assert!(inner.kept.len() <= ALL_MAX && inner.order.len() == inner.kept.len());
        let serials: usize = inner.of_address.values().map(VecDeque::len).sum();
        assert_eq!(serials, inner.order.len());
    }
}
