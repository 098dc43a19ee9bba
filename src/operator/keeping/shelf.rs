//! Which reports there are, and which of them have to go: those beyond so many of a workload, of a namespace, of the cluster, and those that
//! are too old. Decides only.

use std::collections::{BTreeSet, HashMap};

/// How many are kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) per_workload: usize,
    pub(crate) per_namespace: usize,
    pub(crate) all: usize,
    /// In seconds.
    pub(crate) age: i64,
}

/// One that is there: the older goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    /// When it was made, in seconds since 1970.
    made: i64,
    name: String,
}

/// One that has to go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Doomed {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Those of a namespace, by workload.
type Place = HashMap<String, BTreeSet<Kept>>;

/// All that are there.
#[derive(Debug)]
pub(crate) struct Shelf {
    limits: Limits,
    places: HashMap<String, Place>,
    total: usize,
}

impl Shelf {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, places: HashMap::new(), total: 0 }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.total
    }

    /// Puts one on it, and says which has to go for it.
    pub(crate) fn put(&mut self, namespace: &str, workload: &str, name: &str, made: i64) -> Option<Doomed> {
        let place = self.places.entry(namespace.to_owned()).or_default();
        let kept = place.entry(workload.to_owned()).or_default();
        if !kept.insert(Kept { made, name: name.to_owned() }) {
            return None;
        }
        self.total += 1;
        let workload = if kept.len() > self.limits.per_workload {
            workload.to_owned()
        } else if place.values().map(BTreeSet::len).sum::<usize>() > self.limits.per_namespace {
            oldest(place)?
        } else if self.total > self.limits.all {
            // Of whoever has most, so that nobody drives out the others'.
            let most = self.places.iter().max_by_key(|(_, place)| place.values().map(BTreeSet::len).sum::<usize>())?.0.clone();
            let workload = oldest(self.places.get(&most)?)?;
            return self.take(&most, &workload);
        } else {
            return None;
        };
        self.take(namespace, &workload)
    }

    /// Those that are too old.
    pub(crate) fn expired(&mut self, now: i64) -> Vec<Doomed> {
        let before = now - self.limits.age;
        let mut doomed = Vec::new();
        for (namespace, place) in &mut self.places {
            for kept in place.values_mut() {
                while kept.first().is_some_and(|kept| kept.made < before) {
                    doomed.extend(kept.pop_first().map(|Kept { name, .. }| Doomed { namespace: namespace.clone(), name }));
                }
            }
            place.retain(|_, kept| !kept.is_empty());
        }
        self.places.retain(|_, place| !place.is_empty());
        self.total -= doomed.len();
        doomed
    }

    /// Takes the oldest of a workload from it.
    fn take(&mut self, namespace: &str, workload: &str) -> Option<Doomed> {
        let place = self.places.get_mut(namespace)?;
        let kept = place.get_mut(workload)?;
        let Kept { name, .. } = kept.pop_first()?;
        if kept.is_empty() {
            place.remove(workload);
        }
        if place.is_empty() {
            self.places.remove(namespace);
        }
        self.total -= 1;
        Some(Doomed { namespace: namespace.to_owned(), name })
    }
}

/// The workload with the oldest one.
fn oldest(place: &Place) -> Option<String> {
    place.iter().min_by_key(|(_, kept)| kept.first()).map(|(workload, _)| workload.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { per_workload: 2, per_namespace: 4, all: 6, age: 100 };

    fn put(shelf: &mut Shelf, namespace: &str, workload: &str, made: i64) -> Option<String> {
        let name = format!("{workload}{made}");
        shelf.put(namespace, workload, &name, made).map(|doomed| format!("{}/{}", doomed.namespace, doomed.name))
    }

    #[test]
    fn the_oldest_of_a_workload_goes() {
        let mut shelf = Shelf::new(LIMITS);
        assert_eq!((put(&mut shelf, "n", "a", 5), put(&mut shelf, "n", "a", 3), put(&mut shelf, "n", "b", 1)), (None, None, None));
        assert_eq!(put(&mut shelf, "n", "a", 4).as_deref(), Some("n/a3"));
        // The same in another namespace is another one.
        assert_eq!(put(&mut shelf, "m", "a", 9), None);
        // One that is there already is no second one; one that is older than those that are there is the one to go.
        assert_eq!(put(&mut shelf, "n", "a", 4), None);
        assert_eq!(put(&mut shelf, "n", "a", 2).as_deref(), Some("n/a2"));
        assert_eq!(shelf.len(), 4);
    }

    #[test]
    fn a_namespace_and_the_cluster_have_bounds() {
        let mut shelf = Shelf::new(LIMITS);
        for (made, workload) in ["a", "b", "c", "d"].iter().enumerate() {
            assert_eq!(put(&mut shelf, "many", workload, 10 + made as i64), None);
        }
        assert_eq!(put(&mut shelf, "many", "e", 20).as_deref(), Some("many/a10"));
        assert_eq!((put(&mut shelf, "few", "a", 1), put(&mut shelf, "few", "b", 2)), (None, None));
        // It is older, but its namespace has fewer.
        assert_eq!(put(&mut shelf, "other", "a", 30).as_deref(), Some("many/b11"));
        assert_eq!(shelf.len(), 6);
    }

    #[test]
    fn what_is_too_old_goes() {
        let mut shelf = Shelf::new(LIMITS);
        for made in [0, 50, 90] {
            put(&mut shelf, "n", &format!("w{made}-"), made);
        }
        assert_eq!(shelf.expired(100), []);
        let names: BTreeSet<String> = shelf.expired(151).into_iter().map(|doomed| doomed.name).collect();
        assert_eq!(names, ["w0-0".to_owned(), "w50-50".to_owned()].into());
        assert_eq!((shelf.len(), shelf.expired(151)), (1, vec![]));
    }
}
