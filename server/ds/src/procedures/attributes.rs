//! GETATTR, SETATTR, ACCESS, FSSTAT, FSINFO and PATHCONF (RFC 1813 §3.3.1, §3.3.2, §3.3.4,
//! §3.3.18 to §3.3.20). Anybody with a handle may ask; SETATTR is the metadata server's alone.

use std::fs::{File, FileTimes};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use rustix::fs::{Stat, StatVfs};
use wire::nfs3::*;

use crate::engine::Engine;
use crate::handle::Target;
use crate::identity::Right;
use crate::procedures::cached;
use crate::service::{Context, TERM_OVER, time};
use crate::store::{BLOCK_BYTES, Cuts, Object, Space, inner_path, outer_path};

/// Largest offset that the kernel takes.
pub(super) const FILE_MAX_BYTES: u64 = i64::MAX as u64;

/// GETATTR, §3.3.1.
pub async fn getattr<E: Engine>(args: &Getattr3args, cx: &Context<'_, E>) -> Getattr3res {
    Ok(attributes_of(&args.object, cx).await?)
}

/// The attributes of whatever a handle names.
async fn attributes_of<E: Engine>(handle: &Fh3, cx: &Context<'_, E>) -> Result<Fattr3, Nfsstat3> {
    match cx.target(handle)? {
        Target::Object { .. } => cx.attributes(&*cx.object(handle).await?),
        Target::Cached(id) => cached::attributes(id, cx),
        target => folder_attributes(target, cx).await?.ok_or(Nfsstat3::Stale),
    }
}

