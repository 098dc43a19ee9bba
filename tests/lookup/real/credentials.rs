//! Who may know.

use crate::asker::{Answer, Asker, entrypoint, hosts, password, unknown};
use ashore_lookup::{Credential, Settings};
use ashore_tests::Outcome;
use ashore_tests::image::Image;
use ashore_tests::pki::Ca;
use ashore_tests::registry::token::User;
use ashore_tests::registry::{Auth, Options, Registry, TokenServer};
use std::time::Duration;

fn app(registry: &Registry, name: &str) -> Result<String, ashore_tests::Skip> {
    Image::new().entrypoint(["/app"]).push(registry, name)?;
    Ok(registry.image(name))
}

fn refused(answer: Answer) {
    let (code, why) = unknown(answer);
    assert_eq!(code, "unauthorized", "{why}");
    assert!(!why.contains("sesame") && !why.contains("wrong"), "{why}");
}

pub(crate) fn passwords() -> Outcome {
    let ca = Ca::new();
    let users = [("alice", "sesame"), ("bob", "b")];
    let registry = Registry::new(&Options { tls: Some(&ca), auth: Auth::Users(&users), ..Options::default() })?;
    let image = app(&registry, "team/app:1")?;
    let asker = Asker::of(&[&registry]);
    refused(asker.ask(&image));
    let wrong = || password("alice", "wrong");
    refused(asker.ask_with(&image, &[wrong()]));
    // Every one is tried.
    assert_eq!(entrypoint(&asker.ask_with(&image, &[wrong(), password("carol", "wrong"), password("alice", "sesame")])), ["/app"]);
    // An identity token is nothing to a registry that wants passwords.
    refused(asker.ask_with(&image, &[Credential::IdentityToken("sesame".into())]));
    Ok(())
}

pub(crate) fn tokens() -> Outcome {
    let ca = Ca::new();
    let users = [
        User { name: "alice", password: "sesame", pulls: &["team/app", "team/other"] },
        User { name: "bob", password: "b", pulls: &[] },
        User { name: "", password: "", pulls: &["public"] },
    ];
    let tokens = TokenServer::start(Some(&ca), &users, Duration::from_secs(300));
    let registry = Registry::new(&Options { tls: Some(&ca), auth: Auth::Tokens(&tokens), ..Options::default() })?;
    let (private, public) = (app(&registry, "team/app:1")?, app(&registry, "public:1")?);
    for n in 2..6 {
        app(&registry, &format!("team/app:{n}"))?;
    }
    app(&registry, "team/other:1")?;
    let asker = Asker::of(&[&registry]);
    assert_eq!(entrypoint(&asker.ask(&public)), ["/app"]);
    refused(asker.ask(&private));
    refused(asker.ask_with(&private, &[password("bob", "b")]));
    refused(asker.ask_with(&private, &[password("alice", "wrong")]));
    let alice = || [password("alice", "sesame")];
    let given = tokens.given();
    for n in 1..6 {
        assert_eq!(entrypoint(&asker.ask_with(&registry.image(&format!("team/app:{n}")), &alice())), ["/app"]);
    }
    // One token opens all of a repository, while it holds.
    assert_eq!(tokens.given(), given + 1);
    assert_eq!(entrypoint(&asker.ask_with(&registry.image("team/other:1"), &alice())), ["/app"]);
    assert_eq!(tokens.given(), given + 2);

    let fresh = || Asker::of(&[&registry]);
    let identity = Credential::IdentityToken(tokens.identity_token("alice"));
    assert_eq!(entrypoint(&fresh().ask_with(&private, &[identity])), ["/app"]);
    assert!(tokens.requests().iter().any(|request| request.starts_with("POST alice")), "{:?}", tokens.requests());
    let given = tokens.given();
    let own = Credential::RegistryToken(tokens.registry_token("alice", "team/app"));
    assert_eq!(entrypoint(&fresh().ask_with(&private, &[own])), ["/app"]);
    assert_eq!(tokens.given(), given);
    Ok(())
}

pub(crate) fn one_tenant_does_not_learn_what_anothers_secret_opened() -> Outcome {
    let users = [
        User { name: "alice", password: "sesame", pulls: &["team/app"] },
        User { name: "bob", password: "b", pulls: &["bobs"] },
        User { name: "carol", password: "c", pulls: &["team/app"] },
    ];
    let tokens = TokenServer::start(None, &users, Duration::from_secs(300));
    let registry = Registry::new(&Options { auth: Auth::Tokens(&tokens), ..Options::default() })?;
    let digest = Image::new().entrypoint(["/app"]).push(&registry, "team/app:1")?;
    let asker = Asker::of(&[&registry]);
    for image in [registry.image("team/app:1"), registry.image(&format!("team/app@{digest}"))] {
        assert_eq!(entrypoint(&asker.ask_with(&image, &[password("alice", "sesame")])), ["/app"]);
        refused(asker.ask(&image));
        refused(asker.ask_with(&image, &[password("bob", "b")]));
        // Whoever may read it asks the registry, too, and does not read all of it again.
        registry.forget_requests();
        assert_eq!(entrypoint(&asker.ask_with(&image, &[password("carol", "c")])), ["/app"]);
        assert!(registry.requests().iter().any(|request| request.contains("/manifests/") && request.ends_with("200")));
    }
    Ok(())
}

pub(crate) fn each_registry_gets_its_own() -> Outcome {
    // The same image name but for the registry; each has another user.
    let one = Registry::new(&Options { auth: Auth::Users(&[("alice", "a")]), ..Options::default() })?;
    let other = Registry::new(&Options { auth: Auth::Users(&[("alice", "sesame")]), ..Options::default() })?;
    let (first, second) = (app(&one, "team/app:1")?, app(&other, "team/app:1")?);
    let asker = Asker::of(&[&one, &other]);
    assert_eq!(entrypoint(&asker.ask_with(&first, &[password("alice", "a")])), ["/app"]);
    refused(asker.ask_with(&second, &[password("alice", "a")]));
    assert_eq!(entrypoint(&asker.ask_with(&second, &[password("alice", "sesame")])), ["/app"]);
    Ok(())
}

pub(crate) fn authorities() -> Outcome {
    let (ca, clients) = (Ca::new(), Ca::new());
    let registry = Registry::new(&Options { tls: Some(&ca), ..Options::default() })?;
    let image = app(&registry, "app:1")?;
    let mut stranger = hosts(&[&registry]);
    stranger["registries"] = serde_json::json!({});
    let (code, why) = unknown(Asker::new(&stranger, Settings::default()).ask(&image));
    assert!(code == "unreachable" && why.contains("certificate") && why.contains("ca"), "{why}");

    // One that asks for a certificate of ours.
    let registry = Registry::new(&Options { tls: Some(&ca), clients: Some(&clients), ..Options::default() })?;
    let image = registry.image("missing:1");
    let (code, why) = unknown(Asker::of(&[&registry]).ask(&image));
    assert!(code == "unreachable" && why.contains("clientCertificate"), "{why}");
    let folder = tempfile::tempdir().unwrap();
    let leaf = clients.leaf();
    let mut known = hosts(&[&registry]);
    for (field, name, pem) in [("clientCertificate", "tls.crt", &leaf.cert), ("clientKey", "tls.key", &leaf.key)] {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        known["registries"][registry.host()][field] = path.to_str().unwrap().into();
    }
    assert_eq!(unknown(Asker::new(&known, Settings::default()).ask(&image)).0, "notFound");
    Ok(())
}
