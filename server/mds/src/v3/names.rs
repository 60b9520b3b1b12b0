//! Procedures on names: LOOKUP, READLINK, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK: RFC 1813
//! §3.3.3, §3.3.5, §3.3.8 to §3.3.15.

use super::attributes::{set, settings};
use super::call::{Call, ask};
use super::status::{self, in_folder};
use crate::compound::File;
use crate::ops::legacy;
use bytes::Bytes;
use catalog::RemoveWhat;
use wire::nfs3::*;
use wire::nfs4::{
    Create4Args, Createhow4, Createtype4, Link4Args, Lookup4Args, Nfsstat4, Rename4Args, Specdata4,
    Verifier4,
};

/// LOOKUP, §3.3.3.
pub(super) async fn lookup(args: Lookup3args, call: &mut Call<'_>) -> Lookup3res {
    let folder = call.put(&args.what.dir).await?;
    let found = find(args.what.name.into_bytes(), call).await;
    let found = match found {
        Ok(file) => file,
        Err(status) => {
            // By the folder's times a client keeps what it knows not to be there.
            let about = call.after(&folder).await;
            return Err(Failed { status, about });
        }
    };
    // Such a file can't be called anything here.
    let object = call.handle(&found).ok_or(Nfsstat3::Remote)?;
    Ok(Lookup3resok {
        object,
        obj_attributes: call.after(&found).await,
        dir_attributes: call.after(&folder).await,
    })
}

/// What `name` names in the current folder. NFSv4 has no names for a folder itself and the one above it.
pub(super) async fn find(name: Bytes, call: &mut Call<'_>) -> Result<File, Nfsstat3> {
    match &name[..] {
        b"." | b".." => {
            let folder = call.here()?;
            call.in_folder().await?;
            if &name[..] == b"." {
                return Ok(folder);
            }
            match ask!(call, Lookupp) {
                // Above the root there is nothing but the root.
                Err(Nfsstat4::Noent) => Ok(folder),
                above => above.map_err(in_folder).and_then(|()| call.here()),
            }
        }
        _ => {
            let args = Lookup4Args { objname: name };
            ask!(call, Lookup(args)).map_err(in_folder)?;
            call.here()
        }
    }
}

/// READLINK, §3.3.5.
pub(super) async fn readlink(args: Readlink3args, call: &mut Call<'_>) -> Readlink3res {
    let file = call.put(&args.symlink).await?;
    let read = ask!(call, Readlink).map_err(status::of)?;
    Ok(Readlink3resok {
        data: Nfspath3::new(read.link).ok_or(Nfsstat3::Nametoolong)?,
        symlink_attributes: call.after(&file).await,
    })
}

/// CREATE, §3.3.8.
pub(super) async fn create(args: Create3args, call: &mut Call<'_>) -> Create3res {
    let folder = call.put(&args.target.dir).await?;
    let before = call.before().await;
    let how = match &args.how {
        Createhow3::Unchecked(wanted) => Createhow4::Unchecked(settings(wanted)),
        Createhow3::Guarded(wanted) => Createhow4::Guarded(settings(wanted)),
        Createhow3::Exclusive(verifier) => Createhow4::Exclusive(Verifier4(*verifier)),
    };
    let name = args.target.name.into_bytes();
    let made = legacy::make_file(name, how, &mut call.cx).await;
    let made = made.map_err(in_folder)?;
    // Of what was there NFSv4 changes no size but to 0.
    if let (false, Createhow3::Unchecked(wanted)) = (made.created, args.how)
        && let Some(1..) = wanted.size
    {
        let size = Sattr3 {
            size: wanted.size,
            ..Sattr3::default()
        };
        set(&size, call).await.map_err(status::of)?;
    }
    Ok(Create3resok {
        obj: call.handle(&made.file),
        obj_attributes: call.after(&made.file).await,
        dir_wcc: call.wcc(&folder, before, &made.cinfo).await,
    })
}

