//! Names and inodes, one sentence at a time.

use crate::world::*;
use bytes::Bytes;
use catalog::store::MemoryStore;
use catalog::{DataStamp, Done, Error, FileKind, RemoveWhat, transact};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn a_created_file_is_found_by_its_name_and_the_directory_shows_it() {
    run(async {
        let catalog = in_memory().await;
        let before = catalog.read().inode(ROOT).await.unwrap();
        let done = calls(&catalog).create(ROOT, "a", file()).await.unwrap();
        let reader = catalog.read();
        let entry = reader.lookup(ROOT, b"a").await.unwrap().unwrap();
        assert_eq!((entry.id, entry.kind), (done.value.id, FileKind::Regular));
        assert_eq!(reader.inode(entry.id).await.unwrap(), done.value);
        let after = reader.inode(ROOT).await.unwrap();
        assert_eq!((after.entries, after.nlink, after.mtime), (1, 2, at(2000)));
        let change = done.change_of(ROOT).unwrap();
        assert_eq!((change.before, change.after), (before.change, after.change));
        assert_eq!(catalog.counts().await.unwrap().inodes, 2);
        assert_sound(&catalog).await;
    });
}

#[test]
fn creates_in_one_directory_do_not_conflict_and_each_learns_its_own_change() {
    run_on_threads(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog = in_folder(folder.path()).await;
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let catalog = catalog.clone();
                tokio::spawn(async move {
                    let done = calls(&catalog)
                        .create(ROOT, &format!("f{number}"), file())
                        .await
                        .unwrap();
                    done.change_of(ROOT).unwrap()
                })
            })
            .collect();
        let mut changes = BTreeSet::new();
        for task in tasks {
            let change = task.await.unwrap();
            assert_eq!(change.after, change.before + 1);
            assert!(changes.insert(change.after));
        }
        assert_eq!(catalog.stats().conflicts, 0);
        assert_eq!(catalog.read().inode(ROOT).await.unwrap().entries, 64);
        assert_sound(&catalog).await;
    });
}

#[test]
fn of_racing_creates_of_one_name_one_wins() {
    run_on_threads(async {
        let catalog = in_memory().await;
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let catalog = catalog.clone();
                tokio::spawn(
                    async move { calls(&catalog).create(ROOT, "a", file()).await.map(drop) },
                )
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(()) => won += 1,
                Err(error) => assert_eq!(error, Error::Exists),
            }
        }
        assert_eq!(won, 1);
    });
}

#[test]
fn a_directory_is_removed_only_when_empty_and_takes_its_link_from_the_parent() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let directory = calls.make(ROOT, "d", folder()).await;
        assert_eq!(catalog.read().inode(ROOT).await.unwrap().nlink, 3);
        calls.make(directory, "f", file()).await;
        let refused = calls.remove(ROOT, "d", RemoveWhat::Any).await.unwrap_err();
        assert_eq!(refused, Error::NotEmpty);
        calls.remove(directory, "f", RemoveWhat::Any).await.unwrap();
        assert!(
            calls
                .remove(ROOT, "d", RemoveWhat::Directory)
                .await
                .unwrap()
                .value
                .last_link
        );
        let root = catalog.read().inode(ROOT).await.unwrap();
        assert_eq!((root.nlink, root.entries), (2, 0));
        assert_eq!(catalog.read().inode(directory).await, Err(Error::Stale));
        assert_eq!(
            calls.create(directory, "g", file()).await.unwrap_err(),
            Error::Stale
        );
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_create_and_an_rmdir_of_its_directory_never_both_happen() {
    run(async {
        for seed in 0..200 {
            let store = MemoryStore::with_faults(faults(seed));
            let catalog = on(&store).await;
            let calls = calls(&catalog);
            let directory = calls.make(ROOT, "d", folder()).await;
            let (made, removed) = futures_util::future::join(
                calls.create(directory, "f", file()),
                calls.remove(ROOT, "d", RemoveWhat::Directory),
            )
            .await;
            assert!(made.is_ok() != removed.is_ok(), "{made:?} {removed:?}");
            assert_sound(&catalog).await;
        }
    });
}

