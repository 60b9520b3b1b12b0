//! The exact fence: once it is answered, no byte of the fenced client lands any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ds::EngineChoice;
use wire::nfs3::*;

mod world;
use world::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_fenced_writer_lands_after_the_fence_is_answered() {
    const BLOCK: usize = 16 << 10;
    const BLOCKS: u64 = 64;
    for engine in engines() {
        let world = World::new(engine);
        let object = world.object(1).await;
        let (mds, writer) = (world.mds(), world.owner(OWNER));
        mds.setattr(&object, size_is(BLOCKS * BLOCK as u64), None)
            .await
            .expect("sized");
        for round in 0..10 {
            let data = Bytes::from(vec![round + 1; BLOCK]);
            let fenced = Arc::new(AtomicBool::new(false));
            let writes: Vec<_> = (0..BLOCKS * 4)
                .map(|number| {
                    let (writer, object, data) = (writer.clone(), object.clone(), data.clone());
                    let fenced = Arc::clone(&fenced);
                    tokio::spawn(async move {
                        let after = fenced.load(Ordering::SeqCst);
                        let at = number % BLOCKS * BLOCK as u64;
                        let result = writer.write(&object, at, StableHow::Unstable, data).await;
                        (after, result)
                    })
                })
                .collect();
            mds.setattr(&object, owner_is(NEXT_OWNER), None)
                .await
                .expect("the fence");
            fenced.store(true, Ordering::SeqCst);
            let at_fence = whole(&mds, &object).await;
            for write in writes {
                let (after, result) = write.await.expect("no panic");
                match result {
                    Ok(_) => assert!(!after, "a write sent after the fence was taken"),
                    Err(error) => assert_eq!(error.status(), Some(Nfsstat3::Acces)),
                }
            }
            assert!(
                whole(&mds, &object).await == at_fence,
                "bytes landed after the fence"
            );
            mds.setattr(&object, owner_is(OWNER), None)
                .await
                .expect("given back");
        }
        assert_eq!(world.running().metrics().fences, 20);
        world.stop().await;
    }
}

async fn whole(client: &nfs_client::Client, object: &Fh3) -> Vec<u8> {
    client
        .read(object, 0, 1 << 20)
        .await
        .expect("a read")
        .data
        .to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_server_can_tell_that_the_exact_fence_is_there() {
    let world = World::new(EngineChoice::Auto);
    let root = world.root().await;
    let found = world.mds().lookup(&root, &name(".headrace")).await;
    assert_eq!(found.expect("the mark is found").object, root);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_go_on_while_writers_are_fenced() {
    let world = World::new(EngineChoice::Auto);
    let object = world.object(1).await;
    world
        .mds()
        .setattr(&object, owner_is(NEXT_OWNER), None)
        .await
        .expect("fenced");
    world
        .reader()
        .read(&object, 0, 10)
        .await
        .expect("the group still reads");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_an_older_term_are_refused_even_after_a_restart() {
    for engine in engines() {
        let mut world = World::new(engine);
        let object = world.object(1).await;
        let root = world.root().await;
        world
            .mds_of_term(5)
            .setattr(&object, owner_is(NEXT_OWNER), None)
            .await
            .expect("obeyed");
        for _ in 0..2 {
            let old = world.mds_of_term(4);
            let over = Some(Nfsstat3::Rofs);
            assert_eq!(
                status(old.setattr(&object, owner_is(OWNER), None).await),
                over
            );
            assert_eq!(status(old.remove(&root, &object_name(1)).await), over);
            assert_eq!(
                status(
                    old.create(&root, &object_name(2), Createhow3::Guarded(owned()))
                        .await
                ),
                over
            );
            assert_eq!(
                status(
                    old.write(&object, 0, StableHow::Unstable, pattern(1, 1))
                        .await
                ),
                over
            );
            assert_eq!(
                world.mds().getattr(&object).await.expect("attributes").uid,
                NEXT_OWNER
            );
            world.restart().await;
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_change_of_what_has_changed_is_refused() {
    let world = World::new(EngineChoice::Auto);
    let object = world.object(1).await;
    let mds = world.mds();
    let seen = mds.getattr(&object).await.expect("attributes").ctime;
    mds.setattr(&object, size_is(9), Some(seen))
        .await
        .expect("unchanged so far");
    assert_eq!(
        status(mds.setattr(&object, size_is(0), Some(seen)).await),
        Some(Nfsstat3::NotSync)
    );
    let now = mds.getattr(&object).await.expect("attributes");
    assert_eq!(now.size, 9);
    // Even where nothing has changed: a guarded size pads, and never cuts.
    let cut = mds.setattr(&object, size_is(8), Some(now.ctime)).await;
    assert_eq!(status(cut), Some(Nfsstat3::NotSync));
    mds.setattr(&object, size_is(9), Some(now.ctime))
        .await
        .expect("as long as it is");
    world.stop().await;
}