/// Anything but a file, by NFSv4's CREATE.
async fn make(
    target: Diropargs3,
    objtype: Createtype4,
    wanted: Sattr3,
    call: &mut Call<'_>,
) -> Create3res {
    let folder = call.put(&target.dir).await?;
    let before = call.before().await;
    let args = Create4Args {
        objtype,
        objname: target.name.into_bytes(),
        // It says nothing of what is made so, and some clients send one.
        createattrs: settings(&Sattr3 {
            size: None,
            ..wanted
        }),
    };
    let made = ask!(call, Create(args)).map_err(in_folder)?;
    let file = call.here()?;
    Ok(Create3resok {
        obj: call.handle(&file),
        obj_attributes: call.after(&file).await,
        dir_wcc: call.wcc(&folder, before, &made.cinfo).await,
    })
}

/// MKDIR, §3.3.9.
pub(super) async fn mkdir(args: Mkdir3args, call: &mut Call<'_>) -> Mkdir3res {
    make(args.target, Createtype4::Dir, args.attributes, call).await
}

/// SYMLINK, §3.3.10.
pub(super) async fn symlink(args: Symlink3args, call: &mut Call<'_>) -> Symlink3res {
    let link = Createtype4::Lnk(args.data.into_bytes());
    make(args.target, link, args.attributes, call).await
}

/// MKNOD, §3.3.11.
pub(super) async fn mknod(args: Mknod3args, call: &mut Call<'_>) -> Mknod3res {
    let device = |device: Specdata3| Specdata4 {
        specdata1: device.major,
        specdata2: device.minor,
    };
    let (objtype, wanted) = match args.what {
        Mknoddata3::Chr(wanted, number) => (Createtype4::Chr(device(number)), wanted),
        Mknoddata3::Blk(wanted, number) => (Createtype4::Blk(device(number)), wanted),
        Mknoddata3::Sock(wanted) => (Createtype4::Sock, wanted),
        Mknoddata3::Fifo(wanted) => (Createtype4::Fifo, wanted),
        Mknoddata3::Other(_) => return Err(Nfsstat3::Badtype.into()),
    };
    make(args.target, objtype, wanted, call).await
}

/// REMOVE, §3.3.12.
pub(super) async fn remove(args: Remove3args, call: &mut Call<'_>) -> Remove3res {
    take_away(args.object, RemoveWhat::NotDirectory, call).await
}

/// RMDIR, §3.3.13.
pub(super) async fn rmdir(args: Rmdir3args, call: &mut Call<'_>) -> Rmdir3res {
    take_away(args.object, RemoveWhat::Directory, call).await
}

async fn take_away(object: Diropargs3, what: RemoveWhat, call: &mut Call<'_>) -> Remove3res {
    let folder = call.put(&object.dir).await?;
    let before = call.before().await;
    let name = object.name.into_bytes();
    let removed = legacy::take_away(name, what, &mut call.cx).await;
    let removed = removed.map_err(in_folder)?;
    Ok(call.wcc(&folder, before, &removed.cinfo).await)
}

/// RENAME, §3.3.14.
pub(super) async fn rename(args: Rename3args, call: &mut Call<'_>) -> Rename3res {
    let source = call.put(&args.from.dir).await?;
    let source_before = call.before().await;
    ask!(call, Savefh).map_err(status::of)?;
    let target = call.put(&args.to.dir).await?;
    let target_before = call.before().await;
    let names = Rename4Args {
        oldname: args.from.name.into_bytes(),
        newname: args.to.name.into_bytes(),
    };
    let renamed = ask!(call, Rename(names)).map_err(in_folder)?;
    Ok(RenameWcc {
        fromdir_wcc: call
            .wcc(&source, source_before, &renamed.source_cinfo)
            .await,
        todir_wcc: call
            .wcc(&target, target_before, &renamed.target_cinfo)
            .await,
    })
}

/// LINK, §3.3.15.
pub(super) async fn link(args: Link3args, call: &mut Call<'_>) -> Link3res {
    let file = call.put(&args.file).await?;
    ask!(call, Savefh).map_err(status::of)?;
    let folder = call.put(&args.link.dir).await?;
    let before = call.before().await;
    let name = Link4Args {
        newname: args.link.name.into_bytes(),
    };
    let linked = ask!(call, Link(name)).map_err(in_folder)?;
    Ok(LinkWcc {
        file_attributes: call.after(&file).await,
        linkdir_wcc: call.wcc(&folder, before, &linked.cinfo).await,
    })
}
