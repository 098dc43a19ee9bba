//! The operator's own affairs in a cluster: its flags, and the tasks that see to them.
//!
//! What it needs of RBAC, all of it by name but where Kubernetes has no names to go by:
//!
//! | where | resource | name | verbs | why |
//! |---|---|---|---|---|
//! | cluster | `mutatingwebhookconfigurations` | NAME | get, list, watch, create, patch, update | to keep the webhook's configuration (server-side apply creates by name) |
//! | cluster | `clusterroles` | the one of `--cluster-role` | get | its uid, so that all of this goes when the chart goes |
//! | cluster | `shutdownpolicies`, `clustershutdownpolicies` | any | get, list, watch | what they say, on every replica |
//! | cluster | their `status` | any | patch | what the leader says of them, by server-side apply |
//! | cluster | `namespaces` | any | list, watch | which ask for injection by their label, and which policies are for |
//! | cluster | `pods` | any | get, list, watch | for the status of policies, and to find those that ask and were not injected; a list and a watch are of metadata alone; unless `--missed-pods-every 0` |
//! | cluster | `configmaps` | any | get, list, watch, create, delete | the init in the namespaces that are to have it; with `--deliveries configMap`, as the next. Their names hold a hash, and RBAC knows no labels |
//! | cluster | `pods` | any | list | whether one uses a ConfigMap that is to go |
//! | cluster | `nodes` | any | list, watch | which platforms count of an image for several, and which delivery works there; with `--lookup` or `--deliveries` |
//! | cluster | `events` | any | create | to say on a pod's owner which container was left as it is |
//! | cluster | `pods` | any | list, watch | those that are injected, whole: how their containers have ended; with `--reports`, as the next six |
//! | cluster | `events` | any | list | what others say of a pod that has stopped |
//! | cluster | `jobs` | any | get | whether one deleted its pod since it was past its activeDeadlineSeconds |
//! | cluster | `events` | any | create | to say on it and on its workload why something of it was killed; unless `--report-events none` |
//! | cluster | `deployments`, `cronjobs` | any | get | their uids, for the Events on them, and for what is kept of their pods' stops to go with them; unless both `--report-events none` and `--keep-reports none` |
//! | cluster | `shutdownreports` | any | list, create, delete | what is kept of stops, each by its name; a list is of metadata alone; unless `--keep-reports none` |
//! | namespace | `configmaps` | NAME-stops | get, create, patch | up to where stops have been read, so that none is lost and none told twice |
//! | cluster | `deployments`, `statefulsets`, `daemonsets` | any | get, list, patch | to restart those whose pods are not injected, and to find those that were restarted by their label; with `--remedy`, as the next two, and `events` |
//! | cluster | `replicasets` | any | get | whose they are: a Deployment's |
//! | cluster | `poddisruptionbudgets` | any | list | those that may not be broken |
//! | cluster | `secrets` | any | get | those that pods name in `imagePullSecrets`, one by one; with `--pull-secrets`. Some names, or some namespaces (each with a Role), do as well |
//! | namespace | `secrets` | NAME-ca, NAME-tls | get, list, watch, create, patch | own certificates; get, list and watch of NAME-tls alone for `secret` and `cert-manager` |
//! | namespace | `leases` | NAME | get, update | leader election |
//! | namespace | `leases` | any | create | a POST has no name to go by |
//! | namespace | `events` | any | create | to say on the own pod what is wrong |
//! | namespace | `pods` | any | list | with `--again-service`: which policies each of the other replicas says that it knows |
//! | namespace | `pods/status` | any | patch | with `--again-service`: to say on its own pod when it is to be asked and which policies it knows, and on that of a leader that has died that it is not. Labels and annotations can be set by this, a pod's spec and owners cannot |

