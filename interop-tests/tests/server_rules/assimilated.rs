//! A filer whose tree was taken into the catalog: its files are the namespace's own, their bytes stay
//! where they are.

use anyhow::{Context, Result};
use backend::Stability;
use backend::tree::{
    Caller, CreateHow, Make, MemoryTree, NodeChanges, NodeStat, SetTime, Tree, TreeErrorKind,
};
use bytes::Bytes;
use headrace::metadata::{AssimilatedSpec, BackendSpec, JunctionSpec, Keeper, NfsSpec, Running};
use interop_tests::nfs41::{ClientSetup, StatusOf, name, recalled, user};
use mds::Access;
use std::collections::BTreeSet;
use wire::nfs3::{Nfsstat3, Procedure};
use wire::nfs4::*;

use crate::filer::server::{Accident, EXPORT, Filer, Habits};
use crate::world::{World, at_last, until, watchful};

/// A tree in memory, as whoever was there before filled it.
pub struct Shelf {
    pub tree: MemoryTree,
    pub root: Bytes,
}

impl Shelf {
    pub async fn new() -> Result<Self> {
        let tree = MemoryTree::new("filer").judging();
        let root = tree.root().await?.handle;
        Ok(Self { tree, root })
    }

    pub async fn folder(&self, at: &Bytes, called: &str) -> Result<Bytes> {
        let born = NodeChanges {
            mode: Some(0o755),
            ..NodeChanges::default()
        };
        let root = Caller::root();
        let called = name(called);
        let made = self.tree.make(&root, at, &called, Make::Folder, &born);
        Ok(made.await?.0.handle)
    }

    /// Of user 1001, with its name for content, since long ago.
    pub async fn file(&self, at: &Bytes, called: &str, mode: u32) -> Result<Bytes> {
        let born = NodeChanges {
            mode: Some(mode),
            uid: Some(1001),
            gid: Some(1001),
            ..NodeChanges::default()
        };
        let (root, how) = (Caller::root(), CreateHow::Guarded);
        let data = name(called);
        let made = self.tree.create(&root, at, &data, how, &born);
        let handle = made.await?.0.handle;
        let written = self.tree.write(&root, &handle, 0, data, Stability::Durable);
        written.await?;
        let old = NodeChanges {
            mtime: Some(SetTime::At(1_000_000_000_000_000_000)),
            ..NodeChanges::default()
        };
        self.tree.set(&root, &handle, &old).await?;
        Ok(handle)
    }

    async fn stat(&self, handle: &Bytes) -> Result<NodeStat> {
        Ok(self.tree.stat(&Caller::root(), handle).await?)
    }

