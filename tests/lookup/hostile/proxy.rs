//! Proxies, as the environment names them.

use super::*;
use crate::authorities::{Authority, Clients};
use std::process::Command;

/// What the child is told, as JSON: the configuration, and which registry to ask.
const TOLD: &str = "ASHORE_TEST_PROXY";

/// Runs [`as_told`] in a process of its own, as the environment is one for all tests here: the failure and its code, or nothing.
fn ask_with(environment: &[(&str, String)], registries: Value, registry: &str) -> String {
    let told = json!({"document": {"registries": registries}, "registry": registry}).to_string();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "hostile::proxy::as_told", "--ignored", "--nocapture"]).env(TOLD, told);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        child.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = child.envs(environment.iter().cloned()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.split_once("found [").and_then(|(_, rest)| rest.split_once(']'));
    found.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))).0.to_owned()
}

#[tokio::test]
#[ignore = "what the others here run in a process of its own"]
async fn as_told() {
    let told: Value = serde_json::from_str(&std::env::var(TOLD).unwrap()).unwrap();
    let client = configured(told["document"].clone());
    let failure = manifest(&client, told["registry"].as_str().unwrap(), None).await.err();
    println!("found [{}]", failure.map_or_else(String::new, |failure| format!("{}: {failure}", failure.code())));
}

/// A proxy to this server, whatever is asked for.
fn proxy(server: &Hostile) -> Hostile {
    let to = server.address();
    Hostile::start(move |request| match request.method.as_str() {
        "CONNECT" => Answer::tunnel(to),
        _ => Answer::ok(MANIFEST),
    })
}

#[test]
fn a_registry_is_asked_through_the_proxy() {
    let authority = Authority::new();
    let tls = authority.server_with("registry.invalid", rustls::ALL_VERSIONS, Clients::Anyone);
    let server = Hostile::start_tls(tls, |_| Answer::ok(MANIFEST));
    let proxy = proxy(&server);
    // The proxy is on loopback, and its name is not one that is listed: it is the administrator's.
    let environment = [("HTTPS_PROXY", format!("http://me:sesame@localhost:{}", proxy.address().port()))];
    assert_eq!(ask_with(&environment, json!({"registry.invalid": {"ca": authority.pem}}), "registry.invalid"), "");
    let [connect] = &proxy.requests()[..] else { panic!("{:?}", proxy.requests()) };
    assert_eq!((connect.method.as_str(), connect.target.as_str()), ("CONNECT", "registry.invalid:443"));
    assert_eq!(connect.header("proxy-authorization"), Some("Basic bWU6c2VzYW1l"));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn plain_http_goes_through_its_own_proxy() {
    let proxy = Hostile::start(|_| Answer::ok(MANIFEST));
    let environment = [("http_proxy", format!("http://{}", proxy.host()))];
    assert_eq!(ask_with(&environment, json!({"registry.invalid": {"plainHttp": true}}), "registry.invalid"), "");
    assert_eq!(proxy.requests()[0].target, "http://registry.invalid/v2/a/manifests/latest");
}

#[test]
fn the_proxy_is_no_way_to_addresses_that_are_refused() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let proxy = proxy(&server);
    let environment = [("HTTPS_PROXY", format!("http://{}", proxy.host()))];
    for registry in ["169.254.169.254", "127.1:5000", "localhost:5000", "a.localhost"] {
        let failure = ask_with(&environment, json!({}), registry);
        assert!(failure.starts_with("refusedAddress: "), "{registry}: {failure}");
    }
    assert_eq!(proxy.connections(), 0);
}

#[test]
fn some_hosts_are_asked_without_the_proxy_and_are_checked() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let proxy = proxy(&server);
    let environment = [("HTTPS_PROXY", format!("http://{}", proxy.host())), ("NO_PROXY", "localhost,.invalid".to_owned())];
    let registry = format!("localhost:{}", server.address().port());
    assert!(ask_with(&environment, json!({}), &registry).starts_with("refusedAddress: "));
    assert!(ask_with(&environment, json!({}), "registry.invalid").starts_with("unreachable: "));
    assert_eq!((proxy.connections(), server.connections()), (0, 0));
}

#[test]
fn a_proxy_that_refuses_is_named() {
    let proxy = Hostile::start(|_| Answer::status(403));
    let environment = [("HTTPS_PROXY", format!("http://me:sesame@{}", proxy.host()))];
    let failure = ask_with(&environment, json!({}), "registry.invalid");
    assert!(failure.starts_with("unreachable: registry.invalid cannot be reached: through the proxy"), "{failure}");
    assert!(!failure.contains("sesame"), "{failure}");
}
