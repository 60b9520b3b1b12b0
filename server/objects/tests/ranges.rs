//! Ranges of files: holes, space set aside, blocks shared, bytes copied, on one server and on many,
//! by servers that can do it and by strangers, and under faults.

mod world;

use backend::{DataServer, ErrorKind, Faults, FenceGrade, MemoryServer, Rack, Seek, Stability};
use bytes::Bytes;
use catalog::Inode;
use layout::Extent;
use objects::{Error, Making};
use std::ops::ControlFlow;
use world::{PAGE, World, at, on_and_on, options, pattern, world_of, world_of_ours, world_on};

async fn ours(servers: usize) -> World {
    world_of_ours(servers, options(), Faults::default(), 1).await
}

async fn strangers(servers: usize) -> World {
    world_of(
        servers,
        FenceGrade::Windowed,
        options(),
        Faults::default(),
        1,
    )
    .await
}

async fn seek(world: &World, file: &Inode, offset: u64, what: Seek) -> Option<u64> {
    let size = world.inode(file.id).await.size;
    world
        .objects
        .seek(&file.extents, size, offset, what)
        .await
        .expect("a search succeeds")
}

fn calls(world: &World) -> u64 {
    let servers = world.servers.front.iter();
    servers.map(|server| server.calls()).sum()
}

#[tokio::test(start_paused = true)]
async fn the_holes_of_a_striped_file_are_those_of_its_bytes() {
    let world = ours(4).await;
    let file = world.create("sparse").await;
    // Stripes of one page over four servers: dense over three of them, then a hole, then the last.
    world.write(&file, 0, &pattern(3 * PAGE, 1)).await;
    world.write(&file, 9 * PAGE + 10, &pattern(100, 1)).await;
    world
        .objects
        .pad(&file.extents, 12 * PAGE)
        .await
        .expect("padding succeeds");
    assert_eq!(seek(&world, &file, 0, Seek::Data).await, Some(0));
    assert_eq!(seek(&world, &file, 5, Seek::Hole).await, Some(3 * PAGE));
    assert_eq!(
        seek(&world, &file, 3 * PAGE, Seek::Data).await,
        Some(9 * PAGE)
    );
    assert_eq!(
        seek(&world, &file, 4 * PAGE + 7, Seek::Hole).await,
        Some(4 * PAGE + 7)
    );
    let size = 9 * PAGE + 110;
    assert_eq!(
        seek(&world, &file, 9 * PAGE, Seek::Hole).await,
        Some(size),
        "the end is a hole"
    );
    assert_eq!(seek(&world, &file, size, Seek::Data).await, None);
    assert_eq!(seek(&world, &file, size, Seek::Hole).await, None);
}

#[tokio::test(start_paused = true)]
async fn where_a_server_can_t_tell_everything_is_data() {
    let world = strangers(4).await;
    let file = world.create("flat").await;
    world.write(&file, 20 * PAGE, &pattern(10, 1)).await;
    assert_eq!(seek(&world, &file, 0, Seek::Data).await, Some(0));
    assert_eq!(
        seek(&world, &file, 3 * PAGE + 1, Seek::Data).await,
        Some(3 * PAGE + 1)
    );
    assert_eq!(
        seek(&world, &file, 0, Seek::Hole).await,
        Some(20 * PAGE + 10)
    );
}

#[tokio::test(start_paused = true)]
async fn what_has_no_object_yet_is_a_hole() {
    let world = ours(2).await;
    let none = [Extent::unbound()];
    let found = world
        .objects
        .seek(&none, 100, 10, Seek::Hole)
        .await
        .expect("nobody is asked");
    assert_eq!(found, Some(10));
    let found = world
        .objects
        .seek(&none, 100, 10, Seek::Data)
        .await
        .expect("nobody is asked");
    assert_eq!(found, None);
    world
        .objects
        .deallocate(&none, 0, u64::MAX)
        .await
        .expect("nothing is to be done");
    let refused = world
        .objects
        .allocate(&none, 0, 10)
        .await
        .expect_err("bind it first");
    assert!(matches!(refused, Error::Unbound));
}

