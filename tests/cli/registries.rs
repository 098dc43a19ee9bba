//! The command line's `--lookup` and `ashore images resolve`, against registries of the tests' own.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod run;

use ashore_tests::harness::{Outcome, Test, run_without_sandbox};
use ashore_tests::image::{Image, Index};
use ashore_tests::pki::Ca;
use ashore_tests::registry::hostile::{Answer, Hostile};
use ashore_tests::registry::{Auth, Options, Registry};
use run::{Run, folder, run_in, run_with};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const TESTS: &[Test] = &[
    ("explained_as_its_registry_says", explained_as_its_registry_says),
    ("what_is_resolved_can_be_pasted", what_is_resolved_can_be_pasted),
    ("nobody_is_asked_unasked", nobody_is_asked_unasked),
    ("what_cannot_be_found_out_is_left_as_it_is", what_cannot_be_found_out_is_left_as_it_is),
    ("with_what_docker_has", with_what_docker_has),
    ("with_what_a_credential_helper_has", with_what_a_credential_helper_has),
    ("with_an_authority_of_its_own", with_an_authority_of_its_own),
    ("platforms_that_differ", platforms_that_differ),
    ("what_cannot_be_resolved_is_named", what_cannot_be_resolved_is_named),
    ("a_registry_that_is_silent", a_registry_that_is_silent),
];

fn main() -> std::process::ExitCode {
    run_without_sandbox(TESTS, 4)
}

/// Two workloads with the same image, one of them with a command of its own.
fn manifest(image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  template:\n    spec:\n      containers:\n      \
         - {{name: a, image: {image}}}\n      - {{name: b, image: {image}, args: [serve]}}\n---\napiVersion: v1\nkind: Pod\nmetadata: \
         {{name: p}}\nspec:\n  containers:\n  - {{name: c, image: {image}, command: [run]}}\n"
    )
}

fn app() -> Image {
    Image::new()
        .entrypoint(["/app", "--run"])
        .cmd(["it now"])
        .stop_signal("SIGQUIT")
        .working_dir("/data")
        .env(["PASSWORD=sesame"])
        .user("7")
}

fn json_of(run: Run) -> Value {
    serde_json::from_str(&run.good()).expect("JSON")
}

fn explained_as_its_registry_says() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    app().push(&registry, "team/app:1")?;
    let dir = folder("lookup-explain", &[("pods.yaml", &manifest(&registry.image("team/app:1")))]);
    registry.forget_requests();
    let pods = json_of(run_in(&dir, &["explain", "--lookup", "-o", "json", "pods.yaml"], b""));
    let stops = [(0, 0), (0, 1), (1, 0)].map(|(pod, at)| &pods[pod]["containers"][at]["stop"]);
    assert_eq!(stops[0]["argv"], json!(["/app", "--run", "it now"]));
    assert_eq!(stops[1]["argv"], json!(["/app", "--run", "serve"]));
    assert_eq!(stops[2]["argv"], json!(["run"]));
    assert!(stops.iter().all(|stop| stop["signal"] == "QUIT"), "{pods}");
    let requests = registry.requests();
    let manifests = requests.iter().filter(|line| line.starts_with("GET ") && line.contains("/manifests/")).count();
    let configs = requests.iter().filter(|line| line.contains("/blobs/")).count();
    assert_eq!((manifests, configs), (1, 1), "asked once: {requests:?}");
    let injected = run_in(&dir, &["inject", "--lookup", "pods.yaml"], b"");
    assert!(injected.err.contains("3 containers wrapped, 0 left as they are"), "{}", injected.err);
    assert!(injected.good().contains("it now"));
    Ok(())
}

fn what_is_resolved_can_be_pasted() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    app().push(&registry, "team/app:1")?;
    Image::new().cmd(["yes"]).push(&registry, "other:latest")?;
    let both = manifest(&registry.image("team/app:1")) + "---\n" + &manifest(&registry.image("other"));
    let dir = folder("lookup-resolve", &[("pods.yaml", &both)]);
    let resolved = run_in(&dir, &["images", "resolve", "pods.yaml"], b"");
    assert_eq!(resolved.err, "resolved 2 images\n");
    let map = resolved.good();
    let expected = format!(
        "\"{other}\":\n  Cmd:\n  - \"yes\"\n\"{app}\":\n  Entrypoint:\n  - /app\n  - --run\n  Cmd:\n  - it now\n  StopSignal: SIGQUIT\n  WorkingDir: /data\n",
        other = registry.image("other"),
        app = registry.image("team/app:1"),
    );
    assert_eq!(map, expected);
    fs::write(dir.join("images.yaml"), &map).expect("written");
    for verb in ["explain", "inject"] {
        let asked = run_in(&dir, &[verb, "-q", "--lookup", "pods.yaml"], b"").good();
        registry.forget_requests();
        assert_eq!(run_in(&dir, &[verb, "-q", "--images", "images.yaml", "pods.yaml"], b"").good(), asked);
        assert_eq!(run_in(&dir, &[verb, "-q", "--lookup", "--images", "images.yaml", "pods.yaml"], b"").good(), asked);
        assert_eq!(registry.requests(), [""; 0], "what is listed is not asked for");
    }
    let json = json_of(run_in(&dir, &["images", "resolve", "-q", "-o", "json", "-f", "-"], both.as_bytes()));
    assert_eq!(json[registry.image("other")], json!({"Cmd": ["yes"]}));
    Ok(())
}

