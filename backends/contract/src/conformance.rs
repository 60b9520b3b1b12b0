//! What every data server must do, as a suite that each implementation runs on itself: one
//! function a claim, which panics with what isn't so. [`crate::conformance_tests`] makes a test of each.
//!
//! Never here: what only one kind of data server does.

use crate::{DataServer, Error, ErrorKind, FenceGrade, Fetched, Stability, Written};
use async_trait::async_trait;
use bytes::Bytes;
use layout::{ObjectId, Owner};
use std::sync::Arc;

mod clients;
mod ranges;

pub use clients::*;
pub use ranges::*;

/// A data server under test, and a client's view of it.
#[async_trait]
pub trait Subject: Send + Sync {
    fn server(&self) -> Arc<dyn DataServer>;

    /// As a client with the ids of a layout would.
    async fn client_read(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, Error>;

    async fn client_write(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error>;

    /// Restarts it in such a way that unstable writes may be lost; false where the test can't.
    async fn restart(&self) -> bool;

    /// Another server that this one can fetch bytes from.
    async fn neighbour(&self) -> Option<Arc<dyn DataServer>> {
        None
    }
}

/// Makes a test of each claim. `$subject` is an expression, awaited anew for each, that gives a [`Subject`].
#[macro_export]
macro_rules! conformance_tests {
    ($subject:expr) => {
        $crate::conformance_tests!(
            $subject;
            a_new_object_is_empty_and_belongs_to_its_owner,
            creating_again_empties_the_object,
            many_objects_are_made_at_once_or_each_by_itself,
            what_was_written_is_read_back,
            a_read_at_the_end_says_so,
            a_hole_reads_as_zeros_past_4_gib,
            what_a_truncate_cut_never_comes_back,
            padding_makes_zeros_that_can_be_read,
            a_length_that_no_object_has_is_too_large,
            padding_never_cuts_what_a_racing_writer_wrote,
            a_commit_has_the_verifier_of_the_writes_before_it,
            durable_bytes_survive_a_restart_and_the_verifier_tells_of_it,
            a_fenced_owner_writes_no_more,
            a_reader_of_the_group_reads_and_never_writes,
            a_removed_object_is_gone_however_it_is_asked,
            a_handle_that_nobody_made_is_gone,
            transfers_of_the_largest_size_work,
            writers_of_different_ranges_do_not_disturb_each_other,
            a_write_moves_the_times,
            space_is_told,
            holes_are_told_from_data_or_all_is_data,
            a_search_looks_at_what_the_stripe_owns_alone,
            a_hole_reads_as_zeros_and_leaves_the_size,
            a_hole_survives_a_restart,
            space_set_aside_changes_no_byte_and_no_size,
            a_clone_holds_the_same_bytes_and_lives_on_its_own,
            a_clone_within_a_block_or_past_the_end_is_refused,
            bytes_are_fetched_from_where_they_lie,
            ranges_of_a_removed_object_are_gone
        );
    };
    ($subject:expr; $($claim:ident),*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                let subject = $subject.await;
                $crate::conformance::$claim(&subject).await;
            }
        )*
    };
}

const FIRST: Owner = Owner {
    uid: 70_001,
    gid: 70_011,
};
const SECOND: Owner = Owner {
    uid: 70_002,
    gid: 70_012,
};
const PAST_4_GIB: u64 = (5 << 30) + 12_345;

async fn object(server: &dyn DataServer, number: u128) -> Bytes {
    let id = ObjectId(number << 64 | 0x7e57);
    let handle = server
        .create(id, FIRST)
        .await
        .expect("an object can be made");
    assert!(
        !handle.is_empty() && handle.len() <= layout::HANDLE_LIMIT_BYTES,
        "a handle has 1 to 64 bytes"
    );
    handle
}

fn pattern(length: usize, salt: u8) -> Bytes {
    (0..length).map(|at| (at % 251) as u8 ^ salt).collect()
}

