//! Finding and executing a program as a shell does, and saying why when that fails.

use crate::sys::{self, Errno, Start};
use crate::text::Text;
use core::ffi::CStr;

/// Where programs are looked for when there is no PATH in the environment.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The longest path that the kernel takes, with its NUL (PATH_MAX).
const LONGEST_PATH: usize = 4096;
/// A program that was found but could not be executed (POSIX, 2.8.2).
const CANNOT_EXECUTE: u8 = 126;
/// A program that was not found.
const NOT_FOUND: u8 = 127;

/// A word of an argument vector or an environment, without its NUL.
///
/// # Safety
/// `word` points to a string that ends with a NUL and lives as long as the process.
pub unsafe fn word(word: *const u8) -> &'static [u8] {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(word.cast()) }.to_bytes()
}

/// Finds the program that is the first word and becomes it; returns an exit code when that failed, after saying why.
///
/// A name with a slash is a path; others are looked for in PATH (execvp(3)). Nothing is guessed: what is no executable is not run
/// by a shell instead, since the container's runtime would not do so either.
pub fn execute(start: &Start) -> u8 {
    // SAFETY: the argument vector is ours since the start, and is checked to have a first word; the child runs alone.
    let name = unsafe { word(*start.argv) };
    if name.contains(&b'/') {
        // SAFETY: as above.
        let path = unsafe { *start.argv };
        let error = sys::execve(path, start.argv, start.envp);
        // SAFETY: as above; the word ends with a NUL.
        return failed(unsafe { CStr::from_ptr(path.cast()) }, error);
    }
    search(start, name)
}

/// Looks for the program in PATH. Apart, since its buffer is a page of memory that a program with a path does without.
#[inline(never)]
fn search(start: &Start, name: &[u8]) -> u8 {
    let path = path_variable(start.envp);
    let mut buffer = [0; LONGEST_PATH];
    // One that is there but may not be executed is what is told of, if no other directory has a better one.
    let mut denied = None;
    for directory in path.split(|b| *b == b':') {
        let Some(candidate) = join(&mut buffer, directory, name) else { continue };
        match sys::execve(candidate.as_ptr().cast(), start.argv, start.envp) {
            Errno::NOENT if !sys::exists(candidate) => {}
            Errno::NOTDIR => {}
            // A directory that we may not look into is as good as one that does not have it.
            Errno::ACCES if sys::exists(candidate) => denied = denied.or(Some(directory)),
            Errno::ACCES => {}
            error => return failed(candidate, error),
        }
    }
    if let Some(found) = denied.and_then(|directory| join(&mut buffer, directory, name)) {
        return failed(found, Errno::ACCES);
    }
    say(&[name, b": not found in PATH (", path, b")"]);
    NOT_FOUND
}

/// `directory/name`; an empty directory is the working directory. `None`: longer than a path can be.
pub fn join<'b>(buffer: &'b mut [u8], directory: &[u8], name: &[u8]) -> Option<&'b CStr> {
    let mut path = Text::new(buffer);
    path.push(if directory.is_empty() { b"." } else { directory }).push(b"/").push(name);
    path.into_path()
}

fn path_variable(envp: *const *const u8) -> &'static [u8] {
    let mut at = envp;
    // SAFETY: the environment ends with a null pointer, and its words live as long as the process.
    unsafe {
        while !(*at).is_null() {
            if let Some(path) = word(*at).strip_prefix(b"PATH=") {
                return path;
            }
            at = at.add(1);
        }
    }
    DEFAULT_PATH
}

fn failed(path: &CStr, error: Errno) -> u8 {
    let is_there = error != Errno::NOENT || sys::exists(path);
    let why: Option<&[u8]> = match error {
        Errno::NOENT if is_there => Some(b"the interpreter that it needs (its #! line, or the dynamic loader) is not there"),
        Errno::ACCES if sys::is_directory(path) => Some(b"is a directory, not a program"),
        Errno::ACCES => Some(b"not executable: permission denied (its mode, a directory's, or a noexec mount)"),
        Errno::NOEXEC => Some(b"not executable: neither a program for this machine nor a script with a #! line"),
        _ => None,
    };
    match why {
        Some(why) => say(&[path.to_bytes(), b": ", why]),
        None => say_error(&[path.to_bytes(), b": cannot be executed"], error),
    }
    match error {
        Errno::NOENT if !is_there => NOT_FOUND,
        Errno::NOTDIR | Errno::NAMETOOLONG => NOT_FOUND,
        _ => CANNOT_EXECUTE,
    }
}

/// Says what was tried (two parts at most), and why it failed: in words where the error is a common one.
pub fn say_error(tried: &[&[u8]; 2], error: Errno) {
    let words: &[u8] = match error {
        Errno::NOENT => b"no such file or directory",
        Errno::NOTDIR => b"a part of the path is not a directory",
        Errno::ACCES | Errno::PERM => b"permission denied",
        Errno::ROFS => b"read-only file system",
        Errno::NOSPC => b"no space left",
        Errno::TOO_BIG => b"the argument list and the environment are too long",
        Errno::NOMEM => b"not enough memory",
        Errno::AGAIN => b"a limit on processes is reached",
        _ => b"error",
    };
    let mut buffer = [0; 24];
    let mut number = Text::new(&mut buffer);
    number.push_field(b" (errno ", error.0 as u64).push(b")");
    say(&[tried[0], tried[1], b": ", words, number.as_bytes()]);
}

/// Writes one line to standard error, from its parts.
pub fn say(parts: &[&[u8]]) {
    let mut buffer = [0; 1024];
    let mut text = Text::new(&mut buffer);
    text.push(b"ashore-init: ");
    for part in parts {
        // The line's end always fits.
        let part = &part[..part.len().min(text.room() - 1)];
        text.push_plain(part);
    }
    text.push(b"\n");
    sys::tell(text.as_bytes(), 0);
}
