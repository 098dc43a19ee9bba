//! The files that say how: a policy (`--policy`), what is known of programs (`--profiles`), image configs (`--images`), and how registries are asked (`--registries`).

use super::documents::{self, Document, Format};
use super::problem::Problem;
use super::progress::Progress;
use super::sources::{self, Source};
use super::workload::Origin;
use ashore_inject::policy::PolicyError;
use ashore_inject::{ImageConfig, Policy, Profiles, Rule, StaticImages, policies};
use ashore_lookup::Hosts;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What files say of how pods are stopped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// The settings of containers that no policy object selects.
    pub base: Policy,
    /// What is known of programs.
    pub profiles: Profiles,
    /// The policy objects, the highest rank first.
    policies: Vec<Arc<Rule>>,
}

impl Rules {
    /// The policy objects for a pod of this namespace. Files do not say what labels namespaces have, so each selector of those is taken to
    /// select; and what does not say its namespace is taken to be in that of the other.
    pub(crate) fn of(&self, namespace: Option<&str>) -> Vec<Arc<Rule>> {
        let fits = |own: &str| own.is_empty() || namespace.is_none_or(|namespace| namespace == own);
        self.policies.iter().filter(|rule| rule.name.namespace.as_deref().is_none_or(fits)).cloned().collect()
    }

    /// Reads a policy file: policy objects, and a spec alone, which is for what none of them selects.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn read_policies(&mut self, name: &str) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let names = [name.to_owned()];
        let Some(source) = sources::read(&names, false, &mut Progress::new(true), &mut problems).into_iter().next() else {
            return Err(problems);
        };
        let (mut specs, mut objects) = (Vec::new(), Vec::new());
        documents::read(&source, Format::of(&source), |mut document| match std::mem::replace(&mut document.content, Ok(None)) {
            Ok(Some(value)) => if value.get("kind").is_some() { &mut objects } else { &mut specs }.push((document, value)),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        });
        for (at, (document, value)) in specs.iter().enumerate() {
            if at > 0 {
                let what = "a second spec alone; policies of their own have apiVersion, kind and metadata";
                problems.push(Origin::new(&source, document).problem("", what));
            }
            match Policy::from_document(value) {
                Ok(policy) => self.base = policy,
                Err(error) => problems.push(policy_problem(&source, document, &error)),
            }
        }
        let mut rules = Vec::new();
        for (document, value) in &objects {
            match Rule::read(value, &self.base) {
                Ok(rule) => rules.push(Arc::new(rule)),
                Err(error) => problems.push(policy_problem(&source, document, &error)),
            }
        }
        if problems.is_empty() && specs.is_empty() && objects.is_empty() {
            problems.push(Problem::with_file(&source.name, "it is empty; expected policies, or the spec of one"));
        }
        self.policies = policies::ranked(rules);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Names the image that brings the init, for all of them.
    pub(crate) fn set_init_image(&mut self, image: &str) {
        self.base.init_image = image.into();
        for rule in &mut self.policies {
            Arc::make_mut(rule).policy.init_image = image.into();
        }
    }
}

/// Reads a policy file of one document.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn policy(name: &str) -> Result<Policy, Vec<Problem>> {
    let (source, document, value) = only_document(name, "a policy")?;
    Policy::from_document(&value).map_err(|error| vec![policy_problem(&source, &document, &error)])
}

/// What is known of programs: what comes with Ashore, with a file's rows over it if there is one.
///
/// # Errors
/// All that is wrong with the file.
pub(crate) fn profiles(name: Option<&str>) -> Result<Profiles, Vec<Problem>> {
    let shipped = Profiles::shipped();
    let Some(name) = name else { return Ok(shipped.clone()) };
    let (source, document, value) = only_document(name, "a map of profiles")?;
    shipped.with(&value).map_err(|error| vec![policy_problem(&source, &document, &error)])
}

fn policy_problem(source: &Source, document: &Document, error: &PolicyError) -> Problem {
    let (PolicyError::UnknownField { field, .. } | PolicyError::BadValue { field, .. }) = error;
    Origin::new(source, document).field_problem(field, error.to_string())
}