use crate::accounts::{self, Accounts};
use crate::admission::{Admission, protected};
use crate::carrier::{Carrier, CarrierError};
use crate::carriers::Carriers;
use crate::complaint::Complaints;
use crate::configuration::{FailurePolicy, Pair, Target, Wanted};
use crate::connections::Connections;
use crate::counts::Workload;
use crate::delivering::Delivering;
use crate::follow::Follower;
use crate::keeper::Keeper;
use crate::keeping;
use crate::label::{Labeller, Said};
use crate::lease::{self, Standing};
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::objects::{Kind, Objects, chain};
use crate::offering::{self, Offering, Server};
use crate::remedy::{Missed, MissedWorkloads, Pace, Remedy};
use crate::replicas;
use crate::rotation::Lifetimes;
use crate::rulebook::Rulebook;
use crate::serve::duration;
use crate::serving::{self, Names, Shared};
use crate::skipped::Skipped;
use crate::statuses::{Others, Statuses};
use crate::stops::Reader;
use crate::stops::pod_events::PodEvents;
use crate::stops::tell::{Teller, Which};
use crate::survey::{Known, Survey};
use crate::tls::Tls;
use crate::wanting;
use crate::watching::Troubles;
use crate::workloads::{Controller, Workloads};
use ashore_inject::{Delivery, Policy, summary};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// For how long a right may be missing before it is believed, and how often it is asked meanwhile: an API server that has just been started
/// forbids everything until it has read who may do what.
const FORBIDDEN_AT_START: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long to wait for an API server that answers nothing, at most.
const RETRY: Duration = Duration::from_secs(5);

/// Who looks after the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// Ashore itself, with an authority of its own.
    #[value(name = "self")]
    Own,
    /// cert-manager, in the Secret NAME-tls.
    CertManager,
    /// Somebody else, in the Secret NAME-tls.
    Secret,
    /// Somebody else, in the files of --cert and --key; the webhook's configuration is theirs, too.
    Files,
}

/// The flags.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "cluster")]
pub struct Args {
    /// Who looks after the certificate. All but files also look after the webhook's configuration, in the cluster
    #[arg(long, value_name = "WHO", env = "ASHORE_CERTIFICATES", default_value = "files")]
    pub certificates: Source,

    /// Name of what belongs to Ashore: the MutatingWebhookConfiguration and the Lease NAME, the Secrets NAME-ca and NAME-tls
    #[arg(long, value_name = "NAME", env = "ASHORE_NAME", default_value = "ashore", value_parser = label)]
    pub name: String,

    /// Service by which the API server finds Ashore, in its namespace [default: --name]
    #[arg(long, value_name = "NAME", env = "ASHORE_SERVICE", value_parser = label)]
    pub service: Option<String>,

    /// Service of the replicas that do not lead (label ashore.dev/first), whom the API server asks first when there is a --again-service
    #[arg(long, value_name = "NAME", env = "ASHORE_FIRST_SERVICE", value_parser = label, requires = "again_service")]
    pub first_service: Option<String>,

    /// Service of the replica that leads (label ashore.dev/again), whom the API server asks again about a pod that nobody answered for
    #[arg(long, value_name = "NAME", env = "ASHORE_AGAIN_SERVICE", value_parser = label, requires = "first_service", conflicts_with = "webhook_url")]
    pub again_service: Option<String>,

    /// Port of the Services
    #[arg(long, value_name = "PORT", env = "ASHORE_SERVICE_PORT", default_value = "443", value_parser = clap::value_parser!(u16).range(1..))]
    pub service_port: u16,

    /// URL by which the API server finds Ashore in place of the Service, when it runs outside of the cluster; without a path
    #[arg(long, value_name = "URL", env = "ASHORE_WEBHOOK_URL", conflicts_with = "service")]
    pub webhook_url: Option<String>,

    /// What the API server does with a pod that asks when Ashore does not answer
    #[arg(long, value_name = "WHAT", env = "ASHORE_FAILURE_POLICY", default_value = "Ignore")]
    pub failure_policy: FailurePolicy,

