//! Leader election by a Lease, as client-go does it: a lease has run out when we have not seen it change for its duration, whatever the
//! clocks of others say.

use crate::metrics::Metrics;
use crate::objects::{Kind, ObjectError, Objects};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a lease holds without being renewed, in seconds.
const DURATION: u32 = 15;
/// A leader that could not renew for this long steps down: well before anybody else takes over.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often a leader renews, and others look.
const EVERY: Duration = Duration::from_secs(2);
/// How long to wait before a lease is given back that has just been written.
const AGAIN: Duration = Duration::from_millis(50);

/// What we know of the lease.
#[derive(Debug, Default)]
pub struct Election {
    identity: String,
    observed: Option<(String, Instant)>,
    renewed: Option<Instant>,
    /// Whose lease ran out before it was ours.
    after: Option<String>,
}

/// Where a replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has not seen the lease yet.
    Unknown,
    /// It does not lead.
    Follows,
    /// It leads, perhaps after somebody who did not give the lease back.
    Leads {
        /// Who that was.
        after: Option<String>,
    },
}

impl Standing {
    /// Whether it leads.
    pub fn leads(&self) -> bool {
        matches!(self, Self::Leads { .. })
    }
}

/// What to do about the lease now.
#[derive(Debug, PartialEq)]
pub enum Move {
    /// There is none: create this.
    Create(Value),
    /// Put this in its place.
    Replace(Value),
    /// Somebody else holds it.
    Follow,
}

impl Election {
    /// For a candidate of this name.
    pub fn new(identity: &str) -> Self {
        Self { identity: identity.into(), observed: None, renewed: None, after: None }
    }

    /// What to do, seeing this lease at this time. `written` is the time that goes into the lease.
    pub fn decide(&mut self, lease: Option<&Value>, now: Instant, written: &str) -> Move {
        let Some(lease) = lease else {
            let spec = json!({"holderIdentity": self.identity, "leaseDurationSeconds": DURATION, "acquireTime": written,
                "renewTime": written, "leaseTransitions": 0});
            return Move::Create(spec);
        };
        let spec = &lease["spec"];
        let record = spec.to_string();
        let since = match &self.observed {
            Some((seen, since)) if *seen == record => *since,
            _ => {
                self.observed = Some((record, now));
                now
            }
        };
        let holder = spec["holderIdentity"].as_str().unwrap_or_default();
        let duration = spec["leaseDurationSeconds"].as_u64().unwrap_or(DURATION.into()).clamp(1, 3600);
        let ours = holder == self.identity;
        if !ours && !holder.is_empty() && now < since + Duration::from_secs(duration) {
            return Move::Follow;
        }
        if !ours {
            self.after = Some(holder.to_owned()).filter(|holder| !holder.is_empty());
        }
        let transitions = spec["leaseTransitions"].as_u64().unwrap_or(0) + u64::from(!ours);
        let acquired = if ours { spec["acquireTime"].clone() } else { json!(written) };
        let mut taken = lease.clone();
        taken["spec"] = json!({"holderIdentity": self.identity, "leaseDurationSeconds": DURATION, "acquireTime": acquired,
            "renewTime": written, "leaseTransitions": transitions});
        Move::Replace(taken)
    }

    /// Says that the lease is ours as of `now`.
    pub fn renewed(&mut self, now: Instant) {
        self.renewed = Some(now);
    }

    /// Says that somebody else has it.
    pub fn lost(&mut self) {
        self.renewed = None;
        self.after = None;
    }

    /// Whether we lead: we renewed lately enough that nobody else can have taken over.
    pub fn leads(&self, now: Instant) -> bool {
        self.renewed.is_some_and(|renewed| now < renewed + RENEW_WITHIN)
    }

    /// Where we stand at this time.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.observed {
            _ if self.leads(now) => Standing::Leads { after: self.after.clone() },
            Some(_) => Standing::Follows,
            None => Standing::Unknown,
        }
    }

    /// When we cease to lead unless we renew.
    pub fn until(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + RENEW_WITHIN)
    }
}

