//! A replica of the real program, and what stands in for the Service in front of all of them.

use crate::control::{Control, NAMESPACE, PATIENCE};
use ashore_tests::harness::eventually;
use ashore_tests::server::{LOOPBACK, die_with_the_test, free_port};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// How long a leader that ends waits for the API server.
const GIVE_BACK: SignedDuration = SignedDuration::from_secs(4);

pub struct Replica {
    child: Child,
    port: u16,
    health: u16,
    log: Arc<(Mutex<Vec<Value>>, Condvar)>,
    service: Option<Service>,
}

/// Passes connections on to a replica that takes them, as a Service would.
#[derive(Clone)]
pub struct Service {
    pub port: u16,
    replicas: Arc<Mutex<Vec<u16>>>,
}

impl Service {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self { port: listener.local_addr().unwrap().port(), replicas: Arc::default() };
        let replicas = Arc::clone(&service.replicas);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut ports = replicas.lock().unwrap();
                let there = ports.iter().position(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
                let Some(server) = there.and_then(|at| TcpStream::connect(("127.0.0.1", ports[at])).ok()) else { continue };
                // The next one gets the next connection.
                ports.rotate_left(1);
                drop(ports);
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        service
    }
}

impl Replica {
    pub fn start(control: &Control, service: &Service, name: &str, flags: &[&str]) -> Self {
        Self::start_in(&[], control, service, name, flags)
    }

    /// The same, in this environment.
    pub fn start_in(environment: &[(&str, &str)], control: &Control, service: &Service, name: &str, flags: &[&str]) -> Self {
        let url = format!("--webhook-url=https://127.0.0.1:{}", service.port);
        let url = (!flags.iter().any(|flag| flag.starts_with("--service="))).then_some(url.as_str());
        let mut replica = Self::alone(environment, control, name, &[flags, url.as_slice()].concat());
        service.replicas.lock().unwrap().push(replica.port);
        replica.service = Some(service.clone());
        replica
    }

