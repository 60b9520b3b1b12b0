//! A client of the server: its name, its connections, and one session with its slots. Recovery is the script's.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::nfs4::*;
use wire::rpc::{AuthSys, Credential, Gids, MachineName};

use super::callbacks::Callbacks;
use super::connection::Connection;
use super::failure::Failure;

/// AUTH_SYS with one group.
pub fn user(uid: u32, gid: u32) -> Credential {
    let machine = MachineName::new("script").unwrap_or_default();
    Credential::Sys(AuthSys {
        stamp: 0,
        machine,
        uid,
        gid,
        gids: Gids::default(),
    })
}

pub fn root_user() -> Credential {
    user(0, 0)
}

/// AUTH_NONE.
pub fn anyone() -> Credential {
    Credential::None
}

/// What a client says of itself before it has a session.
#[derive(Debug, Clone)]
pub struct ClientSetup {
    pub owner: ClientOwner4,
    pub credential: Credential,
    pub minorversion: u32,
    pub exchange_flags: u32,
    pub session_flags: u32,
    pub fore: ChannelAttrs4,
    pub back: ChannelAttrs4,
    pub cb_program: u32,
    /// What `nii_name` and `nii_date` tell a server that looks for a kernel's version.
    pub implementation: Option<NfsImplId4>,
}

impl ClientSetup {
    /// A client as root, with a back channel on its first connection.
    pub fn named(name: &str) -> Self {
        let ownerid = Bytes::copy_from_slice(name.as_bytes());
        let fore = ChannelAttrs4 {
            headerpadsize: 0,
            maxrequestsize: (1 << 20) + 4096,
            maxresponsesize: (1 << 20) + 4096,
            maxresponsesize_cached: 4096,
            maxoperations: 16,
            maxrequests: 8,
            rdma_ird: None,
        };
        let back = ChannelAttrs4 {
            maxrequestsize: 4096,
            maxresponsesize: 4096,
            maxresponsesize_cached: 0,
            maxoperations: 4,
            maxrequests: 4,
            ..fore.clone()
        };
        Self {
            owner: ClientOwner4 {
                verifier: Verifier4([1; 8]),
                ownerid,
            },
            credential: root_user(),
            minorversion: 2,
            exchange_flags: EXCHGID4_FLAG_USE_PNFS_MDS,
            session_flags: CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
            fore,
            back,
            cb_program: NFS4_CALLBACK,
            implementation: None,
        }
    }

    /// The same client after a restart of its own, or another that came to the same name.
    #[must_use]
    pub fn with_verifier(mut self, byte: u8) -> Self {
        self.owner.verifier = Verifier4([byte; 8]);
        self
    }

    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    pub fn exchange_id(&self) -> ExchangeId4Args {
        ExchangeId4Args {
            clientowner: self.owner.clone(),
            flags: self.exchange_flags,
            state_protect: StateProtect4A::None,
            client_impl_id: self.implementation.clone(),
        }
    }

    pub fn create_session(&self, exchanged: &ExchangeId4Ok) -> CreateSession4Args {
        CreateSession4Args {
            clientid: exchanged.clientid,
            sequence: exchanged.sequenceid,
            flags: self.session_flags,
            fore_chan_attrs: self.fore.clone(),
            back_chan_attrs: self.back.clone(),
            cb_program: self.cb_program,
            sec_parms: vec![CallbackSecParms4::None],
        }
    }

    /// EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE.
    pub async fn mount(self, address: SocketAddr) -> Result<Client, Failure> {
        let client = self.mount_without_reclaim_complete(address).await?;
        client
            .ok([ArgOp::ReclaimComplete(ReclaimComplete4Args {
                one_fs: false,
            })])
            .await?;
        Ok(client)
    }

