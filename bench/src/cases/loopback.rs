//! What TCP on loopback moves when nobody does anything with it: the bound of whatever goes through a socket.

use super::Place;
use crate::rounds::Sample;
use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 4;
/// Of one write and of one read.
const BLOCK: usize = 1 << 20;

/// Copies all the time of a span, told in pieces of `bytes_each`.
pub fn copy(bytes_each: u64, place: Place<'_>) -> Result<Sample> {
    let (warm_up, time) = place.span.parts();
    let bytes_per_second = bytes_within(warm_up, time)?;
    Ok(Sample::bound(
        bytes_per_second / bytes_each as f64,
        Some(bytes_each),
    ))
}

fn bytes_within(warm_up: Duration, time: Duration) -> Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let received = AtomicU64::new(0);
    let end = Instant::now() + warm_up + time;
    thread::scope(|scope| {
        let mut ends = Vec::new();
        for _ in 0..CONNECTIONS {
            let to = TcpStream::connect(address)?;
            let (from, _) = listener.accept()?;
            ends.push(scope.spawn(move || send(to, end)));
            let received = &received;
            ends.push(scope.spawn(move || receive(from, received)));
        }
        thread::sleep(warm_up);
        let (began, before) = (Instant::now(), received.load(Relaxed));
        thread::sleep(time);
        let bytes = received.load(Relaxed) - before;
        let rate = bytes as f64 / began.elapsed().as_secs_f64();
        for end in ends {
            end.join().ok().context("a thread of the copy panicked")??;
        }
        Ok(rate)
    })
}

fn send(mut to: TcpStream, end: Instant) -> Result<()> {
    let data = vec![7; BLOCK];
    while Instant::now() < end {
        to.write_all(&data)?;
    }
    Ok(())
}

fn receive(mut from: TcpStream, received: &AtomicU64) -> Result<()> {
    let mut data = vec![0; BLOCK];
    loop {
        match from.read(&mut data)? {
            0 => return Ok(()),
            bytes => received.fetch_add(bytes as u64, Relaxed),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_moves_bytes() {
        let rate = bytes_within(Duration::ZERO, Duration::from_millis(20)).unwrap();
        assert!(rate > 1e6, "{rate} bytes a second");
    }
}
