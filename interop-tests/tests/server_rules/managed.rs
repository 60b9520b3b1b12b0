//! Folders whose files lie on a backend that clients don't reach: a data server in memory stands for it.

use anyhow::{Context, Result};
use backend::{DataServer, Faults, Faulty, FenceGrade, MemoryServer};
use headrace::metadata::{
    AssimilatedSpec, GivenServer, ManagedSpec, NfsSpec, Running, S3Spec, Storage,
};
use interop_tests::nfs41::{Client, ClientSetup, Failure, OpenFile, StatusOf, name, putfh, user};
use std::sync::Arc;
use wire::nfs4::*;

use crate::copies::{all_of, copy, copy_args};
use crate::crossings::{SPACES, cloned, is_apart, root_stays, stays_apart};
use crate::world::{MIB, World, at_last, until, watchful};

/// A bucket, and what may befall it.
struct Lake {
    memory: MemoryServer,
    front: Arc<Faulty>,
}

impl Lake {
    fn new() -> Self {
        let memory = MemoryServer::new("lake", FenceGrade::Exact).indirect();
        let inner = Arc::new(memory.clone());
        let restarted = memory.clone();
        let restart = move |seed| restarted.restart(seed);
        let front = Arc::new(Faulty::new(inner, 1, Faults::default(), restart));
        Self { memory, front }
    }

    fn spec(&self) -> ManagedSpec {
        ManagedSpec {
            name: "lake".into(),
            storage: Storage::Given(GivenServer(Arc::clone(&self.front) as _)),
            cache: None,
            path: "/d/lake".into(),
        }
    }

    /// One data server, and this at /d/lake.
    async fn world(&self) -> Result<World> {
        let world = World::with(1, |spec| {
            watchful(spec);
            spec.managed = vec![self.spec()];
        });
        let world = world.await?;
        stands(&world, "up").await?;
        Ok(world)
    }

    fn objects(&self) -> usize {
        self.memory.list().len()
    }

    async fn is_empty(&self) -> Result<()> {
        until("its objects are gone", async || Ok(self.objects() == 0)).await
    }
}

async fn stands(world: &World, state: &str) -> Result<()> {
    until("the backend's state", async || {
        let shown = world.running().managed.shown();
        Ok(shown.iter().all(|one| one.state().0 == state))
    })
    .await
}

async fn no_layouts(client: &Client, file: &OpenFile) {
    for iomode in [Layoutiomode4::Rw, Layoutiomode4::Read] {
        let asked = client.layoutget(&file.fh, file.stateid, iomode).await;
        assert_eq!(asked.status(), Nfsstat4::Layoutunavailable);
    }
}

async fn bytes_of(client: &Client, file: &OpenFile) -> Result<Vec<u8>> {
    let again = [Nfsstat4::Delay];
    let read = at_last("a read", &again, async || {
        client.read(&file.fh, file.stateid, 0, 100).await
    });
    Ok(read.await?.data.to_vec())
}

#[tokio::test]
async fn files_of_a_managed_folder_lie_on_its_backend_and_pass_this_server() -> Result<()> {
    let lake = Lake::new();
    let world = lake.world().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let folder = a.walk("/d/lake").await?;
    let inner = a.mkdir(&folder, "inner").await?;
    let file = a.open_create(&inner, "f").await?;
    no_layouts(&a, &file).await;
    assert_eq!(lake.objects(), 0, "its object comes with its first byte");
    a.write(&file.fh, file.stateid, 0, "written by one").await?;
    assert_eq!(lake.objects(), 1);
    no_layouts(&a, &file).await;
    let other = b.open(&inner, "f").await?;
    assert_eq!(&bytes_of(&b, &other).await?[..], b"written by one");
    b.write(&other.fh, other.stateid, 11, "another").await?;
    a.commit(&file.fh, 0, 0).await?;
    assert_eq!(&bytes_of(&a, &file).await?[..], b"written by another");
    a.truncate(&file.fh, file.stateid, 7).await?;
    assert_eq!(b.size_of(&file.fh).await?, 7);
    assert_eq!(&bytes_of(&b, &other).await?[..], b"written");
    for (at, said) in [(&file.fh, "lake"), (&inner, "lake")] {
        assert_eq!(a.getxattr(at, "headrace.backend").await?, said);
    }
    let lines = a.getxattr(&file.fh, "headrace.location").await?;
    assert!(lines.starts_with(b"offset=0 mirror=0 stripe=0 data_server=lake object="));
    // As all others: locks, links, attributes, names.
    a.link(&file.fh, &folder, "g").await?;
    a.symlink(&folder, "s", "inner/f").await?;
    a.rename((&inner, "f"), (&folder, "h")).await?;
    a.close(&file).await?;
    b.close(&other).await?;
    a.remove(&folder, "g").await?;
    assert_eq!(lake.objects(), 1, "it has a name left");
    a.remove(&folder, "h").await?;
    lake.is_empty().await?;
    world.ends_sound().await
}

