//! What every request needs: the store, the buffers, the verifier; and the way from a request to
//! its procedure. Never a socket; the engine does the I/O that a procedure asks for.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use buffers::{Buffer, Pool};
use rustix::fs::Stat;
use wire::ds::Abilities;
use wire::nfs3::*;

use crate::cache::Cache;
use crate::call::{Call, RangeRequest, Request};
use crate::config::Network;
use crate::engine::Engine;
use crate::fetcher::Fetcher;
use crate::handle::{ObjectId, Target};
use crate::identity::Caller;
use crate::metrics::{Metrics, Traffic};
use crate::procedures::{
    attributes, cached, directory, io as io_procedures, mount, names, pull, ranges,
};
use crate::record::Record;
use crate::reply::Reply;
use crate::status;
use crate::store::{BLOCK_BYTES, Cuts, Folder, Object, Objects, Space};
use crate::verifier::Verifier;
use crate::workers::Workers;

pub(crate) struct Service {
    pub folder: Arc<Folder>,
    pub objects: Arc<Objects>,
    pub space: Arc<Space>,
    pub cuts: Arc<Cuts>,
    pub verifier: Arc<Verifier>,
    pub pool: Arc<Pool>,
    pub workers: Workers,
    pub metrics: Arc<Metrics>,
    pub export: String,
    pub mds: Vec<Network>,
    pub transfer_bytes: u32,
    pub abilities: Abilities,
    pub fetcher: Fetcher,
    pub cache: Option<Cache>,
}

/// One request being answered.
pub(crate) struct Context<'a, E> {
    pub service: &'a Service,
    pub engine: &'a E,
    pub caller: &'a Caller,
    pub peer: IpAddr,
}

impl Service {
    pub async fn answer<E: Engine>(
        &self,
        engine: &E,
        call: Call,
        payload: Option<Buffer>,
        peer: IpAddr,
        traffic: &Traffic,
    ) -> Reply {
        let began = Instant::now();
        let called = call.request.called();
        let cx = Context {
            service: self,
            engine,
            caller: &call.caller,
            peer,
        };
        let xid = call.xid;
        let written = payload.as_ref().map_or(0, Buffer::len);
        let reply = match call.request {
            Request::Null => Reply::plain(xid, &()),
            Request::Getattr(args) => Reply::outcome(xid, &attributes::getattr(&args, &cx).await),
            Request::Setattr(args) => Reply::outcome(xid, &attributes::setattr(&args, &cx).await),
            Request::Lookup(args) => Reply::outcome(xid, &names::lookup(&args, &cx).await),
            Request::Access(args) => Reply::outcome(xid, &attributes::access(&args, &cx).await),
            Request::Read(args) => Reply::read(xid, io_procedures::read(&args, &cx).await),
            Request::Write(args) => {
                let outcome = io_procedures::write(&args, payload, &cx).await;
                if outcome.is_ok() {
                    traffic.written(written as u64);
                }
                Reply::outcome(xid, &outcome)
            }
            Request::Create(args) => Reply::outcome(xid, &names::create(&args, &cx).await),
            Request::Mkdir(args) => Reply::outcome(xid, &names::mkdir(&args, &cx).await),
            Request::Remove(args) => Reply::outcome(xid, &names::remove(&args, &cx).await),
            Request::Readdir(args) => Reply::outcome(xid, &directory::readdir(&args, &cx).await),
            Request::Readdirplus(args) => {
                Reply::outcome(xid, &directory::readdirplus(&args, &cx).await)
            }
            Request::Fsstat(args) => Reply::outcome(xid, &attributes::fsstat(&args, &cx).await),
            Request::Fsinfo(args) => Reply::outcome(xid, &attributes::fsinfo(&args, &cx).await),
            Request::Pathconf(args) => Reply::outcome(xid, &attributes::pathconf(&args, &cx).await),
            Request::Commit(args) => Reply::outcome(xid, &io_procedures::commit(&args, &cx).await),
            Request::Unsupported(procedure) => unsupported(xid, procedure),
            Request::Mount(request) => mount::answer(xid, &request, &cx),
            Request::Ranges(request) => range(xid, request, &cx).await,
        };
        traffic.read(reply.read_bytes);
        self.metrics.answered(called, reply.status, began.elapsed());
        reply
    }
}

async fn range<E: Engine>(xid: u32, request: RangeRequest, cx: &Context<'_, E>) -> Reply {
    match request {
        RangeRequest::Abilities => Reply::outcome(xid, &ranges::abilities(cx)),
        RangeRequest::Seek(args) => Reply::outcome(xid, &ranges::seek(&args, cx).await),
        RangeRequest::Allocate(args) => Reply::outcome(xid, &ranges::allocate(&args, cx).await),
        RangeRequest::Deallocate(args) => Reply::outcome(xid, &ranges::deallocate(&args, cx).await),
        RangeRequest::Clone(args) => Reply::outcome(xid, &ranges::clone(&args, cx).await),
        RangeRequest::Pull(args) => Reply::outcome(xid, &pull::pull(&args, cx).await),
        RangeRequest::Offer(args) => Reply::outcome(xid, &cached::offer(&args, cx).await),
        RangeRequest::Withdraw(args) => Reply::outcome(xid, &cached::withdraw(&args, cx).await),
        RangeRequest::Demand(args) => Reply::outcome(xid, &cached::demand(&args, cx)),
        RangeRequest::Make(args) => Reply::outcome(xid, &names::make(&args, cx).await),
    }
}

