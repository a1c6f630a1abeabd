//! Text of others, and numbers, in messages of ours.

/// Most characters of a wrong value that a message repeats.
const SHOWN_LEN_MAX: usize = 80;

/// A piece of hostile text, safe to show: escaped and short.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_LEN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_LEN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// As [`shown`], between backquotes.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text))
}

/// A number of things, of which one has this name and several have it with an `s`.
pub(crate) struct Counted(pub(crate) usize, pub(crate) &'static str);

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(number, name) = self;
        write!(f, "{number} {name}{}", if *number == 1 { "" } else { "s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_named_in_the_singular() {
        let said = [0, 1, 2].map(|number| Counted(number, "peer").to_string());
        assert_eq!(said, ["0 peers", "1 peer", "2 peers"]);
    }
}