    /// How long the API server waits for an answer: whole seconds, 1s to 30s
    #[arg(long, value_name = "DURATION", env = "ASHORE_WEBHOOK_TIMEOUT", default_value = "5s", value_parser = timeout)]
    pub webhook_timeout: Duration,

    /// ClusterRole that owns the objects, so that they go when it goes [default: --name]
    #[arg(long, value_name = "NAME", env = "ASHORE_CLUSTER_ROLE")]
    pub cluster_role: Option<String>,

    /// How long a serving certificate lives; it is renewed at two thirds (with --certificates self)
    #[arg(long, value_name = "DURATION", env = "ASHORE_CERTIFICATE_LIFETIME", default_value = "2160h", value_parser = lifetime)]
    pub certificate_lifetime: Duration,

    /// How long a certificate authority lives, longer than a serving certificate; it gets a successor at two thirds
    #[arg(long, value_name = "DURATION", env = "ASHORE_CA_LIFETIME", default_value = "8760h", value_parser = lifetime)]
    pub ca_lifetime: Duration,

    /// How often to tell of pods that ask and were not injected, since Ashore did not answer, and to look anew at those whose images are not
    /// known. They are seen as they come; 0: pods are not followed, and the status of policies counts none
    #[arg(long, value_name = "DURATION", env = "ASHORE_MISSED_PODS_EVERY", default_value = "1m", value_parser = period)]
    pub missed_pods_every: Duration,

    /// Restart workloads whose pods should be injected and are not, one at a time, for policies with `remediate: Rollout`
    #[arg(long, env = "ASHORE_REMEDY")]
    pub remedy: bool,

    /// Read how the containers of injected pods end, and tell why something was killed: in Events, metrics, the status of policies, and the log
    #[arg(long = "reports", env = "ASHORE_REPORTS")]
    pub stops: bool,

    /// Of which stops there are Events, with --reports: warnings are those by which something was killed or failed
    #[arg(long, value_name = "WHICH", env = "ASHORE_REPORT_EVENTS", default_value = "warnings")]
    pub report_events: Which,

    /// How the init can reach pods.
    #[command(flatten)]
    pub deliveries: offering::Args,
    /// Which stops are kept.
    #[command(flatten)]
    pub reports: keeping::Args,

    /// Name of this pod, which it leads under [default: the host's name]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub pod_name: Option<String>,

    /// UID of this pod, for the Events on it
    #[arg(long, value_name = "UID", env = "POD_UID")]
    pub pod_uid: Option<String>,
}

fn label(text: &str) -> Result<String, String> {
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = !text.is_empty() && text.len() <= 59 && text.bytes().all(fine) && !text.starts_with('-') && !text.ends_with('-');
    good.then(|| text.to_owned()).ok_or_else(|| "not a name of lower-case letters, digits and -, at most 59 bytes".into())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    let whole = timeout.subsec_nanos() == 0 && (1..=30).contains(&timeout.as_secs());
    whole.then_some(timeout).ok_or_else(|| "not whole seconds from 1s to 30s".into())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration(text)?;
    (lifetime >= Duration::from_secs(10)).then_some(lifetime).ok_or_else(|| "not a duration of at least 10s".into())
}

fn period(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    let fine = period.is_zero() || period >= Duration::from_secs(1);
    fine.then_some(period).ok_or_else(|| "not a duration of at least 1s, or 0".into())
}

/// Why the cluster's part cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A flag that another one needs.
    #[error("{0}")]
    Flag(String),
    /// There is no API server to be found.
    #[error("cannot find the API server: {0}; in a pod its service account says where, elsewhere KUBECONFIG")]
    NoServer(String),
    /// The init for ConfigMaps.
    #[error(transparent)]
    Carrier(#[from] CarrierError),
}

