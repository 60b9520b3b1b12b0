//! What the machine tells the process, by signals, and what the process tells its supervisor.
//! Never here: what follows from either.

use sd_notify::NotifyState;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT: finish what is under way, and end. Asked again: end now.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals that a daemon listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next request. May be dropped while waiting without losing one.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hang_up.recv() => Request::Reload,
        }
    }
}

/// Tells the supervisor that the process serves. Without a supervisor (systemd, `Type=notify`)
/// this and the other messages go nowhere.
pub fn tell_ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells the supervisor that the configuration is being read again; `tell_ready` ends it.
pub fn tell_reloading() {
    // Without the time of the message the supervisor takes the reload for a failure.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("the supervisor isn't told of the reload: {error}"),
    }
}

/// Tells the supervisor that the process ends, and what it waits for.
pub fn tell_stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn tell(message: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(message) {
        tracing::warn!("the supervisor can't be told: {error}");
    }
}

/// Keeps the supervisor's watchdog quiet as long as `alive` says so. Ends at once where the
/// supervisor has no watchdog.
pub async fn feed_watchdog(alive: impl Fn() -> bool + Send) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = tokio::time::interval(feeding_interval(limit));
    loop {
        ticks.tick().await;
        if alive() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Often enough that one late turn doesn't count.
fn feeding_interval(limit: Duration) -> Duration {
    (limit / 3).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Number, getpid, kill_process};
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    #[tokio::test]
    async fn a_hang_up_asks_for_a_reload_and_a_termination_for_a_stop() {
        let mut signals = Signals::listen().expect("signals can be listened to");
        kill_process(getpid(), Number::HUP).expect("a signal to oneself");
        assert_eq!(signals.next().await, Request::Reload);
        kill_process(getpid(), Number::TERM).expect("a signal to oneself");
        assert_eq!(signals.next().await, Request::Stop);
        kill_process(getpid(), Number::INT).expect("a signal to oneself");
        assert_eq!(signals.next().await, Request::Stop);
    }

    /// Also run by the next test, in a process whose environment names a supervisor.
    #[tokio::test]
    async fn without_a_supervisor_what_is_told_goes_nowhere() {
        tell_ready("serving");
        tell_reloading();
        tell_stopping("draining");
        let feeding = feed_watchdog(|| true);
        let fed_for_ever = tokio::time::timeout(Duration::from_millis(50), feeding).await;
        let has_watchdog = std::env::var_os("WATCHDOG_USEC").is_some();
        assert_eq!(fed_for_ever.is_err(), has_watchdog);
    }

    #[test]
    fn a_supervisor_hears_of_start_reload_stop_and_life() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).expect("a socket");
        let output = Command::new(std::env::current_exe().expect("the test's own program"))
            .args([
                "--exact",
                "signals::tests::without_a_supervisor_what_is_told_goes_nowhere",
            ])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "60000")
            .env_remove("WATCHDOG_PID")
            .output()
            .expect("the test runs");
        assert!(output.status.success(), "{output:?}");
        supervisor.set_nonblocking(true).expect("a socket of ours");
        let mut heard = Vec::new();
        let mut message = [0; 256];
        while let Ok(length) = supervisor.recv(&mut message) {
            heard.push(String::from_utf8_lossy(&message[..length]).into_owned());
        }
        assert_eq!(heard[0], "READY=1\nSTATUS=serving\n");
        assert!(
            heard[1].starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{heard:?}"
        );
        assert_eq!(heard[2], "STOPPING=1\nSTATUS=draining\n");
        assert_eq!(heard[3], "WATCHDOG=1\n");
    }
}
