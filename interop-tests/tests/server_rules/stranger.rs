//! An NFSv3 server that isn't ours, in memory: it does what a data server must, or what one was seen to
//! do that isn't fit. Its root handle is that of every other stranger. Never here: an assertion.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wire::mount::{self, Mountres3, Mountres3ok, Mountstat3};
use wire::nfs3::*;
use wire::record::{self, Frame, RecordReader};
use wire::rpc::{Accepted, CallHeader, Credential, Message, ReplyHeader};
use wire::{Decoder, Encoder, Xdr};

/// What it does otherwise than it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// It says yes to a new owner, and lets the old one write on.
    OldOwnersWrite,
    /// The group may write what it may read.
    ReadersWrite,
    /// Root is anybody: no owner is changed.
    SquashesRoot,
    /// Nobody may mount it.
    RefusesMount,
    /// A guarded SETATTR is obeyed as if there were no guard.
    IgnoresGuards,
    /// Its clock is an hour behind.
    LateClock,
}

#[derive(Debug)]
struct Node {
    /// `None`: a folder.
    data: Option<Vec<u8>>,
    names: BTreeMap<Bytes, u64>,
    mode: u32,
    uid: u32,
    gid: u32,
    former: Vec<u32>,
    mtime: Nfstime3,
    ctime: Nfstime3,
}

#[derive(Debug)]
struct Inner {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    fault: Fault,
    changes: u32,
}

const ROOT: u64 = 1;

pub struct Stranger {
    inner: Arc<Mutex<Inner>>,
    accepting: Mutex<Vec<JoinHandle<()>>>,
    pub addresses: Vec<SocketAddr>,
}

impl Stranger {
    /// It listens at so many addresses, as a machine with several networks does.
    pub async fn start(fault: Fault, addresses: usize) -> Result<Self> {
        let root = Node {
            data: None,
            names: BTreeMap::new(),
            mode: 0o711,
            uid: 0,
            gid: 0,
            former: Vec::new(),
            mtime: Nfstime3::default(),
            ctime: Nfstime3::default(),
        };
        let inner = Arc::new(Mutex::new(Inner {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: ROOT + 1,
            fault,
            changes: 0,
        }));
        let mut stranger = Self {
            inner,
            accepting: Mutex::default(),
            addresses: Vec::new(),
        };
        for _ in 0..addresses {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            stranger.addresses.push(listener.local_addr()?);
            stranger.accept(listener);
        }
        Ok(stranger)
    }

    fn accept(&self, listener: TcpListener) {
        let inner = Arc::clone(&self.inner);
        self.accepting.lock().push(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&inner)));
            }
        }));
    }

    /// From now on there too.
    pub async fn listen_at(&self, address: SocketAddr) -> Result<()> {
        self.accept(TcpListener::bind(address).await?);
        Ok(())
    }

    /// What its operator mends or breaks.
    pub fn set(&self, fault: Fault) {
        self.inner.lock().fault = fault;
    }

    /// Names in its export's root.
    pub fn names(&self) -> Vec<String> {
        let inner = self.inner.lock();
        let root = inner.nodes.get(&ROOT).map(|root| &root.names);
        root.into_iter()
            .flatten()
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
            .collect()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.accepting.lock().iter().for_each(JoinHandle::abort);
    }
}

async fn serve(mut stream: TcpStream, inner: Arc<Mutex<Inner>>) {
    let mut reader = RecordReader::new(2 << 20);
    let mut input = BytesMut::new();
    loop {
        while let Ok(Some(record)) = reader.next(&mut input) {
            let mut arguments = Decoder::new(record);
            let Ok(Message::Call(header)) = Message::decode(&mut arguments) else {
                return;
            };
            let frame = inner.lock().answer(&header, arguments);
            for part in frame.into_parts() {
                if stream.write_all(&part).await.is_err() {
                    return;
                }
            }
        }
        if matches!(stream.read_buf(&mut input).await, Ok(0) | Err(_)) {
            return;
        }
    }
}

