//! What these tests share: the real images, a pod planned and patched, and what its containers would run.

use ashore_inject::expand::expand;
use ashore_inject::{ImageConfig, OptIn, Outcome, Plan, Policy, Refusal, Request, StaticImages, Wrapped, plan};
use serde_json::Value;
use std::path::PathBuf;

/// A file of the repository's `tests` folder.
pub(crate) fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", name].iter().collect()
}

/// The configs of real images from public registries, by name and tag.
pub(crate) fn real_images() -> StaticImages {
    let text = std::fs::read(file("data/images.json")).expect("tests/data/images.json is there");
    let list: Vec<Value> = serde_json::from_slice(&text).expect("a list of images");
    let words = |value: &Value| serde_json::from_value(value.clone()).expect("a list of words");
    let config = |image: &Value| ImageConfig {
        entrypoint: words(&image["entrypoint"]),
        cmd: words(&image["cmd"]),
        stop_signal: words_or_none(&image["stop_signal"]),
        user: words_or_none(&image["user"]),
        working_dir: words_or_none(&image["working_dir"]),
        env: words(&image["env"]),
    };
    let name = |image: &Value| format!("{}:{}", image["image"].as_str().expect("a name"), image["tag"].as_str().expect("a tag"));
    list.iter().map(|image| (name(image), config(image))).collect()
}

fn words_or_none(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Plans a pod that is opted in.
pub(crate) fn try_plan(pod: &Value, policy: &Policy, images: &StaticImages) -> Result<Plan, Refusal> {
    let json = pod.to_string();
    plan(&Request { opt_in: OptIn::Named, ..Request::new(json.as_bytes(), policy, images) })
}

/// The pod after its patch.
pub(crate) fn applied(pod: &Value, plan: &Plan) -> Value {
    let mut after = pod.clone();
    plan.patch.apply(&mut after).expect("the patch fits");
    after
}

/// How the container of this name is wrapped.
pub(crate) fn wrapped<'p>(plan: &'p Plan, name: &str) -> &'p Wrapped {
    match &plan.containers.iter().find(|c| c.name == name).expect("the container is in the plan").outcome {
        Outcome::Wrapped(wrapped) => wrapped,
        Outcome::Skipped(reason) => panic!("{name} is skipped: {reason}"),
    }
}

/// The argument vector that the runtime starts the container's process with: the kubelet expands what the spec says, and the
/// runtime fills in from the image what the spec leaves open (containerd, internal/cri/opts, WithProcessArgs).
pub(crate) fn effective_argv(container: &Value, image: &ImageConfig) -> Vec<String> {
    let variables = |name: &str| {
        let env = container["env"].as_array().into_iter().flatten();
        env.filter(|v| v["name"] == name).filter_map(|v| v["value"].as_str()).next_back().map(str::to_owned)
    };
    let expanded = |field: &str| -> Vec<String> {
        let words = container[field].as_array().into_iter().flatten();
        words.map(|word| expand(word.as_str().expect("a word"), variables)).collect()
    };
    let (mut command, mut args) = (expanded("command"), expanded("args"));
    if command.is_empty() {
        if args.is_empty() {
            args = image.cmd.clone().unwrap_or_default();
        }
        command = image.entrypoint.clone().unwrap_or_default();
    }
    command.extend(args);
    command
}