fn nobody_is_asked_unasked() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    app().push(&registry, "app:1")?;
    let dir = folder("lookup-unasked", &[("pods.yaml", &manifest(&registry.image("app:1")))]);
    registry.forget_requests();
    let run = run_in(&dir, &["inject", "pods.yaml"], b"");
    assert_eq!(registry.requests(), [""; 0]);
    assert!(run.err.contains("it is not in the image map (--lookup asks its registry), so its entrypoint is not known"), "{}", run.err);
    // What is refused anyway is refused at once.
    let bad =
        manifest(&registry.image("app:1")).replace("metadata: {name: p}", "metadata: {name: p, annotations: {ashore.dev/delay: soon}}");
    let err = run_in(&dir, &["inject", "-q", "--lookup", "-"], bad.as_bytes()).refused();
    assert!(err.contains("ashore.dev/delay"), "{err}");
    assert_eq!(registry.requests(), [""; 0]);
    Ok(())
}

fn what_cannot_be_found_out_is_left_as_it_is() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let image = registry.image("none:1");
    let pods = manifest(&image) + "---\n" + &manifest("Not/An/Image");
    let dir = folder("lookup-unknown", &[("pods.yaml", &pods), ("deny.yaml", "onUnresolved: Deny\n")]);
    let run = run_in(&dir, &["inject", "--lookup", "pods.yaml"], b"");
    assert!(run.err.contains(&format!("warning: pods.yaml:1: document 1: Deployment web: container a: image {image}: ")), "{}", run.err);
    assert!(run.err.contains("it is not an image reference"), "{}", run.err);
    assert!(run.err.contains("injected 2 workloads (2 containers wrapped"), "{}", run.err);
    run.good();
    let explained = json_of(run_in(&dir, &["explain", "--lookup", "-o", "json", "pods.yaml"], b""));
    assert_eq!(explained[0]["containers"][0]["skipped"]["code"], "imageUnknown");
    let err = run_in(&dir, &["inject", "-q", "--lookup", "--policy", "deny.yaml", "pods.yaml"], b"").refused();
    assert!(err.starts_with(&format!("error: pods.yaml:8: document 1: Deployment web: container a: image {image}: ")), "{err}");
    Ok(())
}

fn with_what_docker_has() -> Outcome {
    let registry = Registry::new(&Options { auth: Auth::Users(&[("me", "sesame")]), ..Options::default() })?;
    app().push(&registry, "app:1")?;
    let config = |password: &str| json!({"auths": {registry.host(): {"username": "me", "password": password}}}).to_string();
    let dir = folder(
        "lookup-docker",
        &[
            ("pods.yaml", &manifest(&registry.image("app:1"))),
            ("docker/config.json", &config("sesame")),
            (".docker/config.json", &config("wrong")),
            ("auth.json", &config("sesame")),
            ("bad/config.json", "{\"auths\": [\"sesame\"]"),
            ("odd/config.json", &config("sesame").replace("{\"auths\":{", "{\"auths\":{\"b.example\":{\"auth\":\"sesame\"},")),
        ],
    );
    let resolve = |environment: &[(&str, &str)]| run_with(&dir, &["images", "resolve", "-q", "pods.yaml"], b"", environment);
    let docker = dir.join("docker").display().to_string();
    assert!(resolve(&[("DOCKER_CONFIG", &docker)]).good().contains("/app\n"));
    let auth = dir.join("auth.json").display().to_string();
    assert!(resolve(&[("REGISTRY_AUTH_FILE", &auth)]).good().contains("/app\n"), "each that fits is tried in turn");
    let run = resolve(&[]);
    assert_eq!((run.code, run.out.as_str()), (1, "{}\n"), "{}", run.err);
    assert!(run.err.starts_with(&format!("error: image {}: ", registry.image("app:1"))), "{}", run.err);
    assert!(!run.err.contains("wrong"), "nothing secret is said: {}", run.err);
    let err = resolve(&[("REGISTRY_AUTH_FILE", "/nowhere/auth.json")]).refused();
    assert_eq!(err, "error: /nowhere/auth.json: there is no such file, and REGISTRY_AUTH_FILE names it\n");
    let odd = dir.join("odd").display().to_string();
    let run = run_with(&dir, &["explain", "--lookup", "pods.yaml"], b"", &[("DOCKER_CONFIG", &odd)]);
    assert!(run.err.starts_with(&format!("warning: {odd}/config.json: entry \"b.example\": ")), "{}", run.err);
    assert!(run.good().contains("/app --run"), "the others hold");
    let bad = dir.join("bad").display().to_string();
    let err = resolve(&[("DOCKER_CONFIG", &bad)]).refused();
    assert!(err.starts_with(&format!("error: {bad}/config.json: not a Docker configuration")) && !err.contains("sesame"), "{err}");
    Ok(())
}

