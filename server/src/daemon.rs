//! The life of a daemon: start, serve, obey signals, drain, end. The same for each role.
//! Never here: what a role serves.

use crate::logging::{self, LevelSources, LogControl};
use crate::observe::{self, Alive, Observed, Phase, Readiness, Source};
use crate::signals::{self, Request, Signals};
use anyhow::Context;
use config::{LogFormat, LogLevel};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::LogArgs;

/// Starts the log as command line, environment and file want it.
pub fn start_log(args: LogArgs, format: LogFormat, level: LogLevel) -> anyhow::Result<LogControl> {
    let environment = std::env::var(logging::ENVIRONMENT).ok();
    logging::start(
        args.log_format.map_or(format, Into::into),
        LevelSources {
            command_line: args.log_level.map(Into::into),
            environment: environment.as_deref(),
            configuration: Some(level),
        },
    )
}

/// `/metrics` and `/healthz`, from before the start to after the end.
pub struct Shown {
    pub readiness: Readiness,
    /// Whether it still does its work, for `/healthz` and for the supervisor's watchdog.
    pub alive: Alive,
    stop: CancellationToken,
}

impl Shown {
    pub async fn start(
        address: Option<SocketAddr>,
        sources: Vec<Arc<dyn Source>>,
    ) -> anyhow::Result<Self> {
        let shown = Self {
            readiness: Readiness::starting("opening"),
            alive: Alive::default(),
            stop: CancellationToken::new(),
        };
        if let Some(address) = address {
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("can't serve metrics on {address}"))?;
            let observed = Observed {
                readiness: shown.readiness.clone(),
                alive: shown.alive.clone(),
                sources,
            };
            let stop = shown.stop.clone();
            tokio::spawn(async move {
                if let Err(error) = observe::serve(listener, observed, stop).await {
                    tracing::error!(%error, "metrics are no longer served");
                }
            });
        }
        Ok(shown)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves until a signal asks for the end. `reload` obeys SIGHUP.
pub async fn until_stopped(
    shown: &Shown,
    status: &str,
    mut reload: impl AsyncFnMut(),
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    shown.readiness.set(Phase::Ready);
    signals::tell_ready(status);
    let alive = shown.alive.clone();
    let watchdog = tokio::spawn(signals::feed_watchdog(move || alive.is_so()));
    while signals.next().await == Request::Reload {
        signals::tell_reloading();
        reload().await;
        signals::tell_ready(status);
    }
    watchdog.abort();
    shown.readiness.set(Phase::Draining);
    signals::tell_stopping("ending what is under way");
    tracing::info!("stopping: what is under way is ended, nothing new is taken on");
    tokio::spawn(async move {
        // Asked a second time: now.
        if signals.next().await == Request::Stop {
            std::process::exit(130);
        }
    });
    Ok(())
}
