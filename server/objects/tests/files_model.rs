//! A striped file under writes past the server and through it, truncates and settles equals an array, also over
//! servers that are slow and take little at a time.

mod world;

use backend::{Faults, FenceGrade, MemoryServer};
use bytes::Bytes;
use catalog::InodeId;
use layout::{Extent, Owner};
use proptest::prelude::*;
use std::time::Duration;
use world::{World, objects_of, options, truncate, world_of};

#[derive(Debug, Clone)]
enum Step {
    Proxy(u32, Vec<u8>),
    /// Straight to the data servers, as a client with a layout.
    Direct(u32, Vec<u8>),
    Truncate(u32),
    Settle,
    Read(u32, u32),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(1u8.., 1..20_000);
    prop_oneof![
        (0u32..60_000, bytes()).prop_map(|(at, data)| Step::Proxy(at, data)),
        (0u32..60_000, bytes()).prop_map(|(at, data)| Step::Direct(at, data)),
        (0u32..70_000).prop_map(Step::Truncate),
        Just(Step::Settle),
        (0u32..80_000, 0u32..40_000).prop_map(|(at, count)| Step::Read(at, count)),
    ]
}

async fn settle(world: &World, id: InodeId) {
    let inode = world.inode(id).await;
    let observed = world
        .objects
        .observe(&inode.extents)
        .await
        .expect("an answer");
    let size = observed.size.max(inode.size);
    world
        .objects
        .pad(&inode.extents, size)
        .await
        .expect("padding succeeds");
    catalog::transact!(world.catalog, world::now(), |tx| -> Result<
        (),
        catalog::Error,
    > {
        let mut inode = tx.inode(id).await?;
        inode.size = size;
        tx.put(&inode).await
    })
    .expect("the size can be committed");
}

async fn equals_a_flat_file(steps: Vec<Step>, faults: Faults) {
    let world = world_of(4, FenceGrade::Exact, options(), faults, 5).await;
    let file = world.create("f").await;
    let mut flat: Vec<u8> = Vec::new();
    for step in steps {
        match step {
            Step::Proxy(at, data) => {
                put(&mut flat, at as usize, &data);
                world.write(&file, u64::from(at), &data).await;
            }
            Step::Direct(at, data) => {
                put(&mut flat, at as usize, &data);
                direct_write(&world, &file.extents, u64::from(at), &data);
                settle(&world, file.id).await;
            }
            Step::Truncate(size) => {
                flat.resize(size as usize, 0);
                truncate(&world.catalog, &world.objects, file.id, u64::from(size))
                    .await
                    .expect("a truncate");
            }
            Step::Settle => settle(&world, file.id).await,
            Step::Read(at, count) => {
                let inode = world.inode(file.id).await;
                let got = world
                    .objects
                    .read(&inode.extents, inode.size, u64::from(at), count)
                    .await
                    .expect("a read");
                let start = (at as usize).min(flat.len());
                let end = (start + count as usize).min(flat.len());
                assert_eq!(got.data, &flat[start..end.max(start)]);
                assert_eq!(
                    got.at_end,
                    u64::from(at) + u64::from(count) >= flat.len() as u64
                );
            }
        }
        let inode = world.inode(file.id).await;
        assert_eq!(inode.size, flat.len() as u64);
        for object in objects_of(&inode.extents) {
            let memory = &world.servers.memory[object.server.0 as usize - 1];
            let stat = backend::DataServer::stat(memory, &object.handle)
                .await
                .expect("the object is there");
            assert_eq!(stat.size, inode.size, "invariant 8");
        }
    }
    assert_eq!(world.read_all(file.id).await, flat);
}

fn put(flat: &mut Vec<u8>, at: usize, data: &[u8]) {
    if flat.len() < at + data.len() {
        flat.resize(at + data.len(), 0);
    }
    flat[at..at + data.len()].copy_from_slice(data);
}

/// With the geometry that a Linux client computes by itself.
fn direct_write(world: &World, extents: &[Extent], offset: u64, data: &[u8]) {
    let extent = &extents[0];
    let unit = u64::from(extent.stripe_unit);
    let stripes = &extent.mirrors[0].stripes;
    let mut at = offset;
    while at < offset + data.len() as u64 {
        let end = (offset + data.len() as u64).min((at / unit + 1) * unit);
        let object = &stripes[(at / unit) as usize % stripes.len()];
        let piece = Bytes::copy_from_slice(&data[(at - offset) as usize..(end - offset) as usize]);
        let memory: &MemoryServer = &world.servers.memory[object.server.0 as usize - 1];
        let owner: Owner = object.owner;
        memory
            .client_write(owner, &object.handle, at, piece)
            .expect("the owner writes");
        at = end;
    }
}

fn virtual_time() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_striped_file_equals_a_flat_one(steps in prop::collection::vec(step(), 1..14)) {
        virtual_time().block_on(equals_a_flat_file(steps, Faults::default()));
    }

    #[test]
    fn a_striped_file_equals_a_flat_one_over_servers_that_are_slow_and_take_little(
        steps in prop::collection::vec(step(), 1..10),
    ) {
        let faults = Faults { short: 300, delay: Duration::from_millis(5), ..Faults::default() };
        virtual_time().block_on(equals_a_flat_file(steps, faults));
    }
}
