//! How the operator of this host asks a metadata server that runs: a socket in its folder, for its own user and root,
//! which speaks HTTP and JSON. `headrace ctl` is its client.
//!
//! Never here: anything for the network; that is `observe`.

mod ask;
mod backends;
mod table;

pub use ask::{ask, order};
pub use backends::Asked;
pub use table::table;

use anyhow::Context;
use axum::Router;
use axum::extract::{Path as Within, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

/// Within `state_dir`.
const SOCKET: &str = "control.sock";

pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

/// Answers until it is dropped.
pub struct Control {
    socket: PathBuf,
    answering: AbortHandle,
}

impl Control {
    /// The catalog in `state_dir` must be open: then nobody else answers there.
    pub fn start(state_dir: &Path, asked: Asked) -> anyhow::Result<Self> {
        let socket = socket(state_dir);
        let named = || format!("the control socket {}", socket.display());
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(named);
            }
            // Of a server that was killed, or none.
            _ => {}
        }
        let listener = UnixListener::bind(&socket).with_context(named)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).with_context(named)?;
        let pages = Router::new()
            .route("/backends", get(told))
            .route("/scans/{backend}/pause", post(paused))
            .route("/scans/{backend}/resume", post(resumed))
            .with_state(Arc::new(asked));
        let answering = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, pages).await {
                tracing::error!(%error, "the control socket is no longer answered");
            }
        });
        Ok(Self {
            socket,
            answering: answering.abort_handle(),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.answering.abort();
        // The next start removes it otherwise.
        let _ = fs::remove_file(&self.socket);
    }
}

async fn told(State(asked): State<Arc<Asked>>) -> impl IntoResponse {
    let told = asked.told().await.to_string();
    ([(header::CONTENT_TYPE, "application/json")], told)
}

async fn paused(asked: State<Arc<Asked>>, Within(backend): Within<String>) -> StatusCode {
    scan(&asked, &backend, true)
}

async fn resumed(asked: State<Arc<Asked>>, Within(backend): Within<String>) -> StatusCode {
    scan(&asked, &backend, false)
}

fn scan(asked: &Asked, backend: &str, pause: bool) -> StatusCode {
    if asked.0.assimilated().pause(backend, pause) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}