/// Takes part in the election until `stop`, then gives the lease back. `standing` says whether we lead.
pub async fn run(
    objects: Objects,
    name: String,
    identity: String,
    owner: Option<Value>,
    metrics: Arc<Metrics>,
    standing: watch::Sender<Standing>,
    stop: impl Future<Output = ()>,
) {
    let mut election = Election::new(&identity);
    let mut told = String::new();
    let mut stop = std::pin::pin!(stop);
    'takes_part: loop {
        let began = Instant::now();
        let mut end = election.until().map(|until| (until, election.standing(until)));
        let renewed = {
            let mut renewal = std::pin::pin!(step(&objects, &name, owner.as_ref(), &mut election));
            loop {
                tokio::select! {
                    done = &mut renewal => break done,
                    // It may still be heard of, but others do not wait for that.
                    ended = over(&end) => {
                        tell(ended, &identity, &metrics, &standing);
                        end = None;
                    }
                    () = &mut stop => break 'takes_part,
                }
            }
        };
        match renewed {
            Ok(()) => told.clear(),
            // Somebody was quicker: the next look shows who.
            Err(error) if error.is_conflict() => election.lost(),
            Err(error) if error.is_silence() => tracing::debug!(%error, "the lease"),
            Err(error) => {
                let error = error.to_string();
                if told != error {
                    tracing::warn!(error, "the lease");
                    told = error;
                }
            }
        }
        tell(election.standing(Instant::now()), &identity, &metrics, &standing);
        // Nobody looks on time when all look at the same time.
        let next = began + EVERY - EVERY.mul_f64(0.2 * jitter(&identity, began));
        let wake = election.until().filter(|until| *until > Instant::now()).map_or(next, |until| next.min(until));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = &mut stop => break,
        }
        tell(election.standing(Instant::now()), &identity, &metrics, &standing);
    }
    let led = election.leads(Instant::now());
    standing.send_replace(Standing::Follows);
    metrics.leader.set(0);
    if led {
        match release(&objects, &name, &identity).await {
            Ok(()) => tracing::info!(identity, "gave the lease back"),
            Err(error) if error.is_forbidden() || error.is_not_found() => {
                tracing::info!(identity, "the lease, or the right to give it back, is gone already, as when Ashore is uninstalled");
            }
            Err(error) => tracing::warn!(%error, "could not give the lease back"),
        }
    }
}

/// Waits until this time, if there is one, and says where we stand then.
async fn over(end: &Option<(Instant, Standing)>) -> Standing {
    let Some((at, standing)) = end else { return std::future::pending().await };
    tokio::time::sleep_until(*at).await;
    standing.clone()
}

fn tell(now: Standing, identity: &str, metrics: &Metrics, standing: &watch::Sender<Standing>) {
    let leads = now.leads();
    metrics.leader.set(i64::from(leads));
    let mut before = now.clone();
    standing.send_if_modified(|standing| {
        std::mem::swap(standing, &mut before);
        before != now
    });
    if before.leads() != leads {
        tracing::info!(identity, leads, "leader election");
    }
}

/// Something between 0 and 1 that differs from replica to replica and from time to time.
fn jitter(identity: &str, now: Instant) -> f64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((identity, now.elapsed().subsec_nanos()));
    (hash % 1000) as f64 / 1000.0
}

