//! One connection and the calls on it: a task writes calls, matches replies by xid, connects again
//! when the connection breaks, and sends again what may be. Never here: what a call means.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;
use wire::record::{Frame, RecordError, RecordReader};
use wire::rpc::{Message, ReplyBody};
use wire::{Decoder, Xdr};

use crate::dial::Dialer;
use crate::error::CallError;
use crate::options::{Backoff, Options, Resend};

/// Connections on which one call is tried. A call whose reply breaks each connection would
/// otherwise be sent for ever.
const SENDS_MAX: u32 = 4;

/// Room for small replies; a large one gets what it needs.
const RECEIVE_BYTES: usize = 64 * 1024;

/// Small calls that wait together are sent together, until they come to this.
const WRITE_BYTES: usize = 64 * 1024;

/// Replies below this are copied out of the receive buffer.
const COPIED_BYTES: usize = 4096;

/// What a server said, or why it said nothing.
pub(crate) type Answer = Result<Reply, CallError>;

/// A reply's body, with the decoder in front of the result.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) body: ReplyBody,
    pub(crate) result: Decoder,
}

pub(crate) struct Lane {
    server: SocketAddr,
    calls: Mutex<Calls>,
    wake: Notify,
}

#[derive(Default)]
struct Calls {
    /// All that were made and not answered, by xid.
    pending: HashMap<u32, Call>,
    /// Those of them that are to be sent.
    queue: VecDeque<u32>,
    made: u64,
    /// Why there is no connection.
    fault: Option<Arc<str>>,
}

struct Call {
    frame: Frame,
    resend: Resend,
    /// For sending again in the order in which calls were made.
    order: u64,
    sends: u32,
    answer: oneshot::Sender<Answer>,
}

/// A call that is waited for. Dropping it forgets the call: a late reply finds nobody.
pub(crate) struct Ticket<'a> {
    lane: &'a Lane,
    xid: u32,
    answer: oneshot::Receiver<Answer>,
}

impl Ticket<'_> {
    pub(crate) async fn answer(&mut self) -> Answer {
        (&mut self.answer).await.unwrap_or_else(|_| {
            Err(CallError::Disconnected {
                reason: "the client is shutting down".into(),
            })
        })
    }

    /// What to say when the answer did not come within `after`.
    pub(crate) fn overdue(&self, after: Duration) -> CallError {
        let calls = self.lane.calls.lock();
        let may_have_run = calls
            .pending
            .get(&self.xid)
            .is_none_or(|call| call.sends > 0);
        match calls.fault.clone() {
            Some(reason) => CallError::Unreachable {
                after,
                may_have_run,
                reason,
            },
            None => CallError::Timeout {
                after,
                may_have_run,
            },
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut calls = self.lane.calls.lock();
        if calls.pending.remove(&self.xid).is_some() {
            calls.queue.retain(|xid| *xid != self.xid);
        }
    }
}

