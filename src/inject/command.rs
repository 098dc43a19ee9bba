//! What a container runs, from its spec and its image, and what must not run under an init of ours.

use crate::expand::escape;
use crate::field::Text;
use crate::images::ImageConfig;
use crate::json::Json;
use crate::pod::Container;

/// Name of the init's file, in its image as well as at the mount.
pub(crate) const INIT: &str = "ashore-init";

/// Programs that only work as PID 1: s6-overlay refuses to start otherwise, systemd and its like take over the container.
const PID1_ONLY: [&str; 12] = [
    "/init",
    "/sbin/init",
    "/usr/sbin/init",
    "/bin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
    "/bin/systemd",
    "/usr/bin/systemd",
    "/sbin/openrc-init",
    "/usr/sbin/openrc-init",
    "/sbin/runit-init",
    "/usr/sbin/runit-init",
];

/// The words that a container's program gets, before the kubelet's expansion.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    /// What goes behind the init in `command`: the spec's command, or the image's entrypoint (and cmd).
    head: Vec<&'a str>,
    /// Whether that comes from the image, and is not to be expanded.
    from_image: bool,
    /// The spec's args, which stay where they are.
    args: &'a [Text<'a>],
}

impl<'a> Program<'a> {
    /// Whether the image has a say in it: not if the container sets a command (an empty one is none).
    pub(crate) fn needs_image(container: &Container<'_>) -> bool {
        container.command.items().is_empty()
    }

    /// Kubernetes' rules ("Define a Command and Arguments for a Container"): a command stands alone with the args; without one
    /// the image's entrypoint gets the args, or the image's cmd if there are none. An empty list is as good as none.
    pub(crate) fn of(container: &'a Container<'_>, image: &'a ImageConfig) -> Self {
        let args = container.args.items();
        let words = |list: &'a Option<Vec<String>>| list.iter().flatten().map(String::as_str);
        let own: Vec<&str> = container.command.items().iter().map(|word| &**word).collect();
        if !own.is_empty() {
            Self { head: own, from_image: false, args }
        } else if args.is_empty() {
            Self { head: words(&image.entrypoint).chain(words(&image.cmd)).collect(), from_image: true, args }
        } else {
            Self { head: words(&image.entrypoint).collect(), from_image: true, args }
        }
    }

    /// The whole argument vector.
    pub(crate) fn argv(&self) -> impl Iterator<Item = &str> {
        self.head.iter().copied().chain(self.args.iter().map(|arg| &**arg))
    }

    /// The container's new `command`: the init, its flags, `--`, and the program. Everything but words of the spec is
    /// escaped, since the kubelet expands `$(VAR)` and `$$` in a command.
    pub(crate) fn under(&self, init: &str, flags: &[String]) -> Json {
        let mut json = Json::with_room(256);
        json.push("[");
        json.push_string(&escape(init));
        for flag in flags {
            json.push(",");
            json.push_string(&escape(flag));
        }
        json.push(r#","--""#);
        for word in &self.head {
            json.push(",");
            if self.from_image { json.push_string(&escape(word)) } else { json.push_string(word) }
        }
        json.push("]");
        json
    }

    /// Whether its first word is the init already.
    pub(crate) fn has_init(&self) -> bool {
        self.argv().next().is_some_and(|word| word.rsplit('/').next() == Some(INIT))
    }

    /// The word that names a program which must be PID 1, if one does: as the program, or behind an entrypoint that ends in it,
    /// or as what a shell is told to run.
    pub(crate) fn must_be_pid1(&self) -> Option<&str> {
        let mut before = "";
        self.argv().find_map(|word| {
            let script = std::mem::replace(&mut before, word) == "-c";
            let program = if script { word.trim_start().trim_start_matches("exec ").split_whitespace().next()? } else { word };
            PID1_ONLY.contains(&program).then_some(program)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entrypoint: &[&str], cmd: &[&str]) -> ImageConfig {
        let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
        ImageConfig { entrypoint: list(entrypoint), cmd: list(cmd), ..ImageConfig::default() }
    }

    fn argv(spec: &str, image: &ImageConfig) -> Vec<String> {
        let container: Container<'_> = serde_json::from_str(spec).expect("a container");
        Program::of(&container, image).argv().map(str::to_owned).collect()
    }

    #[test]
    fn the_truth_table() {
        let image = image(&["/ep", "a"], &["b"]);
        for (spec, words) in [
            ("{}", &["/ep", "a", "b"][..]),
            (r#"{"command":null,"args":null}"#, &["/ep", "a", "b"]),
            (r#"{"command":[],"args":[]}"#, &["/ep", "a", "b"]),
            (r#"{"args":["x"]}"#, &["/ep", "a", "x"]),
            (r#"{"command":[],"args":["x"]}"#, &["/ep", "a", "x"]),
            (r#"{"command":["c"]}"#, &["c"]),
            (r#"{"command":["c"],"args":[]}"#, &["c"]),
            (r#"{"command":["c"],"args":["","x"]}"#, &["c", "", "x"]),
        ] {
            assert_eq!(argv(spec, &image), words, "{spec}");
        }
        let bare = ImageConfig::default();
        assert_eq!(argv(r#"{"args":["/app","x"]}"#, &bare), ["/app", "x"]);
        assert_eq!(argv("{}", &bare), [""; 0]);
    }

    #[test]
    fn only_what_is_not_the_specs_is_escaped() {
        let flags = ["--report-file=/$(X)".to_owned()];
        let of = |spec: &str, image: &ImageConfig| {
            let container: Container<'_> = serde_json::from_str(spec).expect("a container");
            Program::of(&container, image).under("/ashore/ashore-init", &flags).as_str().to_owned()
        };
        let image = image(&["$(HOME)"], &["$$"]);
        assert_eq!(of("{}", &image), r#"["/ashore/ashore-init","--report-file=/$$(X)","--","$$(HOME)","$$$$"]"#);
        assert_eq!(of(r#"{"command":["$(HOME)"]}"#, &image), r#"["/ashore/ashore-init","--report-file=/$$(X)","--","$(HOME)"]"#);
    }

    #[test]
    fn inits_that_must_be_pid_1_are_known_wherever_they_stand() {
        let found = |words: &[&str]| {
            let image = image(words, &[]);
            let container: Container<'_> = serde_json::from_str("{}").expect("a container");
            Program::of(&container, &image).must_be_pid1().map(str::to_owned)
        };
        for words in
            [&["/init"][..], &["/entrypoint.sh", "/sbin/init"], &["sh", "-c", "exec /init --x"], &["/usr/lib/systemd/systemd", "--user"]]
        {
            assert!(found(words).is_some(), "{words:?}");
        }
        for words in [&["/usr/bin/tini", "--", "app"][..], &["dumb-init", "app"], &["app", "init"], &["sh", "-c", "echo /init"]] {
            assert_eq!(found(words), None);
        }
    }
}