async fn step(objects: &Objects, name: &str, owner: Option<&Value>, election: &mut Election) -> Result<(), ObjectError> {
    let lease = objects.get(Kind::Lease, name).await?;
    // The renewal counts from before it was asked for: whoever sees it can only see it later.
    let asked = Instant::now();
    match election.decide(lease.as_ref(), asked, &now()) {
        Move::Follow => {
            election.lost();
            return Ok(());
        }
        Move::Create(spec) => {
            let owners = owner.map_or_else(|| json!([]), |owner| json!([owner]));
            let lease = json!({"apiVersion": Kind::Lease.api_version(), "kind": Kind::Lease.name(),
                "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "ashore"}, "ownerReferences": owners}, "spec": spec});
            objects.create(Kind::Lease, name, &lease).await?;
        }
        Move::Replace(lease) => {
            objects.replace(Kind::Lease, name, &lease).await?;
        }
    }
    election.renewed(asked);
    Ok(())
}

/// Gives the lease back. A renewal that nobody waits for any more may still be done meanwhile: then it is read again.
async fn release(objects: &Objects, name: &str, identity: &str) -> Result<(), ObjectError> {
    loop {
        let Some(mut lease) = objects.get(Kind::Lease, name).await? else { return Ok(()) };
        if lease["spec"]["holderIdentity"] != identity {
            return Ok(());
        }
        lease["spec"]["holderIdentity"] = json!("");
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        lease["spec"]["renewTime"] = json!(now());
        match objects.replace(Kind::Lease, name, &lease).await {
            Err(error) if error.is_conflict() => tokio::time::sleep(AGAIN).await,
            done => return done.map(drop),
        }
    }
}

/// Now, as a MicroTime.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Waits until the replica leads, and does this until it does not any more: what is under way then is dropped. Says whether there may be
/// another term: not when it is done, or nobody says any more who leads.
pub async fn term(standing: &mut watch::Receiver<Standing>, lead: impl Future<Output = ()>) -> bool {
    if standing.wait_for(Standing::leads).await.is_err() {
        return false;
    }
    tokio::select! {
        () = lead => false,
        ended = standing.wait_for(|standing| !standing.leads()) => ended.is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use std::sync::{Mutex, MutexGuard};
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinHandle;
    use tokio::time::{sleep, timeout};

    fn held_by(holder: &str, renewed: &str) -> Value {
        json!({"metadata": {"name": "ashore", "resourceVersion": "7"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "acquireTime": "t0", "renewTime": renewed, "leaseTransitions": 3}})
    }

    fn after(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// An API server with a lease.
    #[derive(Default)]
    struct Server {
        lease: Value,
        writes: usize,
    }

    impl Server {
        fn write(&mut self, lease: &str) -> Answer {
            let lease: Value = serde_json::from_str(lease).unwrap();
            let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
            if !self.lease.is_null() && version(&lease) != version(&self.lease) {
                return refused(StatusCode::CONFLICT);
            }
            self.writes += 1;
            self.lease = lease;
            self.lease["metadata"]["resourceVersion"] = json!(self.writes.to_string());
            (StatusCode::OK, self.lease.to_string())
        }
    }

    type Answer = (StatusCode, String);

    fn refused(code: StatusCode) -> Answer {
        (
            code,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no",
            "reason": if code == StatusCode::NOT_FOUND { "NotFound" } else { "Conflict" }, "code": code.as_u16()})
            .to_string(),
        )
    }

    fn lock(server: &Mutex<Server>) -> MutexGuard<'_, Server> {
        server.lock().unwrap()
    }

    /// A client of it: what answers who asks for the lease, and who wants it replaced.
    fn objects<G, P>(
        server: &Arc<Mutex<Server>>,
        read: impl Fn(Arc<Mutex<Server>>) -> G + Clone + Send + Sync + 'static,
        replace: impl Fn(Arc<Mutex<Server>>, String) -> P + Clone + Send + Sync + 'static,
    ) -> Objects
    where
        G: Future<Output = Answer> + Send,
        P: Future<Output = Answer> + Send,
    {
        let [created, asked, put] = [(); 3].map(|()| Arc::clone(server));
        let leases = "/apis/coordination.k8s.io/v1/namespaces/ours/leases";
        let create = move |lease: String| std::future::ready(lock(&created).write(&lease));
        let lease = get(move || read(Arc::clone(&asked))).put(move |lease: String| replace(Arc::clone(&put), lease));
        let router = Router::new().route(leases, post(create)).route(&format!("{leases}/ashore"), lease);
        Objects::new(kube::Client::new(router, "ours"), "ours")
    }

    fn as_it_is(server: &Mutex<Server>) -> Answer {
        match &lock(server).lease {
            Value::Null => refused(StatusCode::NOT_FOUND),
            lease => (StatusCode::OK, lease.to_string()),
        }
    }

    /// Takes part until the sender says so.
    fn takes_part(objects: Objects) -> (watch::Receiver<Standing>, oneshot::Sender<()>, JoinHandle<()>) {
        let ((standing, stands), (stop, stopped)) = (watch::channel(Standing::Unknown), oneshot::channel());
        let stopped = async { stopped.await.unwrap_or_default() };
        let run = run(objects, "ashore".into(), "a".into(), None, Arc::new(Metrics::new()), standing, stopped);
        (stands, stop, tokio::spawn(run))
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_in_time_while_a_renewal_is_under_way() {
        let server = Arc::default();
        let slow = |server: Arc<Mutex<Server>>| async move {
            let answer = as_it_is(&server);
            if answer.0 == StatusCode::OK {
                sleep(after(3.9)).await;
            }
            answer
        };
        let (mut stands, _stop, _run) = takes_part(objects(&server, slow, |_, _| std::future::pending()));
        timeout(after(60.0), stands.wait_for(Standing::leads)).await.unwrap().unwrap();
        let began = Instant::now();
        timeout(after(60.0), stands.wait_for(|standing| !standing.leads())).await.unwrap().unwrap();
        let led = began.elapsed();
        assert!(after(9.9) < led && led < after(10.1), "{led:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_given_back_though_a_renewal_that_nobody_waits_for_is_done_meanwhile() {
        let (server, (under_way, mut comes)) = (Arc::default(), mpsc::unbounded_channel());
        let late = Arc::new(Mutex::new(None::<String>));
        let done = Arc::clone(&late);
        let read = move |server: Arc<Mutex<Server>>| {
            let answer = as_it_is(&server);
            if let Some(renewal) = done.lock().unwrap().take() {
                lock(&server).write(&renewal);
            }
            std::future::ready(answer)
        };
        let replace = move |server: Arc<Mutex<Server>>, lease: String| {
            let (late, under_way) = (Arc::clone(&late), under_way.clone());
            async move {
                if lock(&server).writes > 1 || under_way.send(()).is_err() {
                    return lock(&server).write(&lease);
                }
                *late.lock().unwrap() = Some(lease);
                std::future::pending().await
            }
        };
        let (_stands, stop, run) = takes_part(objects(&server, read, replace));
        timeout(after(60.0), comes.recv()).await.unwrap().unwrap();
        stop.send(()).unwrap();
        timeout(after(60.0), run).await.unwrap().unwrap();
        let server = lock(&server);
        assert_eq!((&server.lease["spec"]["holderIdentity"], server.writes), (&json!(""), 3));
    }

    #[test]
    fn the_first_one_creates_it() {
        let mut election = Election::new("a");
        let Move::Create(spec) = election.decide(None, Instant::now(), "now") else { panic!("not created") };
        assert_eq!((&spec["holderIdentity"], &spec["leaseDurationSeconds"]), (&json!("a"), &json!(15)));
    }

    #[test]
    fn anothers_lease_runs_out_by_our_own_clock_since_it_last_changed() {
        let (mut election, start) = (Election::new("b"), Instant::now());
        // Years old by its own account: what counts is when we saw it first.
        let old = held_by("a", "2001-01-01T00:00:00.000000Z");
        assert_eq!(election.decide(Some(&old), start, "now"), Move::Follow);
        assert_eq!(election.decide(Some(&old), start + after(14.9), "now"), Move::Follow);
        let renewed = held_by("a", "2001-01-01T00:00:02.000000Z");
        assert_eq!(election.decide(Some(&renewed), start + after(14.95), "now"), Move::Follow);
        assert_eq!(election.decide(Some(&renewed), start + after(29.9), "now"), Move::Follow);
        let Move::Replace(taken) = election.decide(Some(&renewed), start + after(30.0), "now") else { panic!("not taken") };
        assert_eq!((&taken["spec"]["holderIdentity"], &taken["spec"]["leaseTransitions"]), (&json!("b"), &json!(4)));
        assert_eq!((&taken["spec"]["acquireTime"], &taken["metadata"]["resourceVersion"]), (&json!("now"), &json!("7")));
    }

    #[test]
    fn our_own_is_renewed_and_one_given_back_is_taken_at_once() {
        let mut election = Election::new("a");
        let Move::Replace(renewed) = election.decide(Some(&held_by("a", "t1")), Instant::now(), "t2") else { panic!("not renewed") };
        assert_eq!((&renewed["spec"]["acquireTime"], &renewed["spec"]["renewTime"]), (&json!("t0"), &json!("t2")));
        assert_eq!(renewed["spec"]["leaseTransitions"], 3);
        assert!(matches!(election.decide(Some(&held_by("", "t1")), Instant::now(), "t2"), Move::Replace(_)));
    }

    #[test]
    fn who_led_before_is_remembered_if_the_lease_ran_out() {
        let (mut election, start) = (Election::new("b"), Instant::now());
        assert_eq!(election.standing(start), Standing::Unknown);
        election.decide(Some(&held_by("a", "t1")), start, "now");
        assert_eq!(election.standing(start), Standing::Follows);
        let late = start + after(15.0);
        election.decide(Some(&held_by("a", "t1")), late, "now");
        election.renewed(late);
        assert_eq!(election.standing(late), Standing::Leads { after: Some("a".into()) });
        // A renewal does not forget it; a lease that was given back has nobody to remember.
        election.decide(Some(&held_by("b", "t2")), late, "now");
        assert_eq!(election.standing(late), Standing::Leads { after: Some("a".into()) });
        election.lost();
        election.decide(Some(&held_by("", "t3")), late, "now");
        election.renewed(late);
        assert_eq!(election.standing(late), Standing::Leads { after: None });
    }

    #[test]
    fn a_leader_that_cannot_renew_steps_down_before_anybody_takes_over() {
        let (mut election, start) = (Election::new("a"), Instant::now());
        assert!(!election.leads(start));
        election.renewed(start);
        assert!(election.leads(start + after(9.9)) && !election.leads(start + after(10.0)));
        election.lost();
        assert!(!election.leads(start));
    }

    #[test]
    fn times_have_six_digits() {
        let text = now();
        assert_eq!((text.len(), &text[19..20], &text[26..]), (27, ".", "Z"), "{text}");
    }
}
