//! What is known of images, and what is still to be asked: files first (`--images`), then registries (`--lookup`).

use super::live::Secret;
use super::problem::Problem;
use super::progress::Progress;
use super::registries::{Registries, Wanted};
use ashore_inject::{Answer, Architectures, Asked, ImageConfig, Images, Reference, StaticImages, Unknown};
use ashore_lookup::Keyring;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// An image in full, the architectures that it has to run on, and the Secrets that open it: what an answer depends on.
type Key = (String, Architectures, Vec<Secret>);

/// Images that files list, and those that registries were asked about.
///
/// Whoever plans pods with it does so again as long as [`Asking::ask`] has found something to ask, so that each image is asked for once
/// and all of them at once.
pub(crate) struct Asking {
    listed: StaticImages,
    /// Whom to ask, if anybody.
    registries: Option<Registries>,
    /// What a live cluster's pods pull with, as far as the person may read it.
    keyrings: HashMap<Secret, Arc<Keyring>>,
    answers: RefCell<BTreeMap<Key, Result<Arc<ImageConfig>, Unknown>>>,
    /// What was missed since somebody was asked last; with names that are none, so that all that is unknown is told at the same time.
    missed: RefCell<BTreeMap<Key, Result<Wanted, Unknown>>>,
}

impl Asking {
    /// What is listed, and whom to ask about the rest.
    pub(crate) fn new(listed: StaticImages, registries: Option<Registries>) -> Self {
        Self { listed, registries, keyrings: HashMap::new(), answers: RefCell::default(), missed: RefCell::default() }
    }

    /// Whether registries are asked at all.
    pub(crate) fn looks_up(&self) -> bool {
        self.registries.is_some()
    }

    /// What the Secrets of a live cluster open.
    pub(crate) fn open_with(&mut self, keyrings: HashMap<Secret, Arc<Keyring>>) {
        self.keyrings = keyrings;
    }

    /// The images of pods in this namespace of the live cluster, which its Secrets may open.
    pub(crate) fn within<'a>(&'a self, namespace: &'a str) -> Within<'a> {
        Within { asking: self, namespace: Some(namespace) }
    }

    /// Asks about all that was missed since; false if that is nothing.
    ///
    /// # Errors
    /// Why nobody can be asked at all.
    pub(crate) fn ask(&self, progress: &mut Progress) -> Result<bool, Vec<Problem>> {
        let missed = self.missed.take();
        let Some(registries) = self.registries.as_ref().filter(|_| !missed.is_empty()) else { return Ok(false) };
        let (mut keys, mut wanted) = (Vec::new(), Vec::new());
        for (key, missed) in missed {
            match missed {
                Ok(one) => {
                    keys.push(key);
                    wanted.push(one);
                }
                Err(unknown) => _ = self.answers.borrow_mut().insert(key, Err(unknown)),
            }
        }
        let answers = registries.ask(wanted, progress)?;
        self.answers.borrow_mut().extend(keys.into_iter().zip(answers));
        Ok(true)
    }
}

/// The images of a namespace's pods, or of those in files.
pub(crate) struct Within<'a> {
    asking: &'a Asking,
    namespace: Option<&'a str>,
}

impl Images for Asking {
    fn config(&self, asked: &Asked<'_>) -> Answer {
        Within { asking: self, namespace: None }.config(asked)
    }
}

impl Images for Within<'_> {
    fn config(&self, asked: &Asked<'_>) -> Answer {
        let Asking { listed, registries, keyrings, answers, missed } = self.asking;
        if let Some(config) = listed.get(asked.image) {
            return Answer::Known(Arc::clone(config));
        }
        if registries.is_none() {
            return Answer::Unknown(Unknown { code: "notListed", why: "it is not in the image map (--lookup asks its registry)".into() });
        }
        let secret = |namespace: &str, name: &&str| Secret { namespace: namespace.into(), name: (*name).into() };
        let secrets = self.namespace.iter().flat_map(|namespace| asked.pull_secrets.iter().map(|name| secret(namespace, name)));
        let secrets: Vec<Secret> = secrets.filter(|secret| keyrings.contains_key(secret)).collect();
        let (image, architectures) = (asked.image.to_owned(), asked.architectures.clone());
        let (name, wanted) = match Reference::parse(asked.image) {
            Ok(reference) => {
                let keyrings = secrets.iter().filter_map(|secret| keyrings.get(secret)).map(Arc::clone).collect();
                (reference.to_string(), Ok(Wanted { image, reference, architectures: architectures.clone(), keyrings }))
            }
            Err(error) => (image, Err(Unknown { code: "badReference", why: error.to_string() })),
        };
        let key = (name, architectures, secrets);
        match answers.borrow().get(&key) {
            Some(Ok(config)) => Answer::Known(Arc::clone(config)),
            Some(Err(unknown)) => Answer::Unknown(unknown.clone()),
            None => {
                missed.borrow_mut().entry(key).or_insert(wanted);
                Answer::Later
            }
        }
    }
}
