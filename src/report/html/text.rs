//! Text and numbers as the page writes them: untrusted text is bounded and escaped, whatever it comes from.

use crate::words::bounded;
use std::fmt::{self, Display, Formatter, Write};

/// The most bytes of a name: those of Kubernetes have 253.
const NAME: usize = 253;
/// The most bytes of a sentence.
const SENTENCE: usize = 2048;

/// Text that is shown as it is: it stands for itself in an element's content and in a quoted attribute's value
/// (<https://html.spec.whatwg.org/multipage/syntax.html#attributes-2>).
pub(super) struct Escaped(String);

/// A name.
pub(super) fn name(text: &str) -> Escaped {
    Escaped(bounded(text, NAME))
}

/// A sentence, or several.
pub(super) fn sentence(text: &str) -> Escaped {
    Escaped(bounded(text, SENTENCE))
}

impl Display for Escaped {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => formatter.write_str("&amp;"),
                '<' => formatter.write_str("&lt;"),
                '>' => formatter.write_str("&gt;"),
                '"' => formatter.write_str("&quot;"),
                '\'' => formatter.write_str("&#39;"),
                other => formatter.write_char(other),
            }?;
        }
        Ok(())
    }
}

/// Milliseconds in seconds, with the digits that tell.
pub(super) fn seconds(ms: u64) -> String {
    let seconds = ms as f64 / 1000.0;
    let digits = match ms {
        0..10_000 => 3,
        10_000..100_000 => 2,
        _ => 1,
    };
    let mut text = format!("{seconds:.digits$}");
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text + " s"
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A moment as Kubernetes writes it, `2026-01-02T03:04:05Z`, for people; any other text as it is.
pub(super) fn moment(text: &str) -> String {
    match text.strip_suffix('Z').and_then(|text| text.split_once('T')) {
        Some((day, time)) => format!("{day} {}", time.split('.').next().unwrap_or(time)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_is_text() {
        assert_eq!(name("<b a=\"1\" c='2'>&amp;").to_string(), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;");
        assert_eq!(sentence("a\u{202e}b\nc").to_string(), "a\u{fffd}b\u{fffd}c");
        assert_eq!(name(&"x".repeat(999)).to_string().len(), NAME);
    }

    #[test]
    fn seconds_have_the_digits_that_tell() {
        let texts = [0, 12, 1500, 9004, 12_345, 100_120, 3_600_000].map(seconds);
        assert_eq!(texts, ["0 s", "0.012 s", "1.5 s", "9.004 s", "12.35 s", "100.1 s", "3600 s"]);
        assert!(seconds(u64::MAX).ends_with(" s"));
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_moment_loses_only_what_nobody_reads() {
        assert_eq!(moment("2026-01-02T03:04:05Z"), "2026-01-02 03:04:05");
        assert_eq!(moment("2026-01-02T03:04:05.678901Z"), "2026-01-02 03:04:05");
        assert_eq!(moment("yesterday"), "yesterday");
    }
}
