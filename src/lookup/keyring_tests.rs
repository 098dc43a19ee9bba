use super::*;
use base64::engine::general_purpose::STANDARD as PADDED;
use proptest::prelude::*;
use serde_json::json;

/// A keyring with an entry for each of these names, which is its user, too.
fn keyring(names: &[&str]) -> Keyring {
    let auths: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), json!({"auth": PADDED.encode(format!("{name}:sesame"))}))).collect();
    Keyring::from_dockercfg(json!(auths).to_string().as_bytes()).unwrap()
}

/// The users that an image is tried with; a host alone is a registry without a path.
fn users<'k>(keyrings: impl IntoIterator<Item = &'k Keyring>, image: &str) -> Vec<String> {
    let (registry, repository) = image.split_once('/').unwrap_or((image, ""));
    let user = |credential: &Credential| match credential {
        Credential::Password { user, .. } => user.clone(),
        _ => panic!("{credential:?}"),
    };
    matching(keyrings, registry, repository).into_iter().map(user).collect()
}

/// The kubelet's own cases (TestURLsMatch, TestDockerKeyringForGlob, TestKeyringMiss), and some more.
#[test]
fn an_entry_is_for_its_host_port_and_path() {
    for (entry, image, expected) in [
        ("*.kubernetes.io", "prefix.kubernetes.io", true),
        ("prefix.*.io", "prefix.kubernetes.io", true),
        ("prefix.kubernetes.*", "prefix.kubernetes.io", true),
        ("*-good.kubernetes.io", "prefix-good.kubernetes.io", true),
        ("*.kubernetes.io/blah", "prefix.kubernetes.io/blah", true),
        ("prefix.*.io/foo", "prefix.kubernetes.io/foo/bar", true),
        ("*.kubernetes.io:1111/blah", "prefix.kubernetes.io:1111/blah", true),
        ("prefix.*.io:1111/foo", "prefix.kubernetes.io:1111/foo/bar", true),
        ("*.kubernetes.io", "kubernetes.io", false),
        ("*.*.kubernetes.io", "prefix.kubernetes.io", false),
        ("*.*.kubernetes.io", "kubernetes.io", false),
        ("kubernetes.io", "kubernetes.com", false),
        ("k*.io", "quay.io", false),
        ("*.kubernetes.io:1234/blah", "prefix.kubernetes.io:1111/blah", false),
        ("prefix.*.io/foo", "prefix.kubernetes.io:1111/foo/bar", false),
        ("https://hello.kubernetes.io", "hello.kubernetes.io/foo/bar", true),
        ("https://*.docker.io", "prefix.docker.io/foo/bar", true),
        ("https://prefix.*.io", "prefix.docker.io/foo/bar", true),
        ("https://prefix.docker.*", "prefix.docker.io/foo/bar", true),
        ("https://*.docker.io/path", "prefix.docker.io/path/foo/bar", true),
        ("https://prefix.*.io/path", "prefix.docker.io/path/subpath/foo/bar", true),
        ("https://*.docker.io:8888", "prefix.docker.io:8888/foo/bar", true),
        ("https://*.docker.io/v1/", "prefix.docker.io/path/foo/bar", true),
        ("https://*.docker.io/v2/", "prefix.docker.io/path/foo/bar", true),
        ("prefix.docker.io:1111", "prefix.docker.io:1111/path/foo/bar", true),
        ("*.docker.io:1111", "prefix.docker.io:1111/path/foo/bar", true),
        ("https://hello.kubernetes.io", "world.mesos.org/foo/bar", false),
        ("https://*.docker.com", "prefix.docker.io/foo/bar", false),
        ("https://suffix.*.io", "prefix.docker.io/foo/bar", false),
        ("https://prefix.docker.c*", "prefix.docker.io/foo/bar", false),
        ("https://prefix.*.io/path/other", "prefix.docker.io/path/subpath/foo/bar", false),
        ("http://quay.io/v1/", "quay.io/foo/bar", true),
        ("https://quay.io/v2/team", "quay.io/team/app", true),
        ("https://quay.io/v2/team", "quay.io/v2/team/app", false),
        ("quay.io/", "quay.io/app", true),
        ("https://robot@quay.io/team", "quay.io/team/app", true),
        ("quay.io/team?x=y#z", "quay.io/team/app", true),
        ("*", "localhost/app", true),
        ("*", "quay.io/app", false),
        ("a*b*c.io", "aXbYbZc.io/app", true),
        ("a*b*c.io", "aXbYbZ.io/app", false),
        ("quay.io:", "quay.io/app", true),
        ("quay.io", "quay.io:443/app", false),
        ("QUAY.io", "quay.io/app", false),
        ("[::1]:5000", "[::1]:5000/app", true),
        ("[::1]:5000", "[::1]/app", false),
        ("[::1]", "[::1]/app", true),
    ] {
        let keyring = keyring(&[entry]);
        assert_eq!(keyring.problems(), &[], "{entry}");
        assert_eq!(!users([&keyring], image).is_empty(), expected, "{entry} for {image}");
    }
}

