//! What a reader of cached objects would miss: each test a store in a folder of its own.

use backend::upstream::{MemoryUpstream, Upstream, Version};
use bytes::Bytes;
use chunks::{Failed, Held, Offer, Options, Part, Store};
use proptest::prelude::*;
use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const CHUNK: u64 = 64;
/// A chunk's file: a page.
const FILE: u64 = 4096;

struct Bench {
    dir: tempfile::TempDir,
    lake: MemoryUpstream,
    store: Store,
}

fn options(folder: &Path, bytes: u64) -> Options {
    Options {
        chunk_bytes: CHUNK as u32,
        ahead: 0,
        recent_bytes: 0,
        ..Options::new(folder, bytes)
    }
}

fn open(options: Options, lake: &MemoryUpstream) -> Store {
    let keeper = Arc::new(lake.clone()) as Arc<dyn Upstream>;
    let upstreams = HashMap::from([("lake".to_owned(), keeper)]);
    Store::open(options, upstreams, tokio::runtime::Handle::current()).expect("it opens")
}

fn bench(bytes: u64) -> Bench {
    bench_with(bytes, |options| options)
}

fn bench_with(bytes: u64, change: impl FnOnce(Options) -> Options) -> Bench {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let lake = MemoryUpstream::default();
    let store = open(change(options(dir.path(), bytes)), &lake);
    Bench { dir, lake, store }
}

fn offer(version: &Version) -> Offer {
    Offer {
        upstream: "lake".into(),
        version: version.clone(),
        mtime: 0,
        uid: 1,
        gid: 2,
    }
}

impl Bench {
    fn serve(&self, version: &Version) -> Arc<Held> {
        self.store.offer(offer(version)).expect("it is taken")
    }

    async fn read(&self, held: &Arc<Held>, index: u64) -> Result<Vec<u8>, Failed> {
        read(&self.store, held, index).await
    }

    /// Waits until what was fetched is on disk.
    async fn written(&self, held: &Arc<Held>, index: u64) {
        while !matches!(
            self.store.part(held, index, 0..1).await,
            Ok(Part::OnDisk(_))
        ) {
            tokio::task::yield_now().await;
        }
    }
}

/// A whole chunk.
async fn read(store: &Store, held: &Arc<Held>, index: u64) -> Result<Vec<u8>, Failed> {
    let length = held.chunk_length(index);
    match store.part(held, index, 0..length).await? {
        Part::InMemory(slices) => Ok(slices.concat()),
        Part::OnDisk(file) => {
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, 0).expect("it is read");
            Ok(bytes)
        }
    }
}

