//! What a container's words start: the inits, shells and scripts in front, and the program behind them.

use super::known;
use super::script::{Fate, Kind, Script};
use crate::front::{Front, peel};

/// The longest name that is repeated.
const SHOWN: usize = 40;
/// How many words are peeled off at most; nobody has as many inits and wrappers.
const DEEPEST: usize = 16;

/// What runs in a container, as far as its words say so.
#[derive(Debug, Default)]
pub(crate) struct Running {
    /// An init of somebody else's that is in front.
    pub(crate) init: Option<Init>,
    /// A shell that stays in front of the program, or may do so.
    pub(crate) shell: Option<Shell>,
    /// A script file that is in front: whether its shell makes way is not known.
    pub(crate) script: Option<String>,
    /// The program's name; `None` where no word names it.
    pub(crate) program: Option<String>,
    /// The name that it is known by: what an interpreter runs, if that is well-known.
    pub(crate) known_as: String,
    /// The program's own words.
    pub(crate) words: Vec<String>,
    /// Whether a script starts something beside it.
    pub(crate) background: bool,
}

/// An init that passes the signal on, and leaves as soon as its child has gone.
#[derive(Debug)]
pub(crate) struct Init {
    /// Its name.
    pub(crate) name: String,
    /// Whether it signals its child's whole process group.
    pub(crate) group: bool,
}

/// A shell with a script.
#[derive(Debug)]
pub(crate) struct Shell {
    /// Its name.
    pub(crate) name: String,
    /// What it does: never [`Fate::Leaves`].
    pub(crate) fate: Fate,
}

impl Running {
    /// What these words start. `alpine`: whether `sh` is known to be busybox's. `usual`: the program that the image runs unless it is told
    /// otherwise: entrypoint scripts put it in front of flags.
    pub(crate) fn of<'w>(argv: impl IntoIterator<Item = &'w str>, alpine: bool, usual: Option<&str>) -> Self {
        let mut running = Self::default();
        let mut words: Vec<String> = argv.into_iter().map(str::to_owned).collect();
        for _ in 0..DEEPEST {
            match running.peel(words, alpine, usual) {
                Ok(rest) => words = rest,
                Err(program) => {
                    running.name(program);
                    break;
                }
            }
        }
        running
    }

    /// The name of the first process.
    pub(crate) fn first(&self) -> Option<&str> {
        let shell = self.shell.as_ref().map(|shell| &shell.name);
        let init = self.init.as_ref().map(|init| &init.name);
        init.or(shell).or(self.script.as_ref()).or(self.program.as_ref()).map(String::as_str)
    }

    /// Takes what only stands in front off the words: the rest, or the program's words if there is nothing in front.
    fn peel(&mut self, mut words: Vec<String>, alpine: bool, usual: Option<&str>) -> Result<Vec<String>, Vec<String>> {
        let Some(first) = words.first() else { return Err(words) };
        let name = base(first).to_owned();
        let mut behind = words[1..].iter().map(String::as_str);
        if let Some((front, next)) = peel(&name, &mut behind) {
            let left = behind.len() + usize::from(next.is_some());
            if let Front::Init { group, .. } = front {
                self.init.get_or_insert(Init { name, group });
            }
            return Ok(words.split_off(words.len() - left));
        }
        match name.as_str() {
            "sh" | "bash" | "dash" | "ash" => self.shell(&name, words, alpine),
            _ if is_script(&name) => {
                self.script.get_or_insert_with(|| shown(&name));
                // By convention such a script ends in `exec "$@"`.
                let rest = words.split_off(1);
                match (rest.first(), usual) {
                    (Some(word), _) if !word.starts_with('-') => Ok(rest),
                    (Some(_), Some(usual)) => Ok([usual.to_owned()].into_iter().chain(rest).collect()),
                    _ => Err(Vec::new()),
                }
            }
            _ => Err(words),
        }
    }

    fn shell(&mut self, name: &str, words: Vec<String>, alpine: bool) -> Result<Vec<String>, Vec<String>> {
        let flags = words[1..].iter().take_while(|word| word.starts_with(['-', '+'])).count();
        let told = words[1..=flags].iter().position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'));
        let Some(at) = told.map(|at| at + 2) else {
            let mut rest = words.into_iter().skip(flags + 1);
            return match rest.next() {
                // A script file.
                Some(file) => {
                    self.script.get_or_insert_with(|| shown(base(&file)));
                    Err(Vec::new())
                }
                None => Err(vec![name.to_owned()]),
            };
        };
        let Some(text) = words.get(at) else { return Err(vec![name.to_owned()]) };
        let script = Script::read(text);
        let kind = match name {
            "bash" => Kind::Bash,
            "dash" => Kind::Dash,
            "ash" => Kind::Ash,
            _ if alpine => Kind::Ash,
            _ => Kind::Unknown,
        };
        self.background |= script.background > 0;
        let given = |words: &[String]| match words.first().map(String::as_str) {
            Some("$@" | "${@}" | "$*") => None,
            _ => Some(words.to_vec()),
        };
        let program = given(script.program()).unwrap_or_else(|| words.get(at + 2..).unwrap_or_default().to_vec());
        let fate = script.fate(kind);
        if fate != Fate::Leaves {
            self.shell.get_or_insert(Shell { name: name.to_owned(), fate });
        }
        if program.is_empty() { Err(program) } else { Ok(program) }
    }

    fn name(&mut self, words: Vec<String>) {
        let Some(first) = words.first() else { return };
        let name = base(first);
        // A variable, or whatever else is no name.
        if !name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) {
            return;
        }
        let plain = known::plain(name);
        self.known_as = plain.to_owned();
        if known::INTERPRETERS.contains(&plain) {
            let runs = match words[1..].iter().position(|word| word == "-m") {
                Some(at) => words.get(at + 2),
                None => words[1..].iter().find(|word| !word.starts_with('-')),
            };
            let runs = runs.map(|word| known::plain(base(word)));
            self.known_as = runs.filter(|runs| known::manner(runs) != known::Manner::Unknown).unwrap_or(plain).to_owned();
        }
        self.program = Some(shown(name));
        self.words = words;
    }
}

