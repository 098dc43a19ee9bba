//! How the init reaches a pod: what is asked for, what the cluster offers, and what comes of both.

use crate::nodes::Architectures;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the init is to reach a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Delivery {
    /// An init container copies it into an emptyDir. Works everywhere.
    #[default]
    InitContainer,
    /// It is mounted from our image (KEP-4639, image volumes).
    ImageVolume,
    /// It is mounted from a ConfigMap of the pod's namespace, which the operator keeps there.
    ConfigMap,
    /// The quickest of these that is possible: a ConfigMap, else an image volume, else the init container.
    Auto,
}

impl Delivery {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::InitContainer, Self::ImageVolume, Self::ConfigMap, Self::Auto];
    /// What is allowed, for errors.
    pub const EXPECTED: &str = "initContainer, imageVolume, configMap or auto";

    /// Reads its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|delivery| delivery.word() == word)
    }

    /// What is tried for it before the init container, in this order.
    pub fn order(self) -> &'static [Self] {
        match self {
            Self::InitContainer => &[],
            Self::ImageVolume => &[Self::ImageVolume],
            Self::ConfigMap => &[Self::ConfigMap],
            Self::Auto => &[Self::ConfigMap, Self::ImageVolume],
        }
    }

    /// The word for it in policies, annotations and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::InitContainer => "initContainer",
            Self::ImageVolume => "imageVolume",
            Self::ConfigMap => "configMap",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How the init is in a pod, as the marker annotation says it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// Copied by an init container.
    #[default]
    InitContainer,
    /// Mounted from our image.
    ImageVolume,
    /// Mounted from the ConfigMap of this name.
    ConfigMap(String),
}

impl Way {
    /// What one asks for to get it.
    pub fn delivery(&self) -> Delivery {
        match self {
            Self::InitContainer => Delivery::InitContainer,
            Self::ImageVolume => Delivery::ImageVolume,
            Self::ConfigMap(_) => Delivery::ConfigMap,
        }
    }

    pub(crate) fn is_init_container(&self) -> bool {
        *self == Self::InitContainer
    }
}

/// Why a delivery is not possible for a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unavailable {
    /// A short word for metrics and JSON, in lower camel case.
    pub code: &'static str,
    /// For people.
    pub why: String,
}

/// What the cluster offers one pod. Answered from what is known already: nothing waits for it.
pub trait Offers {
    /// Whether an image volume works on every node that the pod may land on.
    ///
    /// # Errors
    /// Why not.
    fn image_volume(&self, architectures: &Architectures) -> Result<(), Unavailable>;

    /// The name of the ConfigMap in the pod's namespace that holds the init for the one architecture that the pod can run on.
    ///
    /// # Errors
    /// Why there is none.
    fn config_map(&self, architectures: &Architectures) -> Result<String, Unavailable>;
}

/// Nothing but the init container: where no cluster is asked, as for files.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCluster;

impl NoCluster {
    fn unavailable(what: &str) -> Unavailable {
        Unavailable { code: "noCluster", why: format!("no cluster is asked whether {what}") }
    }
}

impl Offers for NoCluster {
    fn image_volume(&self, _: &Architectures) -> Result<(), Unavailable> {
        Err(Self::unavailable("its nodes can mount images"))
    }

    fn config_map(&self, _: &Architectures) -> Result<String, Unavailable> {
        Err(Self::unavailable("the pod's namespace has the ConfigMap"))
    }
}

/// How the init reaches a pod, and why not in another way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// What was asked for.
    pub asked: Delivery,
    /// What came of it.
    pub way: Way,
    /// What would have gone before it, and why it is not possible. Empty for a pod that was injected before: what it has, it keeps.
    pub not: Vec<(Delivery, Unavailable)>,
}

impl Delivered {
    /// The quickest way of those that are asked for and offered.
    pub(crate) fn choose(asked: Delivery, offers: &dyn Offers, architectures: &Architectures) -> Self {
        let mut not = Vec::new();
        for delivery in asked.order() {
            let offered = match delivery {
                Delivery::ConfigMap => offers.config_map(architectures).map(Way::ConfigMap),
                _ => offers.image_volume(architectures).map(|()| Way::ImageVolume),
            };
            match offered {
                Ok(way) => return Self { asked, way, not },
                Err(why) => not.push((*delivery, why)),
            }
        }
        Self { asked, way: Way::InitContainer, not }
    }

    /// What the person should hear who asked for one delivery and gets another. Whoever leaves the choice to us hears nothing.
    pub fn warning(&self) -> Option<String> {
        let (delivery, why) = self.not.last().filter(|_| self.asked != Delivery::Auto)?;
        Some(format!("delivery {delivery} is not possible, an {} brings ashore-init instead: {why}", self.way.delivery()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers what it names.
    struct Only(&'static [Delivery]);

    impl Only {
        fn answer<T>(&self, delivery: Delivery, yes: T) -> Result<T, Unavailable> {
            let no = || Unavailable { code: "no", why: format!("no {delivery} here") };
            self.0.contains(&delivery).then_some(yes).ok_or_else(no)
        }
    }

    impl Offers for Only {
        fn image_volume(&self, _: &Architectures) -> Result<(), Unavailable> {
            self.answer(Delivery::ImageVolume, ())
        }

        fn config_map(&self, _: &Architectures) -> Result<String, Unavailable> {
            self.answer(Delivery::ConfigMap, "it".into())
        }
    }

    #[test]
    fn the_quickest_of_those_asked_for_that_is_offered() {
        use Delivery::{Auto, ConfigMap, ImageVolume, InitContainer};
        let map = || Way::ConfigMap("it".into());
        for (asked, offered, way, not, warns) in [
            (InitContainer, &[ConfigMap, ImageVolume][..], Way::InitContainer, &[][..], false),
            (ImageVolume, &[ConfigMap, ImageVolume], Way::ImageVolume, &[], false),
            (ImageVolume, &[ConfigMap], Way::InitContainer, &[ImageVolume], true),
            (ConfigMap, &[ConfigMap, ImageVolume], map(), &[], false),
            (ConfigMap, &[ImageVolume], Way::InitContainer, &[ConfigMap], true),
            (Auto, &[ConfigMap, ImageVolume], map(), &[], false),
            (Auto, &[ImageVolume], Way::ImageVolume, &[ConfigMap], false),
            (Auto, &[], Way::InitContainer, &[ConfigMap, ImageVolume], false),
        ] {
            let delivered = Delivered::choose(asked, &Only(offered), &Architectures::ALL);
            assert_eq!(delivered.way, way, "{asked} of {offered:?}");
            assert_eq!(delivered.not.iter().map(|(delivery, _)| *delivery).collect::<Vec<_>>(), not, "{asked} of {offered:?}");
            assert_eq!(delivered.warning().is_some(), warns, "{asked} of {offered:?}");
        }
        let told = Delivered::choose(ConfigMap, &Only(&[]), &Architectures::ALL).warning();
        assert_eq!(
            told.as_deref(),
            Some("delivery configMap is not possible, an initContainer brings ashore-init instead: no configMap here")
        );
    }

    #[test]
    fn every_word_is_read() {
        for delivery in Delivery::ALL {
            assert_eq!(Delivery::parse(delivery.word()), Some(delivery));
            assert!(Delivery::EXPECTED.contains(delivery.word()));
        }
        assert_eq!(Delivery::parse("ConfigMap"), None);
    }
}
