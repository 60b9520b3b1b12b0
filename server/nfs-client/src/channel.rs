//! RPC calls to one server over its lanes, bounded in number and in time. Never here: a program's
//! messages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use wire::rpc::{Accepted, CallHeader, OpaqueAuth, ReplyBody};
use wire::{Encoder, Xdr, record};

use crate::caller::Caller;
use crate::dial::random_u64;
use crate::error::{CallError, RpcFault};
use crate::lane::{Lane, Reply};
use crate::options::{Options, Resend};

/// Which procedure is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: u32,
}

pub(crate) struct Channel {
    server: SocketAddr,
    lanes: Vec<Arc<Lane>>,
    tasks: Vec<AbortHandle>,
    turn: AtomicUsize,
    xid: AtomicU32,
    in_flight: Semaphore,
}

impl Channel {
    /// Connects when the first call is made. Needs a tokio runtime around it.
    pub(crate) fn new(server: SocketAddr, options: &Options) -> Self {
        let lanes: Vec<Arc<Lane>> = (0..options.connections.get())
            .map(|_| Arc::new(Lane::new(server)))
            .collect();
        let tasks = lanes
            .iter()
            .map(|lane| tokio::spawn(lane.clone().run(options.clone())).abort_handle())
            .collect();
        Self {
            server,
            lanes,
            tasks,
            turn: AtomicUsize::new(0),
            xid: AtomicU32::new(random_u64() as u32),
            in_flight: Semaphore::new(options.in_flight_max.get()),
        }
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    pub(crate) async fn call<R: Xdr>(
        &self,
        target: Target,
        caller: &Caller,
        args: impl FnOnce(&mut Encoder),
        resend: Resend,
        deadline: Duration,
    ) -> Result<R, CallError> {
        let until = Instant::now() + deadline;
        let Ok(permit) = timeout_at(until, self.in_flight.acquire()).await else {
            return Err(CallError::Timeout {
                after: deadline,
                may_have_run: false,
            });
        };
        let _permit = permit.expect("the semaphore is never closed");
        let xid = self.xid.fetch_add(1, Ordering::Relaxed);
        let mut message = record::begin();
        let header = CallHeader {
            xid,
            program: target.program,
            version: target.version,
            procedure: target.procedure,
            credential: caller.credential().clone(),
            verifier: OpaqueAuth::none(),
        };
        header.encode(&mut message);
        args(&mut message);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let lane = &self.lanes[turn % self.lanes.len()];
        let mut ticket = lane.make(xid, record::Frame::new(message), resend);
        match timeout_at(until, ticket.answer()).await {
            Ok(answer) => result_of(answer?),
            Err(_) => Err(ticket.overdue(deadline)),
        }
    }
}

fn result_of<R: Xdr>(mut reply: Reply) -> Result<R, CallError> {
    match reply.body {
        ReplyBody::Accepted {
            status: Accepted::Success,
            ..
        } => {
            let result = R::decode(&mut reply.result)?;
            reply.result.finish()?;
            Ok(result)
        }
        ReplyBody::Accepted { status, .. } => Err(RpcFault::Accepted(status).into()),
        ReplyBody::Denied(why) => Err(RpcFault::Denied(why).into()),
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
