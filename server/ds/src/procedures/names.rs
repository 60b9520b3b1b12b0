//! LOOKUP, CREATE, MKDIR and REMOVE (RFC 1813 §3.3.3, §3.3.8, §3.3.9, §3.3.12), for the metadata
//! server alone. An object is reached as `data/xx/yy/<id>` step by step, or by its id in the root.

use std::sync::Arc;

use wire::ds::{Made, MakeArgs, MakeRes, NewObject};
use wire::nfs3::*;

use super::attributes::{folder_attributes, set};
use crate::engine::Engine;
use crate::handle::{ObjectId, Target, parse_byte};
use crate::service::{Context, TERM_OVER};
use crate::store::{Create, Created};

/// A name in the root that only our data server knows: who finds it has the exact fence. It leads
/// to the root itself.
const MARK: &[u8] = b".headrace";

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Folder(Target),
    Object(ObjectId),
}

/// What `name` in `folder` stands for, whether it is there or not. `None` for a name that can't be
/// there: the tree's shape is fixed.
fn place(folder: Target, name: &[u8]) -> Option<Place> {
    let parent = match folder {
        Target::Root | Target::Data => Target::Root,
        Target::Outer(_) => Target::Data,
        Target::Inner(xx, _) => Target::Outer(xx),
        Target::Object { .. } | Target::Cached(_) => return None,
    };
    match (folder, name) {
        (_, b".") => Some(Place::Folder(folder)),
        (_, b"..") => Some(Place::Folder(parent)),
        (Target::Root, MARK) => Some(Place::Folder(Target::Root)),
        (Target::Root, b"data") => Some(Place::Folder(Target::Data)),
        (Target::Root, name) => ObjectId::parse(name).map(Place::Object),
        (Target::Data, name) => Some(Place::Folder(Target::Outer(parse_byte(name)?))),
        (Target::Outer(xx), name) => Some(Place::Folder(Target::Inner(xx, parse_byte(name)?))),
        (Target::Inner(xx, yy), name) => ObjectId::parse(name)
            .filter(|id| id.folders() == (xx, yy))
            .map(Place::Object),
        (Target::Object { .. } | Target::Cached(_), _) => None,
    }
}

fn folder_of<E: Engine>(handle: &Fh3, cx: &Context<'_, E>) -> Result<Target, Nfsstat3> {
    match cx.target(handle)? {
        Target::Object { .. } | Target::Cached(_) => Err(Nfsstat3::Notdir),
        folder => Ok(folder),
    }
}

/// LOOKUP, §3.3.3.
pub async fn lookup<E: Engine>(args: &Lookup3args, cx: &Context<'_, E>) -> Lookup3res {
    cx.order()?;
    let folder = folder_of(&args.what.dir, cx)?;
    let (object, attributes) = match place(folder, args.what.name.bytes()) {
        None => return Err(Nfsstat3::Noent.into()),
        Some(Place::Folder(target)) => {
            let attributes = folder_attributes(target, cx)
                .await?
                .ok_or(Nfsstat3::Noent)?;
            (cx.handle(target), attributes)
        }
        Some(Place::Object(id)) => {
            let object = cx.named(id).await?.ok_or(Nfsstat3::Noent)?;
            (cx.object_handle(&object), cx.attributes(&object)?)
        }
    };
    Ok(Lookup3resok {
        object,
        obj_attributes: Some(attributes),
        dir_attributes: None,
    })
}

/// CREATE, §3.3.8. The object and its record are on disk before the answer.
pub async fn create<E: Engine>(args: &Create3args, cx: &Context<'_, E>) -> Create3res {
    let term = cx.order()?;
    let folder = folder_of(&args.target.dir, cx)?;
    let Some(Place::Object(id)) = place(folder, args.target.name.bytes()) else {
        return Err(Nfsstat3::Inval.into());
    };
    let (sattr, verifier) = match args.how {
        Createhow3::Unchecked(sattr) | Createhow3::Guarded(sattr) => (sattr, [0; 8]),
        Createhow3::Exclusive(verifier) => (Sattr3::default(), verifier),
    };
    if i64::try_from(sattr.size.unwrap_or(0)).is_err() {
        return Err(Nfsstat3::Fbig.into());
    }
    let new = Create {
        mode: sattr.mode.map_or(0o640, |mode| mode & 0o7777),
        uid: sattr.uid.unwrap_or(0),
        gid: sattr.gid.unwrap_or(0),
        size_bytes: sattr.size.unwrap_or(0),
        term,
        verifier,
    };
    let objects = Arc::clone(&cx.service.objects);
    let data_server = Arc::clone(&cx.service.folder);
    let created = cx
        .blocking(move || {
            if !id.is_trial() && !data_server.admit_term(term)? {
                return Ok(None);
            }
            objects.create(id, new).map(Some)
        })
        .await?
        .ok_or(TERM_OVER)?;
    let object = match (created, &args.how) {
        (Created::New(object), _) => object,
        (Created::Existing(object), Createhow3::Unchecked(sattr)) => {
            if sattr.size.is_some() {
                let truncate = Sattr3 {
                    size: sattr.size,
                    ..Sattr3::default()
                };
                set(&object, truncate, None, term, cx)
                    .await
                    .map_err(|failed| failed.status)?;
            }
            object
        }
        (Created::Existing(object), Createhow3::Exclusive(verifier))
            if object.record().create_verifier == *verifier =>
        {
            object
        }
        (Created::Existing(_), _) => return Err(Nfsstat3::Exist.into()),
    };
    Ok(Create3resok {
        obj: Some(cx.object_handle(&object)),
        obj_attributes: Some(cx.attributes(&object)?),
        dir_wcc: WccData::default(),
    })
}

