//! Whether one of the replicas leads: its Lease is renewed.

use super::report::Line;
use super::subject::{LEASES, Subject};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;

const CHECK: &str = "leader";
/// How long to wait for a renewal: leaders renew every two seconds.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often to look meanwhile.
const EVERY: Duration = Duration::from_millis(500);

/// The line about it.
pub(crate) async fn check(subject: &Subject) -> Line {
    let Subject { name, namespace, .. } = subject;
    let to_do = format!("kubectl -n {namespace} logs deployment/{name}; kubectl -n {namespace} get events: a right may be missing");
    let read = || subject.own(LEASES, name);
    let first = match read().await {
        Ok(Some(lease)) => lease,
        Ok(None) => return Line::failed(CHECK, format!("there is no Lease {name} in namespace {namespace}: nobody has ever led"), to_do),
        Err(error) => return Line::not_seen(CHECK, &error),
    };
    let holder = first["spec"]["holderIdentity"].as_str().unwrap_or_default();
    if holder.is_empty() {
        return Line::failed(CHECK, "nobody leads: the last leader has given the Lease back", to_do);
    }
    if fresh(&first, Timestamp::now()) {
        return Line::passed(CHECK, format!("{holder} leads"));
    }
    // The clocks may differ: what counts is that it is renewed.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        tokio::time::sleep(EVERY).await;
        match read().await {
            Ok(Some(now)) if now["spec"] != first["spec"] => {
                let who = now["spec"]["holderIdentity"].as_str().unwrap_or_default();
                return Line::passed(CHECK, format!("{who} leads; this machine's clock is not the cluster's"));
            }
            Ok(_) => {}
            Err(error) => return Line::not_seen(CHECK, &error),
        }
    }
    let renewed = first["spec"]["renewTime"].as_str().unwrap_or("never");
    Line::failed(CHECK, format!("nobody leads: {holder} has last renewed its Lease at {renewed}"), to_do)
}

/// Whether it holds at this time.
fn fresh(lease: &Value, now: Timestamp) -> bool {
    let spec = &lease["spec"];
    let seconds = spec["leaseDurationSeconds"].as_i64().unwrap_or(15);
    let renewed = spec["renewTime"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    renewed.is_some_and(|renewed| (0..=seconds).contains(&(now.as_second() - renewed.as_second())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_holds_for_its_duration() {
        let lease = json!({"spec": {"leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.500000Z"}});
        let at = |text: &str| fresh(&lease, text.parse().expect("a time"));
        assert!(at("2026-01-01T00:00:00Z") && at("2026-01-01T00:00:15Z"));
        assert!(!at("2026-01-01T00:00:16Z") && !at("2025-12-31T23:59:00Z"));
    }
}
