//! The first instructions, and what the kernel leaves on the stack for them (System V ABI; AAPCS64).

use ashore_init::run::{self, Arguments};
use ashore_init::signal::SignalSet;
use ashore_init::stop::Room;
use ashore_init::sys;
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::ffi::CStr;

/// The key of the executed path in the auxiliary vector (getauxval(3)).
const AT_EXECFN: usize = 31;

#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start)
}

#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn _start() -> ! {
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {start}", start = sym start)
}

struct OnlyRoom(UnsafeCell<Room>);
// SAFETY: there is one thread, and `start` takes it once.
unsafe impl Sync for OnlyRoom {}
static ROOM: OnlyRoom = OnlyRoom(UnsafeCell::new(Room::NEW));

/// `stack` is where the kernel put the count of arguments, the arguments, the environment and the auxiliary vector.
///
/// # Safety
/// Called once, by `_start`.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // Before anything else: a stop signal that comes from now on is kept for us.
    let before: SignalSet = sys::block_signals();
    // SAFETY: the layout is the kernel's; every vector ends with a null.
    let arguments = unsafe {
        let count = *stack;
        let argv = stack.add(1).cast::<*const u8>();
        let envp = argv.add(count + 1);
        Arguments { count, argv, envp, own_path: own_path(envp) }
    };
    // SAFETY: nobody else has it.
    let room = unsafe { &mut *ROOM.0.get() };
    // SAFETY: the pointers are the kernel's.
    sys::exit(unsafe { run::run(&arguments, before, room) })
}

/// # Safety
/// `envp` is the environment that the kernel passed, with the auxiliary vector behind it.
unsafe fn own_path(envp: *const *const u8) -> &'static CStr {
    // SAFETY: as the caller promises; the auxiliary vector ends with a key of 0.
    unsafe {
        let mut at = envp;
        while !(*at).is_null() {
            at = at.add(1);
        }
        let mut pair = at.add(1).cast::<[usize; 2]>();
        loop {
            match *pair {
                [0, _] => return c"/proc/self/exe",
                [AT_EXECFN, path] => return CStr::from_ptr(path as *const _),
                _ => pair = pair.add(1),
            }
        }
    }
}
