//! Wrong values: Helm names each by its path, with what is allowed, before anything reaches the cluster.

use crate::helm::Helm;
use crate::schema;
use ashore_tests::Outcome;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

pub(crate) fn a_wrong_value_is_refused_and_named() -> Outcome {
    let helm = Helm::find()?;
    let duration = "^([0-9]+|([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$";
    for (set, named) in [
        // Names.
        ("replicsa=3", &["replicsa"] as &[_]),
        ("image.tga=x", &["/image", "tga"]),
        ("policy.delya=5s", &["/policy", "delya"]),
        ("policy.initImage=x", &["/policy", "initImage"]),
        ("missedPods.enable=false", &["/missedPods", "enable"]),
        ("remedy.enable=true", &["/remedy", "enable"]),
        ("reports.kept=all", &["/reports", "kept"]),
        ("reports.events=some", &["/reports/events", "warnings"]),
        ("networkPolicy.enable=true", &["/networkPolicy", "enable"]),
        ("extraEnv[0].nmae=x", &["/extraEnv/0", "nmae", "name"]),
        ("resources.request.cpu=1", &["/resources", "request"]),
        ("dashboards.lable=x", &["/dashboards", "lable"]),
        ("prometheusRule.thresholds.kills=1", &["/prometheusRule/thresholds", "kills"]),
        ("profiles.nginx.rewrites.TERM=QUIT", &["/profiles/nginx", "rewrites"]),
        ("images.nginx.cmd={nginx}", &["/images/nginx", "cmd"]),
        ("lookup.enable=false", &["/lookup", "enable"]),
        ("lookup.pullSecrets.name=a", &["/lookup/pullSecrets", "name"]),
        ("lookup.registries.a.mirror=b", &["/lookup/registries/a", "mirror"]),
        // Types.
        ("replicas=two", &["/replicas", "string", "integer"]),
        ("image=registry.example/ashore:1", &["/image", "string", "object"]),
        ("policy=5s", &["/policy", "string", "object"]),
        ("hostNetwork=yes", &["/hostNetwork", "string", "boolean"]),
        ("service.port=https", &["/service/port", "string", "integer"]),
        ("lookup.defaultPullSecrets[0].name=a", &["/lookup/defaultPullSecrets/0", "object", "string"]),
        ("lookup.pullSecrets.names=a", &["/lookup/pullSecrets/names", "string", "array"]),
        ("lookup.registries.a.plainHttp=yes", &["/lookup/registries/a/plainHttp", "string", "boolean"]),
        ("imagePullSecrets={registry}", &["/imagePullSecrets/0", "string", "object"]),
        // One of a few.
        ("policy.strategy=flat", &["/policy/strategy", "cascade", "broadcast", "main"]),
        ("policy.onUnresolved=deny", &["/policy/onUnresolved", "Skip", "Deny"]),
        ("profiles.x.term=slow", &["/profiles/x/term", "graceful", "reload"]),
        ("webhook.failurePolicy=ignore", &["/webhook/failurePolicy", "Ignore", "Fail"]),
        ("certificates.mode=own", &["/certificates/mode", "self", "cert-manager", "secret"]),
        ("reports.keep=some", &["/reports/keep", "forced", "all", "none"]),
        ("tracing.endpont=x", &["/tracing", "endpont"]),
        ("tracing.endpoint=collector:4318", &["/tracing/endpoint", "collector:4318", "https?"]),
        ("tracing.sampleRatio=2", &["/tracing/sampleRatio", "2", "1"]),
        ("log.level=loud", &["/log/level", "error", "warn", "info", "debug", "trace"]),
        ("image.pullPolicy=always", &["/image/pullPolicy", "IfNotPresent", "Always", "Never"]),
        // Durations.
        ("policy.delay=soon", &["/policy/delay", "soon", duration]),
        ("missedPods.every=soon", &["/missedPods/every", "soon", duration]),
        ("policy.delay=", &["/policy/delay"]),
        ("policy.minGrace=1.5s", &["/policy/minGrace", "1.5s", duration]),
        ("policy.spread=-1", &["/policy/spread", "-1", "0"]),
        ("policy.linger=30s1m", &["/policy/linger", "30s1m", duration]),
        ("shutdown.delay=5 s", &["/shutdown/delay", "5 s", duration]),
        ("shutdown.drainTimeout=9000h", &["shutdown.drainTimeout", "9000h", "366 days"]),
        ("lookup.tagLifetime=soon", &["/lookup/tagLifetime", "soon", duration]),
        ("lookup.failureLifetime=9000h", &["lookup.failureLifetime", "9000h", "366 days"]),
        ("webhook.timeout=31s", &["/webhook/timeout", "31s", "^([1-9]|[12][0-9]|30)s?$"]),
        ("webhook.timeout=0", &["/webhook/timeout", "0", "1"]),
        ("webhook.timeout=1m", &["/webhook/timeout", "1m", "30"]),
        ("certificates.lifetime=90d", &["/certificates/lifetime", "90d", "h)?"]),
        ("certificates.lifetime=9s", &["certificates.lifetime", "9s", "10s"]),
        ("certificates.lifetime=24h,certificates.caLifetime=24h", &["certificates.caLifetime", "24h", "longer than certificates.lifetime"]),
        ("certificates.lifetime=8760h", &["certificates.caLifetime", "8760h", "longer than certificates.lifetime"]),
        ("remedy.enabled=true,missedPods.enabled=false", &["remedy.enabled", "needs missedPods.enabled"]),
        // Numbers and their limits.
        ("replicas=0", &["/replicas", "0", "1"]),
        ("reports.perWorkload=101", &["/reports/perWorkload", "101", "100"]),
        ("reports.days=0", &["/reports/days", "0", "1"]),
        ("port=0", &["/port", "0", "1"]),
        ("port=70000", &["/port", "70,000", "65,535"]),
        ("healthPort=-1", &["/healthPort", "-1", "0"]),
        ("prometheusRule.thresholds.graceUsed=80", &["/prometheusRule/thresholds/graceUsed", "80", "1"]),
        ("prometheusRule.thresholds.admissionSeconds=-1", &["/prometheusRule/thresholds/admissionSeconds", "-1", "0"]),
        ("policy.exitMap.143=256", &["/policy/exitMap", "256", "255"]),
        ("policy.exitMap.300=1", &["/policy/exitMap'", "'300'"]),
        ("podDisruptionBudget.maxUnavailable=half", &["/podDisruptionBudget/maxUnavailable", "half", "100)%"]),
        ("lookup.cacheSize=16M", &["/lookup/cacheSize", "16M", "(Ki|Mi)"]),
        ("lookup.cacheSize=63Ki", &["lookup.cacheSize", "63Ki", "from 64Ki to 1024Mi"]),
        ("lookup.cacheSize=1025Mi", &["lookup.cacheSize", "1025Mi", "from 64Ki to 1024Mi"]),
        // Texts.
        ("imagesConfigMap=My_Images", &["/imagesConfigMap", "My_Images", "a-z0-9"]),
        ("lookup.pullSecrets.namespaces={a.b}", &["/lookup/pullSecrets/namespaces/0", "a.b", "a-z0-9"]),
        ("lookup.pullSecrets.names={a,a}", &["/lookup/pullSecrets/names", "0", "1"]),
        ("lookup.defaultPullSecrets={../a}", &["/lookup/defaultPullSecrets/0", "../a", "a-z0-9"]),
        ("lookup.clientCertificates={a/b}", &["/lookup/clientCertificates/0", "a/b", "a-z0-9"]),
        ("lookup.registries.a/b.plainHttp=true", &["lookup.registries", "a/b", "HOST or HOST:PORT, as images name it"]),
        ("lookup.registries.a.mirrors={b:5000}", &["lookup.registries[a].mirrors[0]", "b:5000", "a URL such as https://"]),
        ("lookup.registries.a.mirrors={https://b,https://c?d}", &["lookup.registries[a].mirrors[1]", "https://c?d", "without query"]),
        ("lookup.registries.a.mirrors[0].ca=/b", &["/lookup/registries/a/mirrors/0", "url"]),
        ("lookup.registries.a.mirrors[0].url=ftp://b", &["lookup.registries[a].mirrors[0]", "ftp://b", "a URL such as https://"]),
        ("lookup.registries.a.ca=ca.pem", &["lookup.registries[a].ca", "PEM text", "absolute path"]),
        ("lookup.registries.a.clientCertificate=tls.crt", &["/lookup/registries/a/clientCertificate", "tls.crt", "^/"]),
        ("lookup.allowAddresses={10.0.0.0/33}", &["lookup.allowAddresses[0]", "10.0.0.0/33", "a network such as 10.0.0.0/8"]),
        ("lookup.allowAddresses={10.0.0.1,10.0.0.256}", &["lookup.allowAddresses[1]", "10.0.0.256", "HOST or HOST:PORT"]),
        ("lookup.refuseAddresses={a.example}", &["lookup.refuseAddresses[0]", "a.example", "a network such as 10.0.0.0/8, or an address"]),
        ("dashboards.label=a b", &["/dashboards/label", "a b"]),
        ("dashboards.labelValue=1", &["/dashboards/labelValue", "string"]),
        ("image.digest=latest", &["/image/digest", "latest", "sha256"]),
        ("image.repository=a b", &["/image/repository", "a b"]),
        ("policy.mountPath=ashore", &["/policy/mountPath", "ashore"]),
        ("policy.mountPath=/a/../b", &["/policy/mountPath", "/a/../b"]),
        ("policy.stopSignals={QUIT,NOPE}", &["policy.stopSignals[1]", "NOPE", "TERM, SIGTERM, 15 or RTMIN+3"]),
        ("policy.rewrite.NOPE=QUIT", &["policy.rewrite", "NOPE", "TERM, SIGTERM, 15 or RTMIN+3"]),
        ("policy.rewrite.TERM=NOPE", &["policy.rewrite.TERM", "NOPE", "TERM, SIGTERM, 15 or RTMIN+3"]),
        ("fullnameOverride=Ashore", &["/fullnameOverride", "Ashore", "a-z0-9"]),
        // What does not go together.
        ("certificates.mode=cert-manager", &["certificates.issuerRef.name", "Issuer or ClusterIssuer"]),
        ("caBundle.configMap=a,caBundle.secret=b", &["caBundle", "configMap", "secret"]),
        ("lookup.registries.a.clientKey=/b", &["/lookup/registries/a", "clientCertificate", "clientKey"]),
        (
            "lookup.registries.a.ca=/etc/ashore/client-certificates/b/ca.crt,lookup.clientCertificates={c}",
            &["lookup.registries[a].ca", "a Secret b, which is not in lookup.clientCertificates"],
        ),
        ("healthPort=8443", &["healthPort", "8443", "its own"]),
        ("healthPort=443", &["healthPort", "443", "service.port", "its own"]),
        ("hostNetwork=true,port=443", &["port", "443", "hostNetwork", "from 1024 to 65535"]),
        ("hostNetwork=true,healthPort=80", &["healthPort", "80", "hostNetwork", "from 1024 to 65535"]),
        ("prometheusRule.alertLabels.severity=page", &["prometheusRule.alertLabels.severity", "any other"]),
        ("test.namespace=ashore", &["test.namespace", "ashore", "one that nobody uses"]),
        ("labels.app\\.kubernetes\\.io/name=x", &["labels", "app.kubernetes.io/name", "any other"]),
        ("profiles.nginx=true", &["profiles.nginx", "true", "false to take it out"]),
        ("profiles.nginx=off", &["/profiles/nginx", "string", "object"]),
        ("profiles.nginx.stopSignals={QUIT,KILL}", &["profiles.nginx.stopSignals[1]", "KILL", "a signal such as TERM"]),
        ("profiles.nginx.rewrite.TERM=WHAT", &["profiles.nginx.rewrite.TERM", "WHAT", "a signal such as TERM"]),
        ("profiles.nginx.programs={/usr/sbin/nginx}", &["/profiles/nginx/programs/0", "/usr/sbin/nginx"]),
        ("podLabels.ashore\\.dev/injected=x", &["podLabels", "ashore.dev/injected", "any other"]),
        ("labels.team=a,podLabels.team=b", &["podLabels", "team", "in one of them"]),
        ("extraEnv[0].name=POD_NAME", &["extraEnv[0].name", "POD_NAME", "by the chart"]),
        ("caBundle.secret=s,extraEnv[0].name=A,extraEnv[1].name=SSL_CERT_FILE", &["extraEnv[1].name", "SSL_CERT_FILE", "by the chart"]),
        ("extraEnv[0].name=A,extraEnv[1].name=A", &["extraEnv[1].name", "A", "in this list"]),
    ] {
        let said = helm.refusal(&[set]);
        // Helm before 3.18 writes paths with dots, and numbers without commas.
        let dotted = |word: &str| word.trim_start_matches('/').replace('/', ".").replace(',', "");
        let found = |word: &str| said.contains(word) || said.contains(&dotted(word));
        assert!(named.iter().all(|word| found(word)), "{set}: {said}");
    }
    // What is not to be shown is not.
    for (set, named) in [
        ("lookup.registries.a.mirrors={https://me:sesame@b}", ["lookup.registries[a].mirrors[0]", "pull secret"]),
        ("lookup.registries.a.ca=-----BEGIN PRIVATE KEY-----sesame", ["lookup.registries[a].ca", "PEM text of certificates"]),
    ] {
        let said = helm.refusal(&[set]);
        assert!(named.iter().all(|word| said.contains(word)) && !said.contains("sesame"), "{set}: {said}");
    }
    Ok(())
}

