//! Names that lead to where nobody but us can go.

use super::*;

#[tokio::test]
async fn loopback_is_refused_however_it_is_spelled() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let port = server.address().port();
    let client = Client::new(Hosts::default(), None).unwrap();
    for host in
        ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]"]
    {
        let failure = manifest(&client, &format!("{host}:{port}"), None).await.unwrap_err();
        assert!(matches!(failure, Failure::RefusedAddress { .. }), "{host}: {failure}");
        assert!(failure.to_string().contains("allowAddresses"), "{failure}");
        assert!(!failure.is_hosts_fault());
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn metadata_services_are_refused() {
    let client = Client::new(Hosts::default(), None).unwrap();
    for host in ["169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "[64:ff9b::169.254.169.254]"] {
        let failure = manifest(&client, host, None).await.unwrap_err();
        assert!(matches!(failure, Failure::RefusedAddress { .. }), "{failure}");
    }
}

#[tokio::test]
async fn what_is_listed_may_be_asked() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let port = server.address().port();
    for (host, allowed) in [
        ("127.0.0.1", json!(["127.0.0.1"])),
        ("127.0.0.1", json!([format!("127.0.0.1:{port}")])),
        ("localhost", json!(["127.0.0.0/8"])),
        ("localhost", json!(["localhost"])),
        ("localhost", json!([format!("localhost:{port}")])),
    ] {
        let registry = format!("{host}:{port}");
        let document = json!({"registries": {registry.clone(): {"plainHttp": true}}, "allowAddresses": allowed});
        assert!(manifest(&configured(document), &registry, None).await.is_ok(), "{host} {allowed}");
    }
    let registry = format!("localhost:{port}");
    let document = json!({"registries": {registry.clone(): {"plainHttp": true}}, "allowAddresses": ["localhost:1"]});
    let failure = manifest(&configured(document), &registry, None).await.unwrap_err();
    assert!(matches!(failure, Failure::RefusedAddress { .. }), "{failure}");
}

#[tokio::test]
async fn of_a_names_addresses_only_those_allowed_are_connected_to() {
    let server = Hostile::start(|_| Answer::ok(MANIFEST));
    let registry = format!("localhost:{}", server.address().port());
    // localhost is both, or only the one that is not allowed.
    let document = json!({"registries": {registry.clone(): {"plainHttp": true}}, "allowAddresses": ["::1"]});
    let failure = manifest(&configured(document), &registry, None).await.unwrap_err();
    assert!(matches!(failure, Failure::RefusedAddress { .. } | Failure::Unreachable { .. }), "{failure}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn more_can_be_refused() {
    let client = configured(json!({"refuseAddresses": ["10.0.0.0/8"]}));
    let failure = manifest(&client, "10.1.2.3", None).await.unwrap_err();
    assert!(matches!(failure, Failure::RefusedAddress { .. }), "{failure}");
}

#[tokio::test]
async fn a_name_that_there_is_not_is_told() {
    let client = Client::new(Hosts::default(), None).unwrap();
    let failure = manifest(&client, "registry.invalid", None).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable { .. }) && failure.is_hosts_fault(), "{failure}");
}
