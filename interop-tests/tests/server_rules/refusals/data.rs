//! Kinds of files, stateids, denies, types of layouts.

use anyhow::Result;
use bytes::Bytes;
use interop_tests::nfs41::{Client, OpenFile, name, owner_of_opens, putfh};
use wire::nfs4::*;

use super::{case, denying, others_than_files, refused};
use crate::world::World;

fn read(stateid: Stateid4) -> ArgOp {
    ArgOp::Read(Read4Args {
        stateid,
        offset: 0,
        count: 10,
    })
}

fn read_plus(stateid: Stateid4) -> ArgOp {
    ArgOp::ReadPlus(ReadPlus4Args {
        stateid,
        offset: 0,
        count: 10,
    })
}

fn seek(stateid: Stateid4) -> ArgOp {
    ArgOp::Seek(Seek4Args {
        stateid,
        offset: 0,
        what: DataContent4::Data,
    })
}

fn allocate(stateid: Stateid4) -> ArgOp {
    ArgOp::Allocate(Allocate4Args {
        stateid,
        offset: 0,
        length: 10,
    })
}

fn deallocate(stateid: Stateid4) -> ArgOp {
    ArgOp::Deallocate(Deallocate4Args {
        stateid,
        offset: 0,
        length: 10,
    })
}

fn write(stateid: Stateid4) -> ArgOp {
    ArgOp::Write(Write4Args {
        stateid,
        offset: 0,
        stable: StableHow4::FileSync,
        data: name("data"),
    })
}

fn truncate(stateid: Stateid4) -> ArgOp {
    let attributes = Attributes {
        size: Some(0),
        ..Attributes::default()
    };
    ArgOp::Setattr(Setattr4Args {
        stateid,
        obj_attributes: attributes.into(),
    })
}

fn lock(client: &Client, open_stateid: Stateid4) -> ArgOp {
    ArgOp::Lock(Lock4Args {
        locktype: LockType4::ReadLt,
        reclaim: false,
        offset: 0,
        length: 1,
        locker: Locker4::New(OpenToLockOwner4 {
            open_seqid: 0,
            open_stateid,
            lock_seqid: 0,
            lock_owner: owner_of_opens(client, "locker"),
        }),
    })
}

fn lock_more(lock_stateid: Stateid4) -> ArgOp {
    ArgOp::Lock(Lock4Args {
        locktype: LockType4::ReadLt,
        reclaim: false,
        offset: 0,
        length: 1,
        locker: Locker4::Existing(ExistLockOwner4 {
            lock_stateid,
            lock_seqid: 0,
        }),
    })
}

fn unlock(lock_stateid: Stateid4) -> ArgOp {
    ArgOp::Locku(Locku4Args {
        locktype: LockType4::ReadLt,
        seqid: 0,
        lock_stateid,
        offset: 0,
        length: 1,
    })
}

fn close(open_stateid: Stateid4) -> ArgOp {
    ArgOp::Close(Close4Args {
        seqid: 0,
        open_stateid,
    })
}

fn downgrade(open_stateid: Stateid4) -> ArgOp {
    ArgOp::OpenDowngrade(OpenDowngrade4Args {
        open_stateid,
        seqid: 0,
        share_access: OPEN4_SHARE_ACCESS_BOTH,
        share_deny: OPEN4_SHARE_DENY_NONE,
    })
}

fn layoutget(stateid: Stateid4) -> ArgOp {
    ArgOp::Layoutget(Layoutget4Args {
        signal_layout_avail: false,
        layout_type: LAYOUT4_FLEX_FILES,
        iomode: Layoutiomode4::Read,
        offset: 0,
        length: u64::MAX,
        minlength: 0,
        stateid,
        maxcount: 4096,
    })
}

fn layoutreturn(stateid: Stateid4) -> ArgOp {
    ArgOp::Layoutreturn(Layoutreturn4Args {
        reclaim: false,
        layout_type: LAYOUT4_FLEX_FILES,
        iomode: Layoutiomode4::Any,
        layoutreturn: Layoutreturn4::File(LayoutreturnFile4 {
            offset: 0,
            length: u64::MAX,
            stateid,
            body: Bytes::new(),
        }),
    })
}

#[tokio::test]
async fn every_operation_on_data_wants_a_regular_file() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let [folder, link, fifo] = others_than_files(&a, &root).await?;
    let by_handle = Open4Args {
        claim: OpenClaim4::Fh,
        ..a.open_args("", Openflag4::NoCreate)
    };
    let lockt = ArgOp::Lockt(Lockt4Args {
        locktype: LockType4::ReadLt,
        offset: 0,
        length: 1,
        owner: owner_of_opens(&a, "locker"),
    });
    let anonymous = Stateid4::ANONYMOUS;
    let mut cases = Vec::new();
    for (at, status) in [
        (&folder, Nfsstat4::Isdir),
        (&link, Nfsstat4::Symlink),
        (&fifo, Nfsstat4::WrongType),
    ] {
        for op in [
            read(anonymous),
            write(anonymous),
            ArgOp::Commit(Commit4Args {
                offset: 0,
                count: 0,
            }),
            lock(&a, anonymous),
            lockt.clone(),
            ArgOp::Open(by_handle.clone()),
        ] {
            cases.push(case(format!("{op:?}"), [putfh(at), op], status));
        }
        cases.push(case(
            "a layout",
            [putfh(at), layoutget(anonymous)],
            Nfsstat4::WrongType,
        ));
        if at != &link {
            cases.push(case(
                "a link's target",
                [putfh(at), ArgOp::Readlink],
                Nfsstat4::WrongType,
            ));
        }
    }
    refused(&a, cases).await?;
    world.ends_without_leak().await
}

