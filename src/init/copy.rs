//! `ashore-init copy DIR`: puts this program where other containers find it.

use crate::program::{join, say, say_error};
use crate::sys::{self, Errno, File, Open};
use core::ffi::CStr;

/// Its name in the directory.
const NAME: &[u8] = b"ashore-init";
/// The name that it has until it is whole.
const TEMPORARY: &[u8] = b".ashore-init.new";
/// Readable and executable by every user, writable by none: the container may run as anybody.
const MODE: u32 = 0o555;

/// Copies this program into `directory`, whole or not at all, and returns an exit code.
///
/// It is written under another name and then renamed, so that a restart half way leaves nothing that would be run. `own_path` is
/// what the kernel executed (AT_EXECFN), for where there is no `/proc`.
// Not inlined: its buffers would lie on the stack for as long as main runs.
#[inline(never)]
pub fn copy(directory: &[u8], own_path: &CStr) -> u8 {
    let (mut target, mut temporary) = ([0; 4096], [0; 4096]);
    let (Some(target), Some(temporary)) = (join(&mut target, directory, NAME), join(&mut temporary, directory, TEMPORARY)) else {
        say(&[b"copy: ", directory, b": the path is too long"]);
        return 1;
    };
    match write(own_path, target, temporary) {
        Ok(()) => 0,
        Err(error) => {
            let _ = sys::unlink(temporary);
            say_error(&[b"copy: cannot write ", target.to_bytes()], error);
            1
        }
    }
}

fn write(own_path: &CStr, target: &CStr, temporary: &CStr) -> Result<(), Errno> {
    let own = File::open(c"/proc/self/exe", Open::Read).or_else(|_| File::open(own_path, Open::Read))?;
    // What an interrupted copy left behind.
    match sys::unlink(temporary) {
        Err(error) if error != Errno::NOENT => return Err(error),
        _ => {}
    }
    let copy = File::open(temporary, Open::Create)?;
    let mut buffer = [0; 8192];
    loop {
        let length = own.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        copy.write_all(&buffer[..length])?;
    }
    copy.set_mode(MODE)?;
    drop(copy);
    sys::rename(temporary, target)
}
