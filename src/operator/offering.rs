//! What this cluster offers a pod: whether its nodes can mount images, and whether its namespace has the ConfigMap with the init.

use crate::carriers::Carriers;
use crate::nodes::Nodes;
use crate::objects::chain;
use crate::serve::duration;
use crate::version::Version;
use ashore_inject::{Architectures, Delivery, Offers, Unavailable};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// The flags.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "delivery")]
pub struct Args {
    /// How the init may reach pods besides the init container, for policies that ask for it: imageVolume, configMap; comma-separated
    #[arg(long, value_name = "LIST", env = "ASHORE_DELIVERIES", value_delimiter = ',', value_parser = delivery)]
    pub deliveries: Vec<Delivery>,

    /// The init that goes into ConfigMaps
    #[arg(long, value_name = "FILE", env = "ASHORE_INIT_BINARY", default_value = "/ashore-init")]
    pub init_binary: PathBuf,

    /// How long a ConfigMap that is not needed any more is kept before it is removed, if no pod uses it then
    #[arg(long, value_name = "DURATION", env = "ASHORE_UNUSED_CONFIG_MAPS_AFTER", default_value = "10m", value_parser = duration)]
    pub unused_config_maps_after: Duration,
}

fn delivery(word: &str) -> Result<Delivery, String> {
    let known = Delivery::parse(word).filter(|delivery| matches!(delivery, Delivery::ImageVolume | Delivery::ConfigMap));
    known.ok_or_else(|| "not imageVolume or configMap".into())
}

/// How often the API server is asked for its version, and how soon again when it did not say.
const EVERY: Duration = Duration::from_secs(600);
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of the cluster. The default offers nothing but the init container.
#[derive(Debug, Default)]
pub struct Offering {
    /// Its nodes, if somebody watches them.
    pub nodes: Option<Nodes>,
    /// The API server's version, if image volumes may be used.
    pub server: Option<Server>,
    /// The ConfigMaps with the init, if there are to be any.
    pub carriers: Option<Arc<Carriers>>,
}

/// The API server's version; `None` until it has said it.
#[derive(Debug, Clone, Default)]
pub struct Server(Arc<RwLock<Option<Version>>>);

impl Server {
    /// Asks for it now and then.
    pub fn start(client: kube::Client) -> Self {
        let this = Self::default();
        let known = this.clone();
        tokio::spawn(async move {
            loop {
                let wait = match client.apiserver_version().await {
                    Ok(info) => {
                        let version = Version::parse(&format!("{}.{}", info.major, info.minor));
                        *known.0.write().unwrap_or_else(|e| e.into_inner()) = version;
                        EVERY
                    }
                    Err(error) => {
                        tracing::debug!(error = chain(&error), "the API server does not say its version; trying again");
                        AGAIN
                    }
                };
                tokio::time::sleep(wait).await;
            }
        });
        this
    }

    fn mounts_images(&self) -> Result<(), Unavailable> {
        let (code, why) = match *self.0.read().unwrap_or_else(|e| e.into_inner()) {
            Some(version) if version >= Version::IMAGE_VOLUMES => return Ok(()),
            Some(version) => ("serverCannot", format!("the API server is {version}, and {} is needed", Version::IMAGE_VOLUMES)),
            None => ("serverUnknown", "the API server has not said its version yet".into()),
        };
        Err(Unavailable { code, why })
    }
}

impl Offering {
    /// What it offers the pods of a namespace.
    pub fn to<'a>(&'a self, namespace: &'a str) -> ToPod<'a> {
        ToPod { offering: self, namespace }
    }
}

/// What is offered to a pod.
#[derive(Debug)]
pub struct ToPod<'a> {
    offering: &'a Offering,
    namespace: &'a str,
}

fn off(delivery: Delivery) -> Unavailable {
    Unavailable {
        code: "off",
        why: format!("it is not turned on: --deliveries {delivery}, in the chart delivery.{delivery}.enabled: true"),
    }
}

impl Offers for ToPod<'_> {
    fn image_volume(&self, architectures: &Architectures) -> Result<(), Unavailable> {
        let Offering { nodes, server, .. } = self.offering;
        let (Some(nodes), Some(server)) = (nodes, server) else { return Err(off(Delivery::ImageVolume)) };
        server.mounts_images()?;
        nodes.mount_images(architectures)
    }

    fn config_map(&self, architectures: &Architectures) -> Result<String, Unavailable> {
        let Offering { nodes, carriers, .. } = self.offering;
        let Some(carriers) = carriers else { return Err(off(Delivery::ConfigMap)) };
        let there = nodes.as_ref().and_then(Nodes::architectures);
        let may_be = there.as_ref().map_or(Cow::Borrowed(architectures), |there| architectures.among(there));
        let own = carriers.carrier.architecture;
        if may_be.sole() != Some(own) {
            let why = format!("the pod may land on nodes of architecture {may_be}, and the init in the ConfigMap is for {own} alone");
            return Err(Unavailable { code: "architecture", why });
        }
        carriers.usable(self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_servers_version_allows() {
        let server = Server::default();
        assert_eq!(server.mounts_images().unwrap_err().code, "serverUnknown");
        *server.0.write().unwrap() = Some(Version(1, 35));
        assert_eq!(server.mounts_images().unwrap_err().to_string(), "the API server is 1.35, and 1.36 is needed");
        *server.0.write().unwrap() = Some(Version(1, 36));
        assert_eq!(server.mounts_images(), Ok(()));
    }

    #[test]
    fn what_is_not_turned_on_is_not_offered() {
        let offering = Offering::default();
        let none = offering.to("default");
        let words =
            [none.image_volume(&Architectures::ALL).unwrap_err(), none.config_map(&Architectures::ALL).unwrap_err()].map(|no| no.why);
        assert_eq!(words[0], "it is not turned on: --deliveries imageVolume, in the chart delivery.imageVolume.enabled: true");
        assert_eq!(words[1], "it is not turned on: --deliveries configMap, in the chart delivery.configMap.enabled: true");
    }
}