/// Makes an operation with a stateid.
type Verb<'a> = Box<dyn Fn(Stateid4) -> ArgOp + 'a>;

/// The stateids that an operation is tried with, what each is, and the answer.
fn bad_stateids(good: Stateid4, others: Stateid4) -> Vec<(&'static str, Stateid4, Nfsstat4)> {
    let future = Stateid4 {
        seqid: good.seqid + 1,
        ..good
    };
    let forged = Stateid4 {
        seqid: 1,
        other: [0x5a; 12],
    };
    let odd = Stateid4 {
        seqid: 7,
        other: [0; 12],
    };
    vec![
        ("of the future", future, Nfsstat4::BadStateid),
        ("forged", forged, Nfsstat4::BadStateid),
        ("almost special", odd, Nfsstat4::BadStateid),
        ("never valid", Stateid4::INVALID, Nfsstat4::BadStateid),
        ("current, of none", Stateid4::CURRENT, Nfsstat4::BadStateid),
        ("of another client", others, Nfsstat4::BadStateid),
    ]
}

#[tokio::test]
async fn every_operation_judges_its_stateid() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let OpenFile {
        fh, stateid: old, ..
    } = a.open_create(&root, "f").await?;
    // The same owner again: the stateid has moved on.
    let open = a.open(&root, "f").await?.stateid;
    let mine = OpenFile {
        stateid: open,
        ..a.open(&root, "f").await?
    };
    let open = a.open(&root, "f").await?.stateid;
    let others = b.open(&root, "f").await?;
    let elsewhere = a.open_create(&root, "g").await?.stateid;
    let mine = OpenFile {
        stateid: open,
        ..mine
    };
    let old_lock = a.lock(&mine, "l", LockType4::ReadLt, (0, 10)).await?;
    let held = a.lock(&mine, "l", LockType4::ReadLt, (20, 10)).await?;
    let others_lock = b.lock(&others, "l", LockType4::ReadLt, (0, 10)).await?;
    let (granted, _) = a.layoutget(&fh, open, Layoutiomode4::Read).await?;
    let (others_granted, _) = b
        .layoutget(&fh, others.stateid, Layoutiomode4::Read)
        .await?;

    let mut cases = Vec::new();
    let of_opens: [(&str, Verb); 11] = [
        ("CLOSE", Box::new(close)),
        ("OPEN_DOWNGRADE", Box::new(downgrade)),
        ("LOCK", Box::new(|stateid| lock(&a, stateid))),
        ("READ", Box::new(read)),
        ("WRITE", Box::new(write)),
        ("SETATTR", Box::new(truncate)),
        ("LAYOUTGET", Box::new(layoutget)),
        ("READ_PLUS", Box::new(read_plus)),
        ("SEEK", Box::new(seek)),
        ("ALLOCATE", Box::new(allocate)),
        ("DEALLOCATE", Box::new(deallocate)),
    ];
    for (verb, op) in &of_opens {
        let mut bad = bad_stateids(open, others.stateid);
        bad.push(("superseded", old, Nfsstat4::OldStateid));
        bad.push(("of another file", elsewhere, Nfsstat4::BadStateid));
        for (what, stateid, status) in bad {
            cases.push(case(
                format!("{verb} {what}"),
                [putfh(&fh), op(stateid)],
                status,
            ));
        }
    }
    for (verb, op) in [
        ("LOCK", lock_more as fn(Stateid4) -> ArgOp),
        ("LOCKU", unlock),
    ] {
        let mut bad = bad_stateids(held, others_lock);
        bad.push(("superseded", old_lock, Nfsstat4::OldStateid));
        bad.push(("of an open", open, Nfsstat4::BadStateid));
        for (what, stateid, status) in bad {
            cases.push(case(
                format!("{verb} {what}"),
                [putfh(&fh), op(stateid)],
                status,
            ));
        }
    }
    let mut bad = bad_stateids(granted.stateid, others_granted.stateid);
    bad.push(("of an open", open, Nfsstat4::BadStateid));
    for (what, stateid, status) in bad {
        let ops = [putfh(&fh), layoutreturn(stateid)];
        cases.push(case(format!("LAYOUTRETURN {what}"), ops, status));
    }
    for (what, stateid, status) in bad_stateids(held, others_lock) {
        let free = ArgOp::FreeStateid(FreeStateid4Args { stateid });
        cases.push(case(format!("FREE_STATEID {what}"), [free], status));
    }
    refused(&a, cases).await?;
    drop(of_opens);
    world.ends_without_leak().await
}

