//! Requests to the node's API server, as many a second as it answers: kubectl takes a tenth of a second for each.

use super::Node;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// A client of its own, with connections of its own.
pub struct Api {
    agent: ureq::Agent,
    server: String,
}

/// An answer of the API server.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, or its text where it is no JSON.
    pub body: Value,
}

impl Api {
    /// A client with the administrator's rights.
    ///
    /// # Panics
    /// The node's kubeconfig is not as `tests/node/up` writes it.
    pub fn of(node: &Node) -> Self {
        let path = node.state.join("admin.conf");
        let config = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let value = |key: &str| {
            let rest = config.split_once(&format!("{key}: ")).unwrap_or_else(|| panic!("{}: no {key}", path.display())).1;
            rest.trim_start_matches('"').split(['"', ',', '}', '\n']).next().unwrap_or_default().to_owned()
        };
        let pem = |key: &str| STANDARD.decode(value(key)).unwrap_or_else(|error| panic!("{}: {key}: {error}", path.display()));
        let certificate = |key: &str| Certificate::from_pem(&pem(key)).unwrap_or_else(|error| panic!("{}: {key}: {error}", path.display()));
        let key = PrivateKey::from_pem(&pem("client-key-data")).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[certificate("certificate-authority-data")]))
            .client_cert(Some(ClientCert::new_with_certs(&[certificate("client-certificate-data")], key)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).timeout_global(Some(Duration::from_secs(40)));
        Self { agent: agent.build().into(), server: value("server") }
    }

    /// A request, and what came back.
    ///
    /// # Errors
    /// No answer came, and why.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.server));
        let request = request.header("content-type", "application/json").body(body.map(Value::to_string).unwrap_or_default());
        let mut answer = self.agent.run(request.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok(Answer { status: answer.status().as_u16(), body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }
}