#[tokio::test]
async fn a_managed_folder_is_another_file_system_with_space_of_its_own() -> Result<()> {
    let lake = Lake::new();
    let mut world = lake.world().await?;
    let client = world.client("a").await?;
    let (outside, folder) = (client.walk("/d").await?, client.walk("/d/lake").await?);
    let inner = client.mkdir(&folder, "inner").await?;
    client.symlink(&folder, "soft", "inner").await?;
    let file = client.open_create(&inner, "f").await?;
    client.write(&file.fh, file.stateid, 0, "kept").await?;
    let here = client.open_create(&outside, "here").await?;
    let soft = client.lookup(&folder, "soft").await?;
    is_apart(
        &client,
        &outside,
        "lake",
        &[&folder, &inner, &soft, &file.fh],
    )
    .await?;
    let space = client.getattr(&inner, &SPACES).await?;
    let kept = lake.front.space().await?;
    assert_eq!(space.space_total, Some(kept.total));
    assert!(space.space_free.is_some_and(|free| free > 0));
    let around = client.getattr(&outside, &SPACES).await?;
    let ours = world.running().objects.space();
    assert_eq!(
        around.space_total,
        Some(ours.total),
        "the bucket isn't in it"
    );
    assert_eq!(around.files_total, space.files_total);
    // Names don't go across, and the root stays.
    stays_apart(&client, (&outside, "here"), (&inner, "f")).await?;
    client.mkdir(&outside, "d").await?;
    stays_apart(&client, (&outside, "d"), (&folder, "inner")).await?;
    for (source, target) in [(&file, &here), (&here, &file)] {
        let clone = cloned(&client, source, target, 4).await;
        assert_eq!(clone.status(), Nfsstat4::Xdev);
    }
    root_stays(&client, &outside, "lake").await?;
    // Above it all is as ever: the folder that holds its root may be moved.
    let root = client.root().await?;
    client.rename((&root, "d"), (&root, "e")).await?;
    assert_eq!(client.walk("/e/lake").await?, folder);
    client.rename((&root, "e"), (&root, "d")).await?;
    // Without its backend the tree is as it was, and a root that is empty may go.
    world.stop().await?;
    world.spec_mut().managed.clear();
    world.begin().await?;
    let client = world.client("b").await?;
    is_apart(&client, &outside, "lake", &[&folder, &inner, &soft]).await?;
    let grace = world.spec().limits.grace;
    world.let_pass_for(&[&client], grace).await?;
    at_last("grace is over", &[Nfsstat4::Grace], async || {
        client.remove(&folder, "soft").await
    })
    .await?;
    let full = client.remove(&outside, "lake").await;
    assert_eq!(full.status(), Nfsstat4::Notempty);
    client.remove(&inner, "f").await?;
    client.remove(&folder, "inner").await?;
    client.remove(&outside, "lake").await?;
    world.ends_sound().await
}

#[tokio::test]
async fn ranges_of_managed_files_are_found_emptied_copied_and_cloned() -> Result<()> {
    let lake = Lake::new();
    let world = lake.world().await?;
    let client = world.client("a").await?;
    let (outside, folder) = (client.walk("/d").await?, client.walk("/d/lake").await?);
    let from = client.open_create(&outside, "from").await?;
    for at in (0..2 * MIB).step_by(256 << 10) {
        client
            .write(&from.fh, from.stateid, at, vec![7; 256 << 10])
            .await?;
    }
    let to = client.open_create(&folder, "to").await?;
    let all = copy_args(&from, &to, (0, 0, 2 * MIB));
    assert_eq!(copy(&client, &from, &to, all).await?.count, 2 * MIB);
    assert_eq!(all_of(&client, &to, 0, 2 << 20).await?, 7);
    let hole = Deallocate4Args {
        stateid: to.stateid,
        offset: MIB,
        length: MIB,
    };
    client.ok([putfh(&to.fh), ArgOp::Deallocate(hole)]).await?;
    assert_eq!(all_of(&client, &to, MIB, 1 << 20).await?, 0);
    let seek = Seek4Args {
        stateid: to.stateid,
        offset: 0,
        what: DataContent4::Data,
    };
    let found = client
        .ok([putfh(&to.fh), ArgOp::Seek(seek)])
        .await?
        .seek()?;
    assert_eq!((found.offset, found.eof), (0, false));
    let back = client.open_create(&outside, "back").await?;
    let half = copy_args(&to, &back, (0, 0, MIB));
    assert_eq!(copy(&client, &to, &back, half).await?.count, MIB);
    assert_eq!(all_of(&client, &back, 0, 1 << 20).await?, 7);
    // Blocks can't be shared, so that bytes are copied.
    let target = client.open_create(&folder, "beside").await?;
    cloned(&client, &to, &target, MIB).await?;
    assert_eq!(all_of(&client, &target, 0, 1 << 20).await?, 7);
    let lies = client.getxattr(&target.fh, "headrace.backend").await?;
    assert_eq!(lies, "lake");
    world.ends_sound().await
}