/// What the tasks need to know.
#[derive(Debug)]
pub struct Settings {
    /// The webhook's configuration.
    pub wanted: Wanted,
    /// What is watched.
    pub names: Names,
    /// How long certificates of our own live.
    pub lifetimes: Lifetimes,
    /// The ClusterRole that owns everything.
    pub cluster_role: String,
    /// How often to tell of pods that were missed, if they are followed.
    pub missed_pods_every: Option<Duration>,
    /// Whether workloads may be restarted.
    pub remedy: bool,
    /// Of which stops there are Events, if stops are read.
    pub stops: Option<Which>,
    /// How the init can reach pods.
    pub deliveries: offering::Args,
    /// Which stops are kept, and for how long, if any are.
    pub reports: Option<keeping::Settings>,
    /// This replica.
    pub pod_name: String,
    /// This replica's uid.
    pub pod_uid: Option<String>,
}

impl Settings {
    /// What the flags mean, if they ask for it.
    ///
    /// # Errors
    /// Flags that do not go together.
    pub fn of(args: &Args, namespace: Option<&str>) -> Result<Option<Self>, ClusterError> {
        let flag = |text: &str| ClusterError::Flag(text.into());
        if args.certificates == Source::Files {
            let none = args.deliveries.deliveries.is_empty();
            return if none { Ok(None) } else { Err(flag("--deliveries: needs --certificates self, cert-manager or secret")) };
        }
        let namespace = namespace.ok_or_else(|| flag("--namespace: needed with --certificates self, cert-manager or secret"))?;
        let own = args.certificates == Source::Own;
        // Whose authority is not ours, its life is none of our affairs.
        if own && args.ca_lifetime <= args.certificate_lifetime {
            return Err(flag("--ca-lifetime: has to be longer than --certificate-lifetime"));
        }
        if args.remedy && args.missed_pods_every.is_zero() {
            return Err(flag("--remedy: needs --missed-pods-every other than 0, by which it is known what has to be restarted"));
        }
        let target = match &args.webhook_url {
            Some(url) => Target::Url(url.clone()),
            None => Target::Service(args.service.clone().unwrap_or_else(|| args.name.clone()), args.service_port),
        };
        let both = args.first_service.clone().zip(args.again_service.clone());
        let wanted = Wanted {
            name: args.name.clone(),
            namespace: namespace.into(),
            target,
            pair: both.map(|(first, again)| Pair { first, again }),
            failure_policy: args.failure_policy,
            timeout: args.webhook_timeout,
        };
        let hosts = wanted.names().map_err(|error| flag(&format!("--webhook-url: {error}")))?;
        let lifetimes = Lifetimes { authority: args.ca_lifetime, leaf: args.certificate_lifetime };
        let names = Names {
            leaf: format!("{}-tls", args.name),
            authority: own.then(|| format!("{}-ca", args.name)),
            configuration: args.name.clone(),
            hosts,
            // Our own leader waits before it signs; others do not.
            settle: if own { Duration::ZERO } else { Duration::from_secs(lifetimes.settle().unsigned_abs()) },
        };
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).ok();
        let pod_name = args.pod_name.clone().or_else(host).filter(|name| !name.is_empty());
        Ok(Some(Self {
            wanted,
            names,
            lifetimes,
            cluster_role: args.cluster_role.clone().unwrap_or_else(|| args.name.clone()),
            remedy: args.remedy,
            stops: args.stops.then_some(args.report_events),
            missed_pods_every: Some(args.missed_pods_every).filter(|every| !every.is_zero()),
            pod_name: pod_name.ok_or_else(|| flag("--pod-name: needed, since this host has no name"))?,
            pod_uid: args.pod_uid.clone(),
            deliveries: args.deliveries.clone(),
            reports: keeping::Settings::of(&args.reports).filter(|_| args.stops),
        }))
    }
}

impl Settings {
    /// The other replicas, if there may be any: the chart has two Services from two replicas on.
    fn others(&self) -> Option<Others> {
        let Wanted { namespace, pair, .. } = &self.wanted;
        pair.as_ref().map(|_| Others { namespace: namespace.clone(), own: self.pod_name.clone() })
    }
}

