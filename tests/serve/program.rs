//! The real program, started and stopped as an operator would.

use crate::pki::Mount;
use crate::{output, soon};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub struct Program {
    child: Child,
    pub address: SocketAddr,
    health: Option<SocketAddr>,
    log: UnboundedReceiver<Value>,
}

impl Program {
    /// The command with these files and flags, on a free port.
    pub fn command(mount: &Mount, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
        command.arg("serve").arg("--cert").arg(mount.cert()).arg("--key").arg(mount.key());
        command.args(["--listen=127.0.0.1:0"]).args(flags).stderr(Stdio::piped());
        if !flags.iter().any(|flag| flag.starts_with("--log-format")) {
            command.arg("--log-format=json");
        }
        command
    }

    /// Starts it and waits until it serves.
    pub async fn start(mount: &Mount, flags: &[&str]) -> Self {
        Self::started(Self::command(mount, flags)).await
    }

    /// The same of a command that was made and changed.
    pub async fn started(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (put, mut log) = unbounded_channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                // Whoever does not listen any more does not mind.
                let _ = put.send(serde_json::from_str(&line).unwrap_or_else(|_| Value::String(line)));
            }
        });
        let serving = loop {
            let line = soon("it serves", log.recv()).await.expect("it ended before it served");
            if line["message"] == "serving" {
                break line;
            }
            if let Some(at) = line.as_str().and_then(|text| text.split_once("listen=\"")) {
                break serde_json::json!({"listen": at.1.split('"').next()});
            }
        };
        let address = |field: &str| serving[field].as_str().map(|text| text.parse().unwrap());
        Self { child, address: address("listen").unwrap(), health: address("health"), log }
    }

    /// The next log line with this message.
    pub async fn logged(&mut self, message: &str) -> Value {
        loop {
            let line = soon(message, self.log.recv()).await.unwrap_or_else(|| panic!("it ended without saying {message:?}"));
            if line["message"] == message {
                return line;
            }
        }
    }

    /// All log lines from now to its end.
    pub async fn rest_of_the_log(&mut self) -> Vec<Value> {
        let mut lines = vec![];
        while let Some(line) = soon("the end of the log", self.log.recv()).await {
            lines.push(line);
        }
        lines
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child has not been waited for, so its process id is still its own.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Waits for its end and returns its exit code.
    pub async fn ended(mut self) -> Option<i32> {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        soon("its end", ended).await
    }

    /// The whole answer on the port without TLS.
    pub async fn plain(&self, path: &str) -> String {
        let answered = async {
            let mut stream = TcpStream::connect(self.health.unwrap()).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        soon(path, answered).await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_bad_flag_is_a_usage_error_that_says_what_is_allowed() {
    let mount = Mount::new(&crate::pki::Ca::new().leaf());
    for (flag, words) in [
        ("--shutdown-delay=soon", &["--shutdown-delay", "soon", "a duration such as 500ms"][..]),
        ("--log-level=loud", &["--log-level", "loud", "error, warn, info, debug or trace"]),
        ("--log-format=xml", &["--log-format", "xml", "text, json"]),
        ("--listen=here", &["--listen", "here", "an IP address and a port, such as [::]:8443"]),
        ("--health-listen=localhost:1", &["--health-listen", "localhost:1", "an IP address and a port"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
        command.arg("serve").arg("--cert").arg(mount.cert()).arg("--key").arg(mount.key()).arg(flag);
        let output = output(&mut command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|word| said.contains(word)) && !said.contains("environment"), "{said}");
    }
}

#[test]
fn a_bad_environment_variable_is_named_with_its_flag_and_what_is_allowed() {
    for (variable, value, words) in [
        ("ASHORE_LISTEN", "8443", &["--listen", "'8443'", "an IP address and a port"][..]),
        ("ASHORE_HEALTH_LISTEN", "", &["--health-listen", "''", "an IP address and a port"]),
        ("ASHORE_DRAIN_TIMEOUT", "1 minute", &["--drain-timeout", "1 minute", "a duration such as 500ms"]),
        ("ASHORE_CERTIFICATES", "Self", &["--certificates", "Self", "self, cert-manager, secret, files"]),
        ("ASHORE_FAILURE_POLICY", "ignore", &["--failure-policy", "ignore", "Ignore, Fail"]),
        ("ASHORE_WEBHOOK_TIMEOUT", "1m", &["--webhook-timeout", "1m", "whole seconds from 1s to 30s"]),
        ("ASHORE_LOG_FORMAT", "JSON", &["--log-format", "JSON", "text, json"]),
    ] {
        let output = output(Command::new(env!("CARGO_BIN_EXE_ashore")).arg("serve").env(variable, value));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
        assert!(said.ends_with(&format!("note: that is the value of the environment variable {variable}\n")), "{said}");
    }
}

#[test]
fn a_bad_file_of_settings_is_an_error_that_names_file_and_field() {
    let mount = Mount::new(&crate::pki::Ca::new().leaf());
    let dir = tempfile::tempdir().unwrap();
    for (flag, text, words) in [
        ("policy", "strategy: sideways\n", &["policy.yaml:1", "strategy", "sideways", "cascade, broadcast or main"][..]),
        ("policy", "stratgy: main\n", &["policy.yaml:1", "stratgy", "strategy"]),
        ("profiles", "nginx: {term: slow}\n", &["profiles.yaml:1", "nginx.term", "slow", "graceful, quick, waits, reload or ignored"]),
        ("images", "nginx:\n  Entrypoint: nope\n", &["images.yaml:2", "image nginx", "Entrypoint", "a list of strings"]),
        ("images", "[", &["images.yaml:"]),
    ] {
        let path = dir.path().join(format!("{flag}.yaml"));
        std::fs::write(&path, text).unwrap();
        let output = output(&mut Program::command(&mount, &[&format!("--{flag}={}", path.display())]));
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    let output = output(&mut Program::command(&mount, &["--images=/nonexistent.yaml"]));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent.yaml: no such file"));
}

#[test]
fn an_address_in_use_is_the_last_word_whatever_the_log_looks_like() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mount = Mount::new(&crate::pki::Ca::new().leaf());
    for (flag, variable) in [("--listen", "ASHORE_LISTEN"), ("--health-listen", "ASHORE_HEALTH_LISTEN")] {
        for format in ["text", "json"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ashore"));
            command.args(["serve", "--log-level=trace"]).env("ASHORE_CERT", mount.cert()).env("ASHORE_KEY", mount.key());
            command.env("ASHORE_LOG_FORMAT", format).env("ASHORE_LISTEN", "127.0.0.1:0").env(variable, address.to_string());
            let output = output(&mut command);
            assert_eq!(output.status.code(), Some(1));
            // A pod's termination message is the end of its log.
            let said = String::from_utf8(output.stderr).unwrap();
            let last = said.lines().last().unwrap();
            assert_eq!(last, format!("ashore serve: {flag}: cannot listen on {address}: Address already in use (os error 98)"));
        }
    }
}