#[tokio::test]
async fn a_managed_backend_that_is_away_makes_its_bytes_wait_and_nothing_else() -> Result<()> {
    let lake = Lake::new();
    let world = lake.world().await?;
    let client = world.client("a").await?;
    let (outside, folder) = (client.walk("/d").await?, client.walk("/d/lake").await?);
    let before = client.open_create(&folder, "before").await?;
    client
        .write(&before.fh, before.stateid, 0, "before")
        .await?;
    lake.front.set_away(true);
    stands(&world, "away").await?;
    let file = client.open_create(&folder, "f").await?;
    let written = client.write(&file.fh, file.stateid, 0, "x").await;
    assert_eq!(written.status(), Nfsstat4::Delay);
    let read = client.read(&before.fh, before.stateid, 0, 10).await;
    assert_eq!(read.status(), Nfsstat4::Delay);
    // Who asks for a layout isn't told to come again.
    no_layouts(&client, &before).await;
    no_layouts(&client, &file).await;
    client.rename((&folder, "f"), (&folder, "g")).await?;
    client.remove(&folder, "before").await?;
    let other = client.open_create(&outside, "other").await?;
    world.to_write(&client, &other).await?.write(0, "x").await?;
    lake.front.set_away(false);
    let again = [Nfsstat4::Delay];
    at_last("a write", &again, async || {
        client.write(&file.fh, file.stateid, 0, "after").await
    })
    .await?;
    assert_eq!(
        &bytes_of(&client, &before).await?[..],
        b"before",
        "it is open"
    );
    client.close(&before).await?;
    until("the removed file is gone", async || Ok(lake.objects() == 1)).await?;
    assert_eq!(&bytes_of(&client, &file).await?[..], b"after");
    world.ends_sound().await
}

#[tokio::test]
async fn calls_that_wait_for_a_managed_backend_leave_room_for_others() -> Result<()> {
    let lake = Lake::new();
    let world = lake.world().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let folder = a.walk("/d/lake").await?;
    let file = a.open_create(&folder, "f").await?;
    a.write(&file.fh, file.stateid, 0, "x").await?;
    lake.front.set_away(true);
    let writes = (0..200).map(|at| a.write(&file.fh, file.stateid, at, "x"));
    let (_, other) = tokio::join!(futures_util::future::join_all(writes), async {
        let other = b.open_create(&b.walk("/d").await?, "other").await?;
        b.write(&other.fh, other.stateid, 0, "x").await
    });
    other?;
    stands(&world, "away").await?;
    // Told at once by now, so that they hold no slots.
    let writes = (0..200).map(|at| a.write(&file.fh, file.stateid, at, "x"));
    for told in futures_util::future::join_all(writes).await {
        assert_eq!(told.status(), Nfsstat4::Delay);
    }
    a.mkdir(&folder, "d").await?;
    lake.front.set_away(false);
    world.ends_sound().await
}

#[tokio::test]
async fn what_a_managed_backend_lost_with_a_restart_is_sent_again() -> Result<()> {
    let lake = Lake::new();
    let world = lake.world().await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d/lake").await?;
    let file = client.open_create(&folder, "f").await?;
    let args = Write4Args {
        stateid: file.stateid,
        offset: 0,
        stable: StableHow4::Unstable,
        data: name("unstable"),
    };
    let write = || client.ok([putfh(&file.fh), ArgOp::Write(args.clone())]);
    let written = write().await?.write()?;
    assert_eq!(written.committed, StableHow4::Unstable);
    lake.memory.restart(7);
    assert_ne!(client.commit(&file.fh, 0, 0).await?, written.writeverf);
    let again = write().await?.write()?;
    assert_eq!(client.commit(&file.fh, 0, 0).await?, again.writeverf);
    assert_eq!(&bytes_of(&client, &file).await?[..], b"unstable");
    world.ends_sound().await
}

