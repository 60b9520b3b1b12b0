//! A server in memory with one client that has a session: what the fuzz target asks. Its time stands
//! still but for the real one of timeouts, which are short.

use super::hand::{Hand, Known};
use backend::{DataServer, FenceGrade, MemoryServer};
use bytes::{Bytes, BytesMut};
use catalog::store::MemoryStore;
use catalog::{Catalog, InodeId, Timestamp};
use futures_util::future::BoxFuture;
use layout::{DataServerId, Device, DeviceTable};
use mds::state::{Boot, Limits, State, Time};
use mds::{
    Access, BackChannel, BackChannelError, Clock, Connection, Directory, DirectoryOptions,
    ExportRule, Exports, FixedAccounts, HandleKey, Identity, Partner, PartnerFault, PartnerFile,
    Partners, Parts, Server, ServerCopy, Settings, Squash,
};
use objects::{Holds, Member, Objects, Options, OwnerRange};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::nfs4::*;
use wire::rpc::{
    AuthSys, CallHeader, Credential, Gids, MachineName, Message, OpaqueAuth, ReplyBody,
};
use wire::{Decoder, Encoder, Xdr};

/// One user and one group, by name.
fn accounts() -> Arc<Directory> {
    let mut accounts = FixedAccounts::default();
    accounts.add_group("staff", 50);
    accounts.add_user("alice", 1001, [50]);
    let options = DirectoryOptions {
        keep: Duration::from_mins(1),
        keep_unknown: Duration::from_secs(10),
        answers: 64,
        ..DirectoryOptions::default()
    };
    Arc::new(Directory::new(
        Arc::new(accounts),
        Some("example.org".to_owned()),
        options,
    ))
}

/// Copies may come and go, and nobody is there.
struct Nobody;

impl Partners for Nobody {
    fn open(&self, _: PartnerFile) -> BoxFuture<'_, Result<Arc<dyn Partner>, PartnerFault>> {
        Box::pin(std::future::ready(Err(PartnerFault::Away("nobody".into()))))
    }
}

fn server_copy() -> ServerCopy {
    let loopback = vec!["127.0.0.0/8".parse().expect("a network")];
    ServerCopy {
        destinations: loopback.clone(),
        sources: loopback,
        ..ServerCopy::off()
    }
}

/// Room for any reply: one request runs at a time.
struct Unbounded;

impl mds::ReplyRoom for Unbounded {
    fn take(&mut self, _: usize) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// No request takes longer, whatever it waits for.
const PATIENCE: Duration = Duration::from_secs(30);
const RESPONSE_BYTES: u32 = 16 << 10;
/// Record mark, RPC header, and what a reply without a session may have (EXCHANGE_ID).
const SESSIONLESS_BYTES: usize = (64 << 10) + 1024;

struct Still;

const NOW: Timestamp = Timestamp {
    seconds: 1_000_000,
    nanos: 0,
};

impl Clock for Still {
    fn monotonic(&self) -> Time {
        Time::ZERO.plus(Duration::from_hours(1))
    }

