//! Challenges, token servers, and whose password goes where.

use super::*;
use crate::authorities::Authority;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tracing_subscriber::fmt::MakeWriter;

/// `me:sesame`, as Basic has it.
const BASIC: &str = "Basic bWU6c2VzYW1l";

/// A registry with a token server of its own at `/token`, which gives `token-1`, `token-2` and so on and takes back none of them.
fn with_tokens(answer: impl Fn(usize) -> Value + Send + Sync + 'static) -> Hostile {
    let given = AtomicUsize::new(0);
    Hostile::start(move |request| match request.path() {
        "/token" => Answer::ok(answer(given.fetch_add(1, Ordering::SeqCst) + 1).to_string()),
        _ => challenge_or_manifest(request),
    })
}

fn challenge_or_manifest(request: &Request) -> Answer {
    match request.header("authorization") {
        Some(header) if header.starts_with("Bearer token") => Answer::ok(MANIFEST),
        _ => token_challenge(request),
    }
}

/// Where to get a token for the repository that is asked for.
fn token_challenge(request: &Request) -> Answer {
    let repository = request.path().trim_start_matches("/v2/").trim_end_matches("/manifests/latest").to_owned();
    let host = request.header("host").unwrap();
    challenged(&format!("Bearer realm=\"http://{host}/token\",service=\"it\",scope=\"repository:{repository}:pull\""))
}

fn numbered(number: usize) -> Value {
    json!({"token": format!("token-{number}"), "expires_in": 300})
}

#[tokio::test]
async fn a_token_is_got_and_kept() {
    let server = with_tokens(numbered);
    let client = plain(&[&server]);
    for _ in 0..3 {
        assert!(manifest(&client, &server.host(), None).await.is_ok());
    }
    let first = "GET /v2/a/manifests/latest";
    assert_eq!(asked(&server), [first, "GET /token", first, first, first]);
    let requests = server.requests();
    assert_eq!(requests[1].target, "/token?service=it&scope=repository%3Aa%3Apull");
    assert!(requests[0].header("authorization").is_none() && requests[1].header("authorization").is_none());
}

#[tokio::test]
async fn the_next_repository_needs_no_challenge() {
    let server = with_tokens(numbered);
    let client = plain(&[&server]);
    for repository in ["a", "b"] {
        assert!(manifest_of(&client, &server.host(), repository, None).await.is_ok());
    }
    let (a, b) = ("GET /v2/a/manifests/latest", "GET /v2/b/manifests/latest");
    assert_eq!(asked(&server), [a, "GET /token", a, "GET /token", b]);
    assert_eq!(server.requests()[3].target, "/token?service=it&scope=repository%3Ab%3Apull");
}

#[tokio::test]
async fn tokens_are_of_those_whose_credential_it_was() {
    let server = with_tokens(numbered);
    let client = plain(&[&server]);
    let (me, you) = (password("me", "sesame"), password("you", "sesame"));
    for credential in [None, Some(&me), Some(&you), None, Some(&me), Some(&you)] {
        assert!(manifest(&client, &server.host(), credential).await.is_ok());
    }
    let requests = server.requests();
    let tokens: Vec<_> = requests.iter().filter(|one| one.path() == "/token").map(|one| one.header("authorization")).collect();
    assert_eq!(tokens, [None, Some(BASIC), Some("Basic eW91OnNlc2FtZQ==")]);
    let used: Vec<_> = requests.iter().filter(|one| one.path() != "/token").filter_map(|one| one.header("authorization")).collect();
    assert_eq!(used, ["Bearer token-1", "Bearer token-2", "Bearer token-3", "Bearer token-1", "Bearer token-2", "Bearer token-3"]);
}

