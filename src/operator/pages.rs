//! Lists of the API server, page by page: no more than one of them is in memory, and none is longer than a bound.

use crate::objects::{ObjectError, chain};
use axum::http::Request;
use axum::http::header::DATE;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use k8s_openapi::jiff::fmt::rfc2822;
use kube::Client;
use kube::api::ListParams;
use kube::core::request;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::timeout;

/// Objects of a page, fewer when they are so large that a page is longer than [`LONGEST`]: a page is in memory for a moment, and
/// 500 of them took 12 MiB more.
const PAGE: u32 = 100;
/// The longest answer that is read, in bytes: ten times a page of usual pods' metadata, and more than the largest object that there can be.
const LONGEST: usize = 4 * 1024 * 1024;
/// The most pages of a list.
const MOST_PAGES: usize = 2000;
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(20);

/// A page of a list.
#[derive(Debug, Deserialize)]
pub struct Page<'a> {
    #[serde(borrow, default)]
    metadata: PageMetadata<'a>,
    /// None of them is `null`.
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
struct PageMetadata<'a> {
    #[serde(borrow, default, rename = "continue")]
    after: Cow<'a, str>,
    #[serde(borrow, default, rename = "resourceVersion")]
    version: Cow<'a, str>,
}

impl Page<'_> {
    /// The objects; of a list of metadata, a PartialObjectMetadata each. They need not say what kind they are.
    pub fn items(&self) -> impl Iterator<Item = &RawValue> {
        self.items.iter().flatten().copied()
    }

    /// What the API server wants to hear for the next page, if there is one.
    pub fn after(&self) -> Option<&str> {
        Some(self.metadata.after.as_ref()).filter(|after| !after.is_empty())
    }
}

/// A list, page by page.
pub struct Pages<'c> {
    client: &'c Client,
    path: String,
    what: String,
    metadata: bool,
    /// `None` when the last page has been read.
    next: Option<ListParams>,
    read: usize,
    version: String,
    /// When the last page was sent, in seconds since 1970.
    sent: Option<i64>,
}

impl<'c> Pages<'c> {
    /// The objects of the resource at this path, called so in messages.
    pub fn objects(client: &'c Client, path: impl Into<String>, what: impl Into<String>, list: ListParams) -> Self {
        Self {
            client,
            path: path.into(),
            what: what.into(),
            metadata: false,
            next: Some(list.limit(PAGE)),
            read: 0,
            version: String::new(),
            sent: None,
        }
    }

    /// Their metadata alone.
    pub fn metadata(client: &'c Client, path: impl Into<String>, what: impl Into<String>, list: ListParams) -> Self {
        Self { metadata: true, ..Self::objects(client, path, what, list) }
    }

    /// The next page's text, if there is one; [`Pages::read`] it before the next.
    ///
    /// # Errors
    /// What the API server says, silence, and what is longer than the bounds.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ObjectError> {
        let Some(list) = &mut self.next else { return Ok(None) };
        loop {
            self.read += 1;
            if self.read > MOST_PAGES {
                return Err(self.failed(format!("more than {MOST_PAGES} pages")));
            }
            let request = request::Request::new(self.path.as_str());
            let request = if self.metadata { request.list_metadata(list) } else { request.list(list) };
            if let Some((body, sent)) = fetch(self.client, "list", &self.what, request).await? {
                self.sent = sent;
                return Ok(Some(body));
            }
            match list.limit {
                Some(limit) if limit > 1 => list.limit = Some((limit / 8).max(1)),
                _ => return Err(too_long("list", &self.what)),
            }
        }
    }

    /// Reads a page, and knows then what comes after it.
    ///
    /// # Errors
    /// What is no list.
    pub fn read<'b>(&mut self, body: &'b Bytes) -> Result<Page<'b>, ObjectError> {
        let page: Page<'b> = serde_json::from_slice(body).map_err(|error| self.failed(format!("what came is not a list: {error}")))?;
        page.metadata.version.as_ref().clone_into(&mut self.version);
        self.next = self.next.take().zip(page.after()).map(|(list, after)| {
            let limit = list.limit.map_or(PAGE, |limit| (limit * 2).min(PAGE));
            list.continue_token(after).limit(limit)
        });
        Ok(page)
    }

    /// The version of the list, all of whose pages have the same: a watch goes on from there.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The time, in seconds since 1970: ours, or that of the API server when it sent the last page, whichever is earlier. Either may be wrong.
    pub fn time(&self, ours: i64) -> i64 {
        self.sent.map_or(ours, |theirs| theirs.min(ours))
    }

    fn failed(&self, why: String) -> ObjectError {
        ObjectError { verb: "list", what: self.what.clone(), why, code: None, reason: None }
    }
}

/// One object's text.
///
/// # Errors
/// What the API server says, silence, and what is longer than the bound.
pub async fn get(client: &Client, what: &str, request: Result<Request<Vec<u8>>, request::Error>) -> Result<Bytes, ObjectError> {
    send(client, "get", what, request).await
}

/// The text of the answer to any other request; the verb is what RBAC calls it.
///
/// # Errors
/// As [`get`].
pub async fn send(
    client: &Client,
    verb: &'static str,
    what: &str,
    request: Result<Request<Vec<u8>>, request::Error>,
) -> Result<Bytes, ObjectError> {
    fetch(client, verb, what, request).await?.map(|(body, _)| body).ok_or_else(|| too_long(verb, what))
}

/// The body of the answer, and when it was sent, in seconds since 1970, if it says so; `None` if it is too long.
async fn fetch(
    client: &Client,
    verb: &'static str,
    what: &str,
    request: Result<Request<Vec<u8>>, request::Error>,
) -> Result<Option<(Bytes, Option<i64>)>, ObjectError> {
    let failed = |why, code| ObjectError { verb, what: what.to_owned(), why, code, reason: None };
    let request = request.map_err(|error| failed(chain(&error), None))?;
    let answer = async {
        let answer = client.send(request.map(Into::into)).await.map_err(|error| failed(chain(&error), None))?;
        let status = answer.status();
        let sent =
            answer.headers().get(DATE).and_then(|date| rfc2822::parse(date.to_str().ok()?).ok()).map(|date| date.timestamp().as_second());
        let body = match Limited::new(answer.into_body(), LONGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => return Ok(None),
            Err(error) => return Err(failed(chain(&*error), None)),
        };
        if status.is_success() {
            return Ok(Some((body, sent)));
        }
        let said = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let why = said.as_ref().and_then(|said| said["message"].as_str()).map_or_else(|| status.to_string(), str::to_owned);
        let reason = said.as_ref().and_then(|said| said["reason"].as_str()).map(str::to_owned);
        Err(ObjectError { reason, ..failed(why, Some(status.as_u16())) })
    };
    timeout(REQUEST, answer).await.unwrap_or_else(|_| Err(ObjectError::silence(verb, what.to_owned(), REQUEST)))
}

fn too_long(verb: &'static str, what: &str) -> ObjectError {
    ObjectError { verb, what: what.to_owned(), why: format!("an answer of more than {LONGEST} bytes"), code: None, reason: None }
}
