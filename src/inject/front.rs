//! What only makes room for the next program in an argument vector: inits, which stay in front of it, and wrappers, which become it.

/// What stood in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// An init of somebody else's.
    Init {
        /// Whether it signals its child's whole process group.
        group: bool,
        /// Whether it may send another signal than it was sent.
        rewrites: bool,
    },
    /// A wrapper, which is gone once the program runs.
    Wrapper,
}

/// The options of setpriv(1) whose value is a word of its own.
const SETPRIV: [&str; 18] = [
    "--ambient-caps",
    "--apparmor-profile",
    "--bounding-set",
    "--egid",
    "--euid",
    "--groups",
    "--inh-caps",
    "--landlock-access",
    "--landlock-rule",
    "--pdeathsig",
    "--ptracer",
    "--regid",
    "--reuid",
    "--rgid",
    "--ruid",
    "--seccomp-filter",
    "--securebits",
    "--selinux-label",
];
/// The options of chrt(1) whose value is a word of its own.
const CHRT: [&str; 6] = ["-T", "-P", "-D", "--sched-runtime", "--sched-period", "--sched-deadline"];

/// Takes off what belongs to a program of this name, if it only stands in front of another: its options and what else it takes. With it
/// comes the first word of what it starts, if there is one.
pub(crate) fn peel<'w>(name: &str, words: &mut dyn Iterator<Item = &'w str>) -> Option<(Front, Option<&'w str>)> {
    let next = match name {
        "tini" | "tini-static" | "docker-init" | "catatonit" => {
            let mut group = false;
            // Their options of one letter stand together: `-sg`.
            let next = past_options(words, |option| {
                group |= !option.starts_with("--") && option.contains('g');
                matches!(option, "-p" | "-e")
            });
            return Some((Front::Init { group, rewrites: false }, next));
        }
        // The whole group unless it is told otherwise.
        "dumb-init" => {
            let (mut single, mut rewrites) = (false, false);
            let next = past_options(words, |option| {
                single |= matches!(option, "-c" | "--single-child");
                rewrites |= option.starts_with("-r") || option.starts_with("--rewrite");
                matches!(option, "-r" | "--rewrite")
            });
            return Some((Front::Init { group: !single, rewrites }, next));
        }
        "env" => {
            let mut next = past_options(words, |option| matches!(option, "-u" | "-C" | "--unset" | "--chdir"));
            while next.is_some_and(|word| word.contains('=')) {
                next = words.next();
            }
            next
        }
        // The user first.
        "gosu" | "su-exec" | "setuidgid" | "s6-setuidgid" => words.nth(1),
        "nohup" | "nice" | "ionice" | "stdbuf" => past_options(words, |option| matches!(option, "-n" | "-c" | "-o" | "-e" | "-i")),
        "setpriv" => past_options(words, |option| SETPRIV.contains(&option)),
        // The priority first, which some policies do without in later versions.
        "chrt" => past_options(words, |option| CHRT.contains(&option)).and_then(|word| match word.parse::<i64>() {
            Ok(_) => words.next(),
            Err(_) => Some(word),
        }),
        "busybox" => words.next(),
        _ => return None,
    };
    Some((Front::Wrapper, next))
}

/// The first word that is no option. `see` is told each option, and says whether its value is a word of its own.
pub(crate) fn past_options<'w>(words: &mut dyn Iterator<Item = &'w str>, mut see: impl FnMut(&'w str) -> bool) -> Option<&'w str> {
    while let Some(word) = words.next() {
        if word == "--" {
            return words.next();
        }
        if !word.starts_with('-') {
            return Some(word);
        }
        if see(word) {
            words.next();
        }
    }
    None
}
