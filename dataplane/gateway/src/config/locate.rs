//! From what an operator types to a file and the interface that it is about.

use std::path::{Path, PathBuf};

/// Where wg-quick looks for `NAME.conf`.
const DIRECTORY: &str = "/etc/wireguard";

/// A file and its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub path: PathBuf,
    /// The name of the interface: that of the file without `.conf`.
    pub interface: String,
}

/// Why an argument leads to no interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The file has another ending.
    #[error("{0}: the name of a configuration file is INTERFACE.conf; rename it")]
    Ending(String),
    /// No interface can have this name.
    #[error(
        "{0}: the name of an interface has 1 to 15 letters, digits, and characters of `_=+.-`; rename the file"
    )]
    Name(String),
}

/// Finds the file for `NAME` (in /etc/wireguard) or `PATH/NAME.conf`, as wg-quick does.
///
/// # Errors
/// [`LocateError`]. Whether there is such a file is not looked at.
pub fn locate(argument: &str) -> Result<Located, LocateError> {
    let is_path = argument.contains('/') || argument.ends_with(".conf");
    let path =
        if is_path { PathBuf::from(argument) } else { Path::new(DIRECTORY).join(format!("{argument}.conf")) };
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let interface = file.strip_suffix(".conf").ok_or_else(|| LocateError::Ending(argument.to_owned()))?;
    if !is_interface_name(interface) {
        return Err(LocateError::Name(argument.to_owned()));
    }
    let interface = interface.to_owned();
    Ok(Located { path, interface })
}

fn is_interface_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    (1..=15).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_lead_to_files_as_those_of_wg_quick_do() {
        let found =
            |argument| locate(argument).map(|found| (found.path.display().to_string(), found.interface));
        assert_eq!(found("wg0"), Ok(("/etc/wireguard/wg0.conf".into(), "wg0".into())));
        assert_eq!(found("./a.conf"), Ok(("./a.conf".into(), "a".into())));
        assert_eq!(found("a.b.conf"), Ok(("a.b.conf".into(), "a.b".into())));
        for wrong in ["/etc/wg0.txt", "x/", "/"] {
            assert!(matches!(found(wrong), Err(LocateError::Ending(_))), "{wrong}");
        }
        for wrong in ["", "a b", ".conf", "sixteen-letters-", "..", "/etc/ä.conf"] {
            assert!(matches!(found(wrong), Err(LocateError::Name(_))), "{wrong}");
        }
    }
}
