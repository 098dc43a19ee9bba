//! What is known of well-known programs: how each is asked to stop gracefully, where TERM is not the way.
//!
//! The rows are data, `charts/ashore/profiles.json`. A row is found by the name of the program that main will be, or by the image of a
//! container that runs what its image says; each of its fields holds where neither the pod nor its policy sets that field.

use crate::annotations::shown;
use crate::pod::Container;
use crate::policy::{self, Policy, PolicyError, bad, known, object};
use crate::recognise::{main_of, versionless};
use crate::reference::familiar;
use crate::selector::fits;
use crate::suggest;
use ashore_init::settings::STOP_SIGNALS;
use ashore_init::signal::Signal;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// The rows that come with Ashore, as a JSON object from names to rows.
pub const SHIPPED: &str = include_str!("../../charts/ashore/profiles.json");

/// What is known of one program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The row's name.
    pub name: String,
    /// The program's file names, without folder, and without the version that distributions put at its end.
    pub programs: Vec<String>,
    /// Repositories of images that run it, as Docker writes them (`postgres`, `quay.io/team/app`); `*` is any text.
    pub images: Vec<String>,
    /// What counts as a stop request, besides TERM, INT and the image's stop signal.
    pub stop_signals: Vec<Signal>,
    /// What main gets where the runtime stops the container with the first of each pair.
    pub rewrite: Vec<(Signal, Signal)>,
    /// What the container ends with in place of which exit code, after a requested stop.
    pub exit_map: Vec<(u8, u8)>,
    /// What TERM to main alone does, if that is known.
    pub term: Option<Term>,
    /// Why, in a sentence; may be empty in a row that does not come with Ashore.
    pub why: String,
    /// Where that is documented, a URL; may be empty as well.
    pub source: String,
}

/// What a program does on TERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// It finishes what it is at, and ends.
    Graceful,
    /// It ends at once, and what it was at is lost.
    Quick,
    /// It waits for its clients to leave, for as long as they please.
    Waits,
    /// It starts anew instead of ending.
    Reload,
    /// Nothing.
    Ignored,
}

impl Term {
    const ALL: [Self; 5] = [Self::Graceful, Self::Quick, Self::Waits, Self::Reload, Self::Ignored];
    const EXPECTED: &'static str = "graceful, quick, waits, reload or ignored";

    /// Its name in a row.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Quick => "quick",
            Self::Waits => "waits",
            Self::Reload => "reload",
            Self::Ignored => "ignored",
        }
    }
}

/// What a row was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The program that main will be.
    Program,
    /// The image, of a container that runs what that says.
    Image,
}

impl By {
    /// Its name, a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Image => "image",
        }
    }
}

/// A row that fits a container.
#[derive(Debug, Clone, Copy)]
pub struct Found<'t> {
    /// The row.
    pub profile: &'t Arc<Profile>,
    /// What it was found by.
    pub by: By,
    /// Whether a signal to main reaches the program alone: not behind an init that signals its whole group, or rewrites it.
    pub alone: bool,
}

/// A row that was used for a container, and what has come of each of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The row.
    pub profile: Arc<Profile>,
    /// What it was found by.
    pub by: By,
    /// What has come of its `stopSignals`.
    pub stop_signals: Effect,
    /// What has come of its `rewrite`.
    pub rewrite: Effect,
    /// What has come of its `exitMap`.
    pub exit_map: Effect,
}

/// What has come of a row's field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It says nothing, or nothing that is not so without it.
    Nothing,
    /// It holds.
    Applied,
    /// It does not hold, for this reason.
    Held(Held),
}

/// Why a row's field does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Held {
    /// A nearer word has been said.
    #[error("the policy or an annotation says otherwise")]
    Policy,
    /// The image, or whoever wrote the pod, has chosen a signal that the row has nothing to say of.
    #[error("the runtime stops the container with {0}, which main gets as it is")]
    StopSignal(Signal),
    /// The pod itself says which signal it is.
    #[error("the container's own lifecycle.stopSignal says so")]
    Lifecycle,
    /// An init in front would hand it to others, too, or make something else of it.
    #[error("an init in front of the program signals its whole group, or rewrites signals itself")]
    Group,
}

/// The table: rows by what they are found by.
#[derive(Debug, Clone, Default)]
pub struct Profiles {
    rows: Vec<Arc<Profile>>,
    programs: HashMap<String, usize>,
    /// The patterns for images, by their last step where that has no `*` in it.
    images: HashMap<String, Vec<(String, usize)>>,
    /// The other patterns.
    loose: Vec<(String, usize)>,
}

static TABLE: LazyLock<Profiles> = LazyLock::new(|| {
    let document = serde_json::from_str(SHIPPED).unwrap_or_default();
    // A test reads them, so there is no error left.
    Profiles::read(Vec::new(), &document).unwrap_or_default()
});