/// Every value of the schema, and every level of it.
pub(crate) fn every_value_refuses_another_type_by_its_path() -> Outcome {
    let helm = Helm::find()?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    let schema = schema();
    let mut all = Vec::new();
    values("", &schema, &schema, &mut all);
    assert!(all.len() > 80, "{}", all.len());
    // Files that are wrong in one place each: all that is wrong in one file is said together, but one error can hide another.
    for (path, wrong) in all {
        let (mut whole, mut names) = (wrong, path.split('/').skip(1).collect::<Vec<_>>());
        while let Some(name) = names.pop() {
            whole = json!({ name: whole });
        }
        std::fs::write(&file, whole.to_string()).unwrap();
        let said = helm.render_chart(crate::chart(), file.to_str()).expect_err(&path);
        // A name that is not there is said of the object around it.
        let at = path.strip_suffix("/nonsense").unwrap_or(&path);
        let here = said.contains(&format!("'{at}'")) || said.contains(&format!("{}: ", at.trim_start_matches('/').replace('/', ".")));
        assert!(here && (at == path || said.contains("nonsense")), "{path}: {said}");
    }
    Ok(())
}

/// Where something else stands than the schema says, and a name more in each object whose names are known.
fn values(at: &str, schema: &Value, whole: &Value, all: &mut Vec<(String, Value)>) {
    let definition = schema["$ref"].as_str().map(|name| whole.pointer(name.trim_start_matches('#')).unwrap());
    let schema = definition.unwrap_or(schema);
    let is = |name: &str| schema["type"] == name || schema["type"].as_array().is_some_and(|types| types.iter().any(|t| t == name));
    if !at.is_empty() {
        let wrong = if is("object") || is("array") { json!("nonsense") } else { json!({"nonsense": 1}) };
        assert!(
            is("object") || is("array") || is("string") || is("integer") || is("number") || is("boolean") || schema["enum"].is_array(),
            "{at}: {schema}"
        );
        all.push((at.to_owned(), wrong));
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    if schema["additionalProperties"] == false {
        all.push((format!("{at}/nonsense"), json!(1)));
    }
    for (name, below) in properties {
        values(&format!("{at}/{name}"), below, whole, all);
    }
}

pub(crate) fn every_signal_is_taken_and_nothing_else() -> Outcome {
    let helm = Helm::find()?;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    let render = |values: &Value| {
        std::fs::write(&file, values.to_string()).unwrap();
        helm.render_chart(crate::chart(), file.to_str())
    };
    let mut names: Vec<_> =
        Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)).map(|s| json!(s.as_str())).collect();
    names.extend(["term", "Hup", "15", "64", "RTMIN", "rtmin+30", "SIGRTMAX-1", "CLD", "IOT", "POLL"].map(Value::from));
    names.extend([1, 28, 64].map(Value::from));
    // As many as a policy may have at once.
    for some in names.chunks(15) {
        render(&json!({"policy": {"stopSignals": some, "rewrite": {"TERM": "QUIT", "15": 3}}})).unwrap();
    }
    let said = render(&json!({"policy": {"stopSignals": &names[..16]}})).unwrap_err();
    assert!(said.contains("/policy/stopSignals") && said.contains("15"), "{said}");
    for bad in ["KILL", "SIGSTOP", "9", "0", "65", "TERM,INT", "RTMIN+31", "RTMAX-31", "RTMIN-1", "TERMINATE", " TERM"] {
        let said = render(&json!({"policy": {"stopSignals": [bad]}})).expect_err(bad);
        assert!(said.contains("policy.stopSignals[0]"), "{bad}: {said}");
    }
    Ok(())
}
