//! The client's side: one question, one answer.

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// Longer than the server takes for a backend that is away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of an answer.
const ANSWER_MAX_BYTES: usize = 16 << 20;

/// What the metadata server with this folder says of `/page`.
pub async fn ask(state_dir: &Path, page: &str) -> anyhow::Result<Value> {
    ensure!(
        state_dir.is_dir(),
        "there is no folder {}: name the `state_dir` of the metadata server's configuration",
        state_dir.display()
    );
    let socket = super::socket(state_dir);
    let stream = UnixStream::connect(&socket).await.with_context(|| {
        format!(
            "no metadata server answers at {}: is it running, and are you its user or root?",
            socket.display()
        )
    })?;
    match tokio::time::timeout(PATIENCE, exchange(stream, page)).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
    }
}

async fn exchange(stream: UnixStream, page: &str) -> anyhow::Result<Value> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(page)
        .header(hyper::header::HOST, "headrace")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    ensure!(
        status == StatusCode::OK,
        "the server answers {status} to {page}"
    );
    let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES)
        .collect()
        .await;
    connection.abort();
    let body = body
        .map_err(|error| anyhow::anyhow!(error))
        .context("the answer broke off")?;
    serde_json::from_slice(&body.to_bytes()).context("the answer isn't JSON")
}