    /// As [`Self::mount`], in time to reclaim.
    pub async fn mount_without_reclaim_complete(
        self,
        address: SocketAddr,
    ) -> Result<Client, Failure> {
        let callbacks = Arc::new(Callbacks::new(self.minorversion));
        let connection = Connection::to(address, Arc::clone(&callbacks)).await?;
        let exchanged = self.exchange(&connection).await?;
        let created = self
            .create(&connection, self.create_session(&exchanged))
            .await?;
        let slots = created.fore_chan_attrs.maxrequests as usize;
        Ok(Client {
            address,
            clientid: exchanged.clientid,
            session: Mutex::new(Session {
                created,
                slots: vec![Slot::default(); slots],
            }),
            free_slots: Semaphore::new(slots),
            connections: Mutex::new(vec![connection]),
            callbacks,
            exchanged,
            setup: self,
        })
    }

    /// One operation in a COMPOUND of its own, without SEQUENCE.
    pub async fn alone(&self, connection: &Connection, op: ArgOp) -> Result<Reply, Failure> {
        let args = Compound4Args::new(self.minorversion, vec![op]);
        Reply::new(connection.compound(self.credential.clone(), &args).await?).ok()
    }

    pub async fn exchange(&self, connection: &Connection) -> Result<ExchangeId4Ok, Failure> {
        self.alone(connection, ArgOp::ExchangeId(self.exchange_id()))
            .await?
            .exchange_id()
    }

    pub async fn create(
        &self,
        connection: &Connection,
        args: CreateSession4Args,
    ) -> Result<CreateSession4Ok, Failure> {
        self.alone(connection, ArgOp::CreateSession(args))
            .await?
            .create_session()
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Of the last request.
    sequenceid: u32,
    busy: bool,
}

struct Session {
    created: CreateSession4Ok,
    slots: Vec<Slot>,
}

pub struct Client {
    pub address: SocketAddr,
    pub clientid: Clientid4,
    pub exchanged: ExchangeId4Ok,
    pub setup: ClientSetup,
    pub callbacks: Arc<Callbacks>,
    session: Mutex<Session>,
    free_slots: Semaphore,
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// A slot for one request, given back with it.
struct Held<'a> {
    client: &'a Client,
    slotid: u32,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.client.session().slots[self.slotid as usize].busy = false;
    }
}

impl Client {
    /// The client `name` as root, ready to work.
    pub async fn mount(address: SocketAddr, name: &str) -> Result<Self, Failure> {
        ClientSetup::named(name).mount(address).await
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn sessionid(&self) -> Sessionid4 {
        self.session().created.sessionid
    }

    /// What the server granted.
    pub fn created(&self) -> CreateSession4Ok {
        self.session().created.clone()
    }

    /// The connection that requests go over: the first that still is.
    pub fn connection(&self) -> Arc<Connection> {
        let connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            connections
                .first()
                .expect("a client keeps at least one connection"),
        )
    }

    /// A further connection, bound to nothing yet; requests go on over the first.
    pub async fn connect(&self) -> Result<Arc<Connection>, Failure> {
        Connection::to(self.address, Arc::clone(&self.callbacks)).await
    }

    /// Drops the connections and goes on over `connection`.
    pub fn switch_to(&self, connection: Arc<Connection>) {
        *self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = vec![connection];
    }

    /// BIND_CONN_TO_SESSION on `connection`.
    pub async fn bind(
        &self,
        connection: &Connection,
        dir: ChannelDirFromClient4,
    ) -> Result<BindConnToSession4Ok, Failure> {
        let args = BindConnToSession4Args {
            sessid: self.sessionid(),
            dir,
            use_conn_in_rdma_mode: false,
        };
        self.setup
            .alone(connection, ArgOp::BindConnToSession(args))
            .await?
            .bind_conn_to_session()
    }

    /// SEQUENCE of the next request on `slotid`. The sequence id counts as used.
    pub fn next_sequence(&self, slotid: u32) -> Sequence4Args {
        let mut session = self.session();
        let highest_slotid = session.slots.len() as u32 - 1;
        let sessionid = session.created.sessionid;
        let slot = &mut session.slots[slotid as usize];
        slot.sequenceid = slot.sequenceid.wrapping_add(1);
        Sequence4Args {
            sessionid,
            sequenceid: slot.sequenceid,
            slotid,
            highest_slotid,
            cachethis: true,
        }
    }

