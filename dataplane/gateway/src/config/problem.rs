//! What can be wrong with a file.

use std::fmt;
use std::path::PathBuf;

use crate::text::Counted;

/// Most problems that are reported of one file: whoever has more starts with these.
const PROBLEMS_MAX: usize = 20;

/// Everything that is wrong with a file. Shown as a line for each problem, `FILE:LINE: what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The first problems, in the order of their lines.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: usize,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What is wrong with a line or a file. The text says what to write instead, and never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// More bytes than [`FILE_LEN_MAX`](super::FILE_LEN_MAX).
    #[error("is longer than {} MiB: this is no configuration", super::FILE_LEN_MAX >> 20)]
    FileTooLong,
    /// More bytes than [`LINE_LEN_MAX`](super::LINE_LEN_MAX).
    #[error(
        "the line is longer than {} KiB: write several lines, AllowedIPs may be repeated",
        super::LINE_LEN_MAX >> 10
    )]
    LineTooLong,
    /// The bytes are no text.
    #[error("expected text in UTF-8: save the file in that encoding")]
    NotUtf8,
    /// A line with a bracket that is no section.
    #[error("unknown section `{0}`: expected [Interface] or [Peer]")]
    Section(String),
    /// A second `[Interface]`.
    #[error("a second [Interface] section: the first begins at line {first}; one file is one interface")]
    SecondInterface {
        /// Where the first begins.
        first: usize,
    },
    /// No `[Interface]` at all.
    #[error("there is no [Interface] section: begin with one")]
    NoInterface,
    /// A line before the first section.
    #[error("expected [Interface] or [Peer] before the first key")]
    BeforeSection,
    /// A line without `=`.
    #[error("expected `Key = value`")]
    NoEquals,
    /// A key that no section has.
    #[error("unknown key `{found}` in {section}{hint}; keys there are: {known}")]
    UnknownKey {
        /// The key.
        found: String,
        /// The section that it stands in.
        section: &'static str,
        /// The known key that it resembles, or nothing.
        hint: String,
        /// All keys of the section.
        known: String,
    },
    /// A key of the other section.
    #[error("`{key}` stands in {section}, but belongs into {belongs}: move it there")]
    WrongSection {
        /// The key.
        key: &'static str,
        /// Where it stands.
        section: &'static str,
        /// Where it belongs.
        belongs: &'static str,
    },
    /// A key with one value that is written twice.
    #[error("`{key}` was given at line {first} already: remove one of them")]
    Twice {
        /// The key.
        key: &'static str,
        /// Where it was given first.
        first: usize,
    },
    /// A value that does not mean anything.
    #[error("`{key}` is {found}: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, shortened, or its length where it is a secret.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// Both ways to name a private or a pre-shared key.
    #[error("both `{key}` and `{other}` (line {first}): remove one of them")]
    TwoKeys {
        /// The key.
        key: &'static str,
        /// The other.
        other: &'static str,
        /// Where the other is.
        first: usize,
    },
    /// A peer that nobody can recognise.
    #[error("this peer has no PublicKey: add the one that `wg show` prints on the other side")]
    NoPublicKey,
    /// A key that two peers have.
    #[error("the peer with this PublicKey begins at line {first} already: make one section of both")]
    SamePeer {
        /// Where the first begins.
        first: usize,
    },
    /// The interface's own key as that of a peer.
    #[error("this PublicKey is that of the interface itself: use the one of the other side")]
    OwnKey,
    /// A prefix that two peers have.
    #[error("allowed IP {prefix} belongs to the peer at line {first} already: only one of them can have it")]
    SameAllowedIp {
        /// The prefix.
        prefix: String,
        /// Where that peer begins.
        first: usize,
    },
}

impl ConfigError {
    /// An error of these problems, of which there must be one at least.
    pub(super) fn new(file: PathBuf, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        Self { file, problems, more }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (at, problem) in self.problems.iter().enumerate() {
            let separator = if at > 0 { "\n" } else { "" };
            match problem.line {
                0 => write!(f, "{separator}{file}: {}", problem.kind)?,
                line => write!(f, "{separator}{file}:{line}: {}", problem.kind)?,
            }
        }
        if self.more > 0 {
            write!(f, "\n{file}: and {} more", Counted(self.more, "problem"))?;
        }
        Ok(())
    }
}