/// Whether a file of this name is a script of a shell's.
pub(crate) fn is_script(name: &str) -> bool {
    name.ends_with(".sh") || name.ends_with(".bash") || name.contains("entrypoint")
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A name as it is shown: on one line, and cut off where it gets long.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(words: &[&str]) -> Running {
        Running::of(words.iter().copied(), false, None)
    }

    #[test]
    fn what_stands_in_front_is_told_from_the_program() {
        for (words, first, program, known) in [
            (&["/usr/local/bin/python3.12", "-u", "app.py"][..], "python3.12", "python3.12", "python"),
            (&["tini", "-g", "--", "/docker-entrypoint.sh", "nginx", "-g", "daemon off;"], "tini", "nginx", "nginx"),
            (&["/docker-entrypoint.sh", "nginx"], "docker-entrypoint.sh", "nginx", "nginx"),
            (&["sh", "-c", "exec /app/server --port 80"], "server", "server", "server"),
            (&["bash", "-lc", "npm start"], "npm", "npm", "npm"),
            (&["sh", "-ec", "npm start"], "sh", "npm", "npm"),
            (&["env", "A=b", "gosu", "me", "node", "--x", "server.js"], "node", "node", "node"),
            (&["python", "-m", "gunicorn", "app:app"], "python", "python", "gunicorn"),
            (&["/usr/bin/python3", "/usr/bin/supervisord", "-n"], "python3", "python3", "supervisord"),
            (&["node", "/usr/local/bin/npm", "start"], "node", "node", "npm"),
            (&["sh", "-c", "exec \"$@\"", "--", "java", "-jar", "a.jar"], "java", "java", "java"),
            (&["dumb-init", "-r", "15:3", "sh", "-c", "a | b"], "dumb-init", "b", "b"),
            (&["nice", "-n", "5", "sleep", "9"], "sleep", "sleep", "sleep"),
        ] {
            let found = running(words);
            assert_eq!(
                (found.first(), found.program.as_deref(), found.known_as.as_str()),
                (Some(first), Some(program), known),
                "{words:?}"
            );
        }
        for words in [&["/start.sh"][..], &["sh", "/start.sh", "a"], &["sh", "-c", "$APP"], &["$(APP)"], &[], &["sh", "-c", ""], &["tini"]]
        {
            assert_eq!(running(words).program, None, "{words:?}");
        }
    }

    #[test]
    fn an_entrypoint_script_puts_the_usual_program_before_flags() {
        let program = |words: &[&str]| Running::of(words.iter().copied(), false, Some("postgres")).program;
        assert_eq!(program(&["docker-entrypoint.sh", "-c", "fsync=on"]).as_deref(), Some("postgres"));
        assert_eq!(program(&["docker-entrypoint.sh", "bash"]).as_deref(), Some("bash"));
        assert_eq!(program(&["docker-entrypoint.sh"]), None);
    }

    #[test]
    fn inits_say_whom_they_signal() {
        for (words, group) in [
            (&["tini", "--", "a"][..], false),
            (&["/sbin/tini", "-v", "-g", "a"], true),
            (&["tini", "-sg", "--", "a"], true),
            (&["tini", "a", "-g"], false),
            (&["dumb-init", "a"], true),
            (&["dumb-init", "-c", "a"], false),
        ] {
            assert_eq!(running(words).init.expect("an init").group, group, "{words:?}");
        }
    }

    #[test]
    fn a_name_cannot_write_to_a_terminal() {
        assert_eq!(running(&["a\u{1b}[31m"]).program.as_deref(), Some("a?[31m"));
        assert_eq!(running(&["a".repeat(100).as_str()]).program.map(|name| name.len()), Some(SHOWN));
    }
}
