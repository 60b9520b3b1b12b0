//! A session of NFSv4.2 with a server whose files are read (RFC 8881 §2.10): a client of its own for each, that
//! takes no state there but the session. Never here: which file, and with whose right.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};
use wire::nfs4::{
    ArgOp, CallbackSecParms4, ChannelAttrs4, ClientOwner4, Clientid4, Compound4Args, Compound4Res,
    CreateSession4Args, DestroyClientid4Args, DestroySession4Args, EXCHGID4_FLAG_USE_NON_PNFS,
    ExchangeId4Args, NFS_V4, NFS4_CALLBACK, NFS4_PROGRAM, NFSPROC4_COMPOUND, Nfsstat4, ResOp,
    Sequence4Args, Sessionid4, StateProtect4A, Verifier4,
};

use crate::caller::Caller;
use crate::channel::Target;
use crate::client::Client;
use crate::dial::random_u64;
use crate::error::{CallError, RpcFault};
use crate::options::{Options, Resend};

/// Largest payload that is asked for at once, and the room around it in a reply.
const READ_BYTES: u32 = 1 << 20;
const AROUND_BYTES: u32 = 1024;
const SLOTS: u32 = 8;
/// SEQUENCE, PUTFH, GETATTR, READ.
const OPERATIONS: u32 = 4;
/// Between two tries of what the server asks to wait with.
const PAUSE: Duration = Duration::from_millis(200);
/// Times that a request is asked anew because its reply was lost and not kept.
const ANEW_MAX: u32 = 3;

#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{0:?}")]
    Refused(Nfsstat4),
    #[error("no NFSv4.2 session: {0}")]
    Unfit(String),
    #[error("the reply is not one to the request: {0}")]
    Unasked(&'static str),
    #[error("no request of the session was answered in time")]
    Silent,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Of the last request that was answered.
    sequence: u32,
    taken: bool,
    /// Its request was given up: what became of that is not known. It stays taken.
    lost: bool,
}

/// Requests in it are resent over a new connection when theirs breaks: the server tells them by their slots.
pub struct Session {
    client: Client,
    clientid: Clientid4,
    id: Sessionid4,
    patience: Duration,
    read_bytes: u32,
    slots: Mutex<Vec<Slot>>,
    free: Semaphore,
}

struct Held<'a> {
    session: &'a Session,
    permit: Option<SemaphorePermit<'a>>,
    slot: usize,
}

impl Held<'_> {
    fn sequence(&self) -> u32 {
        self.session.slots.lock()[self.slot]
            .sequence
            .wrapping_add(1)
    }

    /// The server has answered, and counted the request or not.
    fn answered(&mut self, counted: bool) {
        let mut slots = self.session.slots.lock();
        let slot = &mut slots[self.slot];
        slot.sequence = slot.sequence.wrapping_add(u32::from(counted));
    }

    fn release(mut self) {
        self.session.slots.lock()[self.slot].taken = false;
        drop(self.permit.take());
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.forget();
            self.session.gave_up(self.slot);
        }
    }
}