#[tokio::test]
async fn a_managed_file_is_delegated_as_any_other() -> Result<()> {
    let lake = Lake::new();
    let world = lake.world().await?;
    let (a, b) = (world.client("a").await?, world.client("b").await?);
    let folder = a.walk("/d/lake").await?;
    let made = a.open_create(&folder, "f").await?;
    a.write(&made.fh, made.stateid, 0, "x").await?;
    a.close(&made).await?;
    let mut args = a.open_args("f", Openflag4::NoCreate);
    args.share_access = OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG;
    let file = a.open_with(&folder, args).await?;
    let OpenDelegation4::Write(delegation) = &file.opened.delegation else {
        panic!("a delegation to write, not {:?}", file.opened.delegation);
    };
    a.write(&file.fh, delegation.stateid, 1, "y").await?;
    let wanted = at_last("it comes back", &[Nfsstat4::Delay], async || {
        let opened = b.open(&folder, "f").await;
        if opened.status() == Nfsstat4::Delay {
            let back = Delegreturn4Args {
                deleg_stateid: delegation.stateid,
            };
            let _ = a.ok([putfh(&file.fh), ArgOp::Delegreturn(back)]).await;
        }
        opened
    });
    assert_eq!(&bytes_of(&b, &wanted.await?).await?[..], b"xy");
    world.ends_sound().await
}

#[tokio::test]
async fn managed_files_outlive_restarts_and_moves_of_what_is_above_their_folder() -> Result<()> {
    let lake = Lake::new();
    let mut world = lake.world().await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d/lake").await?;
    let file = client.open_create(&folder, "f").await?;
    client.write(&file.fh, file.stateid, 0, "kept").await?;
    client.open_create(&folder, "unbound").await?;
    let root = client.root().await?;
    client.rename((&root, "d"), (&root, "moved")).await?;
    world.crash_and_restart().await?;
    let client = world.client("b").await?;
    let again = world.opened_again(&client, &folder, "f").await?;
    assert_eq!(&bytes_of(&client, &again).await?[..], b"kept");
    let unbound = client.open(&folder, "unbound").await?;
    at_last("a write", &[Nfsstat4::Delay], async || {
        client.write(&unbound.fh, unbound.stateid, 0, "x").await
    })
    .await?;
    assert_eq!(lake.objects(), 2);
    assert_eq!(
        client.walk("/moved/lake").await?,
        folder,
        "it has its folder"
    );
    world.ends_sound().await
}

#[tokio::test]
async fn what_is_managed_is_not_shown_otherwise_and_waits_without_its_backend() -> Result<()> {
    let lake = Lake::new();
    let mut world = lake.world().await?;
    let client = world.client("a").await?;
    let folder = client.walk("/d/lake").await?;
    let file = client.open_create(&folder, "f").await?;
    client.write(&file.fh, file.stateid, 0, "kept").await?;
    client.close(&file).await?;
    until("its size is settled", async || {
        Ok(world.catalog().intents().await?.is_empty())
    })
    .await?;
    world.stop().await?;
    let mut otherwise = world.spec().clone();
    otherwise.managed.clear();
    otherwise.assimilated = vec![AssimilatedSpec {
        name: "lake".into(),
        nfs: NfsSpec {
            host: "127.0.0.1".into(),
            port: 1,
            mount_port: None,
            export: "/vol".into(),
        },
        path: "/d/other".into(),
        folder: "/".into(),
    }];
    let refused = Running::start(otherwise, None).await;
    let refused = refused.err().context("it is refused")?.to_string();
    assert!(refused.contains("backend lake is managed"), "{refused}");
    world.spec_mut().managed.clear();
    world.begin().await?;
    let client = world.client("b").await?;
    let file = world.opened_again(&client, &folder, "f").await?;
    assert_eq!(client.size_of(&file.fh).await?, 4);
    let read = client.read(&file.fh, file.stateid, 0, 10).await;
    assert_eq!(read.status(), Nfsstat4::Delay);
    no_layouts(&client, &file).await;
    world.stop().await?;
    let elsewhere = S3Spec {
        bucket: "other".into(),
        prefix: String::new(),
        endpoint: Some("http://127.0.0.1:1".into()),
        region: None,
        others_write: true,
        spool_bytes: None,
        owner: (0, 0),
    };
    world.spec_mut().managed = vec![ManagedSpec {
        storage: Storage::S3(elsewhere),
        ..lake.spec()
    }];
    world.begin().await?;
    until("it is told that it is another", async || {
        let (state, why) = world.running().managed.shown()[0].state();
        Ok(state == "away" && why.is_some_and(|why| why.contains("its files lie in")))
    })
    .await?;
    world.stop().await?;
    world.spec_mut().managed = vec![lake.spec()];
    world.begin().await?;
    let client = world.client("c").await?;
    let file = world.opened_again(&client, &folder, "f").await?;
    assert_eq!(&bytes_of(&client, &file).await?[..], b"kept");
    world.ends_sound().await
}