/// Reads files of image configs; where an image is in several, the last one holds.
///
/// # Errors
/// All that is wrong with them.
pub(crate) fn images(names: &[String]) -> Result<StaticImages, Vec<Problem>> {
    let (mut images, mut problems) = (BTreeMap::new(), Vec::new());
    for name in names {
        match only_document(name, "a map of images") {
            Ok((source, document, value)) => {
                let origin = Origin::new(&source, &document);
                read_images(&value, &mut images, |pointer, what| problems.push(origin.problem(&pointer, what)));
            }
            Err(more) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(images.into()) } else { Err(problems) }
}

/// Reads a file about registries.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn registries(name: &str) -> Result<Hosts, Vec<Problem>> {
    read_registries(name).map(|(_, hosts)| hosts)
}

/// The same as a document, for somebody who has something to add.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn registries_document(name: &str) -> Result<Map<String, Value>, Vec<Problem>> {
    read_registries(name).map(|(document, _)| document.as_object().cloned().unwrap_or_default())
}

fn read_registries(name: &str) -> Result<(Value, Hosts), Vec<Problem>> {
    let (source, document, value) = only_document(name, "a document about registries")?;
    let origin = Origin::new(&source, &document);
    match Hosts::from_value(&value) {
        Ok(hosts) => Ok((value, hosts)),
        Err(errors) => Err(errors.iter().map(|error| origin.field_problem(error.field(), error.to_string())).collect()),
    }
}

const TEXTS: [&str; 3] = ["StopSignal", "User", "WorkingDir"];
const LISTS: [&str; 3] = ["Entrypoint", "Cmd", "Env"];
const EXPECTED: &str = "the config object of an OCI image config, with Entrypoint, Cmd, StopSignal, User, WorkingDir, Env";

fn read_images(value: &Value, images: &mut BTreeMap<String, ImageConfig>, mut wrong: impl FnMut(String, String)) {
    let Some(map) = value.as_object() else {
        return wrong(String::new(), format!("expected a map from image references to {EXPECTED}"));
    };
    for (image, config) in map {
        let at = format!("/{}", image.replace('~', "~0").replace('/', "~1"));
        let Some(fields) = config.as_object() else {
            wrong(at, format!("image {image}: expected {EXPECTED}"));
            continue;
        };
        let mut good = true;
        for (field, value) in fields {
            let is_text = |value: &Value| value.is_string();
            let expected = if TEXTS.contains(&field.as_str()) {
                (!value.is_null() && !is_text(value)).then_some("a string".to_owned())
            } else if LISTS.contains(&field.as_str()) {
                (!value.is_null() && !value.as_array().is_some_and(|list| list.iter().all(is_text)))
                    .then_some("a list of strings".to_owned())
            } else {
                // Other fields of an image config are none of our business, but these are not other fields.
                let meant = TEXTS.iter().chain(&LISTS).find(|known| known.eq_ignore_ascii_case(&field.replace('_', "")));
                meant.map(|meant| format!("{meant}, spelt so")).or((field == "config").then(|| "what is in it, one level up".into()))
            };
            if let Some(expected) = expected {
                good = false;
                wrong(format!("{at}/{field}"), format!("image {image}: {field}: expected {expected}"));
            }
        }
        if good && let Ok(config) = serde_json::from_value(config.clone()) {
            images.insert(image.clone(), config);
        }
    }
}

/// A file that holds just one document.
fn only_document(name: &str, what: &str) -> Result<(Source, Document, Value), Vec<Problem>> {
    let mut problems = Vec::new();
    let names = [name.to_owned()];
    let Some(source) = sources::read(&names, false, &mut Progress::new(true), &mut problems).into_iter().next() else {
        return Err(problems);
    };
    let mut found = Vec::new();
    documents::read(&source, Format::of(&source), |mut document| match std::mem::replace(&mut document.content, Ok(None)) {
        Ok(Some(value)) => found.push((document, value)),
        Ok(None) => {}
        Err(problem) => problems.push(problem),
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    match (found.len(), found.pop()) {
        (1, Some((document, value))) => Ok((source, document, value)),
        (0, _) => Err(vec![Problem::with_file(&source.name, format!("it is empty; expected {what}"))]),
        (n, _) => Err(vec![Problem::with_file(&source.name, format!("{n} documents; expected one, {what}"))]),
    }
}
