//! The registries that tests use keep what is put there, and let in whom they should.
#![allow(clippy::unwrap_used, reason = "a test says by a panic that it failed")]

use ashore_tests::image::{Image, Index, Packed};
use ashore_tests::pki::{Ca, Leaf};
use ashore_tests::registry::token::User;
use ashore_tests::registry::{Auth, Options, Registry, TokenServer, Upstream, agent, basic};
use ashore_tests::{Outcome, harness};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;
use ureq::http::Request;

fn main() -> ExitCode {
    harness::run_without_sandbox(
        &[
            ("every_kind_of_image", every_kind_of_image),
            ("what_a_config_says", what_a_config_says),
            ("configs_that_are_wrong", configs_that_are_wrong),
            ("users_with_passwords", users_with_passwords),
            ("clients_with_certificates", clients_with_certificates),
            ("users_with_tokens", users_with_tokens),
            ("behind_another_one", behind_another_one),
            ("down_and_up_again", down_and_up_again),
        ],
        4,
    )
}

/// What a registry has answered.
struct Answer {
    status: u16,
    media_type: String,
    digest: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

fn get(registry: &Registry, path: &str, authorization: &str) -> Answer {
    ask("GET", registry, path, authorization)
}

fn ask(method: &str, registry: &Registry, path: &str, authorization: &str) -> Answer {
    let types = ["oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.v2", "docker.distribution.manifest.list.v2"];
    let mut request = Request::builder().method(method).uri(registry.url(path));
    for kind in types {
        request = request.header("accept", format!("application/vnd.{kind}+json"));
    }
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let mut answer = registry.agent().run(request.body(()).unwrap()).unwrap();
    let header = |name: &str| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (media_type, digest) = (header("content-type"), header("docker-content-digest"));
    Answer { status: answer.status().as_u16(), media_type, digest, body: answer.body_mut().read_to_vec().unwrap() }
}

fn manifest(registry: &Registry, repository: &str, reference: &str, authorization: &str) -> Answer {
    get(registry, &format!("/v2/{repository}/manifests/{reference}"), authorization)
}

fn blob(registry: &Registry, repository: &str, digest: &str, authorization: &str) -> Answer {
    get(registry, &format!("/v2/{repository}/blobs/{digest}"), authorization)
}

/// Bit by bit what was pushed, all the way down.
fn has(registry: &Registry, repository: &str, tag: &str, pushed: &Packed, authorization: &str) {
    let head = ask("HEAD", registry, &format!("/v2/{repository}/manifests/{tag}"), authorization);
    assert_eq!((head.status, &*head.digest, head.body.len()), (200, &*pushed.manifest.digest(), 0), "{tag}");
    let got = manifest(registry, repository, tag, authorization);
    assert_eq!((got.status, &*got.media_type, &*got.digest), (200, &*pushed.manifest.media_type, &*pushed.manifest.digest()), "{tag}");
    assert!(got.body == pushed.manifest.content, "{tag}: {}", String::from_utf8_lossy(&got.body));
    for image in &pushed.images {
        has(registry, repository, &image.manifest.digest(), image, authorization);
    }
    for part in &pushed.blobs {
        let got = blob(registry, repository, &part.digest(), authorization);
        assert!(got.status == 200 && got.body == part.content, "{tag}: {}", part.media_type);
    }
}

fn on(architecture: &str, variant: Option<&str>) -> Image {
    Image::new().platform("linux", architecture, variant)
}

fn every_kind_of_image() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let app = |architecture| on(architecture, None).entrypoint(["/app"]);
    let arms = [on("arm", Some("v6")), on("arm", Some("v7")), on("arm64", Some("v8"))];
    let images = [
        ("single", app("amd64").pack()),
        ("agree", Index::of([app("amd64"), app("arm64")]).pack()),
        ("differ", Index::of([app("amd64"), on("arm64", None).entrypoint(["/other"])]).pack()),
        ("variants", Index::of(arms.map(|image| image.entrypoint(["/app"]))).pack()),
        ("attested", Index::of([app("amd64"), app("arm64")]).attested().pack()),
        ("schema2", app("amd64").docker().pack()),
        ("list", Index::of([app("amd64").docker(), app("arm64").docker()]).docker().pack()),
    ];
    for (tag, image) in &images {
        assert_eq!(image.push(&registry, &format!("team/app:{tag}"))?, image.manifest.digest(), "{tag}");
        has(&registry, "team/app", tag, image, "");
        // By hand it comes to the same.
        image.put(&registry, &format!("team/hand:{tag}"));
        has(&registry, "team/hand", tag, image, "");
    }
    let platforms = |tag| manifest(&registry, "team/app", tag, "").json()["manifests"].as_array().unwrap().clone();
    assert_eq!(platforms("variants")[1]["platform"], json!({"os": "linux", "architecture": "arm", "variant": "v7"}));
    let attested = platforms("attested");
    assert_eq!(attested.len(), 4);
    assert_eq!(attested[3]["platform"], json!({"architecture": "unknown", "os": "unknown"}));
    assert_eq!(attested[3]["annotations"]["vnd.docker.reference.digest"], attested[1]["digest"]);

