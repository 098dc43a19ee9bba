//! AdmissionReview v1 on the wire: as little of the request as is needed, borrowed, and the answer written by hand.

use crate::envelope;
use crate::planners::SMALL;
use ashore_inject::{Json, Pod};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The API version that is spoken, in and out.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The kind that is spoken, in and out.
pub const KIND: &str = "AdmissionReview";

/// The API server cuts a warning after this many characters.
const LONGEST_WARNING: usize = 256;
/// The API server drops warnings beyond this many bytes in all.
const MOST_WARNINGS: usize = 4096;

/// A request, as far as it matters here (`k8s.io/api/admission/v1`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Names the request; the answer repeats it.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// What kind of object it is about.
    #[serde(borrow, default)]
    pub kind: Kind<'a>,
    /// `binding`, `eviction` and so on; empty for the object itself.
    #[serde(borrow, default)]
    pub sub_resource: Cow<'a, str>,
    /// The object's name, if it is known already.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// The object's namespace.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow, default)]
    pub operation: Cow<'a, str>,
    /// The object, as it came.
    #[serde(borrow, default, deserialize_with = "text")]
    pub object: Option<&'a str>,
    /// The object as a pod, if it was read as one on the way.
    #[serde(skip)]
    pub pod: Option<Pod<'a>>,
    /// Whether nothing will come of it.
    #[serde(default)]
    pub dry_run: Option<bool>,
}

/// A group, version and kind.
#[derive(Debug, Default, Deserialize)]
pub struct Kind<'a> {
    /// Empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// `v1`.
    #[serde(borrow, default)]
    pub version: Cow<'a, str>,
    /// `Pod`.
    #[serde(borrow, default)]
    pub kind: Cow<'a, str>,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de str>, D::Error> {
    Ok(Option::<&RawValue>::deserialize(deserializer)?.map(RawValue::get))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review<'a> {
    #[serde(borrow, default)]
    pub(crate) api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) request: Option<Request<'a>>,
}

/// A body that is no AdmissionReview: what is wrong where, and what is expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an AdmissionReview: {0}")]
pub struct Malformed(String);

impl<'a> Request<'a> {
    /// Reads the request out of an AdmissionReview.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let small = std::str::from_utf8(body).ok().filter(|body| body.len() <= SMALL);
        let review = match small.and_then(envelope::read) {
            Some(review) => review,
            None => serde_json::from_slice(body).map_err(|_| explain(body))?,
        };
        for (field, found, expected) in [("apiVersion", &review.api_version, API_VERSION), ("kind", &review.kind, KIND)] {
            if found != expected {
                return Err(Malformed(format!("{field}: {:?} is not {expected:?}", shortened(found))));
            }
        }
        let request = review.request.ok_or_else(|| Malformed("request: missing".into()))?;
        if request.uid.is_empty() {
            return Err(Malformed("request.uid: missing".into()));
        }
        Ok(request)
    }
}

/// Reads a bad body once more, slower, keeping track of where in it we are.
fn explain(body: &[u8]) -> Malformed {
    let mut json = serde_json::Deserializer::from_slice(body);
    match serde_path_to_error::deserialize::<_, Review<'_>>(&mut json) {
        Err(e) if e.path().iter().next().is_some() => Malformed(format!("{}: {}", e.path(), e.inner())),
        Err(e) => Malformed(format!("not the JSON of one: {}", e.inner())),
        Ok(_) => match json.end() {
            Err(e) => Malformed(format!("after its end: {e}")),
            Ok(()) => Malformed("it reads differently each time".into()),
        },
    }
}

/// What the API server is told.
#[derive(Debug)]
pub enum Verdict {
    /// Let it in, changed like this (a JSON Patch) or, without one, as it is.
    Allowed(Option<Json>),
    /// Its author has to correct this.
    Denied(String),
}

