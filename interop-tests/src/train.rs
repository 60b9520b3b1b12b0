//! Accelerators that compute nothing: each waits for a batch of samples, then for as long as the batch would be computed,
//! while its readers fetch the next. What MLPerf Storage measures of its load unet3d: how many are kept busy.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};

/// A sample, and what an accelerator wants of them in a second, is so many times smaller than there.
const SCALE: usize = 80;
const SAMPLE_BYTES: usize = 146_600_628 / SCALE;
const BATCH: usize = 7;
/// Of an H100, for a batch.
const COMPUTED: Duration = Duration::from_millis(323);
/// Of each accelerator, and how many batches they are ahead.
const READERS: u64 = 4;
const AHEAD: usize = 2;
const PIECE_BYTES: usize = 1 << 20;

fn sample(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("sample-{number}"))
}

pub fn make(folder: &Path, samples: u64) -> Result<()> {
    let bytes: Vec<u8> = (0..SAMPLE_BYTES).map(|at| (at % 251) as u8).collect();
    for number in 0..samples {
        let path = sample(folder, number);
        let write = || File::create(&path)?.write_all(&bytes);
        write().with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Which part of the time they were busy, all together.
pub fn busy(folder: &Path, samples: u64, accelerators: u64, time: Duration) -> Result<f64> {
    let parts: Vec<Result<f64>> = thread::scope(|scope| {
        let each: Vec<_> = (0..accelerators)
            .map(|number| scope.spawn(move || accelerate(folder, samples, number, time)))
            .collect();
        each.into_iter()
            .map(|one| one.join().expect("an accelerator panicked"))
            .collect()
    });
    let parts = parts.into_iter().collect::<Result<Vec<f64>>>()?;
    Ok(parts.iter().sum::<f64>() / parts.len() as f64)
}

fn accelerate(folder: &Path, samples: u64, number: u64, time: Duration) -> Result<f64> {
    let (give, batches) = sync_channel(BATCH * AHEAD);
    let next = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..READERS {
            let (give, next) = (give.clone(), Arc::clone(&next));
            scope.spawn(move || read_on(folder, samples, number, &next, &give));
        }
        drop(give);
        // Whoever reads ends when nobody takes what was read.
        let batches = batches;
        take(&batches)?;
        let begun = Instant::now();
        let mut computed = Duration::ZERO;
        while begun.elapsed() < time {
            thread::sleep(COMPUTED);
            computed += COMPUTED;
            take(&batches)?;
        }
        Ok(computed.as_secs_f64() / begun.elapsed().as_secs_f64())
    })
}

fn take(batches: &Receiver<Result<()>>) -> Result<()> {
    for _ in 0..BATCH {
        batches.recv().context("its readers ended")??;
    }
    Ok(())
}

/// One sample after the other, in an order of the accelerator's own, each once in an epoch.
fn read_on(
    folder: &Path,
    samples: u64,
    accelerator: u64,
    next: &AtomicU64,
    give: &SyncSender<Result<()>>,
) {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let turn = next.fetch_add(1, Relaxed);
        let number = scattered(turn, accelerator, samples);
        if give
            .send(read(&sample(folder, number), &mut buffer))
            .is_err()
        {
            return;
        }
    }
}

/// All numbers below `samples` come before one comes again: by a step that has no divisor with their count.
fn scattered(turn: u64, accelerator: u64, samples: u64) -> u64 {
    let mut step = (samples * 5 / 8).max(1) | 1;
    while divisor(step, samples) > 1 {
        step += 2;
    }
    (turn * step + accelerator * (samples / 7 + 1)) % samples
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn read(path: &Path, buffer: &mut [u8]) -> Result<()> {
    let mut read = || -> Result<usize> {
        let mut file = File::open(path)?;
        let mut whole = 0;
        loop {
            let count = file.read(buffer)?;
            if count == 0 {
                break;
            }
            whole += count;
        }
        // There are many times more samples than memory: none is there still when it is wanted again.
        fadvise(&file, 0, None, Advice::DontNeed)?;
        Ok(whole)
    };
    let whole = read().with_context(|| path.display().to_string())?;
    ensure!(whole == SAMPLE_BYTES, "{}: {whole} bytes", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_epoch_reads_each_sample_once() {
        for samples in [1, 2, 8, 100, 401] {
            let epoch: BTreeSet<u64> = (samples..2 * samples)
                .map(|turn| scattered(turn, 3, samples))
                .collect();
            assert_eq!(epoch.len() as u64, samples);
            assert!(epoch.iter().all(|number| *number < samples));
        }
    }

    #[test]
    fn who_has_its_samples_at_hand_is_busy_and_one_without_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(busy(folder.path(), 4, 1, Duration::ZERO).is_err());
        make(folder.path(), 4).unwrap();
        let busy = busy(folder.path(), 4, 1, COMPUTED).unwrap();
        assert!(busy > 0.1 && busy <= 1.0, "{busy}");
    }
}
