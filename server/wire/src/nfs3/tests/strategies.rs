//! Arbitrary values of NFSv3's types. Never here: what is asked of them.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use crate::xdr::BY_REFERENCE_BYTES;

fn bytes(limit: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=limit).prop_map(Bytes::from)
}

pub fn fh() -> impl Strategy<Value = Fh3> {
    bytes(Fh3::LIMIT_BYTES).prop_map(|bytes| Fh3::new(bytes).unwrap())
}

pub fn name() -> impl Strategy<Value = Filename3> {
    bytes(20).prop_map(|bytes| Filename3::new(bytes).unwrap())
}

pub fn path() -> impl Strategy<Value = Nfspath3> {
    bytes(40).prop_map(|bytes| Nfspath3::new(bytes).unwrap())
}

/// Below and above the size from which payloads are kept by reference.
pub fn data() -> impl Strategy<Value = Bytes> {
    prop_oneof![bytes(20), bytes(BY_REFERENCE_BYTES + 20)]
}

pub fn dirop() -> impl Strategy<Value = Diropargs3> {
    (fh(), name()).prop_map(|(dir, name)| Diropargs3 { dir, name })
}

pub fn time() -> impl Strategy<Value = Nfstime3> {
    any::<(u32, u32)>().prop_map(|(seconds, nseconds)| Nfstime3 { seconds, nseconds })
}

fn device() -> impl Strategy<Value = Specdata3> {
    any::<(u32, u32)>().prop_map(|(major, minor)| Specdata3 { major, minor })
}

pub fn stable() -> impl Strategy<Value = StableHow> {
    select(vec![
        StableHow::Unstable,
        StableHow::DataSync,
        StableHow::FileSync,
    ])
}

fn status() -> impl Strategy<Value = Nfsstat3> {
    select(
        (0..10_009_u32)
            .filter_map(Nfsstat3::from_u32)
            .collect::<Vec<_>>(),
    )
}

pub fn fattr() -> BoxedStrategy<Fattr3> {
    let ftype = (1..=7_u32).prop_map(|ftype| Ftype3::from_u32(ftype).unwrap());
    (
        ftype,
        any::<[u32; 4]>(),
        any::<[u64; 4]>(),
        device(),
        [time(), time(), time()],
    )
        .prop_map(
            |(ftype, [mode, nlink, uid, gid], [size, used, fsid, fileid], rdev, times)| {
                let [atime, mtime, ctime] = times;
                Fattr3 {
                    ftype,
                    mode,
                    nlink,
                    uid,
                    gid,
                    size,
                    used,
                    rdev,
                    fsid,
                    fileid,
                    atime,
                    mtime,
                    ctime,
                }
            },
        )
        .boxed()
}

pub fn post_op() -> BoxedStrategy<PostOpAttr> {
    of(fattr()).boxed()
}

pub fn wcc() -> BoxedStrategy<WccData> {
    let before = (any::<u64>(), time(), time()).prop_map(|(size, mtime, ctime)| WccAttr {
        size,
        mtime,
        ctime,
    });
    (of(before), post_op())
        .prop_map(|(before, after)| WccData { before, after })
        .boxed()
}

fn set_time() -> BoxedStrategy<SetTime> {
    prop_oneof![
        Just(SetTime::DontChange),
        Just(SetTime::ToServerTime),
        time().prop_map(SetTime::ToClientTime),
    ]
    .boxed()
}

pub fn sattr() -> BoxedStrategy<Sattr3> {
    let numbers = any::<(Option<u32>, Option<u32>, Option<u32>, Option<u64>)>();
    (numbers, set_time(), set_time())
        .prop_map(|((mode, uid, gid, size), atime, mtime)| Sattr3 {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        })
        .boxed()
}

/// NFS3_OK, or any of the refusals.
pub fn outcome<T: std::fmt::Debug, F: std::fmt::Debug>(
    ok: impl Strategy<Value = T>,
    about: impl Strategy<Value = F>,
) -> impl Strategy<Value = Outcome<T, F>> {
    prop_oneof![
        ok.prop_map(Ok),
        (status(), about).prop_map(|(status, about)| Err(Failed { status, about })),
    ]
}

pub fn access_ok() -> impl Strategy<Value = Access3resok> {
    (post_op(), any::<u32>()).prop_map(|(obj_attributes, access)| Access3resok {
        obj_attributes,
        access,
    })
}

pub fn fsstat_ok() -> impl Strategy<Value = Fsstat3resok> {
    (post_op(), any::<[u64; 6]>(), any::<u32>()).prop_map(|(obj_attributes, numbers, invarsec)| {
        let [tbytes, fbytes, abytes, tfiles, ffiles, afiles] = numbers;
        Fsstat3resok {
            obj_attributes,
            tbytes,
            fbytes,
            abytes,
            tfiles,
            ffiles,
            afiles,
            invarsec,
        }
    })
}

