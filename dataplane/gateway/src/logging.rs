//! Logs: lines on standard error, as loud as `RUST_LOG` or `LOG_LEVEL` says.

use std::ffi::OsString;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    Silent,
    /// What failed.
    Error,
    /// And what will not do for long.
    #[default]
    Warn,
    /// And what happens rarely.
    Info,
    /// And what helps to find a fault.
    Debug,
}

impl LogLevel {
    /// Reads the value of `LOG_LEVEL` as wireguard-go names levels; `verbose` is its word for everything.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "silent" => Some(Self::Silent),
            "error" => Some(Self::Error),
            "warn" => Some(Self::Warn),
            "info" => Some(Self::Info),
            "debug" | "verbose" => Some(Self::Debug),
            _ => None,
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Silent => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The form.
    pub format: LogFormat,
    /// How much.
    pub level: LogLevel,
    /// `RUST_LOG`: directives that say more exactly how much, in the place of the level.
    pub directives: Option<String>,
    /// Whether anybody has said how much. A background process logs only then.
    pub is_asked_for: bool,
}

impl Settings {
    /// Reads `RUST_LOG`, else `LOG_LEVEL`; where neither is set, `level` counts.
    ///
    /// # Errors
    /// A text that names the variable with what was expected.
    pub fn read(
        format: LogFormat,
        level: LogLevel,
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, String> {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let wrong = |name: &str, found: OsString, expected: &str| {
            format!("{name} is `{}`: expected {expected}", found.to_string_lossy().escape_debug())
        };
        let unset = Self { format, level, directives: None, is_asked_for: false };
        if let Some(value) = text("RUST_LOG") {
            let expected = "directives of tracing, as `info` or `dataplane_gateway=debug`";
            let directives =
                value.to_str().filter(|text| EnvFilter::try_new(text).is_ok()).map(str::to_owned);
            if directives.is_none() {
                return Err(wrong("RUST_LOG", value, expected));
            }
            return Ok(Self { directives, is_asked_for: true, ..unset });
        }
        match text("LOG_LEVEL") {
            None => Ok(unset),
            Some(value) => match value.to_str().and_then(LogLevel::parse) {
                None => Err(wrong("LOG_LEVEL", value, LOG_LEVELS)),
                Some(level) => Ok(Self { level, is_asked_for: level != LogLevel::Silent, ..unset }),
            },
        }
    }
}

/// The values of `LOG_LEVEL`.
pub const LOG_LEVELS: &str = "silent, error, warn, info or debug";

/// Starts to log for the rest of the process. A second call changes nothing.
pub fn start(settings: &Settings) {
    let directives = settings.directives.as_ref().and_then(|text| EnvFilter::try_new(text).ok());
    let filter =
        directives.unwrap_or_else(|| EnvFilter::default().add_directive(settings.level.filter().into()));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        // The same on a terminal and elsewhere: no escapes, and no crate for them.
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // They fail only where somebody logs already, as tests do.
    let _ = match settings.format {
        LogFormat::Human => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let found =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Settings::read(LogFormat::Human, LogLevel::Info, found)
    }

    #[test]
    fn rust_log_goes_before_log_level_and_both_before_the_default() {
        assert_eq!(read(&[]).unwrap(), Settings { level: LogLevel::Info, ..Settings::default() });
        let debug = read(&[("LOG_LEVEL", "debug")]).unwrap();
        assert_eq!((debug.level, debug.is_asked_for), (LogLevel::Debug, true));
        assert!(!read(&[("LOG_LEVEL", "silent")]).unwrap().is_asked_for);
        let both = read(&[("LOG_LEVEL", "error"), ("RUST_LOG", "dataplane=trace")]).unwrap();
        assert_eq!(both.directives.as_deref(), Some("dataplane=trace"));
    }

    #[test]
    fn what_means_nothing_is_named_with_what_was_expected() {
        assert_eq!(
            read(&[("LOG_LEVEL", "loud")]).unwrap_err(),
            "LOG_LEVEL is `loud`: expected silent, error, warn, info or debug"
        );
        assert!(
            read(&[("RUST_LOG", "a=b=c")])
                .unwrap_err()
                .starts_with("RUST_LOG is `a=b=c`: expected directives")
        );
    }
}
