//! The textbook case's programs, compiled.

use crate::failure::{Context, Failure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const SOURCES: [(&str, &str, &str); 2] =
    [("parent", "parent.c", include_str!("../programs/parent.c")), ("child", "child.c", include_str!("../programs/child.c"))];

/// Compiles them into `dir`, with the C compiler that `CC` names, else `cc`.
///
/// # Errors
/// There is no compiler, or what it said.
pub(crate) fn compile(dir: &Path) -> Result<(), Failure> {
    let compiler = std::env::var("CC").ok().filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "cc".into());
    for (name, file, source) in SOURCES {
        let path = dir.join(file);
        fs::write(&path, source).context(path.display().to_string())?;
        // CC may hold arguments, as in `ccache gcc`.
        let mut words = compiler.split_whitespace();
        let failed = |said: String| Failure::Compiler { file, compiler: compiler.clone(), said };
        let output = Command::new(words.next().unwrap_or("cc"))
            .args(words)
            .args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-o"])
            .arg(dir.join(name))
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(format!("{error}; install a C compiler (Debian: gcc), or name one in CC")))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
    }
    Ok(())
}
