//! Durations as people write them: `500ms`, `5s`, `1m30s`; a bare number is seconds.

use crate::process::leading_number;
use core::time::Duration;

/// What [`parse`] accepts, for error messages.
pub const EXPECTED: &str = "a duration such as 500ms, 5s or 1m30s (units h, m, s, ms; a bare number is seconds; at most 366 days)";

/// The longest duration accepted: 366 days. Sums and products of a few of them stay far from overflow.
const LONGEST: u64 = 366 * 24 * 3600 * 1000;

/// Parses a duration: whole numbers with the units `h`, `m`, `s` and `ms`, largest first, or a bare number of seconds.
///
/// Returns `None` for anything else (an empty text, a sign, a fraction, a unit out of order, more than 366 days).
pub fn parse(text: &[u8]) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    // Units must come in falling order, each once, as in 1h30m: a repeated unit is a typo more often than a sum.
    let mut smaller_than = u64::MAX;
    loop {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || digits > 12 {
            return None;
        }
        let number = leading_number(rest);
        let unit_and_rest = &rest[digits..];
        let (unit, length) = match unit_and_rest {
            [b'm', b's', ..] => (1, 2),
            [b's', ..] => (1000, 1),
            [b'm', ..] => (60_000, 1),
            [b'h', ..] => (3_600_000, 1),
            [] if digits == text.len() => (1000, 0),
            _ => return None,
        };
        if unit >= smaller_than {
            return None;
        }
        smaller_than = unit;
        // Four numbers of twelve digits, in hours at most: no overflow.
        total += number * unit;
        rest = &unit_and_rest[length..];
        if rest.is_empty() {
            return (total <= LONGEST).then_some(Duration::from_millis(total));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use core::time::Duration;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in
            [("0", 0), ("7", 7000), ("500ms", 500), ("5s", 5000), ("1m30s", 90_000), ("2h", 7_200_000), ("1h0m5s7ms", 3_605_007)]
        {
            assert_eq!(parse(text.as_bytes()), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_be_sure_of() {
        for text in ["", "s", "-1s", "1.5s", "5 s", "5S", "30s1m", "1s1s", "1m30", "1e3", "99999999999999999999s", "400000h", "5s "] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
