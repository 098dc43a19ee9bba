//! `ashore serve`: the webhook.

use crate::admission::{Admission, Planner, plan};
use crate::body::BodyMemory;
use crate::certificate::CertificateError;
use crate::cli::settings;
use crate::cluster::{self, Cluster, ClusterError, Parts, Source};
use crate::connections::Connections;
use crate::http::{App, Routes};
use crate::listed::Listed;
use crate::listener::{Phase, accept};
use crate::logging::{Format, Log};
use crate::looking::Looking;
use crate::metrics::Metrics;
use crate::offering::Offering;
use crate::planners::Planners;
use crate::registries;
use crate::rulebook::Rulebook;
use crate::skipped::Skipped;
use crate::tls::Tls;
use crate::traces::{self, Traces};
use ashore_inject::Policy;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tracing::level_filters::LevelFilter;

/// Where the kubelet tells a pod its namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// How long giving the lease back may take.
const GIVE_BACK: Duration = Duration::from_secs(4);
/// Threads that answer; a webhook that needs more than two cores is better served by another replica.
const MOST_WORKERS: usize = 2;

/// How to serve.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address and port to listen on, with TLS: POST /mutate, /livez, /readyz, /metrics
    #[arg(long, value_name = "ADDRESS:PORT", env = "ASHORE_LISTEN", default_value = "[::]:8443", value_parser = address)]
    pub listen: SocketAddr,

    /// Address and port for /livez, /readyz and /metrics alone, without TLS, for scrapers that cannot check the certificate
    #[arg(long, value_name = "ADDRESS:PORT", env = "ASHORE_HEALTH_LISTEN", value_parser = address)]
    pub health_listen: Option<SocketAddr>,

    /// Certificate chain to serve with (--certificates files), PEM, the server's own first; read again when it changes
    #[arg(long, value_name = "FILE", env = "ASHORE_CERT")]
    pub cert: Option<PathBuf>,

    /// Private key of the certificate, PEM; read again when it changes
    #[arg(long, value_name = "FILE", env = "ASHORE_KEY")]
    pub key: Option<PathBuf>,

    /// Settings of containers that no policy of the cluster selects, unless their pod's annotations say otherwise (the spec of a policy, or one
    /// without selectors, YAML or JSON)
    #[arg(long, value_name = "FILE", env = "ASHORE_POLICY")]
    pub policy: Option<String>,

    /// What is known of programs, over the rows that come with Ashore: a map from names to rows, null to take one out (YAML or JSON)
    #[arg(long, value_name = "FILE", env = "ASHORE_PROFILES")]
    pub profiles: Option<String>,

    /// Image that brings the init into pods [default: the policy's]
    #[arg(long, value_name = "IMAGE", env = "ASHORE_INIT_IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub init_image: Option<String>,

    /// Image references with the `config` objects of their OCI image configs, YAML or JSON, as `ashore images resolve` writes them; read
    /// again when it changes; may be given several times
    #[arg(long, value_name = "FILE", env = "ASHORE_IMAGES")]
    pub images: Vec<String>,

    /// How registries are asked.
    #[command(flatten)]
    pub registries: registries::Args,

    /// Namespace that Ashore runs in, never touched [default: its service account's, if it has one]
    #[arg(long, value_name = "NAME", env = "ASHORE_NAMESPACE")]
    pub namespace: Option<String>,

    /// How long to serve on as if nothing had happened after SIGTERM, while the endpoints forget this address
    #[arg(long, value_name = "DURATION", env = "ASHORE_SHUTDOWN_DELAY", default_value = "5s", value_parser = duration)]
    pub shutdown_delay: Duration,

    /// How long open requests may take after that before they are given up
    #[arg(long, value_name = "DURATION", env = "ASHORE_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "ASHORE_LOG_FORMAT", default_value = "text")]
    pub log_format: Format,

    /// Least important log lines to write: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "ASHORE_LOG_LEVEL", default_value = "info", value_parser = level)]
    pub log_level: LevelFilter,

    /// Where traces go.
    #[command(flatten)]
    pub traces: traces::Args,

    /// What Ashore looks after in the cluster.
    #[command(flatten)]
    pub cluster: cluster::Args,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an IP address and a port, such as [::]:8443 or 127.0.0.1:8443".into())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    ashore_init::duration::parse(text.as_bytes()).ok_or_else(|| format!("not {}", ashore_init::duration::EXPECTED))
}

