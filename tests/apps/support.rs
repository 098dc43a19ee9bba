//! A backend that answers when it is told to, and the stop that all of them want to see.

use ashore_tests::folder::open_to_all;
use ashore_tests::under::SOON;
use ashore_tests::{Ended, Folder, Running, Watch, paths};
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Long enough that nothing here comes near it: a stop that took as long would fail by [`SOON`].
pub(crate) const GRACE: &str = "--grace 1h";

/// A request that is under way until the test says that it may be answered.
pub(crate) struct SlowRequest {
    answer: mpsc::Sender<()>,
    client: JoinHandle<String>,
}

impl SlowRequest {
    /// Sends `GET /slow` to the server that runs, over this connection; it passes that on to the backend at the socket `back` in the
    /// folder. Returns when it has arrived there.
    pub(crate) fn start<S: Read + Write + Send + 'static>(run: &Running, back: &UnixListener, mut stream: S) -> Self {
        let (answer, may_answer) = mpsc::channel();
        let (arrived, has_arrived) = mpsc::channel();
        let back = back.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = back.accept().unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            arrived.send(length).unwrap();
            let _ = may_answer.recv();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nanswered");
        });
        let client = std::thread::spawn(move || {
            stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut response = Vec::new();
            let _ = stream.read_to_end(&mut response);
            String::from_utf8_lossy(&response).into_owned()
        });
        let arrived = has_arrived.recv_timeout(SOON);
        assert!(arrived.is_ok_and(|length| length > 0), "{arrived:?}; the server says:\n{}", run.output());
        Self { answer, client }
    }

    /// Lets the backend answer and checks that the client gets that.
    pub(crate) fn finish(self) {
        self.answer.send(()).unwrap();
        let response = self.client.join().unwrap();
        assert!(response.starts_with("HTTP/1.1 200") && response.contains("answered"), "the request was cut off: {response:?}");
    }
}

pub(crate) fn backend(folder: &Folder) -> UnixListener {
    let path = folder.path().join("back");
    let listener = UnixListener::bind(&path).unwrap();
    open_to_all(&path).unwrap();
    listener
}

/// Connects as soon as somebody listens.
pub(crate) fn connect(run: &Running, socket: &Path) -> UnixStream {
    let what = format!("{} answers", socket.display());
    ashore_tests::harness::eventually(&what, SOON, || {
        assert!(run.itself().is_ok_and(|init| init.state != 'Z'), "it has ended:\n{}", run.output());
        UnixStream::connect(socket).ok()
    })
}

/// The ways in which a program of the profile table is stopped: by the stop signal of its own image, and by TERM with what the table knows.
pub(crate) fn ways(row: &str, own: &str, signal: i32) -> [(String, i32); 2] {
    let table = std::fs::read(paths::workspace().join("charts/ashore/profiles.json")).unwrap();
    let table: Value = serde_json::from_slice(&table).unwrap();
    let row = &table[row];
    let mut known = format!("--rewrite TERM={}", row["rewrite"]["TERM"].as_str().unwrap());
    for signal in row["stopSignals"].as_array().into_iter().flatten() {
        known += &format!(" --stop-signal {}", signal.as_str().unwrap());
    }
    [(format!("{GRACE} --stop-signal {own}"), signal), (format!("{GRACE} {known}"), libc::SIGTERM)]
}

/// Sends the stop signal, does what is to be done meanwhile, and waits for the end; nobody may have been killed.
pub(crate) fn stop(run: &Running, signal: i32, meanwhile: impl FnOnce()) -> Ended {
    let watch = Watch::new().unwrap();
    for process in run.processes().iter().filter(|process| process.inner != 1) {
        // One that has gone just now is not of interest.
        let _ = watch.add(process.pid);
    }
    run.signal(signal).unwrap();
    meanwhile();
    let ended = run.end();
    for exit in watch.wait_for_all(SOON).unwrap() {
        assert_ne!(exit.signal(), Some(libc::SIGKILL), "{exit:?}:\n{}", run.output());
    }
    assert!(!run.said("ashore: "), "somebody was killed:\n{}", run.output());
    ended
}
