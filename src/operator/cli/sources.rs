//! What is read: files, folders and standard input, each bounded.

use super::problem::Problem;
use super::progress::Progress;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that one file may hold.
pub(crate) const MOST_PER_FILE: u64 = 64 << 20;
/// The most that all files together may hold: nothing is written before everything was read and found good.
pub(crate) const MOST_TOGETHER: u64 = 512 << 20;
/// How deep folders are looked into; deeper ones are no manifests but a mistake.
const DEEPEST: usize = 64;
/// What kubectl, too, takes for a manifest in a folder.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// What was read of one file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its name for messages.
    pub name: String,
    /// Where it is; `None` for standard input.
    pub path: Option<PathBuf>,
    /// Whether it was found in a folder rather than named: what is in it may then be anything.
    pub found: bool,
    /// Its text, without a byte-order mark.
    pub text: String,
    /// Whether it began with a byte-order mark.
    pub mark: bool,
}

/// Reads all that is named; what cannot be read becomes a problem, and the rest is read all the same.
pub(crate) fn read(names: &[String], recursive: bool, progress: &mut Progress, problems: &mut Vec<Problem>) -> Vec<Source> {
    let mut files = Vec::new();
    for name in names {
        if name == "-" {
            files.push((None, false));
            continue;
        }
        if name.starts_with("https://") || name.starts_with("http://") {
            problems.push(Problem::with_file(name, "addresses are not fetched; use: curl -fsSL ADDRESS | ashore ... -"));
            continue;
        }
        let path = Path::new(name);
        match fs::metadata(path) {
            Err(error) => problems.push(Problem::with_file(name, plain(&error))),
            Ok(meta) if meta.is_dir() => {
                let before = files.len();
                if let Err((path, error)) = walk(path, recursive, 0, &mut files) {
                    problems.push(Problem::with_file(&path.display().to_string(), plain(&error)));
                } else if files.len() == before {
                    let hint = if recursive { "" } else { "; -R looks into the folders in it" };
                    problems.push(Problem::with_file(name, format!("no .yaml, .yml or .json file in this folder{hint}")));
                }
            }
            Ok(_) => files.push((Some(path.to_path_buf()), false)),
        }
    }
    let (mut sources, mut total, many) = (Vec::with_capacity(files.len()), 0, files.len());
    for (at, (path, found)) in files.into_iter().enumerate() {
        let name = path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
        progress.step("reading", at, many, &name);
        let bytes = match &path {
            Some(path) => File::open(path).and_then(bounded),
            None => bounded(io::stdin().lock()),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                problems.push(Problem::with_file(&name, plain(&error)));
                continue;
            }
        };
        total += bytes.len() as u64;
        if total > MOST_TOGETHER {
            problems.push(Problem::with_file(&name, format!("all files together are larger than {} MiB", MOST_TOGETHER >> 20)));
            break;
        }
        match text(bytes) {
            Ok((text, mark)) => sources.push(Source { name, path, found, text, mark }),
            Err((line, what)) => {
                let mut problem = Problem::with_file(&name, what);
                problem.place.line = line;
                problems.push(problem);
            }
        }
    }
    sources
}

/// The manifests in a folder, by name; folders in it only if asked. Links to folders are not followed, as kubectl does not.
fn walk(dir: &Path, recursive: bool, depth: usize, files: &mut Vec<(Option<PathBuf>, bool)>) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (dir.to_path_buf(), error);
    if depth > DEEPEST {
        return Err(failed(io::Error::other(format!("folders in folders, more than {DEEPEST} deep"))));
    }
    let mut entries = fs::read_dir(dir).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            if recursive {
                walk(&path, recursive, depth + 1, files)?;
            }
        } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) && !path.is_dir() {
            files.push((Some(path), true));
        }
    }
    Ok(())
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MOST_PER_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_PER_FILE {
        return Err(io::Error::other(format!("larger than {} MiB, the most that is read of one: split it", MOST_PER_FILE >> 20)));
    }
    Ok(bytes)
}

/// The text in these bytes and whether a byte-order mark was before it, or the line and what is wrong there.
fn text(bytes: Vec<u8>) -> Result<(String, bool), (Option<usize>, String)> {
    if matches!(bytes.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Err((None, "this is UTF-16; save it as UTF-8".into()));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        (Some(line), format!("byte {:#04x} is not UTF-8 text", error.as_bytes()[at]))
    })?;
    let mark = text.starts_with('\u{feff}');
    if mark {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok((text, mark))
}

/// An error of the system without its number: "no such file or directory".
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "cannot be read".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{bounded, text};

    #[test]
    fn an_endless_input_is_given_up_at_the_bound() {
        assert_eq!(
            bounded(std::io::repeat(b'a')).expect_err("too large").to_string(),
            "larger than 64 MiB, the most that is read of one: split it"
        );
    }

    #[test]
    fn what_is_no_text_is_named_with_its_line() {
        assert_eq!(text(b"a: 1\nb: \xff\n".to_vec()), Err((Some(2), "byte 0xff is not UTF-8 text".into())));
        assert!(text(b"\xff\xfea\0".to_vec()).expect_err("UTF-16").1.contains("UTF-8"));
        assert_eq!(text("\u{feff}a".into()), Ok(("a".into(), true)));
    }
}