async fn write_all(
    server: &dyn DataServer,
    handle: &Bytes,
    offset: u64,
    data: &Bytes,
    stability: Stability,
) -> Written {
    let mut done = 0;
    loop {
        let rest = data.slice(done..);
        let written = server
            .write(handle, offset + done as u64, rest, stability)
            .await
            .expect("a WRITE succeeds");
        assert!(written.count > 0, "a WRITE takes at least one byte");
        assert!(
            stability == Stability::Unstable || written.durable,
            "a durable WRITE is answered as durable"
        );
        done += written.count as usize;
        if done >= data.len() {
            return written;
        }
    }
}

async fn read_all(server: &dyn DataServer, handle: &Bytes, offset: u64, length: usize) -> Vec<u8> {
    let mut data = Vec::new();
    while data.len() < length {
        let want = (length - data.len()) as u32;
        let got = server
            .read(handle, offset + data.len() as u64, want)
            .await
            .expect("a READ succeeds");
        assert!(
            got.data.len() <= want as usize,
            "a READ gives no more than was asked for"
        );
        assert!(
            !got.data.is_empty() || got.at_end,
            "a READ before the end gives at least one byte"
        );
        data.extend_from_slice(&got.data);
        if got.at_end {
            break;
        }
    }
    data
}

fn kind<T: std::fmt::Debug>(answer: Result<T, Error>) -> ErrorKind {
    answer.expect_err("this must be refused").kind
}

pub async fn a_new_object_is_empty_and_belongs_to_its_owner(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 1).await;
    let stat = server.stat(&handle).await.expect("a new object is there");
    assert_eq!((stat.size, stat.owner), (0, FIRST));
}

pub async fn creating_again_empties_the_object(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 2).await;
    write_all(&*server, &handle, 0, &pattern(5000, 1), Stability::Durable).await;
    server
        .fence(&handle, SECOND)
        .await
        .expect("an owner can be changed");
    let again = object(&*server, 2).await;
    let stat = server.stat(&again).await.expect("the object is there");
    assert_eq!((stat.size, stat.owner), (0, FIRST));
}

pub async fn many_objects_are_made_at_once_or_each_by_itself(subject: &dyn Subject) {
    let server = subject.server();
    let objects: Vec<_> = (0..70).map(|n| (ObjectId(0xbb << 64 | n), FIRST)).collect();
    let handles = match server.create_all(&objects).await {
        Ok(handles) => handles,
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
            return;
        }
    };
    let again = server.create_all(&objects).await;
    assert_eq!(again.expect("nobody used them meanwhile").len(), 70);
    subject.restart().await;
    for ((object, _), handle) in objects.iter().zip(&handles) {
        let stat = server.stat(handle).await.expect("it is there");
        assert_eq!((stat.size, stat.owner), (0, FIRST));
        server.remove(*object).await.expect("it goes");
        assert_eq!(kind(server.stat(handle).await), ErrorKind::Gone);
    }
}

pub async fn what_was_written_is_read_back(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 3).await;
    for (offset, length) in [(0, 1), (1, 4095), (4096, 70_000), (3, 9), (100_001, 3)] {
        let data = pattern(length, offset as u8);
        write_all(&*server, &handle, offset, &data, Stability::Unstable).await;
        assert_eq!(read_all(&*server, &handle, offset, length).await, data);
    }
    assert_eq!(
        server
            .stat(&handle)
            .await
            .expect("the object is there")
            .size,
        100_004
    );
}

pub async fn a_read_at_the_end_says_so(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 4).await;
    write_all(&*server, &handle, 0, &pattern(100, 0), Stability::Durable).await;
    let over = server
        .read(&handle, 50, 100)
        .await
        .expect("a READ over the end succeeds");
    assert!(over.data.len() == 50 && over.at_end);
    for offset in [100, 101, PAST_4_GIB] {
        let past = server
            .read(&handle, offset, 10)
            .await
            .expect("a READ past the end succeeds");
        assert!(past.data.is_empty() && past.at_end);
    }
}

pub async fn a_hole_reads_as_zeros_past_4_gib(subject: &dyn Subject) {
    let server = subject.server();
    if server.capabilities().largest_object_bytes <= PAST_4_GIB {
        println!("skipped: this server's objects end before 5 GiB");
        return;
    }
    let handle = object(&*server, 5).await;
    write_all(
        &*server,
        &handle,
        PAST_4_GIB,
        &pattern(3, 9),
        Stability::Durable,
    )
    .await;
    assert_eq!(read_all(&*server, &handle, PAST_4_GIB - 5, 5).await, [0; 5]);
    assert_eq!(
        read_all(&*server, &handle, PAST_4_GIB, 9).await,
        pattern(3, 9)
    );
    assert_eq!(
        read_all(&*server, &handle, PAST_4_GIB % (1 << 32), 3).await,
        [0; 3]
    );
    server
        .set_size(&handle, 0)
        .await
        .expect("an object can be cut");
}