/// The shape of a failure differs; the status doesn't.
fn unsupported(xid: u32, procedure: Procedure) -> Reply {
    let status = Nfsstat3::Notsupp;
    match procedure {
        Procedure::Rename => Reply::outcome::<RenameWcc, RenameWcc>(xid, &Err(status.into())),
        Procedure::Link => Reply::outcome::<LinkWcc, LinkWcc>(xid, &Err(status.into())),
        Procedure::Readlink => {
            Reply::outcome::<Readlink3resok, PostOpAttr>(xid, &Err(status.into()))
        }
        _ => Reply::outcome::<WccData, WccData>(xid, &Err(status.into())),
    }
}

impl<E: Engine> Context<'_, E> {
    /// What `handle` names.
    pub fn target(&self, handle: &Fh3) -> Result<Target, Nfsstat3> {
        self.service
            .folder
            .key()
            .open(handle.bytes())
            .ok_or(Nfsstat3::Badhandle)
    }

    pub fn handle(&self, target: Target) -> Fh3 {
        let handle = self.service.folder.key().seal(target);
        Fh3::new(handle.to_vec()).expect("a handle is shorter than 64 bytes")
    }

    pub fn object_handle(&self, object: &Object) -> Fh3 {
        self.handle(object_target(object.id, &object.record()))
    }

    /// The object that `handle` names, which may be removed before its gate opens.
    pub async fn object(&self, handle: &Fh3) -> Result<Arc<Object>, Nfsstat3> {
        match self.target(handle)? {
            Target::Object { id, incarnation } => {
                let object = self.named(id).await?.ok_or(Nfsstat3::Stale)?;
                if object.record().incarnation == incarnation {
                    Ok(object)
                } else {
                    Err(Nfsstat3::Stale)
                }
            }
            // It is read, and that is all.
            Target::Cached(_) => Err(Nfsstat3::Rofs),
            _ => Err(Nfsstat3::Isdir),
        }
    }

    /// The object of this id, if there is one.
    pub async fn named(&self, id: ObjectId) -> Result<Option<Arc<Object>>, Nfsstat3> {
        if let Some(object) = self.service.objects.cached(id) {
            return Ok(Some(object));
        }
        let objects = Arc::clone(&self.service.objects);
        self.blocking(move || objects.load(id)).await
    }

    /// Runs what may block on a worker.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Nfsstat3> {
        match self.service.workers.run(work).await {
            Some(result) => result.map_err(|error| {
                tracing::debug!(%error, "a request failed on the disk");
                status::of(&error)
            }),
            None => Err(Nfsstat3::Serverfault),
        }
    }

    /// The term of the metadata server's order, or the refusal of anybody else's.
    ///
    /// Whether the term still counts is asked once the object's gate is passed.
    pub fn order(&self) -> Result<u64, Nfsstat3> {
        match self.caller {
            Caller::Mds { term } => Ok(*term),
            Caller::Client { .. } => Err(Nfsstat3::Acces),
        }
    }

    pub fn attributes(&self, object: &Object) -> Result<Fattr3, Nfsstat3> {
        let stat = object.stat().map_err(|error| status::of(&error))?;
        Ok(self.attributes_of(object.id, &object.record(), &stat))
    }

    pub fn attributes_of(&self, id: ObjectId, record: &Record, stat: &Stat) -> Fattr3 {
        let key = self.service.folder.key();
        Fattr3 {
            ftype: Ftype3::Reg,
            mode: record.mode,
            nlink: 1,
            uid: record.uid,
            gid: record.gid,
            size: stat.st_size as u64,
            used: stat.st_blocks as u64 * BLOCK_BYTES,
            rdev: Specdata3::default(),
            fsid: key.fsid(),
            fileid: key.fileid(object_target(id, record)),
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

pub(crate) fn object_target(id: ObjectId, record: &Record) -> Target {
    Target::Object {
        id,
        incarnation: record.incarnation,
    }
}

/// NFSv3 counts seconds in 32 bits.
pub(crate) fn time(seconds: impl TryInto<u32>, nseconds: impl TryInto<u32>) -> Nfstime3 {
    Nfstime3 {
        seconds: seconds.try_into().unwrap_or(0),
        nseconds: nseconds.try_into().unwrap_or(0),
    }
}

/// An order of a metadata server whose term is over. Not ACCES: whoever is told so must be able to
/// tell that it is no longer the metadata server from not being taken for one.
pub(crate) const TERM_OVER: Nfsstat3 = Nfsstat3::Rofs;
