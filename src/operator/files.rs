//! Files that change while Ashore runs, such as those of a mounted Secret or ConfigMap.

use std::time::Duration;

/// How often files are looked at. A Secret takes up to a minute to reach a pod, so a second is nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the stack of a look takes, in bytes, at most.
const STACK: usize = 256 * 1024;

/// Reads again and again, for ever, and says whenever something else is there than was `used` or said last. A thread of its own does:
/// nothing else that gets stuck can keep a change from being seen.
///
/// # Errors
/// The thread cannot be started.
pub fn follow<T: PartialEq + Clone + Send + 'static>(
    thread: &str,
    used: T,
    read: impl Fn() -> T + Send + 'static,
    mut changed: impl FnMut(&T) + Send + 'static,
) -> std::io::Result<()> {
    let follower = std::thread::Builder::new().name(thread.into()).stack_size(STACK);
    let looks = move || {
        let (mut handled, mut last) = (used.clone(), used);
        loop {
            std::thread::sleep(LOOK_EVERY);
            let now = read();
            // Two equal looks in a row: nobody is in the middle of writing, and a swapped Secret mount isn't read half and half.
            let settled = now == last;
            last = now;
            if settled && last != handled {
                handled = last.clone();
                changed(&handled);
            }
        }
    };
    follower.spawn(looks).map(drop)
}