fn with_what_a_credential_helper_has() -> Outcome {
    let registry = Registry::new(&Options { auth: Auth::Users(&[("me", "sesame")]), ..Options::default() })?;
    app().push(&registry, "app:1")?;
    app().push(&registry, "app:2")?;
    let config = |helper: &str| json!({"credHelpers": {registry.host(): helper}}).to_string();
    let pods = manifest(&registry.image("app:1")) + "---\n" + &manifest(&registry.image("app:2"));
    let dir = folder(
        "lookup-helper",
        &[
            ("pods.yaml", &pods),
            (
                "bin/docker-credential-test",
                "#!/bin/sh\nread host\necho \"$1 $host\" >>\"$HOME/asked\"\necho '{\"Username\": \"me\", \"Secret\": \"sesame\"}'\n",
            ),
            ("bin/docker-credential-empty", "#!/bin/sh\nread host\necho credentials not found in native keychain\nexit 1\n"),
            ("bin/docker-credential-broken", "#!/bin/sh\nread host\necho sesame\nexit 1\n"),
            ("good/config.json", &config("test")),
            ("empty/config.json", &config("empty")),
            ("broken/config.json", &config("broken")),
            ("absent/config.json", &config("absent")),
        ],
    );
    for entry in fs::read_dir(dir.join("bin")).expect("a folder") {
        fs::set_permissions(entry.expect("an entry").path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let path = format!("{}:/usr/bin:/bin", dir.join("bin").display());
    let explain = |config: &str| {
        let config = dir.join(config).display().to_string();
        run_with(&dir, &["explain", "--lookup", "pods.yaml"], b"", &[("DOCKER_CONFIG", &config), ("PATH", &path)])
    };
    let run = explain("good");
    assert_eq!(run.err, "");
    assert!(run.good().contains("main    /app --run 'it now'\n"));
    assert_eq!(fs::read_to_string(dir.join("asked")).expect("asked"), format!("get {}\n", registry.host()), "asked once");
    let run = explain("empty");
    assert_eq!(run.err, "", "it has none, which is no failure");
    assert!(run.good().contains("left as it is: image"));
    for (config, why) in [("broken", "it failed"), ("absent", "it cannot be run; is it on the PATH?")] {
        let run = explain(config);
        assert_eq!(run.err, format!("warning: docker-credential-{config}, asked for {}: {why}\n", registry.host()));
        assert!(run.good().contains("left as it is: image"));
    }
    Ok(())
}

fn with_an_authority_of_its_own() -> Outcome {
    let ca = Ca::new();
    let registry = Registry::new(&Options { tls: Some(&ca), ..Options::default() })?;
    app().push(&registry, "app:1")?;
    let listed = json!({"registries": {registry.host(): {"ca": ca.pem()}}}).to_string();
    let dir = folder(
        "lookup-ca",
        &[
            ("pods.yaml", &manifest(&registry.image("app:1"))),
            ("registries.yaml", &listed),
            ("bad.yaml", "registries:\n  docker.io:\n    mirors: []\n  a.example:\n    plainHttp: maybe\n"),
        ],
    );
    let resolve = |file: &str| run_in(&dir, &["images", "resolve", "-q", "--registries", file, "pods.yaml"], b"");
    assert!(resolve("registries.yaml").good().contains("/app\n"));
    let err = resolve("bad.yaml").refused();
    let lines: Vec<_> = err.lines().collect();
    assert!(
        lines[0].starts_with("error: bad.yaml:3: document 1: unknown field registries[\"docker.io\"].mirors (did you mean mirrors?)"),
        "{err}"
    );
    assert!(lines[1].starts_with("error: bad.yaml:5: document 1: registries[\"a.example\"].plainHttp: \"maybe\" is not"), "{err}");
    Ok(())
}

fn platforms_that_differ() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    let one = |architecture: &str| Image::new().platform("linux", architecture, None).cmd([architecture]);
    Index::of([one("amd64"), one("arm64")]).push(&registry, "app:1")?;
    let image = registry.image("app:1");
    let pod = |name: &str, architecture: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "nodeSelector": {"kubernetes.io/arch": architecture}, "containers": [{"name": "c", "image": image}]}})
        .to_string()
    };
    let (amd64, arm64, any) = (pod("a", "amd64"), pod("b", "arm64"), manifest(&image));
    let dir = folder("lookup-platforms", &[("amd64.json", &amd64), ("arm64.json", &arm64), ("any.yaml", &any)]);
    let resolve = |args: &[&str]| run_in(&dir, &[&["images", "resolve", "-q"], args].concat(), b"");
    assert_eq!(resolve(&["arm64.json"]).good(), format!("\"{image}\":\n  Cmd:\n  - arm64\n"));
    assert_eq!(resolve(&["any.yaml", "--platform", "linux/amd64"]).good(), format!("\"{image}\":\n  Cmd:\n  - amd64\n"));
    for args in [&["any.yaml"][..], &["amd64.json", "arm64.json"], &["any.yaml", "--platform=linux/amd64", "--platform=linux/arm64"]] {
        let run = resolve(args);
        assert_eq!((run.code, run.out.as_str()), (1, "{}\n"), "{}", run.err);
        assert!(run.err.starts_with(&format!("error: image {image}: ")), "{}", run.err);
    }
    // Each pod for itself can be explained.
    let run = run_in(&dir, &["explain", "-o", "json", "--lookup", "amd64.json", "arm64.json"], b"");
    let pods = json_of(run);
    let argv = |at: usize| pods[at]["containers"][0]["stop"]["argv"].clone();
    assert_eq!((argv(0), argv(1)), (json!(["amd64"]), json!(["arm64"])));
    Ok(())
}