    /// The slot and sequence id of the last request of somebody who sends one after another.
    pub fn last_request(&self) -> (u32, u32) {
        (0, self.session().slots[0].sequenceid)
    }

    /// Takes back the last [`Self::next_sequence`], for a request that the server refused to count.
    pub fn forget_sequence(&self, slotid: u32) {
        let slot = &mut self.session().slots[slotid as usize];
        slot.sequenceid = slot.sequenceid.wrapping_sub(1);
    }

    async fn hold_slot(&self) -> Held<'_> {
        let permit = self
            .free_slots
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let mut session = self.session();
        let free = session.slots.iter().position(|slot| !slot.busy);
        let slotid = free.expect("a permit stands for a free slot");
        session.slots[slotid].busy = true;
        Held {
            client: self,
            slotid: slotid as u32,
            _permit: permit,
        }
    }

    /// A request of SEQUENCE and `ops`, which can be sent more than once.
    pub fn request(
        &self,
        sequence: Sequence4Args,
        ops: impl IntoIterator<Item = ArgOp>,
    ) -> Compound4Args {
        let ops = std::iter::once(ArgOp::Sequence(sequence))
            .chain(ops)
            .collect();
        Compound4Args::new(self.setup.minorversion, ops)
    }

    /// Sends a request exactly as it is, over the connection in use.
    pub async fn send(&self, args: &Compound4Args) -> Result<Reply, Failure> {
        self.send_over(&self.connection(), args).await
    }

    pub async fn send_over(
        &self,
        connection: &Connection,
        args: &Compound4Args,
    ) -> Result<Reply, Failure> {
        self.send_as(connection, self.setup.credential.clone(), args)
            .await
    }

    pub async fn send_as(
        &self,
        connection: &Connection,
        credential: Credential,
        args: &Compound4Args,
    ) -> Result<Reply, Failure> {
        Ok(Reply::new(connection.compound(credential, args).await?))
    }

    /// SEQUENCE on a free slot, then `ops`. The reply is as it came, a refusal too.
    pub async fn compound(&self, ops: impl IntoIterator<Item = ArgOp>) -> Result<Reply, Failure> {
        self.compound_as(self.setup.credential.clone(), ops).await
    }

    /// As [`Self::compound`], as another user.
    pub async fn compound_as(
        &self,
        credential: Credential,
        ops: impl IntoIterator<Item = ArgOp>,
    ) -> Result<Reply, Failure> {
        let slot = self.hold_slot().await;
        let mut request = self.request(self.next_sequence(slot.slotid), ops);
        if let [ArgOp::Sequence(sequence), ops @ ..] = &mut request.ops[..] {
            // A reply that is to be kept must be small.
            sequence.cachethis = !ops.iter().any(has_large_result);
        }
        let reply = self
            .send_as(&self.connection(), credential, &request)
            .await?;
        if matches!(reply.results.first(), Some(ResOp::Sequence(Err(_)))) {
            // The slot has not moved (RFC 8881 §18.46.3).
            self.forget_sequence(slot.slotid);
        }
        Ok(reply)
    }

    /// As [`Self::compound`], when every operation has to succeed.
    pub async fn ok(&self, ops: impl IntoIterator<Item = ArgOp>) -> Result<Reply, Failure> {
        self.compound(ops).await?.ok()
    }
}

fn has_large_result(op: &ArgOp) -> bool {
    matches!(
        op,
        ArgOp::Read(_)
            | ArgOp::Readdir(_)
            | ArgOp::Readlink
            | ArgOp::Getxattr(_)
            | ArgOp::Listxattrs(_)
    )
}

