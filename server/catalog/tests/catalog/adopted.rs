//! A filer's tree on its way into the catalog: page by page, over crashes, with all its names.

use crate::world::*;
use bytes::Bytes;
use catalog::store::MemoryStore;
use catalog::{
    Catalog, DataServerRecord, DataStamp, DeadObject, Error, FileKind, FoundName, FoundNode,
    InodeId, RemoveWhat, ScanTotals, Timestamp, Unscanned, transact,
};
use layout::{AsFound, DataServerId, Extent, Mirror, ObjectId, ObjectRef, Owner};
use std::sync::Arc;

const FILER: DataServerId = DataServerId(7);

fn handle(fileid: u64) -> Bytes {
    Bytes::from(format!("handle {fileid}"))
}

fn object(fileid: u64) -> DeadObject {
    DeadObject {
        server: FILER,
        object: ObjectId::found(FILER, fileid),
    }
}

fn node(name: &str, fileid: u64, kind: FileKind, nlink: u32) -> FoundNode {
    let stripe = ObjectRef {
        server: FILER,
        object: object(fileid).object,
        handle: handle(fileid),
        owner: Owner::as_found(AsFound::Open, 70_001),
        generation: 0,
    };
    let mirror = Mirror {
        stripes: vec![stripe],
        stale: false,
    };
    let is_file = kind == FileKind::Regular;
    let time = |seconds| Timestamp { seconds, nanos: 9 };
    FoundNode {
        name: Bytes::copy_from_slice(name.as_bytes()),
        handle: handle(fileid),
        fileid,
        kind,
        mode: 0o750,
        uid: 1001,
        gid: 1002,
        nlink,
        size: 100,
        used: 4096,
        atime: time(50),
        mtime: time(40),
        ctime: time(60),
        rdev: (0, 0),
        target: (kind == FileKind::Symlink).then(|| Bytes::from_static(b"there")),
        extents: is_file
            .then(|| Extent::bound(0, vec![mirror]))
            .into_iter()
            .collect(),
        data_stamp: DataStamp(fileid),
    }
}

fn regular(name: &str, fileid: u64) -> FoundNode {
    node(name, fileid, FileKind::Regular, 1)
}

fn directory(name: &str, fileid: u64) -> FoundNode {
    node(name, fileid, FileKind::Directory, 2)
}

/// A directory of the catalog that a filer's tree is to come into.
async fn begun(catalog: &Catalog) -> InodeId {
    let record = DataServerRecord {
        id: FILER,
        name: "backend filer".into(),
        device_generation: 0,
        address: String::new(),
        export: String::new(),
        root_handle: Bytes::new(),
    };
    catalog.put_data_server(at(1), &record).await.unwrap();
    let place = calls(catalog).make(ROOT, "projects", folder()).await;
    transact!(catalog, at(3000), |tx| -> Result<(), Error> {
        tx.adopt_root(FILER, place, &directory("", 1)).await
    })
    .unwrap();
    place
}

async fn next(catalog: &Catalog) -> Option<Unscanned> {
    let mut left = catalog.read().unscanned(FILER, None, 1).await.unwrap();
    left.pop()
}

async fn adopt(
    catalog: &Catalog,
    at: &Unscanned,
    nodes: &[FoundNode],
    next: Option<(u64, [u8; 8])>,
) -> bool {
    let now = crate::world::at(3000);
    let done = transact!(catalog, now, |tx| -> Result<bool, Error> {
        tx.adopt(at, nodes, next).await
    });
    done.unwrap().value
}

async fn take_in(catalog: &Catalog, directory: InodeId, nodes: &[FoundNode]) {
    let at = catalog.read().unscanned_one(FILER, directory).await;
    assert!(adopt(catalog, &at.unwrap().unwrap(), nodes, None).await);
}

async fn look(catalog: &Catalog, directory: InodeId, name: &str) -> catalog::Inode {
    let reader = catalog.read();
    let entry = reader.lookup(directory, name.as_bytes()).await.unwrap();
    reader.inode(entry.unwrap().id).await.unwrap()
}

async fn totals(catalog: &Catalog) -> ScanTotals {
    catalog.read().scan_totals(FILER).await.unwrap()
}