fn framed(xid: u32, status: Accepted, result: impl FnOnce(&mut Encoder)) -> Frame {
    let mut out = record::begin();
    ReplyHeader::accepted(xid, status).encode(&mut out);
    result(&mut out);
    Frame::new(out)
}

fn handle(id: u64) -> Fh3 {
    Fh3::new(id.to_be_bytes().to_vec()).expect("a handle of 8 bytes")
}

/// Who calls: uid and gid.
type Caller = (u32, u32);

impl Inner {
    fn answer(&mut self, header: &CallHeader, mut arguments: Decoder) -> Frame {
        let caller = match &header.credential {
            Credential::Sys(sys) => (sys.uid, sys.gid),
            _ => (65_534, 65_534),
        };
        let xid = header.xid;
        if header.program == mount::PROGRAM {
            let refused = self.fault == Fault::RefusesMount;
            let answer: Mountres3 = if refused {
                Err(Mountstat3::Acces)
            } else {
                Ok(Mountres3ok {
                    fhandle: handle(ROOT),
                    auth_flavors: vec![wire::rpc::AUTH_SYS],
                })
            };
            return framed(xid, Accepted::Success, |out| answer.encode(out));
        }
        macro_rules! call {
            ($procedure:ident -> $result:ty) => {{
                let Ok(arguments) = Xdr::decode(&mut arguments) else {
                    return framed(xid, Accepted::GarbageArgs, |_| {});
                };
                let answer: $result = self.$procedure(&arguments, caller).map_err(Into::into);
                framed(xid, Accepted::Success, |out| answer.encode(out))
            }};
        }
        match Procedure::from_u32(header.procedure) {
            Some(Procedure::Null) => framed(xid, Accepted::Success, |_| {}),
            Some(Procedure::Getattr) => call!(getattr -> Getattr3res),
            Some(Procedure::Setattr) => call!(setattr -> Setattr3res),
            Some(Procedure::Lookup) => call!(lookup -> Lookup3res),
            Some(Procedure::Read) => call!(read -> Read3res),
            Some(Procedure::Write) => call!(write -> Write3res),
            Some(Procedure::Create) => call!(create -> Create3res),
            Some(Procedure::Mkdir) => call!(mkdir -> Mkdir3res),
            Some(Procedure::Remove) => call!(remove -> Remove3res),
            Some(Procedure::Fsstat) => call!(fsstat -> Fsstat3res),
            Some(Procedure::Fsinfo) => call!(fsinfo -> Fsinfo3res),
            Some(Procedure::Commit) => call!(commit -> Commit3res),
            _ => framed(xid, Accepted::ProcUnavail, |_| {}),
        }
    }

    fn now(&mut self) -> Nfstime3 {
        self.changes += 1;
        let late = match self.fault {
            Fault::LateClock => Duration::from_hours(1),
            _ => Duration::ZERO,
        };
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(late);
        Nfstime3 {
            seconds: since.as_secs() as u32,
            // No two changes at one time, so that a guard tells them apart.
            nseconds: self.changes,
        }
    }

    fn id(&self, file: &Fh3) -> Result<u64, Nfsstat3> {
        let bytes: [u8; 8] = file.bytes()[..]
            .try_into()
            .map_err(|_| Nfsstat3::Badhandle)?;
        let id = u64::from_be_bytes(bytes);
        if self.nodes.contains_key(&id) {
            Ok(id)
        } else {
            Err(Nfsstat3::Stale)
        }
    }

    fn node(&mut self, file: &Fh3) -> Result<&mut Node, Nfsstat3> {
        let id = self.id(file)?;
        self.nodes.get_mut(&id).ok_or(Nfsstat3::Stale)
    }

