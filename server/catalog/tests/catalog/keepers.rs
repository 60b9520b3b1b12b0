//! Directories whose files lie on one data server.

use crate::world::*;
use bytes::Bytes;
use catalog::{
    Catalog, DataServerRecord, Error, FileKind, InodeId, NewInode, RemoveWhat, transact,
};
use layout::{DataServerId, Extent, Mirror, ObjectId, ObjectRef, Owner};

const BUCKET: DataServerId = DataServerId(7);

async fn with_bucket() -> std::sync::Arc<Catalog> {
    let catalog = in_memory().await;
    let record = DataServerRecord {
        id: BUCKET,
        name: "backend lake".into(),
        device_generation: 0,
        address: String::new(),
        export: String::new(),
        root_handle: Bytes::new(),
    };
    catalog.put_data_server(at(1), &record).await.unwrap();
    catalog
}

async fn keep(catalog: &Catalog, directory: InodeId) -> Result<(), Error> {
    transact!(catalog, at(3000), |tx| -> Result<(), Error> {
        tx.keep(directory, BUCKET).await
    })?;
    Ok(())
}

async fn keeper(catalog: &Catalog, id: InodeId) -> Option<DataServerId> {
    catalog.read().inode(id).await.unwrap().keeper
}

#[test]
fn what_is_made_below_a_kept_folder_is_kept_and_nothing_else() {
    run(async {
        let catalog = with_bucket().await;
        let calls = calls(&catalog);
        let lake = calls.make(ROOT, "lake", folder()).await;
        let outside = calls.make(ROOT, "outside", folder()).await;
        keep(&catalog, lake).await.unwrap();
        let inner = calls.make(lake, "inner", folder()).await;
        let deep = calls.make(inner, "deep", file()).await;
        let link = NewInode::plain(FileKind::Symlink, 0o777, 1, 2);
        let link = calls.make(lake, "link", link).await;
        for kept in [lake, inner, deep, link] {
            assert_eq!(keeper(&catalog, kept).await, Some(BUCKET));
        }
        for other in [ROOT, outside] {
            assert_eq!(keeper(&catalog, other).await, None);
        }
        // Nobody changes it in passing.
        let mut inode = catalog.read().inode(deep).await.unwrap();
        inode.keeper = None;
        calls.put(&inode).await.unwrap();
        assert_eq!(keeper(&catalog, deep).await, Some(BUCKET));
        assert_sound(&catalog).await;
    });
}

#[test]
fn neither_a_name_nor_a_link_goes_from_one_keeper_to_another() {
    run(async {
        let catalog = with_bucket().await;
        let calls = calls(&catalog);
        let lake = calls.make(ROOT, "lake", folder()).await;
        keep(&catalog, lake).await.unwrap();
        let inner = calls.make(lake, "inner", folder()).await;
        let deep = calls.make(inner, "deep", file()).await;
        let here = calls.make(ROOT, "here", file()).await;
        calls.make(ROOT, "folder", folder()).await;
        for (from, to) in [
            ((inner, "deep"), (ROOT, "deep")),
            ((ROOT, "here"), (lake, "here")),
            ((ROOT, "folder"), (lake, "folder")),
            ((lake, "inner"), (ROOT, "inner")),
            // Roots: moved, and replaced.
            ((ROOT, "lake"), (ROOT, "pond")),
            ((ROOT, "folder"), (ROOT, "lake")),
        ] {
            let across = calls.rename(from, to).await;
            assert_eq!(across.err(), Some(Error::OtherKeeper), "{from:?} {to:?}");
        }
        for (file, folder) in [(deep, ROOT), (here, lake)] {
            let across = calls.link(folder, "linked", file).await;
            assert_eq!(across.err(), Some(Error::OtherKeeper));
        }
        calls.rename((inner, "deep"), (lake, "deep")).await.unwrap();
        calls.link(inner, "again", deep).await.unwrap();
        assert_sound(&catalog).await;
    });
}

#[test]
fn only_an_empty_folder_gets_a_keeper_and_the_same_one_as_often_as_it_is_said() {
    run(async {
        let catalog = with_bucket().await;
        let calls = calls(&catalog);
        let lake = calls.make(ROOT, "lake", folder()).await;
        calls.make(lake, "f", file()).await;
        assert_eq!(keep(&catalog, lake).await, Err(Error::NotEmpty));
        let removed = calls.remove(lake, "f", RemoveWhat::Any).await;
        removed.unwrap();
        keep(&catalog, lake).await.unwrap();
        calls.make(lake, "f", file()).await;
        keep(&catalog, lake).await.unwrap();
        let f = calls.make(ROOT, "f", file()).await;
        assert_eq!(keep(&catalog, f).await, Err(Error::NotDirectory));
        assert_sound(&catalog).await;
    });
}

#[test]
fn what_is_made_while_the_folder_gets_its_keeper_is_kept_or_was_there_before() {
    run(async {
        for seed in 0..16 {
            let store = catalog::store::MemoryStore::with_faults(faults(seed));
            let catalog = on(&store).await;
            let calls = calls(&catalog);
            let lake = calls.make(ROOT, "lake", folder()).await;
            let (kept, made) = tokio::join!(keep(&catalog, lake), calls.create(lake, "f", file()));
            let made = made.unwrap().value;
            assert_eq!(kept.is_ok(), made.keeper.is_some(), "seed {seed}");
        }
    });
}

#[test]
fn the_check_finds_what_lies_elsewhere_than_with_its_keeper() {
    run(async {
        let catalog = with_bucket().await;
        let lake = calls(&catalog).make(ROOT, "lake", folder()).await;
        keep(&catalog, lake).await.unwrap();
        let object = |server| ObjectRef {
            server: DataServerId(server),
            object: ObjectId(u128::from(server)),
            handle: Bytes::from_static(b"handle"),
            owner: Owner { uid: 1, gid: 1 },
            generation: 0,
        };
        let on = |server| NewInode {
            extents: vec![Extent::bound(
                0,
                vec![Mirror {
                    stripes: vec![object(server)],
                    stale: false,
                }],
            )],
            ..file()
        };
        calls(&catalog).make(lake, "there", on(BUCKET.0)).await;
        assert_sound(&catalog).await;
        calls(&catalog).make(lake, "elsewhere", on(1)).await;
        let faults = catalog.check().await.unwrap();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("lies elsewhere"), "{faults:?}");
    });
}