pub fn fsinfo_ok() -> impl Strategy<Value = Fsinfo3resok> {
    (post_op(), any::<[u32; 8]>(), any::<u64>(), time()).prop_map(
        |(obj_attributes, numbers, maxfilesize, time_delta)| {
            let [
                rtmax,
                rtpref,
                rtmult,
                wtmax,
                wtpref,
                wtmult,
                dtpref,
                properties,
            ] = numbers;
            Fsinfo3resok {
                obj_attributes,
                rtmax,
                rtpref,
                rtmult,
                wtmax,
                wtpref,
                wtmult,
                dtpref,
                maxfilesize,
                time_delta,
                properties,
            }
        },
    )
}

pub fn pathconf_ok() -> impl Strategy<Value = Pathconf3resok> {
    (post_op(), any::<[u32; 2]>(), any::<[bool; 4]>()).prop_map(
        |(obj_attributes, [linkmax, name_max], flags)| {
            let [
                no_trunc,
                chown_restricted,
                case_insensitive,
                case_preserving,
            ] = flags;
            Pathconf3resok {
                obj_attributes,
                linkmax,
                name_max,
                no_trunc,
                chown_restricted,
                case_insensitive,
                case_preserving,
            }
        },
    )
}

pub fn read_ok() -> impl Strategy<Value = Read3resok> {
    (post_op(), any::<bool>(), data()).prop_map(|(file_attributes, eof, data)| Read3resok {
        file_attributes,
        eof,
        data,
    })
}

pub fn write_ok() -> impl Strategy<Value = Write3resok> {
    (wcc(), any::<u32>(), stable(), any::<Writeverf3>()).prop_map(
        |(file_wcc, count, committed, verf)| Write3resok {
            file_wcc,
            count,
            committed,
            verf,
        },
    )
}

pub fn commit_ok() -> impl Strategy<Value = Commit3resok> {
    (wcc(), any::<Writeverf3>()).prop_map(|(file_wcc, verf)| Commit3resok { file_wcc, verf })
}

pub fn createhow() -> BoxedStrategy<Createhow3> {
    prop_oneof![
        sattr().prop_map(Createhow3::Unchecked),
        sattr().prop_map(Createhow3::Guarded),
        any::<Createverf3>().prop_map(Createhow3::Exclusive),
    ]
    .boxed()
}

pub fn mknoddata() -> BoxedStrategy<Mknoddata3> {
    prop_oneof![
        (sattr(), device()).prop_map(|(attributes, device)| Mknoddata3::Chr(attributes, device)),
        (sattr(), device()).prop_map(|(attributes, device)| Mknoddata3::Blk(attributes, device)),
        sattr().prop_map(Mknoddata3::Sock),
        sattr().prop_map(Mknoddata3::Fifo),
        select(vec![NotMknod::Reg, NotMknod::Dir, NotMknod::Lnk]).prop_map(Mknoddata3::Other),
    ]
    .boxed()
}

pub fn lookup_ok() -> impl Strategy<Value = Lookup3resok> {
    (fh(), post_op(), post_op()).prop_map(|(object, obj_attributes, dir_attributes)| Lookup3resok {
        object,
        obj_attributes,
        dir_attributes,
    })
}

pub fn readlink_ok() -> impl Strategy<Value = Readlink3resok> {
    (post_op(), path()).prop_map(|(symlink_attributes, data)| Readlink3resok {
        symlink_attributes,
        data,
    })
}

pub fn create_ok() -> impl Strategy<Value = Create3resok> {
    (of(fh()), post_op(), wcc()).prop_map(|(obj, obj_attributes, dir_wcc)| Create3resok {
        obj,
        obj_attributes,
        dir_wcc,
    })
}

pub fn rename_wcc() -> impl Strategy<Value = RenameWcc> {
    (wcc(), wcc()).prop_map(|(fromdir_wcc, todir_wcc)| RenameWcc {
        fromdir_wcc,
        todir_wcc,
    })
}

pub fn link_wcc() -> impl Strategy<Value = LinkWcc> {
    (post_op(), wcc()).prop_map(|(file_attributes, linkdir_wcc)| LinkWcc {
        file_attributes,
        linkdir_wcc,
    })
}

pub fn readdir_ok() -> impl Strategy<Value = Readdir3resok> {
    let entry = (any::<u64>(), name(), any::<u64>()).prop_map(|(fileid, name, cookie)| Entry3 {
        fileid,
        name,
        cookie,
    });
    (
        post_op(),
        any::<Cookieverf3>(),
        vec(entry, 0..5),
        any::<bool>(),
    )
        .prop_map(|(dir_attributes, cookieverf, entries, eof)| Readdir3resok {
            dir_attributes,
            cookieverf,
            reply: Dirlist { entries, eof },
        })
}

pub fn readdirplus_ok() -> impl Strategy<Value = Readdirplus3resok> {
    let entry = (any::<u64>(), name(), any::<u64>(), post_op(), of(fh())).prop_map(
        |(fileid, name, cookie, name_attributes, name_handle)| Entryplus3 {
            fileid,
            name,
            cookie,
            name_attributes,
            name_handle,
        },
    );
    (
        post_op(),
        any::<Cookieverf3>(),
        vec(entry, 0..5),
        any::<bool>(),
    )
        .prop_map(
            |(dir_attributes, cookieverf, entries, eof)| Readdirplus3resok {
                dir_attributes,
                cookieverf,
                reply: Dirlist { entries, eof },
            },
        )
}
