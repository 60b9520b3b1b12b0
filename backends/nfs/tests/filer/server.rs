//! A filer in a test: NFSv3 and MOUNT over TCP in front of a tree in memory, with the habits and
//! accidents that a test wants.
//!
//! Never here: what is asked of it.

use super::procedures;
use backend::tree::{Caller, MemoryTree, Tree};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use wire::mount::{Dirpath, Mountres3, Mountres3ok, Mountstat3};
use wire::nfs3::{Fh3, Nfsstat3, Procedure};
use wire::record::{self, Frame, RecordReader};
use wire::rpc::{CallHeader, Credential, Message, ReplyHeader};
use wire::{Decoder, Encoder, Xdr};

pub const EXPORT: &str = "/export";
const RECORD_MAX_BYTES: usize = 4 << 20;
const NOBODY: u32 = 65_534;

/// What this filer does and doesn't.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    pub squashes_root: bool,
    pub no_readdirplus: bool,
    pub no_exclusive: bool,
    pub ignores_modes: bool,
    /// Sets the owner behind the mode, which takes the set-id bits away.
    pub sets_owner_last: bool,
    /// Asks for the right to make a file before it sees that it is there.
    pub judges_first: bool,
    /// BADTYPE for the length of a folder.
    pub says_badtype: bool,
    /// Attributes and handles only where the RFC makes them.
    pub tells_little: bool,
    /// Cookies from 1, and neither "." nor "..".
    pub counts_from_one: bool,
    /// Added to the cookies of all entries.
    pub cookies_above: u64,
    /// Every so many calls the reply is lost; 0: never.
    pub loses_every: u64,
}

/// What happens to one call.
#[derive(Debug, Clone)]
pub enum Accident {
    Refused(Nfsstat3),
    /// It runs, and the connection breaks before the reply.
    ReplyLost,
    /// The connection breaks before it runs.
    Unheard,
    /// As unheard, after somebody else did the same.
    Overtaken(Caller),
    /// It runs, and the filer is away from then on.
    LeavesAfter,
    /// The filer is away before it runs.
    LeavesBefore,
}

pub struct Filer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub tree: Mutex<MemoryTree>,
    pub fsid: AtomicU64,
    pub habits: Mutex<Habits>,
    accidents: Mutex<VecDeque<(Procedure, Accident)>>,
    calls: AtomicU64,
    away: AtomicBool,
    /// Moved, all connections break.
    cut: watch::Sender<u64>,
    /// Files whose exclusive create's verifier gave way to times.
    pub dated: Mutex<HashSet<Bytes>>,
}

impl Filer {
    pub async fn start(tree: MemoryTree, habits: Habits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let shared = Arc::new(Shared {
            tree: Mutex::new(tree),
            fsid: AtomicU64::new(0xf5),
            habits: Mutex::new(habits),
            accidents: Mutex::default(),
            calls: AtomicU64::new(0),
            away: AtomicBool::new(false),
            cut: watch::Sender::new(0),
            dated: Mutex::default(),
        });
        let filer = Self {
            address: listener.local_addr().expect("it listens"),
            shared: shared.clone(),
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if !shared.away.load(Ordering::SeqCst) {
                    tokio::spawn(serve(stream, shared.clone()));
                }
            }
        });
        filer
    }

    pub fn tree(&self) -> MemoryTree {
        self.shared.tree.lock().clone()
    }

    /// Another file system under the same export.
    pub fn show(&self, tree: MemoryTree) {
        *self.shared.tree.lock() = tree;
        self.cut();
    }

    pub fn set_fsid(&self, fsid: u64) {
        self.shared.fsid.store(fsid, Ordering::SeqCst);
    }

    /// To the next call of that procedure; more of them in order.
    pub fn plan(&self, procedure: Procedure, accident: Accident) {
        self.shared
            .accidents
            .lock()
            .push_back((procedure, accident));
    }

    pub fn nothing_is_planned(&self) -> bool {
        self.shared.accidents.lock().is_empty()
    }

    pub fn set_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
        self.cut();
    }

    pub fn restart(&self) {
        self.tree().restart();
        self.cut();
    }

    fn cut(&self) {
        self.shared.cut();
    }
}