pub async fn what_a_truncate_cut_never_comes_back(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 6).await;
    write_all(
        &*server,
        &handle,
        0,
        &pattern(10_000, 3),
        Stability::Unstable,
    )
    .await;
    let cut = server
        .set_size(&handle, 5000)
        .await
        .expect("an object can be cut");
    assert_eq!(cut.size, 5000);
    server
        .set_size(&handle, 10_000)
        .await
        .expect("an object can be padded");
    server.commit(&handle).await.expect("a COMMIT succeeds");
    let mut expected = pattern(10_000, 3).to_vec();
    expected[5000..].fill(0);
    assert_eq!(read_all(&*server, &handle, 0, 10_000).await, expected);
}

pub async fn a_length_that_no_object_has_is_too_large(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 43).await;
    let past = server.capabilities().largest_object_bytes + 1;
    for refused in [
        server.set_size(&handle, past).await,
        server.extend(&handle, past).await,
    ] {
        assert_eq!(kind(refused), ErrorKind::TooLarge);
    }
    let kept = server.stat(&handle).await.expect("the object is there");
    assert_eq!(kept.size, 0);
}

pub async fn padding_makes_zeros_that_can_be_read(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 7).await;
    server
        .extend(&handle, 9000)
        .await
        .expect("an object can be padded");
    server
        .extend(&handle, 10)
        .await
        .expect("padding to less is nothing");
    assert_eq!(
        server
            .stat(&handle)
            .await
            .expect("the object is there")
            .size,
        9000
    );
    assert_eq!(read_all(&*server, &handle, 0, 9001).await, vec![0; 9000]);
}

pub async fn padding_never_cuts_what_a_racing_writer_wrote(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 16).await;
    let writer = {
        let (server, handle) = (server.clone(), handle.clone());
        tokio::spawn(async move {
            for at in 0..200 {
                write_all(
                    &*server,
                    &handle,
                    at * 100,
                    &pattern(100, 1),
                    Stability::Unstable,
                )
                .await;
            }
        })
    };
    for size in (0..20_000).step_by(250) {
        server
            .extend(&handle, size)
            .await
            .expect("an object can be padded");
    }
    writer.await.expect("the writer ends well");
    let one = pattern(100, 1);
    for at in 0..200 {
        assert_eq!(
            read_all(&*server, &handle, at * 100, 100).await,
            one,
            "block {at}"
        );
    }
}

pub async fn a_commit_has_the_verifier_of_the_writes_before_it(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 8).await;
    let first = write_all(&*server, &handle, 0, &pattern(10, 0), Stability::Unstable).await;
    let second = write_all(&*server, &handle, 10, &pattern(10, 0), Stability::Unstable).await;
    let committed = server.commit(&handle).await.expect("a COMMIT succeeds");
    assert_eq!((first.verifier, second.verifier), (committed, committed));
}

pub async fn durable_bytes_survive_a_restart_and_the_verifier_tells_of_it(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 9).await;
    let before = write_all(&*server, &handle, 0, &pattern(5000, 1), Stability::Unstable).await;
    server.commit(&handle).await.expect("a COMMIT succeeds");
    write_all(
        &*server,
        &handle,
        5000,
        &pattern(5000, 2),
        Stability::Durable,
    )
    .await;
    server
        .fence(&handle, SECOND)
        .await
        .expect("an owner can be changed");
    if !subject.restart().await {
        println!("skipped: this test can't restart the server");
        return;
    }
    assert_eq!(read_all(&*server, &handle, 0, 5000).await, pattern(5000, 1));
    assert_eq!(
        read_all(&*server, &handle, 5000, 5000).await,
        pattern(5000, 2)
    );
    assert_eq!(
        server
            .stat(&handle)
            .await
            .expect("the handle survives")
            .owner,
        SECOND
    );
    let after = write_all(&*server, &handle, 0, &pattern(1, 1), Stability::Unstable).await;
    assert_ne!(before.verifier, after.verifier);
}

