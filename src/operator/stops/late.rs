//! What is still being told where the API server is slow to take it: nobody waits for that, so that one namespace whose Events are held up
//! (by a webhook that does not answer, say) holds up no other. There are never many of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// The most of a namespace, as many Events as it may have at once, and in all: a few KiB each.
const EACH: usize = 1000;
const ALL: usize = 2500;

/// How many there are, by namespace.
#[derive(Debug, Default)]
pub struct Late(Mutex<HashMap<String, usize>>);

impl Late {
    fn places(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether something of this namespace is late.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.places().contains_key(namespace)
    }

    /// One more of this namespace is late, until what is given is dropped; none if there are too many.
    pub fn enter(self: &Arc<Self>, namespace: &str) -> Option<Place> {
        let mut places = self.places();
        if places.values().sum::<usize>() >= ALL || places.get(namespace).is_some_and(|number| *number >= EACH) {
            return None;
        }
        *places.entry(namespace.into()).or_default() += 1;
        Some(Place { late: Arc::clone(self), namespace: namespace.into() })
    }
}

/// That of one that is late.
#[derive(Debug)]
pub struct Place {
    late: Arc<Late>,
    namespace: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.late.places();
        if let Some(number) = places.get_mut(&self.namespace) {
            *number -= 1;
            if *number == 0 {
                places.remove(&self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_many_and_no_namespace_has_all_places() {
        let late = Arc::new(Late::default());
        let enter = |namespace: &str| (0..2 * ALL).map_while(|_| late.enter(namespace)).collect::<Vec<_>>();
        let first = enter("a");
        assert_eq!((first.len(), late.is_in("a"), late.is_in("b")), (EACH, true, false));
        let others = ["b", "c", "d"].map(enter);
        assert_eq!(others.each_ref().map(Vec::len), [EACH, ALL - 2 * EACH, 0]);
        drop((first, others));
        assert!(!late.is_in("a") && late.enter("d").is_some());
    }
}
