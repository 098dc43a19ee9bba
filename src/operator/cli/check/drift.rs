//! Pods that ask and run without Ashore: the same look as the leader's (`survey`), once and through the person's eyes.

use super::report::{Line, some};
use super::subject::{CONFIG_MAPS, Subject};
use crate::admission::{Admission, Hindsight, plan};
use crate::cli::{book, yaml};
use crate::looking::Looking;
use crate::metrics::Metrics;
use crate::missed::Candidate;
use crate::objects::ObjectError;
use crate::offering::Offering;
use crate::pages::{self, Pages};
use crate::planners::Planners;
use crate::rulebook::{Labels, Rulebook};
use ashore_inject::annotations::INJECTED;
use ashore_inject::{Answer, Asked, ImageConfig, Images, Policy};
use kube::api::ListParams;
use kube::core::request::Request;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const CHECK: &str = "drift";
/// The most pods that are read whole.
const MOST_PODS: usize = 200;
/// How long deciding about a pod may take.
const DECIDE: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Default)]
struct Seen {
    /// Pods that would be injected.
    missed: Vec<String>,
    /// Pods that would be if it is known what their images run, which is not asked here.
    perhaps: Vec<String>,
    /// Pods whose author would have to correct something first.
    refused: Vec<String>,
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
        if !pods.is_empty() {
            found.push(format!("{} {what}: {}", pods.len(), some(pods)));
        }
    }
    if left > 0 {
        found.push(format!("{left} more ask and were not looked at"));
    }
    if found.is_empty() {
        return Line::passed(CHECK, "no pod that asks runs without Ashore");
    }
    let to_do = if missed.is_empty() && refused.is_empty() {
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
    rulebook.set_policies(book::policies(client, None, &policy).await?, Vec::new());
    let rulebook = Arc::new(rulebook);
    let sure = admission(subject, policy.clone(), &rulebook, false);
    let generous = admission(subject, policy, &rulebook, true);
    let at_large = ListParams::default().labels(&format!("{INJECTED}!=true")).fields("status.phase!=Succeeded,status.phase!=Failed");
    let mut pages = Pages::metadata(client, "/api/v1/pods", "pods of the whole cluster", at_large);
    let (mut seen, mut read) = (Seen::default(), 0);
    while let Some(body) = pages.next().await? {
        let page = pages.read(&body)?;
        for pod in page.items().filter_map(|pod| Candidate::read(pod, &sure)) {
            if read == MOST_PODS {
                seen.left += 1;
                continue;
            }
            read += 1;
            let (namespace, name) = (&pod.namespace, &pod.name);
            let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods")).get(name, &Default::default());
            let whole = match pages::get(client, &format!("pods {namespace}/{name}"), request).await {
                Ok(whole) if pod.is(&whole) => whole,
                Ok(_) => continue,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            let decide = async |admission: &Arc<Admission>| {
                admission.hindsight(whole.clone(), namespace, Instant::now() + DECIDE).await.unwrap_or(Hindsight::LeftAlone)
            };
            let named = format!("{namespace}/{name}");
            match decide(&sure).await {
                Hindsight::Injected => seen.missed.push(named),
                Hindsight::Refused(why) => seen.refused.push(format!("{named} ({why})")),
                Hindsight::LeftAlone => {
                    if decide(&generous).await == Hindsight::Injected {
                        seen.perhaps.push(named);
                    }
                }
            }
        }
    }
    Ok(seen)
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
