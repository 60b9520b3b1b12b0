//! Durable creates a second, by number of callers at once: `creates FOLDER [SECONDS]`. By hand, in release.
//!
//! And what it would cost to keep each reply with its create, as SESSION4_PERSIST wants (RFC 8881 §2.10.6.5): a record
//! of the caller's slot, in the same transaction. The record of a client stands for it.

use bytes::Bytes;
use catalog::{
    Catalog, ClientRecord, Error, FileKind, InodeId, NewInode, Options, Timestamp, transact,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const NOW: Timestamp = Timestamp {
    seconds: 1,
    nanos: 0,
};

async fn create(catalog: &Catalog, directory: InodeId, name: &str, kind: FileKind) -> InodeId {
    let done = transact!(catalog, NOW, |tx| -> Result<_, Error> {
        tx.create(
            directory,
            name.as_bytes(),
            NewInode::plain(kind, 0o644, 0, 0),
        )
        .await
    });
    done.expect("a create in a healthy catalog").value.id
}

/// Of an OPEN that creates, with its attributes.
const REPLY_BYTES: usize = 400;

/// A create, and the reply of it on the record of the caller's slot.
async fn create_and_keep(catalog: &Catalog, directory: InodeId, name: &str, slot: u64) {
    let reply = ClientRecord {
        id: slot,
        owner: vec![7; REPLY_BYTES].into(),
        verifier: [0; 8],
        principal: Bytes::new(),
        reclaim_complete: true,
    };
    let done = transact!(catalog, NOW, |tx| -> Result<_, Error> {
        let new = NewInode::plain(FileKind::Regular, 0o644, 0, 0);
        tx.create(directory, name.as_bytes(), new).await?;
        tx.put_client(&reply);
        Ok(())
    });
    done.expect("a create in a healthy catalog");
}

/// Creates a second by `callers` at once, each of whom makes one after the other.
async fn by_callers<F: Future<Output = ()> + Send>(
    callers: u64,
    for_how_long: Duration,
    one: impl Fn(u64, String) -> F + Clone + Send + 'static,
) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let one = one.clone();
            tokio::spawn(async move {
                let mut count = 0_u64;
                while start.elapsed() < for_how_long {
                    one(caller, format!("{caller}-{count}")).await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        created += task.await.expect("a caller that doesn't panic");
    }
    created as f64 / start.elapsed().as_secs_f64()
}

/// Creates a second by `callers`, with their replies or without.
async fn rate(
    catalog: &Arc<Catalog>,
    callers: u64,
    for_how_long: Duration,
    keep: bool,
    round: u32,
) -> f64 {
    let folder = format!("replies-{callers}-{keep}-{round}");
    let directory = create(catalog, InodeId::ROOT, &folder, FileKind::Directory).await;
    let catalog = catalog.clone();
    by_callers(callers, for_how_long, move |caller, name| {
        let catalog = catalog.clone();
        async move {
            if keep {
                create_and_keep(&catalog, directory, &name, caller).await;
            } else {
                create(&catalog, directory, &name, FileKind::Regular).await;
            }
        }
    })
    .await
}

/// Both sides in turn, so that a noisy machine disturbs them alike.
async fn cost_of_replies(catalog: &Arc<Catalog>, callers: u64, for_how_long: Duration) {
    const ROUNDS: u32 = 5;
    let mut ratios = Vec::new();
    let mut last = (0.0, 0.0);
    for round in 0..ROUNDS {
        let bare = rate(catalog, callers, for_how_long, false, round).await;
        let kept = rate(catalog, callers, for_how_long, true, round).await;
        ratios.push(kept / bare);
        last = (bare, kept);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "{callers:4} callers: with each reply kept {:.2} of the creates a second ({:.2} to {:.2}; the last {:.0} and {:.0})",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
        last.1,
        last.0,
    );
}

async fn measure(catalog: &Arc<Catalog>, callers: u64, for_how_long: Duration) {
    let directory = create(
        catalog,
        InodeId::ROOT,
        &format!("d{callers}"),
        FileKind::Directory,
    )
    .await;
    let (before, start, slowest) = (catalog.stats(), Instant::now(), Arc::new(AtomicU64::new(0)));
    let (of_caller, slowest_of_all) = (catalog.clone(), slowest.clone());
    let creates_a_second = by_callers(callers, for_how_long, move |_, name| {
        let (catalog, slowest) = (of_caller.clone(), slowest_of_all.clone());
        async move {
            let began = Instant::now();
            create(&catalog, directory, &name, FileKind::Regular).await;
            slowest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
    })
    .await;
    let (seconds, after) = (start.elapsed().as_secs_f64(), catalog.stats());
    println!(
        "{callers:4} callers: {:8.0} creates/s, {:7.0} syncs/s, batches by size {:?}, slowest {} us, conflicts {}",
        creates_a_second,
        (after.batches - before.batches) as f64 / seconds,
        after.batch_sizes,
        slowest.load(Ordering::Relaxed),
        after.conflicts,
    );
    let start = Instant::now();
    let mut listed = 0_u64;
    let mut after = 0;
    loop {
        let (page, more) = catalog
            .read()
            .readdir_plus(directory, after, 1000)
            .await
            .expect("a listing");
        after = page.last().map_or(after, |(entry, _)| entry.cookie);
        listed += page.len() as u64;
        if !more {
            break;
        }
    }
    println!(
        "      listed {listed} with attributes: {:8.0} a second",
        listed as f64 / start.elapsed().as_secs_f64()
    );
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("the folder for the catalog");
    let seconds = arguments
        .next()
        .map_or(5, |text| text.parse().expect("a number of seconds"));
    let catalog = Catalog::open(Path::new(&folder), Options::new([3; 16], NOW))
        .await
        .expect("a fresh folder");
    for callers in [1, 8, 64, 256] {
        measure(&catalog, callers, Duration::from_secs(seconds)).await;
    }
    for callers in [1, 64] {
        cost_of_replies(&catalog, callers, Duration::from_secs(seconds)).await;
    }
    let start = Instant::now();
    let faults = catalog.check().await.expect("a readable catalog");
    println!(
        "check: {} faults in {:?}; disk {} MB",
        faults.len(),
        start.elapsed(),
        catalog.stats().disk_bytes >> 20
    );
}