#[tokio::test]
async fn a_token_has_its_time() {
    for (answer, passed, tokens) in [
        (json!({"token": "token"}), 40, 1),
        (json!({"token": "token"}), 50, 2),
        (json!({"token": "token", "expires_in": "300"}), 40, 1),
        (json!({"access_token": "token", "expires_in": 300}), 280, 1),
        (json!({"token": "", "access_token": "token", "expires_in": 300}), 290, 2),
        (json!({"token": "token", "expires_in": 1e300}), 3590, 2),
        (json!({"token": "token", "expires_in": -5}), 2, 2),
    ] {
        let given = answer.clone();
        let server = with_tokens(move |_| given.clone());
        let client = plain(&[&server]);
        assert!(manifest(&client, &server.host(), None).await.is_ok());
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(passed)).await;
        tokio::time::resume();
        assert!(manifest(&client, &server.host(), None).await.is_ok());
        let times = asked(&server).iter().filter(|one| *one == "GET /token").count();
        assert_eq!(times, tokens, "{answer} after {passed} s");
    }
}

#[tokio::test]
async fn a_token_that_ended_early_is_replaced_once() {
    let ended = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&ended);
    let server = Hostile::start(move |request| match (request.path(), over.load(Ordering::SeqCst)) {
        ("/token", after) => Answer::ok(json!({"token": if after { "token-new" } else { "token-old" }}).to_string()),
        (_, true) if request.header("authorization") == Some("Bearer token-old") => token_challenge(request),
        _ => challenge_or_manifest(request),
    });
    let client = plain(&[&server]);
    assert!(manifest(&client, &server.host(), None).await.is_ok());
    ended.store(true, Ordering::SeqCst);
    assert!(manifest(&client, &server.host(), None).await.is_ok());
    assert!(manifest(&client, &server.host(), None).await.is_ok());
    let it = "GET /v2/a/manifests/latest";
    assert_eq!(asked(&server), [it, "GET /token", it, it, "GET /token", it, it]);
}

