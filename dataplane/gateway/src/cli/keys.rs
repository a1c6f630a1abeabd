//! `genkey`, `genpsk`, `pubkey`: as those of `wg`.

use std::io::{self, Read};

use rustix::fs::{FileType, Mode};
use zeroize::Zeroizing;

use super::{Failure, say};
use crate::keys::{Base64, Secret, parse_base64};

/// Most bytes that are read for a key: it, white space around it, and enough more to see that it is something else.
const INPUT_LEN_MAX: u64 = 4096;

/// Writes a new key.
pub(super) fn generate(random_key: fn() -> io::Result<Secret>) -> Result<(), Failure> {
    if is_readable_by_others() {
        eprintln!("warning: standard output is a file that others may read; consider `umask 077`");
    }
    let key = random_key().map_err(|error| Failure::system("cannot get randomness", &error))?;
    say(&Zeroizing::new(Base64(key.bytes()).to_string()))
}

/// Reads a private key and writes its public key.
pub(super) fn derive_public(input: impl Read) -> Result<(), Failure> {
    let mut text = Zeroizing::new(String::with_capacity(INPUT_LEN_MAX as usize));
    let expected = "expected a private key on standard input: 44 characters of base64, as genkey writes it";
    let read = input.take(INPUT_LEN_MAX).read_to_string(&mut text);
    match read {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(Failure::input(expected)),
        Err(error) => return Err(Failure::system("cannot read standard input", &error)),
        Ok(_) => {}
    }
    let key = parse_base64(text.trim()).map(Secret::new).ok_or_else(|| Failure::input(expected))?;
    say(&Base64(&key.public().0).to_string())
}

/// Whether standard output is a plain file with rights for more than its owner.
fn is_readable_by_others() -> bool {
    rustix::fs::fstat(io::stdout()).is_ok_and(|stat| {
        let others = Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO);
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && others
    })
}