/// Writes the AdmissionReview that answers the request of this uid.
///
/// # Errors
/// None that can come about: strings are written to memory.
pub fn answer(uid: &str, verdict: &Verdict, warnings: &[String]) -> Result<Vec<u8>, serde_json::Error> {
    let patch = match verdict {
        Verdict::Allowed(Some(patch)) => patch.as_str().as_bytes(),
        _ => &[],
    };
    let mut out = Vec::with_capacity(256 + patch.len() * 4 / 3 + 4);
    out.extend_from_slice(br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#);
    serde_json::to_writer(&mut out, uid)?;
    match verdict {
        Verdict::Allowed(None) => out.extend_from_slice(br#","allowed":true"#),
        Verdict::Allowed(Some(_)) => {
            out.extend_from_slice(br#","allowed":true,"patchType":"JSONPatch","patch":""#);
            let at = out.len();
            out.resize(at + patch.len().div_ceil(3) * 4, 0);
            // It has exactly the room that it needs.
            let written = STANDARD.encode_slice(patch, &mut out[at..]).unwrap_or(0);
            out.truncate(at + written);
            out.push(b'"');
        }
        Verdict::Denied(message) => {
            out.extend_from_slice(br#","allowed":false,"status":{"status":"Failure","reason":"Invalid","code":422,"message":"#);
            serde_json::to_writer(&mut out, message)?;
            out.push(b'}');
        }
    }
    // The API server adds it to its audit log. A key has one value there: when it asks once more about a pod that is injected already,
    // which it does when others have changed the pod, that of the first time is the one to keep.
    if !matches!(verdict, Verdict::Allowed(None)) {
        out.extend_from_slice(br#","auditAnnotations":{"request-uid":"#);
        serde_json::to_writer(&mut out, uid)?;
        out.push(b'}');
    }
    if !warnings.is_empty() {
        out.extend_from_slice(br#","warnings":"#);
        serde_json::to_writer(&mut out, &bounded(warnings))?;
    }
    out.extend_from_slice(b"}}");
    Ok(out)
}

/// The warnings as the API server passes them on: of bounded length, without control characters (it drops a line with one).
fn bounded(warnings: &[String]) -> Vec<String> {
    let mut left = MOST_WARNINGS;
    let mut lines = Vec::new();
    for (index, warning) in warnings.iter().enumerate() {
        let line: String = shortened(warning).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let more = format!("and {} more", warnings.len() - index);
        // Room is kept for the line that says how many are missing.
        if line.len() + if index + 1 < warnings.len() { more.len() } else { 0 } > left {
            lines.push(more);
            break;
        }
        left -= line.len();
        lines.push(line);
    }
    lines
}

/// The text, or its beginning and an ellipsis.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST_WARNING - 1) {
        Some((at, last)) if at + last.len_utf8() < text.len() => format!("{}…", &text[..at]).into(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn review() -> Value {
        json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "request": {
                "uid": "7", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "default", "name": "web",
                "operation": "CREATE", "dryRun": false, "object": {"spec": {"x": 1.50}}, "options": {"unheard": "of"}
            }
        })
    }

    fn parsed_error(value: &Value) -> String {
        Request::parse(value.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_object_is_left_as_it_came() {
        let body = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a\"b","object":{"n": 1.50, "big":12345678901234567890123}}}"#;
        let request = Request::parse(body).unwrap();
        assert_eq!(request.uid, "a\"b");
        assert_eq!(request.object.unwrap(), r#"{"n": 1.50, "big":12345678901234567890123}"#);
    }

    #[test]
    fn an_error_names_the_field() {
        let mut other = review();
        other["apiVersion"] = "admission.k8s.io/v1beta1".into();
        assert_eq!(parsed_error(&other), r#"not an AdmissionReview: apiVersion: "admission.k8s.io/v1beta1" is not "admission.k8s.io/v1""#);
        let mut other = review();
        other["kind"] = "Pod".into();
        assert!(parsed_error(&other).contains(r#"kind: "Pod" is not "AdmissionReview""#));
        let mut other = review();
        other["request"]["uid"] = 7.into();
        assert!(parsed_error(&other).contains("request.uid: invalid type: integer `7`"), "{}", parsed_error(&other));
        let mut other = review();
        other["request"]["kind"]["kind"] = json!([]);
        assert!(parsed_error(&other).contains("request.kind.kind: invalid type"), "{}", parsed_error(&other));
        let mut other = review();
        other["request"].as_object_mut().unwrap().remove("uid");
        assert!(parsed_error(&other).contains("request.uid: missing"));
        let mut other = review();
        other.as_object_mut().unwrap().remove("request");
        assert!(parsed_error(&other).contains("request: missing"));
        for garbage in [&b""[..], b"null", b"[]", b"{", b"\xff\xfe", b"{} {}", b"\"x\""] {
            assert!(Request::parse(garbage).is_err(), "{garbage:?}");
        }
    }

    #[test]
    fn answers_are_what_the_api_server_reads() {
        let read = |verdict, warnings: &[&str]| -> Value {
            let warnings: Vec<String> = warnings.iter().map(|w| (*w).to_owned()).collect();
            serde_json::from_slice(&answer("u\"1", &verdict, &warnings).unwrap()).unwrap()
        };
        assert_eq!(
            read(Verdict::Allowed(None), &[]),
            json!({"apiVersion": API_VERSION, "kind": KIND, "response": {"uid": "u\"1", "allowed": true}})
        );
        for patch in [json!([]), json!([1]), json!([12]), json!([123])] {
            let answer = read(Verdict::Allowed(Some(patch.clone().into())), &["x"]);
            let response = &answer["response"];
            assert_eq!(STANDARD.decode(response["patch"].as_str().unwrap()).unwrap(), patch.to_string().as_bytes());
            assert_eq!(response["patchType"], "JSONPatch");
            assert_eq!(response["warnings"], json!(["x"]));
            assert_eq!(response["auditAnnotations"], json!({"request-uid": "u\"1"}));
        }
        let denied = &read(Verdict::Denied("say \"x\"".into()), &[])["response"];
        assert_eq!(denied["allowed"], false);
        assert_eq!(denied["status"]["message"], "say \"x\"");
        assert_eq!(denied.get("patch"), None);
    }

    #[test]
    fn warnings_are_bounded() {
        let long = "ä".repeat(300);
        assert_eq!(bounded(&[long])[0].chars().count(), 256);
        assert_eq!(bounded(&["ä".repeat(256)])[0], "ä".repeat(256));
        assert_eq!(bounded(&["a\nb\u{7f}".into()]), ["a b "]);
        let many = bounded(&vec!["w".repeat(100); 1000]);
        assert!(many.iter().map(String::len).sum::<usize>() <= 4096);
        assert_eq!(many.last().unwrap(), &format!("and {} more", 1000 - (many.len() - 1)));
    }
}
