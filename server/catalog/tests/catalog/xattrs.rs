//! Extended attributes: set, listed, replaced, removed, gone with their inode.

use crate::world::*;
use bytes::Bytes;
use catalog::store::MemoryStore;
use catalog::{
    Catalog, Done, Error, InodeChange, InodeId, RemoveWhat, SetXattr, XattrLimits, XattrTotals,
    transact,
};

async fn set_within(
    catalog: &Catalog,
    id: InodeId,
    (name, value): (&str, &[u8]),
    how: SetXattr,
    limits: &XattrLimits,
) -> Result<Done<InodeChange>, Error> {
    let value = Bytes::copy_from_slice(value);
    transact!(catalog, at(2000), |tx| -> Result<_, Error> {
        tx.xattr_set(id, name.as_bytes(), &value, how, limits).await
    })
}

async fn set(
    catalog: &Catalog,
    id: InodeId,
    name: &str,
    value: &[u8],
    how: SetXattr,
) -> Result<Done<InodeChange>, Error> {
    calls(catalog).xattr_set(id, name, value, how).await
}

async fn remove(catalog: &Catalog, id: InodeId, name: &str) -> Result<Done<InodeChange>, Error> {
    calls(catalog).xattr_remove(id, name).await
}

async fn names(catalog: &Catalog, id: InodeId, page: usize) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), 0);
    loop {
        let (found, more) = catalog.read().xattrs(id, after, page).await.unwrap();
        for one in found {
            assert!(one.cookie > after && one.cookie < 1 << 63);
            after = one.cookie;
            names.push(String::from_utf8(one.name.to_vec()).unwrap());
        }
        if !more {
            return names;
        }
    }
}

#[test]
fn an_attribute_is_made_replaced_and_removed_as_asked_and_moves_change_and_ctime() {
    run(async {
        let catalog = in_memory().await;
        let id = calls(&catalog).make(ROOT, "f", file()).await;
        let before = catalog.read().inode(id).await.unwrap();
        assert_eq!(
            set(&catalog, id, "a", b"1", SetXattr::Replace).await,
            Err(Error::NoXattr)
        );
        let made = set(&catalog, id, "a", b"1", SetXattr::Create)
            .await
            .unwrap();
        assert_eq!(made.value.before, before.change);
        assert_eq!(
            set(&catalog, id, "a", b"2", SetXattr::Create).await,
            Err(Error::Exists)
        );
        let replaced = set(&catalog, id, "a", b"22", SetXattr::Replace)
            .await
            .unwrap();
        assert_eq!(replaced.value.before, made.value.after);
        let inode = catalog.read().inode(id).await.unwrap();
        assert_eq!(
            (inode.change, inode.ctime),
            (replaced.value.after, at(2000))
        );
        assert_eq!(inode.mtime, before.mtime);
        assert_eq!(inode.xattrs, XattrTotals { count: 1, bytes: 3 });
        let value = catalog.read().xattr(id, b"a").await.unwrap();
        assert_eq!(value.as_deref(), Some(&b"22"[..]));
        remove(&catalog, id, "a").await.unwrap();
        assert_eq!(remove(&catalog, id, "a").await, Err(Error::NoXattr));
        assert_eq!(catalog.read().xattr(id, b"a").await, Ok(None));
        assert_sound(&catalog).await;
    });
}

#[test]
fn a_listing_in_pages_shows_each_name_once_and_outlives_removals() {
    run(async {
        let catalog = in_memory().await;
        let id = calls(&catalog).make(ROOT, "f", file()).await;
        let mut expected: Vec<String> = (0..100).map(|n| format!("name{n}")).collect();
        for name in &expected {
            set(&catalog, id, name, name.as_bytes(), SetXattr::Either)
                .await
                .unwrap();
        }
        let at_once = names(&catalog, id, 1000).await;
        for page in [1, 7, 99, 100] {
            assert_eq!(names(&catalog, id, page).await, at_once);
        }
        let mut sorted = at_once.clone();
        sorted.sort();
        expected.sort();
        assert_eq!(sorted, expected);
        // A place whose name is gone is still a place.
        let (first, _) = catalog.read().xattrs(id, 0, 50).await.unwrap();
        let place = first[49].cookie;
        remove(&catalog, id, &at_once[49]).await.unwrap();
        let (rest, more) = catalog.read().xattrs(id, place, 50).await.unwrap();
        let rest: Vec<_> = rest.iter().map(|one| one.name.as_ref()).collect();
        let expected: Vec<_> = at_once[50..].iter().map(String::as_bytes).collect();
        assert_eq!((rest, more), (expected, false));
        assert_sound(&catalog).await;
    });
}