#[test]
fn a_file_lives_as_long_as_one_of_its_links() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let id = calls.make(ROOT, "a", file()).await;
        assert_eq!(calls.link(ROOT, "b", id).await.unwrap().value.nlink, 2);
        assert!(
            !calls
                .remove(ROOT, "a", RemoveWhat::NotDirectory)
                .await
                .unwrap()
                .value
                .last_link
        );
        assert!(!catalog.reap(at(1), id).await.unwrap());
        let last = calls
            .remove(ROOT, "b", RemoveWhat::Any)
            .await
            .unwrap()
            .value;
        assert_eq!((last.last_link, last.inode.nlink), (true, 0));
        assert_eq!(catalog.orphans(None, 10).await.unwrap(), [id]);
        assert_eq!(catalog.read().inode(id).await.unwrap().nlink, 0);
        assert_eq!(calls.link(ROOT, "c", id).await.unwrap_err(), Error::Stale);
        assert_sound(&catalog).await;
        assert!(catalog.reap(at(1), id).await.unwrap());
        assert!(!catalog.reap(at(1), id).await.unwrap());
        assert_eq!(catalog.read().inode(id).await, Err(Error::Stale));
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_file_that_nobody_holds_goes_in_the_transaction_that_removes_its_name() {
    run(async {
        let catalog = in_memory().await;
        let id = calls(&catalog).make(ROOT, "a", file()).await;
        let done = transact!(catalog, at(1), |tx| -> Result<_, Error> {
            let removed = tx.remove(ROOT, b"a", RemoveWhat::Any).await?;
            tx.reap(removed.inode.id).await
        });
        assert!(done.unwrap().value);
        assert_eq!(catalog.read().inode(id).await, Err(Error::Stale));
        assert_eq!(catalog.orphans(None, 10).await.unwrap(), []);
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_rename_moves_replaces_and_counts() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let (a, b) = (
            calls.make(ROOT, "a", folder()).await,
            calls.make(ROOT, "b", folder()).await,
        );
        let moved = calls.make(a, "x", file()).await;
        let lost = calls.make(b, "y", file()).await;
        let done = calls.rename((a, "x"), (b, "y")).await.unwrap();
        let replaced = done.value.replaced.as_ref().unwrap();
        assert_eq!(
            (done.value.moved.id, replaced.inode.id, replaced.last_link),
            (moved, lost, true)
        );
        assert!(done.change_of(a).is_some() && done.change_of(b).is_some());
        assert_eq!(names_in(&catalog.read(), b).await, ["y"]);
        assert_eq!(names_in(&catalog.read(), a).await, Vec::<String>::new());
        let done = calls.rename((ROOT, "a"), (b, "a")).await.unwrap();
        assert_eq!(catalog.read().parent_of(a).await.unwrap(), Some(b));
        assert!(done.change_of(a).is_some(), "its ctime moved");
        assert_eq!(catalog.read().inode(ROOT).await.unwrap().nlink, 3);
        assert_eq!(catalog.read().inode(b).await.unwrap().nlink, 3);
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_rename_between_links_of_one_file_does_nothing() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let id = calls.make(ROOT, "a", file()).await;
        calls.link(ROOT, "b", id).await.unwrap();
        let done = calls.rename((ROOT, "a"), (ROOT, "b")).await.unwrap();
        assert!(done.value.same_file && done.directories.is_empty());
        assert_eq!(names_in(&catalog.read(), ROOT).await, ["a", "b"]);
    });
}

#[test]
fn a_directory_cannot_be_moved_below_itself_even_by_two_renames_at_once() {
    run(async {
        for seed in 0..200 {
            let store = MemoryStore::with_faults(faults(seed));
            let catalog = on(&store).await;
            let calls = calls(&catalog);
            let (a, b) = (
                calls.make(ROOT, "a", folder()).await,
                calls.make(ROOT, "b", folder()).await,
            );
            let (one, two) = futures_util::future::join(
                calls.rename((ROOT, "a"), (b, "a")),
                calls.rename((ROOT, "b"), (a, "b")),
            )
            .await;
            assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
            assert_eq!(one.and(two).unwrap_err(), Error::IntoItself);
            assert_sound(&catalog).await;
        }
    });
}

#[test]
fn names_are_limited_in_length_and_full_names_work() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        for wrong in ["", &"n".repeat(256)] {
            assert_eq!(
                calls.create(ROOT, wrong, file()).await.unwrap_err(),
                Error::NameTooLong
            );
        }
        calls.make(ROOT, &"n".repeat(255), file()).await;
    });
}

#[test]
fn a_listing_in_pages_shows_each_entry_once_and_cookies_stay() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog = in_folder(folder.path()).await;
        let done: Result<_, Error> = transact!(catalog, at(1), |tx| -> Result<_, Error> {
            for number in 0..1000 {
                tx.create(ROOT, format!("f{number}").as_bytes(), file())
                    .await?;
            }
            Ok(())
        });
        done.unwrap();
        let (whole, more) = catalog.read().readdir(ROOT, 0, 5000).await.unwrap();
        assert!(!more && whole.len() == 1000);
        assert!(
            whole
                .iter()
                .all(|entry| (3..1 << 63).contains(&entry.cookie))
        );
        // Every third is removed while the listing is under way, and the catalog restarts.
        let mut seen = Vec::new();
        let mut after = 0;
        let mut catalog = catalog;
        loop {
            let (page, more) = catalog.read().readdir(ROOT, after, 70).await.unwrap();
            after = page.last().map_or(after, |entry| entry.cookie);
            seen.extend(page);
            if !more {
                break;
            }
            let gone = String::from_utf8(seen[seen.len() / 3].name.to_vec()).unwrap();
            calls(&catalog)
                .remove(ROOT, &gone, RemoveWhat::Any)
                .await
                .ok();
            drop(catalog);
            catalog = in_folder(folder.path()).await;
        }
        assert_eq!(seen, whole);
    });
}

