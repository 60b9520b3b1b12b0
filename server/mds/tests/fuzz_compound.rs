//! Whole COMPOUNDs against a server with a catalog and data servers in memory: whatever a client sends,
//! nothing panics, every answer comes and fits the session, and the catalog stays sound.
//! `tests/__fuzz__` keeps inputs that are worth trying every time.

mod fuzz;

use std::collections::BTreeSet;

use bolero::check;
use fuzz::hand::Hand;
use fuzz::world::World;
use wire::nfs4::Opnum;

const ITERATIONS: usize = 300;
const REQUESTS_MAX: usize = 24;

/// What succeeded of it.
fn any_client(input: &[u8]) -> BTreeSet<Opnum> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut world = World::start().await;
        let mut hand = Hand::new(input);
        for _ in 0..REQUESTS_MAX {
            if hand.is_empty() {
                break;
            }
            let request = world.request(&mut hand);
            world.ask(request).await;
        }
        let succeeded = world.succeeded();
        world.is_sound().await;
        succeeded
    })
}

/// The inputs that are kept.
fn corpus() -> impl Iterator<Item = Vec<u8>> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/__fuzz__/any_bytes_as_the_requests_of_a_client/corpus"
    );
    std::fs::read_dir(folder)
        .expect("inputs are kept")
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("it can be read"))
}

#[test]
fn the_kept_inputs_reach_every_operation_that_has_state() {
    let mut reached = BTreeSet::new();
    for input in corpus() {
        reached.extend(any_client(&input));
    }
    for operation in [
        Opnum::Open,
        Opnum::Close,
        Opnum::Lock,
        Opnum::Locku,
        Opnum::Read,
        Opnum::Write,
        Opnum::Setattr,
        Opnum::Create,
        Opnum::Remove,
        Opnum::Rename,
        Opnum::Readdir,
        Opnum::Layoutget,
        Opnum::Layoutcommit,
        Opnum::Layoutreturn,
    ] {
        assert!(
            reached.contains(&operation),
            "{operation:?} never succeeds: {reached:?}"
        );
    }
}

#[test]
fn any_bytes_as_the_requests_of_a_client() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            any_client(input);
        });
}