    for format in ["zstd", "gzip"] {
        let compressed = images[0].1.compressed(format)?;
        let manifest: Value = serde_json::from_slice(&compressed.manifest.content).unwrap();
        assert_eq!(manifest["layers"][0]["mediaType"], format!("application/vnd.oci.image.layer.v1.tar+{format}"));
        assert_eq!(compressed.config().content, images[0].1.config().content);
        compressed.push(&registry, &format!("team/app:{format}"))?;
        has(&registry, "team/app", format, &compressed, "");
    }
    Ok(())
}

fn what_a_config_says() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let image = on("arm64", Some("v8")).entrypoint(["/bin/sh", "-c", "exec app $(HOME) $$"]).cmd(["--flag", ""]).stop_signal("SIGQUIT");
    let image = image.working_dir("/srv").user("65532:65532").env(["PATH=/bin", "HOME=/srv"]).pack();
    image.push(&registry, "app:1")?;
    let config = blob(&registry, "app", &image.config().digest(), "").json();
    assert_eq!((&config["os"], &config["architecture"], &config["variant"]), (&json!("linux"), &json!("arm64"), &json!("v8")));
    assert_eq!(
        config["config"],
        json!({
            "Entrypoint": ["/bin/sh", "-c", "exec app $(HOME) $$"], "Cmd": ["--flag", ""], "StopSignal": "SIGQUIT",
            "WorkingDir": "/srv", "User": "65532:65532", "Env": ["PATH=/bin", "HOME=/srv"],
        })
    );

    // A tag that moves.
    let other = Image::new().entrypoint(["/other"]).push(&registry, "app:1")?;
    assert_ne!(other, image.manifest.digest());
    assert_eq!(manifest(&registry, "app", "1", "").digest, other);
    has(&registry, "app", &image.manifest.digest(), &image, "");
    Ok(())
}

fn configs_that_are_wrong() -> Outcome {
    const LARGE: usize = 5 << 20;
    let registry = Registry::new(&Options::default())?;
    let large = Image::new().entrypoint(["/app"]).large(LARGE).pack();
    assert!((LARGE..LARGE * 11 / 10).contains(&large.config().content.len()), "{}", large.config().content.len());
    large.put(&registry, "app:large");
    has(&registry, "app", "large", &large, "");

    let broken = Image::new().broken(b"{\"config\": ").pack();
    broken.put(&registry, "app:broken");
    has(&registry, "app", "broken", &broken, "");

    let lost = Image::new().entrypoint(["/lost"]).pack();
    lost.push(&registry, "app:lost")?;
    registry.lose(&lost.config().digest());
    assert_eq!(manifest(&registry, "app", "lost", "").status, 200);
    assert_eq!(blob(&registry, "app", &lost.config().digest(), "").status, 404);
    Ok(())
}

