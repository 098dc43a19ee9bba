//! A server in the test's own process, with a planner of the test's choice.

use crate::client::Client;
use crate::pki::{Ca, Mount};
use ashore::admission::Planner;
use ashore::listener::Phase;
use ashore::looking::Looking;
use ashore::metrics::Metrics;
use ashore::serve::{Args, Decides, Server, Surroundings};
use ashore_inject::{ContainerKind, ContainerPlan, Op, Outcome, Patch, Plan, Policy, Reason, Unknown};
use clap::Parser;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct TestServer {
    pub ca: Ca,
    pub mount: Mount,
    pub address: SocketAddr,
    pub phase: watch::Sender<Phase>,
    pub serving: JoinHandle<()>,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Arguments as on a command line.
pub fn args(mount: &Mount) -> Args {
    let cert = mount.cert().into_os_string();
    let key = mount.key().into_os_string();
    Line::parse_from(["serve".into(), "--listen=127.0.0.1:0".into(), "--cert".into(), cert, "--key".into(), key]).args
}

/// A policy.
pub fn policy() -> Policy {
    Policy { linger: Duration::ZERO, init_image: "ashore".into(), ..Policy::default() }
}

impl TestServer {
    pub async fn start(planner: Planner) -> Self {
        let ca = Ca::new();
        let mount = Mount::new(&ca.leaf());
        Self::start_with(planner, ca, mount).await
    }

    pub async fn start_with(planner: Planner, ca: Ca, mount: Mount) -> Self {
        Self::bind(planner, policy(), Arc::default(), Arc::default(), ca, mount).await
    }

    /// With the real planner, and images that are looked up there.
    pub async fn looking(images: Arc<Looking>, policy: Policy, metrics: Arc<Metrics>) -> Self {
        let ca = Ca::new();
        let mount = Mount::new(&ca.leaf());
        Self::bind(Box::new(ashore::admission::plan), policy, images, metrics, ca, mount).await
    }

    async fn bind(planner: Planner, policy: Policy, images: Arc<Looking>, metrics: Arc<Metrics>, ca: Ca, mount: Mount) -> Self {
        let decides = Decides { planner, policy, rulebook: Arc::default(), images };
        let surroundings = Surroundings { own_namespace: Some("ashore-system".into()), ..Surroundings::default() };
        let server = Server::bind(&args(&mount), decides, surroundings, metrics).await.unwrap();
        let address = server.address().unwrap();
        let (phase, phases) = watch::channel(Phase::Serving);
        Self { ca, mount, address, phase, serving: tokio::spawn(server.serve(phases)) }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address, &self.ca).await.unwrap()
    }
}

/// A plan that adds a label and says that it wrapped one container and skipped another.
pub fn some_plan() -> Plan {
    let container =
        |name: &str, outcome| ContainerPlan { name: name.into(), kind: ContainerKind::App, image: String::new(), policy: None, outcome };
    let wrapped = ashore_inject::Wrapped {
        flags: vec![],
        argv: vec![],
        stop_signal: ashore_init::signal::Signal::TERM,
        grace: Duration::from_secs(30),
        profile: None,
    };
    let unknown = Reason::ImageUnknown { image: "x".into(), unknown: Unknown { code: "notFound", why: "why".into() } };
    Plan {
        skipped: None,
        containers: vec![container("cart", Outcome::Wrapped(wrapped)), container("proxy", Outcome::Skipped(unknown))],
        delivery: None,
        patch: Patch(vec![Op::Add { path: "/metadata/labels/x".into(), value: "y".into() }]),
        warnings: vec!["container proxy: left as it is".into()],
    }
}

/// A planner that always gives [`some_plan`].
pub fn some_planner() -> Planner {
    Box::new(|_, _| Ok(some_plan()))
}

/// A plan that does nothing.
pub fn no_plan(reason: Reason) -> Plan {
    Plan { skipped: Some(reason), containers: vec![], delivery: None, patch: Patch::default(), warnings: vec![] }
}