/// The results of one COMPOUND, to be taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: Nfsstat4,
    pub tag: Bytes,
    pub results: Vec<ResOp>,
}

/// Takes the first result of an operation: `getfh -> Getfh, Getfh4Ok`.
macro_rules! take {
    ($($verb:ident -> $op:ident, $value:ty;)*) => {
        impl Reply {
            $(pub fn $verb(&mut self) -> Result<$value, Failure> {
                let at = self.results.iter().position(|result| matches!(result, ResOp::$op(Ok(_))));
                match at.map(|at| self.results.remove(at)) {
                    Some(ResOp::$op(Ok(value))) => Ok(value),
                    _ => Err(Failure::Unasked(format!(concat!("no ", stringify!($op), " in {:?}"), self))),
                }
            })*
        }
    };
}

take! {
    access -> Access, Access4Ok;
    bind_conn_to_session -> BindConnToSession, BindConnToSession4Ok;
    close -> Close, Close4Ok;
    commit -> Commit, Commit4Ok;
    copy -> Copy, Copy4Ok;
    copy_notify -> CopyNotify, CopyNotify4Ok;
    create -> Create, Create4Ok;
    create_session -> CreateSession, CreateSession4Ok;
    exchange_id -> ExchangeId, ExchangeId4Ok;
    get_dir_delegation -> GetDirDelegation, GetDirDelegation4Ok;
    getattr -> Getattr, Getattr4Ok;
    getdeviceinfo -> Getdeviceinfo, Getdeviceinfo4Ok;
    getfh -> Getfh, Getfh4Ok;
    getxattr -> Getxattr, Getxattr4Ok;
    layoutcommit -> Layoutcommit, Layoutcommit4Ok;
    layoutget -> Layoutget, Layoutget4Ok;
    layoutreturn -> Layoutreturn, Layoutreturn4Ok;
    io_advise -> IoAdvise, IoAdvise4Ok;
    link -> Link, Link4Ok;
    listxattrs -> Listxattrs, Listxattrs4Ok;
    lock -> Lock, Lock4Ok;
    locku -> Locku, Locku4Ok;
    offload_status -> OffloadStatus, OffloadStatus4Ok;
    open -> Open, Open4Ok;
    open_downgrade -> OpenDowngrade, OpenDowngrade4Ok;
    read -> Read, Read4Ok;
    read_plus -> ReadPlus, ReadPlus4Ok;
    readdir -> Readdir, Readdir4Ok;
    readlink -> Readlink, Readlink4Ok;
    remove -> Remove, Remove4Ok;
    removexattr -> Removexattr, Removexattr4Ok;
    rename -> Rename, Rename4Ok;
    seek -> Seek, Seek4Ok;
    sequence -> Sequence, Sequence4Ok;
    setattr -> Setattr, Setattr4Ok;
    setxattr -> Setxattr, Setxattr4Ok;
    test_stateid -> TestStateid, TestStateid4Ok;
    want_delegation -> WantDelegation, WantDelegation4Ok;
    write -> Write, Write4Ok;
    write_same -> WriteSame, WriteSame4Ok;
}

impl Reply {
    pub fn new(result: Compound4Res) -> Self {
        let Compound4Res {
            status,
            tag,
            results,
        } = result;
        Self {
            status,
            tag,
            results,
        }
    }

    /// A failure when an operation failed, or the whole.
    pub fn ok(self) -> Result<Self, Failure> {
        match (self.status, self.results.last()) {
            (Nfsstat4::Ok, _) => Ok(self),
            (status, Some(last)) => Err(Failure::Status {
                op: last.opnum(),
                status,
            }),
            (status, None) => Err(Failure::Status {
                op: Opnum::Illegal,
                status,
            }),
        }
    }

    /// What each operation answered, in order.
    pub fn statuses(&self) -> Vec<(Opnum, Nfsstat4)> {
        self.results
            .iter()
            .map(|result| (result.opnum(), result.status()))
            .collect()
    }
}
