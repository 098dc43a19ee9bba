//! The flags by which registries are asked, and who asks then.

use crate::cli::settings;
use crate::cluster::Cluster;
use crate::looking::Registries;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::pull_secrets::{DefaultPullSecrets, PullSecrets};
use crate::serve::{ServeError, duration, wrong};
use ashore_lookup::{Client, Lookup, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where OpenSSL's users, and so the field, say whom to trust beside the public authorities.
const TRUST: &str = "SSL_CERT_FILE";

/// The file that it names, if it names one.
pub(crate) fn trust() -> Option<PathBuf> {
    std::env::var_os(TRUST).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty())
}

/// How registries are asked what images run.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "lookup-flags")]
pub struct Args {
    /// Ask registries what images run, for containers that set no command; --images go first
    #[arg(long, env = "ASHORE_LOOKUP")]
    pub lookup: bool,

    /// Mirrors, authorities and client certificates of registries, and addresses that may or may not be reached (YAML or JSON)
    #[arg(long, value_name = "FILE", env = "ASHORE_REGISTRIES", requires = "lookup")]
    pub registries: Option<String>,

    /// How long a tag is taken to mean what it meant
    #[arg(long, value_name = "DURATION", env = "ASHORE_TAG_LIFETIME", default_value = "5m", value_parser = duration)]
    pub tag_lifetime: Duration,

    /// The same for containers with imagePullPolicy: Always
    #[arg(long, value_name = "DURATION", env = "ASHORE_ALWAYS_LIFETIME", default_value = "30s", value_parser = duration)]
    pub always_lifetime: Duration,

    /// How long a registry is not asked again for what it could not tell
    #[arg(long, value_name = "DURATION", env = "ASHORE_FAILURE_LIFETIME", default_value = "30s", value_parser = duration)]
    pub failure_lifetime: Duration,

    /// Memory for what images run: bytes, perhaps with Ki or Mi
    #[arg(long, value_name = "SIZE", env = "ASHORE_IMAGE_CACHE", default_value = "16Mi", value_parser = size)]
    pub image_cache: usize,

    /// Read the Secrets that pods name in imagePullSecrets; not with --certificates files
    #[arg(long, env = "ASHORE_PULL_SECRETS", requires = "lookup")]
    pub pull_secrets: bool,

    /// Folder of pull secrets that are tried after a pod's own: files in it, or in folders in it, named .dockerconfigjson or .dockercfg
    #[arg(long, value_name = "FOLDER", env = "ASHORE_DEFAULT_PULL_SECRETS", requires = "lookup")]
    pub default_pull_secrets: Option<PathBuf>,
}

fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.strip_suffix("Ki").map(|digits| (digits, 1 << 10)) {
        Some(found) => found,
        None => text.strip_suffix("Mi").map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| (64 << 10..=1 << 30).contains(bytes)).ok_or_else(|| "not a size such as 16Mi, from 64Ki to 1024Mi".into())
}

/// Who asks registries, if the flags say so; `cluster` is where Secrets are read.
///
/// # Errors
/// What is wrong with the flags' files.
pub fn start(
    args: &Args,
    cluster: Option<&Cluster>,
    nodes: Option<Nodes>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Registries>, ServeError> {
    if !args.lookup {
        return Ok(None);
    }
    let hosts = args.registries.as_deref().map(settings::registries).transpose().map_err(wrong)?.unwrap_or_default();
    let client = Client::new(hosts, trust().as_deref()).map_err(|error| ServeError::Settings(error.to_string()))?;
    let settings = Settings {
        tag_lifetime: args.tag_lifetime,
        always_lifetime: args.always_lifetime,
        failure_lifetime: args.failure_lifetime,
        cache: args.image_cache,
    };
    let counted = Arc::clone(metrics);
    let lookup = Lookup::new(client, settings, Box::new(move |asked| counted.looked_up(asked.code, asked.took)));
    Ok(Some(Registries {
        lookup,
        secrets: cluster.filter(|_| args.pull_secrets).map(|cluster| PullSecrets::new(cluster.others.clone())),
        defaults: DefaultPullSecrets::new(args.default_pull_secrets.clone()),
        nodes,
    }))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        assert_eq!(size("16Mi"), Ok(16 << 20));
        assert_eq!(size("100Ki"), Ok(100 << 10));
        assert_eq!(size("1048576"), Ok(1 << 20));
        for bad in ["", "Mi", "16M", "-1", "1Ki", "1025Mi", "99999999999999999999Mi"] {
            assert!(size(bad).unwrap_err().contains("16Mi"), "{bad}");
        }
    }
}
