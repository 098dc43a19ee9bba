//! What the images of a pod run: listed, remembered, or asked of their registries with what opens them for this pod.

use crate::nodes::Nodes;
use crate::pull_secrets::{DefaultPullSecrets, PullSecrets};
use ashore_inject::{Answer, Architectures, Asked, ImageConfig, Images, Reference, StaticImages, Unknown};
use ashore_lookup::failure::is_refusal;
use ashore_lookup::{Keyring, Lookup, Question};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// How long a container that can be wrapped without waits for what its image says of its stop signal.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most images of one pod that registries are asked about.
const MOST: usize = 50;

/// Where images are looked up.
#[derive(Debug, Default)]
pub struct Looking {
    /// Those that are listed: they go before everything else.
    listed: RwLock<Arc<StaticImages>>,
    registries: Option<Registries>,
}

/// How registries are asked.
#[derive(Debug)]
pub struct Registries {
    /// Who asks.
    pub lookup: Arc<Lookup>,
    /// The Secrets that pods name.
    pub secrets: Option<PullSecrets>,
    /// What is tried after those.
    pub defaults: DefaultPullSecrets,
    /// What the cluster's nodes are.
    pub nodes: Option<Nodes>,
}

/// The images of one pod.
#[derive(Debug)]
pub struct PodImages {
    looking: Arc<Looking>,
    listed: Arc<StaticImages>,
    namespace: Arc<str>,
    answers: BTreeMap<String, Result<Arc<ImageConfig>, Unknown>>,
    open: Mutex<Vec<Open>>,
}

/// What has to be asked.
#[derive(Debug)]
struct Open {
    image: String,
    reference: Reference,
    architectures: Architectures,
    always_pulled: bool,
    pull_secrets: Vec<String>,
    needed: bool,
}

impl Looking {
    /// With these listed, and perhaps registries to be asked about the others.
    pub fn new(listed: StaticImages, registries: Option<Registries>) -> Self {
        Self { listed: RwLock::new(Arc::new(listed)), registries }
    }

    /// Lists these in place of those before.
    pub fn list(&self, images: StaticImages) {
        *self.listed.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(images);
    }

    /// How many bytes of answers are remembered.
    pub fn cached_bytes(&self) -> u64 {
        self.registries.as_ref().map_or(0, |registries| registries.lookup.cached_bytes())
    }

    /// The images of a pod in this namespace.
    pub fn pod(self: &Arc<Self>, namespace: &str) -> PodImages {
        PodImages {
            looking: Arc::clone(self),
            listed: Arc::clone(&self.listed.read().unwrap_or_else(|e| e.into_inner())),
            namespace: namespace.into(),
            answers: BTreeMap::new(),
            open: Mutex::default(),
        }
    }
}

impl Images for PodImages {
    fn config(&self, asked: &Asked<'_>) -> Answer {
        if let Some(config) = self.listed.get(asked.image) {
            return Answer::Known(Arc::clone(config));
        }
        let Some(registries) = &self.looking.registries else { return self.listed.config(asked) };
        if let Some(answer) = self.answers.get(asked.image) {
            return as_answer(answer.clone());
        }
        let reference = match Reference::parse(asked.image) {
            Ok(reference) => reference,
            Err(bad) => return Answer::Unknown(Unknown { code: "badReference", why: bad.to_string() }),
        };
        let architectures = registries.among_nodes(asked.architectures);
        let cached = |name: &&str| registries.secrets.as_ref().map(|secrets| secrets.cached(&self.namespace, name));
        let secrets: Option<Vec<_>> = asked.pull_secrets.iter().filter_map(cached).collect();
        if let Some(secrets) = secrets {
            let keyrings = secrets.iter().filter_map(|found| found.keyring()).collect();
            let fallbacks = registries.defaults.keyrings();
            let question = Question {
                asker: Arc::clone(&self.namespace),
                reference,
                architectures,
                always_pulled: asked.always_pulled,
                keyrings,
                fallbacks,
            };
            if let Some(answer) = registries.lookup.known(&question) {
                return as_answer(answer);
            }
            self.ask(asked, question.reference, question.architectures)
        } else {
            self.ask(asked, reference, architectures)
        }
    }
}

