//! Objects under files: pool, placement, reading and writing, as one healthy start does it.

mod world;

use backend::{DataServer, FenceGrade, Stability};
use bytes::Bytes;
use catalog::InodeId;
use layout::DataServerId;
use objects::{Error, Health, Making, Options};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use world::{STRIPED, create, objects_of, options, truncate, world, world_of};

fn healthy() -> backend::Faults {
    backend::Faults::default()
}

#[tokio::test(start_paused = true)]
async fn a_file_takes_its_objects_from_the_pool_at_once() {
    let world = world(4).await;
    world.pool_is_full().await;
    let before: u64 = world
        .servers
        .front
        .iter()
        .map(|server| server.calls())
        .sum();
    let placement = world.objects.bind(STRIPED).await;
    let placement = placement.expect("the pool is full");
    let after: u64 = world
        .servers
        .front
        .iter()
        .map(|server| server.calls())
        .sum();
    assert_eq!(before, after, "no data server is asked");
    let servers: BTreeSet<_> = placement.extents()[0].objects().map(|o| o.server).collect();
    assert_eq!(servers.len(), 4);
    placement.unused();
    world.nothing_leaks().await;
}

#[tokio::test(start_paused = true)]
async fn a_file_of_an_old_kernel_lies_on_one_data_server() {
    let world = world(4).await;
    world.pool_is_full().await;
    let placement = world.objects.bind(Making::default()).await;
    let placement = placement.expect("the pool is full");
    assert_eq!(placement.extents()[0].stripe_count(), 1);
    assert_eq!(placement.extents()[0].stripe_unit, 0);
    placement.unused();
}