#[test]
fn the_limits_hold_and_what_gets_smaller_is_always_taken() {
    run(async {
        let catalog = in_memory().await;
        let id = calls(&catalog).make(ROOT, "f", file()).await;
        let tight = XattrLimits {
            value_bytes: 10,
            count: 2,
            total_bytes: 16,
        };
        let ask = async |name: &str, value: &[u8]| {
            set_within(&catalog, id, (name, value), SetXattr::Either, &tight)
                .await
                .map(drop)
        };
        assert!(matches!(
            ask("a", &[0; 11]).await,
            Err(Error::TooLarge { .. })
        ));
        assert_eq!(ask("a", &[0; 10]).await, Ok(()));
        assert_eq!(ask("b", &[0; 5]).await, Err(Error::XattrsFull));
        assert_eq!(ask("b", &[0; 4]).await, Ok(()));
        assert_eq!(ask("c", &[]).await, Err(Error::XattrsFull));
        assert_eq!(ask("a", &[0; 9]).await, Ok(()));
        let long = "n".repeat(256);
        assert_eq!(ask(&long, &[]).await, Err(Error::NameTooLong));
        assert_eq!(ask("", &[]).await, Err(Error::NameTooLong));
        // As large as may be, every engine takes it as a record.
        let wide = XattrLimits::default();
        let value = vec![7; 64 << 10];
        set_within(&catalog, id, ("a", &value), SetXattr::Either, &wide)
            .await
            .unwrap();
        assert_eq!(ask("b", &[0; 3]).await, Ok(()), "less than before");
        assert_sound(&catalog).await;
    });
}

#[test]
fn attributes_go_with_their_file_and_with_their_folder() {
    run(async {
        let catalog = in_memory().await;
        let calls = calls(&catalog);
        let file = calls.make(ROOT, "f", file()).await;
        let folder = calls.make(ROOT, "d", folder()).await;
        for id in [file, folder] {
            for name in ["a", "b", "c"] {
                set(&catalog, id, name, &[1; 5000], SetXattr::Either)
                    .await
                    .unwrap();
            }
        }
        let done = set(&catalog, folder, "d", b"", SetXattr::Create)
            .await
            .unwrap();
        let change = done.change_of(folder).unwrap();
        let inode = catalog.read().inode(folder).await.unwrap();
        assert!(change.before < change.after && change.after == inode.change);
        assert_eq!(inode.ctime, at(2000));
        calls.remove(ROOT, "d", RemoveWhat::Any).await.unwrap();
        calls.remove(ROOT, "f", RemoveWhat::Any).await.unwrap();
        assert_eq!(names(&catalog, file, 10).await.len(), 3, "it may be open");
        assert!(catalog.reap(at(4000), file).await.unwrap());
        for id in [file, folder] {
            assert!(names(&catalog, id, 10).await.is_empty());
            assert_eq!(
                set(&catalog, id, "a", b"", SetXattr::Either).await,
                Err(Error::Stale)
            );
        }
        assert_sound(&catalog).await;
    });
}

#[test]
fn of_racing_creates_of_one_attribute_one_wins_on_a_store_that_fails_now_and_then() {
    run(async {
        for seed in 0..20 {
            let store = MemoryStore::with_faults(faults(seed));
            let catalog = on(&store).await;
            let id = calls(&catalog).make(ROOT, "f", file()).await;
            let race = async |value: &'static [u8]| {
                set(&catalog, id, "a", value, SetXattr::Create)
                    .await
                    .is_ok()
            };
            let (one, other) = tokio::join!(race(b"1"), race(b"2"));
            let value = catalog.read().xattr(id, b"a").await.unwrap();
            assert!(!(one && other));
            if one || other {
                let expected: &[u8] = if one { b"1" } else { b"2" };
                assert_eq!(value.as_deref(), Some(expected));
            }
            assert_sound(&catalog).await;
        }
    });
}
