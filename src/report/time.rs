//! Points in time, as Kubernetes writes them.

use jiff::Timestamp;
use serde_json::Value;

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

/// What is truncated to whole seconds may be so much earlier than it was.
pub(crate) const SECOND: Millis = 1000;

/// The longest text that is looked at.
const LONGEST: usize = 40;

/// The point in time that is written there (RFC 3339); none for what is none, and for the zero of Go and of containerd.
pub(crate) fn read(value: &Value) -> Option<Millis> {
    parse(value.as_str()?)
}

/// As [`read`], from its text.
pub(crate) fn parse(text: &str) -> Option<Millis> {
    let time: Timestamp = Some(text).filter(|text| text.len() <= LONGEST)?.parse().ok()?;
    Some(time.as_millisecond()).filter(|millis| *millis > 0)
}

/// As Kubernetes writes it.
pub(crate) fn write(millis: Millis) -> Option<String> {
    Timestamp::from_millisecond(millis).ok().map(|time| time.to_string())
}

/// How long something took, for people.
pub(crate) fn took(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        _ => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_in_time() {
        assert_eq!(parse("2026-11-24T18:26:24Z"), Some(1_795_544_784_000));
        assert_eq!(parse("2026-11-24T18:26:24.123456+00:00"), Some(1_795_544_784_123));
        assert_eq!(parse("1970-01-01T00:00:00Z"), None);
        assert_eq!(parse("0001-01-01T00:00:00Z"), None);
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse(&"2".repeat(5000)), None);
        assert_eq!(write(1_795_544_784_000).as_deref(), Some("2026-11-24T18:26:24Z"));
        assert_eq!(write(Millis::MAX), None);
    }

    #[test]
    fn durations() {
        assert_eq!([took(12), took(999), took(8997), took(30_000)], ["12 ms", "999 ms", "8.9 s", "30.0 s"]);
    }
}