#[test]
fn a_long_listing_with_attributes_is_linear() {
    const ENTRIES: usize = 20_000;
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let catalog = in_folder(folder.path()).await;
        for chunk in 0..20 {
            let done: Result<_, Error> = transact!(catalog, at(1), |tx| -> Result<_, Error> {
                for number in 0..ENTRIES / 20 {
                    tx.create(ROOT, format!("f{chunk}-{number}").as_bytes(), file())
                        .await?;
                }
                Ok(())
            });
            done.unwrap();
        }
        let (mut after, mut count, mut pages) = (0, 0, 0);
        loop {
            let (page, more) = catalog.read().readdir_plus(ROOT, after, 500).await.unwrap();
            after = page.last().map_or(after, |(entry, _)| entry.cookie);
            assert!(page.iter().all(|(entry, inode)| entry.id == inode.id));
            count += page.len();
            pages += 1;
            if !more {
                break;
            }
        }
        assert_eq!((count, pages), (ENTRIES, ENTRIES / 500));
    });
}

#[test]
fn attributes_that_the_namespace_owns_survive_a_put() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let id = calls.make(ROOT, "a", file()).await;
        let mut inode = catalog.read().inode(id).await.unwrap();
        inode.nlink = 9;
        inode.size = 77;
        inode.mode = 0o600;
        inode.data_stamp = DataStamp(5);
        calls.put(&inode).await.unwrap();
        let stored = catalog.read().inode(id).await.unwrap();
        assert_eq!(
            (stored.nlink, stored.size, stored.mode, stored.data_stamp),
            (1, 77, 0o600, DataStamp(5))
        );
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_directory_keeps_a_time_set_by_hand_until_its_entries_change() {
    run(async {
        let catalog = in_memory().await;
        let mut calls = calls(&catalog);
        let id = calls.make(ROOT, "d", folder()).await;
        let mut inode = catalog.read().inode(id).await.unwrap();
        let before = inode.change;
        inode.mtime = at(5);
        calls.now = at(3000);
        inode.ctime = at(3000);
        calls.put(&inode).await.unwrap();
        let stored = catalog.read().inode(id).await.unwrap();
        assert_eq!((stored.mtime, stored.ctime), (at(5), at(3000)));
        assert!(stored.change > before);
        inode.mode = 0o700;
        inode.mtime = stored.mtime;
        calls.put(&inode).await.unwrap();
        assert_eq!(catalog.read().inode(id).await.unwrap().mtime, at(5));
        calls.now = at(4000);
        calls.make(id, "f", file()).await;
        let stored = catalog.read().inode(id).await.unwrap();
        assert_eq!(
            (stored.mtime, stored.ctime, stored.mode),
            (at(4000), at(4000), 0o700)
        );
    });
}

#[test]
fn a_transaction_sees_its_own_writes_and_leaves_no_trace_when_it_fails() {
    run(async {
        let catalog = in_memory().await;
        let failed = transact!(catalog, at(1), |tx| -> Result<_, Error> {
            let directory = tx.create(ROOT, b"d", folder()).await?.id;
            tx.create(directory, b"f", file()).await?;
            assert_eq!(names_in(tx, ROOT).await, ["d"]);
            assert_eq!(names_in(tx, directory).await, ["f"]);
            assert_eq!(tx.inode(directory).await?.entries, 1);
            assert_eq!(
                tx.remove(ROOT, b"d", RemoveWhat::Any).await,
                Err(Error::NotEmpty)
            );
            tx.remove(directory, b"f", RemoveWhat::Any).await?;
            tx.remove(ROOT, b"d", RemoveWhat::Any).await?;
            assert_eq!(names_in(tx, ROOT).await, Vec::<String>::new());
            Err(Error::NotFound)
        });
        assert_eq!(failed, Err::<Done<()>, _>(Error::NotFound));
        assert_eq!(catalog.orphans(None, 10).await.unwrap(), []);
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_transaction_whose_snapshot_grew_too_old_begins_again() {
    run(async {
        let store = MemoryStore::new();
        let catalog = on(&store).await;
        let mut attempts = 0;
        let done = transact!(catalog, at(1), |tx| -> Result<_, Error> {
            attempts += 1;
            tx.inode(ROOT).await?;
            if attempts == 1 {
                store.advance(Duration::from_secs(6));
            }
            tx.create(ROOT, b"a", file()).await
        });
        assert!(done.is_ok());
        assert_eq!(attempts, 2);
    });
}

#[test]
fn a_record_too_large_for_the_narrowest_engine_is_refused_by_every_one() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for catalog in [in_memory().await, in_folder(folder.path()).await] {
            let mut link = file();
            link.kind = FileKind::Symlink;
            link.target = Some(Bytes::from(vec![b'x'; 100_001]));
            let refused = calls(&catalog).create(ROOT, "a", link).await.unwrap_err();
            assert!(
                matches!(refused, Error::TooLarge { limit: 100_000, .. }),
                "{refused}"
            );
        }
    });
}
