//! The webhook as a process of its own, and who asks it.

use ashore_tests::Folder;
use ashore_tests::pki::Ca;
use ashore_tests::server::die_with_the_test;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// The webhook.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    tls: Arc<ClientConfig>,
    _folder: Folder,
}

/// A connection to it that is kept.
pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

/// What a registry is asked by: nothing, for plain HTTP, or the authority that signed for it.
pub(crate) type Trust<'a> = Option<&'a str>;

/// The document about these registries, on loopback.
pub(crate) fn hosts(registries: &[(String, Trust<'_>)]) -> Value {
    let how = |trust: &Trust<'_>| trust.map_or_else(|| json!({"plainHttp": true}), |ca| json!({"ca": ca}));
    let registries: Map<_, _> = registries.iter().map(|(host, trust)| (host.clone(), how(trust))).collect();
    json!({"allowAddresses": ["127.0.0.0/8"], "registries": registries})
}

impl Server {
    /// One that asks these registries, or none, with more flags.
    pub(crate) fn start(registries: &[(String, Trust<'_>)], flags: &[&str]) -> Self {
        let (ca, folder) = (Ca::new(), Folder::new());
        let leaf = ca.leaf();
        let program = std::env::current_exe().expect("procfs").with_file_name("ashore");
        let mut command = Command::new(&program);
        command.args(["serve", "--listen=127.0.0.1:0", "--namespace=ashore-system"]).args(flags);
        command.arg("--cert").arg(folder.write("cert", &leaf.cert)).arg("--key").arg(folder.write("key", &leaf.key));
        if !registries.is_empty() {
            command.arg("--lookup").arg("--registries").arg(folder.write("registries", &hosts(registries).to_string()));
        }
        let child = die_with_the_test(&mut command).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{}: {error}; benches/lookup/run builds it", program.display()));
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("its log") > 0, "it ended before it served");
            if let Some(address) = line.split_whitespace().find_map(|word| word.strip_prefix("listen=")) {
                break address.trim_matches('"').parse().expect("an address");
            }
            eprint!("{line}");
        };
        // The log is read, and not looked at, as a container runtime does.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address, tls: ca.client("http/1.1"), _folder: folder }
    }

    /// Resident memory in MiB.
    pub(crate) fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("proc(5) has it so") / 1024.0
    }

    pub(crate) fn connect(&self) -> Connection {
        let tcp = TcpStream::connect(self.address).expect("it listens");
        tcp.set_nodelay(true).expect("a socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).expect("a configuration");
        let mut connection = Connection { stream: StreamOwned::new(tls, tcp), buffer: vec![0; 1 << 20] };
        connection.get("/livez");
        connection
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Connection {
    /// Sends a request as it is, and returns the body of the answer.
    pub(crate) fn send(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).expect("a connection that is kept");
        self.stream.flush().expect("a connection that is kept");
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..]).expect("an answer");
            assert!(read > 0, "an answer broke off");
            length += read;
            let Some(head) = self.buffer[..length].windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head]).expect("a head");
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            let said = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let end = head + 4 + said.expect("a length");
            if length == end {
                return &self.buffer[head + 4..end];
            }
        }
    }

    /// Sends a review that has to come back with a patch, or without one.
    pub(crate) fn review(&mut self, request: &[u8], injected: bool) {
        let answer = self.send(request);
        let patched = answer.windows(8).any(|bytes| bytes == b"\"patch\":");
        assert_eq!(patched, injected, "{}", String::from_utf8_lossy(answer));
    }

    pub(crate) fn get(&mut self, path: &str) -> String {
        String::from_utf8_lossy(self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())).into_owned()
    }

    /// A sample of a metric, `name{label="value"}`; 0 if it is not there.
    pub(crate) fn metric(&mut self, sample: &str) -> f64 {
        let text = self.get("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }
}

/// How often registries have told what an image runs.
pub(crate) const FOUND: &str = "ashore_image_lookups_total{result=\"found\"}";

/// A request about a pod of one container with this image, and perhaps a command, in this namespace.
pub(crate) fn review(image: &str, command: bool, namespace: &str) -> Vec<u8> {
    let mut review: Value = serde_json::from_str(include_str!("../../tests/serve/fixtures/review.json")).expect("JSON");
    let container = &mut review["request"]["object"]["spec"]["containers"];
    let mut one = container[0].take();
    one["image"] = image.into();
    if !command {
        one.as_object_mut().expect("a container").shift_remove("command");
    }
    *container = json!([one]);
    review["request"]["namespace"] = namespace.into();
    let body = review.to_string();
    let length = body.len();
    format!(
        "POST /mutate?timeout=5s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
