//! Where the answer goes: documents to standard output or back into their files, words to standard error.

use super::documents::Format;
use super::problem::Problem;
use super::sources::{Source, plain};
use super::yaml::is_marker;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// What became of one file.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// What the text is in.
    pub format: Format,
    /// The text, without a byte-order mark.
    pub text: String,
    /// Whether it differs from what was read.
    pub changed: bool,
}

/// Puts the documents of several files behind one another, with what has to stand between them.
pub(crate) fn join(rendered: &[Rendered]) -> String {
    let mut out = String::new();
    for Rendered { format, text, .. } in rendered {
        if text.is_empty() {
            continue;
        }
        if !out.is_empty() {
            if !out.ends_with('\n') {
                out.push('\n');
            }
            if *format == Format::Yaml {
                let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or_default();
                if first.starts_with('%') {
                    // A directive may only follow a document's end.
                    out.push_str("...\n");
                } else if !is_marker(first, "---") {
                    out.push_str("---\n");
                }
            }
        }
        out.push_str(text);
    }
    out
}

/// Writes to standard output. Nobody reading it any more (`| head`) is no error.
///
/// # Errors
/// What the system says: a full disk.
pub(crate) fn print(text: &str) -> Result<(), Problem> {
    tell(text).map(drop)
}

/// The same, and whether somebody still reads it.
///
/// # Errors
/// As [`print`].
pub(crate) fn tell(text: &str) -> Result<bool, Problem> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Problem::with_file("standard output", plain(&error))),
    }
}

/// How many columns the terminal has that standard output goes to, if it goes to one; else what COLUMNS says, for a pipe into a pager.
pub(crate) fn width() -> Option<usize> {
    const ALLOWED: std::ops::RangeInclusive<usize> = 20..=1000;
    let said = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| ALLOWED.contains(columns));
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0)).or_else(said)
}

/// A line on standard error. Nobody reading it is no error either.
pub(crate) fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Puts the text in the file's place, whole or not at all: a new file next to it, with its mode and owner, takes its name.
///
/// # Errors
/// What the system says; the file is then as it was.
pub(crate) fn replace(source: &Source, text: &str) -> Result<(), Problem> {
    let Some(path) = &source.path else {
        return Err(Problem::with_file(&source.name, "cannot be changed in place"));
    };
    write(path, source.mark, text)
        .map_err(|error| Problem::with_file(&source.name, format!("cannot be changed in place: {}", plain(&error))))
}

/// Writes a file that may be there already, whole or not at all; `-` is standard output.
///
/// # Errors
/// What the system says; the file, if there was one, is then as it was.
pub(crate) fn write_to(name: &str, text: &str) -> Result<(), Problem> {
    if name == "-" {
        return print(text);
    }
    write(Path::new(name), false, text).map_err(|error| Problem::with_file(name, format!("cannot be written: {}", plain(&error))))
}

fn write(path: &Path, mark: bool, text: &str) -> io::Result<()> {
    // A link stays a link: what it points at is changed.
    let (path, meta) = match fs::canonicalize(path) {
        Ok(path) => (path.clone(), Some(fs::metadata(path)?)),
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => (path.to_path_buf(), None),
        Err(error) => return Err(error),
    };
    if meta.as_ref().is_some_and(|meta| !meta.is_file()) {
        return Err(io::Error::other("this is not a regular file"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.ashore-{}", std::process::id()));
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        if mark {
            file.write_all("\u{feff}".as_bytes())?;
        }
        file.write_all(text.as_bytes())?;
        if let Some(meta) = meta {
            #[cfg(unix)]
            {
                use std::os::unix::fs::{MetadataExt, fchown};
                // Only root may give a file away; for all others it is their own already.
                let _ = fchown(&file, Some(meta.uid()), Some(meta.gid()));
            }
            file.set_permissions(meta.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, &path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&beside);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Rendered {
        Rendered { format: Format::Yaml, text: text.into(), changed: false }
    }

    #[test]
    fn files_are_joined_into_one_stream() {
        assert_eq!(join(&[yaml("a: 1"), yaml("b: 2\n"), yaml("# c\n---\nc: 3\n")]), "a: 1\n---\nb: 2\n# c\n---\nc: 3\n");
        assert_eq!(join(&[yaml("a: 1\n"), yaml("%YAML 1.1\n---\nb: 2\n")]), "a: 1\n...\n%YAML 1.1\n---\nb: 2\n");
        assert_eq!(join(&[yaml(""), yaml("a: 1")]), "a: 1");
        let json = |text: &str| Rendered { format: Format::Json, text: text.into(), changed: false };
        assert_eq!(join(&[json("{}"), json("[]\n")]), "{}\n[]\n");
    }
}
