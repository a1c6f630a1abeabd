//! Prometheus's text format, version 0.0.4: families of metrics, each with its help and type before its samples.

use std::fmt::{Display, Write};

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Counts up from a start.
    Counter,
    /// Is what it is at the moment.
    Gauge,
}

/// A text that grows by families.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    /// A family of which each sample has its own values of the labels `names`.
    pub(super) fn family<const LABELS: usize, V: Display>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        names: [&str; LABELS],
        samples: impl IntoIterator<Item = ([String; LABELS], V)>,
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a string does not fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}", escape(help, false));
        for (values, value) in samples {
            self.text.push_str(name);
            for (at, (label, text)) in names.iter().zip(&values).enumerate() {
                let before = if at == 0 { '{' } else { ',' };
                let _ = write!(self.text, "{before}{label}=\"{}\"", escape(text, true));
            }
            let _ = writeln!(self.text, "{} {value}", if LABELS > 0 { "}" } else { "" });
        }
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help, [], [([], value)]);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// Text as it stands in a help line, or between the quotes of a label.
fn escape(text: &str, quoted: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quoted => escaped.push_str("\\\""),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_line_or_a_label_is_escaped() {
        let mut exposition = Exposition::default();
        let label = ["a\"b\\c\nd".to_owned()];
        exposition.family("x", Kind::Gauge, "one \"two\" \\ three\nfour", ["l"], [(label, 1)]);
        exposition.single("y_total", Kind::Counter, "Y.", 2.5);
        assert_eq!(
            exposition.into_text(),
            "# HELP x one \"two\" \\\\ three\\nfour\n# TYPE x gauge\nx{l=\"a\\\"b\\\\c\\nd\"} 1\n\
             # HELP y_total Y.\n# TYPE y_total counter\ny_total 2.5\n"
        );
    }
}
