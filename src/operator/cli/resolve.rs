//! `ashore images resolve`: what the images of pods run, as the map that `--images` and the chart take.

use super::args::MapFormat;
use super::json::{self, Layout};
use super::live::Secret;
use super::registries::Wanted;
use super::yaml::{self, Style};
use ashore_inject::walk::PodRef;
use ashore_inject::{Answer, Architectures, Asked, ImageConfig, Images, OptIn, Policy, Reference, Refusal, Request, Unknown, plan, undo};
use ashore_lookup::Keyring;
use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The images of pods, as those name them, by the architectures that they have to run on, with the Secrets that open them.
pub(crate) struct Found {
    images: BTreeMap<String, BTreeMap<Architectures, BTreeSet<Secret>>>,
    /// What all have to run on, whatever the pods allow.
    platforms: Option<Architectures>,
    policy: Policy,
}

/// Notes what a pod's plan asks.
struct Noting<'f> {
    images: RefCell<&'f mut BTreeMap<String, BTreeMap<Architectures, BTreeSet<Secret>>>>,
    platforms: &'f Option<Architectures>,
    namespace: Option<&'f str>,
}

impl Images for Noting<'_> {
    fn config(&self, asked: &Asked<'_>) -> Answer {
        let mut images = self.images.borrow_mut();
        let architectures = self.platforms.as_ref().unwrap_or(asked.architectures).clone();
        let secrets = images.entry(asked.image.to_owned()).or_default().entry(architectures).or_default();
        if let Some(namespace) = self.namespace {
            secrets.extend(asked.pull_secrets.iter().map(|name| Secret { namespace: namespace.into(), name: (*name).into() }));
        }
        Answer::Later
    }
}

impl Found {
    /// Nothing yet; `platforms`: what the images have to be the same for, if not what the pods allow.
    pub(crate) fn new(platforms: &[String]) -> Self {
        let platforms = (!platforms.is_empty()).then(|| Architectures::only(platforms));
        Self { images: BTreeMap::new(), platforms, policy: Policy { sidecars: true, init_containers: true, ..Policy::default() } }
    }

    /// Adds the images of a pod.
    ///
    /// # Errors
    /// What makes it no pod.
    pub(crate) fn add(&mut self, pod: &PodRef<'_>) -> Result<(), Refusal> {
        // What brings the init is no image of theirs.
        let mut before = pod.pod.clone();
        if let Ok(patch) = undo(pod.pod)
            && patch.apply(&mut before).is_err()
        {
            before.clone_from(pod.pod);
        }
        // A pod or container that is left out today may be put in tomorrow.
        if let Some(object) = before.as_object_mut() {
            object.remove("metadata");
        }
        let images = Noting { images: RefCell::new(&mut self.images), platforms: &self.platforms, namespace: pod.namespace };
        let bytes = before.to_string().into_bytes();
        plan(&Request { opt_in: OptIn::Named, claims: &pod.claims, ..Request::new(&bytes, &self.policy, &images) }).map(drop)
    }

    /// The Secrets that the pods pull with.
    pub(crate) fn secrets(&self) -> BTreeSet<&Secret> {
        self.images.values().flat_map(BTreeMap::values).flatten().collect()
    }

    /// What is to be asked, and the names that cannot be.
    pub(crate) fn wanted(&self, keyrings: &HashMap<Secret, Arc<Keyring>>) -> (Vec<Wanted>, Vec<(String, Unknown)>) {
        let (mut wanted, mut bad) = (Vec::new(), Vec::new());
        for (image, needs) in &self.images {
            match Reference::parse(image) {
                Ok(reference) => wanted.extend(needs.iter().map(|(architectures, secrets)| Wanted {
                    image: image.clone(),
                    reference: reference.clone(),
                    architectures: architectures.clone(),
                    keyrings: distinct(secrets.iter().filter_map(|secret| keyrings.get(secret))),
                })),
                Err(error) => bad.push((image.clone(), Unknown { code: "badReference", why: error.to_string() })),
            }
        }
        (wanted, bad)
    }
}

/// Each once: many namespaces have a copy of the same Secret.
fn distinct<'k>(keyrings: impl Iterator<Item = &'k Arc<Keyring>>) -> Vec<Arc<Keyring>> {
    let mut distinct: Vec<Arc<Keyring>> = Vec::new();
    for keyring in keyrings {
        if !distinct.iter().any(|known| known == keyring) {
            distinct.push(Arc::clone(keyring));
        }
    }
    distinct
}

/// What each image runs, if all that pods need of it comes to the same.
pub(crate) fn agreed(
    answers: impl IntoIterator<Item = (String, Result<Arc<ImageConfig>, Unknown>)>,
) -> BTreeMap<String, Result<ImageConfig, Unknown>> {
    let mut agreed: BTreeMap<String, Result<ImageConfig, Unknown>> = BTreeMap::new();
    for (image, answer) in answers {
        let answer = answer.map(|config| essence(&config));
        match agreed.entry(image) {
            Entry::Vacant(entry) => _ = entry.insert(answer),
            Entry::Occupied(mut entry) => {
                if entry.get().is_ok() && *entry.get() != answer {
                    let why = "it differs from platform to platform, and pods need more than one; --platform chooses".into();
                    *entry.get_mut() = answer.and(Err(Unknown { code: "platformsDiffer", why }));
                }
            }
        }
    }
    agreed
}