impl PodImages {
    /// The pod's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn ask(&self, asked: &Asked<'_>, reference: Reference, architectures: Architectures) -> Answer {
        let mut open = self.open.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(same) = open.iter_mut().find(|open| open.image == asked.image) {
            same.needed |= asked.needed;
            return Answer::Later;
        }
        if open.len() >= MOST {
            return Answer::Unknown(Unknown {
                code: "tooManyImages",
                why: format!("its pod has more than {MOST} images to be asked about"),
            });
        }
        open.push(Open {
            image: asked.image.into(),
            reference,
            architectures,
            always_pulled: asked.always_pulled,
            pull_secrets: asked.pull_secrets.iter().map(ToString::to_string).collect(),
            needed: asked.needed,
        });
        Answer::Later
    }

    /// Whether a plan has asked for what has to be asked of others first.
    pub fn is_open(&self) -> bool {
        !self.open.lock().unwrap_or_else(|e| e.into_inner()).is_empty()
    }

    /// How many images have been asked about.
    pub fn asked(&self) -> usize {
        self.answers.len()
    }

    /// Asks, until the deadline at most. A plan that is made with what comes of it gets all answers.
    pub async fn resolved(&self, deadline: Instant) -> Self {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(|e| e.into_inner()));
        let Self { looking, listed, namespace, answers, .. } = self;
        let mut answers = answers.clone();
        if let Some(registries) = &looking.registries {
            let patience = Instant::now() + PATIENCE;
            let asking = open.iter().map(|open| {
                let deadline = if open.needed { deadline } else { deadline.min(patience) };
                registries.resolve(namespace, open, deadline)
            });
            let answered = join_all(asking).await;
            answers.extend(open.into_iter().map(|open| open.image).zip(answered));
        }
        let (looking, listed) = (Arc::clone(looking), Arc::clone(listed));
        Self { looking, listed, namespace: Arc::clone(namespace), answers, open: Mutex::default() }
    }
}

impl Registries {
    fn among_nodes(&self, architectures: &Architectures) -> Architectures {
        let nodes = self.nodes.as_ref().and_then(Nodes::architectures);
        nodes.map_or_else(|| architectures.clone(), |nodes| architectures.among(&nodes).into_owned())
    }

    async fn resolve(&self, namespace: &Arc<str>, open: &Open, deadline: Instant) -> Result<Arc<ImageConfig>, Unknown> {
        let (mut answer, secrets) = self.ask(namespace, open, deadline).await;
        let Some(store) = self.secrets.as_ref().filter(|_| answer.as_ref().is_err_and(|unknown| is_refusal(unknown.code))) else {
            return answer;
        };
        // Somebody may have put a new password into a Secret since it was read.
        let mut renewed = false;
        for name in &open.pull_secrets {
            renewed |= store.renew(namespace, name, deadline).await;
        }
        let mut why_not = secrets;
        if renewed {
            (answer, why_not) = self.ask(namespace, open, deadline).await;
        }
        answer.map_err(|mut unknown| {
            // What could not be read may be just what was missing.
            if is_refusal(unknown.code)
                && let Some(why) = why_not
            {
                unknown.why = format!("{}; {why}", unknown.why);
            }
            unknown
        })
    }

    /// The answer, and why one of the Secrets could not be used if so.
    async fn ask(&self, namespace: &Arc<str>, open: &Open, deadline: Instant) -> (Result<Arc<ImageConfig>, Unknown>, Option<String>) {
        let mut keyrings: Vec<Arc<Keyring>> = Vec::new();
        let mut why_not = None;
        if let Some(store) = &self.secrets {
            let secrets = open.pull_secrets.iter().map(|name| store.get(namespace, name, deadline));
            for found in join_all(secrets).await {
                keyrings.extend(found.keyring());
                why_not = why_not.or_else(|| found.why_not());
            }
        }
        let fallbacks = self.defaults.keyrings();
        let Open { reference, architectures, always_pulled, .. } = open;
        let (reference, architectures, always_pulled) = (reference.clone(), architectures.clone(), *always_pulled);
        let question = Question { asker: Arc::clone(namespace), reference, architectures, always_pulled, keyrings, fallbacks };
        (self.lookup.resolve(question, deadline).await, why_not)
    }
}

fn as_answer(answer: Result<Arc<ImageConfig>, Unknown>) -> Answer {
    answer.map_or_else(Answer::Unknown, Answer::Known)
}