fn what_cannot_be_resolved_is_named() -> Outcome {
    let registry = Registry::new(&Options::default())?;
    app().push(&registry, "app:1")?;
    let pods = manifest(&registry.image("app:1")) + "---\n" + &manifest(&registry.image("none:1")) + "---\n" + &manifest("Not/An/Image");
    let dir = folder("lookup-some", &[("pods.yaml", &pods), ("none.yaml", "kind: Service\napiVersion: v1\n"), ("bad.yaml", "a: [\n")]);
    let run = run_in(&dir, &["images", "resolve", "pods.yaml"], b"");
    assert_eq!(run.code, 1);
    assert!(
        run.out.starts_with(&format!("\"{}\":\n  Entrypoint:\n", registry.image("app:1"))) && run.out.ends_with("WorkingDir: /data\n"),
        "{}",
        run.out
    );
    let lines: Vec<_> = run.err.lines().collect();
    assert_eq!(lines.len(), 3, "{}", run.err);
    assert_eq!(lines[0], "resolved 1 image");
    assert!(lines[1].starts_with(&format!("error: image {}: ", registry.image("none:1"))), "{}", run.err);
    assert!(lines[2].starts_with("error: image Not/An/Image: it is not an image reference"), "{}", run.err);
    let refused = |file: &str| run_in(Path::new(&dir), &["images", "resolve", "-q", file, "pods.yaml"], b"").refused();
    assert_eq!(refused("none.yaml"), "error: none.yaml: there is no pod or workload in it, only Service\n");
    assert!(refused("bad.yaml").starts_with("error: bad.yaml:"));
    Ok(())
}

fn a_registry_that_is_silent() -> Outcome {
    let registry = Hostile::start(|_| Answer::silence());
    let image = |name: &str| format!("{}/{name}", registry.address());
    let pods = manifest(&image("a")) + "---\n" + &manifest(&image("b"));
    let dir = folder("lookup-silent", &[("pods.yaml", &pods)]);
    let run = run_in(&dir, &["explain", "--lookup", "pods.yaml"], b"");
    let late = format!("{} has not answered within 10s, so its entrypoint is not known", registry.host());
    let text = run.good();
    assert_eq!(text.matches(&late).count(), 4, "{text}");
    Ok(())
}
