//! What a registry wants to see before it answers (RFC 9110, section 11.6.1), of the two kinds that registries use.

use http_auth::{ChallengeRef, parse_challenges};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

/// The most challenges of one response that are read.
const MOST_HEADERS: usize = 8;
/// The most of a challenge's parameter that is read, in bytes.
const MOST_PARAMETER: usize = 2048;

/// What a registry wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Challenge {
    /// A token of the server that it names (distribution's token authentication).
    Bearer {
        /// The URL of the token server.
        realm: Url,
        /// What the token is for.
        service: Option<String>,
        /// What the token has to allow.
        scope: Option<String>,
    },
    /// A user and a password (RFC 7617).
    Basic,
}

impl Challenge {
    /// All that a response offers, tokens first. What cannot be read is left out.
    pub(crate) fn all(headers: &HeaderMap) -> Vec<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().take(MOST_HEADERS).filter_map(|value| value.to_str().ok());
        let challenges = texts.filter_map(|text| parse_challenges(text).ok()).flatten();
        let mut all: Vec<_> = challenges.filter_map(|challenge| Self::read(&challenge)).take(MOST_HEADERS).collect();
        all.sort_by_key(|challenge| *challenge == Self::Basic);
        all
    }

    fn read(challenge: &ChallengeRef<'_>) -> Option<Self> {
        if challenge.scheme.eq_ignore_ascii_case("Basic") {
            return Some(Self::Basic);
        }
        if !challenge.scheme.eq_ignore_ascii_case("Bearer") {
            return None;
        }
        let parameter = |name: &str| {
            let (_, value) = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            Some(value.to_unescaped()).filter(|value| !value.is_empty() && value.len() <= MOST_PARAMETER)
        };
        let realm = Url::parse(&parameter("realm")?).ok().filter(|realm| realm.has_host())?;
        Some(Self::Bearer { realm, service: parameter("service"), scope: parameter("scope") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::all(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: Url::parse(realm).unwrap(), service: service.map(Into::into), scope: scope.map(Into::into) }
    }

    #[test]
    fn they_are_read_from_one_header_and_from_several() {
        let full = r#"Bearer realm="https://auth.example/token",service="a.example",scope="repository:a:pull,push""#;
        let expected = [bearer("https://auth.example/token", Some("a.example"), Some("repository:a:pull,push")), Challenge::Basic];
        assert_eq!(all(&[&format!(r#"Basic realm="a", {full}"#)]), expected);
        assert_eq!(all(&[r#"Basic realm="a""#, full]), expected);
        assert_eq!(all(&["bearer REALM=\"https://auth.example/token\""]), [bearer("https://auth.example/token", None, None)]);
        assert_eq!(all(&["Basic"]), [Challenge::Basic]);
    }

    #[test]
    fn what_cannot_be_answered_is_left_out() {
        let long = format!("Bearer realm=\"https://a.example/{}\"", "a".repeat(3000));
        for value in ["", "Digest realm=\"a\"", "Bearer", "Bearer realm=\"a\"", "Bearer realm=\"/token\"", "Bearer realm=\"", "\"", &long] {
            assert_eq!(all(&[value]), [], "{value}");
        }
        assert_eq!(all(&["\"", "Basic realm=\"a\""]), [Challenge::Basic], "one header does not spoil another");
    }
}