pub async fn a_removed_object_is_gone_however_it_is_asked(subject: &dyn Subject) {
    let server = subject.server();
    let id = ObjectId(12 << 64 | 0x7e57);
    let handle = object(&*server, 12).await;
    write_all(&*server, &handle, 0, &pattern(8, 1), Stability::Durable).await;
    server.remove(id).await.expect("an object can be removed");
    server.remove(id).await.expect("a removal can be repeated");
    assert_eq!(kind(server.stat(&handle).await), ErrorKind::Gone);
    assert_eq!(kind(server.read(&handle, 0, 8).await), ErrorKind::Gone);
    assert_eq!(
        kind(
            server
                .write(&handle, 0, pattern(8, 2), Stability::Durable)
                .await
        ),
        ErrorKind::Gone
    );
    assert_eq!(kind(server.set_size(&handle, 0).await), ErrorKind::Gone);
    assert_eq!(kind(server.fence(&handle, SECOND).await), ErrorKind::Gone);
    assert_eq!(kind(server.commit(&handle).await), ErrorKind::Gone);
    let again = object(&*server, 12).await;
    assert_eq!(
        server
            .stat(&again)
            .await
            .expect("the id can be used again")
            .size,
        0
    );
    assert_eq!(
        kind(server.stat(&handle).await),
        ErrorKind::Gone,
        "the old handle doesn't name the new object"
    );
}

pub async fn a_handle_that_nobody_made_is_gone(subject: &dyn Subject) {
    let server = subject.server();
    for handle in [Bytes::from_static(&[7; 64]), Bytes::from_static(b"short")] {
        assert_eq!(kind(server.stat(&handle).await), ErrorKind::Gone);
        assert_eq!(
            kind(
                server
                    .write(&handle, 0, pattern(8, 1), Stability::Durable)
                    .await
            ),
            ErrorKind::Gone
        );
    }
}

pub async fn transfers_of_the_largest_size_work(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 13).await;
    let capabilities = server.capabilities();
    let data = pattern(capabilities.write_bytes as usize, 5);
    let written = server
        .write(&handle, 0, data.clone(), Stability::Unstable)
        .await
        .expect("wsize bytes can be written");
    assert!(written.count > 0);
    write_all(&*server, &handle, 0, &data, Stability::Unstable).await;
    let read = server
        .read(&handle, 0, capabilities.read_bytes)
        .await
        .expect("rsize bytes can be read");
    assert_eq!(read.data, data.slice(..read.data.len()));
    let twice = pattern(2 * capabilities.write_bytes as usize, 6);
    write_all(&*server, &handle, 0, &twice, Stability::Unstable).await;
    assert_eq!(read_all(&*server, &handle, 0, twice.len()).await, twice);
}

pub async fn writers_of_different_ranges_do_not_disturb_each_other(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 14).await;
    let mut writers = tokio::task::JoinSet::new();
    for part in 0..16u8 {
        let (server, handle) = (server.clone(), handle.clone());
        writers.spawn(async move {
            write_all(
                &*server,
                &handle,
                u64::from(part) * 1000,
                &pattern(1000, part),
                Stability::Unstable,
            )
            .await
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer ends well");
    }
    for part in 0..16u8 {
        assert_eq!(
            read_all(&*server, &handle, u64::from(part) * 1000, 1000).await,
            pattern(1000, part)
        );
    }
}

pub async fn a_write_moves_the_times(subject: &dyn Subject) {
    let server = subject.server();
    let handle = object(&*server, 15).await;
    let before = server.stat(&handle).await.expect("the object is there");
    write_all(&*server, &handle, 0, &pattern(10, 0), Stability::Durable).await;
    let after = server.stat(&handle).await.expect("the object is there");
    assert!(after.mtime >= before.mtime && after.ctime >= before.ctime && after.mtime > 0);
}

pub async fn space_is_told(subject: &dyn Subject) {
    let space = subject
        .server()
        .space()
        .await
        .expect("a server knows its space");
    assert!(space.total > 0 && space.free <= space.total);
}