/// The kubelet's TestDockerKeyringLookup and TestIssue3797, and more.
#[test]
fn the_most_specific_entry_goes_first_and_all_that_match_are_tried() {
    let pong = keyring(&["bar.example.com", "bar.example.com/pong"]);
    let both = &["bar.example.com/pong", "bar.example.com"][..];
    for (image, expected) in [
        ("bar.example.com", &both[1..]),
        ("bar.example.com/pong", both),
        ("bar.example.com/ping", &both[1..]),
        // The beginning of a path, whatever follows, as in the kubelet.
        ("bar.example.com/pongz", both),
        ("bar.example.com/pong/pang", both),
        ("example.com", &[]),
        ("foo.example.com", &[]),
    ] {
        assert_eq!(users([&pong], image), expected, "{image}");
    }
    let wild = keyring(&["*.io", "*.io/team", "quay.io", "quay.io/team", "quay.io/team/app"]);
    assert_eq!(users([&wild], "quay.io/team/app"), ["quay.io/team/app", "quay.io/team", "quay.io", "*.io/team", "*.io"]);
}

#[test]
fn several_secrets_are_as_one() {
    let (first, second) = (keyring(&["quay.io", "https://quay.io"]), keyring(&["quay.io/team", "http://quay.io/"]));
    // By place first; where that is the same, by the order of the Secrets.
    assert_eq!(users([&first, &second], "quay.io/team/app"), ["quay.io/team", "quay.io", "https", "http"]);
    // The same credential is not tried twice.
    assert_eq!(users([&first, &first], "quay.io/app"), ["quay.io", "https"]);
}

/// The kubelet's TestKeyringHitWithUnqualifiedDockerHub and the like: what has no other match, and is on the Hub.
#[test]
fn docker_hub_has_several_names() {
    let hub = keyring(&["https://index.docker.io/v1/"]);
    assert_eq!(users([&hub], "docker.io/library/jenkins"), ["https"]);
    assert_eq!(users([&hub], "index.docker.io/google/docker-registry"), ["https"]);
    for other in
        ["world.mesos.org/foo/bar", "registry:5000/foo/bar", "myhostdocker.io/foo/bar", "localhost/foo", "mirror.example/library/nginx"]
    {
        assert!(users([&hub], other).is_empty(), "{other}");
    }
    // An entry that names it as images do goes before, and is then the only one.
    let both = keyring(&["https://index.docker.io/v1/", "docker.io"]);
    assert_eq!(users([&both], "docker.io/library/nginx"), ["docker.io"]);
    let scoped = keyring(&["docker.io/team"]);
    assert_eq!(users([&hub, &scoped], "docker.io/team/app"), ["docker.io/team"]);
    assert_eq!(users([&hub, &scoped], "docker.io/library/nginx"), ["https"]);
}