impl Profiles {
    /// The rows that come with Ashore.
    pub fn shipped() -> &'static Self {
        &TABLE
    }

    /// These rows with a document's over them: a map from names to rows. A field that is given there takes the place of the row's, a new
    /// name adds a row, and a row that is `null` or `false` is none.
    ///
    /// # Errors
    /// The row and the field that is unknown or has a bad value, and what is allowed.
    pub fn with(&self, document: &Value) -> Result<Self, PolicyError> {
        Self::read(self.rows.iter().map(|row| Profile::clone(row)).collect(), document)
    }

    fn read(mut rows: Vec<Profile>, document: &Value) -> Result<Self, PolicyError> {
        for (name, value) in object("the document", document)? {
            let at = rows.iter().position(|row| row.name == *name);
            if matches!(value, Value::Null | Value::Bool(false)) {
                match at {
                    Some(at) => _ = rows.remove(at),
                    None => {
                        let known = || rows.iter().map(|row| row.name.as_str());
                        let (hint, all) = (suggest::hint(name, known()), known().collect::<Vec<_>>().join(", "));
                        return Err(bad(&shown(name), value, &format!("a row{hint}; there are {all}")));
                    }
                }
                continue;
            }
            if name.is_empty() || name.len() > 63 || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                return Err(bad("a row's name", &shown(name).into(), "lower-case letters, digits and -, at most 63 of them"));
            }
            let at = at.unwrap_or_else(|| {
                rows.push(Profile { name: name.clone(), ..Profile::default() });
                rows.len() - 1
            });
            let row = &mut rows[at];
            row.set(value.as_object().ok_or_else(|| bad(name, value, "an object with fields, or null to take the row out"))?)?;
            if row.programs.is_empty() && row.images.is_empty() {
                return Err(bad(name, value, "a row that is found by anything: it needs programs or images"));
            }
        }
        Self::of(rows)
    }

    fn of(mut rows: Vec<Profile>) -> Result<Self, PolicyError> {
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let mut table = Self::default();
        for (index, row) in rows.into_iter().enumerate() {
            for (i, program) in row.programs.iter().enumerate() {
                if let Some(other) = table.programs.insert(program.clone(), index) {
                    let expected = match table.rows.get(other) {
                        Some(other) => format!("a program of its own: the row {} has it already", other.name),
                        None => "a program that is listed once".into(),
                    };
                    return Err(bad(&format!("{}.programs[{i}]", row.name), &program.as_str().into(), &expected));
                }
            }
            for pattern in &row.images {
                let step = pattern.rsplit('/').next().unwrap_or_default();
                let list = if step.contains('*') { &mut table.loose } else { table.images.entry(step.into()).or_default() };
                list.push((pattern.clone(), index));
            }
            table.rows.push(Arc::new(row));
        }
        Ok(table)
    }

    /// The rows, by name.
    pub fn rows(&self) -> impl Iterator<Item = &Profile> {
        self.rows.iter().map(|row| &**row)
    }

    /// The row that fits a container which runs these words: by its program, else by its image. The image is left out where the pod has
    /// words of its own.
    pub fn find<'w>(&self, argv: impl Iterator<Item = &'w str>, image: Option<&str>) -> Option<Found<'_>> {
        let main = main_of(argv);
        let by_program = |name: &str| {
            let without = || Some(versionless(name)).filter(|without| without.len() < name.len());
            self.programs.get(name).or_else(|| self.programs.get(without()?))
        };
        let by_image = || image.and_then(|image| self.by_image(image));
        let (index, by) = match main.program.and_then(by_program) {
            Some(index) => (*index, By::Program),
            None => (by_image()?, By::Image),
        };
        Some(Found { profile: self.rows.get(index)?, by, alone: main.alone })
    }

    fn by_image(&self, image: &str) -> Option<usize> {
        let repository = familiar(image);
        let step = repository.rsplit('/').next().unwrap_or_default();
        let named = self.images.get(step).into_iter().flatten();
        named.chain(&self.loose).find(|(pattern, _)| fits(pattern, repository)).map(|(_, index)| *index)
    }

    /// What the policy becomes for a container by the row that fits it, and which one that is.
    pub(crate) fn apply<'p, 'w>(
        &self,
        policy: &'p Policy,
        container: &Container<'_>,
        argv: impl Iterator<Item = &'w str>,
        stop_signal: Signal,
    ) -> (Cow<'p, Policy>, Option<Used>) {
        let mut policy = Cow::Borrowed(policy);
        if !policy.profiles {
            return (policy, None);
        }
        // Options alone are for the image's own program.
        let own_words = !container.command.items().is_empty() || container.args.items().first().is_some_and(|arg| !arg.starts_with('-'));
        let Some(Found { profile, by, alone }) = self.find(argv, (!own_words).then(|| container.image())) else { return (policy, None) };
        let mut used =
            Used { profile: Arc::clone(profile), by, stop_signals: Effect::Nothing, rewrite: Effect::Nothing, exit_map: Effect::Nothing };
        if profile.stop_signals.iter().any(|signal| *signal != stop_signal && !STOP_SIGNALS.has(*signal)) {
            used.stop_signals = nearest(policy.stop_signals.is_empty());
            if used.stop_signals == Effect::Applied {
                policy.to_mut().stop_signals.clone_from(&profile.stop_signals);
            }
        }
        if !profile.rewrite.is_empty() && !profile.rewrite.iter().all(|(_, to)| *to == stop_signal) {
            let pair = profile.rewrite.iter().find(|(from, _)| *from == stop_signal);
            let own = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref()).is_some_and(|signal| !signal.is_empty());
            used.rewrite = match (nearest(policy.rewrite.is_empty()), pair) {
                (Effect::Applied, None) => Effect::Held(Held::StopSignal(stop_signal)),
                (Effect::Applied, Some(_)) if own => Effect::Held(Held::Lifecycle),
                (Effect::Applied, Some(_)) if !alone => Effect::Held(Held::Group),
                (effect, _) => effect,
            };
            if let (Effect::Applied, Some(pair)) = (used.rewrite, pair) {
                policy.to_mut().rewrite.push(*pair);
            }
        }
        if !profile.exit_map.is_empty() {
            used.exit_map = nearest(policy.exit_map.is_empty());
            if used.exit_map == Effect::Applied {
                policy.to_mut().exit_map.clone_from(&profile.exit_map);
            }
        }
        (policy, Some(used))
    }
}