fn users_with_passwords() -> Outcome {
    let ca = Ca::new();
    let auth = Auth::Users(&[("alice", "sesame"), ("bob", "other: one")]);
    let registry = Registry::new(&Options { tls: Some(&ca), auth, ..Options::default() })?;
    let image = Image::new().entrypoint(["/app"]).pack();
    image.push(&registry, "team/app:1")?;
    image.put(&registry, "team/app:2");
    registry.forget_requests();
    for (tag, authorization) in [("1", basic("alice", "sesame")), ("2", basic("bob", "other: one"))] {
        has(&registry, "team/app", tag, &image, &authorization);
    }
    for authorization in [String::new(), basic("alice", "other: one"), basic("carol", "sesame")] {
        assert_eq!(manifest(&registry, "team/app", "1", &authorization).status, 401, "{authorization}");
    }
    let (config, layer) = (image.blobs[0].digest(), image.blobs[1].digest());
    let read = |tag: u8| {
        [
            format!("HEAD /v2/team/app/manifests/{tag} 200"),
            format!("GET /v2/team/app/manifests/{tag} 200"),
            format!("GET /v2/team/app/blobs/{config} 200"),
            format!("GET /v2/team/app/blobs/{layer} 200"),
        ]
    };
    let refused = ["GET /v2/team/app/manifests/1 401"; 3].map(str::to_owned);
    assert_eq!(registry.requests(), [&read(1)[..], &read(2), &refused].concat());
    // Nobody else's authority will do.
    assert!(agent(Some(&Ca::new()), None).get(registry.url("/v2/")).call().is_err());
    Ok(())
}

fn clients_with_certificates() -> Outcome {
    let (ca, clients) = (Ca::new(), Ca::new());
    let registry = Registry::new(&Options { tls: Some(&ca), clients: Some(&clients), ..Options::default() })?;
    let image = Image::new().entrypoint(["/app"]).pack();
    image.push(&registry, "app:1")?;
    has(&registry, "app", "1", &image, "");
    let ask =
        |client: Option<Leaf>| agent(Some(&ca), client.as_ref()).get(registry.url("/v2/")).call().map(|answer| answer.status().as_u16());
    assert_eq!(ask(Some(clients.leaf())).unwrap(), 200);
    assert!(ask(None).is_err());
    assert!(ask(Some(ca.leaf())).is_err());
    Ok(())
}

fn users_with_tokens() -> Outcome {
    let ca = Ca::new();
    let users = [
        User { name: "alice", password: "sesame", pulls: &["team/app"] },
        User { name: "bob", password: "other", pulls: &["team/other"] },
        User { name: "", password: "", pulls: &["public"] },
    ];
    // One that nobody would have to trust first, and one by the authority of the registry.
    for tls in [None, Some(&ca)] {
        let tokens = TokenServer::start(tls, &users, Duration::from_secs(300));
        let registry = Registry::new(&Options { tls, auth: Auth::Tokens(&tokens), ..Options::default() })?;
        let image = Image::new().entrypoint(["/app"]).pack();
        image.push(&registry, "team/app:1")?;
        image.put(&registry, "public:1");

        let refused = registry.agent().get(registry.url("/v2/team/app/manifests/1")).call().unwrap();
        let expected = format!(r#"Bearer realm="{}",service="registry.test",scope="repository:team/app:pull""#, tokens.url());
        assert_eq!((refused.status().as_u16(), refused.headers()["www-authenticate"].to_str().unwrap()), (401, &*expected));

        let ask = |authorization: Option<&str>, scope: &str| {
            let request = registry.agent().get(tokens.url()).query("service", "registry.test").query("scope", scope);
            let request = authorization.into_iter().fold(request, |request, value| request.header("authorization", value));
            let mut answer = request.call().unwrap();
            (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.body_mut().read_to_string().unwrap()).unwrap())
        };
        let bearer = |answer: &Value| format!("Bearer {}", answer["token"].as_str().unwrap());
        let before = (tokens.given(), tokens.requests().len());
        let (status, alice) = ask(Some(&basic("alice", "sesame")), "repository:team/app:pull");
        assert_eq!((status, &alice["expires_in"]), (200, &json!(300)));
        has(&registry, "team/app", "1", &image, &bearer(&alice));
        // It is for this repository.
        assert_eq!(manifest(&registry, "public", "1", &bearer(&alice)).status, 401);
        let (_, anybody) = ask(None, "repository:public:pull");
        has(&registry, "public", "1", &image, &bearer(&anybody));
        // Whoever may not gets a token that opens nothing.
        for authorization in [None, Some(basic("bob", "other"))] {
            let (status, nothing) = ask(authorization.as_deref(), "repository:team/app:pull");
            assert_eq!((status, manifest(&registry, "team/app", "1", &bearer(&nothing)).status), (200, 401), "{authorization:?}");
        }
        assert_eq!(ask(Some(&basic("alice", "wrong")), "repository:team/app:pull").0, 401);

        let post = |form: &[(&str, &str)]| {
            let mut answer = registry.agent().post(tokens.url()).send_form(form.iter().copied()).unwrap();
            (answer.status().as_u16(), serde_json::from_str::<Value>(&answer.body_mut().read_to_string().unwrap()).unwrap())
        };
        let scope = ("scope", "repository:team/app:pull");
        let (status, answer) = post(&[("grant_type", "refresh_token"), ("refresh_token", &tokens.identity_token("alice")), scope]);
        assert_eq!(status, 200);
        has(&registry, "team/app", "1", &image, &format!("Bearer {}", answer["access_token"].as_str().unwrap()));
        assert_eq!(post(&[("grant_type", "refresh_token"), ("refresh_token", "identity-of-mallory"), scope]).0, 401);
        assert_eq!(post(&[("grant_type", "password"), ("username", "alice"), ("password", "sesame"), scope]).0, 200);
        has(&registry, "team/app", "1", &image, &format!("Bearer {}", tokens.registry_token("alice", "team/app")));

        let expected = [
            "GET alice repository:team/app:pull 200",
            "GET - repository:public:pull 200",
            "GET - repository:team/app:pull 200",
            "GET bob repository:team/app:pull 200",
            "GET alice repository:team/app:pull 401",
            "POST alice repository:team/app:pull 200",
            "POST mallory repository:team/app:pull 401",
            "POST alice repository:team/app:pull 200",
        ];
        assert_eq!((tokens.given() - before.0, &tokens.requests()[before.1..]), (6, &expected.map(str::to_owned)[..]));
    }
    Ok(())
}

