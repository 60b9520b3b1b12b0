//! The in-memory server and the fault-injecting wrapper keep the contract.

use async_trait::async_trait;
use backend::conformance::Subject;
use backend::{
    DataServer, Error, Faults, Faulty, FenceGrade, Fetched, MemoryServer, Rack, Stability,
};
use bytes::Bytes;
use layout::Owner;
use std::future::{Ready, ready};
use std::sync::Arc;

struct InMemory {
    memory: MemoryServer,
    front: Arc<dyn DataServer>,
    neighbour: Option<MemoryServer>,
}

#[async_trait]
impl Subject for InMemory {
    fn server(&self) -> Arc<dyn DataServer> {
        self.front.clone()
    }

    async fn client_read(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, Error> {
        self.memory.client_read(client, handle, offset, count)
    }

    async fn client_write(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error> {
        self.memory.client_write(client, handle, offset, data)
    }

    async fn restart(&self) -> bool {
        self.memory.restart(1);
        true
    }

    async fn neighbour(&self) -> Option<Arc<dyn DataServer>> {
        let neighbour = self.neighbour.clone()?;
        Some(Arc::new(neighbour))
    }
}

/// One that can do everything, and its neighbour.
fn pair() -> (MemoryServer, Option<MemoryServer>) {
    let rack = Rack::default();
    let server = || MemoryServer::new("memory", FenceGrade::Exact).in_rack(&rack);
    (server(), Some(server()))
}

mod memory {
    use super::*;

    fn subject() -> Ready<InMemory> {
        let (memory, neighbour) = pair();
        ready(InMemory {
            front: Arc::new(memory.clone()),
            memory,
            neighbour,
        })
    }

    backend::conformance_tests!(subject());
}

mod indirect {
    use super::*;

    fn subject() -> Ready<InMemory> {
        let memory = MemoryServer::new("memory", FenceGrade::None).indirect();
        ready(InMemory {
            front: Arc::new(memory.clone()),
            memory,
            neighbour: None,
        })
    }

    backend::conformance_tests!(subject());
}

mod faulty_without_faults {
    use super::*;

    fn subject() -> Ready<InMemory> {
        let memory = MemoryServer::new("memory", FenceGrade::Windowed).with_transfer_bytes(4096);
        let front = Faulty::new(Arc::new(memory.clone()), 1, Faults::default(), |_| {});
        ready(InMemory {
            front: Arc::new(front),
            memory,
            neighbour: None,
        })
    }

    backend::conformance_tests!(subject());
}

mod short_transfers {
    use super::*;

    fn subject() -> Ready<InMemory> {
        let (memory, neighbour) = pair();
        let faults = Faults {
            short: 500,
            ..Faults::default()
        };
        let front = Faulty::new(Arc::new(memory.clone()), 7, faults, |_| {});
        ready(InMemory {
            front: Arc::new(front),
            memory,
            neighbour,
        })
    }

    backend::conformance_tests!(
        subject();
        what_was_written_is_read_back,
        what_a_truncate_cut_never_comes_back,
        transfers_of_the_largest_size_work,
        writers_of_different_ranges_do_not_disturb_each_other,
        holes_are_told_from_data_or_all_is_data,
        a_search_looks_at_what_the_stripe_owns_alone,
        a_hole_reads_as_zeros_and_leaves_the_size,
        a_hole_survives_a_restart,
        space_set_aside_changes_no_byte_and_no_size,
        a_clone_holds_the_same_bytes_and_lives_on_its_own,
        bytes_are_fetched_from_where_they_lie
    );
}

#[tokio::test]
async fn a_windowed_fence_lets_a_late_write_land_and_an_exact_one_does_not() {
    let owner = |uid| Owner { uid, gid: uid };
    for (grade, lands) in [(FenceGrade::Windowed, true), (FenceGrade::Exact, false)] {
        let server = MemoryServer::new("memory", grade);
        let handle = server
            .create(layout::ObjectId(1), owner(5))
            .await
            .expect("an object can be made");
        let late = server
            .begin_client_write(owner(5), &handle, 0, Bytes::from_static(b"late"))
            .expect("the owner passes the check");
        server
            .fence(&handle, owner(6))
            .await
            .expect("an owner can be changed");
        assert_eq!(late.land().is_ok(), lands);
    }
}

#[tokio::test]
async fn an_unstable_write_never_beats_a_later_durable_one_in_a_restart() {
    let owner = Owner { uid: 5, gid: 5 };
    for seed in 0..50 {
        let server = MemoryServer::new("memory", FenceGrade::Exact);
        let handle = server
            .create(layout::ObjectId(1), owner)
            .await
            .expect("an object can be made");
        for (data, stability) in [
            (b"first", Stability::Unstable),
            (b"later", Stability::Durable),
        ] {
            let data = Bytes::from_static(data);
            server
                .write(&handle, 0, data, stability)
                .await
                .expect("a WRITE succeeds");
        }
        server.restart(seed);
        let read = server.read(&handle, 0, 5).await.expect("a READ succeeds");
        assert_eq!(&read.data[..], b"later");
    }
}
