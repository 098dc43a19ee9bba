//! Generated pods: every field that matters here absent, null, empty or given, among fields that nobody knows.

use ashore_inject::{Architectures, ImageConfig, Offers, StaticImages, Unavailable};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The ConfigMap that [`Everything`] offers.
pub(crate) const CONFIG_MAP: &str = "ashore-init-amd64-0123456789";

/// A cluster where every delivery is possible.
pub(crate) struct Everything;

impl Offers for Everything {
    fn image_volume(&self, _: &Architectures) -> Result<(), Unavailable> {
        Ok(())
    }

    fn config_map(&self, _: &Architectures) -> Result<String, Unavailable> {
        Ok(CONFIG_MAP.into())
    }
}

/// The images that generated pods name, but for `unknown`.
pub(crate) fn images() -> StaticImages {
    let config = |entrypoint: &[&str], cmd: &[&str], signal: Option<&str>| {
        let words = |list: &[&str]| (!list.is_empty()).then(|| list.iter().map(|w| (*w).to_owned()).collect());
        ImageConfig { entrypoint: words(entrypoint), cmd: words(cmd), stop_signal: signal.map(Into::into), ..ImageConfig::default() }
    };
    StaticImages::from_iter(
        [
            ("app", config(&["/app", "$(HOME)", "$$"], &["--x", ""], None)),
            ("shell", config(&[], &["/bin/sh", "-c", "echo $HOME\n日本"], Some("SIGQUIT"))),
            ("s6", config(&["/init"], &[], None)),
            ("empty", config(&[], &[], None)),
        ]
        .map(|(name, config)| (name.to_owned(), config)),
    )
}

/// Absent, null or given.
fn field(given: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![1 => Just(None), 1 => Just(Some(Value::Null)), 4 => given.prop_map(Some)].boxed()
}

fn words() -> impl Strategy<Value = Value> {
    let word = prop_oneof![Just("$(HOME)"), Just("$$"), Just(""), Just("a\nb"), Just("--"), Just("/bin/app"), Just("日本")];
    vec(word, 0..4).prop_map(|words| json!(words))
}

/// An object with these members, in a random order and with unknown ones among them.
fn object(members: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    (values, field(unknown()), field(unknown()), any::<prop::sample::Index>())
        .prop_map(move |(values, x, y, turn)| {
            let named = names.iter().copied().zip(values);
            let mut all: Vec<(&str, Value)> =
                [("xFuture", x)].into_iter().chain(named).chain([("yFuture", y)]).filter_map(|(k, v)| Some((k, v?))).collect();
            if !all.is_empty() {
                let at = turn.index(all.len());
                all.rotate_left(at);
            }
            Value::Object(all.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
        })
        .boxed()
}

fn unknown() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), Just(json!("$(X)")), Just(json!(1.5)), Just(json!([])), Just(json!({})), Just(json!(false))];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((prop_oneof![Just("command"), Just("name"), Just("z/~")], inner), 0..3)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
        ]
    })
}

fn mounts() -> impl Strategy<Value = Value> {
    let mount = (prop_oneof![Just("data"), Just("ashore")], prop_oneof![8 => Just("/data"), 1 => Just("/ashore/x"), 1 => Just("/")]);
    vec(mount.prop_map(|(name, path)| json!({"name": name, "mountPath": path, "zFuture": {"a": null}})), 0..3).prop_map(Value::from)
}

