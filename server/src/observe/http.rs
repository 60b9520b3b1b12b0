//! The HTTP side: two pages, few connections, none of them for long.
//! Never here: anything that changes the server.

use super::readiness::{Alive, Phase, Readiness};
use super::render::{CONTENT_TYPE, Page};
use super::samples::Source;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

/// Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// After that a connection is closed, whatever it is at: nobody holds the few that there are.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(5);

/// What is shown.
#[derive(Clone)]
pub struct Observed {
    pub readiness: Readiness,
    pub alive: Alive,
    pub sources: Vec<Arc<dyn Source>>,
}

impl Observed {
    /// The text of `/metrics`.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut page = Page::default();
        page.gauge(
            "ready",
            "Whether the server serves",
            f64::from(u8::from(self.readiness.is_ready())),
        );
        for source in &self.sources {
            page.add(&source.labels(), &source.samples());
        }
        page.text()
    }
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    observed: Observed,
    stop: CancellationToken,
) -> io::Result<()> {
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(Arc::new(observed));
    let listener = Few {
        listener,
        permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        lifetime: CONNECTION_LIFETIME,
    };
    // Without waiting for the connections that are open: a scraper keeps its own alive for long.
    tokio::select! {
        result = axum::serve(listener, pages) => result,
        () = stop.cancelled() => Ok(()),
    }
}

async fn metrics(State(observed): State<Arc<Observed>>) -> Response {
    match observed.metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Alive is a matter of the status, too. Ready is a word in the answer, or its status where `?ready`
/// asks for it.
async fn health(State(observed): State<Arc<Observed>>, RawQuery(query): RawQuery) -> Response {
    let asks_ready = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part.split('=').next() == Some("ready"))
    });
    answer(&observed, asks_ready)
}

async fn readiness(State(observed): State<Arc<Observed>>) -> Response {
    answer(&observed, true)
}

fn answer(observed: &Observed, asks_ready: bool) -> Response {
    let phase = observed.readiness.phase();
    let alive = observed.alive.is_so();
    let ready = alive && phase == Phase::Ready;
    let status = if ready || (alive && !asks_ready) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let phase = match phase {
        Phase::Starting(at) => format!("starting: {at}"),
        Phase::Ready => "ready".to_owned(),
        Phase::Draining => "draining".to_owned(),
    };
    let body = serde_json::json!({ "alive": alive, "ready": ready, "phase": phase });
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (status, headers, format!("{body}\n")).into_response()
}

/// A listener with a bound on its connections and on the life of each.
struct Few {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    lifetime: Duration,
}

impl Listener for Few {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Brief, SocketAddr) {
        loop {
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            // Taken from the kernel by axum's own rules for errors of accept.
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Ok(permit) = permit {
                let brief = Brief {
                    stream,
                    end: Box::pin(tokio::time::sleep(self.lifetime)),
                    _permit: permit,
                };
                return (brief, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends after its time.
struct Brief {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Brief {
    fn check_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Brief {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Brief {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Counter, Samples};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Three;

    impl Source for Three {
        fn labels(&self) -> Vec<(&'static str, String)> {
            vec![("role", "mds".to_owned())]
        }

        fn samples(&self) -> Samples {
            Samples {
                counters: vec![Counter::new("fences", "Fences that were done", 3)],
                ..Samples::default()
            }
        }
    }

    struct Running {
        address: SocketAddr,
        readiness: Readiness,
        alive: Alive,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn running() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let readiness = Readiness::starting("opening the catalog");
        let stop = CancellationToken::new();
        let alive = Alive::default();
        let observed = Observed {
            readiness: readiness.clone(),
            alive: alive.clone(),
            sources: vec![Arc::new(Three)],
        };
        let task = tokio::spawn(serve(listener, observed, stop.clone()));
        Running {
            address,
            readiness,
            alive,
            stop,
            task,
        }
    }

    /// Status and the rest of the answer.
    async fn asked(address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("it answers");
        let status = answer
            .split_whitespace()
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("an answer has a status");
        (status, answer)
    }

    #[tokio::test]
    async fn a_server_that_starts_is_alive_and_not_ready() {
        let server = running().await;
        let (status, answer) = asked(server.address, "/healthz").await;
        assert_eq!(status, 200);
        assert!(answer.contains("\"alive\":true"), "{answer}");
        assert!(answer.contains("\"ready\":false"), "{answer}");
        assert!(answer.contains("starting: opening the catalog"), "{answer}");
        assert_eq!(asked(server.address, "/healthz?ready").await.0, 503);
        assert_eq!(asked(server.address, "/readyz").await.0, 503);
    }

    #[tokio::test]
    async fn a_server_that_serves_is_ready_until_it_drains() {
        let server = running().await;
        server.readiness.set(Phase::Ready);
        assert_eq!(asked(server.address, "/healthz?ready=1").await.0, 200);
        assert_eq!(asked(server.address, "/readyz").await.0, 200);
        server.readiness.set(Phase::Draining);
        assert_eq!(asked(server.address, "/readyz").await.0, 503);
        assert_eq!(asked(server.address, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn a_server_that_answers_and_does_no_work_is_not_alive() {
        let server = running().await;
        server.readiness.set(Phase::Ready);
        server.alive.set(|| false);
        let (status, answer) = asked(server.address, "/healthz").await;
        assert_eq!(status, 503);
        assert!(answer.contains("\"alive\":false"), "{answer}");
        assert!(answer.contains("\"ready\":false"), "{answer}");
    }

    #[tokio::test]
    async fn the_metrics_are_served_as_openmetrics() {
        let server = running().await;
        let (status, answer) = asked(server.address, "/metrics").await;
        assert_eq!(status, 200);
        assert!(
            answer.contains("content-type: application/openmetrics-text"),
            "{answer}"
        );
        assert!(
            answer.contains("headrace_fences_total{role=\"mds\"} 3"),
            "{answer}"
        );
        assert!(answer.contains("headrace_ready 0.0"), "{answer}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let server = running().await;
        assert_eq!(asked(server.address, "/").await.0, 404);
    }

    #[tokio::test]
    async fn it_stops_when_told_though_a_client_stays_connected() {
        let server = running().await;
        let _connected = TcpStream::connect(server.address)
            .await
            .expect("it listens");
        server.stop.cancel();
        server
            .task
            .await
            .expect("it doesn't panic")
            .expect("it ends well");
    }

    #[tokio::test]
    async fn silent_connections_beyond_the_limit_do_not_keep_others_out_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut few = Few {
            listener,
            permits: Arc::new(Semaphore::new(1)),
            lifetime: Duration::from_millis(10),
        };
        let _silent = TcpStream::connect(address).await.expect("it listens");
        let (mut held, _) = few.accept().await;
        let _second = TcpStream::connect(address)
            .await
            .expect("the kernel queues it");
        let error = held.read_u8().await.expect_err("it was silent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(held);
        few.accept().await;
    }
}
