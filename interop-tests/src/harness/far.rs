//! A way to a server as if it were far: what is sent arrives after half a round trip, and all answers together are no
//! faster than the line.
//!
//! Never here: what is sent.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

const PIECE_BYTES: usize = 64 << 10;
/// Of one connection and direction, on their way: more than the line holds.
const PIECES: usize = 256;
/// The line is given away so far ahead, since no timer is finer than a millisecond.
const AHEAD: Duration = Duration::from_millis(4);

#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub round_trip: Duration,
    /// Of all answers together.
    pub bytes_per_second: u64,
}

pub struct Far {
    listens: SocketAddrV4,
    /// Ends with it.
    _runtime: tokio::runtime::Runtime,
}

impl Far {
    pub fn start(listens: SocketAddrV4, server: SocketAddrV4, line: Line) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind(listens))
            .with_context(|| format!("the far end at {listens}"))?;
        let free = Arc::new(Free {
            line,
            from: Mutex::new(Instant::now()),
        });
        runtime.spawn(accept(listener, server, free));
        Ok(Self {
            listens,
            _runtime: runtime,
        })
    }

    pub fn address(&self) -> SocketAddrV4 {
        self.listens
    }
}

/// When the line has nothing to send any more.
struct Free {
    line: Line,
    from: Mutex<Instant>,
}

impl Free {
    /// When the last of so many bytes leaves.
    fn take(&self, bytes: usize) -> Instant {
        let time = Duration::from_secs_f64(bytes as f64 / self.line.bytes_per_second as f64);
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        *from = (*from).max(Instant::now()) + time;
        *from
    }
}

async fn accept(listener: TcpListener, server: SocketAddrV4, free: Arc<Free>) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let free = Arc::clone(&free);
        tokio::spawn(async move {
            // How a connection ends is its two ends' matter.
            let _ = carry(near, server, &free).await;
        });
    }
}

async fn carry(near: TcpStream, server: SocketAddrV4, free: &Free) -> Result<()> {
    let far = TcpStream::connect(server).await?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let half = free.line.round_trip / 2;
    let up = one_way(near_in, far_out, half, |_| Instant::now());
    let down = one_way(far_in, near_out, half, |bytes| free.take(bytes));
    tokio::try_join!(up, down)?;
    Ok(())
}

/// `leaves`: when the last of so many bytes does that come now.
async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    takes: Duration,
    leaves: impl Fn(usize) -> Instant,
) -> Result<()> {
    let (line, mut arriving) = mpsc::channel::<(Instant, Bytes)>(PIECES);
    let sending = async move {
        let mut space = BytesMut::new();
        loop {
            space.reserve(PIECE_BYTES);
            let count = (&mut from)
                .take(PIECE_BYTES as u64)
                .read_buf(&mut space)
                .await?;
            if count == 0 {
                return anyhow::Ok(());
            }
            let left = leaves(count);
            sleep_until(left - AHEAD).await;
            if line
                .send((left + takes, space.split().freeze()))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
    };
    let receiving = async move {
        while let Some((due, piece)) = arriving.recv().await {
            sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await?;
        anyhow::Ok(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(())
}
