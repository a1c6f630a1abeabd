//! Files to text.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::parse::Reader;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::types::Config;
use super::validate;
use crate::keys::{Secret, parse_base64};

/// Most bytes of a file: a million peers.
pub const FILE_LEN_MAX: u64 = 256 << 20;

/// Most bytes of a line: some three thousand allowed IPs.
pub const LINE_LEN_MAX: usize = 64 << 10;

/// Most bytes of the file of a key that are looked at.
const KEY_FILE_LEN_MAX: u64 = 4096;

/// Reads a file.
///
/// # Errors
/// [`ConfigError`]: everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let failed = |kind| ConfigError::new(path.into(), vec![Problem { line: 0, kind }]);
    let unreadable = |error: io::Error| failed(ProblemKind::Unreadable(why_unreadable(&error)));
    let mut bytes = Zeroizing::new(Vec::new());
    // Nobody may ever write to a pipe: it is opened without waiting, and refused.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(failed(ProblemKind::Unreadable("it is a pipe or a device; expected a file".to_owned())));
    }
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(failed(ProblemKind::FileTooLong));
    }
    parse(path, &bytes)
}

/// Reads the content of a file; `path` is only shown.
///
/// # Errors
/// [`ConfigError`]: everything that is wrong with it.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Config, ConfigError> {
    let mut reader = Reader::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            _ if line.len() > LINE_LEN_MAX => reader.problem(at + 1, ProblemKind::LineTooLong),
            Ok(text) => reader.line(at + 1, text),
            Err(_) => reader.problem(at + 1, ProblemKind::NotUtf8),
        }
    }
    let (config, mut problems) = reader.finish();
    problems.extend(validate::problems(&config));
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::new(path.into(), problems)) }
}

/// What the system said, and what to do about it.
fn why_unreadable(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; write it, or name another by its path",
        io::ErrorKind::PermissionDenied => "; run as root, or as its owner",
        _ => "",
    };
    format!("{error}{remedy}")
}

/// Reads the file of a key: the key alone, with white space around it. Says what is wrong as the end of a sentence.
pub(super) fn read_key(path: &Path) -> Result<Secret, String> {
    let mut text = Zeroizing::new(String::with_capacity(KEY_FILE_LEN_MAX as usize));
    let read = File::open(path).and_then(|file| file.take(KEY_FILE_LEN_MAX).read_to_string(&mut text));
    let expected =
        "holds something else: expected a key of 44 characters of base64, as `dataplane genkey` prints it";
    match read {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(expected.to_owned()),
        Err(error) => Err(format!("cannot be read: {}", why_unreadable(&error))),
        Ok(_) => parse_base64(text.trim()).map(Secret::new).ok_or_else(|| expected.to_owned()),
    }
}
