//! A request as its endpoint reads it: path, query, headers, body, and whom to ask.
//!
//! Everything that can be wrong about the HTTP of a request is found here; what its fields may hold is
//! [`crate::check`]'s.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use bytes::{Bytes, BytesMut};
use chat::{CallContext, Code, Refusal, Request, RequestOutcome, Response};
use http_body_util::BodyExt;
use hyper::Uri;
use hyper::body::Body as _;
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderMap,
    TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use model::{ChatToken, Cursor, MessageId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::auth::{Caller, Denied, Grant, InChat, Needs, Public};
use crate::connected::Connected;
use crate::endpoints::Edge;
use crate::problem::Problem;
use crate::{check, request_id};

/// Bytes of a body. Messages are bounded further, by configuration; this bounds what is read at all.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How much of a refused body is read and dropped, so that its sender gets to read the answer.
const DISCARD_BYTES_MAX: usize = 8 << 20;
/// How long that may take.
const DISCARD_WITHIN: Duration = Duration::from_secs(5);
/// What the chats may be late beyond their deadline before their answer is given up.
const LATE_MAX: Duration = Duration::from_secs(1);

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
    edge: Arc<Edge>,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
    grant: G,
}

/// What an endpoint that stops speaking HTTP goes on with.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) edge: Arc<Edge>,
    pub(crate) connected: Connected,
    pub(crate) request_id: String,
    /// Who asks; nobody if a token is wanted and the request brought none.
    pub(crate) caller: Option<Caller>,
    pub(crate) upgrade: OnUpgrade,
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
        let at_least = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if at_least > most {
            return Err(Box::pin(self.refuse(too_large())).await);
        }
        let patience = self.edge.config.patience.body;
        match runtime::timeout(patience, collect(&mut self.body, most)).await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Ok(None)) => Err(Box::pin(self.refuse(too_large())).await),
            Ok(Err(_broken)) => Err(Problem::invalid("the body broke off").and_hang_up()),
            Err(_elapsed) => {
                let detail = "the body took too long to arrive";
                Err(Problem::new(Code::Timeout, detail).and_hang_up())
            }
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
        let body = &mut self.body;
        let discarded = runtime::timeout(DISCARD_WITHIN, async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = body.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > DISCARD_BYTES_MAX {
                    return false;
                }
            }
            true
        });
        if discarded.await == Ok(true) { problem } else { problem.and_hang_up() }
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

    /// Goes on without HTTP. Who asks is looked at here if the request says it, as a browser's cannot;
    /// what they may is asked for everything they do.
    pub(crate) async fn upgrade(mut self) -> Result<Handshake, Problem> {
        let connected = self.connected()?;
        let request_id = self.id().to_owned();
        let upgrade = self.parts.extensions.remove::<OnUpgrade>();
        let missing = || Problem::new(Code::Internal, "a connection that can only speak HTTP");
        let upgrade = upgrade.ok_or_else(missing)?;
        let brought = self.parts.headers.contains_key(AUTHORIZATION);
        let caller = match self.edge.auth.identify(&mut self.parts.headers).await {
            Ok(caller) => Some(caller),
            Err(_none_yet) if !brought => None,
            Err(reason) => {
                self.edge.auth.count(reason);
                return Err(reason.problem());
            }
        };
        Ok(Handshake { edge: self.edge, connected, request_id, caller, upgrade })
    }
}

/// What is known of a request beside what it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aside<'a> {
    /// How much longer than usual it may take.
    pub(crate) wait: Duration,
    pub(crate) request_id: &'a str,
    /// The answer may not be older than this.
    pub(crate) seen: Option<Cursor>,
    /// The number of the connection it came over.
    pub(crate) connection: u64,
}

/// Asks the chats for whoever has `grant`, and only what it covers.
pub(crate) async fn put(
    edge: &Edge,
    grant: &impl Grant,
    request: Request,
    aside: Aside<'_>,
) -> Result<Response, Problem> {
    let context = context(edge, grant, &request, aside)?;
    settle(edge, request, context).await
}

/// What is said beside a request, if the grant covers it. Who asks is who the token names; where nobody needs one, each
/// connection is somebody.
fn context(
    edge: &Edge,
    grant: &impl Grant,
    request: &Request,
    aside: Aside<'_>,
) -> Result<CallContext, Problem> {
    let Aside { wait, request_id, seen, connection } = aside;
    if !grant.covers(request) {
        return Err(Problem::new(Code::Internal, "an endpoint asked beyond its grant"));
    }
    let deadline = runtime::now() + edge.config.patience.answer + wait;
    let caller = grant.caller().and_then(Caller::number).unwrap_or(connection);
    Ok(CallContext { deadline, request_id: request_id.to_owned(), seen, hop: 0, caller })
}