    async fn has(&self, at: &Bytes, called: &str) -> Result<bool> {
        let found = self.tree.lookup(&Caller::root(), at, &name(called)).await;
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.kind == TreeErrorKind::NoEntry => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn served(&self) -> Filer {
        Filer::start(self.tree.clone(), Habits::default()).await
    }
}

pub fn spec(filer: &Filer) -> AssimilatedSpec {
    AssimilatedSpec {
        name: "filer1".into(),
        nfs: NfsSpec {
            host: filer.address.ip().to_string(),
            port: filer.address.port(),
            mount_port: None,
            export: EXPORT.into(),
        },
        path: "/d/projects".into(),
        folder: "/".into(),
    }
}

/// One data server, and the filer's tree at /d/projects.
pub async fn world(filer: &Filer) -> Result<World> {
    World::with(1, |world| {
        watchful(world);
        world.assimilated = vec![spec(filer)];
    })
    .await
}

pub async fn is_scanned(world: &World) -> Result<()> {
    until("the scan's end", async || {
        let shown = world.running().assimilated.shown();
        Ok(shown.iter().all(|one| one.state().0 == "done"))
    })
    .await
}

#[tokio::test]
async fn what_an_assimilated_filer_has_is_part_of_the_namespace() -> Result<()> {
    let shelf = Shelf::new().await?;
    let team = shelf.folder(&shelf.root, "team").await?;
    let one = shelf.file(&team, "one", 0o640).await?;
    let root = Caller::root();
    shelf
        .tree
        .link(&root, &one, &shelf.root, &name("two"))
        .await?;
    let to = Make::Symlink(Bytes::from_static(b"team/one"));
    let born = NodeChanges::default();
    let soft = name("soft");
    shelf
        .tree
        .make(&root, &shelf.root, &soft, to, &born)
        .await?;
    let filer = shelf.served().await;
    let world = world(&filer).await?;
    is_scanned(&world).await?;
    let client = world.client("a").await?;
    let projects = client.walk("/d/projects").await?;
    let names = client.readdir(&projects, &[Attr::Fileid]).await?;
    let names: BTreeSet<Bytes> = names.into_iter().map(|entry| entry.name).collect();
    // Neither a mark of ours nor the place of objects that are made there.
    assert_eq!(names, BTreeSet::from(["team", "two", "soft"].map(name)));
    let file = client.walk("/d/projects/team/one").await?;
    let asked = [
        Attr::Mode,
        Attr::Owner,
        Attr::Size,
        Attr::Numlinks,
        Attr::TimeModify,
    ];
    let told = client.getattr(&file, &asked).await?;
    assert_eq!(
        (told.mode, told.size, told.numlinks),
        (Some(0o640), Some(3), Some(2))
    );
    assert_eq!(told.owner.as_deref(), Some(&b"1001"[..]));
    let modified = told.time_modify.context("a time")?;
    assert_eq!(modified.seconds, 1_000_000_000);
    let link = client.walk("/d/projects/soft").await?;
    assert_eq!(client.readlink(&link).await?, "team/one");
    let team = client.walk("/d/projects/team").await?;
    client.rename((&projects, "two"), (&team, "moved")).await?;
    let moved = client.lookup(&team, "moved").await?;
    assert_eq!(
        client.getattr(&moved, &[Attr::Fileid]).await?.fileid,
        client.getattr(&file, &[Attr::Fileid]).await?.fileid
    );
    assert!(
        shelf.has(&shelf.root, "two").await?,
        "the filer's names stay"
    );
    world.ends_sound().await
}

#[tokio::test]
async fn an_assimilated_file_is_read_where_it_lies_and_written_under_an_owner_of_its_own()
-> Result<()> {
    let shelf = Shelf::new().await?;
    let open = shelf.file(&shelf.root, "open", 0o644).await?;
    let closed = shelf.file(&shelf.root, "closed", 0o600).await?;
    let filer = shelf.served().await;
    let mut world = world(&filer).await?;
    is_scanned(&world).await?;
    let owner = ClientSetup::named("owner").with_credential(user(1001, 1001));
    let client = owner.mount(world.address).await?;
    let projects = client.walk("/d/projects").await?;
    // Everybody may read it there: nothing of it is changed.
    let to_read = client.open_to_read(&projects, "open").await?;
    let reading = world.to_read(&client, &to_read).await?;
    assert_eq!(
        reading.layout.mirrors[0].data_servers[0].fh_vers,
        std::slice::from_ref(&open)
    );
    assert_eq!(&reading.read(0, 100).await?[..], b"open");
    assert_eq!(shelf.stat(&open).await?.uid, 1001);
    assert!(
        reading.write(0, "x").await.is_err(),
        "a reader's ids can't write"
    );
    // Only its owner may: it gets one that layouts can carry.
    let other = client.open_to_read(&projects, "closed").await?;
    let held = world.to_read(&client, &other).await?;
    assert_eq!(&held.read(0, 100).await?[..], b"closed");
    assert!(shelf.stat(&closed).await?.uid >= crate::world::IDS.0);
    let size = client
        .getattr(&other.fh, &[Attr::Mode, Attr::Size, Attr::TimeModify])
        .await?;
    assert_eq!((size.mode, size.size), (Some(0o600), Some(6)));
    assert_eq!(size.time_modify.context("a time")?.seconds, 1_000_000_000);
    // To write.
    let to_write = client.open(&projects, "open").await?;
    let writing = world.to_write(&client, &to_write).await?;
    writing.write(4, " and longer").await?;
    let end = client
        .layoutcommit(&to_write.fh, writing.stateid, Some(14))
        .await?;
    assert_eq!(end, Some(15));
    let there = shelf.stat(&open).await?;
    assert!(
        there.uid >= crate::world::IDS.0 && there.mode == 0o640,
        "{there:?}"
    );
    assert_eq!(
        &reading.read(0, 100).await?[..],
        b"open and longer",
        "a reader goes on"
    );
    // A restart later the writer of before is kept out.
    world.crash().await?;
    world.begin().await?;
    let again = ClientSetup::named("again").with_credential(user(1001, 1001));
    let again = again.mount(world.address).await?;
    let projects = again.walk("/d/projects").await?;
    let file = world.opened_again(&again, &projects, "open").await?;
    let held = world.to_write_at_last(&again, &file).await?;
    held.write(0, "OPEN").await?;
    assert!(writing.write(0, "late").await.is_err(), "it was fenced");
    assert_eq!(&held.read(0, 4).await?[..], b"OPEN");
    world.ends_sound().await
}

#[tokio::test]
async fn the_last_name_of_an_assimilated_file_takes_it_off_the_filer_and_nothing_else() -> Result<()>
{
    let shelf = Shelf::new().await?;
    let team = shelf.folder(&shelf.root, "team").await?;
    let one = shelf.file(&team, "one", 0o644).await?;
    shelf.file(&team, "other", 0o644).await?;
    shelf.file(&shelf.root, "taken", 0o644).await?;
    let root = Caller::root();
    shelf
        .tree
        .link(&root, &one, &shelf.root, &name("two"))
        .await?;
    let filer = shelf.served().await;
    let world = world(&filer).await?;
    is_scanned(&world).await?;
    let client = world.client("a").await?;
    let projects = client.walk("/d/projects").await?;
    let inner = client.walk("/d/projects/team").await?;
    client.remove(&inner, "one").await?;
    client
        .rename((&projects, "two"), (&projects, "three"))
        .await?;
    assert!(shelf.has(&team, "one").await?, "it has a name left");
    client.remove(&projects, "three").await?;
    until("both names are gone", async || {
        Ok(!shelf.has(&team, "one").await? && !shelf.has(&shelf.root, "two").await?)
    })
    .await?;
    // Somebody broke the promise: what has the name by now is another file.
    shelf
        .tree
        .remove(&root, &shelf.root, &name("taken"))
        .await?;
    shelf.file(&shelf.root, "taken", 0o644).await?;
    client.remove(&projects, "taken").await?;
    until("the delete queue is empty", async || {
        Ok(world.catalog().delete_queue(None, 1).await?.is_empty())
    })
    .await?;
    assert!(shelf.has(&shelf.root, "taken").await?, "another's stays");
    assert!(shelf.has(&team, "other").await?);
    client.remove(&inner, "other").await?;
    client.remove(&projects, "team").await?;
    until("the file is gone", async || {
        Ok(!shelf.has(&team, "other").await?)
    })
    .await?;
    assert!(
        shelf.has(&shelf.root, "team").await?,
        "empty folders stay there"
    );
    // A new file lies on the data servers.
    let new = client.open_create(&projects, "new").await?;
    world.to_write(&client, &new).await?.write(0, "x").await?;
    assert!(!shelf.has(&shelf.root, "new").await?);
    world.ends_sound().await
}

#[tokio::test]
async fn whoever_wants_in_a_folder_that_is_not_scanned_yet_waits_and_sees_it_whole() -> Result<()> {
    let shelf = Shelf::new().await?;
    let team = shelf.folder(&shelf.root, "team").await?;
    for number in 0..700 {
        shelf.file(&team, &format!("f{number}"), 0o644).await?;
    }
    let filer = shelf.served().await;
    // For a while nothing is listed.
    for _ in 0..6 {
        filer.plan(Procedure::Readdirplus, Accident::Refused(Nfsstat3::Jukebox));
    }
    let world = world(&filer).await?;
    let client = world.client("a").await?;
    let again = [Nfsstat4::Delay, Nfsstat4::Noent];
    let projects = at_last("the folder", &again, async || {
        client.walk("/d/projects").await
    })
    .await?;
    // Nobody makes a name that the filer may have.
    let refused = client.mkdir(&projects, "team").await;
    assert_eq!(refused.status(), Nfsstat4::Delay);
    assert_eq!(
        client.lookup(&projects, "team").await.status(),
        Nfsstat4::Delay
    );
    let above = client.walk("/d").await?;
    assert_eq!(
        client.remove(&above, "projects").await.status(),
        Nfsstat4::Notempty
    );
    let team = at_last("the folder", &[Nfsstat4::Delay], async || {
        client.lookup(&projects, "team").await
    })
    .await?;
    let listed = at_last("the listing", &[Nfsstat4::Delay], async || {
        client.readdir(&team, &[Attr::Fileid]).await
    })
    .await?;
    assert_eq!(listed.len(), 700, "all or nothing");
    assert!(filer.nothing_is_planned());
    world.ends_sound().await
}

#[tokio::test]
async fn who_has_the_folder_by_a_delegation_gives_it_back_before_it_is_taken_over() -> Result<()> {
    let shelf = Shelf::new().await?;
    shelf.file(&shelf.root, "f", 0o644).await?;
    let filer = shelf.served().await;
    filer.set_away(true);
    let world = world(&filer).await?;
    let client = world.client("a").await?;
    let above = client.mkdir(&client.root().await?, "d").await?;
    let projects = client.mkdir(&above, "projects").await?;
    let given = client.get_dir_delegation(&projects).await?;
    let GetDirDelegation4Ok::Ok(given) = given else {
        panic!("an empty folder is delegated: {given:?}");
    };
    assert_eq!(client.readdir(&projects, &[Attr::Fileid]).await?.len(), 0);
    filer.set_away(false);
    assert_eq!(recalled(&client).await?.stateid, given.stateid);
    // What was read by it is still so.
    assert_eq!(client.readdir(&projects, &[Attr::Fileid]).await?.len(), 0);
    client.delegreturn(&projects, given.stateid).await?;
    is_scanned(&world).await?;
    let listed = client.readdir(&projects, &[Attr::Fileid]).await?;
    assert_eq!(listed.len(), 1);
    world.ends_sound().await
}

#[tokio::test]
async fn a_paused_scan_still_takes_in_what_is_asked_for_and_goes_on_when_it_is_told_to()
-> Result<()> {
    let shelf = Shelf::new().await?;
    let mut at = shelf.root.clone();
    for depth in 0..5 {
        at = shelf.folder(&at, &format!("d{depth}")).await?;
    }
    shelf.file(&at, "deep", 0o644).await?;
    let filer = shelf.served().await;
    for _ in 0..2 {
        filer.plan(Procedure::Readdirplus, Accident::Refused(Nfsstat3::Jukebox));
    }
    let world = world(&filer).await?;
    let assimilated = &world.running().assimilated;
    assert!(
        !assimilated.pause("nobody", true),
        "there is no such backend"
    );
    until("it is paused", async || {
        Ok(assimilated.pause("filer1", true))
    })
    .await?;
    let client = world.client("a").await?;
    let file = at_last(
        "the file",
        &[Nfsstat4::Delay, Nfsstat4::Noent],
        async || client.walk("/d/projects/d0/d1/d2/d3/d4/deep").await,
    )
    .await?;
    assert_eq!(client.size_of(&file).await?, 4);
    assert_eq!(assimilated.shown()[0].state().0, "paused");
    assert!(assimilated.pause("filer1", false));
    is_scanned(&world).await?;
    let totals = assimilated.shown()[0].totals();
    assert_eq!(
        (totals.left, totals.directories, totals.files, totals.bytes),
        (0, 6, 1, 4)
    );
    world.ends_sound().await
}

#[tokio::test]
async fn a_scan_goes_on_after_a_crash_and_misses_and_doubles_nothing() -> Result<()> {
    let shelf = Shelf::new().await?;
    for folder in 0..20 {
        let inner = shelf.folder(&shelf.root, &format!("d{folder}")).await?;
        for file in 0..30 {
            shelf.file(&inner, &format!("f{file}"), 0o644).await?;
        }
    }
    let filer = shelf.served().await;
    let mut world = world(&filer).await?;
    for _ in 0..4 {
        let more = |world: &World| {
            let shown = world.running().assimilated.shown();
            shown[0].totals().directories
        };
        let before = more(&world);
        until("the scan goes on", async || {
            let shown = world.running().assimilated.shown();
            Ok(more(&world) > before + 3 || shown[0].state().0 == "done")
        })
        .await?;
        world.crash().await?;
        world.begin().await?;
    }
    is_scanned(&world).await?;
    let totals = world.running().assimilated.shown()[0].totals();
    assert_eq!((totals.directories, totals.files), (21, 600));
    let client = world.client("a").await?;
    for folder in 0..20 {
        let folder = client.walk(&format!("/d/projects/d{folder}")).await?;
        assert_eq!(client.readdir(&folder, &[Attr::Fileid]).await?.len(), 30);
    }
    world.ends_sound().await
}

#[tokio::test]
async fn an_assimilated_filer_that_comes_back_with_other_contents_is_refused() -> Result<()> {
    let shelf = Shelf::new().await?;
    shelf.file(&shelf.root, "f", 0o644).await?;
    let filer = shelf.served().await;
    let mut world = world(&filer).await?;
    is_scanned(&world).await?;
    let client = world.client("a").await?;
    let projects = client.walk("/d/projects").await?;
    world.stop().await?;
    let other = MemoryTree::new("other").judging();
    filer.show(other);
    world.begin().await?;
    // Its names are known, its bytes wait for the filer that has them.
    let client = world.client("b").await?;
    let file = world.opened_again(&client, &projects, "f").await?;
    let read = client.read(&file.fh, file.stateid, 0, 10).await;
    assert_eq!(read.status(), Nfsstat4::Delay);
    client.close(&file).await?;
    client.remove(&projects, "f").await?;
    filer.show(shelf.tree.clone());
    until("what was removed meanwhile is gone there", async || {
        Ok(!shelf.has(&shelf.root, "f").await?)
    })
    .await?;
    world.ends_sound().await
}

#[tokio::test]
async fn what_was_assimilated_is_not_shown_otherwise_and_waits_without_its_backend() -> Result<()> {
    let shelf = Shelf::new().await?;
    shelf.file(&shelf.root, "f", 0o644).await?;
    let filer = shelf.served().await;
    let mut world = world(&filer).await?;
    is_scanned(&world).await?;
    world.stop().await?;
    let mut otherwise = world.spec().clone();
    otherwise.assimilated.clear();
    otherwise.backends = vec![BackendSpec {
        name: "filer1".into(),
        keeper: Keeper::Nfs(spec(&filer).nfs),
        cache: None,
    }];
    otherwise.junctions = vec![JunctionSpec {
        path: "/d/shown".into(),
        backend: "filer1".into(),
        folder: "/".into(),
        access: Access::ReadWrite,
    }];
    let refused = Running::start(otherwise, None).await;
    let refused = refused.err().context("it is refused")?.to_string();
    assert!(
        refused.contains("backend filer1 is assimilated"),
        "{refused}"
    );
    world.spec_mut().assimilated.clear();
    world.begin().await?;
    let client = world.client("a").await?;
    let projects = client.walk("/d/projects").await?;
    let file = world.opened_again(&client, &projects, "f").await?;
    assert_eq!(client.size_of(&file.fh).await?, 1);
    let read = client.read(&file.fh, file.stateid, 0, 10).await;
    assert_eq!(read.status(), Nfsstat4::Delay);
    world.stop().await?;
    world.spec_mut().assimilated = vec![spec(&filer)];
    world.begin().await?;
    let client = world.client("b").await?;
    let file = world.opened_again(&client, &projects, "f").await?;
    let read = at_last("the file", &[Nfsstat4::Delay], async || {
        client.read(&file.fh, file.stateid, 0, 10).await
    })
    .await?;
    assert_eq!(&read.data[..], b"f");
    world.ends_sound().await
}
