//! Pods that ask and run without Ashore: the same census as the leader's (`survey`), once and through the person's eyes.

use super::report::{Line, some_of};
use super::subject::{CONFIG_MAPS, Subject};
use crate::admission::{Admission, Hindsight, plan};
use crate::census::{Census, News, Scope};
use crate::cli::book::{self, Book, Unseen};
use crate::cli::yaml;
use crate::looking::Looking;
use crate::metrics::Metrics;
use crate::objects::ObjectError;
use crate::offering::Offering;
use crate::pages::{self, Pages};
use crate::planners::Planners;
use crate::rulebook::{Labels, Rulebook};
use crate::watching::PODS;
use ashore_inject::annotations::INJECTED;
use ashore_inject::{Answer, Asked, ImageConfig, Images, Policy};
use kube::api::ListParams;
use kube::core::request::Request;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CHECK: &str = "drift";
/// How long deciding about a pod may take.
const DECIDE: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Default)]
struct Seen {
    /// Pods that would be injected.
    missed: News,
    /// Pods that would be if it is known what their images run, which is not asked here.
    perhaps: News,
    /// Pods whose author would have to correct something first.
    refused: News,
    /// Pods that were not looked at any more.
    left: usize,
}

/// The line about them.
pub(crate) async fn check(subject: &Subject) -> Line {
    let Seen { missed, perhaps, refused, left } = match look(subject).await {
        Ok(seen) => seen,
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    let mut found = Vec::new();
    for (pods, what) in [
        (&missed, "ask and run without Ashore"),
        (&refused, "ask, run without Ashore, and would be refused now"),
        (&perhaps, "ask and run without Ashore, perhaps since it is not known what their images run"),
    ] {
        if pods.count > 0 {
            found.push(format!("{} {what}: {}", pods.count, some_of(&pods.named, pods.count)));
        }
    }
    if left > 0 {
        found.push(format!("{left} more ask and were not looked at"));
    }
    if found.is_empty() {
        return Line::passed(CHECK, "no pod that asks runs without Ashore");
    }
    let to_do = if missed.count + refused.count == 0 {
        "ashore explain --lookup pod/NAME says why one was left as it is"
    } else {
        "kubectl -n NAMESPACE rollout restart deployment NAME makes them anew; ashore explain pod/NAME says what each would get"
    };
    Line::warning(CHECK, found.join("; "), to_do)
}

/// Says of every image that it runs something.
struct Anything;

impl Images for Anything {
    fn config(&self, _: &Asked<'_>) -> Answer {
        Answer::Known(Arc::new(ImageConfig { entrypoint: Some(vec!["/program".into()]), ..ImageConfig::default() }))
    }
}

async fn look(subject: &Subject) -> Result<Seen, ObjectError> {
    let policy = policy(subject).await;
    let client = &subject.client;
    let rulebook = Rulebook::default();
    let mut pages = Pages::metadata(client, "/api/v1/namespaces", "namespaces of the whole cluster", ListParams::default());
    while let Some(body) = pages.next().await? {
        for namespace in pages.read(&body)?.items() {
            let namespace: Value = serde_json::from_str(namespace.get()).unwrap_or_default();
            let labels: Labels = serde_json::from_value(namespace["metadata"]["labels"].clone()).unwrap_or_default();
            rulebook.set_namespace(namespace["metadata"]["name"].as_str().unwrap_or_default(), Some(labels));
        }
    }
    let Book { policies, unseen } = book::read(client, None, &policy).await?;
    if let Some(Unseen { error, .. }) = unseen.into_iter().next() {
        return Err(error);
    }
    rulebook.set_policies(policies, Vec::new());
    let rulebook = Arc::new(rulebook);
    let sure = admission(subject, policy.clone(), &rulebook, false);
    let generous = admission(subject, policy, &rulebook, true);
    let at_large = ListParams::default().labels(&format!("{INJECTED}!=true")).fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut pages = Pages::metadata(client, PODS, "pods of the whole cluster", at_large);
    let mut census = Census::default();
    census.begin(Scope::of(&rulebook.policies()));
    while let Some(body) = pages.next().await? {
        pages.read(&body)?.items().for_each(|pod| _ = census.see(pod, |namespace| sure.protects(namespace)));
    }
    census.end();
    let ground = |namespace: &str| rulebook.ground(namespace);
    let first = census.round(ground, DECIDE, false);
    let mut perhaps = News::default();
    for pod in &first.open {
        let (namespace, name) = (&*pod.namespace, &*pod.name);
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods")).get(name, &Default::default());
        let whole = match pages::get(client, &format!("pods {namespace}/{name}"), request).await {
            Ok(whole) if census.is(pod, &whole) => whole,
            Ok(_) => continue,
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        let decide = async |admission: &Arc<Admission>| {
            let decided = admission.hindsight(whole.clone(), namespace, Instant::now() + DECIDE).await;
            decided.unwrap_or_else(|_| Hindsight::Planned(Vec::new()))
        };
        let hindsight = decide(&sure).await;
        if matches!(hindsight, Hindsight::Planned(_)) && !hindsight.is_missed() && decide(&generous).await.is_missed() {
            perhaps.add(|| format!("{namespace}/{name}"));
        }
        census.put(pod, hindsight);
    }
    let last = census.round(ground, DECIDE, true);
    Ok(Seen { missed: last.missed, perhaps, refused: last.refused, left: first.more })
}

/// What decides, without images or with any.
fn admission(subject: &Subject, policy: Policy, rulebook: &Arc<Rulebook>, any_image: bool) -> Arc<Admission> {
    let generous = |request: &ashore_inject::Request<'_>, read: Option<&ashore_inject::Pod<'_>>| {
        plan(&ashore_inject::Request { images: &Anything, ..*request }, read)
    };
    Arc::new(Admission {
        profiles: ashore_inject::Profiles::shipped().clone(),
        planner: if any_image { Box::new(generous) } else { Box::new(plan) },
        policy,
        rulebook: Arc::clone(rulebook),
        client: None,
        images: Arc::new(Looking::default()),
        // How the init would come makes no difference here.
        offering: Offering::default(),
        own_namespace: Some(subject.namespace.clone()),
        skipped: None,
        planners: Planners::default(),
        metrics: Arc::new(Metrics::new()),
    })
}

/// The chart's policy, where it may be seen; else the default one, which comes to the same but for what is wrapped of sidecars.
async fn policy(subject: &Subject) -> Policy {
    let map = subject.own(CONFIG_MAPS, &subject.name).await.ok().flatten();
    let text = map.as_ref().and_then(|map| map["data"]["policy.yaml"].as_str()).unwrap_or_default();
    yaml::parse(text).ok().flatten().and_then(|document| Policy::from_document(&document).ok()).unwrap_or_default()
}
