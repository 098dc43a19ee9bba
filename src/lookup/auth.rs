//! Answers challenges: with a password, or with a token that is kept as long as it lasts.

use crate::bodies::Expected;
use crate::challenge::Challenge;
use crate::credential::{Credential, CredentialId};
use crate::exchange::{Ask, Exchange, Reply};
use crate::failure::Failure;
use crate::hosts::{Endpoint, host};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quick_cache::sync::Cache;
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

const MOST_TOKENS: usize = 512;
const MOST_CHALLENGES: usize = 1024;
/// The most of a token server's answer that is read, in bytes.
const MOST_ANSWER: u64 = 64 * 1024;
/// The longest token that is sent, in bytes: servers refuse longer headers.
const LONGEST_TOKEN: usize = 16 * 1024;
/// How long a token lasts that does not say so (distribution's token specification), in seconds, and the longest that is believed.
const LASTS: u64 = 60;
const LASTS_AT_MOST: u64 = 60 * 60;
/// A token is not used for the last of its time, as it has to arrive: a quarter of it and at most this.
const MARGIN: Duration = Duration::from_secs(15);
const CLIENT_ID: &str = "ashore";

/// What is known of endpoints' challenges, and the tokens that answered them.
pub(crate) struct Auth {
    /// By endpoint, and by repository where a challenge is of that alone.
    challenges: Cache<(Url, Option<String>), Challenge>,
    tokens: Cache<TokenKey, Token>,
}

/// What a token is for: it answers this challenge of this endpoint for whoever has this credential, and nobody else.
#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    endpoint: Url,
    challenge: Challenge,
    credential: Option<CredentialId>,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    until: Instant,
}

/// What is asked of an endpoint, by whom.
pub(crate) struct Asker<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) repository: &'a str,
    pub(crate) credential: Option<&'a Credential>,
    pub(crate) deadline: Instant,
}

/// An answer to a challenge.
struct Answer {
    header: HeaderValue,
    /// The token's key, if it was kept from before: then it may have ended early.
    kept: Option<TokenKey>,
}

impl Auth {
    pub(crate) fn new() -> Self {
        Self { challenges: Cache::new(MOST_CHALLENGES), tokens: Cache::new(MOST_TOKENS) }
    }

    /// Asks with what the endpoint is known to want, and answers at most one challenge.
    pub(crate) async fn ask(&self, exchange: &Exchange, asker: &Asker<'_>, mut ask: Ask<'_>) -> Result<Reply, Failure> {
        let mut challenge = self.known(asker);
        let mut answer = match &challenge {
            None => None,
            Some(challenge) => match self.answer(exchange, asker, challenge).await {
                Err(failure @ Failure::Unauthorized { .. }) => return Err(failure),
                // The endpoint may have changed its mind.
                answer => answer.ok().flatten(),
            },
        };
        let mut challenged = false;
        loop {
            ask.authorization = answer.as_ref().map(|answer| answer.header.clone());
            let reply = exchange.ask(&ask).await?;
            if reply.status != StatusCode::UNAUTHORIZED {
                if let Some(challenge) = challenge.filter(|_| challenged) {
                    self.learn(asker, challenge);
                }
                return Ok(reply);
            }
            let unauthorized = || Failure::Unauthorized { host: reply.host.clone(), given: asker.credential.is_some() };
            // Another host's challenge is not for the endpoint's credentials.
            if challenged || reply.host != asker.endpoint.host() {
                return Err(unauthorized());
            }
            challenged = true;
            let stale = answer.take();
            let kept = stale.as_ref().and_then(|answer| answer.kept.as_ref());
            if let Some(key) = kept {
                self.tokens.remove(key);
            }
            let offered = Challenge::all(&reply.headers).into_iter().map(|challenge| asker.complete(challenge));
            let next = offered.into_iter().find(|challenge| asker.can_answer(challenge)).ok_or_else(unauthorized)?;
            if stale.is_some() && kept.is_none() && challenge.as_ref() == Some(&next) {
                return Err(unauthorized());
            }
            answer = self.answer(exchange, asker, &next).await?;
            challenge = Some(next);
        }
    }

    fn known(&self, asker: &Asker<'_>) -> Option<Challenge> {
        let base = &asker.endpoint.base;
        let known = self.challenges.get(&(base.clone(), Some(asker.repository.to_owned())));
        let known = known.or_else(|| self.challenges.get(&(base.clone(), None)))?;
        Some(asker.complete(known)).filter(|challenge| asker.can_answer(challenge))
    }

    /// Keeps a challenge for the next request. One with the usual scope tells what other repositories want, too.
    fn learn(&self, asker: &Asker<'_>, challenge: Challenge) {
        let base = asker.endpoint.base.clone();
        let usual = asker.endpoint.scope(asker.repository);
        match challenge {
            Challenge::Bearer { realm, service, scope } if scope.as_ref() == Some(&usual) => {
                self.challenges.insert((base, None), Challenge::Bearer { realm, service, scope: None });
            }
            Challenge::Bearer { .. } => self.challenges.insert((base, Some(asker.repository.to_owned())), challenge),
            Challenge::Basic => self.challenges.insert((base, None), challenge),
        }
    }