/// The chats' answer, or none in time.
async fn settle(edge: &Edge, request: Request, context: CallContext) -> Result<Response, Problem> {
    let within = context.deadline.saturating_duration_since(runtime::now()) + LATE_MAX;
    let answer = edge.ask.call(request, context);
    match runtime::timeout(within, answer).await {
        Ok(answer) => answer.map_err(Problem::from),
        Err(_elapsed) => {
            let refusal = Refusal::new(Code::Timeout, "no answer in time");
            Err(refusal.with_outcome(RequestOutcome::Unknown).into())
        }
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

/// The body's bytes; `None` if there are too many.
pub(crate) async fn collect(body: &mut Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are no part of a body.
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + all.len() + data.len() > most {
            return Ok(None);
        }
        // Nearly every body comes in one piece, and is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&first);
            first = Bytes::new();
            all.extend_from_slice(&data);
        }
    }
    Ok(Some(if all.is_empty() { first } else { all.freeze() }))
}

/// Reads a JSON object. What is wrong is said with the path of its field.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // Serde reads a struct from an array too, by the order of its fields; that order is nobody's promise.
    if !is_object(body) {
        return Err(no_object(body));
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(_said_again_below) => Err(explain::<T>(body)),
    }
}

/// Whether it can only be an object, if it is JSON.
pub(crate) fn is_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !b" \t\r\n".contains(byte)) == Some(&b'{')
}

/// What is wrong with a body that does not begin like an object.
fn no_object(body: &[u8]) -> Problem {
    if std::str::from_utf8(body).is_err() {
        return Problem::invalid("the body is not UTF-8");
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_other) => Problem::invalid("the body must be a JSON object"),
        Err(wrong) => Problem::invalid(format!("the body is not JSON: {wrong}")),
    }
}

/// Reads it again, slowly, to find out where it is wrong.
fn explain<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Problem {
    if std::str::from_utf8(body).is_err() {
        return Problem::invalid("the body is not UTF-8");
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize::<_, T>(&mut reader);
    let Err(wrong) = read else {
        return Problem::invalid("the body goes on after its JSON value");
    };
    let path = wrong.path().to_string();
    let what = wrong.into_inner();
    // Some of what is wrong with the data is called a fault of the syntax.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    Problem::invalid(match (is_json, path.as_str()) {
        (false, _) => format!("the body is not JSON: {what}"),
        (true, ".") => format!("the body: {what}"),
        (true, path) => format!("{path}: {what}"),
    })
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

/// `application/json`, in UTF-8 if it says in what.
pub(crate) fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    json && parts.all(|part| part.is_empty() || part.eq_ignore_ascii_case("charset=utf-8"))
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
    use super::{is_json, parse, unescape};
    use crate::shape::NewMessage;

    #[track_caller]
    fn refused(body: &[u8]) -> String {
        parse::<NewMessage<'_>>(body).unwrap_err().detail().to_owned()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let sender = |rest: &str| format!("{{\"sender\": \"a\", {rest}}}");
        for (rest, field) in [
            ("\"text\": 5", "text"),
            ("\"txet\": \"a\"", "txet"),
            ("\"attrs\": {\"a\": 1}", "attrs.a"),
            ("\"route\": {\"only\": \"bob\"}", "route"),
            ("\"sent_ms\": -1", "sent_ms"),
            ("\"text\": \"a\", \"text\": \"b\"", "text"),
        ] {
            let detail = refused(sender(rest).as_bytes());
            assert!(detail.contains(field), "{rest}: {detail}");
        }
    }

    #[test]
    fn what_is_not_json_is_called_that() {
        assert!(refused(b"hello").contains("not JSON"));
        assert!(refused(b"").contains("not JSON"));
        assert!(refused(b"{\"sender\": \"a\", \"text\": \"\xff\"}").contains("not UTF-8"));
        assert!(refused(b"{\"sender\": \"a\", \"text\": \"b\"} {}").contains("goes on"));
        assert!(refused(b"5 x").contains("not JSON"));
        assert!(refused(b"[\"\xff\"]").contains("not UTF-8"));
    }

    #[test]
    fn what_is_no_object_is_told_what_is_wanted() {
        for other in ["[]", "5", "null", "\"a\"", " \t\r\n[\"alice\", null, null, \"hi\"]"] {
            assert_eq!(refused(other.as_bytes()), "the body must be a JSON object", "{other}");
        }
        assert!(parse::<NewMessage<'_>>(b" \t\r\n{\"sender\": \"a\"}").is_ok());
    }

    #[test]
    fn json_is_any_value_and_null_is_one() {
        let message: NewMessage<'_> = parse(b"{\"sender\": \"a\", \"json\": null}").unwrap();
        assert_eq!(message.json.map(serde_json::value::RawValue::get), Some("null"));
        let message: NewMessage<'_> =
            parse(b"{\"sender\": \"a\", \"json\": {\"a\": [1e99]}}").unwrap();
        assert_eq!(message.json.map(serde_json::value::RawValue::get), Some("{\"a\": [1e99]}"));
    }

    #[test]
    fn a_segment_is_unescaped_once() {
        assert_eq!(unescape("Zo%C3%AB%20%2525").as_deref(), Some("Zoë %25"));
        for bad in ["%", "%4", "%zz", "%+1", "%ff", "%C3"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn media_types_are_compared_as_they_should_be() {
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;"] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/plain", "application/json; charset=latin1", "application/jsonp"] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