#[tokio::test]
async fn data_is_refused_where_the_open_or_another_ones_deny_does_not_allow_it() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let root = a.root().await?;
    let access = OPEN4_SHARE_ACCESS_READ | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
    let denying = denying(&a, &root, access).await?;
    let fh = &denying.fh;
    let cases = vec![
        case(
            "a write",
            [putfh(fh), write(denying.stateid)],
            Nfsstat4::Openmode,
        ),
        case(
            "a truncate",
            [putfh(fh), truncate(denying.stateid)],
            Nfsstat4::Openmode,
        ),
    ];
    refused(&a, cases).await?;
    let anonymous = Stateid4::ANONYMOUS;
    let open = ArgOp::Open(b.open_args("f", Openflag4::NoCreate));
    let cases = vec![
        case("an open", [putfh(&root), open], Nfsstat4::ShareDenied),
        case("a read", [putfh(fh), read(anonymous)], Nfsstat4::Locked),
        case("a write", [putfh(fh), write(anonymous)], Nfsstat4::Locked),
        case(
            "a truncate",
            [putfh(fh), truncate(anonymous)],
            Nfsstat4::Locked,
        ),
    ];
    refused(&b, cases).await?;
    world.ends_without_leak().await
}

#[tokio::test]
async fn layouts_of_another_type_or_of_an_earlier_start_are_refused() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let file = a.open_create(&a.root().await?, "f").await?;
    let (granted, _) = a
        .layoutget(&file.fh, file.stateid, Layoutiomode4::Rw)
        .await?;
    let at = |op| vec![putfh(&file.fh), op];
    let commit = Layoutcommit4Args {
        offset: 0,
        length: u64::MAX,
        reclaim: false,
        stateid: granted.stateid,
        last_write_offset: Some(9),
        time_modify: None,
        layoutupdate: Layoutupdate4 {
            layout_type: LAYOUT4_FLEX_FILES,
            body: Bytes::new(),
        },
    };
    let (mut other_commit, mut past, mut reclaim) =
        (commit.clone(), commit.clone(), commit.clone());
    other_commit.layoutupdate.layout_type = 1;
    past.last_write_offset = Some(u64::MAX);
    reclaim.reclaim = true;
    let unheld = Layoutcommit4Args {
        stateid: file.stateid,
        ..commit
    };
    let ArgOp::Layoutreturn(give_back) = layoutreturn(granted.stateid) else {
        panic!("a return");
    };
    let (mut other_return, mut late_return) = (give_back.clone(), give_back);
    other_return.layout_type = 1;
    late_return.reclaim = true;
    let devices = Getdevicelist4Args {
        layout_type: 1,
        maxdevices: 10,
        cookie: 0,
        cookieverf: Verifier4::default(),
    };
    let device = Getdeviceinfo4Args {
        device_id: Deviceid4([0; 16]),
        layout_type: 1,
        maxcount: 4096,
        notify_types: Bitmap4::EMPTY,
    };
    let nothing = || IoInfo4 { count: 0, bytes: 0 };
    let statistics = Layoutstats4Args {
        offset: 0,
        length: u64::MAX,
        stateid: granted.stateid,
        read: nothing(),
        write: nothing(),
        deviceid: Deviceid4([0; 16]),
        layoutupdate: Layoutupdate4 {
            layout_type: 1,
            body: Bytes::new(),
        },
    };
    let unknown = Nfsstat4::UnknownLayouttype;
    refused(
        &a,
        vec![
            case(
                "a commit of another type",
                at(ArgOp::Layoutcommit(other_commit)),
                unknown,
            ),
            case(
                "a commit past the end",
                at(ArgOp::Layoutcommit(past)),
                Nfsstat4::Inval,
            ),
            case(
                "a commit after grace",
                at(ArgOp::Layoutcommit(reclaim)),
                Nfsstat4::NoGrace,
            ),
            case(
                "a commit of none",
                at(ArgOp::Layoutcommit(unheld)),
                Nfsstat4::Badlayout,
            ),
            case(
                "a return of another type",
                at(ArgOp::Layoutreturn(other_return)),
                unknown,
            ),
            case(
                "a return after grace",
                at(ArgOp::Layoutreturn(late_return)),
                Nfsstat4::NoGrace,
            ),
            case(
                "a device of another type",
                [ArgOp::Getdeviceinfo(device)],
                unknown,
            ),
            case(
                "statistics of another type",
                at(ArgOp::Layoutstats(statistics)),
                unknown,
            ),
            case(
                "devices of another type",
                at(ArgOp::Getdevicelist(devices)),
                unknown,
            ),
        ],
    )
    .await?;
    world.ends_without_leak().await
}