/// The kubelet's TestDockerConfigEntryJSONDecode and TestDecodeDockerConfigFieldAuth, and Docker's own fields.
#[test]
fn an_entry_has_its_credential_in_several_forms() {
    let password = |user: &str, password: &str| Credential::Password { user: user.into(), password: password.into() };
    let foo = || vec![password("foo", "bar")];
    let (identity, registry) = (Credential::IdentityToken("i".into()), Credential::RegistryToken("r".into()));
    for (entry, expected) in [
        (json!({"username": "foo", "password": "bar", "email": "foo@example.com"}), Ok(foo())),
        (json!({"Username": "foo", "PASSWORD": "bar", "more": {"x": []}}), Ok(foo())),
        (json!({"auth": "Zm9vOmJhcg==", "email": "foo@example.com"}), Ok(foo())),
        (json!({"auth": "Zm9vOmJhcg"}), Ok(foo())),
        (json!({"auth": "Zm9vOm\nJhcg==\r\n"}), Ok(foo())),
        (json!({"username": "foo", "password": "bar", "auth": "cGluZzpwb25n"}), Ok(vec![password("ping", "pong")])),
        (json!({"username": "foo", "password": "bar", "auth": ""}), Ok(foo())),
        (json!({"username": "foo", "password": "bar", "auth": null}), Ok(foo())),
        (json!({"auth": PADDED.encode("foo:b:a:r")}), Ok(vec![password("foo", "b:a:r")])),
        (json!({"username": "foo"}), Ok(vec![password("foo", "")])),
        // A user beside a token is but its name.
        (json!({"auth": PADDED.encode("<token>:"), "identitytoken": "i"}), Ok(vec![identity.clone()])),
        (json!({"registrytoken": "r"}), Ok(vec![registry.clone()])),
        (json!({"auth": "Zm9vOmJhcg==", "identitytoken": "i", "registrytoken": "r"}), Ok(vec![password("foo", "bar"), identity, registry])),
        (json!({"email": false, "auth": "Zm9vOmJhcg=="}), Ok(foo())),
        // Good base64 without a colon, a character that is not ignored, bad base64, and what is no text.
        (json!({"auth": "cGFudHM="}), Err(EntryProblem::BadAuth)),
        (json!({"auth": "Zm9vOmJhcg== "}), Err(EntryProblem::BadAuth)),
        (json!({"auth": "pants"}), Err(EntryProblem::BadAuth)),
        (json!({"auth": PADDED.encode(b"\xff:\xff")}), Err(EntryProblem::BadAuth)),
        (json!({"auth": 1}), Err(EntryProblem::NotAnObject)),
        (json!({"username": "foo", "password": ["bar"]}), Err(EntryProblem::NotAnObject)),
        (json!("Zm9vOmJhcg=="), Err(EntryProblem::NotAnObject)),
        (json!({}), Err(EntryProblem::Empty)),
        (json!({"email": "foo@example.com"}), Err(EntryProblem::Empty)),
        (json!(null), Err(EntryProblem::Empty)),
    ] {
        let document = json!({"auths": {"quay.io": entry, "fine.example": {"auth": "Zm9vOmJhcg=="}}, "credsStore": "desktop"}).to_string();
        let keyring = Keyring::from_docker_config_json(document.as_bytes()).unwrap();
        let found: Vec<_> = matching([&keyring], "quay.io", "app").into_iter().cloned().collect();
        assert_eq!(found, expected.clone().unwrap_or_default(), "{document}");
        let problem = expected.err().map(|why| Problem::Entry { entry: "\"quay.io\"".into(), why });
        assert_eq!(keyring.problems(), problem.as_slice(), "{document}");
        // Whatever is wrong with it, the other one is as it was.
        assert_eq!(matching([&keyring], "fine.example", "app").into_iter().cloned().collect::<Vec<_>>(), foo(), "{document}");
    }
}

#[test]
fn what_is_wrong_is_said_without_what_is_secret() {
    let document = json!({"auths": {
        "https://me:sesame@quay.io:port/x?token=sesame": {"auth": "sesame"},
        "https://me:sesame@quay.io/x": {"auth": "sesame"},
        "a b": {"auth": "sesame"},
        "": {"auth": "sesame"},
        "quay.io\n[x": {"password": "sesame"},
        "[fe80]": {"password": "sesame"},
        (format!("long.example/{}", "x".repeat(200))): "sesame",
    }});
    let keyring = Keyring::from_docker_config_json(document.to_string().as_bytes()).unwrap();
    let said: Vec<_> = keyring.problems().iter().map(ToString::to_string).collect();
    let place = "not a registry; expected HOST, HOST:PORT or HOST:PORT/PATH, with * in HOST alone";
    let expected = [
        format!("entry \"quay.io:port/x\": {place}"),
        "entry \"quay.io/x\": its auth is not the base64 of USER:PASSWORD".into(),
        format!("entry \"a b\": {place}"),
        format!("entry \"\": {place}"),
        format!("entry \"quay.io\\n[x\": {place}"),
        format!("entry \"[fe80]\": {place}"),
        format!("entry \"long.example/{}...\": not an object of texts", "x".repeat(87)),
    ];
    assert_eq!(said, expected);
    assert!(!format!("{keyring:?}").contains("sesame"));

    let wrong = |document: &str| Keyring::from_docker_config_json(document.as_bytes()).unwrap_err().to_string();
    assert_eq!(wrong("{\"auths\": \"sesame\"}"), "it is not a JSON object of registries (line 1, column 8)");
    for document in ["sesame", "[1]", "{\"auths\": {\"a\": {", "\"sesame\"", ""] {
        let said = wrong(document);
        assert!(said.starts_with("it is not a JSON object of registries (line ") && !said.contains("sesame"), "{said}");
    }
    let keyring = Keyring::from_docker_config_json(b"{\"quay.io\": {}}").unwrap();
    assert_eq!(keyring.problems(), &[Problem::NoAuths]);
    let none = Keyring::from_docker_config_json(b"{\"auths\": null}").unwrap();
    assert_eq!((none.problems(), none.entries.len()), (&[][..], 0));
}