#[tokio::test]
async fn a_folder_with_files_of_others_becomes_managed_when_it_is_empty() -> Result<()> {
    let lake = Lake::new();
    let mut world = World::with(1, watchful).await?;
    let client = world.client("a").await?;
    let d = client.mkdir(&client.root().await?, "d").await?;
    let folder = client.mkdir(&d, "lake").await?;
    client.open_create(&folder, "old").await?;
    world.stop().await?;
    world.spec_mut().managed = vec![lake.spec()];
    world.begin().await?;
    let shown = world.running().managed.shown();
    let (state, why) = shown[0].state();
    let why = why.context("it says why")?;
    assert!(
        state == "held" && why.contains("isn't empty"),
        "{state}: {why}"
    );
    let client = world.client("b").await?;
    let grace = world.spec().limits.grace;
    world.let_pass_for(&[&client], grace).await?;
    at_last("a remove after grace", &[Nfsstat4::Grace], async || {
        client.remove(&folder, "old").await
    })
    .await?;
    stands(&world, "up").await?;
    let file = client.open_create(&folder, "new").await?;
    client.write(&file.fh, file.stateid, 0, "x").await?;
    assert_eq!(lake.objects(), 1);
    world.ends_sound().await
}

#[tokio::test]
async fn where_no_data_server_takes_new_files_a_write_outside_is_refused_and_not_waited_for()
-> Result<()> {
    let lake = Lake::new();
    let mut world = World::with(1, |spec| {
        watchful(spec);
        spec.data_servers[0].weight = 0;
        spec.managed = vec![lake.spec()];
    })
    .await?;
    stands(&world, "up").await?;
    let client = world.client("a").await?;
    let (outside, folder) = (client.walk("/d").await?, client.walk("/d/lake").await?);
    let there = client.open_create(&folder, "f").await?;
    client.write(&there.fh, there.stateid, 0, "x").await?;
    let file = client.open_create(&outside, "f").await?;
    no_layouts(&client, &file).await;
    let written = client.write(&file.fh, file.stateid, 0, "x").await;
    assert_eq!(written.status(), Nfsstat4::Nospc);
    client.close(&file).await?;
    // One that is merely away is waited for.
    world.stop().await?;
    world.spec_mut().data_servers[0].weight = 1;
    world.stop_data_server(0).await?;
    world.begin().await?;
    let client = world.client("b").await?;
    let file = world.opened_again(&client, &outside, "f").await?;
    let written = client.write(&file.fh, file.stateid, 0, "x").await;
    assert_eq!(written.status(), Nfsstat4::Delay);
    world.start_data_server(0)?;
    at_last("a write", &[Nfsstat4::Delay], async || {
        client.write(&file.fh, file.stateid, 0, "x").await
    })
    .await?;
    world.ends_sound().await
}

#[tokio::test]
async fn rights_in_a_managed_folder_are_this_servers() -> Result<()> {
    let lake = Lake::new();
    let world = lake.world().await?;
    let root = world.client("root").await?;
    let folder = root.walk("/d/lake").await?;
    let (one, two) = (user(1001, 1001), user(1002, 1002));
    let one = ClientSetup::named("one").with_credential(one);
    let two = ClientSetup::named("two").with_credential(two);
    let (one, two) = (
        one.mount(world.address).await?,
        two.mount(world.address).await?,
    );
    let refused: Result<OpenFile, Failure> = one.open_create(&folder, "f").await;
    assert_eq!(refused.status(), Nfsstat4::Access);
    let everybodys = Attributes {
        mode: Some(0o777),
        ..Attributes::default()
    };
    root.setattr(&folder, Stateid4::ANONYMOUS, everybodys)
        .await?;
    let file = one.open_create(&folder, "f").await?;
    one.write(&file.fh, file.stateid, 0, "x").await?;
    assert_eq!(two.open(&folder, "f").await.status(), Nfsstat4::Access);
    let read = two.open_to_read(&folder, "f").await?;
    assert_eq!(&bytes_of(&two, &read).await?[..], b"x");
    world.ends_sound().await
}
