//! The metadata server dies at any moment: what was acknowledged holds, what was not is whole or
//! absent, and no object is leaked or used twice.

mod world;

use backend::{Faults, FenceGrade};
use bytes::Bytes;
use catalog::{InodeId, RemoveWhat};
use futures_util::FutureExt;
use layout::Extent;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use world::{World, create, options, truncate, world_of, world_of_ours};

/// Polls a future so many times, and then never again: a crash at that point.
async fn up_to<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future: Pin<Box<_>> = Box::pin(future.fuse());
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// Every call of a data server gives way, so that each is a moment to die at.
fn slow() -> Faults {
    Faults {
        delay: Duration::from_millis(3),
        ..Faults::default()
    }
}

async fn fresh(fence: FenceGrade, faults: Faults, seed: u64) -> World {
    world_of(4, fence, options(), faults, seed).await
}

#[tokio::test(start_paused = true)]
async fn a_truncate_that_a_crash_cut_off_is_whole_or_never_was() {
    let mut was_undone = false;
    for polls in 0.. {
        let world = fresh(FenceGrade::Exact, slow(), polls as u64).await;
        let file = world.create("f").await;
        world.write(&file, 0, &vec![7; 60_000]).await;
        let cut = truncate(&world.catalog, &world.objects, file.id, 10_000);
        let finished = up_to(polls, cut).await;
        let world = world.crash().await;
        world
            .until("orders are carried out", async || {
                !world.objects.pending(file.id)
            })
            .await;
        let inode = world.inode(file.id).await;
        let data = world.read_all(file.id).await;
        match inode.size {
            10_000 => assert_eq!(data, vec![7; 10_000]),
            60_000 => {
                assert!(finished.is_none(), "an acknowledged truncate is undone");
                assert_eq!(data, vec![7; 60_000]);
                was_undone = true;
            }
            size => panic!("nobody asked for {size} bytes"),
        }
        let observed = world
            .objects
            .observe(&inode.extents)
            .await
            .expect("an answer");
        assert_eq!(observed.size, inode.size, "invariant 8 and 6");
        world.nothing_leaks().await;
        if finished.is_some() {
            assert!(
                was_undone,
                "a crash before the order leaves the file as it was"
            );
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_a_crash_cut_off_is_whole_or_never_was() {
    for grade in [FenceGrade::Exact, FenceGrade::Replace] {
        for polls in 0.. {
            let world = fresh(grade, slow(), polls as u64).await;
            let file = world.create("f").await;
            world.write(&file, 0, &vec![7; 30_000]).await;
            let finished = up_to(polls, world.objects.fence(&file)).await;
            let world = world.crash().await;
            world
                .until("orders are carried out", async || {
                    !world.objects.pending(file.id)
                })
                .await;
            assert_eq!(world.read_all(file.id).await, vec![7; 30_000]);
            let inode = world.inode(file.id).await;
            // Whoever holds a layout made from the catalog now can write.
            for object in inode.extents.iter().flat_map(Extent::objects) {
                let memory = &world.servers.memory[object.server.0 as usize - 1];
                let data = Bytes::from_static(b"new");
                let written = memory.client_write(object.owner, &object.handle, 0, data);
                written.expect("the owner in the catalog is the owner on the data server");
            }
            if finished.is_some() {
                for object in file.extents.iter().flat_map(Extent::objects) {
                    let memory = &world.servers.memory[object.server.0 as usize - 1];
                    let data = Bytes::from_static(b"old");
                    let stray = memory.client_write(object.owner, &object.handle, 0, data);
                    assert!(stray.is_err() || grade == FenceGrade::Replace);
                }
            }
            world.nothing_leaks().await;
            if finished.is_some() {
                break;
            }
        }
    }
}

/// Some of everything, as a busy server does it; errors are the faults' and are retried or left.
async fn workload(world: &World, seed: u64) {
    for n in 0..6u64 {
        let name = format!("f{}", (seed + n) % 4);
        match world.lookup(&name).await {
            None => {
                let _ = create(&world.catalog, &world.objects, &name).await;
            }
            Some(inode) if (seed + n).is_multiple_of(3) => {
                let removed = catalog::transact!(world.catalog, world::now(), |tx| -> Result<
                    (),
                    catalog::Error,
                > {
                    tx.remove(InodeId::ROOT, name.as_bytes(), RemoveWhat::Any)
                        .await?;
                    tx.reap(inode.id).await?;
                    Ok(())
                });
                if removed.is_ok() {
                    world.objects.nudge_deletes();
                }
            }
            Some(inode) if n % 2 == 0 => {
                let _ = truncate(&world.catalog, &world.objects, inode.id, n * 5000).await;
            }
            Some(inode) => {
                let _ = world.objects.fence(&inode).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_objects_that_breaks_half_way_leaks_none_and_the_next_serves() {
    let always = Faults {
        short: 1000,
        ..Faults::default()
    };
    let world = world_of_ours(1, options(), always, 1).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.nothing_leaks().await;
    world.pool_is_full().await;
    world.create("f").await;
    world.nothing_leaks().await;
}

#[tokio::test(start_paused = true)]
async fn no_object_leaks_however_often_the_server_dies() {
    for seed in 0..25 {
        let grade = if seed % 2 == 0 {
            FenceGrade::Exact
        } else {
            FenceGrade::Replace
        };
        let faults = Faults {
            refused: 30,
            lost_replies: 30,
            delay: Duration::from_millis(2),
            ..Faults::default()
        };
        // Ours make many objects at once, which may break half-way; strangers make each by itself.
        let mut world = if seed % 4 < 2 {
            let faults = Faults {
                short: 100,
                ..faults
            };
            world_of_ours(4, options(), faults, seed).await
        } else {
            fresh(grade, faults, seed).await
        };
        for crash in 0..4 {
            let polls = (seed as usize * 7 + crash * 13) % 90;
            let _ = up_to(polls, workload(&world, seed + crash as u64)).await;
            world = world.crash().await;
        }
        workload(&world, seed).await;
        world.nothing_leaks().await;
    }
}
