//! A request of an operator: whether it may be one, and what it says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request};
use bytes::Bytes;
use chat::Code;
use hyper::body::Body as _;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Desk;
use crate::asked::innermost;
use crate::body::{at_least, collect};
use crate::json::{is_json, parse};
use crate::problem::Problem;

/// Where the name of a plugin stands in `/admin/v1/plugins/{name}/…`, that of a service likewise, and the id in `/admin/v1/messages/{id}/…`.
const NAME_AT: usize = 4;

/// Bytes of a component: the largest that a node takes.
const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// How long a component may take to arrive: the largest one over a slow line.
const COMPONENT_WITHIN: Duration = Duration::from_secs(120);

/// Bytes of any other body: a node's name and a flag are less.
const BODY_BYTES_MAX: usize = 16 << 10;

/// How the path ends of the one endpoint that reads a query.
const ASKED: &str = "/logs";

/// A request that was let through, on its way to its endpoint.
pub(super) struct Order {
    desk: Arc<Desk>,
    parts: Parts,
    body: Body,
}

impl Order {
    /// Lets a request through if it comes from this machine's own programs.
    pub(super) fn admit(desk: Arc<Desk>, request: Request) -> Result<Self, Problem> {
        local(request.headers())?;
        let (parts, body) = request.into_parts();
        let asks = parts.uri.query().is_some_and(|query| !query.is_empty());
        if asks && !parts.uri.path().ends_with(ASKED) {
            return Err(Problem::invalid("query: nothing is asked that way here"));
        }
        Ok(Self { desk, parts, body })
    }

    /// The query, every field of it known.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        match Query::try_from_uri(&self.parts.uri) {
            Ok(Query(query)) => Ok(query),
            Err(wrong) => Err(Problem::invalid(format!("query: {}", innermost(&wrong)))),
        }
    }

    /// Whom to ask, when nothing more of the request is wanted.
    pub(super) fn into_desk(self) -> Arc<Desk> {
        self.desk
    }

    /// The plugin that the path names.
    pub(super) fn plugin(&self) -> String {
        self.named()
    }

    /// What the path names.
    pub(super) fn named(&self) -> String {
        self.parts.uri.path().split('/').nth(NAME_AT).unwrap_or_default().to_owned()
    }

    /// A header, if it is there and text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as it is, whatever it is called.
    pub(super) async fn component(&mut self) -> Result<Bytes, Problem> {
        let too_large = || {
            let detail = format!("a component has at most {COMPONENT_BYTES_MAX} bytes");
            Problem::new(Code::TooLarge, detail).and_hang_up()
        };
        if at_least(&self.body) > COMPONENT_BYTES_MAX {
            return Err(too_large());
        }
        match collect(&mut self.body, COMPONENT_BYTES_MAX, COMPONENT_WITHIN).await? {
            Some(bytes) if bytes.is_empty() => {
                Err(Problem::invalid("the body is the component, and it is empty"))
            }
            Some(bytes) => Ok(bytes),
            None => Err(too_large()),
        }
    }

    /// The body's JSON object; no body is `{}`.
    pub(super) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        let bytes = self.bytes().await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        parse(text)
    }

    async fn bytes(&mut self) -> Result<Bytes, Problem> {
        if self.body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let size = self.body.size_hint();
        if size
            .upper()
            .is_none_or(|bytes| bytes > u64::try_from(BODY_BYTES_MAX).unwrap_or(u64::MAX))
        {
            let detail = format!("Content-Length: at most {BODY_BYTES_MAX} bytes");
            return Err(Problem::new(Code::TooLarge, detail).and_hang_up());
        }
        let media_type = self.parts.headers.get(CONTENT_TYPE).map(|value| value.to_str());
        if !matches!(media_type, Some(Ok(media_type)) if is_json(media_type)) {
            let detail = "Content-Type: application/json is what is read here";
            return Err(Problem::new(Code::UnsupportedMediaType, detail).and_hang_up());
        }
        let collected = collect(&mut self.body, BODY_BYTES_MAX, self.desk.patience.body).await?;
        let too_many = || Problem::new(Code::TooLarge, "too many bytes").and_hang_up();
        collected.ok_or_else(too_many)
    }
}

/// Refuses what a browser asks for a page of another place. It sends `Host` as the name it was given,
/// which may be anybody's name for this address, and `Origin` with whatever a page wants to change.
fn local(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(HOST).unwrap_or_default();
    if !is_local(host) {
        return Err(Problem::invalid("Host: operators ask 127.0.0.1, [::1] or localhost"));
    }
    match text(ORIGIN) {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => {
            Err(Problem::invalid("Origin: no page of another place may ask this"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a `Host` names this machine, whatever the port.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in
            ["127.0.0.1:7181", "localhost", "LOCALHOST:1", "[::1]:7181", "[::1]", "127.9.9.9"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "a", "localhost.example.org:80", "10.0.0.1:7181", "127.0.0.1.example.org"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
