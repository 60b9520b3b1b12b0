//! The clock that all workers share: a counter in the host's memory, asked over TCP. Clocks of guests agree neither
//! with each other nor with the host's. A tick that was asked for before an operation began is smaller than each
//! that is asked for after it ended, whoever asks, and that is all that a history needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};

/// Answers everybody who connects, until the process ends.
pub fn serve(listener: TcpListener) {
    let counter = Arc::new(AtomicU64::new(1));
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || answer(stream, &counter));
        }
    });
}

fn answer(mut stream: TcpStream, counter: &AtomicU64) {
    let mut asked = [0];
    // Whoever closes has no more questions.
    let _ = stream.set_nodelay(true);
    while stream.read_exact(&mut asked).is_ok() {
        let tick = counter.fetch_add(1, Ordering::SeqCst);
        if stream.write_all(&tick.to_be_bytes()).is_err() {
            break;
        }
    }
}

pub struct Ticks(TcpStream);

impl Ticks {
    pub fn of(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .with_context(|| format!("connecting to the clock at {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    pub fn next(&mut self) -> Result<u64> {
        let mut tick = [0; 8];
        self.0
            .write_all(&[0])
            .and_then(|()| self.0.read_exact(&mut tick))
            .context("asking the clock")?;
        Ok(u64::from_be_bytes(tick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_later_is_larger_whoever_asks() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener);
        let (mut one, mut other) = (Ticks::of(address).unwrap(), Ticks::of(address).unwrap());
        let mut last = 0;
        for _ in 0..100 {
            for clock in [&mut one, &mut other] {
                let tick = clock.next().unwrap();
                assert!(tick > last);
                last = tick;
            }
        }
    }
}
