//! The labels by which a replica's pod says when it is to be asked. Two Services select by them: one the replicas that do not lead, which
//! the API server asks first, and one the one that leads, which it asks again about a pod that nobody answered for.

use crate::cluster::Settings;
use crate::connections::Connections;
use crate::lease::Standing;
use crate::objects::{ObjectError, Objects};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The label of those that are asked first, `true` or `false`.
pub const FIRST: &str = "ashore.dev/first";
/// The label of those that are asked again, `true` or `false`.
pub const AGAIN: &str = "ashore.dev/again";
/// How long a pod stays in the Service that it leaves when it has come into the other one: every node hears of a change within seconds,
/// and of the two Services not at the same time.
const BOTH: Duration = Duration::from_secs(5);
/// How long a connection that was made by other labels may be silent. One that is in use is closed by the answer to its next request.
const SILENT: Duration = Duration::from_secs(2);
/// How long to wait after an error, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The labels are said anew this often, whoever may have changed them.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Which of the two calls our pod's labels bring to us alone.
#[derive(Debug, Default)]
pub struct Said {
    which: AtomicU8,
    /// Whether the webhook's configuration has the API server ask twice. When it does not, every call may come to everybody.
    twice: AtomicBool,
    /// Told when it begins to.
    begins: Notify,
}

impl Said {
    const BOTH: u8 = 0;
    const FIRST: u8 = 1;
    const AGAIN: u8 = 2;

    /// Whether a call that asks for the first time, or `again`, should have come to another replica: a connection outlives the Service's
    /// choice that it was made by, and the two calls for a pod must not depend on the same replica.
    pub fn misplaced(&self, again: bool) -> bool {
        match self.which.load(Relaxed) {
            _ if !self.twice.load(Relaxed) => false,
            Self::FIRST => again,
            Self::AGAIN => !again,
            _ => false,
        }
    }

    /// Notes whether the API server asks twice now.
    pub fn asked_twice(&self, twice: bool) {
        if !self.twice.swap(twice, Relaxed) && twice {
            self.begins.notify_one();
        }
    }
}

/// Keeps the labels.
pub struct Labeller {
    /// This replica's settings.
    pub settings: Arc<Settings>,
    /// Whom to tell.
    pub objects: Objects,
    /// What has been told.
    pub said: Arc<Said>,
    /// Those that were made by other labels.
    pub connections: Arc<Connections>,
}

impl Labeller {
    /// Keeps the labels until nobody says any more where we stand, and sets them once more then.
    pub async fn run(self, mut standing: watch::Receiver<Standing>) {
        let mut told = String::new();
        let mut retry = RETRY.0;
        let mut over = false;
        // Whoever led before us is taken out once: it may come back.
        let mut out = None;
        while !over {
            let now = standing.borrow_and_update().clone();
            if !now.leads() {
                out = None;
            }
            if now == Standing::Unknown {
                over = standing.changed().await.is_err();
                continue;
            }
            let wait = match self.say(&now, &mut out, &mut standing, &mut over).await {
                Ok(()) => {
                    retry = RETRY.0;
                    told.clear();
                    SAY_AGAIN
                }
                // The last word is of use only if it is heard.
                Err(_) if over => return,
                Err(error) => {
                    self.complain(&error, &mut told);
                    let wait = if error.is_silence() { retry } else { RETRY.1 };
                    retry = (retry * 2).min(RETRY.1);
                    wait
                }
            };
            tokio::select! {
                changed = standing.changed() => over |= changed.is_err(),
                () = self.said.begins.notified() => self.finish().await,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Sets our labels, and takes whoever led before us and cannot say so any more out of both Services.
    async fn say(
        &self,
        now: &Standing,
        out: &mut Option<String>,
        standing: &mut watch::Receiver<Standing>,
        over: &mut bool,
    ) -> Result<(), ObjectError> {
        if let Standing::Leads { after: after @ Some(before) } = now
            && out != after
        {
            match self.objects.label(before, &[(FIRST, false), (AGAIN, false)]).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => out.clone_from(after),
            }
        }
        let (own, leads) = (&self.settings.pod_name, now.leads());
        let (to, from, said) = if leads { (AGAIN, FIRST, Said::AGAIN) } else { (FIRST, AGAIN, Said::FIRST) };
        self.objects.label(own, &[(to, true)]).await?;
        if self.said.which.load(Relaxed) != said {
            self.said.which.store(Said::BOTH, Relaxed);
            tokio::select! {
                changed = standing.changed() => match changed {
                    Ok(()) => {
                        standing.mark_changed();
                        return Ok(());
                    }
                    Err(_) => *over = true,
                },
                () = tokio::time::sleep(BOTH) => {}
            }
        }
        self.objects.label(own, &[(from, false)]).await?;
        if self.said.which.swap(said, Relaxed) != said {
            if !*over {
                self.finish().await;
            }
            tracing::info!(leads, asked = if leads { "again" } else { "first" }, "this pod's labels say when the API server is to ask it");
        }
        Ok(())
    }

    /// Ends the connections that were made by other labels and are not used.
    async fn finish(&self) {
        tokio::time::sleep(SILENT).await;
        self.connections.finish(SILENT, |again| self.said.misplaced(again));
    }

    /// Logs an error. A right that is missing is an Event already.
    fn complain(&self, error: &ObjectError, told: &mut String) {
        let text = error.to_string();
        if error.is_silence() || *told == text {
            return;
        }
        let so = "the API server asks all replicas first and none again: admissions that are lost with one of them stay lost";
        tracing::warn!(error = text, so, "cannot say on this pod when it is to be asked");
        *told = text;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_misplaced_only_where_the_labels_send_it_elsewhere() {
        let said = Said::default();
        said.asked_twice(true);
        assert!(!said.misplaced(false) && !said.misplaced(true));
        said.which.store(Said::FIRST, Relaxed);
        assert!(!said.misplaced(false) && said.misplaced(true));
        said.which.store(Said::AGAIN, Relaxed);
        assert!(said.misplaced(false) && !said.misplaced(true));
        // A call that is not repeated comes to whoever is there.
        said.asked_twice(false);
        assert!(!said.misplaced(false) && !said.misplaced(true));
    }
}