impl Shared {
    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    fn leave(&self) {
        self.away.store(true, Ordering::SeqCst);
        self.cut();
    }

    fn accident(&self, procedure: Procedure) -> Option<Accident> {
        let mut accidents = self.accidents.lock();
        let at = accidents.iter().position(|(of, _)| *of == procedure);
        if let Some((_, accident)) = at.and_then(|at| accidents.remove(at)) {
            return Some(accident);
        }
        let count = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let every = self.habits.lock().loses_every;
        let loses = every > 0 && count.is_multiple_of(every);
        loses.then_some(Accident::ReplyLost)
    }

    fn caller(&self, credential: &Credential) -> Caller {
        let Credential::Sys(sys) = credential else {
            return Caller {
                uid: NOBODY,
                gid: NOBODY,
                groups: Arc::default(),
            };
        };
        let squashed = |id| match id {
            0 if self.habits.lock().squashes_root => NOBODY,
            id => id,
        };
        Caller {
            uid: squashed(sys.uid),
            gid: squashed(sys.gid),
            groups: sys.gids.iter().copied().map(squashed).collect(),
        }
    }

    /// The reply, or nothing where the connection breaks.
    async fn answer(&self, record: Bytes) -> Option<Frame> {
        let mut input = Decoder::new(record);
        let Ok(Message::Call(call)) = Message::decode(&mut input) else {
            return None;
        };
        let mut out = record::begin();
        ReplyHeader::success(call.xid).encode(&mut out);
        if call.program == wire::mount::PROGRAM {
            self.mount(&call, &mut input, &mut out).await;
            return Some(Frame::new(out));
        }
        let procedure = Procedure::from_u32(call.procedure)?;
        let caller = self.caller(&call.credential);
        let accident = self.accident(procedure);
        match &accident {
            Some(Accident::Unheard) => return None,
            Some(Accident::LeavesBefore) => {
                self.leave();
                return None;
            }
            Some(Accident::Overtaken(other)) => {
                self.run(procedure, other, &mut input, &mut out).await;
                return None;
            }
            Some(Accident::Refused(status)) => {
                procedures::refuse(procedure, *status, &mut out);
                return Some(Frame::new(out));
            }
            Some(Accident::ReplyLost | Accident::LeavesAfter) | None => {}
        }
        self.run(procedure, &caller, &mut input, &mut out).await;
        match accident {
            Some(Accident::ReplyLost) => None,
            Some(Accident::LeavesAfter) => {
                self.leave();
                None
            }
            _ => Some(Frame::new(out)),
        }
    }

    async fn mount(&self, call: &CallHeader, input: &mut Decoder, out: &mut Encoder) {
        if call.procedure != wire::mount::Procedure::Mnt as u32 {
            return;
        }
        let path = Dirpath::decode(input).expect("a path");
        let answer: Mountres3 = if path.bytes() == EXPORT {
            let tree = self.tree.lock().clone();
            let root = tree.root().await.expect("there is a root").handle;
            Ok(Mountres3ok {
                fhandle: Fh3::new(root).expect("a handle"),
                auth_flavors: vec![wire::rpc::AUTH_SYS],
            })
        } else {
            Err(Mountstat3::Noent)
        };
        answer.encode(out);
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let mut reader = RecordReader::new(RECORD_MAX_BYTES);
    let mut buffer = BytesMut::new();
    let serving = async {
        loop {
            while let Some(record) = reader.next(&mut buffer).ok()? {
                let mut reply = shared.answer(record).await?;
                stream.write_all_buf(&mut reply).await.ok()?;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None::<()>;
            }
        }
    };
    tokio::select! {
        _ = serving => {}
        _ = cut.changed() => {}
    }
}