fn container(name: String) -> BoxedStrategy<Value> {
    let image = prop_oneof![Just("app"), Just("shell"), Just("s6"), Just("empty"), Just("unknown")].prop_map(Value::from);
    let resources = prop_oneof![
        1 => Just(json!({})),
        1 => Just(json!({"requests": {"cpu": 1, "memory": "1Gi", "nvidia.com/gpu": 1}, "limits": null})),
        3 => Just(json!({"limits": {"cpu": "100m", "memory": "8Mi"}, "requests": {"cpu": "0.1", "memory": "8Mi"}})),
        3 => Just(json!({"limits": {"cpu": 2, "memory": "1Gi"}})),
    ];
    let lifecycle = prop_oneof![
        Just(json!({"preStop": {"sleep": {"seconds": 4}}})),
        Just(json!({"preStop": {"exec": {"command": ["sh", "-c", "sleep 40"]}}, "stopSignal": "SIGUSR1"})),
        Just(json!({"preStop": null, "stopSignal": null})),
    ];
    object(vec![
        ("name", Just(Some(Value::from(name))).boxed()),
        ("image", image.prop_map(Some).boxed()),
        ("command", field(words())),
        ("args", field(words())),
        ("volumeMounts", field(mounts())),
        ("restartPolicy", field(Just(json!("Always")))),
        ("lifecycle", field(lifecycle)),
        ("resources", field(resources)),
        ("securityContext", field(Just(json!({"runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}})))),
        ("terminationMessagePath", field(Just(json!("/dev/$(X)")))),
        ("terminationMessagePolicy", field(Just(json!("FallbackToLogsOnError")))),
    ])
}

fn containers(prefix: &'static str, sizes: std::ops::Range<usize>) -> BoxedStrategy<Value> {
    sizes.prop_flat_map(move |n| (0..n).map(|i| container(format!("{prefix}{i}"))).collect::<Vec<_>>()).prop_map(Value::from).boxed()
}

/// A pod as somebody might write one, or a later Kubernetes.
pub(crate) fn pod() -> impl Strategy<Value = Value> {
    let notes = |ours: Vec<(&'static str, &'static str)>| {
        let one = prop_oneof![2 => Just(("example.com/a", "1")), 1 => proptest::sample::select(ours)];
        vec(one, 0..3).prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect()))
    };
    let annotations = notes(vec![
        ("ashore.dev/inject", "true"),
        ("ashore.dev/sidecars", "true"),
        ("ashore.dev/init-containers", "true"),
        ("ashore.dev/skip-containers", "c1"),
        ("ashore.dev/min-grace", "45s"),
        ("ashore.dev/delay", "1s"),
        ("ashore.dev/what", "is this"),
    ]);
    let labels = notes(vec![("app", "x"), ("ashore.dev/injected", "true"), ("ashore.dev/injected", "no")]);
    let metadata = object(vec![("name", field(Just(json!("p")))), ("annotations", field(annotations)), ("labels", field(labels))]);
    let volume = prop_oneof![Just("data"), Just("ashore")].prop_map(|name| json!({"name": name, "future": {}}));
    let spec = object(vec![
        ("initContainers", field(containers("i", 0..3))),
        ("containers", containers("c", 1..4).prop_map(Some).boxed()),
        ("ephemeralContainers", field(containers("e", 0..2))),
        ("volumes", field(vec(volume, 0..2).prop_map(Value::from))),
        ("terminationGracePeriodSeconds", field(prop_oneof![Just(json!(0)), Just(json!(30)), Just(json!(120))])),
        ("securityContext", field(Just(json!({"runAsUser": 0})))),
    ]);
    object(vec![("metadata", field(metadata)), ("spec", spec.prop_map(Some).boxed())])
}

/// A value of any kind, where another one was expected.
pub(crate) fn odd() -> impl Strategy<Value = Value> {
    let text = prop_oneof![Just(""), Just("/ashore"), Just("ashore"), Just("$(X)"), Just("é\u{0}"), Just("absent"), Just("c0")];
    prop_oneof![unknown(), text.prop_map(Value::from), any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from)]
}

/// Every place in a value, as a JSON Pointer.
pub(crate) fn pointers(value: &Value) -> Vec<String> {
    let below = |key: String, value: &Value| pointers(value).into_iter().map(move |rest| format!("/{key}{rest}")).collect::<Vec<_>>();
    let mut all = vec![String::new()];
    match value {
        Value::Array(list) => all.extend(list.iter().enumerate().flat_map(|(i, v)| below(i.to_string(), v))),
        Value::Object(map) => all.extend(map.iter().flat_map(|(k, v)| below(k.replace('~', "~0").replace('/', "~1"), v))),
        _ => {}
    }
    all
}
