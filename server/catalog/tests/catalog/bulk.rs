//! Folders put there whole with all their files: as if each had been created, or not at all.

use crate::world::*;
use bytes::Bytes;
use catalog::store::MemoryStore;
use catalog::{
    BulkFiles, BulkFolder, Catalog, DataServerRecord, Error, FileKind, InodeId, NewInode,
};
use layout::{DataServerId, Extent, Mirror, ObjectId, ObjectRef, Owner};

/// Every third is without bytes, and the others lie on one of three data servers.
struct Files {
    /// A file that is named as the one before.
    twin: Option<u64>,
    /// A file whose name is of no use.
    nameless: Option<u64>,
}

const PLAIN: Files = Files {
    twin: None,
    nameless: None,
};

fn server_of(number: u64) -> Option<DataServerId> {
    (!number.is_multiple_of(3)).then_some(DataServerId((number % 7 % 3 + 1) as u32))
}

impl BulkFiles for Files {
    fn name(&self, number: u64) -> Bytes {
        if self.nameless == Some(number) {
            return Bytes::new();
        }
        let number = number - u64::from(self.twin == Some(number));
        Bytes::from(format!("file {number}"))
    }

    fn file(&self, number: u64) -> NewInode {
        let stripes = server_of(number).map(|server| {
            vec![ObjectRef {
                server,
                object: ObjectId(number.into()),
                handle: Bytes::from(number.to_string()),
                owner: Owner { uid: 1, gid: 1 },
                generation: 0,
            }]
        });
        let extents = stripes.map(|stripes| {
            let mirror = Mirror {
                stripes,
                stale: false,
            };
            Extent::bound(0, vec![mirror])
        });
        NewInode {
            extents: extents.into_iter().collect(),
            ..NewInode::plain(FileKind::Regular, 0o640, 1001, 1002)
        }
    }
}

fn folders(files: &[u64]) -> Vec<BulkFolder> {
    let folder_of = |(number, files): (usize, &u64)| BulkFolder {
        name: Bytes::from(format!("folder {number}")),
        folder: folder(),
        files: *files,
    };
    files.iter().enumerate().map(folder_of).collect()
}

async fn with_data_servers(catalog: &Catalog) {
    for id in 1..=3 {
        let record = DataServerRecord {
            id: DataServerId(id),
            name: format!("ds{id}"),
            device_generation: 0,
            address: String::new(),
            export: String::new(),
            root_handle: Bytes::new(),
        };
        catalog.put_data_server(at(1), &record).await.unwrap();
    }
}

async fn are_there(catalog: &Catalog, files: &[u64]) {
    let reader = catalog.read();
    let mut number = 0;
    for (folder, files) in files.iter().enumerate() {
        let name = format!("folder {folder}");
        let entry = reader.lookup(InodeId::ROOT, name.as_bytes()).await;
        let id = entry.unwrap().unwrap().id;
        let inode = reader.inode(id).await.unwrap();
        assert_eq!((inode.entries, inode.nlink), (*files, 2));
        assert_eq!(names_in(&reader, id).await.len() as u64, *files);
        for number in number..number + files {
            let entry = reader.lookup(id, &PLAIN.name(number)).await.unwrap();
            let inode = reader.inode(entry.unwrap().id).await.unwrap();
            assert_eq!(inode.extents, PLAIN.file(number).extents);
            assert_eq!((inode.mode, inode.uid, inode.nlink), (0o640, 1001, 1));
        }
        number += files;
    }
}

async fn goes_on_as_any(catalog: &Catalog) {
    let calls = calls(catalog);
    let entry = catalog.read().lookup(InodeId::ROOT, b"folder 1").await;
    let folder = entry.unwrap().unwrap().id;
    let inode = async || catalog.inode(folder).await.unwrap();
    let before = inode().await;
    let again = calls.create(folder, "file 5", file()).await;
    assert!(again.is_err(), "it is there");
    calls.make(folder, "one more", file()).await;
    calls
        .remove(folder, "file 5", catalog::RemoveWhat::Any)
        .await
        .unwrap();
    let after = inode().await;
    assert_eq!(after.entries, before.entries);
    assert!(after.change > before.change);
    assert_sound(catalog).await;
}

#[test]
fn what_is_loaded_in_bulk_is_as_if_each_file_had_been_created() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let files = [5, 1000, 0, 300];
        for catalog in [in_memory().await, in_folder(folder.path()).await] {
            with_data_servers(&catalog).await;
            let before = catalog.counts().await.unwrap();
            let folders = folders(&files);
            let load = catalog.load_in_bulk(at(9), InodeId::ROOT, &folders, &PLAIN);
            load.await.unwrap();
            are_there(&catalog, &files).await;
            let counts = catalog.counts().await.unwrap();
            assert_eq!(counts.inodes, before.inodes + 4 + 1305);
            assert_eq!(counts.directories, before.directories + 4);
            assert_sound(&catalog).await;
            goes_on_as_any(&catalog).await;
        }
        let again = in_folder(folder.path()).await;
        assert_sound(&again).await;
        calls(&again)
            .make(InodeId::ROOT, "after a restart", file())
            .await;
        assert_sound(&again).await;
    });
}

#[test]
fn a_bulk_load_that_names_a_file_twice_or_not_at_all_makes_nothing() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for catalog in [in_memory().await, in_folder(folder.path()).await] {
            let before = catalog.counts().await.unwrap();
            let load = async |files: Files| {
                let folders = folders(&[10, 10]);
                catalog
                    .load_in_bulk(at(9), InodeId::ROOT, &folders, &files)
                    .await
            };
            let twin = Files {
                twin: Some(13),
                ..PLAIN
            };
            assert_eq!(load(twin).await, Err(Error::Exists));
            let nameless = Files {
                nameless: Some(13),
                ..PLAIN
            };
            assert_eq!(load(nameless).await, Err(Error::NameTooLong));
            assert_eq!(catalog.counts().await.unwrap(), before);
            assert_sound(&catalog).await;
            load(PLAIN).await.unwrap();
            assert_eq!(
                load(PLAIN).await,
                Err(Error::Exists),
                "the folders are there"
            );
            are_there(&catalog, &[10, 10]).await;
        }
    });
}

#[test]
fn a_crash_after_a_bulk_load_keeps_all_of_it_and_gives_none_of_its_numbers_again() {
    run(async {
        let store = MemoryStore::new();
        let catalog = on(&store).await;
        let before = calls(&catalog).make(InodeId::ROOT, "before", file()).await;
        let loaded = folders(&[100]);
        let load = catalog.load_in_bulk(at(9), InodeId::ROOT, &loaded, &PLAIN);
        load.await.unwrap();
        let after = on(&store.crash()).await;
        are_there(&after, &[100]).await;
        let id = calls(&after).make(InodeId::ROOT, "after", file()).await;
        assert!(id.number > before.number + 101);
        assert_sound(&after).await;
    });
}