/// What of the server the tasks touch.
#[derive(Debug)]
pub struct Parts {
    /// The certificate in use.
    pub tls: Arc<Tls>,
    /// What our pod says of us.
    pub said: Arc<Said>,
    /// The open connections.
    pub connections: Arc<Connections>,
    /// What decides about pods.
    pub admission: Arc<Admission>,
}

/// The cluster, and what it is to be told.
pub struct Cluster {
    /// A client of its API server.
    pub client: kube::Client,
    /// Where it is said what is wrong.
    pub complaints: Arc<Complaints>,
    /// Its objects, with complaints about rights that are missing.
    pub objects: Objects,
    /// Objects that others name, without: whoever narrows the rights to some of them means it.
    pub others: Objects,
    settings: Settings,
}

impl Cluster {
    /// Finds the API server. One that is there but does not answer is tried again and again.
    ///
    /// # Errors
    /// There is none to be found.
    pub async fn find(settings: Settings) -> Result<Self, ClusterError> {
        // Whoever has installed one already has installed this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::infer().await.map_err(|error| ClusterError::NoServer(chain(&error)))?;
        let client = kube::Client::try_from(config).map_err(|error| ClusterError::NoServer(chain(&error)))?;
        let others = Objects::new(client.clone(), &settings.wanted.namespace);
        let complaints = Complaints::new(others.clone(), &settings.wanted.namespace, &settings.pod_name, settings.pod_uid.as_deref());
        let objects = others.clone().complaining(Arc::clone(&complaints));
        Ok(Self { client, complaints, objects, others, settings })
    }

    /// Keeps the rulebook from now on. What policies do not say, they take from `base`.
    pub fn follow(&self, base: Policy, book: &Arc<Rulebook>, metrics: &Arc<Metrics>) {
        let troubles = |what: &str| Troubles::new(what.to_owned(), self.objects.clone(), Arc::clone(metrics), Arc::clone(&self.complaints));
        Follower { client: self.client.clone(), base, book: Arc::clone(book) }.start(troubles);
    }

    /// Who tells the owners of pods about images that are not known.
    pub fn skipped(&self) -> Skipped {
        Skipped::new(self.others.clone(), &self.settings.pod_name)
    }

    /// Begins to see how the init can reach pods; it does so by `base` where no policy selects them. Nodes are watched for `lookup`, too.
    ///
    /// # Errors
    /// There is no init for the ConfigMaps.
    pub fn offering(&self, lookup: bool, base: Delivery, book: &Arc<Rulebook>, metrics: &Arc<Metrics>) -> Result<Offering, ClusterError> {
        let offering::Args { deliveries, init_binary, .. } = &self.settings.deliveries;
        let [images, maps] = [Delivery::ImageVolume, Delivery::ConfigMap].map(|delivery| deliveries.contains(&delivery));
        let troubles = |what: &str| Troubles::new(what.into(), self.objects.clone(), Arc::clone(metrics), Arc::clone(&self.complaints));
        let client = || self.client.clone();
        let carriers = if maps {
            let carrier = Carrier::read(&self.settings.wanted.name, init_binary)?;
            let own = self.settings.wanted.namespace.clone();
            let wanting = wanting::follow(Arc::clone(book), base, move |namespace| protected(namespace, Some(&own)));
            Some(Carriers::start(carrier, wanting, client(), self.others.clone(), troubles("configmaps"), Arc::clone(metrics)))
        } else {
            None
        };
        Ok(Offering {
            nodes: (lookup || images || maps).then(|| Nodes::start(client(), troubles("nodes"), images)),
            server: images.then(|| Server::start(client())),
            carriers,
        })
    }

