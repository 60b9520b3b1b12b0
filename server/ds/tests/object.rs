//! The life of an object on a whole server, the same on both engines.

use ds::{EngineChoice, StatusClass};
use wire::Xdr;
use wire::nfs3::*;

mod world;
use world::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_from_create_to_remove() {
    for engine in engines() {
        let world = World::new(engine);
        let (mds, root) = (world.mds(), world.root().await);
        let created = mds
            .create(&root, &object_name(0xab), Createhow3::Guarded(owned()))
            .await
            .expect("the metadata server creates");
        let object = created.obj.expect("a handle");
        let attributes = created.obj_attributes.expect("attributes");
        assert_eq!((attributes.uid, attributes.gid), (OWNER, GROUP));
        assert_eq!((attributes.mode, attributes.size), (0o640, 0));

        let owner = world.owner(OWNER);
        let data = pattern(3_000_001, 1);
        let mut verifier = None;
        for at in (0..data.len()).step_by(1 << 20) {
            let piece = data.slice(at..data.len().min(at + (1 << 20)));
            let wrote = owner
                .write(&object, at as u64, StableHow::Unstable, piece.clone())
                .await
                .expect("the owner writes");
            assert_eq!(wrote.count as usize, piece.len());
            verifier = Some(wrote.verf);
        }
        let committed = owner.commit(&object, 0, 0).await.expect("a commit");
        assert_eq!(Some(committed.verf), verifier);

        let reader = world.reader();
        let mut got = Vec::new();
        loop {
            let read = reader
                .read(&object, got.len() as u64, 1 << 20)
                .await
                .expect("the group reads");
            got.extend_from_slice(&read.data);
            if read.eof {
                break;
            }
        }
        assert_eq!(got, data);

        let found = mds.lookup(&root, &object_name(0xab)).await.expect("found");
        assert_eq!(found.object, object);
        mds.remove(&root, &object_name(0xab))
            .await
            .expect("removed");
        assert_eq!(
            status(owner.read(&object, 0, 10).await),
            Some(Nfsstat3::Stale)
        );
        assert_eq!(
            status(mds.lookup(&root, &object_name(0xab)).await),
            Some(Nfsstat3::Noent)
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_cut_to_nothing_while_it_is_written_is_what_came_after() {
    const PIECE_BYTES: usize = 1 << 20;
    for engine in engines() {
        let mut world = World::new(engine);
        let (mds, owner) = (world.mds(), world.owner(OWNER));
        let piece = pattern(PIECE_BYTES, 9);
        let write = async |object: &Fh3, number: usize| {
            let offset = (number * PIECE_BYTES) as u64;
            let wrote = owner.write(object, offset, StableHow::Unstable, piece.clone());
            wrote.await.expect("the owner writes");
        };
        let mut object = Fh3::default();
        for round in 0..3 {
            object = world.object(round).await;
            for number in 0..16 {
                write(&object, number).await;
            }
            // One more comes beside the cut: it is cut off, or all that is left.
            let cut = mds.setattr(&object, size_is(0), None);
            let (wcc, ()) = tokio::join!(cut, write(&object, 16));
            let before = wcc.expect("the metadata server cuts").before;
            let before = before.expect("what it was").size as usize;
            assert!([16, 17].contains(&(before / PIECE_BYTES)), "{before}");
            let attributes = mds.getattr(&object).await.expect("it is there");
            let left = if before == 16 * PIECE_BYTES { 17 } else { 0 };
            assert_eq!(
                attributes.size as usize,
                left * PIECE_BYTES,
                "round {round}"
            );
            assert_eq!((attributes.uid, attributes.mode), (OWNER, 0o640));
        }
        let cut = Sattr3 {
            size: Some(0),
            ..owner_is(OWNER + 1)
        };
        // Of the last round but one piece is left: it is to be a large one again.
        for number in 0..16 {
            write(&object, number).await;
        }
        mds.setattr(&object, cut, None)
            .await
            .expect("fenced and cut");
        let late = owner.write(&object, 0, StableHow::FileSync, piece.clone());
        assert_eq!(status(late.await), Some(Nfsstat3::Acces));
        let next = world.owner(OWNER + 1);
        let anew = pattern(100, 5);
        let wrote = next.write(&object, 0, StableHow::FileSync, anew.clone());
        wrote.await.expect("the new owner writes");
        let running = world.running();
        until("all blocks are given back", || {
            running.metrics().cut_off_bytes == 0
        })
        .await;
        world.restart().await;
        let read = world.reader().read(&object, 0, 1000).await;
        let read = read.expect("the group reads");
        assert_eq!((read.data, read.eof), (anew, true));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_reached_step_by_step_like_on_any_nfs_server() {
    for engine in engines() {
        let world = World::new(engine);
        let (mds, mut folder) = (world.mds(), world.root().await);
        folder = mds
            .lookup(&folder, &name("data"))
            .await
            .expect("data")
            .object;
        assert_eq!(
            status(mds.lookup(&folder, &name("cd")).await),
            Some(Nfsstat3::Noent)
        );
        for step in ["cd", "cd"] {
            let made = mds.mkdir(&folder, &name(step), Sattr3::default()).await;
            let made = made.expect("the metadata server makes folders");
            assert_eq!(made.obj_attributes.expect("attributes").ftype, Ftype3::Dir);
            assert_eq!(
                status(mds.mkdir(&folder, &name(step), Sattr3::default()).await),
                Some(Nfsstat3::Exist)
            );
            folder = made.obj.expect("a handle");
        }
        let object = mds
            .create(&folder, &object_name(0xcd), Createhow3::Guarded(owned()))
            .await
            .expect("created")
            .obj
            .expect("a handle");
        let root = world.root().await;
        let by_id = mds.lookup(&root, &object_name(0xcd)).await.expect("found");
        assert_eq!(by_id.object, object);
        assert_eq!(
            status(
                mds.create(&folder, &object_name(0xce), Createhow3::Guarded(owned()))
                    .await
            ),
            Some(Nfsstat3::Inval)
        );
        let listed = mds
            .readdirplus(&folder, 0, [0; 8], 8192, 32768)
            .await
            .expect("the metadata server lists");
        assert!(listed.reply.eof);
        assert_eq!(listed.reply.entries.len(), 1);
        assert_eq!(listed.reply.entries[0].name_handle, Some(object));
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_listed_whole_over_many_replies() {
    let world = World::new(EngineChoice::Auto);
    let (mds, root) = (world.mds(), world.root().await);
    let mut expected = Vec::new();
    for number in 0..40_u8 {
        let id = format!("00000000000102{number:02x}") + &"00".repeat(8);
        mds.create(&root, &name(&id), Createhow3::Guarded(owned()))
            .await
            .expect("created");
        expected.push(id);
    }
    let mut folder = root;
    for step in ["data", "01", "02"] {
        folder = mds
            .lookup(&folder, &name(step))
            .await
            .expect("found")
            .object;
    }
    let (mut cookie, mut names) = (0, Vec::new());
    loop {
        let page = mds
            .readdir(&folder, cookie, [0; 8], 512)
            .await
            .expect("a page");
        for entry in &page.reply.entries {
            cookie = entry.cookie;
            names.push(String::from_utf8(entry.name.bytes().to_vec()).expect("hex digits"));
        }
        if page.reply.eof {
            break;
        }
        assert!(!page.reply.entries.is_empty());
    }
    names.sort();
    assert_eq!(names, expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_is_told_from_its_retry_and_from_another_s() {
    let world = World::new(EngineChoice::Auto);
    let (mds, root) = (world.mds(), world.root().await);
    let wanted = object_name(7);
    let create = |how| mds.create(&root, &wanted, how);
    create(Createhow3::Exclusive([1; 8])).await.expect("first");
    create(Createhow3::Exclusive([1; 8]))
        .await
        .expect("its retry");
    assert_eq!(
        status(create(Createhow3::Exclusive([2; 8])).await),
        Some(Nfsstat3::Exist)
    );
    assert_eq!(
        status(create(Createhow3::Guarded(owned())).await),
        Some(Nfsstat3::Exist)
    );
    let grown = create(Createhow3::Unchecked(size_is(10)))
        .await
        .expect("it is there");
    assert_eq!(grown.obj_attributes.expect("attributes").size, 10);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sparse_object_reads_zeros_up_to_its_exact_end() {
    for engine in engines() {
        let world = World::new(engine);
        let (object, owner) = (world.object(1).await, world.owner(OWNER));
        let far = 5 << 30;
        owner
            .write(&object, far, StableHow::FileSync, pattern(5, 1))
            .await
            .expect("a write past 4 GiB");
        let hole = owner.read(&object, 1 << 30, 4096).await.expect("a hole");
        assert!(!hole.eof && hole.data.iter().all(|byte| *byte == 0));
        let end = owner.read(&object, far, 4096).await.expect("the end");
        assert_eq!((end.data, end.eof), (pattern(5, 1), true));
        let exact = owner.read(&object, far, 5).await.expect("up to the end");
        assert!(exact.eof && exact.data.len() == 5);
        let before = owner.read(&object, far, 4).await.expect("before the end");
        assert!(!before.eof && before.data.len() == 4);
        let beyond = owner.read(&object, far + 100, 4096).await.expect("beyond");
        assert!(beyond.eof && beyond.data.is_empty());
        let highest = owner
            .read(&object, u64::MAX, 4096)
            .await
            .expect("far beyond");
        assert!(highest.eof && highest.data.is_empty());
        world
            .mds()
            .setattr(&object, size_is(100), None)
            .await
            .expect("cut");
        let cut = owner.read(&object, 0, 4096).await.expect("what is left");
        assert!(cut.eof && cut.data.len() == 100);
        assert_eq!(
            status(
                owner
                    .write(&object, u64::MAX - 2, StableHow::Unstable, pattern(9, 1))
                    .await
            ),
            Some(Nfsstat3::Fbig)
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_what_its_layout_says_and_nothing_else() {
    for engine in engines() {
        let world = World::new(engine);
        let object = world.object(1).await;
        let (owner, reader) = (world.owner(OWNER), world.reader());
        let (root_client, other) = (
            world.caller(nfs_client::Caller::none()),
            world.caller(nfs_client::Caller::sys("x", STRANGER, STRANGER, &[])),
        );
        let all = ACCESS3_READ | ACCESS3_MODIFY | ACCESS3_EXTEND;
        for (client, reads, writes) in [
            (&owner, true, true),
            (&reader, true, false),
            (&other, false, false),
            (&root_client, false, false),
        ] {
            let refusal = |allowed: bool| (!allowed).then_some(Nfsstat3::Acces);
            let read = client.read(&object, 0, 10).await;
            assert_eq!(read.err().and_then(|e| e.status()), refusal(reads));
            let write = client
                .write(&object, 0, StableHow::Unstable, pattern(10, 1))
                .await;
            assert_eq!(write.err().and_then(|e| e.status()), refusal(writes));
            let commit = client.commit(&object, 0, 0).await;
            assert_eq!(commit.err().and_then(|e| e.status()), refusal(writes));
            let granted = client.access(&object, all).await.expect("an answer").access;
            assert_eq!(granted & ACCESS3_READ != 0, reads);
            assert_eq!(granted & ACCESS3_MODIFY != 0, writes);
            assert_eq!(
                status(client.setattr(&object, owner_is(1), None).await),
                Some(Nfsstat3::Acces)
            );
        }
        let root = world.root().await;
        assert_eq!(
            status(owner.lookup(&root, &object_name(1)).await),
            Some(Nfsstat3::Acces)
        );
        assert_eq!(
            status(owner.remove(&root, &object_name(1)).await),
            Some(Nfsstat3::Acces)
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn root_from_elsewhere_is_nobody() {
    let world = World::with(EngineChoice::Auto, |config| config.mds = Vec::new());
    let squashed = world.mds();
    let forged = Fh3::new(vec![1; 44]).expect("44 bytes");
    assert_eq!(
        status(squashed.getattr(&forged).await),
        Some(Nfsstat3::Badhandle)
    );
    let address = world.running().addresses()[0];
    let mounted = nfs_client::mount::mnt(
        address.ip(),
        Some(address.port()),
        "/headrace",
        &nfs_client::Caller::root("headrace-mds/1"),
        &nfs_client::Options {
            source_port: nfs_client::SourcePort::Any,
            ..nfs_client::Options::default()
        },
    )
    .await;
    assert!(mounted.is_err());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_handles_and_owners_and_changes_the_verifier() {
    for engine in engines() {
        let mut world = World::new(engine);
        let object = world.object(1).await;
        let before = world
            .owner(OWNER)
            .write(&object, 0, StableHow::Unstable, pattern(10, 1))
            .await
            .expect("a write");
        world
            .mds()
            .setattr(&object, owner_is(NEXT_OWNER), None)
            .await
            .expect("fenced");
        world.restart().await;
        let fenced = world.owner(OWNER);
        assert_eq!(
            status(
                fenced
                    .write(&object, 0, StableHow::Unstable, pattern(1, 1))
                    .await
            ),
            Some(Nfsstat3::Acces)
        );
        let owner = world.owner(NEXT_OWNER);
        let read = owner.read(&object, 0, 10).await.expect("the same handle");
        assert_eq!(read.data, pattern(10, 1));
        let after = owner.commit(&object, 0, 0).await.expect("a commit");
        assert_ne!(after.verf, before.verf);
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_never_opens_a_later_object_of_its_id() {
    let world = World::new(EngineChoice::Auto);
    let first = world.object(1).await;
    let root = world.root().await;
    world
        .mds()
        .remove(&root, &object_name(1))
        .await
        .expect("removed");
    let second = world.object(1).await;
    assert_ne!(first, second);
    let owner = world.owner(OWNER);
    assert_eq!(
        status(owner.read(&first, 0, 1).await),
        Some(Nfsstat3::Stale)
    );
    owner
        .read(&second, 0, 1)
        .await
        .expect("the new object is read");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_handle_is_no_handle() {
    let world = World::new(EngineChoice::Auto);
    let object = world.object(1).await;
    let owner = world.owner(OWNER);
    for at in 0..object.bytes().len() {
        let mut forged = object.bytes().to_vec();
        forged[at] ^= 1;
        let forged = Fh3::new(forged).expect("as long as a handle");
        assert_eq!(
            status(owner.read(&forged, 0, 1).await),
            Some(Nfsstat3::Badhandle)
        );
    }
    let empty = Fh3::new(Vec::new()).expect("an empty handle");
    assert_eq!(
        status(owner.getattr(&empty).await),
        Some(Nfsstat3::Badhandle)
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_what_grows_and_takes_what_overwrites() {
    for engine in engines() {
        let world = World::with(engine, |config| config.capacity_bytes = Some(256 << 10));
        let (object, owner) = (world.object(1).await, world.owner(OWNER));
        let write =
            |at: u64, length| owner.write(&object, at, StableHow::FileSync, pattern(length, 1));
        write(0, 128 << 10).await.expect("there is room");
        assert_eq!(
            status(write(128 << 10, 256 << 10).await),
            Some(Nfsstat3::Nospc)
        );
        write(0, 64 << 10).await.expect("it needs no room");
        let room = world
            .mds()
            .fsstat(&world.root().await)
            .await
            .expect("an answer");
        assert_eq!(room.tbytes, 256 << 10);
        assert!(room.abytes <= 128 << 10);
        world
            .mds()
            .setattr(&object, size_is(0), None)
            .await
            .expect("cut");
        write(0, 200 << 10).await.expect("there is room again");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_objects_than_may_be_open_are_all_served() {
    let world = World::with(EngineChoice::Auto, |config| config.open_objects = 16);
    let owner = world.owner(OWNER);
    let mut objects = Vec::new();
    for number in 0..100 {
        let object = world.object(number).await;
        owner
            .write(&object, 0, StableHow::Unstable, pattern(100, number))
            .await
            .expect("a write");
        objects.push(object);
    }
    for (number, object) in objects.iter().enumerate() {
        let read = owner.read(object, 0, 100).await.expect("a read");
        assert_eq!(read.data, pattern(100, number as u8));
    }
    assert!(world.running().metrics().open_objects <= 32);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_is_counted() {
    let world = World::new(EngineChoice::Auto);
    let (object, owner) = (world.object(1).await, world.owner(OWNER));
    owner
        .write(&object, 0, StableHow::Unstable, pattern(1000, 1))
        .await
        .expect("a write");
    owner.read(&object, 0, 600).await.expect("a read");
    assert!(
        world
            .reader()
            .write(&object, 0, StableHow::Unstable, pattern(9, 1))
            .await
            .is_err()
    );
    world
        .mds()
        .setattr(&object, owner_is(NEXT_OWNER), None)
        .await
        .expect("fenced");
    let metrics = world.running().metrics();
    assert_eq!((metrics.written_bytes, metrics.read_bytes), (1000, 600));
    assert_eq!((metrics.fences, metrics.mds_term), (1, 1));
    let writes = &metrics.procedures[Procedure::Write as usize];
    assert!(writes.by_class.contains(&(StatusClass::Ok, 1)));
    assert!(writes.by_class.contains(&(StatusClass::Refused, 1)));
    assert_eq!(writes.calls(), 2);
    assert!(metrics.connections > 0 && metrics.free_bytes > 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsinfo_tells_what_is_taken_at_once() {
    let world = World::new(EngineChoice::Auto);
    let info = world
        .mds()
        .fsinfo(&world.root().await)
        .await
        .expect("an answer");
    assert_eq!((info.rtmax, info.wtmax), (1 << 20, 1 << 20));
    world
        .mds()
        .pathconf(&world.root().await)
        .await
        .expect("an answer");
    world.mds().null().await.expect("an answer");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fact_14_an_address_and_a_filehandle_are_all_that_a_client_needs() {
    for engine in engines() {
        let world = World::new(engine);
        let object = world.object(1).await;
        // A client that never mounted and asks no portmapper: NULL first, then I/O.
        let client = world.owner(OWNER);
        client.null().await.expect("NULL comes first");
        client
            .write(&object, 0, StableHow::FileSync, pattern(100, 1))
            .await
            .expect("it writes at once");
        let read = world.reader().read(&object, 0, 100).await;
        assert_eq!(read.expect("another reads").data, pattern(100, 1));
        world.stop().await;
    }
}

/// What `procedure` with these arguments is answered.
async fn refusal<F: Xdr + std::fmt::Debug>(
    client: &nfs_client::Client,
    procedure: Procedure,
    args: &impl Xdr,
) -> Option<Nfsstat3> {
    let outcome: Outcome<(), F> = client
        .call(procedure, args, nfs_client::Resend::Idempotent)
        .await
        .expect("an answer");
    outcome.err().map(|failed| failed.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_layout_and_no_metadata_server_needs_is_notsupp() {
    let world = World::new(EngineChoice::Auto);
    let (mds, root, object) = (world.mds(), world.root().await, world.object(1).await);
    let at = |text| Diropargs3 {
        dir: root.clone(),
        name: name(text),
    };
    let notsupp = Some(Nfsstat3::Notsupp);
    let symlink = Symlink3args {
        target: at("s"),
        attributes: Sattr3::default(),
        data: Nfspath3::new(b"elsewhere".to_vec()).expect("a short path"),
    };
    let mknod = Mknod3args {
        target: at("n"),
        what: Mknoddata3::Fifo(Sattr3::default()),
    };
    let link = Link3args {
        file: object.clone(),
        link: at("l"),
    };
    let rename = Rename3args {
        from: at("a"),
        to: at("b"),
    };
    let rmdir = Remove3args { object: at("d") };
    let readlink = Readlink3args { symlink: object };
    assert_eq!(
        refusal::<PostOpAttr>(&mds, Procedure::Readlink, &readlink).await,
        notsupp
    );
    assert_eq!(
        refusal::<WccData>(&mds, Procedure::Symlink, &symlink).await,
        notsupp
    );
    assert_eq!(
        refusal::<WccData>(&mds, Procedure::Mknod, &mknod).await,
        notsupp
    );
    assert_eq!(
        refusal::<WccData>(&mds, Procedure::Rmdir, &rmdir).await,
        notsupp
    );
    assert_eq!(
        refusal::<RenameWcc>(&mds, Procedure::Rename, &rename).await,
        notsupp
    );
    assert_eq!(
        refusal::<LinkWcc>(&mds, Procedure::Link, &link).await,
        notsupp
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unstable_write_waits_for_no_disk_and_a_commit_does() {
    for engine in engines() {
        let world = World::new(engine);
        let (object, owner) = (world.object(1).await, world.owner(OWNER));
        let syncs = || world.running().metrics().syncs;
        let before = syncs();
        let write = async |at, how| {
            owner
                .write(&object, at, how, pattern(5000, 1))
                .await
                .expect("a write")
        };
        for at in 0..4 {
            let wrote = write(at * 5000, StableHow::Unstable).await;
            assert_eq!(wrote.committed, StableHow::Unstable);
        }
        assert_eq!(syncs(), before, "an unstable write was synced");
        owner.commit(&object, 0, 0).await.expect("a commit");
        assert_eq!(syncs(), before + 1);
        for how in [StableHow::DataSync, StableHow::FileSync] {
            let already = syncs();
            assert_eq!(write(0, how).await.committed, how);
            assert_eq!(syncs(), already + 1);
        }
        world.stop().await;
    }
}
