//! The image map: files that say what images run, read again when they change.

use crate::cli::settings;
use crate::looking::Looking;
use ashore_inject::StaticImages;
use std::fmt::Display;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often the files are looked at. The kubelet takes a minute to bring a changed ConfigMap to a pod.
const EVERY: Duration = Duration::from_secs(5);

/// The files, and what they held when they were read last.
#[derive(Debug)]
pub struct Listed {
    files: Vec<String>,
    held: Vec<Option<Vec<u8>>>,
    /// What they listed at first.
    images: StaticImages,
}

impl Listed {
    /// Reads them.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(files: Vec<String>) -> Result<Self, Vec<impl Display>> {
        let held = contents(&files);
        let images = settings::images(&files)?;
        Ok::<_, Vec<_>>(Self { files, held, images })
    }

    /// What they list.
    pub fn images(&self) -> StaticImages {
        self.images.clone()
    }

    /// Lists there what they hold whenever they change, for as long as somebody looks there. While they cannot be read, what they held
    /// before holds on.
    pub fn follow(self, looking: Arc<Looking>) {
        if self.files.is_empty() {
            return;
        }
        let looking = Arc::downgrade(&looking);
        tokio::spawn(self.watch(looking));
    }

    async fn watch(mut self, looking: Weak<Looking>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let Some(looking) = looking.upgrade() else { return };
            let read = tokio::task::spawn_blocking(move || {
                let now = contents(&self.files);
                let read = (now != self.held).then(|| settings::images(&self.files));
                (Self { held: now, ..self }, read)
            });
            let Ok((this, read)) = read.await else { return };
            self = this;
            let Some(read) = read else { continue };
            match read {
                Ok(images) => {
                    tracing::info!(files = self.files.join(", "), images = images.iter().count(), "the image map has changed");
                    looking.list(images);
                }
                Err(problems) => {
                    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                    tracing::warn!(problems = problems.join("; "), "the image map has changed and cannot be used; the one before holds on");
                }
            }
        }
    }
}

/// What is in the files; `None` for one that cannot be read.
fn contents(files: &[String]) -> Vec<Option<Vec<u8>>> {
    files.iter().map(|file| std::fs::read(file).ok()).collect()
}