#[tokio::test(start_paused = true)]
async fn a_search_through_a_large_dense_file_takes_few_calls() {
    let world = ours(4).await;
    let file = world.create("dense").await;
    for part in 0..8 {
        world.write(&file, part << 20, &pattern(1 << 20, 1)).await;
    }
    let before = calls(&world);
    assert_eq!(seek(&world, &file, 0, Seek::Hole).await, Some(8 << 20));
    let asked = calls(&world) - before;
    assert!(asked <= 4 * 8, "2048 stripes in {asked} calls");
}

#[tokio::test(start_paused = true)]
async fn a_hole_reads_as_zeros_gives_its_space_back_and_leaves_the_size() {
    for world in [ours(4).await, strangers(4).await] {
        let file = world.create("holed").await;
        let mut expected = pattern(40 * PAGE + 17, 3);
        world.write(&file, 0, &expected).await;
        let before = world
            .objects
            .observe(&file.extents)
            .await
            .expect("it is asked");
        for (offset, length) in [
            (PAGE / 2, 9 * PAGE),
            (20 * PAGE + 1, 5),
            (39 * PAGE, u64::MAX),
        ] {
            world
                .objects
                .deallocate(&file.extents, offset, length)
                .await
                .expect("a hole can be made");
            let end = offset.saturating_add(length).min(expected.len() as u64);
            expected[offset as usize..end as usize].fill(0);
            assert_eq!(world.read_all(file.id).await, expected);
        }
        let after = world
            .objects
            .observe(&file.extents)
            .await
            .expect("it is asked");
        assert_eq!(after.size, before.size);
        if world
            .objects
            .capabilities(layout::DataServerId(1))
            .expect("it is known")
            .ranges
            .sparse
        {
            assert!(
                after.used + 8 * PAGE <= before.used,
                "{} of {}",
                after.used,
                before.used
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hole_outlives_a_restart_of_every_server_and_no_unstable_write_comes_back() {
    for (world, seed) in [(ours(2).await, 3), (strangers(2).await, 4)] {
        let file = world.create("kept").await;
        world.write(&file, 0, &pattern(6 * PAGE, 1)).await;
        let zeros = Bytes::from(vec![0; PAGE as usize]);
        for data in [Bytes::from(pattern(PAGE, 7)), zeros] {
            world
                .objects
                .write(&file.extents, 2 * PAGE, data, Stability::Unstable)
                .await
                .expect("a write succeeds");
        }
        world
            .objects
            .deallocate(&file.extents, 2 * PAGE, PAGE)
            .await
            .expect("a hole can be made");
        world
            .servers
            .memory
            .iter()
            .for_each(|server| server.restart(seed));
        let mut expected = pattern(6 * PAGE, 1);
        expected[2 * PAGE as usize..3 * PAGE as usize].fill(0);
        assert_eq!(world.read_all(file.id).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn space_set_aside_is_found_by_writes_on_a_server_that_is_full() {
    let world = ours(4).await;
    let file = world.create("reserved").await;
    world.write(&file, 0, b"begins").await;
    world
        .objects
        .allocate(&file.extents, 0, 16 * PAGE)
        .await
        .expect("there is space");
    let observed = world
        .objects
        .observe(&file.extents)
        .await
        .expect("it is asked");
    assert_eq!(observed.size, 16 * PAGE, "every object backs the end");
    for server in &world.servers.memory {
        server.set_capacity(observed.used / 4);
    }
    let data = Bytes::from(pattern(16 * PAGE, 5));
    world
        .objects
        .write(&file.extents, 0, data, Stability::Durable)
        .await
        .expect("its space was set aside");
    let full = world
        .objects
        .write(
            &file.extents,
            16 * PAGE,
            Bytes::from_static(b"more"),
            Stability::Durable,
        )
        .await;
    assert!(matches!(full, Err(Error::Server(error)) if error.kind == ErrorKind::Full));
}

#[tokio::test(start_paused = true)]
async fn space_that_isn_t_there_is_refused_and_no_object_grows() {
    let world = ours(4).await;
    let file = world.create("greedy").await;
    world.servers.memory[2].set_capacity(3 * PAGE);
    let refused = world.objects.allocate(&file.extents, 0, 64 * PAGE).await;
    assert!(matches!(refused, Err(Error::Server(error)) if error.kind == ErrorKind::Full));
    let observed = world
        .objects
        .observe(&file.extents)
        .await
        .expect("it is asked");
    assert_eq!(observed.size, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_can_t_set_space_aside_says_so_before_anything_is_done() {
    let rack = Rack::default();
    let memory = vec![
        MemoryServer::new("ours", FenceGrade::Exact).in_rack(&rack),
        MemoryServer::new("stranger", FenceGrade::Windowed),
    ];
    let world = world_on(memory, options(), Faults::default(), 1).await;
    let file = world.create("half").await;
    let refused = world.objects.allocate(&file.extents, 0, 64 * PAGE).await;
    assert!(matches!(refused, Err(Error::Server(error)) if error.kind == ErrorKind::Unsupported));
    let observed = world
        .objects
        .observe(&file.extents)
        .await
        .expect("it is asked");
    assert_eq!(observed.used, 0);
}

/// Two files that lie on the same servers in the same order.
async fn twins(world: &World) -> (Inode, Inode) {
    let from = world.create("from").await;
    let to = world.create_like("to", &from).await;
    (from, to)
}

#[tokio::test(start_paused = true)]
async fn a_clone_holds_the_same_bytes_and_lives_on_its_own() {
    let world = ours(4).await;
    let (from, to) = twins(&world).await;
    let mut held = pattern(11 * PAGE + 100, 1);
    held[3 * PAGE as usize..6 * PAGE as usize].fill(0);
    world.write(&from, 0, &held[..3 * PAGE as usize]).await;
    world
        .write(&from, 6 * PAGE, &held[6 * PAGE as usize..])
        .await;
    world.write(&to, 0, &pattern(5 * PAGE, 9)).await;
    assert_eq!(
        world.objects.clone_block_bytes(&from.extents, &to.extents),
        Some(4096)
    );
    let length = held.len() as u64;
    world
        .objects
        .clone_range(at(&from.extents, 0), at(&to.extents, 0), length)
        .await
        .expect("they lie on the same servers");
    world.set_size(&to, length).await;
    assert_eq!(world.read_all(to.id).await, held);
    assert_eq!(
        seek(&world, &to, 2 * PAGE + 5, Seek::Hole).await,
        Some(3 * PAGE)
    );
    world.write(&from, 0, &pattern(PAGE, 77)).await;
    world
        .servers
        .memory
        .iter()
        .for_each(|server| server.restart(5));
    assert_eq!(
        world.read_all(to.id).await,
        held,
        "neither writes nor restarts show through"
    );
}

#[tokio::test(start_paused = true)]
async fn a_clone_to_another_offset_lands_on_the_stripes_that_own_it() {
    let world = ours(4).await;
    let (from, to) = twins(&world).await;
    let held = pattern(8 * PAGE, 1);
    world.write(&from, 0, &held).await;
    world
        .objects
        .clone_range(
            at(&from.extents, PAGE),
            at(&to.extents, 5 * PAGE),
            6 * PAGE + 9,
        )
        .await
        .expect("moved by a whole turn, each stripe stays on its server");
    world.set_size(&to, 11 * PAGE + 9).await;
    let mut expected = vec![0; 11 * PAGE as usize + 9];
    expected[5 * PAGE as usize..].copy_from_slice(&held[PAGE as usize..7 * PAGE as usize + 9]);
    assert_eq!(world.read_all(to.id).await, expected);
    let apart = world
        .objects
        .clone_range(at(&from.extents, 0), at(&to.extents, PAGE), PAGE)
        .await;
    assert!(
        matches!(apart, Err(Error::Apart)),
        "the next stripe is on another server"
    );
}

#[tokio::test(start_paused = true)]
async fn what_can_t_be_cloned_is_told_apart_and_nothing_is_done() {
    let world = ours(4).await;
    let (from, to) = twins(&world).await;
    world.write(&from, 0, &pattern(8 * PAGE, 1)).await;
    let unaligned = world
        .objects
        .clone_range(at(&from.extents, 10), at(&to.extents, 10), PAGE)
        .await;
    assert!(matches!(unaligned, Err(Error::Unaligned { block: 4096 })));
    let flat = world
        .objects
        .bind(Making::default())
        .await
        .expect("it finds its place");
    let apart = world
        .objects
        .clone_range(at(&from.extents, 0), at(&flat.extents(), 0), PAGE)
        .await;
    assert!(matches!(apart, Err(Error::Apart)));
    assert_eq!(
        world
            .objects
            .clone_block_bytes(&from.extents, &flat.extents()),
        None
    );
    flat.unused();
    let observed = world
        .objects
        .observe(&to.extents)
        .await
        .expect("it is asked");
    assert_eq!(observed.used, 0);
    let world = strangers(4).await;
    let (from, to) = (world.create("from").await, world.create("to").await);
    assert_eq!(
        world.objects.clone_block_bytes(&from.extents, &to.extents),
        None
    );
}

/// A copy between two files with a hole, as one that wrote both sees it.
async fn copy_in(world: &World, shift: u64) {
    let (from, to) = (world.create("from").await, world.create("to").await);
    let mut held = pattern(40 * PAGE + 5, 1);
    held[10 * PAGE as usize..30 * PAGE as usize].fill(0);
    world.write(&from, 0, &held[..10 * PAGE as usize]).await;
    world
        .write(&from, 30 * PAGE, &held[30 * PAGE as usize..])
        .await;
    let old = pattern(45 * PAGE, 9);
    world.write(&to, 0, &old).await;
    let copied = world
        .objects
        .copy_range(
            at(&from.extents, 3),
            held.len() as u64,
            at(&to.extents, shift),
            u64::MAX,
            on_and_on,
        )
        .await
        .expect("a copy succeeds");
    assert_eq!(copied, held.len() as u64 - 3, "as much as there is");
    world.set_size(&to, shift + copied).await;
    world
        .servers
        .memory
        .iter()
        .for_each(|server| server.restart(8));
    let mut expected = old;
    expected.resize(expected.len().max((shift + copied) as usize), 0);
    expected[shift as usize..(shift + copied) as usize].copy_from_slice(&held[3..]);
    let size = world.inode(to.id).await.size as usize;
    assert_eq!(world.read_all(to.id).await, expected[..size]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_between_our_servers_is_right_and_no_byte_passes_this_one() {
    let world = ours(4).await;
    copy_in(&world, 7 * PAGE + 3).await;
    let from = world.lookup("from").await.expect("it is there");
    let to = world.lookup("to").await.expect("it is there");
    let before = world
        .servers
        .memory
        .iter()
        .map(MemoryServer::served_bytes)
        .sum::<u64>();
    world
        .objects
        .copy_range(
            at(&from.extents, 0),
            from.size,
            at(&to.extents, PAGE),
            from.size,
            on_and_on,
        )
        .await
        .expect("a copy succeeds");
    let after = world
        .servers
        .memory
        .iter()
        .map(MemoryServer::served_bytes)
        .sum::<u64>();
    assert_eq!(before, after, "READ and WRITE carry no byte of it");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_passes_this_server_is_right_too() {
    copy_in(&strangers(4).await, 7 * PAGE + 3).await;
    let rack = Rack::default();
    let memory = vec![
        MemoryServer::new("stranger", FenceGrade::Windowed),
        MemoryServer::new("ours", FenceGrade::Exact).in_rack(&rack),
        MemoryServer::new("other", FenceGrade::Exact).in_rack(&rack),
        MemoryServer::new("apart", FenceGrade::Exact).in_rack(&Rack::default()),
    ];
    let world = world_on(memory, options(), Faults::default(), 1).await;
    copy_in(&world, 3).await;
}

#[tokio::test(start_paused = true)]
async fn holes_are_copied_as_holes() {
    for world in [ours(4).await, strangers(4).await] {
        let (from, to) = (world.create("from").await, world.create("to").await);
        world.write(&from, 3 << 30, &pattern(10, 1)).await;
        // A stranger's hole is found by its zeros alone, so that the search begins close to its end.
        let begin = (3 << 30) - (8 << 20);
        let size = (3 << 30) + 10;
        let copied = world
            .objects
            .copy_range(
                at(&from.extents, begin),
                size,
                at(&to.extents, 0),
                size,
                on_and_on,
            )
            .await
            .expect("a copy succeeds");
        assert_eq!(copied, (8 << 20) + 10);
        let used = world
            .objects
            .observe(&to.extents)
            .await
            .expect("it is asked")
            .used;
        assert!(used <= 2 << 20, "{used}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_tells_how_far_it_is_and_ends_when_told_to() {
    let world = ours(2).await;
    let (from, to) = (world.create("from").await, world.create("to").await);
    let held = pattern(1 << 20, 1);
    for part in 0..130 {
        world
            .objects
            .write(
                &from.extents,
                part << 20,
                held.clone().into(),
                Stability::Unstable,
            )
            .await
            .expect("a write succeeds");
    }
    let size = 130 << 20;
    let mut told = Vec::new();
    let copied = world
        .objects
        .copy_range(
            at(&from.extents, 0),
            size,
            at(&to.extents, 0),
            size,
            |copied| {
                told.push(copied);
                ControlFlow::Break(())
            },
        )
        .await
        .expect("ending is no error");
    assert_eq!(told, [copied]);
    assert!(copied > 0 && copied < size, "{copied}");
    let rest = world
        .objects
        .copy_range(
            at(&from.extents, copied),
            size,
            at(&to.extents, copied),
            size - copied,
            on_and_on,
        )
        .await
        .expect("it goes on from there");
    assert_eq!(copied + rest, size);
    let read = world
        .objects
        .read(&to.extents, size, 77 << 20, 1 << 20)
        .await;
    assert_eq!(read.expect("a read succeeds").data, held);
}

#[tokio::test(start_paused = true)]
async fn ranges_of_a_fenced_or_lost_object_are_told_as_such() {
    let world = ours(1).await;
    let (from, to) = twins(&world).await;
    world.write(&from, 0, &pattern(PAGE, 1)).await;
    let object = to.extents[0].objects().next().expect("it has one").object;
    world.servers.memory[0]
        .remove(object)
        .await
        .expect("it is removed");
    let gone = |answer: Result<(), Error>| {
        assert!(matches!(answer, Err(Error::Server(error)) if error.kind == ErrorKind::Gone));
    };
    gone(world.objects.deallocate(&to.extents, 0, PAGE).await);
    gone(world.objects.allocate(&to.extents, 0, PAGE).await);
    gone(
        world
            .objects
            .clone_range(at(&from.extents, 0), at(&to.extents, 0), PAGE)
            .await,
    );
    let copied = world
        .objects
        .copy_range(
            at(&from.extents, 0),
            PAGE,
            at(&to.extents, 0),
            PAGE,
            on_and_on,
        )
        .await;
    gone(copied.map(drop));
}