/// The attributes of a folder, or `None` when there is none.
pub async fn folder_attributes<E: Engine>(
    target: Target,
    cx: &Context<'_, E>,
) -> Result<Option<Fattr3>, Nfsstat3> {
    let path = match target {
        Target::Root => ".".to_owned(),
        Target::Data => "data".to_owned(),
        Target::Outer(xx) => outer_path(xx),
        Target::Inner(xx, yy) => inner_path(xx, yy),
        Target::Object { .. } | Target::Cached(_) => return Err(Nfsstat3::Notdir),
    };
    let folder = Arc::clone(&cx.service.folder);
    let stat = cx
        .blocking(move || match folder.open_folder(&path) {
            Ok(folder) => Ok(Some(rustix::fs::fstat(&folder)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await?;
    let key = cx.service.folder.key();
    Ok(stat.map(|stat| Fattr3 {
        ftype: Ftype3::Dir,
        mode: 0o700,
        nlink: 2,
        uid: 0,
        gid: 0,
        size: stat.st_size as u64,
        used: stat.st_blocks as u64 * BLOCK_BYTES,
        rdev: Specdata3::default(),
        fsid: key.fsid(),
        fileid: key.fileid(target),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
    }))
}

/// SETATTR, §3.3.2: the exact fence when it names uid, gid or mode.
///
/// It passes the gate alone: I/O in flight has ended, what comes later is judged by the new owner,
/// and the record is on disk before the answer.
pub async fn setattr<E: Engine>(args: &Setattr3args, cx: &Context<'_, E>) -> Setattr3res {
    let term = cx.order()?;
    if let Target::Root | Target::Data | Target::Outer(_) | Target::Inner(..) =
        cx.target(&args.object)?
    {
        return Err(Nfsstat3::Notsupp.into());
    }
    let object = cx.object(&args.object).await?;
    set(&object, args.new_attributes, args.guard, term, cx).await
}

/// Changes an object's attributes, alone behind its gate.
pub async fn set<E: Engine>(
    object: &Arc<Object>,
    new: Sattr3,
    guard: Option<Nfstime3>,
    term: u64,
    cx: &Context<'_, E>,
) -> Setattr3res {
    let alone = object.gate.exclusive().await;
    if object.is_removed() {
        return Err(Nfsstat3::Stale.into());
    }
    let before = cx.attributes(object)?;
    let about = |status| Failed {
        status,
        about: WccData {
            before: Some((&before).into()),
            after: cx.attributes(object).ok(),
        },
    };
    // A guarded size only ever grows an object: the metadata server pads stripes with it while
    // writers are under way, and a ctime of the same clock tick must not cut what they wrote since.
    let cuts = new.size.is_some_and(|size| size < before.size);
    if guard.is_some_and(|ctime| ctime != before.ctime || cuts) {
        return Err(about(Nfsstat3::NotSync));
    }
    if new.size.is_some_and(|size| size > FILE_MAX_BYTES) {
        return Err(about(Nfsstat3::Fbig));
    }
    let service = cx.service;
    let (changed, folder) = (Arc::clone(object), Arc::clone(&service.folder));
    let cuts = Arc::clone(&service.cuts);
    let admitted = cx
        .blocking(move || {
            // Behind the gate, so that an order held up in front of it can't follow a successor's.
            if !changed.id.is_trial() && !folder.admit_term(term)? {
                return Ok(None);
            }
            apply(&changed, new, term, &cuts).map(Some)
        })
        .await
        .map_err(|status| {
            if status == Nfsstat3::Io {
                // The sync may have been what failed, and with it unstable data.
                service.verifier.writes_lost();
            }
            about(status)
        })?;
    let Some(stat) = admitted else {
        return Err(about(TERM_OVER));
    };
    object.account(&stat, &service.space);
    if owner_changes(&new) {
        service.metrics.fences.fetch_add(1, Ordering::Relaxed);
    }
    drop(alone);
    Ok(WccData {
        before: Some((&before).into()),
        after: Some(cx.attributes_of(object.id, &object.record(), &stat)),
    })
}

fn owner_changes(new: &Sattr3) -> bool {
    new.uid.is_some() || new.gid.is_some() || new.mode.is_some()
}

/// Applies the change and makes it durable.
fn apply(object: &Object, new: Sattr3, term: u64, cuts: &Cuts) -> io::Result<Stat> {
    let mut durable = false;
    match new.size {
        None => {}
        Some(0) => durable = cuts.empty(object)?,
        Some(size) => object.file.set_len(size)?,
    }
    durable &= !set_times(&object.file, new)?;
    if owner_changes(&new) {
        let record = object.record();
        object.set_record(crate::record::Record {
            mode: new.mode.map_or(record.mode, |mode| mode & 0o7777),
            uid: new.uid.unwrap_or(record.uid),
            gid: new.gid.unwrap_or(record.gid),
            generation: record.generation + 1,
            term,
            ..record
        })?;
    } else if !durable {
        object.file.sync_all()?;
    }
    object.stat()
}

/// Whether it had any to set.
fn set_times(file: &File, new: Sattr3) -> io::Result<bool> {
    let moment = |set| match set {
        SetTime::DontChange => None,
        SetTime::ToServerTime => Some(SystemTime::now()),
        SetTime::ToClientTime(time) => Some(
            SystemTime::UNIX_EPOCH
                + Duration::from_secs(u64::from(time.seconds))
                + Duration::from_nanos(u64::from(time.nseconds)),
        ),
    };
    let mut times = FileTimes::new();
    let (atime, mtime) = (moment(new.atime), moment(new.mtime));
    if atime.is_none() && mtime.is_none() {
        return Ok(false);
    }
    if let Some(atime) = atime {
        times = times.set_accessed(atime);
    }
    if let Some(mtime) = mtime {
        times = times.set_modified(mtime);
    }
    file.set_times(times)?;
    Ok(true)
}

/// ACCESS, §3.3.4.
pub async fn access<E: Engine>(args: &Access3args, cx: &Context<'_, E>) -> Access3res {
    let target = cx.target(&args.object)?;
    let (attributes, granted) = if let Target::Object { .. } = target {
        let object = cx.object(&args.object).await?;
        let record = object.record();
        let mut granted = 0;
        if cx.caller.may(Right::Read, &record) {
            granted |= ACCESS3_READ;
        }
        if cx.caller.may(Right::Write, &record) {
            granted |= ACCESS3_MODIFY | ACCESS3_EXTEND;
        }
        (cx.attributes(&object)?, granted)
    } else if let Target::Cached(id) = target {
        cached::access(id, cx)?
    } else {
        let attributes = folder_attributes(target, cx)
            .await?
            .ok_or(Nfsstat3::Stale)?;
        let all = ACCESS3_READ | ACCESS3_LOOKUP | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE;
        (attributes, if cx.caller.is_mds() { all } else { 0 })
    };
    Ok(Access3resok {
        obj_attributes: Some(attributes),
        access: args.access & granted,
    })
}

/// FSSTAT, §3.3.18: the file system's space, or the operator's limit where that is less.
pub async fn fsstat<E: Engine>(args: &Fsstat3args, cx: &Context<'_, E>) -> Fsstat3res {
    let attributes = attributes_of(&args.fsroot, cx).await?;
    let folder = Arc::clone(&cx.service.folder);
    let stat = cx.blocking(move || folder.statvfs()).await?;
    let (total, free) = room(&stat, &cx.service.space);
    Ok(Fsstat3resok {
        obj_attributes: Some(attributes),
        tbytes: total,
        fbytes: free,
        abytes: free,
        tfiles: stat.f_files,
        ffiles: stat.f_ffree,
        afiles: stat.f_favail,
        invarsec: 0,
    })
}

/// Total and free bytes, as far as the operator lets objects use them.
pub fn room(stat: &StatVfs, space: &Space) -> (u64, u64) {
    let (total, free) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
    match space.capacity_bytes() {
        Some(capacity) => (
            total.min(capacity),
            free.min(capacity.saturating_sub(space.used_bytes())),
        ),
        None => (total, free),
    }
}

/// FSINFO, §3.3.19.
pub async fn fsinfo<E: Engine>(args: &Fsinfo3args, cx: &Context<'_, E>) -> Fsinfo3res {
    let transfer = cx.service.transfer_bytes;
    Ok(Fsinfo3resok {
        obj_attributes: Some(attributes_of(&args.fsroot, cx).await?),
        rtmax: transfer,
        rtpref: transfer,
        rtmult: 4096,
        wtmax: transfer,
        wtpref: transfer,
        wtmult: 4096,
        dtpref: 64 << 10,
        maxfilesize: FILE_MAX_BYTES,
        time_delta: Nfstime3 {
            seconds: 0,
            nseconds: 1,
        },
        properties: FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
    })
}

/// PATHCONF, §3.3.20.
pub async fn pathconf<E: Engine>(args: &Pathconf3args, cx: &Context<'_, E>) -> Pathconf3res {
    Ok(Pathconf3resok {
        obj_attributes: Some(attributes_of(&args.object, cx).await?),
        linkmax: 1,
        name_max: 255,
        no_trunc: true,
        chown_restricted: true,
        case_insensitive: false,
        case_preserving: true,
    })
}