#[test]
fn a_document_is_bounded() {
    let text = |entries: usize| {
        let auths: serde_json::Map<_, _> = (0..entries).map(|n| (format!("{n}.example"), json!({"username": "a"}))).collect();
        json!(auths).to_string()
    };
    let keyring = Keyring::from_dockercfg(text(MOST).as_bytes()).unwrap();
    assert_eq!((keyring.entries.len(), keyring.problems()), (MOST, &[][..]));
    let keyring = Keyring::from_dockercfg(text(MOST + 1).as_bytes()).unwrap();
    assert_eq!((keyring.entries.len(), keyring.problems()), (MOST, &[Problem::TooMany][..]));
    let long = format!("{}{}", " ".repeat(LONGEST), text(1));
    assert_eq!(Keyring::from_dockercfg(long.as_bytes()).unwrap_err(), KeyringError::TooLong(long.len()));
}

/// Texts as they are, those with the characters that matter, and documents that are almost right.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z.*:/@?#\\[\\]\\-]{0,40}", "(https?://)?[a-z*.]{1,20}(:[0-9]{0,5})?(/[a-z/]{0,20})?"]
}

proptest! {
    #[test]
    fn no_document_and_no_image_panics(bytes: Vec<u8>, names in prop::collection::vec(texts(), 0..8), auth in texts(), registry in texts(), repository in texts()) {
        let _ = Keyring::from_docker_config_json(&bytes);
        let auths: serde_json::Map<_, _> = names.into_iter().map(|name| (name, json!({"auth": auth, "password": auth}))).collect();
        for document in [json!(auths).to_string(), json!({"auths": auths}).to_string()] {
            for read in [Keyring::from_docker_config_json, Keyring::from_dockercfg] {
                let keyring = read(document.as_bytes()).unwrap();
                let _ = matching([&keyring], &registry, &repository);
                let _: Vec<_> = keyring.problems().iter().map(ToString::to_string).collect();
            }
        }
    }

    /// A credential is never for a host with another number of labels, nor for another port.
    #[test]
    fn a_credential_stays_with_its_host(entry in "[a-z*]{1,4}(\\.[a-z*]{1,4}){0,3}(:[0-9]{1,3})?", registry in "[a-z]{1,4}(\\.[a-z]{1,4}){0,3}(:[0-9]{1,3})?") {
        let keyring = keyring(&[&entry]);
        let matched = !matching([&keyring], &registry, "app").is_empty();
        let shape = |place: &str| { let (host, port) = host_and_port(place); (host.split('.').count(), port.to_owned()) };
        prop_assert!(!matched || shape(&entry) == shape(&registry), "{entry} for {registry}");
    }

    /// As a much slower and simpler way of it says.
    #[test]
    fn a_star_is_any_text(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
        fn slowly(pattern: &[u8], text: &[u8]) -> bool {
            match pattern.split_first() {
                Some((b'*', rest)) => (0..=text.len()).any(|at| slowly(rest, &text[at..])),
                Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| first == byte && slowly(rest, text)),
                None => text.is_empty(),
            }
        }
        prop_assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), slowly(pattern.as_bytes(), text.as_bytes()));
    }
}