    /// Starts the tasks. They run until `stop` says true; then the lease is given back, and the handle is done.
    pub fn start(self, parts: Parts, stop: watch::Receiver<bool>) -> JoinHandle<()> {
        let Self { client, complaints, objects, others, settings } = self;
        let Parts { tls, said, connections, admission } = parts;
        let metrics = Arc::clone(&admission.metrics);
        let rulebook = Arc::clone(&admission.rulebook);
        let delivering = admission.offering.carriers.clone().map(|carriers| {
            let (metrics, complaints) = (Arc::clone(&metrics), Arc::clone(&complaints));
            Delivering::new(client.clone(), others.clone(), carriers, metrics, complaints, settings.deliveries.unused_config_maps_after)
        });
        let (written, reads) = watch::channel(None);
        let survey = settings.missed_pods_every.map(|every| Survey::new(client.clone(), admission, Arc::clone(&complaints), every));
        let accounts = Arc::new(Accounts::default());
        let remedy = survey.as_ref().filter(|_| settings.remedy).map(|survey| Remedy {
            workloads: Workloads { client: client.clone(), objects: objects.clone(), rulebook: Arc::clone(&rulebook) },
            wanted: wanted(survey.known()),
            tell: Skipped::new(others.clone(), &settings.pod_name),
            metrics: Arc::clone(&metrics),
            accounts: Arc::clone(&accounts),
            configuration: settings.wanted.name.clone(),
            pace: Pace::default(),
        });
        let reports = settings
            .reports
            .clone()
            .map(|reports| keeping::Keeper::new(client.clone(), reports, Arc::clone(&metrics)).complaining(Arc::clone(&complaints)));
        let reader = settings.stops.map(|which| Reader {
            client: client.clone(),
            objects: objects.clone(),
            config_map: format!("{}-stops", settings.wanted.name),
            instance: settings.pod_name.clone(),
            book: Arc::clone(&rulebook),
            events: PodEvents::new(client.clone()),
            teller: Arc::new(Teller::new(
                client.clone(),
                others.clone(),
                &settings.pod_name,
                which,
                Arc::clone(&complaints),
                metrics.stops.clone(),
            )),
            offers: reports.as_ref().map(keeping::Keeper::offers),
            ledger: Arc::default(),
            metrics: Arc::clone(&metrics),
            complaints: Arc::clone(&complaints),
        });
        let statuses = Statuses {
            client,
            stops: reader.as_ref().map(|reader| Arc::clone(&reader.ledger)),
            accounts: Arc::clone(&accounts),
            book: Arc::clone(&rulebook),
            written: reads,
            known: survey.as_ref().map(Survey::known),
            others: settings.others(),
            metrics: Arc::clone(&metrics),
            complaints: Arc::clone(&complaints),
        };
        let settings = Arc::new(settings);
        let shared = Arc::new(Shared {
            tls,
            issuers: Mutex::default(),
            changed: Notify::new(),
            metrics: Arc::clone(&metrics),
            said: Arc::clone(&said),
            complaints,
            rulebook,
            written,
        });
        let follower = tokio::spawn(serving::run(objects.clone(), settings.names.clone(), Arc::clone(&shared)));
        tokio::spawn(async move {
            let mut stopped = stop;
            let mut stopping = stopped.clone();
            let owner = tokio::select! {
                owner = owner(&objects, &settings.cluster_role) => owner,
                _ = stopping.wait_for(|stop| *stop) => return follower.abort(),
            };
            let (stands, standing) = watch::channel(Standing::Unknown);
            let labeller = settings.wanted.pair.is_some().then(|| {
                let labeller = Labeller { settings: Arc::clone(&settings), objects: objects.clone(), said, connections };
                tokio::spawn(labeller.run(standing.clone()))
            });
            let sayer =
                settings.others().map(|Others { own, .. }| tokio::spawn(replicas::say(objects.clone(), own, Arc::clone(&shared.rulebook))));
            let remedy = match remedy {
                Some(remedy) => tokio::spawn(remedy.run(standing.clone())),
                None => tokio::spawn(accounts::off(Arc::clone(&shared.rulebook), accounts, standing.clone())),
            };
            let keeper = Keeper::new(Arc::clone(&settings), objects.clone(), shared, owner.clone());
            let survey = survey.map(|survey| tokio::spawn(survey.run(standing.clone())));
            let reader = reader.map(|reader| tokio::spawn(reader.run(owner.clone(), standing.clone())));
            let statuses = tokio::spawn(statuses.run(standing.clone()));
            let delivering = delivering.map(|delivering| tokio::spawn(delivering.run(standing.clone())));
            let reports = reports.map(|reports| tokio::spawn(reports.run(standing.clone())));
            let keeper = tokio::spawn(keeper.run(standing));
            let (name, identity) = (settings.wanted.name.clone(), settings.pod_name.clone());
            let until = async move {
                // Whoever could say stop has gone: that means stop, too.
                let _ = stopped.wait_for(|stop| *stop).await;
                let more = [survey, sayer, delivering, reader, reports].into_iter().flatten();
                for task in [keeper, statuses, remedy].into_iter().chain(more) {
                    task.abort();
                    let _ = task.await;
                }
            };
            lease::run(objects, name, identity, owner, metrics, stands, until).await;
            if let Some(labeller) = labeller {
                // It has been told that we do not lead any more.
                let _ = labeller.await;
            }
            follower.abort();
        })
    }
}

