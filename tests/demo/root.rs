//! `demo container`: gives a process that is PID 1 of a new namespace the root file system of a container, and becomes the
//! container's command. So the command runs word for word as the pod has it, `/ashore/ashore-init` included.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The first argument that makes the demo do this.
pub(crate) const VERB: &str = "container";

/// What of the host the container sees: programs that are linked dynamically need their libraries.
const HOST: [&str; 11] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "nix", "gnu", "run/current-system"];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// The words after the program's own name that make it run `argv` in a root at `root` (an empty directory), with each of
/// `binds` (what, where) mounted.
pub(crate) fn command(root: &Path, binds: &[(PathBuf, String)], argv: &[String]) -> Vec<std::ffi::OsString> {
    let mut words = vec![VERB.into(), root.into()];
    for (source, target) in binds {
        words.extend([source.into(), target.into()]);
    }
    words.push("--".into());
    words.extend(argv.iter().map(Into::into));
    words
}

/// Does it. Comes back only if something could not be done.
pub(crate) fn enter(words: &[std::ffi::OsString]) -> io::Error {
    let usage = || io::Error::other("expected: container ROOT [WHAT WHERE]... -- COMMAND [ARG]...");
    let Some((root, rest)) = words.split_first() else { return usage() };
    let Some(dashes) = rest.iter().position(|word| word == "--") else { return usage() };
    let (binds, argv) = (&rest[..dashes], &rest[dashes + 1..]);
    let Some((program, args)) = argv.split_first() else { return usage() };
    let root = Path::new(root);
    let prepared = own_mounts()
        .and_then(|()| fill(root))
        .and_then(|()| binds.chunks_exact(2).try_for_each(|bind| bind_at(Path::new(&bind[0]), &inside(root, Path::new(&bind[1])))));
    if let Err(error) = prepared.and_then(|()| std::os::unix::fs::chroot(root)).and_then(|()| std::env::set_current_dir("/")) {
        return error;
    }
    Command::new(program).args(args).exec()
}

/// Whoever is not root may mount in a user namespace of its own alone. It stays who it is in there.
fn own_mounts() -> io::Result<()> {
    // SAFETY: neither can fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    if user == 0 {
        return Ok(());
    }
    // SAFETY: takes a number only; there is one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Makes the root: the host's programs and libraries, /proc, a few devices, an empty /tmp.
fn fill(root: &Path) -> io::Result<()> {
    mount("tmpfs", root, "tmpfs", libc::MS_NOSUID | libc::MS_NODEV)?;
    for name in HOST {
        let (source, target) = (Path::new("/").join(name), root.join(name));
        match fs::symlink_metadata(&source) {
            Ok(found) if found.is_symlink() => {
                fs::create_dir_all(target.parent().unwrap_or(root))?;
                symlink(fs::read_link(&source)?, &target)?;
            }
            Ok(_) => bind_at(&source, &target)?,
            Err(_) => {}
        }
    }
    for name in DEVICES {
        bind_at(&Path::new("/dev").join(name), &root.join("dev").join(name))?;
    }
    // The kubelet puts one there for every container.
    File::create(root.join("dev/termination-log"))?;
    fs::create_dir(root.join("tmp"))?;
    bind_at(Path::new("/proc"), &root.join("proc"))
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Shows a file or folder at another place too, with what is mounted in it.
fn bind_at(source: &Path, target: &Path) -> io::Result<()> {
    if source.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        fs::create_dir_all(target.parent().unwrap_or(target))?;
        File::create(target)?;
    }
    mount(source, target, "", libc::MS_BIND | libc::MS_REC)
}

fn mount(source: impl AsRef<Path>, target: &Path, kind: &str, flags: libc::c_ulong) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes()).map_err(io::Error::other);
    let (from, to, kind) = (text(source.as_ref())?, text(target)?, text(Path::new(kind))?);
    // SAFETY: three strings that end in a zero; no data.
    match unsafe { libc::mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) } {
        0 => Ok(()),
        _ => {
            let error = io::Error::last_os_error();
            Err(io::Error::new(error.kind(), format!("mounting {} at {}: {error}", source.as_ref().display(), target.display())))
        }
    }
}