    /// The answer to a challenge; nothing if there is none without a credential.
    async fn answer(&self, exchange: &Exchange, asker: &Asker<'_>, challenge: &Challenge) -> Result<Option<Answer>, Failure> {
        let (realm, service, scope) = match (challenge, asker.credential) {
            (Challenge::Basic, Some(Credential::Password { user, password })) => {
                return Ok(secret(&basic(user, password)).map(|header| Answer { header, kept: None }));
            }
            (Challenge::Basic, _) => return Ok(None),
            (Challenge::Bearer { .. }, Some(Credential::RegistryToken(token))) => {
                return Ok(secret(&format!("Bearer {token}")).map(|header| Answer { header, kept: None }));
            }
            (Challenge::Bearer { realm, service, scope }, _) => (realm, service.as_deref(), scope.as_deref().unwrap_or_default()),
        };
        let credential = asker.credential.map(Credential::id);
        let key = TokenKey { endpoint: asker.endpoint.base.clone(), challenge: challenge.clone(), credential };
        if let Some(Token { header, until }) = self.tokens.get(&key) {
            if Instant::now() < until {
                return Ok(Some(Answer { header, kept: Some(key) }));
            }
            self.tokens.remove(&key);
        }
        let server = TokenServer { exchange, asker, realm, service, scope };
        let token = server.token().await?;
        let header = token.header.clone();
        self.tokens.insert(key, token);
        Ok(Some(Answer { header, kept: None }))
    }
}

impl Asker<'_> {
    /// A challenge with the usual scope if it names none: some registries leave that to whoever asks.
    fn complete(&self, challenge: Challenge) -> Challenge {
        match challenge {
            Challenge::Bearer { realm, service, scope } => {
                let scope = scope.or_else(|| Some(self.endpoint.scope(self.repository)));
                Challenge::Bearer { realm, service, scope }
            }
            Challenge::Basic => Challenge::Basic,
        }
    }

    fn can_answer(&self, challenge: &Challenge) -> bool {
        match challenge {
            Challenge::Basic => matches!(self.credential, Some(Credential::Password { .. })),
            Challenge::Bearer { .. } => true,
        }
    }
}

/// A token server, and what it is asked for.
struct TokenServer<'a> {
    exchange: &'a Exchange,
    asker: &'a Asker<'a>,
    realm: &'a Url,
    service: Option<&'a str>,
    scope: &'a str,
}

/// A token server's answer, by distribution's token specification or by OAuth 2 (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds; anything but a number counts as nothing said.
    expires_in: Option<Value>,
}

impl TokenServer<'_> {
    async fn token(&self) -> Result<Token, Failure> {
        if self.realm.scheme() == "http" && !self.asker.endpoint.is_plain() {
            return Err(Failure::PlainHttp { host: host(self.realm) });
        }
        let asked = Instant::now();
        let reply = match self.asker.credential {
            Some(Credential::IdentityToken(token)) => self.refresh(token).await?,
            Some(Credential::Password { user, password }) => self.get(secret(&basic(user, password))).await?,
            Some(Credential::RegistryToken(_)) | None => self.get(None).await?,
        };
        let given = self.asker.credential.is_some();
        match reply.status {
            StatusCode::OK => {}
            // OAuth 2 says 400 to a token that does not hold (RFC 6749, section 5.2).
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                return Err(Failure::Unauthorized { host: reply.host, given });
            }
            status => return Err(Failure::Status { host: reply.host, status: status.as_u16() }),
        }
        let odd = || Failure::protocol(&reply.host, "gives a token that cannot be used");
        let answer: TokenAnswer = serde_json::from_slice(&reply.body).map_err(|_| odd())?;
        let usable = |token: &String| !token.is_empty() && token.len() <= LONGEST_TOKEN;
        let token = [answer.token, answer.access_token].into_iter().flatten().find(usable).ok_or_else(odd)?;
        let lasts = answer.expires_in.and_then(|value| value.as_f64()).map_or(LASTS, |seconds| seconds as u64).clamp(1, LASTS_AT_MOST);
        let lasts = Duration::from_secs(lasts);
        let header = secret(&format!("Bearer {token}")).ok_or_else(odd)?;
        Ok(Token { header, until: asked + lasts - MARGIN.min(lasts / 4) })
    }

    /// By distribution's token specification.
    async fn get(&self, authorization: Option<HeaderValue>) -> Result<Reply, Failure> {
        let mut url = self.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(self.service.map(|service| ("service", service)));
            query.extend_pairs(self.scope.split_whitespace().map(|scope| ("scope", scope)));
        }
        self.ask(Method::GET, url, authorization, None).await
    }

    /// By OAuth 2's refresh token grant (distribution's OAuth 2 specification).
    async fn refresh(&self, token: &str) -> Result<Reply, Failure> {
        let reply = self.ask(Method::POST, self.realm.clone(), None, Some(self.form(token))).await?;
        match reply.status {
            // As containerd does: some servers know no POST, and some of them say so in odd ways.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNAUTHORIZED => self.get(secret(&basic("", token))).await,
            _ => Ok(reply),
        }
    }

    fn form(&self, token: &str) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token).append_pair("client_id", CLIENT_ID);
        form.extend_pairs(self.service.map(|service| ("service", service))).append_pair("scope", self.scope);
        form.finish()
    }

    async fn ask(&self, method: Method, url: Url, authorization: Option<HeaderValue>, form: Option<String>) -> Result<Reply, Failure> {
        let expected = Expected { what: "token", most: MOST_ANSWER, size: None };
        let Asker { endpoint, deadline, .. } = *self.asker;
        self.exchange.ask(&Ask { endpoint, method, url, accept: "application/json", authorization, form, expected, deadline }).await
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A header that is not shown; nothing if the text cannot be one.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_marked_so() {
        // Which keeps it out of logs and out of HTTP/2's tables of headers.
        assert!(secret(&basic("me", "sesame")).unwrap().is_sensitive());
        assert_eq!(secret("a\nb"), None);
    }
}
