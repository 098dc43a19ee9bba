//! The programs that misbehave on purpose: small C programs, compiled when they are first asked for.

use crate::image::Image;
use crate::paths;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

/// The program of this name from `tests/programs`, in `target/programs`; statically linked, so that it runs in any root.
///
/// # Panics
/// It cannot be compiled, with what the compiler says.
pub fn program(name: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    let source = paths::workspace().join("tests/programs").join(name).with_extension("c");
    let folder = paths::target().join("programs");
    let built = folder.join(name);
    let time = |path: &PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    if time(&built) < time(&source) {
        // Under a name of its own, then renamed: other test programs may do the same at the same time.
        let fresh = folder.join(format!("{name}.{}", std::process::id()));
        let made = std::fs::create_dir_all(&folder);
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let words = ["-static", "-O1", "-Wall", "-Wextra", "-pthread", "-o"];
        let output = made.and_then(|()| Command::new(&compiler).args(words).arg(&fresh).arg(&source).output());
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!("{} does not compile:\n{}", source.display(), String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("{}: {error}; a C compiler is needed", compiler.display()),
        }
        std::fs::rename(&fresh, &built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    }
    built
}

/// An image with those of them that run in pods, and a shell, all in `/bin`; its entrypoint is the actor.
///
/// # Errors
/// busybox is not installed, or a program cannot be read.
pub fn image() -> Result<Image> {
    let busybox = paths::find("busybox").ok_or_else(|| Error::other("busybox is not installed: apt-get install busybox-static"))?;
    let mut image = Image::new().entrypoint(["/bin/actor"]).env(["PATH=/bin"]).open_folder("tmp")?.program("bin/busybox", &busybox)?;
    for name in ["sh", "sleep", "cat", "kill", "ps", "wget", "nc", "httpd"] {
        image = image.link(&format!("bin/{name}"), "busybox")?;
    }
    for name in ["actor", "parent", "child"] {
        image = image.program(&format!("bin/{name}"), &program(name))?;
    }
    Ok(image)
}
