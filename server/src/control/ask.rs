//! The client's side: one question, one answer.

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
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
    let (status, body) = call(state_dir, Method::GET, page).await?;
    ensure!(
        status == StatusCode::OK,
        "the server answers {status} to {page}"
    );
    serde_json::from_slice(&body).context("the answer isn't JSON")
}

/// Has it do what `/page` names. `false`: it knows nothing of that name.
pub async fn order(state_dir: &Path, page: &str) -> anyhow::Result<bool> {
    let (status, _) = call(state_dir, Method::POST, page).await?;
    ensure!(
        status.is_success() || status == StatusCode::NOT_FOUND,
        "the server answers {status} to {page}"
    );
    Ok(status.is_success())
}

async fn call(state_dir: &Path, how: Method, page: &str) -> anyhow::Result<(StatusCode, Bytes)> {
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
    match tokio::time::timeout(PATIENCE, exchange(stream, how, page)).await {
        Ok(answer) => answer,
        Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
    }
}

async fn exchange(
    stream: UnixStream,
    how: Method,
    page: &str,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(how)
        .uri(page)
        .header(hyper::header::HOST, "headrace")
        .body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES)
        .collect()
        .await;
    connection.abort();
    let body = body
        .map_err(|error| anyhow::anyhow!(error))
        .context("the answer broke off")?;
    Ok((status, body.to_bytes()))
}
