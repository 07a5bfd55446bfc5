//! A request as its endpoint reads it: path, query, headers, body, and whom to ask.
//!
//! Everything that can be wrong about the HTTP of a request is found here; what its fields may hold is
//! [`crate::check`]'s.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use bytes::Bytes;
use chat::{CallContext, Code, Request, Response};
use hyper::Uri;
use hyper::body::Body as _;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use model::{ChatToken, Cursor, MessageId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::auth::{Caller, Denied, Grant, InChat, Needs, Public};
use crate::body::{at_least, collect, discard};
use crate::calling::{Aside, context, settle};
use crate::connected::Connected;
use crate::endpoints::Edge;
use crate::json::is_json;
use crate::problem::Problem;
use crate::{check, request_id};

/// Bytes of a body. Messages are bounded further, by configuration; this bounds what is read at all.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Where things are in a path, between its slashes: `/v1/chats/…/members/{id}`, `/v1/chats/…/messages/{id}`,
/// `/page/{file}`.
const MEMBER_AT: usize = 5;
const MESSAGE_AT: usize = 5;
const FILE_AT: usize = 2;

/// `Idempotency-Key`.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `Carillon-Seen`: the answer may not be older than this cursor.
const SEEN: &str = "carillon-seen";

/// A request on its way to an endpoint, from somebody who was let through by `G`.
#[derive(Debug)]
pub(crate) struct Asked<G> {
    pub(crate) edge: Arc<Edge>,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    grant: G,
}

/// Whether a request must have a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Without one it is refused.
    Required,
    /// Nothing means `{}`.
    Optional,
}

