//! The log on standard error: its form, its level, and changing the level while running.
//! Never here: what is logged.

use anyhow::Context;
use config::{LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{FmtSpan, Format};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Overrides the level of the configuration, by module if need be: `debug`, `info,mds=trace`.
pub const ENVIRONMENT: &str = "HEADRACE_LOG";

/// Modules of ours. Those of others are heard from `warn` on.
const OURS: [&str; 9] = [
    "backend",
    "backend_nfs",
    "catalog",
    "ds",
    "headrace",
    "mds",
    "nfs_client",
    "objects",
    "wire",
];

/// Where the level comes from, the first that says it.
#[derive(Debug, Clone, Copy, Default)]
pub struct LevelSources<'a> {
    pub command_line: Option<LogLevel>,
    /// The value of [`ENVIRONMENT`].
    pub environment: Option<&'a str>,
    pub configuration: Option<LogLevel>,
}

impl LevelSources<'_> {
    fn filter(&self) -> anyhow::Result<EnvFilter> {
        if let Some(level) = self.command_line {
            return Ok(filter_of(level));
        }
        match self.environment {
            Some(directives) if !directives.trim().is_empty() => {
                EnvFilter::try_new(expanded(directives.trim())).with_context(|| {
                    format!("{ENVIRONMENT}=\"{directives}\" isn't a level such as \"debug\" or \"info,mds=trace\"")
                })
            }
            _ => Ok(filter_of(self.configuration.unwrap_or(LogLevel::Info))),
        }
    }
}

/// A bare level means our own modules, as it does everywhere else.
fn expanded(directives: &str) -> String {
    match LogLevel::parse(directives) {
        Ok(level) => directives_of(level),
        Err(_) => directives.to_owned(),
    }
}

fn directives_of(level: LogLevel) -> String {
    let others = match level {
        LogLevel::Error => "error",
        _ => "warn",
    };
    let ours = OURS.map(|module| format!("{module}={level}"));
    format!("{others},{}", ours.join(","))
}

fn filter_of(level: LogLevel) -> EnvFilter {
    EnvFilter::new(directives_of(level))
}

/// Changes the level of a running log.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: Handle<EnvFilter, Registry>,
    /// The level was given on the command line or in the environment, and stays.
    fixed: bool,
}

impl LogControl {
    /// Obeys the configuration's level, unless the command line or the environment says another.
    pub fn set_level(&self, level: LogLevel) {
        if !self.fixed && self.filter.reload(filter_of(level)).is_err() {
            tracing::warn!("the log level stays: the log was closed");
        }
    }
}

/// Starts logging to standard error. Once in a process.
pub fn start(format: LogFormat, level: LevelSources<'_>) -> anyhow::Result<LogControl> {
    let colours = std::io::stderr().is_terminal();
    let (subscriber, control) = build(format, level, colours, std::io::stderr)?;
    subscriber.try_init().context("logging was started twice")?;
    Ok(control)
}

type Boxed = Box<dyn tracing::Subscriber + Send + Sync>;

fn build<W>(
    format: LogFormat,
    level: LevelSources<'_>,
    colours: bool,
    writer: W,
) -> anyhow::Result<(Boxed, LogControl)>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(level.filter()?);
    let control = LogControl {
        filter: handle,
        fixed: level.command_line.is_some()
            || level
                .environment
                .is_some_and(|text| !text.trim().is_empty()),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(colours)
        .with_span_events(FmtSpan::NONE);
    let subscriber: Boxed = match format {
        LogFormat::Human => Box::new(
            registry.with(lines.event_format(Format::default().compact().with_target(false))),
        ),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true))),
    };
    Ok((subscriber, control))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::io::Write;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` leaves.
    fn lines(
        format: LogFormat,
        level: LevelSources<'_>,
        log: impl FnOnce(&LogControl),
    ) -> Vec<String> {
        let captured = Captured::default();
        let writer = captured.clone();
        let (subscriber, control) =
            build(format, level, false, move || writer.clone()).expect("good levels");
        tracing::subscriber::with_default(subscriber, || log(&control));
        let text = String::from_utf8(captured.0.lock().clone()).expect("a log is text");
        text.lines().map(str::to_owned).collect()
    }

    fn log_each_level(_: &LogControl) {
        tracing::error!(target: "mds::ops", "an error");
        tracing::info!(target: "mds::ops", "an event");
        tracing::debug!(target: "mds::ops", "an operation");
        tracing::info!(target: "hyper", "somebody else's");
    }

    #[test]
    fn operations_and_other_peoples_events_are_not_logged_unless_asked() {
        let lines = lines(LogFormat::Human, LevelSources::default(), log_each_level);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("an event"), "{lines:?}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let lines = lines(LogFormat::Json, LevelSources::default(), |_| {
            tracing::warn!(target: "mds", client = 7, "a \"fault\"\nover lines");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let object: serde_json::Value = serde_json::from_str(&lines[0]).expect("it is JSON");
        assert_eq!(object["level"], "WARN");
        assert_eq!(object["client"], 7);
        assert_eq!(object["message"], "a \"fault\"\nover lines");
    }

    #[test]
    fn the_command_line_is_obeyed_before_the_environment_and_that_before_the_file() {
        let all = LevelSources {
            command_line: Some(LogLevel::Error),
            environment: Some("debug"),
            configuration: Some(LogLevel::Info),
        };
        assert_eq!(lines(LogFormat::Human, all, log_each_level).len(), 1);
        let environment = LevelSources {
            command_line: None,
            ..all
        };
        assert_eq!(
            lines(LogFormat::Human, environment, log_each_level).len(),
            3
        );
        let file = LevelSources {
            environment: Some(" "),
            ..environment
        };
        assert_eq!(lines(LogFormat::Human, file, log_each_level).len(), 2);
    }

    #[test]
    fn the_environment_may_name_modules() {
        let level = LevelSources {
            environment: Some("error,mds=debug"),
            ..LevelSources::default()
        };
        assert_eq!(lines(LogFormat::Human, level, log_each_level).len(), 3);
    }

    #[test]
    fn an_environment_that_says_nothing_sensible_is_refused_in_words() {
        let level = LevelSources {
            environment: Some("mds=loud"),
            ..LevelSources::default()
        };
        let error = build(LogFormat::Human, level, false, std::io::sink)
            .err()
            .expect("there is no such level");
        assert!(
            error.to_string().contains("HEADRACE_LOG=\"mds=loud\""),
            "{error}"
        );
    }

    #[test]
    fn the_level_can_change_while_running_unless_it_was_given_at_the_start() {
        let log = |control: &LogControl| {
            tracing::debug!(target: "mds", "before");
            control.set_level(LogLevel::Debug);
            tracing::debug!(target: "mds", "after");
        };
        assert_eq!(
            lines(LogFormat::Human, LevelSources::default(), log).len(),
            1
        );
        let given = LevelSources {
            command_line: Some(LogLevel::Info),
            ..LevelSources::default()
        };
        assert_eq!(lines(LogFormat::Human, given, log).len(), 0);
    }
}