fn pattern(seed: u8, length: u64) -> Bytes {
    (0..length).map(|at| seed.wrapping_add(at as u8)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_a_chunk_make_one_fetch() {
    let bench = bench(1 << 20);
    let held = bench.serve(&bench.lake.put("a", pattern(1, 100)));
    bench.lake.hold(true);
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let (store, held) = (bench.store.clone(), Arc::clone(&held));
            tokio::spawn(async move { read(&store, &held, 1).await })
        })
        .collect();
    while bench.lake.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    bench.lake.hold(false);
    for reader in readers {
        let bytes = reader.await.expect("no panic").expect("it is read");
        assert_eq!(bytes, pattern(1, 100)[64..]);
    }
    bench.written(&held, 1).await;
    assert_eq!(bench.lake.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_once_is_read_again_without_its_keeper_and_after_a_restart_too() {
    let mut bench = bench(1 << 20);
    let version = bench.lake.put("a", pattern(1, 200));
    let held = bench.serve(&version);
    for index in 0..4 {
        bench.read(&held, index).await.expect("it is read");
        bench.written(&held, index).await;
    }
    bench.lake.remove("a");
    bench.store = open(options(bench.dir.path(), 1 << 20), &bench.lake);
    let kept = bench.store.object(held.id).expect("it is still served");
    for index in 0..4 {
        let bytes = bench.read(&kept, index).await.expect("it is read");
        let start = (index * CHUNK) as usize;
        assert_eq!(bytes, pattern(1, 200)[start..(start + 64).min(200)]);
    }
    assert_eq!(bench.lake.fetches(), 4);
    assert_eq!(bench.serve(&version).id, held.id, "the handle stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_was_damaged_while_nobody_looked_is_fetched_again() {
    let mut bench = bench(1 << 20);
    let held = bench.serve(&bench.lake.put("a", pattern(1, 64)));
    bench.written(&held, 0).await;
    let folder = bench.dir.path().join("chunks");
    let folder = folder.join(format!("{:02x}", held.id.0[0]));
    let entry = std::fs::read_dir(folder).expect("it is there").next();
    let path = entry.expect("one chunk").expect("it is named").path();
    let file = std::fs::File::options().write(true).open(path);
    file.expect("it opens")
        .write_all_at(&[99], 7)
        .expect("a byte is changed");
    bench.store = open(options(bench.dir.path(), 1 << 20), &bench.lake);
    let kept = bench.store.object(held.id).expect("it is still served");
    assert_eq!(
        bench.read(&kept, 0).await.expect("it is read"),
        pattern(1, 64)
    );
    assert_eq!(bench.store.counters().damaged.load(Relaxed), 1);
    assert_eq!(bench.lake.fetches(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwritten_object_gives_no_byte_of_another_version() {
    let bench = bench(1 << 20);
    let held = bench.serve(&bench.lake.put("a", pattern(1, 128)));
    assert_eq!(
        bench.read(&held, 0).await.expect("it is read"),
        pattern(1, 64)
    );
    let newer = bench.lake.put("a", pattern(77, 128));
    assert_eq!(bench.read(&held, 1).await, Err(Failed::Gone));
    assert_eq!(
        bench.read(&held, 0).await,
        Err(Failed::Gone),
        "nor of its own any more"
    );
    let held = bench.serve(&newer);
    assert_eq!(
        bench.read(&held, 1).await.expect("it is read"),
        pattern(77, 128)[64..]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_s_offer_ends_the_earlier_one_for_good() {
    let mut bench = bench(1 << 20);
    let held = bench.serve(&bench.lake.put("a", pattern(1, 64)));
    bench.written(&held, 0).await;
    let newer = bench.lake.put("a", pattern(2, 64));
    bench.serve(&newer);
    assert_eq!(bench.read(&held, 0).await, Err(Failed::Gone));
    bench.store = open(options(bench.dir.path(), 1 << 20), &bench.lake);
    assert!(bench.store.object(held.id).is_none());
    let held = bench.serve(&newer);
    bench.store.withdraw(held.id).expect("it is withdrawn");
    assert_eq!(bench.read(&held, 0).await, Err(Failed::Gone));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_away_is_asked_again_later() {
    let bench = bench(1 << 20);
    let held = bench.serve(&bench.lake.put("a", pattern(1, 64)));
    bench.lake.refuse(1);
    assert_eq!(bench.read(&held, 0).await, Err(Failed::Later));
    while bench.read(&held, 0).await != Ok(pattern(1, 64).to_vec()) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_is_told_to_come_again_and_finds_it_then() {
    let bench = bench_with(1 << 20, |options| Options {
        patience: Duration::from_millis(1),
        ..options
    });
    let held = bench.serve(&bench.lake.put("a", pattern(1, 64)));
    bench.lake.hold(true);
    assert_eq!(bench.read(&held, 0).await, Err(Failed::Later));
    bench.lake.hold(false);
    while bench.read(&held, 0).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.lake.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_finds_what_comes_next_fetched() {
    let bench = bench_with(1 << 20, |options| Options {
        ahead: 4,
        ..options
    });
    let held = bench.serve(&bench.lake.put("a", pattern(1, 64 * 20)));
    bench.read(&held, 0).await.expect("it is read");
    while bench.lake.fetches() < 3 {
        tokio::task::yield_now().await;
    }
    bench.read(&held, 1).await.expect("it is read");
    while bench.lake.fetches() < 6 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_costs_fetches_and_no_bytes() {
    let bench = bench(1 << 20);
    let held = bench.serve(&bench.lake.put("a", pattern(1, 64)));
    // A file where the chunk's folder should be.
    let place = bench
        .dir
        .path()
        .join("chunks")
        .join(format!("{:02x}", held.id.0[0]));
    std::fs::write(place, b"in the way").expect("it is put there");
    for _ in 0..2 {
        assert_eq!(
            bench.read(&held, 0).await.expect("it is read"),
            pattern(1, 64)
        );
        while bench.store.counters().unwritten.load(Relaxed) < bench.lake.fetches() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.store.held_bytes(), 0);
}

/// More than a piece of what readers are given.
const PIECES: u32 = 600 << 10;

fn of_pieces() -> Bench {
    bench_with(64 << 20, |options| Options {
        chunk_bytes: PIECES,
        ..options
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_of_a_chunk_is_read_while_the_rest_is_still_to_come() {
    let bench = of_pieces();
    let bytes = pattern(1, u64::from(PIECES));
    let held = bench.serve(&bench.lake.put("a", bytes.clone()));
    bench.lake.stop_after(Some(300 << 10));
    let first = bench.store.part(&held, 0, 1000..2000).await;
    let Part::InMemory(slices) = first.expect("it is read") else {
        panic!("it isn't on disk yet");
    };
    assert_eq!(slices.concat(), bytes[1000..2000]);
    bench.lake.stop_after(None);
    assert_eq!(bench.read(&held, 0).await.as_deref(), Ok(&bytes[..]));
    assert_eq!(bench.lake.fetches(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_costs_another_fetch_and_no_byte_that_came() {
    let bench = of_pieces();
    let bytes = pattern(1, u64::from(PIECES));
    let held = bench.serve(&bench.lake.put("a", bytes.clone()));
    bench.lake.stop_after(Some(300 << 10));
    let first = bench.store.part(&held, 0, 0..1000).await;
    first.expect("it is read");
    bench.lake.break_off();
    bench.lake.stop_after(None);
    while bench.read(&held, 0).await != Ok(bytes.to_vec()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.lake.fetches(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_a_moment_ago_is_read_from_memory_and_no_more_than_that_stays_there() {
    let bench = bench_with(1 << 20, |options| Options {
        // A buffer for each chunk is a page.
        recent_bytes: 2 * 4096,
        ..options
    });
    let held = bench.serve(&bench.lake.put("a", pattern(1, 64 * 3)));
    let in_memory = async |index| {
        let part = bench.store.part(&held, index, 0..64).await;
        matches!(part.expect("it is read"), Part::InMemory(_))
    };
    for index in 0..3 {
        assert!(in_memory(index).await);
    }
    // Which of them goes says the order in which they were written.
    loop {
        let mut stay = 0;
        for index in 0..3 {
            stay += usize::from(in_memory(index).await);
        }
        if stay == 2 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.lake.fetches(), 3);
}

fn on_disk(dir: &Path) -> u64 {
    let inner = std::fs::read_dir(dir.join("chunks")).expect("it is there");
    let files = inner
        .flat_map(|folder| std::fs::read_dir(folder.expect("named").path()).expect("it is there"));
    files
        .map(|file| file.expect("named").metadata().map_or(0, |meta| meta.len()))
        .sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_is_read_overwritten_and_restarted_bytes_are_of_one_version_and_the_bound_holds(
        steps in prop::collection::vec((0_u8..8, 0_usize..3, 0_u64..5), 1..60),
    ) {
        let start = || tokio::runtime::Runtime::new().expect("a runtime");
        let mut runtime = start();
        let most = 4 * FILE;
        let mut bench = runtime.block_on(async { bench(most) });
        let mut held: Vec<Option<(Arc<Held>, Bytes)>> = vec![None, None, None];
        let mut current: Vec<Bytes> = vec![Bytes::new(); 3];
        let mut seed = 0_u8;
        for (what, file, index) in steps {
            let key = format!("k{file}");
            match what {
                0 => {
                    seed = seed.wrapping_add(13);
                    current[file] = pattern(seed, 64 * 5);
                    let version = bench.lake.put(&key, current[file].clone());
                    held[file] = Some((bench.serve(&version), current[file].clone()));
                }
                // Behind the server's back.
                1 => {
                    seed = seed.wrapping_add(13);
                    current[file] = pattern(seed, 64 * 5);
                    bench.lake.put(&key, current[file].clone());
                }
                2 => {
                    // Its last write ends with it, as a process's would.
                    drop(runtime);
                    runtime = start();
                    bench.store =
                        runtime.block_on(async { open(options(bench.dir.path(), most), &bench.lake) });
                    for one in &mut held {
                        let kept = one.take();
                        *one = kept.and_then(|(old, bytes)| Some((bench.store.object(old.id)?, bytes)));
                    }
                }
                _ => if let Some((object, bytes)) = &held[file] {
                    let start = (index * CHUNK) as usize;
                    match runtime.block_on(bench.read(object, index)) {
                        Ok(read) => prop_assert_eq!(&read[..], &bytes[start..start + 64]),
                        Err(failed) => {
                            prop_assert_eq!(failed, Failed::Gone);
                            prop_assert!(*bytes != current[file]);
                        }
                    }
                },
            }
            prop_assert!(bench.store.held_bytes() <= most);
        }
        // A chunk that lost its place while it was being written goes once it is.
        let settled = async {
            while on_disk(bench.dir.path()) > most {
                tokio::task::yield_now().await;
            }
        };
        let settled = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), settled).await });
        prop_assert!(settled.is_ok(), "{} bytes stay on disk", on_disk(bench.dir.path()));
    }
}