impl<G: Grant> Asked<G> {
    /// Lets a request through, or does not. This is the only door to an endpoint.
    pub(crate) async fn admit(
        edge: Arc<Edge>,
        request: axum::extract::Request,
    ) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let grant = if G::SCOPE.is_none() {
            G::check(Caller::Open, None)
        } else {
            let identified = edge.auth.identify(&mut parts.headers).await;
            identified.map_err(Denied::from).and_then(|caller| G::admit(caller, &parts.uri))
        };
        match grant {
            Ok(grant) => Ok(Self { edge, parts, body, grant }),
            Err(denied) => {
                if let Denied::Refused(reason) = &denied {
                    edge.auth.count(*reason);
                }
                Err(denied.problem())
            }
        }
    }

    /// The chat that it is about, if it is about one.
    pub(crate) fn about(&self) -> Option<ChatToken> {
        self.grant.about()
    }

    /// What it was let through with.
    pub(crate) fn grant(&self) -> &G {
        &self.grant
    }

    /// Its name.
    pub(crate) fn id(&self) -> &str {
        request_id::of(&self.parts.headers)
    }

    /// The node's edge.
    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    /// The member in the path.
    pub(crate) fn member(&self) -> Result<String, Problem> {
        let id = self.segment(MEMBER_AT).and_then(unescape);
        let id = id.ok_or_else(|| Problem::invalid("id: not UTF-8"))?;
        check::speaker("id", &id)?;
        Ok(id)
    }

    /// The message in the path, if that can be one.
    pub(crate) fn message(&self) -> Option<MessageId> {
        // Digits are digits: an id needs no decoding.
        self.segment(MESSAGE_AT).and_then(MessageId::parse)
    }

    /// The file in the path.
    pub(crate) fn file(&self) -> Option<&str> {
        self.segment(FILE_AT)
    }

    fn segment(&self, at: usize) -> Option<&str> {
        self.parts.uri.path().split('/').nth(at)
    }

    /// The query, every field of it known.
    pub(crate) fn query<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.parts.uri.query().is_none_or(str::is_empty) {
            return Ok(T::default());
        }
        // What is read below would put a sign for what it cannot read, and ask for something else.
        let query = self.parts.uri.query().unwrap_or_default();
        if let Some(strange) = query.split('&').find(|pair| !check::is_text(pair)) {
            let name = strange.split('=').next().unwrap_or_default();
            return Err(Problem::invalid(format!("{name}: not UTF-8")));
        }
        match Query::try_from_uri(&self.parts.uri) {
            Ok(Query(query)) => Ok(query),
            Err(wrong) => Err(Problem::invalid(format!("query: {}", innermost(&wrong)))),
        }
    }

    /// Refuses a query: this endpoint has none.
    pub(crate) fn no_query(&self) -> Result<(), Problem> {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        self.query::<Nothing>().map(|Nothing {}| ())
    }

    /// The idempotency key, where it may be left out.
    pub(crate) fn key_if_any(&self) -> Result<Option<String>, Problem> {
        let said = self.parts.headers.contains_key(IDEMPOTENCY_KEY);
        said.then(|| self.key()).transpose()
    }

    /// The idempotency key.
    pub(crate) fn key(&self) -> Result<String, Problem> {
        let mut keys = self.parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let rule = |is: &str| {
            let max = check::KEY_BYTES_MAX;
            Problem::invalid(format!("Idempotency-Key: {is}; 1 to {max} visible ASCII characters"))
        };
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) => key.to_str().map_err(|_not_ascii| rule("invisible characters"))?,
            (None, _) => return Err(rule("missing")),
            (Some(_), Some(_)) => return Err(rule("more than one")),
        };
        check::key(key).map_err(rule)?;
        Ok(key.to_owned())
    }

    /// The body, as bytes.
    pub(crate) async fn body(&mut self, presence: Presence) -> Result<Bytes, Problem> {
        let headers = &self.parts.headers;
        let said_how_long =
            headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        if !said_how_long && presence == Presence::Required {
            return Err(Problem::new(Code::LengthRequired, "Content-Length: missing"));
        }
        if self.body.is_end_stream() && presence == Presence::Optional {
            return Ok(Bytes::new());
        }
        if let Err(problem) = self.media_type() {
            return Err(Box::pin(self.refuse(problem)).await);
        }
        self.bytes(BODY_BYTES_MAX).await
    }

    /// The body's bytes, whatever they are: at most so many.
    pub(crate) async fn bytes(&mut self, most: usize) -> Result<Bytes, Problem> {
        let too_large = || {
            let detail = format!("a request has at most {most} bytes");
            Problem::new(Code::TooLarge, detail)
        };
        if at_least(&self.body) > most {
            return Err(Box::pin(self.refuse(too_large())).await);
        }
        let patience = self.edge.config.patience.body;
        match collect(&mut self.body, most, patience).await? {
            Some(bytes) => Ok(bytes),
            None => Err(Box::pin(self.refuse(too_large())).await),
        }
    }

    fn media_type(&self) -> Result<(), Problem> {
        let headers = &self.parts.headers;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if !text(CONTENT_TYPE).is_some_and(is_json) {
            let detail = "Content-Type: application/json is what is read here";
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        match text(CONTENT_ENCODING) {
            None | Some("identity") => Ok(()),
            Some(_) => {
                let detail = "Content-Encoding: bodies are read as they are";
                Err(Problem::new(Code::UnsupportedMediaType, detail))
            }
        }
    }

    /// Lets the client finish what it is sending, so that it reads the answer; within bounds.
    pub(crate) async fn refuse(&mut self, problem: Problem) -> Problem {
        // Whoever waits for a "continue" has sent nothing yet, and must not be asked to.
        if self.parts.headers.contains_key(EXPECT) {
            return problem.and_hang_up();
        }
        if discard(&mut self.body).await { problem } else { problem.and_hang_up() }
    }

    /// Asks the chats, who may take `wait` longer than usual. Only what the grant covers.
    ///
    /// The request is let go first: what was read of it stands in the connection's buffer, which is used
    /// again for the next one if nobody holds any of it by then.
    pub(crate) fn ask(
        self,
        request: Request,
        wait: Duration,
    ) -> impl Future<Output = Result<Response, Problem>> + Send + use<G> {
        let call = self.call(&request, wait);
        async move {
            let (edge, context) = call?;
            settle(&edge, request, context).await
        }
    }

    /// Whom to ask, and what is said beside the request.
    fn call(self, request: &Request, wait: Duration) -> Result<(Arc<Edge>, CallContext), Problem> {
        let connection = self.parts.extensions.get().map_or(0, Connected::number);
        let aside = Aside { wait, request_id: self.id(), seen: self.seen()?, connection };
        let context = context(&self.edge, &self.grant, request, aside)?;
        Ok((self.edge, context))
    }

    /// The connection it came over.
    pub(crate) fn connected(&self) -> Result<Connected, Problem> {
        let connected = self.parts.extensions.get::<Connected>().cloned();
        connected.ok_or_else(|| Problem::new(Code::Internal, "a request without a connection"))
    }

    /// A header's text, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// What the client has seen: the answer may not be older.
    pub(crate) fn seen(&self) -> Result<Option<Cursor>, Problem> {
        let Some(seen) = self.parts.headers.get(SEEN) else { return Ok(None) };
        let seen = seen.to_str().ok().and_then(|seen| seen.parse().ok());
        seen.map(Some).ok_or_else(|| Problem::invalid("Carillon-Seen: not a cursor"))
    }
}

impl Asked<Public> {
    /// Where it was sent.
    pub(crate) fn uri(&self) -> &Uri {
        &self.parts.uri
    }

    /// Every header.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }
}

impl<S: Needs> Asked<InChat<S>> {
    /// Takes the grant, and leaves the rest: for an answer that goes on.
    pub(crate) fn into_grant(self) -> (Arc<Edge>, InChat<S>) {
        (self.edge, self.grant)
    }

    /// The chat that it is about.
    pub(crate) fn chat(&self) -> ChatToken {
        self.grant.chat()
    }

    /// Lets whoever asks do something to a member.
    pub(crate) fn may_move(&self, member: &str) -> Result<(), Problem> {
        self.grant.may_move(member).map_err(|reason| {
            self.edge.auth.count(reason);
            reason.problem()
        })
    }
}

/// A path's segment as its text; `None` if that is not UTF-8.
pub(crate) fn unescape(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        let digits = escape.get(1..3).filter(|digits| !digits.starts_with('+'))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = escape.get(3..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// The error at the bottom, which says what; those above say that there is one.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn a_segment_is_unescaped_once() {
        assert_eq!(unescape("Zo%C3%AB%20%2525").as_deref(), Some("Zoë %25"));
        for bad in ["%", "%4", "%zz", "%+1", "%ff", "%C3"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