#[tokio::test(start_paused = true)]
async fn files_of_old_kernels_spread_evenly() {
    let world = world(4).await;
    let mut used = [0; 4];
    for n in 0..40 {
        let placement = world
            .objects
            .bind(Making::default())
            .await
            .expect("a file finds its place");
        let claim = placement.claim();
        let new = catalog::NewInode {
            extents: placement.extents(),
            ..catalog::NewInode::plain(catalog::FileKind::Regular, 0o644, 1, 1)
        };
        catalog::transact!(world.catalog, world::now(), |tx| -> Result<
            (),
            catalog::Error,
        > {
            claim.take(tx).await?;
            tx.create(InodeId::ROOT, format!("f{n}").as_bytes(), new.clone())
                .await?;
            Ok(())
        })
        .expect("a file can be made");
        used[placement.extents()[0].mirrors[0].stripes[0].server.0 as usize - 1] += 1;
        placement.used();
    }
    assert!(
        used.iter().all(|files| (6..=14).contains(files)),
        "{used:?}"
    );
    world.nothing_leaks().await;
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_refused_gives_its_objects_back() {
    let world = world(4).await;
    world.create("twice").await;
    let again = create(&world.catalog, &world.objects, "twice").await;
    assert!(matches!(again, Err(Error::Catalog(catalog::Error::Exists))));
    world.nothing_leaks().await;
}

#[tokio::test(start_paused = true)]
async fn objects_of_a_create_that_was_cancelled_are_cleaned_up() {
    let world = world(4).await;
    world.pool_is_full().await;
    drop(world.objects.bind(STRIPED).await);
    let file = world.create("kept").await;
    // Dropped without a word though the file has them: they must stay.
    let placement = world.objects.bind(STRIPED).await;
    let placement = placement.expect("the pool has more");
    let claim = placement.claim();
    let new = catalog::NewInode {
        extents: placement.extents(),
        ..catalog::NewInode::plain(catalog::FileKind::Regular, 0o644, 1, 1)
    };
    catalog::transact!(world.catalog, world::now(), |tx| -> Result<
        (),
        catalog::Error,
    > {
        claim.take(tx).await?;
        tx.create(InodeId::ROOT, b"unsaid", new.clone()).await?;
        Ok(())
    })
    .expect("a file can be made");
    drop(placement);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.nothing_leaks().await;
    let unsaid = world.lookup("unsaid").await.expect("the file is there");
    world.write(&unsaid, 0, b"works").await;
    world.write(&file, 0, b"works").await;
}

#[tokio::test(start_paused = true)]
async fn only_a_size_that_every_object_has_counts_as_padded() {
    let world = world(4).await;
    let file = world.create("f").await;
    let observed = async || {
        let observed = world.objects.observe(&file.extents).await;
        let observed = observed.expect("the servers are there");
        (observed.size, observed.is_padded)
    };
    assert_eq!(observed().await, (0, true));
    // By a client, past everybody.
    let stripe = objects_of(&file.extents).nth(1).expect("a second stripe");
    let memory = &world.servers.memory[stripe.server.0 as usize - 1];
    memory
        .client_write(
            stripe.owner,
            &stripe.handle,
            4096,
            Bytes::from_static(b"second stripe"),
        )
        .expect("its owner may write");
    assert_eq!(observed().await, (4096 + 13, false));
    world
        .objects
        .pad(&file.extents, 4096 + 13)
        .await
        .expect("it can be padded");
    assert_eq!(observed().await, (4096 + 13, true));
}

#[tokio::test(start_paused = true)]
async fn a_removed_file_leaves_no_object_though_its_data_server_was_away() {
    let world = world(4).await;
    let file = world.create("doomed").await;
    let server = file.extents[0].mirrors[0].stripes[1].server;
    let front = &world.servers.front[server.0 as usize - 1];
    front.set_away(true);
    catalog::transact!(world.catalog, world::now(), |tx| -> Result<
        (),
        catalog::Error,
    > {
        tx.remove(InodeId::ROOT, b"doomed", catalog::RemoveWhat::Any)
            .await?;
        tx.reap(file.id).await?;
        Ok(())
    })
    .expect("a file can be removed");
    world.objects.nudge_deletes();
    world
        .until("the other servers' objects are gone", async || {
            world.objects.to_delete() == Some(1)
        })
        .await;
    front.set_away(false);
    world.nothing_leaks().await;
    assert_eq!(world.objects.to_delete(), Some(0));
}

#[tokio::test]
async fn health_is_told_before_who_asked_for_it_goes_on() {
    let quiet = Options {
        pool_low: 0,
        pool_high: 0,
        ..options()
    };
    let world = world_of(2, FenceGrade::Exact, quiet, healthy(), 1).await;
    let told = || world.objects.health().borrow().clone();
    let (one, two) = (DataServerId(1), DataServerId(2));
    assert_eq!(
        *told(),
        BTreeMap::from([(one, Health::Up), (two, Health::Up)])
    );
    world.servers.front[1].set_away(true);
    let health = world.objects.probe_now(two).await.expect("it is known");
    assert_eq!(health, Health::Down);
    assert_eq!(told().get(&two), Some(&Health::Down));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_goes_away_is_told_and_takes_no_new_files_until_it_is_back() {
    let world = world(2).await;
    let mut health = world.objects.health();
    let away = DataServerId(1);
    world.servers.front[0].set_away(true);
    health
        .wait_for(|servers| servers.get(&away) == Some(&Health::Down))
        .await
        .expect("health is told");
    for _ in 0..20 {
        let placement = world
            .objects
            .bind(Making::default())
            .await
            .expect("the other server takes files");
        assert_eq!(
            placement.extents()[0].mirrors[0].stripes[0].server,
            DataServerId(2)
        );
        placement.unused();
    }
    world.servers.front[0].set_away(false);
    health
        .wait_for(|servers| servers.get(&away) == Some(&Health::Up))
        .await
        .expect("health is told");
    world.nothing_leaks().await;
}

#[tokio::test(start_paused = true)]
async fn while_a_server_is_away_new_files_are_striped_over_fewer() {
    let world = world(4).await;
    let mut health = world.objects.health();
    world.servers.front[3].set_away(true);
    health
        .wait_for(|servers| servers.get(&DataServerId(4)) == Some(&Health::Down))
        .await
        .expect("health is told");
    let file = world.create("f").await;
    let servers: BTreeSet<_> = objects_of(&file.extents).map(|o| o.server.0).collect();
    assert_eq!(servers.len(), 2);
    assert!(!servers.contains(&4));
    world.write(&file, 0, &vec![7; 30_000]).await;
    assert_eq!(world.read_all(file.id).await, vec![7; 30_000]);
}

#[tokio::test(start_paused = true)]
async fn a_full_server_takes_no_new_files() {
    let reserve = Options {
        reserve_bytes: 1 << 20,
        pool_low: 0,
        pool_high: 0,
        ..options()
    };
    let world = world_of(2, FenceGrade::Exact, reserve, healthy(), 1).await;
    world.servers.memory[1].set_capacity(1000);
    assert_eq!(
        world
            .objects
            .probe_now(DataServerId(2))
            .await
            .expect("it is known"),
        Health::Full
    );
    for _ in 0..20 {
        let placement = world
            .objects
            .bind(Making::default())
            .await
            .expect("the other server takes files");
        assert_eq!(
            placement.extents()[0].mirrors[0].stripes[0].server,
            DataServerId(1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_any_server_changes_the_verifier_of_the_file() {
    let world = world(4).await;
    let file = world.create("f").await;
    let byte = || Bytes::from_static(b"x");
    let write = |at| {
        world
            .objects
            .write(&file.extents, at, byte(), Stability::Unstable)
    };
    let first = write(0).await.expect("a write succeeds").verifier;
    let other_stripe = write(3 * 4096).await.expect("a write succeeds").verifier;
    assert_eq!(first, other_stripe);
    assert_eq!(
        world
            .objects
            .commit(&file.extents)
            .await
            .expect("a commit succeeds"),
        first
    );
    for memory in &world.servers.memory {
        let before = write(0).await.expect("a write succeeds").verifier;
        memory.restart(9);
        let committed = world
            .objects
            .commit(&file.extents)
            .await
            .expect("a commit succeeds");
        assert_ne!(
            before, committed,
            "what was written before must be sent again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_client_writes_no_more_and_its_successor_does() {
    let world = world(4).await;
    let file = world.create("f").await;
    world.write(&file, 0, &vec![7; 20_000]).await;
    let fenced = world.objects.fence(&file).await.expect("a fence succeeds");
    assert_eq!(fenced, world.inode(file.id).await.extents);
    for (old, new) in objects_of(&file.extents).zip(objects_of(&fenced)) {
        let memory = &world.servers.memory[old.server.0 as usize - 1];
        let data = || Bytes::from_static(b"late");
        assert!(
            memory
                .client_write(old.owner, &old.handle, 0, data())
                .is_err()
        );
        assert!(
            memory
                .client_write(new.owner, &new.handle, 0, data())
                .is_ok()
        );
        let reader = world.objects.reader(&old);
        assert!(
            memory.client_read(reader, &old.handle, 0, 4).is_ok(),
            "readers stay"
        );
    }
    // Asked again by somebody who knew the same: it is done already.
    assert_eq!(
        world.objects.fence(&file).await.expect("a fence succeeds"),
        fenced
    );
}

#[tokio::test(start_paused = true)]
async fn where_only_a_new_object_helps_a_fence_moves_the_bytes() {
    let world = world_of(4, FenceGrade::Replace, options(), healthy(), 1).await;
    let file = world.create("f").await;
    let data: Vec<u8> = (0..30_000).map(|at| (at % 251) as u8).collect();
    world.write(&file, 5000, &data).await;
    let fenced = world.objects.fence(&file).await.expect("a fence succeeds");
    for (old, new) in objects_of(&file.extents).zip(objects_of(&fenced)) {
        assert_ne!((old.object, &old.handle), (new.object, &new.handle));
        let memory = &world.servers.memory[old.server.0 as usize - 1];
        let _ = memory.client_write(old.owner, &old.handle, 0, Bytes::from_static(b"late"));
    }
    let mut expected = vec![0; 5000];
    expected.extend_from_slice(&data);
    assert_eq!(world.read_all(file.id).await, expected);
    world.nothing_leaks().await;
}

#[tokio::test(start_paused = true)]
async fn a_fence_of_a_server_that_is_away_ends_when_it_is_back() {
    let world = world(4).await;
    let file = world.create("f").await;
    world.servers.front[2].set_away(true);
    assert!(world.objects.fence(&file).await.is_err());
    assert!(world.objects.pending(file.id));
    world.servers.front[2].set_away(false);
    world
        .until("the fence is done", async || {
            !world.objects.pending(file.id)
        })
        .await;
    for (old, new) in objects_of(&file.extents).zip(objects_of(&world.inode(file.id).await.extents))
    {
        assert_ne!(old.owner.uid, new.owner.uid);
        let memory = &world.servers.memory[old.server.0 as usize - 1];
        assert!(
            memory
                .client_write(old.owner, &old.handle, 0, Bytes::from_static(b"late"))
                .is_err()
        );
    }
    world.nothing_leaks().await;
}

#[tokio::test(start_paused = true)]
async fn a_truncate_while_a_server_is_away_ends_when_it_is_back() {
    let world = world(4).await;
    let file = world.create("f").await;
    world.write(&file, 0, &vec![7; 50_000]).await;
    world.servers.front[1].set_away(true);
    assert!(
        truncate(&world.catalog, &world.objects, file.id, 10_000)
            .await
            .is_err()
    );
    assert!(world.objects.pending(file.id));
    world.servers.front[1].set_away(false);
    world
        .until("the truncate is done", async || {
            !world.objects.pending(file.id)
        })
        .await;
    assert_eq!(world.read_all(file.id).await, vec![7; 10_000]);
    truncate(&world.catalog, &world.objects, file.id, 20_000)
        .await
        .expect("a truncate succeeds");
    let mut expected = vec![7; 10_000];
    expected.resize(20_000, 0);
    assert_eq!(world.read_all(file.id).await, expected);
}

/// The object of `file` on the data server `number` is gone, as by a broken disk.
async fn lose(world: &world::World, file: &catalog::Inode, number: usize) {
    let lost = objects_of(&file.extents)
        .find(|object| object.server.0 as usize == number + 1)
        .expect("it lies there too");
    let removed = world.servers.memory[number].remove(lost.object).await;
    removed.expect("an object can be removed");
}

#[tokio::test(start_paused = true)]
async fn a_truncate_of_a_file_that_lost_an_object_fails_and_leaves_nothing_to_wait_for() {
    let world = world(4).await;
    let file = world.create("f").await;
    world.write(&file, 0, &vec![7; 50_000]).await;
    world.set_size(&file, 50_000).await;
    lose(&world, &file, 1).await;
    let cut = truncate(&world.catalog, &world.objects, file.id, 10_000).await;
    assert!(cut.is_err_and(|error| error.is_gone()));
    world.objects.at_rest(file.id).expect("nothing is left");
    assert_eq!(world.inode(file.id).await.size, 50_000);
    assert!(every_byte_is_backed(&world, &file, 50_000).await);
}

#[tokio::test(start_paused = true)]
async fn a_truncate_that_waits_for_a_server_that_lost_the_object_ends_when_it_is_back() {
    let world = world(4).await;
    let file = world.create("f").await;
    world.write(&file, 0, &vec![7; 50_000]).await;
    world.set_size(&file, 50_000).await;
    world.servers.front[1].set_away(true);
    let cut = truncate(&world.catalog, &world.objects, file.id, 10_000).await;
    assert!(cut.is_err_and(|error| !error.is_gone()));
    assert!(matches!(
        world.objects.at_rest(file.id),
        Err(Error::Pending)
    ));
    lose(&world, &file, 1).await;
    world.servers.front[1].set_away(false);
    world
        .until("nothing is left of the truncate", async || {
            !world.objects.pending(file.id)
        })
        .await;
    assert_eq!(world.inode(file.id).await.size, 50_000);
    assert!(every_byte_is_backed(&world, &file, 50_000).await);
}

#[tokio::test(start_paused = true)]
async fn a_truncate_that_was_given_up_is_not_made_up_for_over_a_crash() {
    let world = world(4).await;
    let file = world.create("f").await;
    world.write(&file, 0, &vec![7; 50_000]).await;
    world.set_size(&file, 50_000).await;
    world.servers.front[1].set_away(true);
    let cut = truncate(&world.catalog, &world.objects, file.id, 10_000).await;
    assert!(cut.is_err());
    world.objects.give_up(file.id).await.expect("it can be");
    let world = world.crash().await;
    world.servers.front[1].set_away(false);
    world
        .until("nothing is left of the truncate", async || {
            !world.objects.pending(file.id)
        })
        .await;
    assert_eq!(world.inode(file.id).await.size, 50_000);
    assert!(every_byte_is_backed(&world, &file, 50_000).await);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_a_broken_disk_refuses_is_told_with_that_and_done_once_it_works() {
    let world = world(4).await;
    let file = world.create("f").await;
    let broken = backend::Faults {
        broken: 1000,
        ..healthy()
    };
    world.set_faults(broken);
    assert!(world.objects.fence(&file).await.is_err());
    world
        .until("it is known why", async || {
            matches!(world.objects.at_rest(file.id), Err(Error::Server(_)))
        })
        .await;
    world.set_faults(healthy());
    world
        .until("the fence is done", async || {
            !world.objects.pending(file.id)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_moves_objects_is_not_kept_up_by_one_that_is_lost() {
    let world = world_of(4, FenceGrade::Replace, options(), healthy(), 1).await;
    let file = world.create("f").await;
    lose(&world, &file, 2).await;
    let moved = world.objects.fence(&file).await.expect("a fence succeeds");
    let still = |extents: &[layout::Extent]| objects_of(extents).collect::<Vec<_>>();
    let stayed = still(&moved)
        .into_iter()
        .filter(|object| still(&file.extents).contains(object));
    assert_eq!(stayed.count(), 1, "the lost one");
}

/// Invariant 8, for those objects that there are.
async fn every_byte_is_backed(world: &world::World, file: &catalog::Inode, size: u64) -> bool {
    let extent = &file.extents[0];
    for object in objects_of(&file.extents) {
        let server = &world.servers.memory[object.server.0 as usize - 1];
        match server.stat(&object.handle).await {
            Ok(stat) if stat.size < layout::object_size_for(extent, size) => return false,
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind, backend::ErrorKind::Gone),
        }
    }
    true
}