/// MAKE of the metadata server's own program (`wire::ds`): many objects with few syncs.
pub async fn make<E: Engine>(args: &MakeArgs, cx: &Context<'_, E>) -> MakeRes {
    let term = cx.order()?;
    let create = |new: &NewObject| Create {
        mode: args.mode & 0o7777,
        uid: new.uid,
        gid: new.gid,
        size_bytes: 0,
        term,
        verifier: [0; 8],
    };
    let wanted: Vec<_> = args
        .objects
        .iter()
        .map(|new| (ObjectId(new.id), create(new)))
        .collect();
    let objects = Arc::clone(&cx.service.objects);
    let data_server = Arc::clone(&cx.service.folder);
    let made = cx
        .blocking(move || {
            if !data_server.admit_term(term)? {
                return Ok(None);
            }
            objects.create_all(&wanted).map(Some)
        })
        .await?
        .ok_or(TERM_OVER)?;
    Ok(Made {
        handles: made.iter().map(|object| cx.object_handle(object)).collect(),
    })
}

/// MKDIR, §3.3.9, of the folders that objects lie in. CREATE by id makes them by itself.
pub async fn mkdir<E: Engine>(args: &Mkdir3args, cx: &Context<'_, E>) -> Mkdir3res {
    let term = cx.order()?;
    let folder = folder_of(&args.target.dir, cx)?;
    let Some(Place::Folder(target)) = place(folder, args.target.name.bytes()) else {
        return Err(Nfsstat3::Inval.into());
    };
    let store = Arc::clone(&cx.service.folder);
    let made = cx
        .blocking(move || {
            if !store.admit_term(term)? {
                return Ok(None);
            }
            match target {
                Target::Outer(xx) => store.make_outer(xx).map(Some),
                Target::Inner(xx, yy) => store.make_inner(xx, yy).map(Some),
                Target::Root | Target::Data | Target::Object { .. } | Target::Cached(_) => {
                    Ok(Some(false))
                }
            }
        })
        .await?
        .ok_or(TERM_OVER)?;
    if !made {
        return Err(Nfsstat3::Exist.into());
    }
    Ok(Create3resok {
        obj: Some(cx.handle(target)),
        obj_attributes: folder_attributes(target, cx).await?,
        dir_wcc: WccData::default(),
    })
}

/// REMOVE, §3.3.12. I/O in flight ends first; what comes later finds the handle stale.
pub async fn remove<E: Engine>(args: &Remove3args, cx: &Context<'_, E>) -> Remove3res {
    let term = cx.order()?;
    let folder = folder_of(&args.object.dir, cx)?;
    let id = match place(folder, args.object.name.bytes()) {
        Some(Place::Object(id)) => id,
        Some(Place::Folder(_)) => return Err(Nfsstat3::Isdir.into()),
        None => return Err(Nfsstat3::Noent.into()),
    };
    let object = cx.named(id).await?.ok_or(Nfsstat3::Noent)?;
    let _alone = object.gate.exclusive().await;
    if object.is_removed() {
        return Err(Nfsstat3::Noent.into());
    }
    let objects = Arc::clone(&cx.service.objects);
    let store = Arc::clone(&cx.service.folder);
    let removed = Arc::clone(&object);
    cx.blocking(move || {
        if !id.is_trial() && !store.admit_term(term)? {
            return Ok(None);
        }
        objects.remove(&removed).map(Some)
    })
    .await?
    .ok_or(TERM_OVER)?;
    Ok(WccData::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_lies_in_the_folders_of_its_id_and_nowhere_else() {
        let id = ObjectId([0xab; 16]);
        let name = id.to_string();
        let found = Some(Place::Object(id));
        assert_eq!(place(Target::Inner(0xab, 0xab), name.as_bytes()), found);
        assert_eq!(place(Target::Root, name.as_bytes()), found);
        assert_eq!(place(Target::Inner(0xab, 0xac), name.as_bytes()), None);
        assert_eq!(place(Target::Data, name.as_bytes()), None);
    }

    #[test]
    fn no_name_leads_out_of_the_tree() {
        let place = |name: &[u8]| place(Target::Root, name);
        assert_eq!(place(b".."), Some(Place::Folder(Target::Root)));
        assert_eq!(place(b"secret"), None);
        assert_eq!(place(b"data/../secret"), None);
        assert_eq!(place(b""), None);
    }
}
