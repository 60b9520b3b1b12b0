//! Extended attributes (RFC 8276): each operation, its errors and limits, a crash, a restart.

use anyhow::Result;
use interop_tests::nfs41::{ClientSetup, StatusOf, putfh, user};
use wire::nfs4::*;

use crate::world::World;

use SetxattrOption4::{Create, Either, Replace};

#[tokio::test]
async fn an_extended_attribute_is_set_read_replaced_and_removed() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let told = a.getattr(&root, &[Attr::XattrSupport]).await?;
    assert_eq!(told.xattr_support, Some(true));
    let file = a.open_create(&root, "f").await?;
    a.close(&file).await?;
    let folder = a.mkdir(&root, "d").await?;
    for fh in [&file.fh, &folder] {
        assert_eq!(a.getxattr(fh, "a").await.status(), Nfsstat4::Noxattr);
        assert_eq!(a.removexattr(fh, "a").await.status(), Nfsstat4::Noxattr);
        assert_eq!(
            a.setxattr(fh, Replace, "a", "1").await.status(),
            Nfsstat4::Noxattr
        );
        a.setxattr(fh, Create, "a", "1").await?;
        assert_eq!(
            a.setxattr(fh, Create, "a", "2").await.status(),
            Nfsstat4::Exist
        );
        assert_eq!(a.getxattr(fh, "a").await?, "1");
        a.setxattr(fh, Replace, "a", "22").await?;
        a.setxattr(fh, Either, "with/slash", "").await?;
        assert_eq!(a.getxattr(fh, "a").await?, "22");
        assert_eq!(a.getxattr(fh, "with/slash").await?, "");
        a.removexattr(fh, "a").await?;
        assert_eq!(a.getxattr(fh, "a").await.status(), Nfsstat4::Noxattr);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn change_info_of_setxattr_is_the_change_attribute_before_and_after() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let file = a.open_create(&root, "f").await?;
    let folder = a.mkdir(&root, "d").await?;
    for fh in [&file.fh, &folder] {
        let before = a.getattr(fh, &[Attr::Change, Attr::TimeModify]).await?;
        let set = a.setxattr(fh, Either, "a", "1").await?;
        assert_eq!((set.atomic, Some(set.before)), (true, before.change));
        assert_eq!(a.change_of(fh).await?, set.after);
        let same = a.setxattr(fh, Either, "a", "1").await?;
        assert_eq!(
            (same.atomic, same.before, same.after),
            (true, set.after, set.after),
            "nothing changed"
        );
        let removed = a.removexattr(fh, "a").await?;
        assert_eq!((removed.atomic, removed.before), (true, set.after));
        let after = a
            .getattr(fh, &[Attr::Change, Attr::TimeModify, Attr::TimeMetadata])
            .await?;
        assert_eq!(after.change, Some(removed.after));
        assert_eq!(
            after.time_modify, before.time_modify,
            "the data are the same"
        );
        assert!(after.time_metadata > before.time_modify);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn names_are_listed_in_pages_each_once_and_by_what_fits() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    let empty = a.listxattrs(&fh, 0, 16).await?;
    assert!(empty.eof && empty.names.is_empty());
    assert_eq!(a.listxattrs(&fh, 0, 15).await.status(), Nfsstat4::Toosmall);
    let mut expected: Vec<String> = (0..40).map(|n| format!("name {n:02}")).collect();
    for key in &expected {
        a.setxattr(&fh, Create, key, vec![0; 3000]).await?;
    }
    // Cookie, count, eof, and a word and 7 bytes, padded, for each name.
    let (around, each) = (16, 12);
    assert_eq!(
        a.listxattrs(&fh, 0, around + each - 1).await.status(),
        Nfsstat4::Toosmall
    );
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let page = a.listxattrs(&fh, cookie, around + 3 * each).await?;
        assert!(page.names.len() == 3 || page.eof);
        names.extend(page.names);
        cookie = page.cookie;
        if page.eof {
            break;
        }
    }
    let at_once = a.listxattrs(&fh, 0, 65_536).await?;
    assert_eq!((at_once.eof, &at_once.names), (true, &names));
    let past = a.listxattrs(&fh, cookie, 65_536).await?;
    assert!(past.eof && past.names.is_empty());
    names.sort();
    expected.sort();
    assert!(names.iter().eq(expected.iter()));
    assert_eq!(
        a.listxattrs(&fh, u64::MAX, 999).await.status(),
        Nfsstat4::Inval
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn what_is_too_large_too_long_or_too_many_is_refused_as_the_rfc_says() -> Result<()> {
    let world = World::with(1, |spec| {
        spec.limits.xattrs_per_file = 3;
        spec.limits.xattr_bytes_per_file = 100_000;
    })
    .await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    let set =
        async |key: &str, bytes: usize| a.setxattr(&fh, Either, key, vec![7; bytes]).await.status();
    assert_eq!(set("a", 65_536).await, Nfsstat4::Ok);
    assert_eq!(a.getxattr(&fh, "a").await?, vec![7; 65_536]);
    assert_eq!(set("a", 65_537).await, Nfsstat4::Xattr2big);
    assert_eq!(set("b", 65_536).await, Nfsstat4::Nospc);
    assert_eq!(set("b", 10).await, Nfsstat4::Ok);
    assert_eq!(set("c", 10).await, Nfsstat4::Ok);
    assert_eq!(set("d", 0).await, Nfsstat4::Nospc);
    assert_eq!(set("b", 0).await, Nfsstat4::Ok);
    assert_eq!(set(&"n".repeat(256), 1).await, Nfsstat4::Nametoolong);
    assert_eq!(set("", 1).await, Nfsstat4::Inval);
    assert_eq!(set("a\0b", 1).await, Nfsstat4::Badchar);
    assert_eq!(a.getxattr(&fh, "").await.status(), Nfsstat4::Inval);
    assert_eq!(a.getxattr(&fh, "a\0b").await.status(), Nfsstat4::Noxattr);
    assert_eq!(a.removexattr(&fh, "a\0b").await.status(), Nfsstat4::Badchar);
    assert_eq!(
        a.removexattr(&fh, &"n".repeat(256)).await.status(),
        Nfsstat4::Nametoolong
    );
    let link = a.symlink(&root, "l", "f").await?;
    assert_eq!(a.getxattr(&link, "a").await.status(), Nfsstat4::WrongType);
    assert_eq!(
        a.setxattr(&link, Either, "a", "").await.status(),
        Nfsstat4::WrongType
    );
    assert_eq!(
        a.listxattrs(&link, 0, 999).await.status(),
        Nfsstat4::WrongType
    );
    world.ends_without_leak().await
}

#[tokio::test]
async fn reading_takes_the_right_to_read_and_setting_the_right_to_write() -> Result<()> {
    let world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    let fh = a.open_create(&root, "f").await?.fh;
    a.setxattr(&fh, Either, "a", "1").await?;
    let everything = ACCESS4_XAREAD | ACCESS4_XAWRITE | ACCESS4_XALIST;
    for (mode, granted, read, set) in [
        (
            0o604,
            ACCESS4_XAREAD | ACCESS4_XALIST,
            Nfsstat4::Ok,
            Nfsstat4::Access,
        ),
        (0o602, ACCESS4_XAWRITE, Nfsstat4::Access, Nfsstat4::Ok),
        (0o606, everything, Nfsstat4::Ok, Nfsstat4::Ok),
        (0o600, 0, Nfsstat4::Access, Nfsstat4::Access),
    ] {
        let attributes = Attributes {
            mode: Some(mode),
            ..Attributes::default()
        };
        a.setattr(&fh, Stateid4::ANONYMOUS, attributes).await?;
        let ask = async |op| a.compound_as(user(77, 77), [putfh(&fh), op]).await;
        let get = Getxattr4Args { name: "a".into() };
        assert_eq!(ask(ArgOp::Getxattr(get)).await?.status, read, "{mode:o}");
        let list = Listxattrs4Args {
            cookie: 0,
            maxcount: 999,
        };
        assert_eq!(ask(ArgOp::Listxattrs(list)).await?.status, read, "{mode:o}");
        let change = Setxattr4Args {
            option: Either,
            key: "a".into(),
            value: "2".into(),
        };
        assert_eq!(ask(ArgOp::Setxattr(change)).await?.status, set, "{mode:o}");
        let access = ArgOp::Access(Access4Args { access: everything });
        let told = ask(access).await?.access()?;
        assert_eq!(
            (told.supported, told.access),
            (everything, granted),
            "{mode:o}"
        );
    }
    // Of 4.2 alone.
    let older = ClientSetup {
        minorversion: 1,
        ..ClientSetup::named("older")
    };
    let older = older.mount(world.address).await?;
    assert_eq!(older.access(&fh, everything).await?, 0);
    world.ends_without_leak().await
}

#[tokio::test]
async fn extended_attributes_outlive_a_crash_and_go_with_their_file() -> Result<()> {
    let mut world = World::start().await?;
    let a = world.client("a").await?;
    let root = a.root().await?;
    for entry in ["kept", "gone"] {
        let file = a.open_create(&root, entry).await?;
        a.close(&file).await?;
        a.setxattr(&file.fh, Either, "a", entry).await?;
    }
    let (kept, gone) = (
        a.lookup(&root, "kept").await?,
        a.lookup(&root, "gone").await?,
    );
    a.link(&gone, &root, "link").await?;
    a.rename((&root, "gone"), (&root, "moved")).await?;
    a.remove(&root, "link").await?;
    assert_eq!(a.getxattr(&gone, "a").await?, "gone");
    a.remove(&root, "moved").await?;
    assert_eq!(a.getxattr(&gone, "a").await.status(), Nfsstat4::Stale);
    world.crash_and_restart().await?;
    let b = world.client("b").await?;
    assert_eq!(b.getxattr(&kept, "a").await?, "kept");
    assert_eq!(world.catalog().check().await?, Vec::<String>::new());
    world.ends_without_leak().await
}

#[tokio::test]
async fn of_racing_creates_of_one_extended_attribute_one_wins() -> Result<()> {
    let world = World::start().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let fh = a.open_create(&a.root().await?, "f").await?.fh;
    for round in 0..10 {
        let key = format!("k{round}");
        let (one, other) = tokio::join!(
            a.setxattr(&fh, Create, &key, "a"),
            b.setxattr(&fh, Create, &key, "b")
        );
        let mut statuses = [one.status(), other.status()];
        statuses.sort_by_key(|status| *status as u32);
        assert_eq!(statuses, [Nfsstat4::Ok, Nfsstat4::Exist]);
    }
    world.ends_without_leak().await
}

#[tokio::test]
async fn where_a_file_lies_can_be_read_and_not_changed() -> Result<()> {
    let world = World::with(2, |_| {}).await?;
    let client = world.new_kernel("a").await?;
    let root = client.root().await?;
    let file = client.open_create(&root, "f").await?;
    client.write(&file.fh, file.stateid, 0, "x").await?;
    let told = async |key: &str| -> Result<String> {
        let value = client.getxattr(&file.fh, key).await?;
        Ok(String::from_utf8(value.to_vec())?)
    };
    assert_eq!(told("headrace.backend").await?, "ds0,ds1");
    let layout = told("headrace.layout").await?;
    assert!(layout.contains("stripe_count=2"), "{layout}");
    let lines = told("headrace.location").await?;
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let both = ["data_server=ds0 ", "data_server=ds1 "];
    assert!(both.iter().all(|one| lines.contains(one)), "{lines}");
    let set = client
        .setxattr(
            &file.fh,
            SetxattrOption4::Either,
            "headrace.backend",
            "mine",
        )
        .await;
    assert_eq!(set.status(), Nfsstat4::Perm);
    let gone = client.removexattr(&file.fh, "headrace.backend").await;
    assert_eq!(gone.status(), Nfsstat4::Perm);
    assert!(client.listxattrs(&file.fh, 0, 4096).await?.names.is_empty());
    // A folder lies nowhere.
    let none = client.getxattr(&root, "headrace.backend").await;
    assert_eq!(none.status(), Nfsstat4::Noxattr);
    world.ends_without_leak().await
}
