//! Digests that name content (OCI image-spec, descriptor.md#digests).

use ring::digest::{Algorithm, SHA256, SHA512, digest};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The digest of some content: `sha256:` or `sha512:` and lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

/// A text that is no digest, or one of an algorithm that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: sha256: and 64 lower-case hexadecimal digits, or sha512: and 128")]
pub struct NotADigest;

impl Digest {
    /// The SHA-256 digest of some content.
    pub fn of(content: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(&SHA256, content)).into())
    }

    /// Whether it is the digest of this content.
    pub fn matches(&self, content: &[u8]) -> bool {
        let (algorithm, expected) = match self.0.split_once(':') {
            Some(("sha512", expected)) => (&SHA512, expected),
            Some((_, expected)) => (&SHA256, expected),
            None => return false,
        };
        hex(algorithm, content) == expected
    }

    /// It as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn hex(algorithm: &'static Algorithm, content: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(2 * algorithm.output_len());
    for byte in digest(algorithm, content).as_ref() {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let (algorithm, hex) = text.split_once(':').ok_or(NotADigest)?;
        let digits = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err(NotADigest),
        };
        if hex.len() == digits && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.into()))
        } else {
            Err(NotADigest)
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the empty text, by `sha256sum` and `sha512sum`.
    const EMPTY_256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const EMPTY_512: &str = "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e";

    #[test]
    fn it_matches_its_content_only() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY_256);
        for text in [EMPTY_256, EMPTY_512] {
            let digest: Digest = text.parse().unwrap();
            assert!(digest.matches(b"") && !digest.matches(b"a"), "{text}");
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let upper = EMPTY_256.to_uppercase();
        let sha384 = format!("sha384:{}", "a".repeat(96));
        for text in ["", "latest", "sha256:", "sha256:abc", &EMPTY_256[1..], &EMPTY_256[..70], &upper, &sha384, &format!("{EMPTY_256}0")] {
            assert_eq!(text.parse::<Digest>(), Err(NotADigest), "{text}");
        }
    }
}
