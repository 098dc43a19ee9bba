//! A certificate and its key from files or a Secret, and how long it holds.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Far above any real chain; a wrong path (a device, a log) must not fill the memory.
const LONGEST_FILE: u64 = 1024 * 1024;

/// What is wrong with a certificate or its key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what is expected.
        what: String,
    },
    /// The key is another certificate's.
    #[error("{}: this key does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// The two files, as they were read.
#[derive(Clone, PartialEq, Eq)]
pub struct PemPair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate chain with its key, ready to serve.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// What rustls serves.
    pub key: std::sync::Arc<CertifiedKey>,
    /// From when to when the leaf holds.
    pub validity: Validity,
}

/// From when to when a certificate holds, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: i64,
    /// The last second.
    pub not_after: i64,
}

impl PemPair {
    /// Reads both files.
    ///
    /// # Errors
    /// The file that cannot be read, or is too long to be a certificate.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        Ok(Self { cert: read(cert)?, key: read(key)? })
    }

    /// What a Secret holds.
    pub fn of(cert: Vec<u8>, key: Vec<u8>) -> Self {
        Self { cert, key }
    }
}

impl Certificate {
    /// Makes sense of the two files' contents; `cert` and `key` name them in errors.
    ///
    /// # Errors
    /// The file that is wrong, and how.
    pub fn parse(pair: &PemPair, cert: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let wrong = |path: &Path, what: String| CertificateError::Content { path: path.into(), what };
        let chain =
            CertificateDer::pem_slice_iter(&pair.cert).collect::<Result<Vec<_>, _>>().map_err(|e| wrong(cert, format!("not PEM: {e}")))?;
        let Some(leaf) = chain.first() else {
            return Err(wrong(cert, "no certificate in it; expected PEM with BEGIN CERTIFICATE, the server's own first".into()));
        };
        let validity = validity(leaf).ok_or_else(|| wrong(cert, "its first certificate is not X.509".into()))?;
        let private = PrivateKeyDer::from_pem_slice(&pair.key)
            .map_err(|_| wrong(key, "no private key in it; expected PEM with BEGIN PRIVATE KEY (or EC, RSA PRIVATE KEY)".into()))?;
        let private = provider
            .key_provider
            .load_private_key(private)
            .map_err(|e| wrong(key, format!("this key cannot be used: {e}; expected ECDSA P-256 or P-384, Ed25519 or RSA")))?;
        let certified = CertifiedKey::new(chain, private);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(CertificateError::Mismatch { cert: cert.into(), key: key.into() }),
            Err(e) => return Err(wrong(cert, format!("its first certificate cannot be used: {e}"))),
        }
        Ok(Self { key: std::sync::Arc::new(certified), validity })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(CertificateError::Content { path: path.into(), what: "more than 1 MiB; expected PEM".into() });
    }
    Ok(bytes)
}

/// The validity of an X.509 certificate (RFC 5280, 4.1). rustls keeps it to itself, and a certificate library is much for two times.
pub(crate) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = der(certificate, 0x30)?;
    let (mut tbs, _) = der(certificate, 0x30)?;
    if let Some((_, rest)) = der(tbs, 0xa0) {
        tbs = rest; // version
    }
    let (_, rest) = der(tbs, 0x02)?; // serialNumber
    let (_, rest) = der(rest, 0x30)?; // signature
    let (_, rest) = der(rest, 0x30)?; // issuer
    let (validity, _) = der(rest, 0x30)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(Validity { not_before, not_after })
}

/// The content of a DER value with this tag, and what follows it.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = bytes.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(length, _)| (1..=4).contains(&length.len()))?;
        (length.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
    };
    rest.split_at_checked(length)
}

/// A UTCTime or GeneralizedTime in the one form that RFC 5280 allows each, and what follows it.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let ((text, rest), year_digits) = der(bytes, 0x17).map(|t| (t, 2)).or_else(|| der(bytes, 0x18).map(|t| (t, 4)))?;
    let digits = text.strip_suffix(b"Z").filter(|d| d.len() == year_digits + 10 && d.iter().all(u8::is_ascii_digit))?;
    let (year, fields) = digits.split_at(year_digits);
    let number = |digits: &[u8]| digits.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
    let year = match number(year) {
        year if year_digits == 4 => year,
        year if year < 50 => 2000 + year,
        year => 1900 + year,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|at| number(&fields[at..at + 2]));
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March so that a leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms() {
        let utc = |text: &str| [&[0x17, text.len() as u8], text.as_bytes()].concat();
        let generalized = |text: &str| [&[0x18, text.len() as u8], text.as_bytes()].concat();
        assert_eq!(time(&utc("700101000000Z")), Some((0, &[][..])));
        assert_eq!(time(&utc("000229235959Z")), Some((951_868_799, &[][..])));
        assert_eq!(time(&utc("491231000000Z")), Some((2_524_521_600, &[][..])));
        assert_eq!(time(&generalized("20380119031408Z")), Some((2_147_483_648, &[][..])));
        assert_eq!(time(&generalized("99991231235959Z")), Some((253_402_300_799, &[][..])));
        for bad in ["700101000000", "7001010000Z", "70010100000xZ"] {
            assert_eq!(time(&utc(bad)), None, "{bad}");
        }
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_certificate() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(2051, 3, 4);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(validity(certificate.der()), Some(Validity { not_before: 1_577_923_200, not_after: 2_561_500_800 }));
        for length in 0..certificate.der().len() {
            assert_eq!(validity(&certificate.der()[..length]), None);
        }
        assert_eq!(validity(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