    fn wall(&self) -> Timestamp {
        NOW
    }
}

/// A client that answers no callback.
struct Silent;

impl BackChannel for Silent {
    fn call(
        &self,
        _: u32,
        _: u32,
        _: Credential,
        _: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, BackChannelError>> {
        Box::pin(async { Err(BackChannelError::Timeout) })
    }
}

pub struct World {
    server: Arc<Server>,
    catalog: Arc<Catalog>,
    connection: Arc<Connection>,
    session: Sessionid4,
    sequence: u32,
    known: Known,
}

/// Bytes of a COMPOUND, and whether they begin with a SEQUENCE that the server must take.
pub struct Request {
    bytes: Vec<u8>,
    in_session: bool,
}

impl World {
    pub async fn start() -> Self {
        let store = Arc::new(MemoryStore::new());
        let mut how = catalog::Options::new([7; 16], NOW);
        how.root_mode = 0o777;
        let catalog = Catalog::with_store(store, how)
            .await
            .expect("a catalog in memory opens");
        let owners = OwnerRange::new(70_000, 1000).expect("a sound range");
        let members = (1..=2)
            .map(|number| Member {
                cached_at: None,
                id: DataServerId(number),
                name: format!("ds{number}"),
                server: Arc::new(MemoryServer::new("ds", FenceGrade::Exact)) as Arc<dyn DataServer>,
                holds: Holds::Any,
                weight: 1,
                hosts: Vec::new(),
                absent: false,
            })
            .collect();
        let objects = Objects::start(
            Arc::clone(&catalog),
            members,
            Options {
                pool_low: 1,
                pool_high: 4,
                stripe_unit: 4096,
                reserve_bytes: 0,
                ..Options::new(owners, Arc::new(|| NOW))
            },
        )
        .await
        .expect("data servers in memory are there");
        let mut devices = DeviceTable::default();
        for number in 1..=2 {
            let device = Device {
                addresses: vec![SocketAddr::from(([127, 0, 0, 1], 20_000 + number))],
                read_bytes: 1 << 20,
                write_bytes: 1 << 20,
            };
            devices.restore(DataServerId(u32::from(number)), 1, device);
        }
        let limits = Limits {
            response_bytes: RESPONSE_BYTES,
            recall: Duration::from_millis(5),
            grace: Duration::ZERO,
            ..Limits::default()
        };
        let state = State::new(
            limits,
            Boot {
                epoch: 1,
                seed: 7,
                now: Still.monotonic(),
                on_record: Vec::new(),
            },
        );
        let export = ExportRule {
            number: 1,
            path: "/".to_owned(),
            root: InodeId::ROOT,
            clients: vec!["127.0.0.0/8".parse().expect("a network")],
            access: Access::ReadWrite,
            squash: Squash::None,
            anonymous: (65_534, 65_534),
            delegations: mds::Delegations::ALL,
            manage_gids: false,
            elsewhere: None,
            junction: None,
        };
        let server = Server::new(Parts {
            catalog: Arc::clone(&catalog),
            objects,
            state,
            clock: Arc::new(Still),
            settings: Settings {
                keepers: BTreeSet::new(),
                exports: Exports::new(vec![(export, Vec::new())]),
                directory: accounts(),
                stripe_unit: 4096,
                stats_seconds: 60,
                away_error: None,
                recall_timeout: Duration::from_millis(5),
                gate_timeout: Duration::from_millis(20),
                server_copy: server_copy(),
            },
            identity: Identity {
                owner: Bytes::from_static(b"fuzz"),
                lease: Duration::from_secs(90),
                fsid: 1,
            },
            handle_key: HandleKey([9; 16]),
            devices,
            nfsv3: true,
            partners: Arc::new(Nobody),
        });
        server.recover().await.expect("there is nothing to recover");
        tokio::spawn(Arc::clone(&server).keep_house());
        let peer = SocketAddr::from(([127, 0, 0, 1], 700));
        let local = SocketAddr::from(([127, 0, 0, 1], 2049));
        let connection = Connection::new(1, (local, peer), Arc::new(Silent));
        server.connection_opened(&connection);
        let mut world = Self {
            server,
            catalog,
            connection,
            session: Sessionid4::default(),
            sequence: 0,
            known: Known::default(),
        };
        world.mount().await;
        // Grace is over as soon as the house is kept.
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        world
    }

    async fn mount(&mut self) {
        let exchange = ExchangeId4Args {
            clientowner: ClientOwner4 {
                verifier: Verifier4([1; 8]),
                ownerid: Bytes::from_static(b"client"),
            },
            flags: EXCHGID4_FLAG_USE_PNFS_MDS,
            state_protect: StateProtect4A::None,
            client_impl_id: None,
        };
        let results = self.alone(ArgOp::ExchangeId(exchange)).await;
        let [ResOp::ExchangeId(Ok(exchanged))] = &results[..] else {
            panic!("{results:?}");
        };
        self.known.clientid = exchanged.clientid;
        let channel = ChannelAttrs4 {
            headerpadsize: 0,
            maxrequestsize: 1 << 20,
            maxresponsesize: RESPONSE_BYTES,
            maxresponsesize_cached: 4096,
            maxoperations: 16,
            maxrequests: 1,
            rdma_ird: None,
        };
        let create = CreateSession4Args {
            clientid: exchanged.clientid,
            sequence: exchanged.sequenceid,
            flags: CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
            fore_chan_attrs: channel.clone(),
            back_chan_attrs: channel,
            cb_program: NFS4_CALLBACK,
            sec_parms: vec![CallbackSecParms4::None],
        };
        let results = self.alone(ArgOp::CreateSession(create)).await;
        let [ResOp::CreateSession(Ok(created))] = &results[..] else {
            panic!("{results:?}");
        };
        self.session = created.sessionid;
        let complete = ArgOp::ReclaimComplete(ReclaimComplete4Args { one_fs: false });
        let mut operations = Encoder::new();
        complete.encode(&mut operations);
        let request = self.in_session(true, &[operations.finish().to_vec()]);
        self.ask(request).await;
    }

    async fn alone(&mut self, operation: ArgOp) -> Vec<ResOp> {
        let mut out = Encoder::new();
        Compound4Args::new(2, vec![operation]).encode(&mut out);
        self.ask(Request {
            bytes: out.finish().to_vec(),
            in_session: false,
        })
        .await
    }

