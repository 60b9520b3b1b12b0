//! Two files under writes, holes, copies and clones, over servers that refuse, lose replies, do half
//! and restart, equal two arrays.

mod world;

use backend::{Faults, FenceGrade, Seek, Stability};
use bytes::Bytes;
use objects::{Error, Options};
use proptest::prelude::*;
use std::time::Duration;
use world::{PAGE, at, on_and_on, options, pattern, world_of, world_of_ours};

#[derive(Debug, Clone)]
enum Step {
    Write(u16, u16),
    Punch(u16, u16),
    Reserve(u16, u16),
    Copy(u16, u16, u16),
    Clone(u8, u8, u16),
    Restart(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (place, length) = (0u16..60_000, 1u16..20_000);
    prop_oneof![
        (place.clone(), length.clone()).prop_map(|(at, length)| Step::Write(at, length)),
        (place.clone(), length.clone()).prop_map(|(at, length)| Step::Punch(at, length)),
        (place.clone(), length.clone()).prop_map(|(at, length)| Step::Reserve(at, length)),
        (place.clone(), place, length.clone()).prop_map(|(a, b, l)| Step::Copy(a, b, l)),
        (0u8..16, 0u8..16, length).prop_map(|(a, b, l)| Step::Clone(a, b, l)),
        any::<u64>().prop_map(Step::Restart),
    ]
}

/// Steps on two files over faulty servers, each insisted on, come to what they come to on two arrays.
async fn equals_two_arrays(stripes: bool, of_ours: bool, steps: &[Step], seed: u64) {
    let faults = Faults {
        refused: 50,
        lost_replies: 50,
        short: 300,
        restarts: 20,
        delay: Duration::from_millis(3),
        ..Faults::default()
    };
    let how = Options {
        spread: if stripes { 4 } else { 1 },
        ..options()
    };
    let world = if of_ours {
        world_of_ours(4, how, Faults::default(), seed).await
    } else {
        world_of(4, FenceGrade::Windowed, how, Faults::default(), seed).await
    };
    let from = world.create("from").await;
    let to = world.create_like("to", &from).await;
    let (one, two) = (from.extents.as_slice(), to.extents.as_slice());
    world.set_faults(faults);
    let (mut flat, mut other) = (vec![0u8; 100_000], vec![0u8; 100_000]);
    let objects = &world.objects;
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Write(offset, length) => {
                let data = pattern(u64::from(length), number as u8);
                let range = usize::from(offset)..usize::from(offset) + data.len();
                flat[range].copy_from_slice(&data);
                let data = Bytes::from(data);
                insist(async || {
                    let (offset, data) = (u64::from(offset), data.clone());
                    objects
                        .write(one, offset, data, Stability::Durable)
                        .await
                        .map(drop)
                })
                .await;
            }
            Step::Punch(offset, length) => {
                flat[usize::from(offset)..usize::from(offset) + usize::from(length)].fill(0);
                insist(async || objects.deallocate(one, offset.into(), length.into()).await).await;
            }
            Step::Reserve(offset, length) if of_ours => {
                insist(async || objects.allocate(one, offset.into(), length.into()).await).await;
            }
            Step::Reserve(..) => {}
            Step::Copy(offset, place, length) => {
                let (source, target) = (usize::from(offset), usize::from(place));
                let bytes = flat[source..source + usize::from(length)].to_vec();
                other[target..target + bytes.len()].copy_from_slice(&bytes);
                insist(async || {
                    let (from, to) = (at(one, offset.into()), at(two, place.into()));
                    let copied = objects.copy_range(from, 100_000, to, length.into(), on_and_on);
                    copied
                        .await
                        .map(|copied| assert_eq!(copied, u64::from(length)))
                })
                .await;
            }
            Step::Clone(offset, place, length) if of_ours => {
                let (source, target) = (u64::from(offset) * PAGE, u64::from(place) * PAGE);
                if stripes && source % (4 * PAGE) != target % (4 * PAGE) {
                    continue;
                }
                let range = source as usize..source as usize + usize::from(length);
                let bytes = flat[range].to_vec();
                other[target as usize..target as usize + bytes.len()].copy_from_slice(&bytes);
                insist(async || objects.pad(one, 100_000).await.map(drop)).await;
                insist(async || {
                    let (from, to) = (at(one, source), at(two, target));
                    objects.clone_range(from, to, length.into()).await
                })
                .await;
            }
            Step::Clone(..) => {}
            Step::Restart(seed) => {
                world
                    .servers
                    .memory
                    .iter()
                    .for_each(|server| server.restart(seed));
            }
        }
    }
    world.set_faults(Faults::default());
    for (extents, expected) in [(one, flat), (two, other)] {
        let read = objects.read(extents, 100_000, 0, 100_000).await;
        assert!(
            read.expect("a read succeeds").data == expected,
            "bytes differ"
        );
        let mut offset = 0;
        while let Some(data) = objects
            .seek(extents, 100_000, offset, Seek::Data)
            .await
            .expect("found")
        {
            let skipped = &expected[offset as usize..data as usize];
            assert!(skipped.iter().all(|byte| *byte == 0), "a hole has data");
            offset = objects
                .seek(extents, 100_000, data, Seek::Hole)
                .await
                .expect("a search succeeds")
                .expect("the end is a hole");
            assert!(offset > data);
        }
        assert!(expected[offset as usize..].iter().all(|byte| *byte == 0));
    }
}

async fn insist(call: impl AsyncFn() -> Result<(), Error>) {
    for _ in 0..200 {
        match call().await {
            Ok(()) => return,
            Err(Error::Server(error)) if error.is_passing() => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("this doesn't pass: {error}"),
        }
    }
    panic!("it fails for ever");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn files_under_faulty_servers_equal_arrays(
        steps in prop::collection::vec(step(), 1..12), stripes: bool, of_ours: bool, seed in 0u64..1000,
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime starts")
            .block_on(equals_two_arrays(stripes, of_ours, &steps, seed));
    }
}