/// What decides how an image is run, and no more: its environment may hold secrets.
fn essence(config: &ImageConfig) -> ImageConfig {
    let words = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    ImageConfig {
        entrypoint: words(&config.entrypoint),
        cmd: words(&config.cmd),
        stop_signal: text(&config.stop_signal),
        working_dir: text(&config.working_dir),
        user: None,
        env: None,
    }
}

/// The map, as text.
///
/// # Errors
/// What the emitter says; no map is known to make it.
pub(crate) fn text(images: &BTreeMap<String, ImageConfig>, format: MapFormat) -> Result<String, String> {
    let value = serde_json::to_value(images).map_err(|error| error.to_string())?;
    match format {
        MapFormat::Yaml => yaml::emit_proven(&value, Style::default()),
        MapFormat::Json => Ok(json::emit(&value, &Layout::Pretty("  ".into())) + "\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::StaticImages;
    use serde_json::{Value, json};

    fn found(platforms: &[String], pod: &Value) -> Vec<String> {
        let mut found = Found::new(platforms);
        let document = json!({"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"], "spec": pod["spec"]});
        for pod in &ashore_inject::walk::pods(&document).expect("pods") {
            found.add(pod).expect("a pod");
        }
        let shown = |(image, needs): (&String, &BTreeMap<Architectures, BTreeSet<Secret>>)| {
            let needs: Vec<String> = needs.iter().map(|(on, secrets)| format!("{on} {}", secrets.len())).collect();
            format!("{image}: {}", needs.join(", "))
        };
        found.images.iter().map(shown).collect()
    }

    #[test]
    fn all_images_of_a_pod_are_found_with_what_they_need() {
        let pod = json!({
            "metadata": {"namespace": "shop", "annotations": {"ashore.dev/inject": "false"}},
            "spec": {
                "nodeSelector": {"kubernetes.io/arch": "arm64"},
                "imagePullSecrets": [{"name": "a"}, {"name": "b"}],
                "initContainers": [{"name": "i", "image": "init"}, {"name": "s", "image": "side:1", "restartPolicy": "Always"}],
                "containers": [{"name": "c", "image": "app"}, {"name": "d", "image": "app", "command": ["x"]}],
            },
        });
        assert_eq!(found(&[], &pod), ["app: arm64 2", "init: arm64 2", "side:1: arm64 2"]);
        assert_eq!(found(&["amd64".into()], &pod)[0], "app: amd64 2");
        let windows = json!({"metadata": {}, "spec": {"os": {"name": "windows"}, "containers": [{"name": "c", "image": "app"}]}});
        assert_eq!(found(&[], &windows), [""; 0]);
    }

    #[test]
    fn what_brings_the_init_is_none_of_them() {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "app", "command": ["x"]}]}});
        let bytes = pod.to_string().into_bytes();
        let (policy, images) = (Policy::default(), StaticImages::default());
        let plan = plan(&Request { opt_in: OptIn::Named, ..Request::new(&bytes, &policy, &images) }).expect("a plan");
        plan.patch.apply(&mut pod).expect("it fits");
        assert_eq!(found(&[], &pod), ["app: any 0"]);
    }

    #[test]
    fn an_image_that_differs_is_not_resolved() {
        let config = |word: &str| Ok(Arc::new(ImageConfig { cmd: Some(vec![word.into()]), ..ImageConfig::default() }));
        let gone = || Err(Unknown { code: "notFound", why: "there is none".into() });
        let code = |answers: Vec<Result<Arc<ImageConfig>, Unknown>>| {
            let agreed = agreed(answers.into_iter().map(|answer| ("x".to_owned(), answer)));
            agreed["x"].as_ref().map(|config| config.cmd.clone()).map_err(|unknown| unknown.code)
        };
        assert_eq!(code(vec![config("a"), config("a")]), Ok(Some(vec!["a".into()])));
        assert_eq!(code(vec![config("a"), config("b")]), Err("platformsDiffer"));
        assert_eq!(code(vec![config("a"), gone()]), Err("notFound"));
        assert_eq!(code(vec![gone(), config("a")]), Err("notFound"));
    }

    #[test]
    fn the_map_says_nothing_of_the_environment() {
        let config = ImageConfig {
            entrypoint: Some(vec!["/run".into()]),
            cmd: Some(Vec::new()),
            stop_signal: Some("SIGINT".into()),
            user: Some("me".into()),
            working_dir: Some(String::new()),
            env: Some(vec!["PASSWORD=sesame".into()]),
        };
        let images = BTreeMap::from([("x:1".to_owned(), essence(&config)), ("yes".to_owned(), ImageConfig::default())]);
        assert_eq!(text(&images, MapFormat::Yaml).expect("YAML"), "\"x:1\":\n  Entrypoint:\n  - /run\n  StopSignal: SIGINT\n\"yes\": {}\n");
        let json: Value = serde_json::from_str(&text(&images, MapFormat::Json).expect("JSON")).expect("JSON");
        assert_eq!(json, json!({"x:1": {"Entrypoint": ["/run"], "StopSignal": "SIGINT"}, "yes": {}}));
    }
}