impl Session {
    /// EXCHANGE_ID and CREATE_SESSION, by a client of a name that nobody had. `patience` is that of each
    /// request, with all its tries.
    pub async fn connect(
        server: SocketAddr,
        caller: Caller,
        name: &str,
        patience: Duration,
    ) -> Result<Self, SessionError> {
        let options = Options {
            // Besides the slots' there is the call that ends the session.
            in_flight_max: NonZeroUsize::MIN.saturating_add(SLOTS as usize),
            deadline: patience,
            dial_deadline: patience.min(Duration::from_secs(5)),
            reply_limit_bytes: (READ_BYTES + AROUND_BYTES) as usize,
            ..Options::default()
        };
        let client = Client::new(server, caller, &options);
        let unique = random_u64();
        let exchange = ArgOp::ExchangeId(ExchangeId4Args {
            clientowner: ClientOwner4 {
                verifier: Verifier4(random_u64().to_be_bytes()),
                ownerid: Bytes::from(format!("{name} {unique:016x}")),
            },
            flags: EXCHGID4_FLAG_USE_NON_PNFS,
            state_protect: StateProtect4A::None,
            client_impl_id: None,
        });
        let Some(ResOp::ExchangeId(Ok(known))) = alone(&client, exchange, patience).await? else {
            return Err(SessionError::Unasked("EXCHANGE_ID"));
        };
        let create = ArgOp::CreateSession(create_session(known.clientid, known.sequenceid));
        let Some(ResOp::CreateSession(Ok(created))) = alone(&client, create, patience).await?
        else {
            return Err(SessionError::Unasked("CREATE_SESSION"));
        };
        let fore = created.fore_chan_attrs;
        let slots = fore.maxrequests.min(SLOTS);
        let session = Self {
            client,
            clientid: known.clientid,
            id: created.sessionid,
            patience,
            read_bytes: fore
                .maxresponsesize
                .saturating_sub(AROUND_BYTES)
                .min(READ_BYTES),
            slots: Mutex::new(vec![Slot::default(); slots as usize]),
            free: Semaphore::new(slots as usize),
        };
        if slots == 0 || fore.maxoperations < OPERATIONS {
            // Where that fails too its lease forgets us.
            let _ = session.close().await;
            return Err(SessionError::Unfit("its channel is too narrow".into()));
        }
        Ok(session)
    }

    /// The most that a READ may ask for.
    pub fn read_bytes(&self) -> u32 {
        self.read_bytes
    }

    /// SEQUENCE and then `operations`, asked again while the server says DELAY, and anew when their reply was
    /// lost: as long as patience lasts. The results are those of the operations, each as it was asked for, and
    /// good.
    pub async fn compound(&self, operations: &[ArgOp]) -> Result<Vec<ResOp>, SessionError> {
        let until = Instant::now() + self.patience;
        let mut held = timeout_at(until, self.hold())
            .await
            .unwrap_or(Err(SessionError::Silent))?;
        let mut anew = 0;
        loop {
            let reply = self.send(&held, operations, until).await?;
            // Our SEQUENCE sent again over another connection: the server did all that and kept nothing.
            let lost = reply.status == Nfsstat4::RetryUncachedRep;
            let counted = matches!(reply.results.first(), Some(ResOp::Sequence(Ok(_))));
            held.answered(counted || lost);
            if reply.status == Nfsstat4::Delay && Instant::now() + PAUSE < until {
                sleep(PAUSE).await;
                continue;
            }
            if lost && anew < ANEW_MAX {
                anew += 1;
                continue;
            }
            held.release();
            return results(reply, operations);
        }
    }

    async fn hold(&self) -> Result<Held<'_>, SessionError> {
        let permit = self.free.acquire().await;
        let permit = permit.map_err(|_| SessionError::Silent)?;
        let mut slots = self.slots.lock();
        let free = slots.iter().position(|slot| !slot.taken);
        let slot = free.expect("a permit stands for a free slot");
        slots[slot].taken = true;
        Ok(Held {
            session: self,
            permit: Some(permit),
            slot,
        })
    }

    /// One slot less: nobody knows whether its request was counted.
    fn gave_up(&self, slot: usize) {
        let mut slots = self.slots.lock();
        slots[slot].lost = true;
        if slots.iter().all(|slot| slot.lost) {
            self.free.close();
        }
    }

    async fn send(
        &self,
        held: &Held<'_>,
        operations: &[ArgOp],
        until: Instant,
    ) -> Result<Compound4Res, SessionError> {
        let highest = self.slots.lock().len() as u32 - 1;
        let sequence = ArgOp::Sequence(Sequence4Args {
            sessionid: self.id,
            sequenceid: held.sequence(),
            slotid: held.slot as u32,
            highest_slotid: highest,
            cachethis: false,
        });
        let operations = std::iter::once(sequence).chain(operations.iter().cloned());
        let client = self.client.within(until - Instant::now());
        send(&client, operations.collect()).await
    }

    /// DESTROY_SESSION and DESTROY_CLIENTID, once nobody uses it.
    pub async fn close(&self) -> Result<(), SessionError> {
        let session = DestroySession4Args { sessionid: self.id };
        alone(&self.client, ArgOp::DestroySession(session), self.patience).await?;
        let client = DestroyClientid4Args {
            clientid: self.clientid,
        };
        alone(&self.client, ArgOp::DestroyClientid(client), self.patience).await?;
        Ok(())
    }
}