    fn attributes(&self, id: u64) -> Fattr3 {
        let node = &self.nodes[&id];
        let size = node.data.as_ref().map_or(4096, Vec::len) as u64;
        Fattr3 {
            ftype: if node.data.is_some() {
                Ftype3::Reg
            } else {
                Ftype3::Dir
            },
            mode: node.mode,
            nlink: 1,
            uid: node.uid,
            gid: node.gid,
            size,
            used: size,
            rdev: Specdata3::default(),
            fsid: 1,
            fileid: id,
            atime: node.mtime,
            mtime: node.mtime,
            ctime: node.ctime,
        }
    }

    fn is_root(&self, (uid, _): Caller) -> bool {
        uid == 0 && self.fault != Fault::SquashesRoot
    }

    fn getattr(&mut self, args: &Getattr3args, _: Caller) -> Result<Fattr3, Nfsstat3> {
        Ok(self.attributes(self.id(&args.object)?))
    }

    fn setattr(&mut self, args: &Setattr3args, caller: Caller) -> Result<WccData, Nfsstat3> {
        let (root, now) = (self.is_root(caller), self.now());
        let obeys_guards = self.fault != Fault::IgnoresGuards;
        let new = args.new_attributes;
        let node = self.node(&args.object)?;
        if args.guard.is_some_and(|guard| guard != node.ctime) && obeys_guards {
            return Err(Nfsstat3::NotSync);
        }
        if !root && (new.uid.is_some() || new.gid.is_some()) {
            return Err(Nfsstat3::Perm);
        }
        if let (Some(size), Some(data)) = (new.size, &mut node.data) {
            data.resize(size as usize, 0);
            node.mtime = now;
        }
        if let Some(uid) = new.uid {
            node.former.push(node.uid);
            node.uid = uid;
        }
        node.gid = new.gid.unwrap_or(node.gid);
        node.mode = new.mode.unwrap_or(node.mode);
        node.ctime = now;
        let id = self.id(&args.object)?;
        Ok(WccData {
            before: None,
            after: Some(self.attributes(id)),
        })
    }

    fn lookup(&mut self, args: &Lookup3args, _: Caller) -> Result<Lookup3resok, Nfsstat3> {
        let names = &self.node(&args.what.dir)?.names;
        let id = *names.get(args.what.name.bytes()).ok_or(Nfsstat3::Noent)?;
        Ok(Lookup3resok {
            object: handle(id),
            obj_attributes: Some(self.attributes(id)),
            dir_attributes: None,
        })
    }

    fn make(
        &mut self,
        target: &Diropargs3,
        data: Option<Vec<u8>>,
        wanted: Sattr3,
        caller: Caller,
    ) -> Result<Create3resok, Nfsstat3> {
        if !self.is_root(caller) {
            return Err(Nfsstat3::Acces);
        }
        let now = self.now();
        let name = Bytes::copy_from_slice(target.name.bytes());
        let next = self.next;
        let folder = self.node(&target.dir)?;
        let is_folder = data.is_none();
        let id = match folder.names.get(&name) {
            Some(_) if is_folder => return Err(Nfsstat3::Exist),
            Some(id) => *id,
            None => {
                folder.names.insert(name, next);
                let node = Node {
                    data,
                    names: BTreeMap::new(),
                    mode: wanted.mode.unwrap_or(0o600),
                    uid: wanted.uid.unwrap_or(0),
                    gid: wanted.gid.unwrap_or(0),
                    former: Vec::new(),
                    mtime: now,
                    ctime: now,
                };
                self.nodes.insert(next, node);
                self.next += 1;
                next
            }
        };
        Ok(Create3resok {
            obj: Some(handle(id)),
            obj_attributes: Some(self.attributes(id)),
            dir_wcc: WccData::default(),
        })
    }

    fn create(&mut self, args: &Create3args, caller: Caller) -> Result<Create3resok, Nfsstat3> {
        let wanted = match args.how {
            Createhow3::Unchecked(wanted) | Createhow3::Guarded(wanted) => wanted,
            Createhow3::Exclusive(_) => Sattr3::default(),
        };
        self.make(&args.target, Some(Vec::new()), wanted, caller)
    }