/// What the policies want restarted, by what is known of the pods.
fn wanted(known: Known) -> MissedWorkloads {
    Box::new(move || {
        let Some(counted) = known.borrow().clone() else { return Vec::new() };
        let missed = |((namespace, controller), workload): (&(Arc<str>, summary::Controller), &Workload)| {
            let (namespace, kind, name) = (namespace.to_string(), controller.kind.to_string(), controller.name.to_string());
            Some(Missed { controller: Controller { namespace, kind, name }, rule: workload.rule.clone()? })
        };
        counted.counts.workloads.iter().filter_map(missed).collect()
    })
}

/// The reference to the ClusterRole that owns everything. Without one, uninstalling leaves the objects behind.
async fn owner(objects: &Objects, name: &str) -> Option<Value> {
    let mut wait = Duration::from_millis(200);
    let mut told = String::new();
    let mut forbidden: Option<Instant> = None;
    let without =
        |why: &str| tracing::warn!(cluster_role = name, why, "nothing owns Ashore's objects: uninstalling will leave them behind");
    loop {
        match objects.get(Kind::ClusterRole, name).await {
            Ok(Some(role)) => {
                return Some(json!({"apiVersion": Kind::ClusterRole.api_version(), "kind": Kind::ClusterRole.name(), "name": name,
                    "uid": role["metadata"]["uid"]}));
            }
            Ok(None) => {
                without("there is no such ClusterRole");
                return None;
            }
            Err(error) if error.is_forbidden() && forbidden.get_or_insert_with(Instant::now).elapsed() > FORBIDDEN_AT_START => {
                without(&error.to_string());
                return None;
            }
            Err(error) => {
                let (silence, most) = (error.is_silence(), if error.is_forbidden() { ASK_AGAIN } else { RETRY });
                let error = error.to_string();
                if !silence && told != error {
                    tracing::warn!(error, "cannot read what owns Ashore's objects; trying again");
                    told = error;
                }
                tokio::time::sleep(wait.min(most)).await;
                wait = (wait * 2).min(most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;
    use clap::Parser;
    use kube::Client;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(flags: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once(&"serve").chain(flags)).map(|line| line.args)
    }

    #[test]
    fn a_bad_flag_is_named_with_what_is_allowed() {
        for (flag, words) in [
            ("--certificates=own", &["--certificates", "own", "self", "cert-manager", "secret", "files"][..]),
            ("--failure-policy=ignore", &["--failure-policy", "ignore", "Ignore, Fail"]),
            ("--webhook-timeout=31s", &["--webhook-timeout", "31s", "whole seconds from 1s to 30s"]),
            ("--webhook-timeout=1500ms", &["--webhook-timeout", "whole seconds from 1s to 30s"]),
            ("--certificate-lifetime=5s", &["--certificate-lifetime", "5s", "at least 10s"]),
            ("--missed-pods-every=10ms", &["--missed-pods-every", "10ms", "at least 1s, or 0"]),
            ("--keep-reports=some", &["--keep-reports", "some", "forced, all, none"]),
            ("--reports-per-workload=0", &["--reports-per-workload", "0", "1..=100"]),
            ("--report-days=366", &["--report-days", "366", "1..=365"]),
            ("--name=Ashore", &["--name", "Ashore", "lower-case"]),
            ("--service-port=0", &["--service-port", "0"]),
        ] {
            let error = args(&[flag]).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_owner_is_asked_for_until_the_api_server_knows_who_may_see_it() {
        let started = Instant::now();
        let asked = |allowed: Duration| {
            let answer = move || {
                let (code, body) = match started.elapsed() {
                    at if at < Duration::from_secs(60) => (503, json!({"code": 503})),
                    at if at < allowed => (403, json!({"code": 403})),
                    _ => (200, json!({"metadata": {"name": "ashore", "uid": "of-the-role"}})),
                };
                std::future::ready((StatusCode::from_u16(code).unwrap(), body.to_string()))
            };
            let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/ashore";
            Objects::new(Client::new(Router::new().route(path, get(answer)), "ours"), "ours")
        };
        let late = owner(&asked(Duration::from_secs(85)), "ashore").await.unwrap();
        assert_eq!(late["uid"], "of-the-role");
        assert!(started.elapsed() < Duration::from_secs(87), "{:?}", started.elapsed());
        // Some day it is believed.
        let before = Instant::now();
        assert_eq!(owner(&asked(Duration::MAX), "ashore").await, None);
        assert!((30..33).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    }

    #[test]
    fn flags_that_do_not_go_together_are_named() {
        let settings = |flags: &[&str], namespace| Settings::of(&args(flags).unwrap(), namespace).map_err(|error| error.to_string());
        assert!(settings(&[], None).unwrap().is_none());
        assert!(settings(&["--certificates=self"], None).unwrap_err().starts_with("--namespace:"));
        let flags = ["--certificates=self", "--certificate-lifetime=1h", "--ca-lifetime=1h"];
        assert!(settings(&flags, Some("x")).unwrap_err().starts_with("--ca-lifetime:"));
        assert!(settings(&["--certificates=cert-manager", "--certificate-lifetime=8760h", "--pod-name=p"], Some("x")).is_ok());
        let url = settings(&["--certificates=self", "--webhook-url=http://x"], Some("x")).unwrap_err();
        assert!(url.starts_with("--webhook-url: http://x is not a URL"), "{url}");
        let good = settings(&["--certificates=secret", "--name=it", "--pod-name=p"], Some("x")).unwrap().unwrap();
        assert_eq!((good.names.leaf.as_str(), good.names.authority, good.cluster_role.as_str()), ("it-tls", None, "it"));
        assert_eq!(good.names.hosts[0], "it.x.svc");
        assert_eq!(good.wanted.pair, None);
        let both = ["--certificates=self", "--pod-name=p", "--first-service=o", "--again-service=l"];
        let pair = settings(&both, Some("x")).unwrap().unwrap();
        assert_eq!(pair.names.hosts, ["ashore.x.svc", "ashore.x.svc.cluster.local", "o.x.svc", "l.x.svc"]);
        let blind = settings(&["--certificates=self", "--remedy", "--missed-pods-every=0"], Some("x")).unwrap_err();
        assert!(blind.starts_with("--remedy: needs --missed-pods-every"), "{blind}");
        for alone in [&both[..3], &[both[3]], &[both[2], both[3], "--webhook-url=https://x"]] {
            let error = args(alone).unwrap_err().to_string();
            assert!(error.contains("--again-service") || error.contains("--first-service"), "{error}");
        }
    }
}
