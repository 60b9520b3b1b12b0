//! Opening, restarting, and values that a restart must not repeat.

use crate::world::*;
use catalog::store::{IdempotencyKey, MemoryStore, Outcome, Store, Transaction, Write};
use catalog::{Catalog, Error, FORMAT, OpenError, RemoveWhat};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

#[test]
fn a_second_opening_of_one_folder_is_refused_in_words() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let first = in_folder(folder.path()).await;
        let refused = Catalog::open(folder.path(), options()).await.err().unwrap();
        assert!(matches!(refused, OpenError::Locked { .. }));
        assert!(
            refused.to_string().contains("in use by another process"),
            "{refused}"
        );
        drop(first);
        in_folder(folder.path()).await;
    });
}

#[test]
fn the_folder_of_a_new_catalog_is_its_owners_alone() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("var/catalog");
        in_folder(&path).await;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    });
}

#[test]
fn a_reader_that_outlives_the_catalog_keeps_the_folder_locked() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let reader = in_folder(folder.path()).await.read();
        assert!(matches!(
            Catalog::open(folder.path(), options()).await,
            Err(OpenError::Locked { .. })
        ));
        drop(reader);
        in_folder(folder.path()).await;
    });
}

#[test]
fn a_catalog_of_a_newer_format_is_refused_in_words() {
    run(async {
        let store = MemoryStore::new();
        on(&store).await;
        let mut transaction = Transaction::blind(IdempotencyKey(1));
        let newer = (FORMAT + 1).to_be_bytes().to_vec();
        transaction
            .writes
            .insert("nformat".into(), Write::Set(newer.into()));
        assert!(matches!(
            store.commit(Arc::new(transaction)).await,
            Ok(Outcome::Committed(_))
        ));
        let refused = Catalog::with_store(Arc::new(store), options())
            .await
            .err()
            .unwrap();
        assert_eq!(
            refused.to_string(),
            format!(
                "the catalog has format {}, and this program knows formats up to {FORMAT}: start a newer one",
                FORMAT + 1
            )
        );
    });
}

#[test]
fn everything_is_there_after_a_restart_and_no_number_or_change_comes_twice() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let mut largest = (0, 0);
        for round in 1..=4 {
            let catalog = in_folder(folder.path()).await;
            assert_eq!(catalog.boot_epoch(), round);
            assert!(catalog.next_change() > largest.0);
            let id = calls(&catalog)
                .make(ROOT, &format!("f{round}"), file())
                .await;
            assert!(id.number > largest.1);
            largest = (catalog.next_change(), id.number);
            assert_eq!(names_in(&catalog.read(), ROOT).await.len(), round as usize);
            assert_sound(&catalog).await;
        }
    });
}

#[test]
fn a_new_directory_of_an_old_name_has_another_change_attribute() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let first = calls.create(ROOT, "d", folder()).await.unwrap().value;
        calls.remove(ROOT, "d", RemoveWhat::Any).await.unwrap();
        let second = calls.create(ROOT, "d", folder()).await.unwrap().value;
        assert!(second.id != first.id && second.change > first.change);
    });
}

#[test]
fn a_crash_of_the_memory_store_loses_nothing_committed() {
    run(async {
        let store = MemoryStore::with_faults(faults(3));
        let catalog = on(&store).await;
        calls(&catalog).make(ROOT, "a", file()).await;
        let survivor = store.crash();
        assert!(matches!(
            catalog.read().inode(ROOT).await,
            Err(Error::Store(_))
        ));
        assert!(matches!(
            calls(&catalog).create(ROOT, "b", file()).await,
            Err(Error::Store(_))
        ));
        let catalog = on(&survivor).await;
        assert_eq!(names_in(&catalog.read(), ROOT).await, ["a"]);
        assert_sound(&catalog).await;
    });
}
