//! What a container's main will be: the program behind the inits, shells and entrypoint scripts that make room for it.

use crate::front::{Front, past_options, peel};

/// What is found at the end of an argument vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Main<'w> {
    /// The program's file name, without its folder; none where that cannot be told.
    pub(crate) program: Option<&'w str>,
    /// Whether a signal to main reaches the program, as it is and nobody else: not behind an init that signals its whole group.
    pub(crate) alone: bool,
}

/// Looks through an argument vector, word by word.
pub(crate) fn main_of<'w>(argv: impl Iterator<Item = &'w str>) -> Main<'w> {
    let mut alone = true;
    let program = follow(&mut { argv }, &mut alone, false);
    Main { program, alone }
}

/// A name without the version that distributions put at its end: `php-fpm8.2`, `python3.11`.
pub(crate) fn versionless(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'))
}

fn follow<'w>(words: &mut dyn Iterator<Item = &'w str>, alone: &mut bool, in_script: bool) -> Option<&'w str> {
    let mut word = words.next()?;
    loop {
        let name = word.rsplit('/').next().unwrap_or_default();
        if let Some((front, next)) = peel(name, words) {
            // One that rewrites signals has its own idea of them.
            *alone &= !matches!(front, Front::Init { group, rewrites } if group || rewrites);
            word = next?;
            continue;
        }
        word = match name {
            "sh" | "bash" | "dash" | "ash" | "ksh" => {
                let mut script = false;
                // `-euo pipefail` is one option of three letters, the last of which has a value.
                let first = past_options(words, |option| {
                    script |= !option.starts_with("--") && option.contains('c');
                    !option.starts_with("--") && option.contains(['o', 'O'])
                })?;
                if script {
                    let command = if in_script { None } else { last_exec(first) };
                    let mut words = command?.split_ascii_whitespace().map(|word| word.trim_matches(['"', '\'']));
                    return follow(&mut words, alone, true);
                }
                first
            }
            "bundle" | "poetry" | "pipenv" => match words.next() {
                Some("exec" | "run") => past_options(words, |_| false)?,
                _ => return Some(name),
            },
            "ruby" => {
                let mut code = false;
                let script = past_options(words, |option| {
                    code |= option == "-e";
                    matches!(option, "-I" | "-r" | "-C")
                });
                script.filter(|_| !code)?
            }
            _ if name.starts_with("python") || name.starts_with("pypy") => {
                let (mut module, mut code) = (false, false);
                let first = past_options(words, |option| {
                    module |= option == "-m";
                    code |= option == "-c";
                    matches!(option, "-W" | "-X")
                });
                let first = first.filter(|_| !code)?;
                if module {
                    return first.split('.').next();
                }
                first
            }
            // By convention such a script ends in exec "$@", and puts its own program in front of options.
            _ if name.strip_suffix(".sh").unwrap_or(name).ends_with("entrypoint") => {
                words.next().filter(|next| !next.starts_with('-') && !next.is_empty())?
            }
            _ => return Some(name),
        };
    }
}

