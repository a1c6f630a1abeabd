//! Text of others in messages of ours.

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
