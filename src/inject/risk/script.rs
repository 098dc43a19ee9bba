//! What becomes of a shell that is told to run a script (`sh -c SCRIPT`): whether it makes way for a program, or stays in front of it.
//!
//! A guess by the script's outer shape, for words that people write into a pod. What each shell does was seen of bash 5.2, dash 0.5.12
//! and busybox 1.35.

/// Words that are no programs: a shell that ends with one of them has waited for what was before.
const BUILTINS: [&str; 22] = [
    "wait", "true", "false", ":", "echo", "printf", "cd", "set", "export", "unset", "read", "exit", "return", "trap", "test", "[", "kill",
    "umask", "ulimit", "shift", "source", ".",
];
/// Words that stand before a command and are none.
const BEFORE: [&str; 11] = ["then", "do", "else", "if", "elif", "while", "until", "!", "{", "time", "command"];
/// Words that end a compound command.
const CLOSING: [&str; 4] = ["fi", "done", "esac", "}"];

/// A script, as far as it matters here.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// The words of its simple commands, without quotes, assignments and redirections; those in loops and branches, too.
    commands: Vec<Vec<String>>,
    /// How many of them end with `&`.
    pub(crate) background: usize,
    /// Whether a pipeline is the last thing in it.
    piped: bool,
    redirects: bool,
    compound: bool,
    loops: bool,
}

/// A shell, by how it treats the last command of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Makes way for it where the script is simple enough.
    Bash,
    /// Never makes way.
    Dash,
    /// Makes way for all but a pipeline: busybox.
    Ash,
    /// `sh`, which is any of these: dash in Debian and Ubuntu, busybox in Alpine, bash in Red Hat's.
    Unknown,
}

/// What a shell does with a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The program takes its place: by `exec`, or of itself.
    Leaves,
    /// That depends on which shell it is.
    MayStay,
    /// It stays and waits.
    Stays,
    /// It stays and has a trap.
    Traps,
}

impl Script {
    /// Reads a script.
    pub(crate) fn read(text: &str) -> Self {
        let mut reader = Reader::default();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\\' => reader.word.extend(rest.next().filter(|c| *c != '\n')),
                '\'' => reader.quoted(rest.by_ref().take_while(|c| *c != '\'')),
                '"' => {
                    let mut escaped = false;
                    reader.quoted(rest.by_ref().take_while(|c| {
                        let end = *c == '"' && !escaped;
                        escaped = *c == '\\' && !escaped;
                        !end
                    }));
                }
                '`' => reader.quoted(rest.by_ref().take_while(|c| *c != '`')),
                '$' if rest.peek() == Some(&'(') => {
                    rest.next();
                    let mut depth = 1;
                    reader.quoted(rest.by_ref().take_while(|c| {
                        depth += i32::from(*c == '(') - i32::from(*c == ')');
                        depth > 0
                    }));
                }
                '#' if reader.word.is_empty() && !reader.quoted => while rest.next_if(|c| *c != '\n').is_some() {},
                '>' | '<' => {
                    // `2>&1`: what stands before it is no word.
                    if reader.word.bytes().all(|b| b.is_ascii_digit()) {
                        reader.word.clear();
                    }
                    reader.end_word();
                    while rest.next_if(|c| matches!(c, '>' | '<' | '&' | '|' | '-' | ' ')).is_some() {}
                    while rest.next_if(|c| !c.is_whitespace() && !";&|)".contains(*c)).is_some() {}
                    reader.script.redirects = true;
                }
                '&' if rest.peek() == Some(&'>') => {}
                '&' => {
                    reader.end_command();
                    reader.script.piped = false;
                    if rest.next_if_eq(&'&').is_none() {
                        reader.script.background += 1;
                    }
                }
                '|' => {
                    reader.end_command();
                    reader.script.piped = rest.next_if_eq(&'|').is_none();
                }
                ';' | '\n' => {
                    let some = reader.end_command();
                    // Nothing but a blank behind a pipeline leaves it the last.
                    reader.script.piped &= some || rest.clone().all(char::is_whitespace);
                }
                '(' | ')' => {
                    reader.end_command();
                    reader.script.compound = true;
                }
                c if c.is_whitespace() => reader.end_word(),
                c => reader.word.push(c),
            }
        }
        reader.end_command();
        reader.script
    }

    /// What this shell does with it.
    pub(crate) fn fate(&self, shell: Kind) -> Fate {
        if self.execs() {
            return Fate::Leaves;
        }
        if self.commands.iter().any(|words| words[0] == "trap" && words.len() > 2 && !words[1].is_empty()) {
            return Fate::Traps;
        }
        let builtin = self.commands.last().is_none_or(|words| BUILTINS.contains(&words[0].as_str()));
        if self.piped || self.loops || builtin {
            return Fate::Stays;
        }
        let simple = !self.compound && !self.redirects && self.background == 0;
        match shell {
            Kind::Ash => Fate::Leaves,
            Kind::Bash if simple => Fate::Leaves,
            Kind::Bash | Kind::Dash => Fate::Stays,
            Kind::Unknown => Fate::MayStay,
        }
    }

    /// Whether it ends with an `exec` of a program.
    fn execs(&self) -> bool {
        !self.piped && self.commands.last().is_some_and(|words| words[0] == "exec" && words.len() > 1)
    }

    /// The words of the program that it is there for: the last, without `exec`.
    pub(crate) fn program(&self) -> &[String] {
        let words = self.commands.iter().rev().find(|words| !BUILTINS.contains(&words[0].as_str()));
        let words = words.map_or(&[][..], Vec::as_slice);
        if words.first().is_some_and(|word| word == "exec") { words.get(1..).unwrap_or_default() } else { words }
    }
}