#[test]
fn what_a_filer_has_becomes_part_of_the_namespace_as_it_is_there() {
    run(async {
        let catalog = in_memory().await;
        let place = begun(&catalog).await;
        let listed = [
            regular("f", 2),
            directory("d", 3),
            node("l", 4, FileKind::Symlink, 1),
        ];
        take_in(&catalog, place, &listed).await;
        let file = look(&catalog, place, "f").await;
        assert_eq!((file.mode, file.uid, file.gid), (0o750, 1001, 1002));
        assert_eq!((file.size, file.used, file.nlink), (100, 4096, 1));
        assert_eq!((file.mtime.seconds, file.ctime.seconds), (40, 60));
        assert_eq!(file.extents, listed[0].extents);
        let link = look(&catalog, place, "l").await;
        assert_eq!(link.target.as_deref(), Some(&b"there"[..]));
        let inner = look(&catalog, place, "d").await;
        assert!(inner.unscanned);
        assert_eq!((inner.mtime.seconds, inner.entries), (40, 0));
        assert_sound(&catalog).await;
        take_in(&catalog, inner.id, &[regular("g", 5)]).await;
        let inner = look(&catalog, place, "d").await;
        assert_eq!(
            (inner.mtime.seconds, inner.entries),
            (40, 1),
            "its own time"
        );
        assert!(!inner.unscanned);
        let expected = ScanTotals {
            left: 0,
            directories: 2,
            files: 3,
            bytes: 200,
        };
        assert_eq!(totals(&catalog).await, expected);
        assert!(next(&catalog).await.is_none());
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_folder_whose_names_are_not_all_known_is_not_changed() {
    run(async {
        let catalog = in_memory().await;
        let place = begun(&catalog).await;
        let calls = calls(&catalog);
        let outside = calls.make(ROOT, "outside", file()).await;
        let unscanned = |error: Error| assert_eq!(error, Error::Unscanned);
        unscanned(calls.create(place, "f", file()).await.unwrap_err());
        unscanned(calls.link(place, "f", outside).await.unwrap_err());
        let removed = calls.remove(place, "f", RemoveWhat::Any).await;
        unscanned(removed.unwrap_err());
        let moved = calls.rename((ROOT, "outside"), (place, "f")).await;
        unscanned(moved.unwrap_err());
        let removed = calls.remove(ROOT, "projects", RemoveWhat::Any).await;
        unscanned(removed.unwrap_err());
        take_in(&catalog, place, &[directory("d", 2)]).await;
        // It may be moved as a whole: its place on the filer is known by its handle.
        calls.rename((place, "d"), (place, "moved")).await.unwrap();
        let moved = look(&catalog, place, "moved").await;
        take_in(&catalog, moved.id, &[regular("f", 3)]).await;
        let found = look(&catalog, moved.id, "f").await;
        assert_eq!((found.size, found.keeper), (100, Some(FILER)));
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_folder_with_something_in_it_is_no_place_for_a_filers_tree() {
    run(async {
        let catalog = in_memory().await;
        let place = calls(&catalog).make(ROOT, "projects", folder()).await;
        calls(&catalog).make(place, "f", file()).await;
        let begun = transact!(catalog, at(3000), |tx| -> Result<(), Error> {
            tx.adopt_root(FILER, place, &directory("", 1)).await
        });
        assert_eq!(begun.unwrap_err(), Error::NotEmpty);
    });
}

#[test]
fn a_page_that_is_told_twice_counts_once() {
    run(async {
        let catalog = in_memory().await;
        let place = begun(&catalog).await;
        let first = next(&catalog).await.unwrap();
        let page = [regular("a", 2), directory("d", 3)];
        let on = Some((10, [1; 8]));
        assert!(adopt(&catalog, &first, &page, on).await);
        assert!(!adopt(&catalog, &first, &page, on).await, "of the past");
        // The filer's cookies are of no use any more: all over again.
        let second = catalog.read().unscanned_one(FILER, place).await;
        let second = second.unwrap().unwrap();
        assert_eq!((second.cookie, second.verifier), (10, [1; 8]));
        transact!(catalog, at(3000), |tx| -> Result<(), Error> {
            tx.adopt_anew(&second).await
        })
        .unwrap();
        let all = [regular("a", 2), directory("d", 3), regular("b", 4)];
        take_in(&catalog, place, &all).await;
        assert_eq!(names_in(&catalog.read(), place).await, ["a", "b", "d"]);
        let seen = totals(&catalog).await;
        assert_eq!((seen.left, seen.files, seen.bytes), (1, 2, 200));
        assert_sound(&catalog).await;
    });
}

#[test]
fn all_names_of_a_file_become_one_inode_that_lives_until_its_last() {
    run(async {
        let catalog = in_memory().await;
        let place = begun(&catalog).await;
        let linked = |name| node(name, 9, FileKind::Regular, 3);
        take_in(&catalog, place, &[linked("one"), directory("d", 3)]).await;
        let calls = calls(&catalog);
        let id = look(&catalog, place, "one").await.id;
        // Two names are still to come: the first one's end is not the file's.
        let removed = calls.remove(place, "one", RemoveWhat::Any).await.unwrap();
        assert!(!removed.value.last_link);
        assert_sound(&catalog).await;
        let inner = look(&catalog, place, "d").await.id;
        take_in(&catalog, inner, &[linked("two"), linked("three")]).await;
        let two = look(&catalog, inner, "two").await;
        assert_eq!((two.id, two.nlink), (id, 2));
        catalog.end_scan(at(3000), FILER).await.unwrap();
        assert_sound(&catalog).await;
        for name in ["two", "three"] {
            calls.remove(inner, name, RemoveWhat::Any).await.unwrap();
        }
        assert!(catalog.reap(at(3001), id).await.unwrap());
        // Every name that the filer has, those too that went here long ago.
        let found = catalog.read().found(object(9)).await.unwrap().unwrap();
        let at = |folder, name: &'static str| FoundName {
            folder: handle(folder),
            name: Bytes::from_static(name.as_bytes()),
        };
        assert_eq!(found.handle, handle(9));
        assert_eq!(found.names, [at(1, "one"), at(3, "two"), at(3, "three")]);
        assert_sound(&catalog).await;
        catalog.delete_done(at_end(), &[object(9)]).await.unwrap();
        assert_eq!(catalog.read().found(object(9)).await.unwrap(), None);
        assert_sound(&catalog).await;
    });
}

fn at_end() -> Timestamp {
    at(4000)
}

#[test]
fn a_name_outside_of_what_is_scanned_counts_no_more_at_the_end() {
    run(async {
        let catalog = in_memory().await;
        let place = begun(&catalog).await;
        let linked = |name, fileid| node(name, fileid, FileKind::Regular, 2);
        take_in(&catalog, place, &[linked("kept", 8), linked("gone", 9)]).await;
        calls(&catalog)
            .remove(place, "gone", RemoveWhat::Any)
            .await
            .unwrap();
        catalog.end_scan(at(3000), FILER).await.unwrap();
        assert_eq!(look(&catalog, place, "kept").await.nlink, 1);
        let orphans = catalog.orphans(None, 10).await.unwrap();
        assert_eq!(
            orphans.len(),
            1,
            "its last name went before the end was known"
        );
        assert_sound(&catalog).await;
    });
}

/// A filer with `FOLDERS` folders of `FILES` files, two of which are one file in every folder.
const FOLDERS: u64 = 6;
const FILES: u64 = 7;

fn page_of(at: &Unscanned, from: u64) -> (Vec<FoundNode>, Option<(u64, [u8; 8])>) {
    if at.handle == handle(1) {
        let folders = (0..FOLDERS).map(|it| directory(&format!("d{it}"), 10 + it));
        return (folders.collect(), None);
    }
    let mut nodes: Vec<FoundNode> = (0..FILES)
        .map(|file| regular(&format!("f{file}"), 1000 + 100 * hash(&at.handle) + file))
        .collect();
    let shared = u32::try_from(FOLDERS).unwrap();
    nodes.push(node("shared", 999, FileKind::Regular, shared));
    let rest: Vec<FoundNode> = nodes.into_iter().skip(from as usize).collect();
    let more = rest.len() > 3;
    let page: Vec<FoundNode> = rest.into_iter().take(3).collect();
    (page, more.then_some((from + 3, [1; 8])))
}

fn hash(handle: &Bytes) -> u64 {
    let text = std::str::from_utf8(handle).unwrap();
    text.trim_start_matches("handle ").parse().unwrap()
}

#[test]
fn a_scan_that_is_broken_off_anywhere_goes_on_and_misses_and_doubles_nothing() {
    run(async {
        for seed in 0..8 {
            let store = MemoryStore::with_faults(faults(seed));
            let mut catalog: Arc<Catalog> = on(&store).await;
            let place = begun(&catalog).await;
            let mut steps = 0;
            while let Some(at) = next(&catalog).await {
                let (page, on_from) = page_of(&at, at.cookie);
                adopt(&catalog, &at, &page, on_from).await;
                steps += 1;
                if steps % 3 == seed % 3 {
                    // What was not committed is forgotten with the process.
                    drop(catalog);
                    catalog = on(&store).await;
                }
            }
            catalog
                .end_scan(crate::world::at(3000), FILER)
                .await
                .unwrap();
            assert_sound(&catalog).await;
            let seen = totals(&catalog).await;
            assert_eq!((seen.left, seen.directories), (0, FOLDERS + 1));
            assert_eq!(seen.files, FOLDERS * (FILES + 1));
            let inner = look(&catalog, place, "d0").await.id;
            let shared = look(&catalog, inner, "shared").await;
            assert_eq!(u64::from(shared.nlink), FOLDERS);
        }
    });
}
