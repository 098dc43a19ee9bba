//! Services as the API server knows them, and what a node's proxy makes of them: something that listens on each of their addresses, and
//! passes connections on to the pods that the Service selects.

use crate::control::{Control, NAMESPACE, PATIENCE, SERVICES};
use crate::replica::Replica;
use ashore_tests::harness::eventually;
use ashore_tests::server::{LOOPBACK, free_port};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of connections to a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// They reach one of its replicas.
    Open,
    /// They are accepted and closed without an answer.
    Swallowed,
    /// They are refused.
    Refused,
}

/// The three Services of an installation.
pub struct Front {
    control: Arc<Control>,
    port: u16,
    pub all: Service,
    pub first: Service,
    pub again: Service,
    /// Ports of replicas that have been ready once, by pod. A dead one is not forgotten.
    replicas: Arc<Mutex<BTreeMap<String, u16>>>,
}

/// One of them.
pub struct Service {
    at: String,
    selector: String,
    listener: Mutex<Option<TcpListener>>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Front {
    /// Makes the Services; all are open.
    pub fn start(control: Arc<Control>) -> Self {
        let port = free_port(LOOPBACK);
        let service = |last: u8, name: &str, label: Option<&str>| {
            let selector = label.map_or_else(|| json!({"app": "ashore"}), |label| json!({"app": "ashore", label: "true"}));
            let at = format!("{SERVICES}.{last}");
            control.create(
                &format!("/api/v1/namespaces/{NAMESPACE}/services"),
                &json!({"metadata": {"name": name}, "spec": {"clusterIP": at, "selector": selector, "ports": [{"port": port}]}}),
            );
            let selector = label.map_or_else(|| "app=ashore".to_owned(), |label| format!("app=ashore,{label}=true"));
            Service { at: format!("{at}:{port}"), selector, listener: Mutex::default(), connections: Arc::default() }
        };
        let all = service(10, "ashore", None);
        let first = service(11, "ashore-first", Some("ashore.dev/first"));
        let again = service(12, "ashore-again", Some("ashore.dev/again"));
        let front = Self { control, port, all, first, again, replicas: Arc::default() };
        for service in [&front.all, &front.first, &front.again] {
            front.set(service, Way::Open);
        }
        front
    }

    /// Starts the replica of a pod, which is made if it is not there, and has the Services lead to it once it is ready.
    pub fn replica(&self, name: &str, flags: &[&str]) -> Replica {
        self.only_one(name, &[flags, &["--first-service=ashore-first", "--again-service=ashore-again"]].concat())
    }

    /// The same for one that is said to have no other beside it.
    pub fn only_one(&self, name: &str, flags: &[&str]) -> Replica {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "ashore", "ashore.dev/first": "true", "ashore.dev/again": "false"}},
            "spec": {"containers": [{"name": "ashore", "image": "ashore"}]},
        });
        let made = self.control.request("POST", &format!("/api/v1/namespaces/{NAMESPACE}/pods"), Some(&pod));
        assert!(matches!(made.status, 201 | 409), "{}", made.body);
        let port = format!("--service-port={}", self.port);
        let replica = Replica::alone(&[], &self.control, name, &[flags, &[port.as_str()]].concat());
        replica.wait_until_ready();
        self.replicas.lock().unwrap().insert(name.to_owned(), replica.port());
        replica
    }

    /// Has the Services lead to it no more, as they do with a pod that is being deleted.
    pub fn forget(&self, pod: &str) {
        self.replicas.lock().unwrap().remove(pod);
    }

    /// A pod's two labels.
    pub fn labels(&self, pod: &str) -> (Value, Value) {
        let labels = self.control.get(&format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}")).body["metadata"]["labels"].take();
        (labels["ashore.dev/first"].clone(), labels["ashore.dev/again"].clone())
    }

    /// Waits until a pod's labels say this.
    pub fn labelled(&self, pod: &str, first: &str, again: &str) {
        let wanted = (json!(first), json!(again));
        eventually(&format!("{pod} {first} {again}"), PATIENCE, || (self.labels(pod) == wanted).then_some(()));
    }

    /// Sets what becomes of connections from now on, and cuts those that are open.
    pub fn set(&self, service: &Service, way: Way) {
        if let Some(listener) = service.listener.lock().unwrap().take() {
            // Whoever is waiting for a connection is woken by this, too.
            // SAFETY: a descriptor that is open.
            unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
        }
        for connection in service.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        if way == Way::Refused {
            return;
        }
        // The thread that had the last one closes it in a moment.
        let listener = eventually("its address", PATIENCE, || TcpListener::bind(&service.at).ok());
        *service.listener.lock().unwrap() = Some(listener.try_clone().unwrap());
        let connections = Arc::clone(&service.connections);
        let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={}", service.selector);
        let (control, replicas, turn) = (Arc::downgrade(&self.control), Arc::clone(&self.replicas), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(control) = control.upgrade() else { return };
                if way == Way::Swallowed {
                    let _ = client.peek(&mut [0]);
                    continue;
                }
                let pods = control.get(&pods).body;
                let ports: Vec<u16> = {
                    let replicas = replicas.lock().unwrap();
                    let names = pods["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["name"].as_str());
                    names.filter_map(|name| replicas.get(name).copied()).collect()
                };
                let Some(port) = ports.get(turn.fetch_add(1, Ordering::Relaxed) % ports.len().max(1)) else { continue };
                let Ok(server) = TcpStream::connect(("127.0.0.1", *port)) else { continue };
                connections.lock().unwrap().push(client.try_clone().unwrap());
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
    }
}