#[derive(Default)]
struct Reader {
    script: Script,
    words: Vec<String>,
    word: String,
    /// Whether the word has quotes: an empty one is a word then.
    quoted: bool,
}

impl Reader {
    fn quoted(&mut self, text: impl Iterator<Item = char>) {
        self.word.extend(text);
        self.quoted = true;
    }

    fn end_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        let quoted = std::mem::take(&mut self.quoted);
        if word.is_empty() && !quoted {
            return;
        }
        if self.words.is_empty() && !quoted {
            self.script.loops |= matches!(word.as_str(), "while" | "until" | "for");
            if BEFORE.contains(&word.as_str()) || CLOSING.contains(&word.as_str()) {
                self.script.compound |= !matches!(word.as_str(), "command" | "time" | "!");
                return;
            }
        }
        let name = |name: &str| !name.is_empty() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
        let assigns = word.split_once('=').is_some_and(|(left, _)| name(left));
        if !(self.words.is_empty() && assigns) {
            self.words.push(word);
        }
    }

    /// Whether there was one.
    fn end_command(&mut self) -> bool {
        self.end_word();
        let words = std::mem::take(&mut self.words);
        let some = !words.is_empty();
        if some {
            self.script.commands.push(words);
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_do_what_they_were_seen_to_do() {
        use Fate::{Leaves, MayStay, Stays, Traps};
        for (script, bash, ash, unknown) in [
            ("sleep 9", Leaves, Leaves, MayStay),
            ("true; sleep 9", Leaves, Leaves, MayStay),
            ("true && sleep 9", Leaves, Leaves, MayStay),
            ("true\nsleep 9\n", Leaves, Leaves, MayStay),
            ("X=1 sleep 9", Leaves, Leaves, MayStay),
            ("sleep 9;", Leaves, Leaves, MayStay),
            ("sleep 9 > /dev/null", Stays, Leaves, MayStay),
            ("sleep 9 2>&1", Stays, Leaves, MayStay),
            ("(sleep 9)", Stays, Leaves, MayStay),
            ("if true; then sleep 9; fi", Stays, Leaves, MayStay),
            ("sleep 8 & sleep 9", Stays, Leaves, MayStay),
            ("sleep 9 | cat", Stays, Stays, Stays),
            ("sleep 9 | cat\n", Stays, Stays, Stays),
            ("sleep 8 & wait", Stays, Stays, Stays),
            ("sleep 9; echo done", Stays, Stays, Stays),
            ("while true; do sleep 1; done", Stays, Stays, Stays),
            ("trap 'kill $p' TERM; sleep 9 & p=$!; wait", Traps, Traps, Traps),
            ("exec sleep 9", Leaves, Leaves, Leaves),
            ("a; b && exec sleep 9", Leaves, Leaves, Leaves),
            ("if x; then\n exec a\nelse\n exec b\nfi\n", Leaves, Leaves, Leaves),
            ("# exec this\na \"$(b; exec c)\" | d # exec", Stays, Stays, Stays),
        ] {
            let read = Script::read(script);
            let fates = [Kind::Bash, Kind::Ash, Kind::Unknown].map(|shell| read.fate(shell));
            assert_eq!(fates, [bash, ash, unknown], "{script:?} {read:?}");
            assert_eq!(read.fate(Kind::Dash), if bash == Leaves && !read.execs() { Stays } else { bash }, "{script:?}");
        }
    }

    #[test]
    fn the_program_is_found() {
        for (script, program) in [
            ("python app.py", &["python", "app.py"][..]),
            ("exec java -jar 'my app.jar'", &["java", "-jar", "my app.jar"]),
            ("a && B=$(x y) /bin/c --d > /tmp/e; wait", &["/bin/c", "--d"]),
            ("if x; then exec nginx -g 'daemon off;'; fi", &["nginx", "-g", "daemon off;"]),
            ("trap : TERM", &[]),
            ("", &[]),
            ("exec 2>&1; exec app", &["app"]),
            ("a\\\n b", &["a", "b"]),
        ] {
            assert_eq!(Script::read(script).program(), program, "{script:?}");
        }
        assert_eq!((Script::read("a & b").background, Script::read("a && b").background), (1, 0));
    }
}
