//! The certificate authority of our own, the certificates it signs, and whether a client would accept one.

use crate::certificate::{Validity, validity};
use crate::serving::timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::time::Duration;

/// Certificates begin this long before they are made: the API server's clock may be behind ours.
pub const BACKDATE: i64 = 3600;
/// More than any Secret's bundle has.
const MOST: usize = 32;

/// A certificate authority that can sign.
#[derive(Debug)]
pub struct Authority {
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// From when to when it holds.
    pub validity: Validity,
    key: KeyPair,
}

/// A certificate and its key, PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key, PKCS#8.
    pub key: String,
}

/// Why an authority or a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AuthorityError(String);

impl From<rcgen::Error> for AuthorityError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl Authority {
    /// Makes a new one, ECDSA P-256.
    ///
    /// # Errors
    /// No key can be made.
    pub fn new(now: i64, lifetime: Duration) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = authority_params();
        set_validity(&mut params, now, now.saturating_add(seconds(lifetime)));
        let certificate = params.self_signed(&key)?.der().clone();
        Self::of(certificate, key)
    }

    /// Reads one: a certificate, and its key as PEM.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(certificate: CertificateDer<'static>, key: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key).map_err(|_| AuthorityError("ca.key is not a private key in PEM (PKCS#8, ECDSA P-256)".into()))?;
        let authority = Self::of(certificate, key)?;
        // Whether the key is this certificate's is seen by what it signs.
        let now = authority.validity.not_before + 1;
        let probe = authority.issue(&["probe".into()], now, Duration::from_secs(60))?;
        let probe = certificates(probe.certificate.as_bytes());
        accepts(std::slice::from_ref(&authority.certificate), &probe, None, now)
            .map_err(|e| AuthorityError(format!("ca.key does not belong to the first certificate of ca.crt ({e})")))?;
        Ok(authority)
    }

    fn of(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        let validity = validity(&certificate).ok_or_else(|| AuthorityError("its certificate is not X.509".into()))?;
        Ok(Self { certificate, validity, key })
    }

    /// Signs a certificate for a server of these names, with a key of its own. It ends with the authority at the latest.
    ///
    /// # Errors
    /// A name is neither a DNS name nor an address.
    pub fn issue(&self, names: &[String], now: i64, lifetime: Duration) -> Result<Issued, AuthorityError> {
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ashore");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, now.saturating_add(seconds(lifetime)).min(self.validity.not_after));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let authority = authority_params();
        let certificate = params.signed_by(&key, &Issuer::from_params(&authority, &self.key))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Its key, PKCS#8 in PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// All authorities have the same name; clients tell them apart by their keys' identifiers.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ashore-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn set_validity(params: &mut CertificateParams, now: i64, not_after: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| epoch + Duration::from_secs(seconds.max(0).unsigned_abs());
    params.not_before = at(now - BACKDATE);
    params.not_after = at(not_after);
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The certificates in a PEM text; what is not a certificate is left out.
pub fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).take(MOST).filter_map(Result::ok).filter(|der| validity(der).is_some()).collect()
}

/// Certificates as PEM.
pub fn pem<'c>(certificates: impl IntoIterator<Item = &'c CertificateDer<'static>>) -> String {
    use base64::Engine;
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let body = base64::engine::general_purpose::STANDARD.encode(certificate);
        for line in body.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Whether a client that trusts `bundle` accepts a server that shows `chain`, at a time and, if one is given, under a name.
