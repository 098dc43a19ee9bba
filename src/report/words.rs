//! Untrusted text, made fit to be shown: an app can write what it likes into its termination message and its processes' names.

/// The longest name of an object (RFC 1123 subdomain), in bytes.
pub(crate) const LONGEST_NAME: usize = 253;

/// At most so many bytes of it, cut between characters, and no control or direction-changing character: those become U+FFFD.
pub fn bounded(text: &str, most: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(most));
    for char in text.chars() {
        let char = if is_plain(char) { char } else { char::REPLACEMENT_CHARACTER };
        if kept.len() + char.len_utf8() > most {
            break;
        }
        kept.push(char);
    }
    kept
}

/// Whether it neither moves a terminal's cursor nor turns the direction of what follows (Unicode Standard Annex 9).
fn is_plain(char: char) -> bool {
    !char.is_control() && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A signal's whole name, such as `SIGTERM`, or `signal 40` where all that is known is its number.
pub(crate) fn signal(word: &str) -> String {
    match word {
        _ if word.starts_with("SIG") => word.to_owned(),
        _ if word.starts_with(|char: char| char.is_ascii_digit()) => format!("signal {word}"),
        _ => format!("SIG{word}"),
    }
}

/// `1 process`, `2 processes`.
pub(crate) fn plural(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::{bounded, signal};

    #[test]
    fn a_signal_is_told_by_its_name_or_as_a_number() {
        assert_eq!(["TERM", "SIGTERM", "RTMIN+3", "40"].map(signal), ["SIGTERM", "SIGTERM", "SIGRTMIN+3", "signal 40"]);
    }

    #[test]
    fn what_would_move_a_cursor_or_turn_a_line_is_replaced_and_the_rest_kept() {
        assert_eq!(bounded("nginx: worker", 64), "nginx: worker");
        assert_eq!(bounded("a\x1b[2Jb\nc\u{202e}d", 64), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(bounded("ééé", 5), "éé");
        assert_eq!(bounded("", 0), "");
    }
}
