//! What the environment of the process says, by the names that wireguard-go has given.

use std::ffi::OsString;

use super::WgError;
use crate::logging::{LOG_LEVELS, LogLevel};

/// The variables that this program knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `WG_TUN_FD`: an open TUN descriptor.
    pub tun_fd: Option<i32>,
    /// `WG_UAPI_FD`: a listening socket.
    pub uapi_fd: Option<i32>,
    /// `WG_PROCESS_FOREGROUND=1`.
    pub foreground: bool,
    /// `LOG_LEVEL`, or the default.
    pub log_level: LogLevel,
    /// Whether `LOG_LEVEL` was set: only then does a background process log at all.
    pub logs_in_background: bool,
}

impl Environment {
    /// Reads all variables by `lookup`.
    ///
    /// # Errors
    /// [`WgError::Variable`]: one has a value that means nothing.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, WgError> {
        let log_level = match lookup("LOG_LEVEL").filter(|value| !value.is_empty()) {
            None => None,
            Some(value) => {
                Some(value.to_str().and_then(LogLevel::parse).ok_or_else(|| WgError::Variable {
                    variable: "LOG_LEVEL",
                    found: value.to_string_lossy().escape_debug().to_string(),
                    expected: LOG_LEVELS,
                })?)
            }
        };
        Ok(Self {
            tun_fd: descriptor("WG_TUN_FD", &lookup)?,
            uapi_fd: descriptor("WG_UAPI_FD", &lookup)?,
            foreground: lookup("WG_PROCESS_FOREGROUND").is_some_and(|value| value == "1"),
            log_level: log_level.unwrap_or_default(),
            logs_in_background: log_level.is_some_and(|level| level != LogLevel::Silent),
        })
    }
}

fn descriptor(
    variable: &'static str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<i32>, WgError> {
    let Some(value) = lookup(variable).filter(|value| !value.is_empty()) else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number: &i32| *number >= 0);
    number.map(Some).ok_or_else(|| WgError::Variable {
        variable,
        found: value.to_string_lossy().escape_debug().to_string(),
        expected: "the number of an open descriptor",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, WgError> {
        let found =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Environment::read(found)
    }

    #[test]
    fn variables_mean_what_they_mean_to_wireguard_go() {
        assert_eq!(read(&[]).unwrap(), Environment::default());
        assert_eq!(
            read(&[
                ("WG_TUN_FD", "3"),
                ("WG_UAPI_FD", "4"),
                ("WG_PROCESS_FOREGROUND", "1"),
                ("LOG_LEVEL", "verbose")
            ])
            .unwrap(),
            Environment {
                tun_fd: Some(3),
                uapi_fd: Some(4),
                foreground: true,
                log_level: LogLevel::Debug,
                logs_in_background: true
            }
        );
        assert!(!read(&[("LOG_LEVEL", "silent")]).unwrap().logs_in_background);
        assert!(!read(&[("WG_PROCESS_FOREGROUND", "0")]).unwrap().foreground);
    }

    #[test]
    fn a_variable_without_meaning_is_named_with_what_was_expected() {
        for (variable, value) in [("WG_TUN_FD", "x"), ("WG_UAPI_FD", "-1"), ("WG_TUN_FD", "99999999999")] {
            let error = read(&[(variable, value)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{variable} is `{value}`: expected the number of an open descriptor")
            );
            assert_eq!(error.exit_code(), 2);
        }
        let error = read(&[("LOG_LEVEL", "loud")]).unwrap_err().to_string();
        assert!(error.starts_with("LOG_LEVEL is `loud`: expected silent, error"), "{error}");
    }
}