/// What follows `exec` where that is the first command of a script or, outside of quotes, the last: then the shell becomes that program
/// whatever else it does. A script without stays main itself, and a conditional `exec` does not count.
fn last_exec(script: &str) -> Option<&str> {
    const EXEC: &str = "exec ";
    if !script.contains(EXEC) {
        return None;
    }
    let (mut quote, mut escaped) = (None, false);
    let mut start = 0;
    let mut last = "";
    for (at, byte) in script.bytes().chain([b';']).enumerate() {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (None | Some(b'"'), b'\\') => escaped = true,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None, b';' | b'\n' | b'&') => {
                let command = script.get(start..at)?.trim();
                start = at + 1;
                if !command.is_empty() {
                    if last.is_empty() && command.starts_with(EXEC) {
                        return command.strip_prefix(EXEC);
                    }
                    last = command;
                }
            }
            _ => {}
        }
    }
    // An open quote: not what it looked like.
    last.strip_prefix(EXEC).filter(|_| quote.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'w>(argv: &[&'w str]) -> Main<'w> {
        main_of(argv.iter().copied())
    }

    #[test]
    fn a_program_is_found_behind_what_makes_room_for_it() {
        for (argv, program) in [
            (&["nginx", "-g", "daemon off;"][..], "nginx"),
            (&["/usr/sbin/nginx"], "nginx"),
            (&["/docker-entrypoint.sh", "nginx", "-g", "daemon off;"], "nginx"),
            (&["docker-php-entrypoint", "php-fpm"], "php-fpm"),
            (&["/usr/bin/tini", "-s", "-e", "143", "--", "docker-entrypoint.sh", "haproxy"], "haproxy"),
            (&["tini", "uwsgi", "--ini", "x"], "uwsgi"),
            (&["dumb-init", "-c", "--", "unicorn"], "unicorn"),
            (&["sh", "-c", "exec php-fpm --nodaemonize"], "php-fpm"),
            (&["/bin/bash", "-euo", "pipefail", "-c", "cd /app\n./migrate && exec gunicorn app:app"], "gunicorn"),
            (&["sh", "-ec", "exec env A=1 \"nginx\" -g 'daemon off;'"], "nginx"),
            (&["sh", "-c", "sleep 1; exec uwsgi \\\n --ini x"], "uwsgi"),
            (&["bash", "/docker-entrypoint.sh", "nginx"], "nginx"),
            (&["env", "-i", "A=b", "C=d", "celery", "worker"], "celery"),
            (&["gosu", "postgres", "postgres", "-D", "/data"], "postgres"),
            (&["python3.11", "-u", "-m", "celery", "-A", "app"], "celery"),
            (&["python", "-W", "ignore", "/usr/local/bin/gunicorn", "app"], "gunicorn"),
            (&["python", "-m", "gunicorn.app.wsgiapp"], "gunicorn"),
            (&["bundle", "exec", "puma", "-C", "x"], "puma"),
            (&["ruby", "-I", "lib", "bin/unicorn"], "unicorn"),
            (&["busybox", "sh", "-c", "exec httpd -f"], "httpd"),
            (&["nice", "-n", "5", "nginx"], "nginx"),
            (&["chrt", "-f", "10", "nginx"], "nginx"),
            (&["chrt", "--deadline", "-T", "1000", "--sched-period", "9000", "0", "nginx"], "nginx"),
            (&["chrt", "--batch", "0", "nginx"], "nginx"),
            (&["chrt", "--idle", "nginx"], "nginx"),
            (&["setpriv", "--reuid", "1000", "--regid=1000", "--clear-groups", "--inh-caps", "-all", "nginx"], "nginx"),
            (&["setpriv", "--no-new-privs", "--selinux-label", "a:b", "--", "nginx"], "nginx"),
            (&["java", "-jar", "app.jar"], "java"),
            (&["/app"], "app"),
        ] {
            assert_eq!(found(argv), Main { program: Some(program), alone: true }, "{argv:?}");
        }
    }

    #[test]
    fn a_shell_that_stays_is_not_what_it_runs() {
        for script in [
            "nginx -g 'daemon off;'",
            "nginx; exec true",
            "if a; then exec nginx; fi",
            "if a\nthen\nexec nginx\nfi",
            "echo 'x; exec nginx",
            "echo \"x; exec nginx\"",
            "a || exec nginx",
            "exec nginx-wrapper",
            "exec \"$@\"",
            "exec sh -c 'exec nginx'",
            "",
        ] {
            assert_ne!(found(&["sh", "-c", script]).program, Some("nginx"), "{script}");
        }
        for argv in
            [&["python", "-c", "nginx"][..], &["ruby", "-e", "unicorn"], &["docker-entrypoint.sh", "-c", "x=1"], &["tini", "--"], &[]]
        {
            assert_eq!(found(argv).program, None, "{argv:?}");
        }
    }

    #[test]
    fn an_init_that_signals_the_group_is_noted() {
        for argv in [
            &["tini", "-g", "--", "nginx"][..],
            &["tini", "-sg", "nginx"],
            &["dumb-init", "nginx"],
            &["dumb-init", "-c", "-r", "15:3", "nginx"],
        ] {
            assert_eq!(found(argv), Main { program: Some("nginx"), alone: false }, "{argv:?}");
        }
    }

    #[test]
    fn versions_come_off_the_end() {
        for (name, without) in [("php-fpm8.2", "php-fpm"), ("python3.11", "python"), ("nginx-1.27", "nginx"), ("nginx", "nginx")] {
            assert_eq!(versionless(name), without);
        }
    }
}