impl Lane {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self {
            server,
            calls: Mutex::default(),
            wake: Notify::new(),
        }
    }

    pub(crate) fn make(&self, xid: u32, frame: Frame, resend: Resend) -> Ticket<'_> {
        let (sender, receiver) = oneshot::channel();
        let mut calls = self.calls.lock();
        calls.made += 1;
        let order = calls.made;
        calls.pending.insert(
            xid,
            Call {
                frame,
                resend,
                order,
                sends: 0,
                answer: sender,
            },
        );
        calls.queue.push_back(xid);
        drop(calls);
        self.wake.notify_one();
        Ticket {
            lane: self,
            xid,
            answer: receiver,
        }
    }

    /// Serves the lane until the task is aborted.
    pub(crate) async fn run(self: Arc<Self>, options: Options) {
        let limit_bytes = options.reply_limit_bytes;
        let mut pause = Pause::new(options.backoff);
        let mut dialer = Dialer::new(self.server, options);
        loop {
            self.call_waits().await;
            match dialer.dial().await {
                Ok(stream) => {
                    self.calls.lock().fault = None;
                    let (input, output) = stream.into_split();
                    let mut replies = 0;
                    let fault = tokio::select! {
                        fault = self.receive(input, limit_bytes, &mut replies) => fault,
                        fault = self.send(output) => fault,
                    };
                    tracing::debug!(server = %self.server, %fault, "the connection broke");
                    self.sort_out(&fault.into());
                    if replies > 0 {
                        pause.reset();
                    }
                }
                Err(fault) => {
                    tracing::debug!(server = %self.server, %fault, "no connection");
                    self.calls.lock().fault = Some(fault.to_string().into());
                }
            }
            sleep(pause.next()).await;
        }
    }

    async fn call_waits(&self) {
        while self.calls.lock().queue.is_empty() {
            self.wake.notified().await;
        }
    }

    /// Writes what is queued, until the connection breaks.
    async fn send(&self, mut output: impl AsyncWrite + Unpin) -> String {
        loop {
            while let Some(mut frame) = self.next_frame() {
                if let Err(fault) = output.write_all_buf(&mut frame).await {
                    return fault.to_string();
                }
            }
            self.wake.notified().await;
        }
    }

    /// What is queued, as much as one write should take.
    fn next_frame(&self) -> Option<Frame> {
        let mut calls = self.calls.lock();
        let mut batch: Option<Frame> = None;
        while batch
            .as_ref()
            .is_none_or(|batch| batch.remaining() < WRITE_BYTES)
        {
            let Some(xid) = calls.queue.pop_front() else {
                break;
            };
            let Some(call) = calls.pending.get_mut(&xid) else {
                continue;
            };
            call.sends += 1;
            match &mut batch {
                Some(batch) => batch.append(call.frame.clone()),
                None => batch = Some(call.frame.clone()),
            }
        }
        batch
    }

    /// Reads replies and hands them out, until the connection breaks.
    async fn receive(
        &self,
        mut input: impl AsyncRead + Unpin,
        limit_bytes: usize,
        replies: &mut u64,
    ) -> String {
        let mut reader = RecordReader::new(limit_bytes);
        let mut buffer = BytesMut::new();
        loop {
            match reader.next(&mut buffer) {
                Ok(Some(record)) => match self.take_reply(record) {
                    Ok(()) => {
                        *replies += 1;
                        continue;
                    }
                    Err(fault) => return fault,
                },
                Ok(None) => {}
                Err(fault @ RecordError::TooManyFragments { .. }) => return fault.to_string(),
                Err(fault @ RecordError::TooLong { .. }) => {
                    // Whose reply it is stands behind the mark.
                    if let Some(xid) = reader.first_word(&buffer) {
                        self.answer(xid, Err(CallError::ReplyTooLong { limit: limit_bytes }));
                        return fault.to_string();
                    }
                }
            }
            buffer.reserve(reader.missing_bytes(&buffer).max(RECEIVE_BYTES));
            match input.read_buf(&mut buffer).await {
                Ok(0) => return "the server closed the connection".into(),
                Ok(_) => {}
                Err(fault) => return fault.to_string(),
            }
        }
    }

    fn take_reply(&self, record: Bytes) -> Result<(), String> {
        // A filehandle kept for days must not keep a whole receive buffer.
        let record = if record.len() < COPIED_BYTES {
            Bytes::copy_from_slice(&record)
        } else {
            record
        };
        let mut result = Decoder::new(record);
        match Message::decode(&mut result) {
            Ok(Message::Reply(reply)) => {
                self.answer(
                    reply.xid,
                    Ok(Reply {
                        body: reply.body,
                        result,
                    }),
                );
                Ok(())
            }
            Ok(Message::Call(_) | Message::ForeignCall { .. }) => {
                Err("the server sent a call instead of a reply".into())
            }
            Err(fault) => Err(format!("the server sent what is no RPC reply: {fault}")),
        }
    }

    fn answer(&self, xid: u32, answer: Answer) {
        let call = self.calls.lock().pending.remove(&xid);
        // Nobody waits for the reply of a call that was given up.
        if let Some(call) = call {
            let _ = call.answer.send(answer);
        }
    }

    /// After a break: queues again what may be sent again, and tells the others.
    fn sort_out(&self, reason: &Arc<str>) {
        let mut calls = self.calls.lock();
        let lost: Vec<u32> = calls
            .pending
            .iter()
            .filter(|(_, call)| {
                call.sends >= SENDS_MAX || (call.sends > 0 && call.resend == Resend::Never)
            })
            .map(|(xid, _)| *xid)
            .collect();
        let lost: Vec<Call> = lost
            .iter()
            .filter_map(|xid| calls.pending.remove(xid))
            .collect();
        let mut queue: Vec<(u64, u32)> = calls
            .pending
            .iter()
            .map(|(xid, call)| (call.order, *xid))
            .collect();
        queue.sort_unstable();
        calls.queue = queue.into_iter().map(|(_, xid)| xid).collect();
        drop(calls);
        for call in lost {
            let _ = call.answer.send(Err(CallError::Disconnected {
                reason: reason.clone(),
            }));
        }
    }
}

/// How long to wait before connecting again.
struct Pause {
    backoff: Backoff,
    next: Duration,
}

impl Pause {
    fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            next: Duration::ZERO,
        }
    }

    fn reset(&mut self) {
        self.next = Duration::ZERO;
    }

    fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).clamp(
            self.backoff.first,
            self.backoff.longest.max(self.backoff.first),
        );
        now
    }
}