#[tokio::test]
async fn endless_challenges_end() {
    let tokens = Hostile::start(|request| match request.path() {
        "/token" => Answer::ok(r#"{"token":"token"}"#),
        _ => token_challenge(request),
    });
    let passwords = Hostile::start(|_| challenged("Basic realm=\"it\""));
    let both = Hostile::start(|request| match request.before {
        0 => challenged("Basic realm=\"it\""),
        _ => token_challenge(request),
    });
    let client = plain(&[&tokens, &passwords, &both]);
    for (server, most) in [(&tokens, 3), (&passwords, 2), (&both, 2)] {
        for _ in 0..2 {
            let before = server.requests().len();
            let failure = manifest(&client, &server.host(), Some(&password("me", "sesame"))).await.unwrap_err();
            assert_eq!(failure, Failure::Unauthorized { host: server.host(), given: true });
            assert!(server.requests().len() <= before + most, "{:?}", asked(server));
        }
    }
}

#[tokio::test]
async fn a_new_token_that_does_not_help_is_not_replaced() {
    let server = Hostile::start(|request| match request.path() {
        "/token" => Answer::ok(r#"{"token":"token"}"#),
        "/v2/b/manifests/latest" => token_challenge(request),
        _ => challenge_or_manifest(request),
    });
    let client = plain(&[&server]);
    assert!(manifest(&client, &server.host(), None).await.is_ok());
    let failure = manifest_of(&client, &server.host(), "b", None).await.unwrap_err();
    assert_eq!(failure, Failure::Unauthorized { host: server.host(), given: false });
    assert_eq!(asked(&server)[3..], ["GET /token", "GET /v2/b/manifests/latest"]);
}

#[tokio::test]
async fn a_registry_without_tls_may_have_a_token_server_without() {
    let tokens = Hostile::start(|_| Answer::ok(r#"{"token":"token"}"#));
    let realm = format!("http://{}/token", tokens.host());
    let server = Hostile::start(move |request| match request.header("authorization") {
        Some("Bearer token") => Answer::ok(MANIFEST),
        _ => bearer(&realm),
    });
    assert!(manifest(&plain(&[&server]), &server.host(), None).await.is_ok());
}

#[tokio::test]
async fn a_password_is_sent_when_it_is_asked_for() {
    let server = Hostile::start(|request| match request.header("authorization") {
        Some(BASIC) => Answer::ok(MANIFEST),
        _ => challenged("Basic realm=\"it\""),
    });
    let (client, me) = (plain(&[&server]), password("me", "sesame"));
    assert_eq!(manifest(&client, &server.host(), None).await, Err(Failure::Unauthorized { host: server.host(), given: false }));
    for repository in ["a", "a", "b"] {
        assert!(manifest_of(&client, &server.host(), repository, Some(&me)).await.is_ok());
    }
    let requests = server.requests();
    let sent: Vec<_> = requests.iter().map(|request| request.header("authorization")).collect();
    assert_eq!(sent, [None, None, Some(BASIC), Some(BASIC), Some(BASIC)]);
}

#[tokio::test]
async fn of_several_challenges_one_that_fits_is_answered() {
    let one = "Digest realm=\"it\", Basic realm=\"it\", Bearer realm=\"http://HOST/token\",service=\"it\"";
    for challenges in [vec![one], vec!["Basic realm=\"it\"", "Bearer realm=\"http://HOST/token\""], vec!["Negotiate", "basic"]] {
        let server = Hostile::start(move |request| match (request.path(), request.header("authorization")) {
            ("/token", _) => Answer::ok(r#"{"token":"token"}"#),
            (_, Some("Bearer token" | BASIC)) => Answer::ok(MANIFEST),
            _ => challenges.iter().fold(Answer::status(401), |answer, challenge| {
                answer.header("WWW-Authenticate", challenge.replace("HOST", request.header("host").unwrap()))
            }),
        });
        let client = plain(&[&server]);
        assert!(manifest(&client, &server.host(), Some(&password("me", "sesame"))).await.is_ok());
        let scopes: Vec<_> = server.requests().into_iter().filter(|one| one.path() == "/token").map(|one| one.target).collect();
        assert!(scopes.iter().all(|target| target.ends_with("scope=repository%3Aa%3Apull")), "{scopes:?}");
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = Hostile::start(|request| match (request.method.as_str(), request.path()) {
        ("POST", "/token") => Answer::ok(r#"{"access_token":"token","expires_in":300}"#),
        _ => challenge_or_manifest(request),
    });
    let identity = Credential::IdentityToken("sesame+".into());
    assert!(manifest(&plain(&[&server]), &server.host(), Some(&identity)).await.is_ok());
    let post = &server.requests()[1];
    assert_eq!(post.body, "grant_type=refresh_token&refresh_token=sesame%2B&client_id=ashore&service=it&scope=repository%3Aa%3Apull");
    assert_eq!(post.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(post.header("authorization"), None);
}

#[tokio::test]
async fn an_identity_token_is_sent_otherwise_to_those_without_post() {
    for status in [401, 404, 405] {
        let server = Hostile::start(move |request| match (request.method.as_str(), request.path(), request.header("authorization")) {
            ("POST", ..) => Answer::status(status),
            ("GET", "/token", Some("Basic OnNlc2FtZQ==")) => Answer::ok(r#"{"token":"token"}"#),
            ("GET", "/token", _) => Answer::status(401),
            _ => challenge_or_manifest(request),
        });
        let identity = Credential::IdentityToken("sesame".into());
        assert!(manifest(&plain(&[&server]), &server.host(), Some(&identity)).await.is_ok(), "{status}");
    }
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let server = with_tokens(numbered);
    let token = Credential::RegistryToken("token-of-mine".into());
    assert!(manifest(&plain(&[&server]), &server.host(), Some(&token)).await.is_ok());
    let requests = server.requests();
    let sent: Vec<_> = requests.iter().map(|request| request.header("authorization")).collect();
    assert_eq!(sent, [None, Some("Bearer token-of-mine")]);
}

#[tokio::test]
async fn token_servers_refuse_and_fail() {
    for (answer, code) in [
        (Answer::status(401), "unauthorized"),
        (Answer::status(403), "unauthorized"),
        (Answer::status(400), "unauthorized"),
        (Answer::status(404), "badStatus"),
        (Answer::status(500), "badStatus"),
        (Answer::status(429).header("Retry-After", "90"), "rateLimited"),
        (Answer::ok("no JSON"), "badResponse"),
        (Answer::ok("{}"), "badResponse"),
        (Answer::ok(r#"{"token":"a\nb"}"#), "badResponse"),
        (Answer::ok(json!({"token": "a".repeat(20_000)}).to_string()), "badResponse"),
        (Answer::ok(vec![b' '; 70_000]), "tooLarge"),
        (Answer::endless(" "), "tooLarge"),
    ] {
        let shown = format!("{answer:?}").chars().take(100).collect::<String>();
        let server = Hostile::start(move |request| match request.path() {
            "/token" => answer.clone(),
            _ => challenge_or_manifest(request),
        });
        let failure = manifest(&plain(&[&server]), &server.host(), Some(&password("me", "sesame"))).await.unwrap_err();
        assert_eq!(failure.code(), code, "{shown}");
    }
}

#[tokio::test]
async fn a_token_server_is_no_way_around_the_rules() {
    let authority = Authority::new();
    let open = Hostile::start(|_| Answer::ok(r#"{"token":"token"}"#));
    let realms = Arc::new(Mutex::new(String::new()));
    let current = Arc::clone(&realms);
    let server = Hostile::start_tls(authority.server(), move |_| bearer(&current.lock().unwrap()));
    let client = client(json!({server.host(): {"ca": authority.pem}, open.host(): {"plainHttp": true}}));
    for (realm, code) in [
        (format!("http://{}/token", open.host()), "plainHttp"),
        ("https://169.254.169.254/token".to_owned(), "refusedAddress"),
        ("https://you:word@a.example/token".to_owned(), "badResponse"),
        ("ftp://a.example/token".to_owned(), "badResponse"),
    ] {
        realms.lock().unwrap().clone_from(&realm);
        let failure = manifest(&client, &server.host(), Some(&password("me", "sesame"))).await.unwrap_err();
        assert_eq!(failure.code(), code, "{realm}");
    }
    assert_eq!(open.connections(), 0);
}

#[tokio::test]
async fn a_token_server_does_not_pass_the_password_on() {
    let other = Hostile::start(|_| Answer::ok(r#"{"token":"token"}"#));
    let to = format!("http://{}/token", other.host());
    let server = Hostile::start(move |request| match (request.method.as_str(), request.path()) {
        (_, "/token") => Answer::redirect(307, to.clone()),
        _ => challenge_or_manifest(request),
    });
    let client = plain(&[&server, &other]);
    assert!(manifest(&client, &server.host(), Some(&password("me", "sesame"))).await.is_ok());
    assert!(other.requests().iter().all(|request| request.header("authorization").is_none()));
    let identity = Credential::IdentityToken("sesame".into());
    let failure = manifest(&client, &server.host(), Some(&identity)).await.unwrap_err();
    assert!(matches!(failure, Failure::Protocol { .. }), "{failure}");
    assert!(other.requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn another_hosts_challenge_is_not_answered() {
    let other = Hostile::start(|_| challenged("Basic realm=\"it\""));
    let to = format!("http://{}/", other.host());
    let server = Hostile::start(move |_| Answer::redirect(307, to.clone()));
    let failure = manifest(&plain(&[&server, &other]), &server.host(), Some(&password("me", "sesame"))).await.unwrap_err();
    assert_eq!(failure, Failure::Unauthorized { host: other.host(), given: true });
    assert!([&server, &other].iter().all(|one| one.requests().iter().all(|request| request.header("authorization").is_none())));
}

/// What is written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn nothing_secret_is_logged_or_told() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let storage = Hostile::start(|_| Answer::status(500));
    let to = format!("http://{}/there?signature=sesame-signed", storage.host());
    let server = Hostile::start(move |request| match (request.path(), request.header("authorization")) {
        ("/token", _) => Answer::ok(r#"{"token":"token-sesame"}"#),
        (_, Some("Bearer token-sesame")) => Answer::redirect(307, to.clone()),
        _ => token_challenge(request),
    });
    let client = plain(&[&server, &storage]);
    let mut told = Vec::new();
    for credential in
        [password("me", "sesame"), Credential::IdentityToken("sesame".into()), Credential::RegistryToken("token-sesame".into())]
    {
        let failure = manifest(&client, &server.host(), Some(&credential)).await.unwrap_err();
        told.push(format!("{failure} {failure:?} {credential:?}"));
    }
    let told = format!("{told:?} {}", String::from_utf8_lossy(&log.0.lock().unwrap()));
    assert!(told.contains("manifests/latest"), "there is a log");
    for secret in ["sesame", "bWU6c2VzYW1l"] {
        assert!(!told.contains(secret), "{told}");
    }
}