    /// One that nothing leads to.
    pub fn alone(environment: &[(&str, &str)], control: &Control, name: &str, flags: &[&str]) -> Self {
        let (port, health) = (free_port(LOOPBACK), free_port(LOOPBACK));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
        command.args(["serve", "--log-format=json"]).arg(format!("--namespace={NAMESPACE}"));
        command.arg(format!("--listen=127.0.0.1:{port}")).arg(format!("--health-listen=127.0.0.1:{health}"));
        // The API server asks once: a replica of a busy machine is to answer all the same.
        let usual = [("--certificates", "self"), ("--log-level", "debug"), ("--shutdown-delay", "0s"), ("--webhook-timeout", "30s")];
        for (flag, usual) in usual {
            if !flags.iter().any(|given| given.starts_with(flag)) {
                command.arg(format!("{flag}={usual}"));
            }
        }
        command.args(flags).envs(environment.iter().copied());
        command.env("KUBECONFIG", control.kubeconfig()).env("POD_NAME", name).stderr(Stdio::piped());
        let mut child = die_with_the_test(&mut command).spawn().unwrap();
        let log: Arc<(Mutex<Vec<Value>>, Condvar)> = Arc::default();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let put = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                put.0.lock().unwrap().push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
                put.1.notify_all();
            }
        });
        let replica = Self { child, port, health, log, service: None };
        replica.logged("serving");
        replica
    }

    /// The port that it serves on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port without TLS.
    pub fn health(&self) -> u16 {
        self.health
    }

    /// The first log line with this message, as soon as there is one.
    pub fn logged(&self, message: &str) -> Value {
        self.logged_after(0, message)
    }

    /// The same, among lines after the first so many.
    pub fn logged_after(&self, seen: usize, message: &str) -> Value {
        self.logged_where(seen, message, |_| true)
    }

    /// The same, for which something else holds, too.
    pub fn logged_where(&self, seen: usize, message: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let found = |lines: &Vec<Value>| lines.iter().skip(seen).find(|line| line["message"] == message && holds(line)).cloned();
        let lines = self.log.0.lock().unwrap();
        let (lines, timeout) = self.log.1.wait_timeout_while(lines, PATIENCE, |lines| found(lines).is_none()).unwrap();
        assert!(!timeout.timed_out(), "never said {message:?}:\n{}", text(&lines));
        found(&lines).unwrap()
    }

    /// Has something happen until it tells of it, a few times at most. It does not when the API server was silent about what it did then, or
    /// when it does so in another term, in whose log that is something new with this message. Says how often it happened.
    pub fn tells(&self, new: &str, told: impl Fn() -> bool, mut happen: impl FnMut()) -> usize {
        let errors = || self.metric("ashore_cluster_errors_total");
        let tells = |_: &usize| {
            let (seen, before) = (self.lines(), errors());
            happen();
            eventually("it to be told", PATIENCE, || {
                let missed = || errors() > before || self.times(seen, new) > 0;
                if told() { Some(true) } else { missed().then_some(false) }
            })
        };
        (1..=5).find(tells).unwrap_or_else(|| panic!("never told of:\n{}", self.log()))
    }

    /// All lines with this message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        self.log.0.lock().unwrap().iter().filter(|line| line["message"] == message).cloned().collect()
    }

    /// How often it was said, after the first so many lines.
    pub fn times(&self, seen: usize, message: &str) -> usize {
        self.log.0.lock().unwrap().iter().skip(seen).filter(|line| line["message"] == message).count()
    }

    /// How often this has been said.
    pub fn count(&self, message: &str) -> usize {
        self.log.0.lock().unwrap().iter().filter(|line| line["message"] == message).count()
    }

    /// How many lines there are by now.
    pub fn lines(&self) -> usize {
        self.log.0.lock().unwrap().len()
    }

    /// What was said after the first so many lines.
    pub fn log_after(&self, seen: usize) -> String {
        text(&self.log.0.lock().unwrap()[seen..])
    }

    /// All of the log, for a failure.
    pub fn log(&self) -> String {
        text(&self.log.0.lock().unwrap())
    }

    /// The answer's status and body on the port without TLS.
    pub fn plain(&self, path: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.health)) else { return (0, String::new()) };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let mut answer = String::new();
        let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        let _ = stream.read_to_string(&mut answer);
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }

    /// The certificate that it shows to a client that trusts this bundle and nobody else, and calls it by this name; or why that one
    /// does not accept it.
    pub fn shows(&self, bundle: &str, name: &'static str) -> Result<CertificateDer<'static>, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        while client.is_handshaking() {
            client.complete_io(&mut stream).map_err(|error| error.to_string())?;
        }
        Ok(client.peer_certificates().unwrap()[0].clone().into_owned())
    }

    /// The value of a metric's sample; zero if it is not there.
    pub fn metric(&self, sample: &str) -> f64 {
        let (_, text) = self.plain("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub fn wait_until_ready(&self) {
        let ready = || (self.plain("/readyz").0 == 200).then_some(());
        let deadline = std::time::Instant::now() + PATIENCE;
        while ready().is_none() {
            assert!(std::time::Instant::now() < deadline, "not ready: {:?}\n{}", self.plain("/readyz"), self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it keeps in memory now, and the most that it ever had, in MiB.
    pub fn resident(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = |field: &str| status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")).unwrap();
        let mib = |field| kib(field).trim().parse::<f64>().unwrap() / 1024.0;
        (mib("VmRSS:"), mib("VmHWM:"))
    }

    /// The processor time that it has taken, in seconds.
    pub fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // utime and stime of proc(5), in hundredths; a name may have spaces in it.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }

    pub fn leads(&self) -> bool {
        self.metric("ashore_leader") == 1.0
    }

    /// Halts it while this is done: what comes for it meanwhile is there when it runs on, all of it.
    pub fn halted<T>(&self, what: impl FnOnce() -> T) -> T {
        let (pid, mut status) = (self.child.id().cast_signed(), 0);
        // SAFETY: the child has not been waited for, so its process id is still its own; the status is ours for as long as that takes.
        let halted = unsafe {
            libc::kill(pid, libc::SIGSTOP);
            // Its last thread may run on for a moment.
            libc::waitpid(pid, &raw mut status, libc::WUNTRACED)
        };
        assert!(halted == pid && libc::WIFSTOPPED(status), "{halted} {status:#x}\n{}", self.log());
        let done = what();
        // SAFETY: as above; it has been waited for only to be halted.
        unsafe { libc::kill(pid, libc::SIGCONT) };
        done
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.leave();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as the kubelet does, and says with which code it ended.
    pub fn stop(self) -> Option<i32> {
        self.stop_saying().0
    }

    /// The same, and all that it has logged.
    pub fn stop_saying(mut self) -> (Option<i32>, String) {
        self.leave();
        // SAFETY: the child has not been waited for, so its process id is still its own.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let code = eventually("the replica's end", PATIENCE, || self.child.try_wait().unwrap()).code();
        // The thread that reads the log is done a moment later.
        let all = || self.count("drained") > 0 || self.count("gave up what was still open at the drain timeout") > 0;
        eventually("the end of its log", PATIENCE, || all().then_some(()));
        (code, self.log())
    }

    /// Ends one that leads, and gives what it has logged; nothing if the API server has kept it from leading until it was to end, or from
    /// answering about the lease in the time that there is for that.
    pub fn stop_leading(self) -> Option<String> {
        let log = Arc::clone(&self.log);
        let (code, text) = self.stop_saying();
        assert_eq!(code, Some(0), "{text}");
        let lines = log.0.lock().unwrap();
        let at = |message: &str| lines.iter().position(|line| line["message"] == message).unwrap();
        let (stopping, draining) = (at("stopping: still serving for the delay"), at("draining"));
        let led = lines[..stopping].iter().rfind(|line| line["message"] == "leader election").is_some_and(|line| line["leads"] == true);
        let time = |at: usize| lines[at]["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
        let in_time = time(stopping).duration_until(time(draining)) < GIVE_BACK;
        let silence = |line: &Value| line["error"].as_str().is_some_and(|error| error.contains("no answer within"));
        (led && in_time && !lines[stopping..].iter().any(silence)).then_some(text)
    }

    fn leave(&self) {
        if let Some(service) = &self.service {
            service.replicas.lock().unwrap().retain(|port| *port != self.port);
        }
    }
}

/// Waits until exactly one of them leads.
pub fn until_one_leads<'r>(replicas: impl Iterator<Item = &'r Replica> + Clone) {
    eventually("a leader", PATIENCE, || (replicas.clone().filter(|replica| replica.leads()).count() == 1).then_some(()));
}

fn text(lines: &[Value]) -> String {
    let skip = lines.len().saturating_sub(200);
    lines[skip..].iter().map(|line| format!("{line}\n")).collect()
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
