//! Durable creates a second, by number of callers at once: `creates FOLDER [SECONDS]`. By hand, in release.

use catalog::{Catalog, Error, FileKind, InodeId, NewInode, Options, Timestamp, transact};
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

async fn measure(catalog: &Arc<Catalog>, callers: u64, for_how_long: Duration) {
    let directory = create(
        catalog,
        InodeId::ROOT,
        &format!("d{callers}"),
        FileKind::Directory,
    )
    .await;
    let (before, start, slowest) = (catalog.stats(), Instant::now(), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (catalog, slowest) = (catalog.clone(), slowest.clone());
            tokio::spawn(async move {
                let mut count = 0_u64;
                while start.elapsed() < for_how_long {
                    let began = Instant::now();
                    create(
                        &catalog,
                        directory,
                        &format!("{caller}-{count}"),
                        FileKind::Regular,
                    )
                    .await;
                    slowest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
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
    let (seconds, after) = (start.elapsed().as_secs_f64(), catalog.stats());
    println!(
        "{callers:4} callers: {:8.0} creates/s, {:7.0} syncs/s, batches by size {:?}, slowest {} us, conflicts {}",
        created as f64 / seconds,
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
    let start = Instant::now();
    let faults = catalog.check().await.expect("a readable catalog");
    println!(
        "check: {} faults in {:?}; disk {} MB",
        faults.len(),
        start.elapsed(),
        catalog.stats().disk_bytes >> 20
    );
}
