//! Claims about bytes. Never here: what they are called.

use super::{Subject, Work, kind, pattern};
use crate::Stability;
use crate::tree::TreeErrorKind;
use tokio::task::JoinSet;

const PAST_4_GIB: u64 = (5 << 30) + 12_345;

pub async fn what_was_written_is_read_back(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    for (offset, length) in [(0, 1), (1, 4095), (4096, 70_000), (3, 9), (100_001, 3)] {
        let data = pattern(length, offset as u8);
        work.write(&file, offset, &data, Stability::Unstable).await;
        assert_eq!(work.read(&file, offset, length).await, data);
    }
    assert_eq!(work.stat(&file.handle).await.size, 100_004);
    assert_eq!(work.found("file").await.stat.size, 100_004);
}

pub async fn a_read_at_the_end_says_so(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    work.write(&file, 0, &pattern(100, 0), Stability::Durable)
        .await;
    let read = async |offset, count| {
        let read = work.tree.read(&work.caller, &file.handle, offset, count);
        read.await.expect("a READ succeeds")
    };
    assert_eq!(work.read(&file, 50, 100).await, pattern(100, 0)[50..]);
    for offset in [100, 101, PAST_4_GIB] {
        let past = read(offset, 10).await;
        assert!(past.data.is_empty() && past.at_end);
    }
}

pub async fn a_hole_reads_as_zeros_past_4_gib(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    if work.tree.abilities().largest_file_bytes <= PAST_4_GIB {
        println!("skipped: this tree's files end before 5 GiB");
        return;
    }
    let file = work.file("file").await;
    work.write(&file, PAST_4_GIB, &pattern(3, 9), Stability::Durable)
        .await;
    assert_eq!(work.read(&file, PAST_4_GIB - 5, 5).await, [0; 5]);
    assert_eq!(work.read(&file, PAST_4_GIB, 9).await, pattern(3, 9));
    let folded = PAST_4_GIB % (1 << 32);
    assert_eq!(work.read(&file, folded, 3).await, [0; 3]);
    work.set_size(&file, 0).await.expect("a file can be cut");
}

pub async fn what_a_truncate_cut_never_comes_back(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    work.write(&file, 0, &pattern(10_000, 3), Stability::Unstable)
        .await;
    let cut = work.set_size(&file, 5000).await.expect("it can be cut");
    assert_eq!(cut.size, 5000);
    let grown = work.set_size(&file, 10_000).await.expect("it can grow");
    assert_eq!(grown.size, 10_000);
    let committed = work.tree.commit(&work.caller, &file.handle).await;
    committed.expect("a COMMIT succeeds");
    let mut expected = pattern(10_000, 3).to_vec();
    expected[5000..].fill(0);
    assert_eq!(work.read(&file, 0, 10_000).await, expected);
}

pub async fn a_length_that_no_file_has_is_too_large(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let largest = work.tree.abilities().largest_file_bytes;
    let refused = work.set_size(&file, largest + 1).await;
    assert_eq!(kind(refused), TreeErrorKind::TooLarge);
    let data = pattern(8, 1);
    let written = work
        .tree
        .write(
            &work.caller,
            &file.handle,
            largest,
            data,
            Stability::Durable,
        )
        .await;
    assert_eq!(kind(written), TreeErrorKind::TooLarge);
    assert_eq!(work.stat(&file.handle).await.size, 0);
}

pub async fn a_commit_has_the_verifier_of_the_writes_before_it(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let write = async |offset| {
        let data = pattern(10, 0);
        let written = work.write(&file, offset, &data, Stability::Unstable).await;
        written.verifier
    };
    let (first, second) = (write(0).await, write(10).await);
    let committed = work.tree.commit(&work.caller, &file.handle).await;
    let committed = committed.expect("a COMMIT succeeds");
    assert_eq!((first, second), (committed, committed));
}

pub async fn durable_bytes_survive_a_restart_and_the_verifier_tells_of_it(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let (first, second) = (pattern(5000, 1), pattern(5000, 2));
    let before = work.write(&file, 0, &first, Stability::Unstable).await;
    let committed = work.tree.commit(&work.caller, &file.handle).await;
    committed.expect("a COMMIT succeeds");
    work.write(&file, 5000, &second, Stability::Durable).await;
    if !subject.restart().await {
        println!("skipped: this test can't restart the keeper");
        return;
    }
    assert_eq!(work.read(&file, 0, 5000).await, first);
    assert_eq!(work.read(&file, 5000, 5001).await, second);
    let after = work.write(&file, 0, &first, Stability::Unstable).await;
    assert_ne!(before.verifier, after.verifier);
}

pub async fn transfers_of_the_largest_size_work(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let abilities = work.tree.abilities();
    let data = pattern(abilities.write_bytes as usize, 5);
    work.write(&file, 0, &data, Stability::Unstable).await;
    let read = work
        .tree
        .read(&work.caller, &file.handle, 0, abilities.read_bytes)
        .await
        .expect("as many bytes as it says can be read");
    assert_eq!(read.data, data.slice(..read.data.len()));
    let twice = pattern(2 * data.len(), 6);
    work.write(&file, 0, &twice, Stability::Unstable).await;
    assert!(work.read(&file, 0, twice.len()).await == twice);
}

pub async fn writers_of_different_ranges_do_not_disturb_each_other(subject: &dyn Subject) {
    let work = Work::begin(subject).await;
    let file = work.file("file").await;
    let mut writers = JoinSet::new();
    for part in 0..16u8 {
        let (work, file) = (work.inside(&file), file.clone());
        writers.spawn(async move {
            let (offset, data) = (u64::from(part) * 1000, pattern(1000, part));
            work.write(&file, offset, &data, Stability::Unstable).await
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.expect("a writer ends well");
    }
    for part in 0..16u8 {
        let read = work.read(&file, u64::from(part) * 1000, 1000).await;
        assert_eq!(read, pattern(1000, part));
    }
}

pub async fn space_is_told(subject: &dyn Subject) {
    let space = subject.tree().space().await;
    let space = space.expect("a tree knows its space");
    assert!(space.total > 0 && space.free <= space.total);
}