/// A row's field holds where nobody nearer has set it.
fn nearest(is_unset: bool) -> Effect {
    if is_unset { Effect::Applied } else { Effect::Held(Held::Policy) }
}

const FIELDS: [&str; 8] = ["programs", "images", "stopSignals", "rewrite", "exitMap", "term", "why", "source"];
const PROGRAM: &str = "a program's file name without folder, such as nginx";
const IMAGE: &str = "a repository without tag and digest, such as postgres or *bitnami*/nginx";

impl Profile {
    fn set(&mut self, fields: &Map<String, Value>) -> Result<(), PolicyError> {
        known(&format!("{}.", self.name), fields, &FIELDS)?;
        // As everywhere, null is how one writes "unset".
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let field = format!("{}.{name}", self.name);
            let text = || value.as_str().map(str::to_owned).ok_or_else(|| bad(&field, value, "a string"));
            match name.as_str() {
                "programs" => self.programs = words(&field, value, PROGRAM, |word| !word.contains('/'))?,
                "images" => self.images = words(&field, value, IMAGE, |word| familiar(word) == word)?,
                "stopSignals" => self.stop_signals = policy::signal_list(&field, value)?,
                "rewrite" => self.rewrite = policy::rewrite_map(&field, value)?,
                "exitMap" => self.exit_map = policy::exit_map(&field, value)?,
                "term" => {
                    let term = Term::ALL.into_iter().find(|term| value == term.name());
                    self.term = Some(term.ok_or_else(|| bad(&field, value, Term::EXPECTED))?);
                }
                "why" => self.why = text()?,
                "source" => self.source = text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn words(field: &str, value: &Value, expected: &str, fine: impl Fn(&str) -> bool) -> Result<Vec<String>, PolicyError> {
    let list = value.as_array().ok_or_else(|| bad(field, value, &format!("a list, each {expected}")))?;
    let word = |(i, item): (usize, &Value)| match item.as_str() {
        Some(word) if !word.is_empty() && !word.contains(char::is_whitespace) && fine(word) => Ok(word.to_owned()),
        _ => Err(bad(&format!("{field}[{i}]"), item, expected)),
    };
    list.iter().enumerate().map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_row_that_ships_is_read_and_says_why_and_where_that_is_from() {
        let document: Map<String, Value> = serde_json::from_str(SHIPPED).expect("JSON");
        let table = Profiles::read(Vec::new(), &document.clone().into()).expect("no row has an error");
        assert_eq!(table.rows().count(), document.len());
        assert_eq!(Profiles::shipped().rows().count(), document.len());
        for row in table.rows() {
            let name = &row.name;
            assert!(!row.programs.is_empty() && row.why.len() > 30 && row.source.starts_with("https://"), "{name}");
            assert!(row.term.is_some(), "{name}");
            // What is rewritten is what a runtime sends unless an image says otherwise, and where it is needed.
            assert!(row.rewrite.iter().all(|(from, _)| *from == Signal::TERM), "{name}");
            assert_eq!(row.rewrite.is_empty(), matches!(row.term, Some(Term::Graceful | Term::Ignored)), "{name}");
            // Somebody who sends main's own signal by hand asks for a stop as well.
            for (_, to) in &row.rewrite {
                assert!(STOP_SIGNALS.has(*to) || row.stop_signals.contains(to), "{name}");
            }
            // An exit code is passed on exactly unless a person says otherwise.
            assert!(row.exit_map.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_document_changes_adds_and_removes_rows() {
        let table = Profiles::shipped();
        let document = json!({
            "java": {"exitMap": {"143": 0}},
            "billing": {"programs": ["billing-worker"], "images": ["registry.example/billing-*"], "rewrite": {"TERM": "USR2"}},
            "celery": null,
            "puma": false,
        });
        let changed = table.with(&document).expect("in order");
        let found = |table: &Profiles, program: &str| table.find([program].into_iter(), None).map(|found| Profile::clone(found.profile));
        let (before, after) = (found(table, "java").expect("shipped"), found(&changed, "java").expect("still there"));
        assert_eq!(after, Profile { exit_map: vec![(143, 0)], ..before });
        assert_eq!(found(&changed, "billing-worker").expect("added").rewrite, [(Signal::TERM, Signal::USR2)]);
        let by_image = changed.find(["/run"].into_iter(), Some("registry.example/billing-api:1")).expect("by its image");
        assert_eq!((by_image.profile.name.as_str(), by_image.by), ("billing", By::Image));
        assert!(found(&changed, "celery").is_none() && found(&changed, "puma").is_none());
        assert_eq!(found(&changed, "nginx"), found(table, "nginx"));
        assert_eq!(changed.rows().count(), table.rows().count() - 1);
    }

    #[test]
    fn an_error_names_row_field_value_and_what_is_allowed() {
        for (document, message) in [
            (json!([]), "the document: [] is not an object with fields"),
            (json!({"nginx": "off"}), "nginx: \"off\" is not an object with fields, or null to take the row out"),
            (json!({"nginxx": null}), "nginxx: null is not a row (did you mean nginx?); there are celery, "),
            (json!({"My app": {"programs": ["x"]}}), "a row's name: \"My app\" is not lower-case letters, digits and -"),
            (json!({"mine": {"why": "x"}}), "mine: {\"why\":\"x\"} is not a row that is found by anything: it needs programs or images"),
            (json!({"nginx": {"rewrites": {}}}), "unknown field nginx.rewrites (did you mean rewrite?); there are programs, images,"),
            (json!({"nginx": {"rewrite": {"TERM": "WHAT"}}}), "nginx.rewrite.TERM: \"WHAT\" is not one of signal pairs"),
            (json!({"nginx": {"stopSignals": ["QUIT", "KILL"]}}), "nginx.stopSignals[1]: \"KILL\" is not signals such as"),
            (json!({"java": {"exitMap": {"143": 256}}}), "java.exitMap.143: 256 is not one of exit code pairs"),
            (json!({"nginx": {"term": "slow"}}), "nginx.term: \"slow\" is not graceful, quick, waits, reload or ignored"),
            (json!({"nginx": {"programs": ["/usr/sbin/nginx"]}}), "nginx.programs[0]: \"/usr/sbin/nginx\" is not a program's file name"),
            (json!({"nginx": {"programs": "nginx"}}), "nginx.programs: \"nginx\" is not a list, each a program's file name"),
            (json!({"nginx": {"images": ["nginx:1.27"]}}), "nginx.images[0]: \"nginx:1.27\" is not a repository without tag"),
            (
                json!({"mine": {"programs": ["uwsgi"]}}),
                "uwsgi.programs[0]: \"uwsgi\" is not a program of its own: the row mine has it already",
            ),
            (json!({"mine": {"programs": ["x", "x"]}}), "mine.programs[1]: \"x\" is not a program that is listed once"),
            (json!({"nginx": {"why": 3}}), "nginx.why: 3 is not a string"),
        ] {
            let error = Profiles::shipped().with(&document).expect_err("refused").to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn an_image_is_its_repository() {
        for (image, name) in [
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx"),
            ("docker.io/library/nginx:1@sha256:0", "nginx"),
            ("index.docker.io/bitnami/nginx", "bitnami/nginx"),
            ("localhost:5000/x", "localhost:5000/x"),
            ("localhost:5000/x:1", "localhost:5000/x"),
        ] {
            assert_eq!(familiar(image), name, "{image}");
        }
        for (pattern, text, fit) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx-x", false),
            ("*bitnami*/nginx", "quay.io/bitnamilegacy/nginx", true),
            ("*bitnami*/nginx", "bitnami/nginx", true),
            ("*bitnami*/nginx", "bitnami/nginx-exporter", false),
            ("team/*", "team/a/b", true),
            ("a*a", "a", false),
            ("*", "x", true),
        ] {
            assert_eq!(fits(pattern, text), fit, "{pattern} {text}");
        }
    }
}
