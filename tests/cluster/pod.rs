//! Reading a pod object, and making one.

use serde_json::{Value, json};

/// A pod of this name with these containers that stops within 30 seconds and needs no service account's token.
pub fn pod(name: &str, containers: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "annotations": {}},
        "spec": {"terminationGracePeriodSeconds": 30, "automountServiceAccountToken": false, "containers": containers},
    })
}

/// A container that runs this command, split at blanks, in the image with the programs.
pub fn container(name: &str, command: &str) -> Value {
    json!({"name": name, "image": super::PROGRAMS, "command": command.split_whitespace().collect::<Vec<_>>()})
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Whether all of its containers are ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

/// The status of a container, whichever kind of container it is; null if there is none yet.
pub fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let kinds = ["containerStatuses", "initContainerStatuses"];
    let mut all = kinds.iter().filter_map(|kind| pod["status"][kind].as_array()).flatten();
    all.find(|status| status["name"] == container).unwrap_or(&Value::Null)
}

/// How a container ended: `exitCode`, `reason`, `finishedAt`, `message`; null if it hasn't.
pub fn ending<'a>(pod: &'a Value, container: &str) -> &'a Value {
    &status(pod, container)["state"]["terminated"]
}

/// A point in time as Kubernetes writes it (RFC 3339, in UTC), in seconds since 1970.
pub fn seconds(text: &str) -> Option<f64> {
    let (date, time) = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?.split_once('T')?;
    let number = |text: &str| text.parse::<f64>().ok();
    let [year, month, day] = date.split('-').map(number).collect::<Option<Vec<_>>>()?[..] else { return None };
    let [hour, minute, second] = time.split(':').map(number).collect::<Option<Vec<_>>>()?[..] else { return None };
    // Years that begin in March end with their leap day.
    let (year, month) = if month > 2.0 { (year, month - 3.0) } else { (year - 1.0, month + 9.0) };
    let leap_days = (year / 4.0).floor() - (year / 100.0).floor() + (year / 400.0).floor();
    let days = year * 365.0 + leap_days + ((153.0 * month + 2.0) / 5.0).floor() + day - 1.0 - 719_468.0;
    Some(days * 86400.0 + hour * 3600.0 + minute * 60.0 + second)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn points_in_time() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds("2000-02-29T12:00:00.5Z"), Some(951_825_600.5));
        assert_eq!(seconds("2026-11-24T18:26:24+00:00"), Some(1_795_544_784.0));
        assert_eq!(seconds("yesterday"), None);
    }
}