fn create_session(clientid: Clientid4, sequence: u32) -> CreateSession4Args {
    let fore = ChannelAttrs4 {
        headerpadsize: 0,
        maxrequestsize: 16 << 10,
        maxresponsesize: READ_BYTES + AROUND_BYTES,
        maxresponsesize_cached: 4096,
        maxoperations: 2 * OPERATIONS,
        maxrequests: SLOTS,
        rdma_ird: None,
    };
    CreateSession4Args {
        clientid,
        sequence,
        // Nothing is taken there that could be called back.
        flags: 0,
        back_chan_attrs: ChannelAttrs4 {
            maxrequestsize: 4096,
            maxresponsesize: 4096,
            maxrequests: 1,
            ..fore.clone()
        },
        fore_chan_attrs: fore,
        cb_program: NFS4_CALLBACK,
        sec_parms: vec![CallbackSecParms4::None],
    }
}

async fn send(client: &Client, operations: Vec<ArgOp>) -> Result<Compound4Res, SessionError> {
    let target = Target {
        program: NFS4_PROGRAM,
        version: NFS_V4,
        procedure: NFSPROC4_COMPOUND,
    };
    let args = Compound4Args::new(2, operations);
    let reply = client.call_of(target, |out| args.encode(out), Resend::Idempotent);
    let reply: Compound4Res = reply.await.map_err(|error| match error {
        CallError::Rpc(RpcFault::Accepted(_)) => SessionError::Unfit(error.to_string()),
        error => error.into(),
    })?;
    if reply.status == Nfsstat4::MinorVersMismatch {
        return Err(SessionError::Unfit("it doesn't speak version 4.2".into()));
    }
    Ok(reply)
}

/// One operation without a session.
async fn alone(
    client: &Client,
    operation: ArgOp,
    patience: Duration,
) -> Result<Option<ResOp>, SessionError> {
    let asked = operation.opnum();
    let until = Instant::now() + patience;
    loop {
        let client = client.within(until - Instant::now());
        let mut reply = send(&client, vec![operation.clone()]).await?;
        match reply.status {
            Nfsstat4::Ok => {}
            Nfsstat4::Delay if Instant::now() + PAUSE < until => {
                sleep(PAUSE).await;
                continue;
            }
            Nfsstat4::OpIllegal | Nfsstat4::Notsupp => {
                return Err(SessionError::Unfit(format!("it has no {asked:?}")));
            }
            refused => return Err(SessionError::Refused(refused)),
        }
        return Ok(reply.results.pop().filter(|result| result.opnum() == asked));
    }
}

fn results(mut reply: Compound4Res, asked: &[ArgOp]) -> Result<Vec<ResOp>, SessionError> {
    if reply.status != Nfsstat4::Ok {
        return Err(SessionError::Refused(reply.status));
    }
    if reply.results.is_empty() {
        return Err(SessionError::Unasked("nothing"));
    }
    let rest = reply.results.split_off(1);
    let same = |(result, asked): (&ResOp, &ArgOp)| {
        result.opnum() == asked.opnum() && result.status() == Nfsstat4::Ok
    };
    if rest.len() == asked.len() && rest.iter().zip(asked).all(same) {
        Ok(rest)
    } else {
        Err(SessionError::Unasked("other operations"))
    }
}