///
/// # Errors
/// Why it does not.
pub fn accepts(
    bundle: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    name: Option<&str>,
    now: i64,
) -> Result<(), AuthorityError> {
    let wrong = |e: webpki::Error| AuthorityError(words(&e));
    let (leaf, intermediates) = chain.split_first().ok_or_else(|| AuthorityError("there is no certificate".into()))?;
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(wrong)?;
    // Go checks the root's own time, webpki leaves that to us.
    let holds = |der: &&CertificateDer<'static>| validity(der).is_some_and(|v| v.not_before <= now && now <= v.not_after);
    let anchors: Vec<_> = bundle.iter().filter(holds).filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.max(0).unsigned_abs()));
    leaf.verify_for_usage(algorithms, &anchors, intermediates, time, webpki::KeyUsage::server_auth(), None, None).map_err(wrong)?;
    if let Some(name) = name {
        let parsed = ServerName::try_from(name).map_err(|_| AuthorityError(format!("{name} is neither a DNS name nor an address")))?;
        leaf.verify_is_valid_for_subject_name(&parsed)
            .map_err(|_| AuthorityError(format!("it is not for {name}, the name by which the API server calls")))?;
    }
    Ok(())
}

/// What is wrong, as people say it, where they meet it.
fn words(error: &webpki::Error) -> String {
    let at = |time: &UnixTime| timestamp(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
    match error {
        // The latter: one of the same name has, with another key.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => "none of them that holds now has signed it".into(),
        webpki::Error::CertExpired { not_after, .. } => format!("it has ended at {}", at(not_after)),
        webpki::Error::CertNotValidYet { not_before, .. } => format!("it begins at {}", at(not_before)),
        webpki::Error::RequiredEkuNotFoundContext(_) => "it is not for servers (extended key usage: server auth)".into(),
        webpki::Error::CaUsedAsEndEntity => {
            "it is an authority's own certificate, not one that an authority has signed for a server".into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_it_signs_is_accepted_under_its_names_and_nothing_else() {
        let authority = Authority::new(NOW, DAY).unwrap();
        let other = Authority::new(NOW, DAY).unwrap();
        let issued = authority.issue(&["ashore.sys.svc".into(), "127.0.0.1".into()], NOW, DAY).unwrap();
        let chain = certificates(issued.certificate.as_bytes());
        let both = [other.certificate.clone(), authority.certificate.clone()];
        for name in ["ashore.sys.svc", "127.0.0.1"] {
            accepts(&both, &chain, Some(name), NOW).unwrap();
        }
        assert!(accepts(&both, &chain, Some("other.sys.svc"), NOW).unwrap_err().to_string().contains("not for other.sys.svc"));
        assert!(accepts(&both[..1], &chain, None, NOW).is_err());
        accepts(&both, &chain, None, NOW - BACKDATE).unwrap();
        assert!(accepts(&both, &chain, None, NOW - BACKDATE - 1).is_err());
        assert!(accepts(&both, &chain, None, NOW + 86_401).is_err());
    }

    #[test]
    fn a_certificate_does_not_outlive_its_authority() {
        let authority = Authority::new(NOW, Duration::from_secs(600)).unwrap();
        let issued = authority.issue(&["x".into()], NOW + 500, DAY).unwrap();
        let leaf = certificates(issued.certificate.as_bytes()).remove(0);
        assert_eq!(validity(&leaf).unwrap().not_after, NOW + 600);
    }

    #[test]
    fn a_key_of_another_authority_is_noticed() {
        let [one, two] = [0, 1].map(|_| Authority::new(NOW, DAY).unwrap());
        let again = Authority::read(one.certificate.clone(), &one.key_pem()).unwrap();
        assert_eq!(again.validity, one.validity);
        let wrong = Authority::read(one.certificate.clone(), &two.key_pem()).unwrap_err().to_string();
        assert!(wrong.contains("ca.key does not belong to the first certificate of ca.crt"), "{wrong}");
        assert!(Authority::read(one.certificate, "nothing").unwrap_err().to_string().contains("ca.key is not a private key"));
    }

    #[test]
    fn certificates_survive_as_pem() {
        let certificate = Authority::new(NOW, DAY).unwrap().certificate;
        assert_eq!(certificates(pem([&certificate, &certificate]).as_bytes()), [certificate.clone(), certificate]);
        assert!(certificates(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_empty());
    }
}