fn behind_another_one() -> Outcome {
    let ca = Ca::new();
    let users = [User { name: "alice", password: "sesame", pulls: &["team/app"] }];
    let tokens = TokenServer::start(Some(&ca), &users, Duration::from_secs(300));
    for (auth, credential) in [(Auth::None, None), (Auth::Tokens(&tokens), Some(("alice", "sesame")))] {
        let upstream = Registry::new(&Options { tls: Some(&ca), auth, ..Options::default() })?;
        let image = Index::of([on("amd64", None), on("arm64", None)]).pack();
        image.push(&upstream, "team/app:1")?;
        let proxy = Some(Upstream { registry: &upstream, credential });
        let proxy = Registry::new(&Options { proxy, ..Options::default() })?;
        upstream.forget_requests();
        has(&proxy, "team/app", "1", &image, "");
        assert!(upstream.requests().iter().any(|request| request == "GET /v2/team/app/manifests/1 200"), "{:?}", upstream.requests());
        assert_eq!(manifest(&proxy, "team/app", "2", "").status, 404);
        // What it has seen it keeps.
        for blob in image.images.iter().flat_map(|image| &image.blobs) {
            proxy.until_it_keeps("team/app", &blob.digest());
        }
        upstream.stop();
        has(&proxy, "team/app", "1", &image, "");
    }
    Ok(())
}

fn down_and_up_again() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let image = Image::new().entrypoint(["/app"]).pack();
    image.push(&registry, "app:1")?;
    registry.forget_requests();
    registry.stop();
    let connected = TcpStream::connect(registry.address());
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    registry.start();
    has(&registry, "app", "1", &image, "");
    assert_eq!(registry.requests().len(), 4, "{:?}", registry.requests());

    registry.halt();
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let registry = &registry;
        scope.spawn(move || tell.send(manifest(registry, "app", "1", "").status).unwrap());
        // As long as others need for a hundred answers.
        assert!(told.recv_timeout(Duration::from_millis(300)).is_err(), "it answers");
        registry.resume();
        assert_eq!(told.recv().unwrap(), 200);
    });
    Ok(())
}