    fn mkdir(&mut self, args: &Mkdir3args, caller: Caller) -> Result<Create3resok, Nfsstat3> {
        self.make(&args.target, None, args.attributes, caller)
    }

    fn remove(&mut self, args: &Remove3args, caller: Caller) -> Result<WccData, Nfsstat3> {
        if !self.is_root(caller) {
            return Err(Nfsstat3::Acces);
        }
        let folder = self.node(&args.object.dir)?;
        let id = folder
            .names
            .remove(args.object.name.bytes())
            .ok_or(Nfsstat3::Noent)?;
        self.nodes.remove(&id);
        Ok(WccData::default())
    }

    fn read(&mut self, args: &Read3args, (uid, gid): Caller) -> Result<Read3resok, Nfsstat3> {
        let root = self.is_root((uid, gid));
        let node = self.node(&args.file)?;
        let allowed = (uid == node.uid && node.mode & 0o400 != 0)
            || (gid == node.gid && node.mode & 0o040 != 0);
        if !root && !allowed {
            return Err(Nfsstat3::Acces);
        }
        let data = node.data.as_ref().ok_or(Nfsstat3::Isdir)?;
        let from = (args.offset as usize).min(data.len());
        let to = from.saturating_add(args.count as usize).min(data.len());
        Ok(Read3resok {
            file_attributes: None,
            eof: to == data.len(),
            data: Bytes::copy_from_slice(&data[from..to]),
        })
    }

    fn write(&mut self, args: &Write3args, (uid, gid): Caller) -> Result<Write3resok, Nfsstat3> {
        let (root, now, fault) = (self.is_root((uid, gid)), self.now(), self.fault);
        let node = self.node(&args.file)?;
        let allowed = match fault {
            Fault::OldOwnersWrite if node.former.contains(&uid) => true,
            Fault::ReadersWrite if gid == node.gid => true,
            _ => uid == node.uid && node.mode & 0o200 != 0,
        };
        if !root && !allowed {
            return Err(Nfsstat3::Acces);
        }
        let data = node.data.as_mut().ok_or(Nfsstat3::Isdir)?;
        let (from, to) = (args.offset as usize, args.offset as usize + args.data.len());
        if data.len() < to {
            data.resize(to, 0);
        }
        data[from..to].copy_from_slice(&args.data);
        (node.mtime, node.ctime) = (now, now);
        Ok(Write3resok {
            file_wcc: WccData::default(),
            count: args.data.len() as u32,
            committed: StableHow::FileSync,
            verf: [7; 8],
        })
    }

    fn commit(&mut self, args: &Commit3args, _: Caller) -> Result<Commit3resok, Nfsstat3> {
        self.node(&args.file)?;
        Ok(Commit3resok {
            file_wcc: WccData::default(),
            verf: [7; 8],
        })
    }

    fn fsstat(&mut self, args: &Fsstat3args, _: Caller) -> Result<Fsstat3resok, Nfsstat3> {
        self.node(&args.fsroot)?;
        Ok(Fsstat3resok {
            obj_attributes: None,
            tbytes: 1 << 40,
            fbytes: 1 << 39,
            abytes: 1 << 39,
            tfiles: 1 << 20,
            ffiles: 1 << 19,
            afiles: 1 << 19,
            invarsec: 0,
        })
    }

    fn fsinfo(&mut self, args: &Fsinfo3args, _: Caller) -> Result<Fsinfo3resok, Nfsstat3> {
        self.node(&args.fsroot)?;
        Ok(Fsinfo3resok {
            obj_attributes: None,
            rtmax: 1 << 20,
            rtpref: 1 << 20,
            rtmult: 4096,
            wtmax: 1 << 20,
            wtpref: 1 << 20,
            wtmult: 4096,
            dtpref: 4096,
            maxfilesize: i64::MAX as u64,
            time_delta: Nfstime3 {
                seconds: 0,
                nseconds: 1,
            },
            properties: FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
        })
    }
}
