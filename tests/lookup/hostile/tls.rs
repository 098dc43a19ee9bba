//! Whom we trust.

use super::*;
use crate::authorities::{Authority, Clients};

fn served(authority: &Authority) -> Hostile {
    Hostile::start_tls(authority.server(), |_| Answer::ok(MANIFEST))
}

#[tokio::test]
async fn an_authority_is_trusted_where_it_is_named() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let (server, other) = (served(&authority), served(&authority));
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).unwrap();
    for ca in [json!(authority.pem), json!(file)] {
        let client = client(json!({server.host(): {"ca": ca}}));
        assert!(manifest(&client, &server.host(), None).await.is_ok());
        let failure = manifest(&client, &other.host(), None).await.unwrap_err();
        assert!(matches!(&failure, Failure::Unreachable { why, .. } if why.contains("not trusted") && why.contains("(ca)")), "{failure}");
    }
    let hosts = Hosts::from_value(&json!({"allowAddresses": ["127.0.0.1"]})).unwrap();
    let client = Client::new(hosts, Some(&file)).unwrap();
    assert!(manifest(&client, &other.host(), None).await.is_ok());
}

#[tokio::test]
async fn a_certificate_is_for_its_host() {
    let authority = Authority::new();
    let tls = authority.server_with("other.example", rustls::ALL_VERSIONS, Clients::Anyone);
    let server = Hostile::start_tls(tls, |_| Answer::ok(MANIFEST));
    let client = client(json!({server.host(): {"ca": authority.pem}}));
    let failure = manifest(&client, &server.host(), None).await.unwrap_err();
    assert!(matches!(&failure, Failure::Unreachable { why, .. } if why.contains("not valid for name")), "{failure}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let authority = Authority::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let tls = authority.server_with("127.0.0.1", &[version], Clients::Anyone);
        let server = Hostile::start_tls(tls, |_| Answer::ok(MANIFEST));
        let client = client(json!({server.host(): {"ca": authority.pem}}));
        assert!(manifest(&client, &server.host(), None).await.is_ok(), "{version:?}");
    }
}

#[tokio::test]
async fn plain_http_is_told_apart() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let failure = manifest(&client(json!({})), &server.host(), None).await.unwrap_err();
    assert_eq!(failure, Failure::PlainHttp { host: server.host() });
    assert!(failure.to_string().contains("plainHttp"), "{failure}");
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_is_told() {
    let authority = Authority::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let server = Hostile::start_tls(authority.server_with("127.0.0.1", &[version], Clients::Certified), |_| Answer::ok(MANIFEST));
        let client = client(json!({server.host(): {"ca": authority.pem}}));
        let failure = manifest(&client, &server.host(), None).await.unwrap_err();
        assert!(matches!(&failure, Failure::Unreachable { why, .. } if why.contains("clientCertificate")), "{version:?}: {failure}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let certificate = folder.path().join("tls.crt");
    std::fs::write(&certificate, Authority::new().leaf("us").0).unwrap();
    for (trust, expected) in [
        (json!({"ca": "/no/such/file"}), "registries[\"a.example\"].ca: /no/such/file: No such file"),
        (json!({"ca": empty}), "registries[\"a.example\"].ca: there is no certificate in it"),
        (json!({"ca": "-----BEGIN CERTIFICATE-----\n"}), "registries[\"a.example\"].ca: not PEM"),
        (json!({"clientCertificate": certificate, "clientKey": empty}), "registries[\"a.example\"].clientKey: "),
    ] {
        let hosts = Hosts::from_value(&json!({"registries": {"a.example": trust}})).unwrap();
        let error = Client::new(hosts, None).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = Client::new(Hosts::default(), Some(&empty)).err().unwrap().to_string();
    assert!(error.starts_with("SSL_CERT_FILE: "), "{error}");
}
