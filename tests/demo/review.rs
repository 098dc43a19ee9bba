//! What an API server asks a mutating webhook, and how it takes the answer (AdmissionReview v1, JSON Patch). Pure.

use crate::failure::Failure;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// What the webhook answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    /// The operations of the patch.
    pub(crate) patch: Vec<Value>,
    /// What the person who creates the pod is told.
    pub(crate) warnings: Vec<String>,
}

/// The request that an API server sends when this pod is created.
pub(crate) fn request(uid: &str, pod: &Value) -> Value {
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:shop:deployer", "groups": ["system:authenticated"] },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions" },
        },
    })
}

/// Reads the answer as strictly as an API server does.
///
/// # Errors
/// What an API server would refuse in it, or that the webhook refuses the pod.
pub(crate) fn answer(uid: &str, review: &Value) -> Result<Answer, Failure> {
    let wrong = |what: &str| Failure::Answer(format!("{what} in {review}"));
    let response = &review["response"];
    if review["apiVersion"] != "admission.k8s.io/v1" || review["kind"] != "AdmissionReview" {
        return Err(wrong("no AdmissionReview v1"));
    }
    if response["uid"] != uid {
        return Err(wrong("another uid than was asked with"));
    }
    if response["allowed"] != true {
        return Err(wrong("no `allowed: true`"));
    }
    let warnings = response["warnings"].as_array().into_iter().flatten();
    let warnings = warnings.map(|warning| warning.as_str().unwrap_or_default().to_owned()).collect();
    let Some(encoded) = response.get("patch") else { return Ok(Answer { patch: Vec::new(), warnings }) };
    if response["patchType"] != "JSONPatch" {
        return Err(wrong("a patch without `patchType: JSONPatch`"));
    }
    let bytes = BASE64_STANDARD.decode(encoded.as_str().unwrap_or_default()).map_err(|_| wrong("a patch that is no base64"))?;
    let patch = serde_json::from_slice(&bytes).map_err(|_| wrong("a patch that is no JSON array"))?;
    Ok(Answer { patch, warnings })
}

/// The pod as it is stored, once the patch is applied.
///
/// # Errors
/// The operation that does not fit.
pub(crate) fn apply(pod: &Value, patch: &[Value]) -> Result<Value, Failure> {
    let patch: json_patch::Patch =
        serde_json::from_value(Value::Array(patch.to_vec())).map_err(|error| Failure::Answer(format!("not a JSON Patch: {error}")))?;
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).map_err(|error| Failure::Answer(format!("the patch does not fit the pod: {error}")))?;
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: Value) -> Value {
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
    }

    #[test]
    fn a_patch_is_taken_and_applied() {
        let patch = BASE64_STANDARD.encode(r#"[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]"#);
        let answer =
            answer("1", &review(json!({ "uid": "1", "allowed": true, "patchType": "JSONPatch", "patch": patch, "warnings": ["careful"] })))
                .unwrap();
        assert_eq!(answer.warnings, ["careful"]);
        let patched = apply(&json!({ "metadata": { "name": "x" } }), &answer.patch).unwrap();
        assert_eq!(patched, json!({ "metadata": { "name": "x", "labels": { "a": "b" } } }));
    }

    #[test]
    fn no_patch_means_no_change() {
        let answer = answer("1", &review(json!({ "uid": "1", "allowed": true }))).unwrap();
        assert!(answer.patch.is_empty() && answer.warnings.is_empty());
    }

    #[test]
    fn an_answer_that_an_api_server_would_refuse_is_refused() {
        let patch = BASE64_STANDARD.encode("[]");
        for bad in [
            json!({ "allowed": true }),
            json!({ "uid": "2", "allowed": true }),
            json!({ "uid": "1", "allowed": false }),
            json!({ "uid": "1", "allowed": true, "patch": patch }),
            json!({ "uid": "1", "allowed": true, "patchType": "JSONPatch", "patch": "***" }),
            json!({ "uid": "1", "allowed": true, "patchType": "JSONPatch", "patch": BASE64_STANDARD.encode("{}") }),
        ] {
            assert!(matches!(answer("1", &review(bad.clone())), Err(Failure::Answer(_))), "{bad}");
        }
        assert!(answer("1", &json!({ "response": { "uid": "1", "allowed": true } })).is_err());
    }
}
