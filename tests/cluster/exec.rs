//! A process that has come into a container by an exec, and what it says.

use super::SOON;
use crate::harness::eventually;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// kubectl, for as long as it is connected to the process.
pub struct Exec {
    said: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    child: Child,
}

impl Exec {
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("kubectl: {error}"));
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let reader = child.stdout.take().map(|mut stdout| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut some = [0; 4096];
                while let Ok(read @ 1..) = stdout.read(&mut some) {
                    said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&some[..read]);
                }
            })
        });
        Self { said, reader, child }
    }

    /// What it has said so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until it has said this.
    ///
    /// # Panics
    /// It doesn't.
    pub fn wait(&self, text: &str) {
        eventually(&format!("{text:?} from an exec"), SOON, || {
            let over = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            let said = self.text();
            assert!(said.contains(text) || !over, "the exec has ended before {text:?}: {said:?}");
            said.contains(text).then_some(())
        });
    }

    /// All that it said, when it has ended.
    pub fn ended(mut self) -> String {
        drop(self.reader.take().map(JoinHandle::join));
        self.text()
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // The process itself ends with its container.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
