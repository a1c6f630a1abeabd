//! Logs: lines on standard error, as loud as `LOG_LEVEL` says.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;

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

/// Starts to log for the rest of the process. A second call changes nothing.
pub fn start(level: LogLevel) {
    let lines = tracing_subscriber::fmt()
        .with_max_level(level.filter())
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // It fails only where somebody logs already, as tests do.
    let _ = lines.try_init();
}
