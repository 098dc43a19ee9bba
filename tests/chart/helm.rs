//! Helm, as the tests call it.

use ashore_tests::{Skip, paths};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The name of the release, and of the namespace that it is installed into.
pub(crate) const RELEASE: &str = "ashore";

/// The values files, each of them an installation that somebody could want; the first is the chart's defaults.
pub(crate) const INSTALLATIONS: [&str; 4] = ["defaults", "everything", "host", "bare"];

/// The Kubernetes that is rendered for: a Helm that somebody built without its release's flags has an ancient one in mind.
pub(crate) const KUBERNETES: &str = "1.37.0";

/// Helm: the one that the tests' node was built with, or the one on the PATH.
pub(crate) struct Helm(PathBuf);

impl Helm {
    /// Finds it; HELM names another one.
    ///
    /// # Errors
    /// The reason to skip the test.
    pub(crate) fn find() -> Result<Self, Skip> {
        if let Some(named) = std::env::var_os("HELM") {
            return Ok(Self(named.into()));
        }
        let built = paths::target().join("node/bin/helm");
        let found = if built.is_file() { Some(built) } else { paths::find("helm") };
        found.map(Self).ok_or_else(|| Skip("helm is not on the PATH nor in target/node/bin".into()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it, with no cluster within reach.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        Command::new(&self.0).args(words).env("KUBECONFIG", "/dev/null").output().unwrap()
    }

    /// What one of the installations renders, hooks among it.
    pub(crate) fn render(&self, installation: &str) -> Vec<Value> {
        let values = values_file(installation);
        self.render_chart(chart(), values.as_deref()).unwrap_or_else(|said| panic!("{installation}: {said}"))
    }

    /// What a chart renders with a file of values.
    ///
    /// # Errors
    /// What Helm says of them.
    pub(crate) fn render_chart(&self, chart: &str, values: Option<&str>) -> Result<Vec<Value>, String> {
        let mut words = vec!["template", RELEASE, chart, "--namespace", RELEASE, "--kube-version", KUBERNETES];
        words.extend(values.map(|file| ["--values", file]).into_iter().flatten());
        let output = self.run(&words);
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        let text = String::from_utf8(output.stdout).unwrap();
        // Templates that render nothing leave comments.
        Ok(documents(&text).into_iter().filter(|document| !document.is_null()).collect())
    }

    /// What some values render.
    pub(crate) fn render_values(&self, values: &Value) -> Vec<Value> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), values.to_string()).unwrap();
        self.render_chart(chart(), file.path().to_str()).unwrap_or_else(|said| panic!("{values}: {said}"))
    }

    /// What it says of values that it has to refuse.
    pub(crate) fn refusal(&self, sets: &[&str]) -> String {
        let mut words = vec!["template", RELEASE, chart(), "--namespace", RELEASE, "--kube-version", KUBERNETES];
        words.extend(sets.iter().flat_map(|set| ["--set", set]));
        let output = self.run(&words);
        assert!(!output.status.success(), "{sets:?} was taken");
        String::from_utf8(output.stderr).unwrap()
    }
}

/// The chart's folder.
pub(crate) fn chart() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/ashore")
}

/// The file of an installation's values; the defaults have none.
pub(crate) fn values_file(installation: &str) -> Option<String> {
    (installation != "defaults").then(|| format!("{}/chart/values/{installation}.yaml", env!("CARGO_MANIFEST_DIR")))
}

/// The documents of a stream of YAML.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}
