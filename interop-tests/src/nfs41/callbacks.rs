//! The client's end of the back channel: it keeps the rules of CB_SEQUENCE, and for the rest answers what the
//! script says. It never returns a layout or delegation by itself.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use wire::nfs4::{
    Attributes, CbArgOp, CbCompound4Args, CbCompound4Res, CbGetattr4Ok, CbOpnum, CbResOp,
    CbSequence4Args, CbSequence4Ok, Nfsstat4, ReferringCallList4, Sessionid4,
};

use super::failure::Failure;

const CALLBACK_TIMEOUT: Duration = Duration::from_secs(30);

/// How the next callback is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackAnswer {
    Status(Nfsstat4),
    /// By CB_SEQUENCE already; what comes behind it is not looked at.
    Refused(Nfsstat4),
    /// Nothing is sent, as by a client that hangs.
    Silence,
}

/// One per client, whichever connections it has.
pub struct Callbacks {
    inner: Mutex<Inner>,
    came: tokio::sync::Mutex<mpsc::UnboundedReceiver<CbArgOp>>,
}

struct Inner {
    minor: u32,
    script: VecDeque<CallbackAnswer>,
    otherwise: CallbackAnswer,
    attributes: Option<Attributes>,
    slots: HashMap<(Sessionid4, u32), (u32, CbCompound4Res)>,
    referring: Vec<ReferringCallList4>,
    tell: mpsc::UnboundedSender<CbArgOp>,
}

impl Callbacks {
    /// Of a client that mounted by this minor version: as Linux, it knows its sessions by that alone.
    pub fn new(minor: u32) -> Self {
        let (tell, came) = mpsc::unbounded_channel();
        let otherwise = CallbackAnswer::Status(Nfsstat4::Ok);
        let inner = Inner {
            minor,
            script: VecDeque::new(),
            otherwise,
            attributes: None,
            slots: HashMap::new(),
            referring: Vec::new(),
            tell,
        };
        Self {
            inner: Mutex::new(inner),
            came: tokio::sync::Mutex::new(came),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the next callback that has no answer yet so, after those said before.
    pub fn answer_next(&self, answer: CallbackAnswer) {
        self.lock().script.push_back(answer);
    }

    /// Answers every callback so once the script is used up; OK unless said otherwise.
    pub fn answer_all(&self, answer: CallbackAnswer) {
        self.lock().otherwise = answer;
    }

    /// What CB_GETATTR is told from now on, where it is answered OK.
    pub fn tell(&self, attributes: Attributes) {
        self.lock().attributes = Some(attributes);
    }

    /// The next callback that came, CB_SEQUENCE apart.
    pub async fn next(&self) -> Result<CbArgOp, Failure> {
        let mut came = self.came.lock().await;
        let next = tokio::time::timeout(CALLBACK_TIMEOUT, came.recv())
            .await
            .map_err(io::Error::from)?;
        next.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionReset).into())
    }

    /// Whether no callback has come that was not looked at.
    pub async fn is_quiet(&self) -> bool {
        self.came.lock().await.is_empty()
    }

    /// Behind which of our own requests the latest callback comes, as (slot, sequence) in this session.
    pub fn referring(&self, session: Sessionid4) -> Vec<(u32, u32)> {
        let inner = self.lock();
        let lists = inner.referring.iter();
        lists
            .filter(|list| list.sessionid == session)
            .flat_map(|list| &list.referring_calls)
            .map(|call| (call.slotid, call.sequenceid))
            .collect()
    }

    pub(super) fn answer(&self, args: CbCompound4Args) -> Option<CbCompound4Res> {
        self.lock().answer(args)
    }
}

impl Inner {
    fn answer(&mut self, args: CbCompound4Args) -> Option<CbCompound4Res> {
        let mut ops = args.ops.into_iter();
        let tag = args.tag;
        let sequence = match ops.next() {
            Some(CbArgOp::Sequence(sequence)) => sequence,
            Some(other) => {
                return Some(ended(
                    tag,
                    vec![CbResOp::failed(other.opnum(), Nfsstat4::OpNotInSession)],
                ));
            }
            None => return Some(ended(tag, Vec::new())),
        };
        if args.minorversion != self.minor {
            return Some(refused(tag, Nfsstat4::Badsession));
        }
        self.referring.clone_from(&sequence.referring_call_lists);
        let next = self.script.front().copied().unwrap_or(self.otherwise);
        if let CallbackAnswer::Refused(status) = next {
            self.script.pop_front();
            return Some(refused(tag, status));
        }
        let slot = (sequence.sessionid, sequence.slotid);
        match self.slots.get(&slot) {
            Some((last, answer)) if *last == sequence.sequenceid => return Some(answer.clone()),
            Some((last, _)) if last.wrapping_add(1) != sequence.sequenceid => {
                return Some(refused(tag, Nfsstat4::SeqMisordered));
            }
            None if sequence.sequenceid != 1 => {
                return Some(refused(tag, Nfsstat4::SeqMisordered));
            }
            _ => {}
        }
        let sequenceid = sequence.sequenceid;
        let mut results = vec![CbResOp::Sequence(Ok(echo(&sequence)))];
        for op in ops {
            let opnum = op.opnum();
            // Nobody may be listening any more.
            let _ = self.tell.send(op);
            match self.script.pop_front().unwrap_or(self.otherwise) {
                CallbackAnswer::Silence => return None,
                CallbackAnswer::Refused(status) | CallbackAnswer::Status(status) => {
                    results.push(result(opnum, status, self.attributes.as_ref()));
                }
            }
            if results
                .last()
                .is_some_and(|last| last.status() != Nfsstat4::Ok)
            {
                break;
            }
        }
        let answer = ended(tag, results);
        self.slots.insert(slot, (sequenceid, answer.clone()));
        Some(answer)
    }
}