fn level(text: &str) -> Result<LevelFilter, String> {
    ["error", "warn", "info", "debug", "trace"]
        .contains(&text)
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| "not error, warn, info, debug or trace".into())
}

/// Why it cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The policy or the images: all that is wrong with them, a line each.
    #[error("{0}")]
    Settings(String),
    /// The part that talks to the API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// TLS itself.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The address.
    #[error("--{flag}: cannot listen on {address}: {source}")]
    Listen {
        /// The flag that says so.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Threads or signals.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT and returns 0, or 1 if it cannot.
pub fn run(args: Args) -> ExitCode {
    match start(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ashore serve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: Args) -> Result<ExitCode, ServeError> {
    let metrics = Arc::new(Metrics::new());
    let runtime = runtime()?;
    let traces = Traces::start(&args.traces, args.cluster.pod_name.as_deref(), runtime.handle(), &metrics)?;
    // It is written to its end when this ends: what keeps us from serving is the last line.
    let _log = Log::start(args.log_format, args.log_level, &metrics, traces.as_ref())?;
    log_panics();
    serve(args, &runtime, traces, metrics)
}

pub(crate) fn wrong(problems: Vec<impl ToString>) -> ServeError {
    ServeError::Settings(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nashore serve: "))
}

fn serve(args: Args, runtime: &Runtime, traces: Option<Traces>, metrics: Arc<Metrics>) -> Result<ExitCode, ServeError> {
    let mut policy = args.policy.as_deref().map(settings::policy).transpose().map_err(wrong)?.unwrap_or_default();
    if let Some(image) = &args.init_image {
        policy.init_image.clone_from(image);
    }
    let listed = Listed::read(args.images.clone()).map_err(wrong)?;
    let own_namespace = args.namespace.clone().or_else(own_namespace);
    let cluster = cluster::Settings::of(&args.cluster, own_namespace.as_deref())?;
    runtime.block_on(async {
        let mut stop = StopSignals::new()?;
        let cluster = match cluster {
            Some(settings) => Some(Cluster::find(settings).await?),
            None => None,
        };
        let skipped = cluster.as_ref().filter(|_| args.registries.lookup).map(Cluster::skipped);
        let rulebook = Arc::new(Rulebook::default());
        let client = cluster.as_ref().map(|cluster| cluster.client.clone());
        let offering = match &cluster {
            Some(cluster) => {
                cluster.follow(policy.clone(), &rulebook, &metrics);
                cluster.offering(args.registries.lookup, policy.delivery, &rulebook, &metrics)?
            }
            None => Offering::default(),
        };
        let registries = registries::start(&args.registries, cluster.as_ref(), offering.nodes.clone(), &metrics)?;
        let images = Arc::new(Looking::new(listed.images(), registries));
        let decides = Decides { planner: Box::new(plan), policy, rulebook, images: Arc::clone(&images) };
        let surroundings = Surroundings { client, skipped, offering, own_namespace };
        let server = Server::bind(&args, decides, surroundings, metrics).await?;
        listed.follow(images);
        let (phase, phases) = watch::channel(Phase::Serving);
        let connections = Arc::clone(&server.connections);
        let (end_of_office, in_office) = watch::channel(false);
        let office = cluster.map(|cluster| cluster.start(server.parts(), in_office));
        let serving = tokio::spawn(server.serve(phases));

        let name = stop.next().await;
        tracing::info!(signal = name, delay = ?args.shutdown_delay, "stopping: still serving for the delay");
        phase.send_replace(Phase::Leaving);
        // Somebody else can lead from now on.
        end_of_office.send_replace(true);
        let end = async {
            let given_back = async {
                if let Some(office) = office {
                    let _ = tokio::time::timeout(GIVE_BACK, office).await;
                }
            };
            tokio::join!(tokio::time::sleep(args.shutdown_delay), given_back);
            tracing::info!(connections = connections.count(), timeout = ?args.drain_timeout, "draining");
            phase.send_replace(Phase::Draining);
            match tokio::time::timeout(args.drain_timeout, serving).await {
                Ok(_) => tracing::info!("drained"),
                Err(_) => tracing::warn!(connections = connections.count(), "gave up what was still open at the drain timeout"),
            }
            if let Some(traces) = traces {
                traces.end().await;
            }
        };
        tokio::select! {
            () = end => Ok(ExitCode::SUCCESS),
            name = stop.next() => {
                tracing::warn!(signal = name, connections = connections.count(), "a second signal: stopping at once");
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

/// The threads that serve. Planning has threads of its own, so that no pod can hold up the answers to others.
fn runtime() -> io::Result<Runtime> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

/// What decides about pods.
pub struct Decides {
    /// What plans.
    pub planner: Planner,
    /// The settings of pods that no policy selects.
    pub policy: Policy,
    /// The policies, and what namespaces say.
    pub rulebook: Arc<Rulebook>,
    /// What images run.
    pub images: Arc<Looking>,
}

/// Where it serves; by default, in no cluster.
#[derive(Default)]
pub struct Surroundings {
    /// A client of the API server.
    pub client: Option<kube::Client>,
    /// Who tells the owners of pods about images that are not known.
    pub skipped: Option<Skipped>,
    /// How the init can reach pods.
    pub offering: Offering,
    /// The namespace that Ashore itself runs in.
    pub own_namespace: Option<String>,
}

/// A server that listens already.
pub struct Server {
    app: App,
    listener: TcpListener,
    health: Option<TcpListener>,
    acceptor: TlsAcceptor,
    /// The open connections.
    pub connections: Arc<Connections>,
}

impl Server {
    /// Reads the profiles and the certificate, and starts to listen.
    ///
    /// # Errors
    /// What keeps it from serving.
    pub async fn bind(args: &Args, decides: Decides, surroundings: Surroundings, metrics: Arc<Metrics>) -> Result<Self, ServeError> {
        let profiles = settings::profiles(args.profiles.as_deref()).map_err(wrong)?;
        let tls = match (args.cluster.certificates, &args.cert, &args.key) {
            (Source::Files, Some(cert), Some(key)) => {
                let tls = Tls::load(cert.clone(), key.clone(), Arc::clone(&metrics))?;
                if let Err(why) = tls.holds() {
                    tracing::error!(file = %cert.display(), %why, "not ready");
                }
                tls
            }
            (Source::Files, _, _) => {
                return Err(ServeError::Settings(
                    "--cert and --key: needed, unless --certificates says who else keeps the certificate".into(),
                ));
            }
            _ => Tls::empty(Arc::clone(&metrics)),
        };
        let acceptor = TlsAcceptor::from(Arc::new(tls.server_config()?));
        let listener = listen("listen", args.listen).await?;
        let health = match args.health_listen {
            Some(address) => Some(listen("health-listen", address).await?),
            None => None,
        };
        let connections = Connections::new(Arc::clone(&metrics));
        let Decides { planner, policy, rulebook, images } = decides;
        let Surroundings { client, skipped, offering, own_namespace } = surroundings;
        let planners = Planners::default();
        let admission =
            Admission { planner, policy, profiles, rulebook, client, images, offering, skipped, own_namespace, planners, metrics };
        let admission = Arc::new(admission);
        let server =
            Self { app: App { admission, tls, said: Arc::default(), memory: BodyMemory::new() }, listener, health, acceptor, connections };
        let address = |listener: &TcpListener| listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string());
        let health = server.health.as_ref().map(address);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = address(&server.listener), health, "serving");
        Ok(server)
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What its own affairs in a cluster touch of it.
    pub fn parts(&self) -> Parts {
        Parts {
            tls: Arc::clone(&self.app.tls),
            said: Arc::clone(&self.app.said),
            connections: Arc::clone(&self.connections),
            admission: Arc::clone(&self.app.admission),
        }
    }

    /// Serves until it is told to drain and the last connection has gone.
    pub async fn serve(self, phases: watch::Receiver<Phase>) {
        let Self { app, listener, health, acceptor, connections } = self;
        let plain = async {
            if let Some(health) = health {
                accept(health, None, Routes::probes(app.clone()), Arc::clone(&connections), phases.clone()).await;
            }
        };
        let tls = accept(listener, Some(acceptor), Routes::all(app.clone()), Arc::clone(&connections), phases.clone());
        tokio::join!(plain, tls);
        connections.none_left().await;
    }
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    let bound = match TcpListener::bind(address).await {
        // "Any address" means IPv4 where a node has no IPv6.
        Err(e) if address.ip() == Ipv6Addr::UNSPECIFIED && e.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|source| ServeError::Listen { flag, address, source })
}

fn own_namespace() -> Option<String> {
    std::fs::read_to_string(OWN_NAMESPACE).ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// A panic's message may hold anything, a pod's environment too. What is logged is where it happened, and the message if it is a
/// fixed text of the program.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(withheld)");
        tracing::error!(place, message, "panic");
    }));
}

/// The signals that end the server.
struct StopSignals {
    term: Signal,
    int: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
