//! The inits that are compared, and what starts each.

use crate::error::Error;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One column of the table.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Its program; `None`: main is run without an init.
    pub(crate) path: Option<PathBuf>,
    /// What goes between its own name and main's.
    flags: Vec<String>,
    /// The Debian package that has it, if it is not ours and is not here.
    pub(crate) missing: Option<&'static str>,
}

impl Contender {
    /// The command that runs this part under the init.
    pub(crate) fn command(&self, part: &str, count: Option<u32>) -> Vec<CString> {
        let main = concat!(env!("OUT_DIR"), "/part");
        let init = self.path.iter().map(|path| path.as_os_str().as_bytes());
        let words = init.chain(self.flags.iter().map(|flag| flag.as_bytes())).chain([main.as_bytes(), part.as_bytes()]);
        let count = count.map(|count| count.to_string());
        let words = words.chain(count.iter().map(String::as_bytes));
        words.map(|word| CString::new(word).expect("a path has no NUL")).collect()
    }

    /// The same with these flags.
    pub(crate) fn with(&self, words: &[&str]) -> Self {
        Self { name: self.name, path: self.path.clone(), flags: flags(words), missing: self.missing }
    }

    pub(crate) const fn is_init(&self) -> bool {
        self.path.is_some()
    }

    pub(crate) const fn is_here(&self) -> bool {
        self.missing.is_none()
    }
}

fn flags(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The place of ashore-init in every row.
pub(crate) const ASHORE: usize = 0;
/// The place of tini, statically linked.
pub(crate) const TINI_STATIC: usize = 2;
/// The place of tini.
pub(crate) const TINI: usize = 1;
/// The place of main without an init.
pub(crate) const NO_INIT: usize = 5;

/// All of them, in the order of the constants above.
pub(crate) fn all(init: &Path) -> Result<Vec<Contender>, Error> {
    let init = init.canonicalize().map_err(|_| Error::NoInit(init.into()))?;
    let peer = |name, path: &str, package| Contender {
        name,
        path: Some(path.into()),
        flags: flags(&["--"]),
        missing: (!Path::new(path).exists()).then_some(package),
    };
    Ok(vec![
        Contender { name: "ashore-init", path: Some(init), flags: flags(&["--grace", "30s", "--"]), missing: None },
        peer("tini", "/usr/bin/tini", "tini"),
        peer("tini-static", "/usr/bin/tini-static", "tini"),
        peer("dumb-init", "/usr/bin/dumb-init", "dumb-init"),
        peer("catatonit", "/usr/bin/catatonit", "catatonit"),
        Contender { name: "no init", path: None, flags: Vec::new(), missing: None },
    ])
}