fn echo(sequence: &CbSequence4Args) -> CbSequence4Ok {
    let &CbSequence4Args {
        sessionid,
        sequenceid,
        slotid,
        highest_slotid,
        ..
    } = sequence;
    CbSequence4Ok {
        sessionid,
        sequenceid,
        slotid,
        highest_slotid,
        target_highest_slotid: highest_slotid,
    }
}

fn refused(tag: Bytes, status: Nfsstat4) -> CbCompound4Res {
    ended(tag, vec![CbResOp::failed(CbOpnum::Sequence, status)])
}

fn ended(tag: Bytes, results: Vec<CbResOp>) -> CbCompound4Res {
    let status = results.last().map_or(Nfsstat4::Ok, CbResOp::status);
    CbCompound4Res {
        status,
        tag,
        results,
    }
}

/// Every callback but CB_GETATTR says nothing but its status.
fn result(op: CbOpnum, status: Nfsstat4, attributes: Option<&Attributes>) -> CbResOp {
    if status != Nfsstat4::Ok {
        return CbResOp::failed(op, status);
    }
    match op {
        CbOpnum::Recall => CbResOp::Recall(Ok(())),
        CbOpnum::Layoutrecall => CbResOp::Layoutrecall(Ok(())),
        CbOpnum::Notify => CbResOp::Notify(Ok(())),
        CbOpnum::PushDeleg => CbResOp::PushDeleg(Ok(())),
        CbOpnum::RecallAny => CbResOp::RecallAny(Ok(())),
        CbOpnum::RecallableObjAvail => CbResOp::RecallableObjAvail(Ok(())),
        CbOpnum::RecallSlot => CbResOp::RecallSlot(Ok(())),
        CbOpnum::WantsCancelled => CbResOp::WantsCancelled(Ok(())),
        CbOpnum::NotifyLock => CbResOp::NotifyLock(Ok(())),
        CbOpnum::NotifyDeviceid => CbResOp::NotifyDeviceid(Ok(())),
        CbOpnum::Offload => CbResOp::Offload(Ok(())),
        CbOpnum::Sequence => CbResOp::failed(op, Nfsstat4::SequencePos),
        CbOpnum::Getattr => CbResOp::Getattr(match attributes {
            Some(told) => Ok(CbGetattr4Ok {
                obj_attributes: Box::new(told.clone()),
            }),
            None => Err(Nfsstat4::Notsupp),
        }),
        CbOpnum::Illegal => CbResOp::failed(op, Nfsstat4::Notsupp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(sequenceid: u32) -> CbCompound4Args {
        let sequence = CbSequence4Args {
            sessionid: Sessionid4([1; 16]),
            sequenceid,
            slotid: 0,
            highest_slotid: 0,
            cachethis: false,
            referring_call_lists: Vec::new(),
        };
        let recall = wire::nfs4::CbRecallSlot4Args {
            target_highest_slotid: 3,
        };
        let ops = vec![CbArgOp::Sequence(sequence), CbArgOp::RecallSlot(recall)];
        CbCompound4Args {
            tag: Bytes::new(),
            minorversion: 1,
            callback_ident: 0,
            ops,
        }
    }

    #[tokio::test]
    async fn a_callback_is_answered_by_the_script_and_then_with_ok() {
        let callbacks = Callbacks::new(1);
        callbacks.answer_next(CallbackAnswer::Status(Nfsstat4::Delay));
        assert_eq!(
            callbacks.answer(called(1)).map(|answer| answer.status),
            Some(Nfsstat4::Delay)
        );
        assert_eq!(
            callbacks.answer(called(2)).map(|answer| answer.status),
            Some(Nfsstat4::Ok)
        );
        assert!(matches!(callbacks.next().await, Ok(CbArgOp::RecallSlot(_))));
    }

    #[tokio::test]
    async fn a_callback_sent_again_gets_its_first_answer_and_is_told_once() {
        let callbacks = Callbacks::new(1);
        callbacks.answer_next(CallbackAnswer::Status(Nfsstat4::Delay));
        let first = callbacks.answer(called(1));
        assert_eq!(callbacks.answer(called(1)), first);
        callbacks.next().await.expect("it came once");
        assert!(callbacks.is_quiet().await);
    }

    #[test]
    fn a_callback_of_another_minor_version_finds_no_session() {
        let callbacks = Callbacks::new(2);
        assert_eq!(
            callbacks.answer(called(1)).map(|answer| answer.status),
            Some(Nfsstat4::Badsession)
        );
    }

    #[test]
    fn a_callback_out_of_order_is_refused() {
        let callbacks = Callbacks::new(1);
        assert_eq!(
            callbacks.answer(called(7)).map(|answer| answer.status),
            Some(Nfsstat4::SeqMisordered)
        );
    }
}
