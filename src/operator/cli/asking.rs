//! What is known of images, and what is still to be asked: files first (`--images`), then registries (`--lookup`).

use super::problem::Problem;
use super::progress::Progress;
use super::registries::{Registries, Wanted};
use ashore_inject::{Answer, Architectures, Asked, ImageConfig, Images, Reference, StaticImages, Unknown};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An image in full and the architectures that it has to run on: what an answer depends on.
type Key = (String, Architectures);

/// Images that files list, and those that registries were asked about.
///
/// Whoever plans pods with it does so again as long as [`Asking::ask`] has found something to ask, so that each image is asked for once
/// and all of them at once.
pub(crate) struct Asking {
    listed: StaticImages,
    /// Whom to ask, if anybody.
    registries: Option<Registries>,
    answers: RefCell<BTreeMap<Key, Result<Arc<ImageConfig>, Unknown>>>,
    /// What was missed since somebody was asked last; with names that are none, so that all that is unknown is told at the same time.
    missed: RefCell<BTreeMap<Key, Result<Wanted, Unknown>>>,
}

impl Asking {
    /// What is listed, and whom to ask about the rest.
    pub(crate) fn new(listed: StaticImages, registries: Option<Registries>) -> Self {
        Self { listed, registries, answers: RefCell::default(), missed: RefCell::default() }
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

impl Images for Asking {
    fn config(&self, asked: &Asked<'_>) -> Answer {
        if let Some(config) = self.listed.get(asked.image) {
            return Answer::Known(Arc::clone(config));
        }
        if self.registries.is_none() {
            return Answer::Unknown(Unknown { code: "notListed", why: "it is not in the image map (--lookup asks its registry)".into() });
        }
        let (image, architectures) = (asked.image.to_owned(), asked.architectures.clone());
        let (name, missed) = match Reference::parse(asked.image) {
            Ok(reference) => {
                let name = reference.to_string();
                (name, Ok(Wanted { image, reference, architectures: architectures.clone(), keyrings: Vec::new() }))
            }
            Err(error) => (image, Err(Unknown { code: "badReference", why: error.to_string() })),
        };
        let key = (name, architectures);
        match self.answers.borrow().get(&key) {
            Some(Ok(config)) => Answer::Known(Arc::clone(config)),
            Some(Err(unknown)) => Answer::Unknown(unknown.clone()),
            None => {
                self.missed.borrow_mut().entry(key).or_insert(missed);
                Answer::Later
            }
        }
    }
}
