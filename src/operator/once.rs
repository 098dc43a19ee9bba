//! An Event that is made once, however often that is tried: it has its name before the API server is asked for it.

use crate::hash::sha256;
use crate::objects::{Kind, ObjectError, Objects};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::time::sleep;

/// How often an Event is tried, and how long it is waited for in between at first.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// Hexadecimal digits of the hash in an Event's name.
const DIGITS: usize = 16;
/// The longest part of an object's name that goes into an Event's: together they are a name, too.
const LONGEST: usize = 200;

/// Makes an Event under this name, in the namespace of `objects`. Says whether it is new: there may have been one of its name before.
///
/// # Errors
/// [`ObjectError`]: it was refused, or whatever may pass did not pass.
pub(crate) async fn make(objects: &Objects, mut event: Value, name: String) -> Result<bool, ObjectError> {
    event["metadata"]["name"] = name.into();
    let mut tries = 0;
    loop {
        tries += 1;
        match objects.create(Kind::Event, "", &event).await {
            Ok(_) => return Ok(true),
            // The second time it is our own, which was made and not heard of.
            Err(error) if error.is_already_there() => return Ok(tries > 1),
            Err(error) if tries < TRIES && may_pass(&error) => sleep(PAUSE * tries).await,
            Err(error) => return Err(error),
        }
    }
}

/// Whether it may be done when it is tried again.
fn may_pass(error: &ObjectError) -> bool {
    error.is_conflict() || error.code.is_none_or(|code| code == 429 || code >= 500)
}

/// The name of an Event that there is to be one of: the same for the same key.
pub(crate) fn name(object: &str, key: &str) -> String {
    named(object, &sha256(key.as_bytes(), DIGITS))
}

/// The name of one that this pod of ours makes whenever it is told anew: no other Event has it.
pub(crate) fn new_name(instance: &str) -> String {
    named(instance, &format!("{:01$x}", RandomState::new().hash_one(Timestamp::now().as_nanosecond()), DIGITS))
}

fn named(object: &str, digits: &str) -> String {
    // Names of objects are ASCII.
    let head: String = object.chars().filter(char::is_ascii).take(LONGEST).collect();
    format!("{}.{digits}", head.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_however_long_the_pods_is() {
        let long = format!("{}-{}", "a".repeat(199), "b".repeat(50));
        assert_eq!(name(&long, "k"), format!("{}.{}", "a".repeat(199), &name("x", "k")[2..]));
        assert_eq!((name("web-0", "k").len(), name("web-0", "k") == name("web-0", "l")), (22, false));
        assert_eq!((new_name("web-0").len(), new_name("web-0") == new_name("web-0")), (22, false));
    }
}