    /// The next request that the hand makes.
    pub fn request(&mut self, hand: &mut Hand<'_>) -> Request {
        if hand.one_in(16) {
            return Request {
                bytes: hand.bytes(200),
                in_session: false,
            };
        }
        let cache_this = hand.one_in(4);
        let count = hand.byte() % 9;
        let operations: Vec<Vec<u8>> = (0..count)
            .map(|_| hand.encoded_operation(&self.known))
            .collect();
        self.in_session(cache_this, &operations)
    }

    fn in_session(&mut self, cache_this: bool, operations: &[Vec<u8>]) -> Request {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = ArgOp::Sequence(Sequence4Args {
            sessionid: self.session,
            sequenceid: self.sequence,
            slotid: 0,
            highest_slotid: 0,
            cachethis: cache_this,
        });
        let mut head = Encoder::new();
        head.opaque(b"");
        head.u32(2);
        head.u32(operations.len() as u32 + 1);
        sequence.encode(&mut head);
        let mut bytes = head.finish().to_vec();
        bytes.extend(operations.concat());
        Request {
            bytes,
            in_session: true,
        }
    }

    /// Sends it; the answer comes in time, can be read, and is no larger than agreed.
    pub async fn ask(&mut self, request: Request) -> Vec<ResOp> {
        let header = CallHeader {
            xid: 7,
            program: NFS4_PROGRAM,
            version: NFS_V4,
            procedure: NFSPROC4_COMPOUND,
            credential: Credential::Sys(AuthSys {
                stamp: 0,
                machine: MachineName::new("fuzz").unwrap_or_default(),
                uid: 0,
                gid: 0,
                gids: Gids::default(),
            }),
            verifier: OpaqueAuth::none(),
        };
        let length = request.bytes.len();
        let arguments = Decoder::new(Bytes::from(request.bytes));
        let mut room = Unbounded;
        let call = self
            .server
            .call(&self.connection, header, arguments, length, &mut room);
        let answered = tokio::time::timeout(PATIENCE, call)
            .await
            .expect("an answer comes in time");
        let mut record = BytesMut::new();
        for part in answered.frame.into_parts() {
            record.extend_from_slice(&part);
        }
        let most = if request.in_session {
            RESPONSE_BYTES as usize + wire::record::HEADER_BYTES
        } else {
            SESSIONLESS_BYTES
        };
        assert!(record.len() <= most, "an answer of {} bytes", record.len());
        let record = record.freeze().slice(wire::record::HEADER_BYTES..);
        let mut answer = Decoder::new(record);
        let Ok(Message::Reply(reply)) = Message::decode(&mut answer) else {
            panic!("an answer is a reply");
        };
        if !matches!(reply.body, ReplyBody::Accepted { .. }) || answer.clone().rest().is_empty() {
            assert!(!request.in_session, "a request of the session was refused");
            return Vec::new();
        }
        let result = Compound4Res::decode(&mut answer).expect("an answer can be read");
        if request.in_session {
            assert!(
                matches!(result.results.first(), Some(ResOp::Sequence(Ok(_)))),
                "the session lives: {:?}",
                result.results.first()
            );
        }
        for result in &result.results {
            self.learn(result);
        }
        result.results
    }

    fn learn(&mut self, result: &ResOp) {
        /// More would only make the same ones rarer.
        const REMEMBERED: usize = 16;
        let known = &mut self.known;
        match result {
            ResOp::Getfh(Ok(got)) => known.handles.push(got.object.clone()),
            ResOp::Open(Ok(opened)) => known.stateids.push(opened.stateid),
            ResOp::Lock(Ok(locked)) => known.stateids.push(locked.lock_stateid),
            ResOp::Layoutget(Ok(granted)) => {
                known.stateids.push(granted.stateid);
                for layout in &granted.layout {
                    let body: flex::Layout = wire::xdr::from_bytes(layout.content.body.clone())
                        .expect("a layout can be read");
                    let servers = body.mirrors.iter().flat_map(|mirror| &mirror.data_servers);
                    known.devices.extend(servers.map(|server| server.deviceid));
                }
            }
            _ => {}
        }
        known.handles.truncate(REMEMBERED);
        known.stateids.truncate(REMEMBERED);
        known.devices.truncate(REMEMBERED);
    }

    /// Operations that were answered OK.
    pub fn succeeded(&self) -> BTreeSet<Opnum> {
        let metrics = self.server.metrics.operations();
        metrics
            .iter()
            .filter(|counted| counted.count > counted.errors.iter().map(|(_, count)| count).sum())
            .map(|counted| counted.operation)
            .collect()
    }

    /// The catalog is as every transaction promises, whatever was asked.
    pub async fn is_sound(&self) {
        let faults = self.catalog.check().await.expect("it can be read through");
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
