//! A proxy before an S3 server that loses, delays and refuses requests as a test says. What it passes on it leaves
//! as it is, the Host that signatures cover included.

use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before the server hears of it.
    Unheard,
    /// The server does what was asked, and the connection ends without an answer.
    Unanswered,
    /// The connection ends in the middle of the answer's body.
    Half,
    /// 503, "SlowDown".
    Busy,
    /// 500, "InternalError".
    Broken,
    /// 400, "ExpiredToken".
    Expired,
    /// It is passed on after a while.
    Late,
}

/// Those that pass by themselves.
pub const FAULTS: [Fault; 6] = [
    Fault::Unheard,
    Fault::Unanswered,
    Fault::Half,
    Fault::Busy,
    Fault::Broken,
    Fault::Late,
];

const LATE: Duration = Duration::from_millis(700);

/// Of requests from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Calm,
    /// One in so many.
    Some(Fault, u64),
    /// Nobody gets through, and what was on its way is cut off wherever it is.
    Nobody,
}

struct Sky {
    weather: Mutex<Weather>,
    /// Rises when everything that is on its way is to be cut off.
    cut: watch::Sender<u64>,
    asked: AtomicU64,
    /// By fault.
    done: [AtomicU64; FAULTS.len() + 1],
    cut_off: AtomicU64,
}

pub struct S3Proxy {
    sky: Arc<Sky>,
    listens: SocketAddrV4,
    /// Ends with it.
    _runtime: tokio::runtime::Runtime,
}

impl S3Proxy {
    pub fn start(listens: SocketAddrV4, server: SocketAddrV4) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let sky = Arc::new(Sky {
            weather: Mutex::new(Weather::Calm),
            cut: watch::Sender::new(0),
            asked: AtomicU64::new(0),
            done: Default::default(),
            cut_off: AtomicU64::new(0),
        });
        let listener = runtime
            .block_on(TcpListener::bind(listens))
            .with_context(|| format!("the proxy at {listens}"))?;
        runtime.spawn(accept(listener, server, Arc::clone(&sky)));
        Ok(Self {
            sky,
            listens,
            _runtime: runtime,
        })
    }

    pub fn address(&self) -> SocketAddrV4 {
        self.listens
    }

    pub fn set(&self, weather: Weather) {
        *self
            .sky
            .weather
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = weather;
        if weather == Weather::Nobody {
            self.sky.cut.send_modify(|cut| *cut += 1);
        }
    }

    /// How many requests had that fault.
    pub fn suffered(&self, fault: Fault) -> u64 {
        self.sky.done[fault as usize].load(Relaxed)
    }

    /// How many requests were on their way when everything was cut off, or came while nobody got through.
    pub fn cut_off(&self) -> u64 {
        self.sky.cut_off.load(Relaxed)
    }
}

impl Sky {
    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Option<Fault> {
        let number = self.asked.fetch_add(1, Relaxed);
        match self.weather() {
            Weather::Some(fault, of) if number.is_multiple_of(of) => Some(fault),
            _ => None,
        }
    }

    fn count(&self, fault: Fault) {
        self.done[fault as usize].fetch_add(1, Relaxed);
    }
}

async fn accept(listener: TcpListener, server: SocketAddrV4, sky: Arc<Sky>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        if sky.weather() == Weather::Nobody {
            sky.cut_off.fetch_add(1, Relaxed);
            continue;
        }
        let sky = Arc::clone(&sky);
        tokio::spawn(async move {
            let mut cut = sky.cut.subscribe();
            let pass = service_fn(|request| pass(request, server, &sky));
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), pass);
            tokio::select! {
                // How a connection ends is its client's matter.
                _ = serving => {}
                _ = cut.changed() => drop(sky.cut_off.fetch_add(1, Relaxed)),
            }
        });
    }
}

type Answer = Response<BoxBody<Bytes, anyhow::Error>>;

/// An error ends the connection without an answer.
async fn pass(request: Request<Incoming>, server: SocketAddrV4, sky: &Sky) -> Result<Answer> {
    let fault = sky.fault();
    match fault {
        Some(Fault::Unheard) => {
            sky.count(Fault::Unheard);
            bail!("cut off before the server heard of it");
        }
        Some(fault @ Fault::Busy) => {
            sky.count(fault);
            return refusal(503, "SlowDown");
        }
        Some(fault @ Fault::Broken) => {
            sky.count(fault);
            return refusal(500, "InternalError");
        }
        Some(fault @ Fault::Expired) => {
            sky.count(fault);
            return refusal(400, "ExpiredToken");
        }
        Some(fault @ Fault::Late) => {
            sky.count(fault);
            tokio::time::sleep(LATE).await;
        }
        _ => {}
    }
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this request, also where that is cut off.
    let mut connection = tokio::task::JoinSet::from_iter([connection]);
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    match fault {
        Some(fault @ Fault::Unanswered) => {
            body.collect().await?;
            sky.count(fault);
            bail!("cut off before the answer");
        }
        Some(fault @ Fault::Half) if body.size_hint().lower() > 1 => {
            sky.count(fault);
            let whole = body.collect().await?.to_bytes();
            let half = whole.slice(..whole.len() / 2);
            let cut = futures_util::stream::iter([
                Ok(Frame::data(half)),
                Err(anyhow!("cut off in the middle of the answer")),
            ]);
            Ok(Response::from_parts(
                head,
                BodyExt::boxed(StreamBody::new(cut)),
            ))
        }
        _ => {
            let body = body.map_err(anyhow::Error::from).map_frame(move |frame| {
                // Kept until the last frame has passed.
                let _ = &mut connection;
                frame
            });
            Ok(Response::from_parts(head, BodyExt::boxed(body)))
        }
    }
}

fn refusal(status: u16, code: &str) -> Result<Answer> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>the test says so</Message></Error>"
    );
    let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
    Ok(Response::builder()
        .status(status)
        .header("content-type", "application/xml")
        .body(BodyExt::boxed(body))?)
}
