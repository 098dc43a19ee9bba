//! Which namespaces are to have the ConfigMap with the init: those whose pods a policy injects that delivers by it, or their label, where the
//! base does.

use crate::rulebook::{Ground, Rulebook};
use ashore_inject::{Delivery, Mode, OptIn};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The least time between two looks, for changes that come together.
const GATHER: Duration = Duration::from_millis(100);

/// The namespaces that are to have it, as they change; `None` while nobody knows.
pub type Wanting = watch::Receiver<Option<Arc<BTreeSet<String>>>>;

/// Follows the rulebook for as long as somebody looks, but for the namespaces that `protects` names. `base` is how the init reaches pods that
/// no policy selects.
pub fn follow(book: Arc<Rulebook>, base: Delivery, protects: impl Fn(&str) -> bool + Send + 'static) -> Wanting {
    let (put, wanting) = watch::channel(None);
    let mut changes = book.changes();
    tokio::spawn(async move {
        loop {
            changes.borrow_and_update();
            if let Some(all) = all(&book, base, &protects) {
                put.send_if_modified(|known| {
                    let news = known.as_deref() != Some(&all);
                    if news {
                        *known = Some(Arc::new(all));
                    }
                    news
                });
            }
            tokio::time::sleep(GATHER).await;
            tokio::select! {
                Ok(()) = changes.changed() => {}
                () = put.closed() => return,
            }
        }
    });
    wanting
}

/// All of them. While no namespace is known, whether it is too early or a right is missing, nobody knows.
fn all(book: &Rulebook, base: Delivery, protects: impl Fn(&str) -> bool) -> Option<BTreeSet<String>> {
    let namespaces = if book.is_known() { book.namespaces() } else { Vec::new() };
    if namespaces.is_empty() {
        return None;
    }
    let names = namespaces.into_iter().map(|(name, _)| name);
    Some(names.filter(|name| !protects(name) && book.ground(name).is_some_and(|ground| wants(&ground, base))).collect())
}

/// Whether pods of a namespace may be injected by it, though they do not ask themselves.
fn wants(ground: &Ground, base: Delivery) -> bool {
    let maps = |delivery: Delivery| delivery.order().contains(&Delivery::ConfigMap);
    let labelled = ground.opt_in == OptIn::Namespace;
    // Where the label asks, a policy that only counts says how, too.
    let injects = |mode: Mode| mode == Mode::Enforce || labelled && mode == Mode::Audit;
    ground.opt_in != OptIn::Declined
        && (labelled && maps(base) || ground.rules.iter().any(|rule| injects(rule.mode) && maps(rule.policy.delivery)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashore_inject::rule::{API_VERSION, NAMESPACED};
    use ashore_inject::{Policies, Policy, Rule};
    use serde_json::json;
    use std::collections::BTreeMap;

    fn rule(namespace: &str, mode: &str, delivery: &str) -> Arc<Rule> {
        let metadata = json!({"namespace": namespace, "name": "p"});
        let document =
            json!({"apiVersion": API_VERSION, "kind": NAMESPACED, "metadata": metadata, "spec": {"mode": mode, "delivery": delivery}});
        Arc::new(Rule::read(&document, &Policy::default()).unwrap())
    }

    #[test]
    fn who_asks_for_it_and_how() {
        use Delivery::{Auto, ConfigMap, ImageVolume, InitContainer};
        use OptIn::{Declined, Namespace, Nobody};
        for (opt_in, base, policy, expected) in [
            (Namespace, ConfigMap, None, true),
            (Namespace, Auto, None, true),
            (Namespace, ImageVolume, None, false),
            (Nobody, ConfigMap, None, false),
            (Declined, ConfigMap, Some(("Enforce", "configMap")), false),
            (Nobody, InitContainer, Some(("Enforce", "configMap")), true),
            (Nobody, InitContainer, Some(("Enforce", "auto")), true),
            (Nobody, ConfigMap, Some(("Enforce", "imageVolume")), false),
            (Nobody, InitContainer, Some(("Audit", "configMap")), false),
            (Namespace, InitContainer, Some(("Audit", "configMap")), true),
            (Namespace, InitContainer, Some(("Off", "configMap")), false),
        ] {
            let rules = policy.map(|(mode, delivery)| rule("n", mode, delivery)).into_iter().collect();
            assert_eq!(wants(&Ground { opt_in, rules }, base), expected, "{opt_in:?} {base} {policy:?}");
        }
    }

    #[tokio::test]
    async fn the_rulebook_is_followed() {
        let book = Arc::new(Rulebook::default());
        let mut wanting = follow(Arc::clone(&book), Delivery::InitContainer, |namespace| namespace == "own");
        let names =
            |wanting: &mut Wanting| wanting.borrow_and_update().as_ref().map(|all| all.iter().cloned().collect::<Vec<_>>().join(" "));
        let rules = || ["a", "own", "gone"].map(|namespace| rule(namespace, "Enforce", "configMap")).into_iter().collect::<Policies>();
        for namespace in ["a", "b", "own"] {
            book.set_namespace(namespace, Some(BTreeMap::new()));
        }
        book.set_policies(rules(), vec![]);
        assert_eq!(all(&book, Delivery::ConfigMap, |_| false), None, "not all namespaces have been told of");
        book.namespaces_are(Some(&["a", "b", "own"].map(String::from).into()));
        wanting.changed().await.unwrap();
        assert_eq!(names(&mut wanting).as_deref(), Some("a"));
        book.set_policies(Policies::default(), vec![]);
        wanting.changed().await.unwrap();
        assert_eq!(names(&mut wanting).as_deref(), Some(""));
    }

    #[test]
    fn where_namespaces_may_not_be_seen_nobody_knows() {
        let book = Rulebook::default();
        book.set_policies(Policies::default(), vec![]);
        book.namespaces_are(None);
        assert!(book.is_known());
        assert_eq!(all(&book, Delivery::ConfigMap, |_| false), None);
    }
}
