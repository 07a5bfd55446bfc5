//! Messages: send and read.

use std::time::Duration;

use chat::{Read, Request, Response, Send};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use model::{Cursor, Route};
use serde::Deserialize;

use super::chats::is_true;
use super::{Answered, Edge, json, mismatch};
use crate::asked::{Asked, Presence};
use crate::auth::{InChat, Reads, Sends};
use crate::check;
use crate::json::parse;
use crate::problem::{Problem, ProblemShape};
use crate::shape::{HeldShape, NewBody, NewMessage, PageShape, SentShape, Shown};

/// Set when an answer is the first answer again.
const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");
/// Messages on a page when nothing was said.
const LIMIT_DEFAULT: u16 = 100;
/// Messages on a page.
const LIMIT_MAX: u16 = 1000;
/// Seconds that a reader may wait.
const WAIT_S_MAX: f64 = 30.0;

/// How a message is to be kept.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SendQuery {
    /// How many nodes must hold it before the answer; the cluster's commit quorum if nothing is said.
    #[param(value_type = Option<u8>)]
    w: Option<String>,
    /// How many copies are wanted; at most as many as the cluster keeps.
    #[param(value_type = Option<u8>)]
    n: Option<String>,
}

/// Which messages to read.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadQuery {
    /// Only what comes after this cursor; from the start if nothing is said.
    after: Option<String>,
    /// Only what comes before this cursor.
    before: Option<String>,
    /// At most so many messages: 1 to 1000, 100 if nothing is said.
    #[param(value_type = Option<u16>)]
    limit: Option<String>,
    /// Seconds to wait for a message, 0 to 30; fractions are allowed.
    #[param(value_type = Option<f64>)]
    wait: Option<String>,
    /// Who reads: messages routed to others are left out. With a token it is the token's subject, and this
    /// must be left out.
    r#as: Option<String>,
    /// `true`: the answer includes everything that was done before it was asked for.
    #[param(value_type = Option<bool>)]
    confirmed: Option<String>,
}

#[utoipa::path(
    post, path = "/v1/chats/{token}/messages", tag = "messages",
    security(("token" = ["send"])),
    params(
        ("token" = String, Path, description = "The chat"),
        ("Idempotency-Key" = String, Header,
         description = "1 to 255 visible ASCII characters; the same key makes a retry safe"),
        SendQuery,
    ),
    request_body = NewMessage<'static>,
    responses(
        (status = 201, description = "Stored", body = SentShape<'static>),
        (status = 200, description = "The first answer again, with `Idempotent-Replay: true`",
         body = SentShape<'static>),
        (status = 202, description = "A handler keeps it back", body = HeldShape),
        (status = 400, description = "`invalid-request`; also where an attachment cannot be seen, or is not this chat's",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 409, description = "`idempotency-conflict`, `chat-ended`, `chat-full` or `illegal-transition`",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 422, description = "A handler refused it: it is no part of the chat",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 503, description = "Not done (`not-committed`), or perhaps (`unknown`)",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Send a message.
pub(super) async fn send(mut asked: Asked<InChat<Sends>>) -> Answered {
    let said = said(&mut asked).await?;
    sent(asked.ask(Request::Send(said), Duration::ZERO).await?)
}

/// What somebody wants to send. Nothing of the body is held any more then.
async fn said(asked: &mut Asked<InChat<Sends>>) -> Result<Send, Problem> {
    let query: SendQuery = asked.query()?;
    let acks = count("w", query.w.as_deref())?;
    let copies = count("n", query.n.as_deref())?;
    let placing = Placing { acks, copies };
    placing.check()?;
    // The body is read even if the key is missing: whoever sends it should be able to read the answer.
    let body = asked.body(Presence::Required).await?;
    let key = asked.key()?;
    let new: NewMessage<'_> = parse(&body)?;
    new_send(asked.edge(), asked.grant(), new, key, placing)
}

/// How many nodes are to hold a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placing {
    /// Before the answer; the cluster's commit quorum if nothing is said.
    pub(crate) acks: Option<u8>,
    /// In all.
    pub(crate) copies: Option<u8>,
}

impl Placing {
    fn check(self) -> Result<(), Problem> {
        let beyond = self.acks.zip(self.copies).is_some_and(|(acks, copies)| acks > copies);
        if beyond { Err(Problem::invalid("w: at most n")) } else { Ok(()) }
    }
}

/// A message to send, as the chats take it, from what a client says.
pub(crate) fn new_send(
    edge: &Edge,
    grant: &InChat<Sends>,
    new: NewMessage<'_>,
    key: String,
    placing: Placing,
) -> Result<Send, Problem> {
    placing.check()?;
    let sender = grant.speaker("sender", new.sender)?;
    let kind = new.kind.unwrap_or_else(|| check::KIND_DEFAULT.to_owned());
    check::kind(&kind)?;
    let route = new.route.map_or(Route::Everyone, Route::from);
    check::route(&route)?;
    check::attrs(&new.attrs)?;
    check::at_most("sent_ms", new.sent_ms.unwrap_or_default(), check::INTEGER_MAX)?;
    let archive = new.archive.map(|new| check::archive(*new)).transpose()?.map(Box::new);
    let (text, json, base64, media_type) = (new.text, new.json, new.base64, new.media_type);
    let mut body = NewBody { text, json, base64, media_type };
    if archive.is_some() && body.is_empty() {
        body.text = Some(String::new());
    }
    let body = check::body(body, edge.config.message_bytes)?;
    let Placing { acks, copies } = placing;
    let (token, attrs, sent_ms) = (grant.chat(), new.attrs, new.sent_ms);
    Ok(Send { token, key, acks, copies, sender, kind, route, body, archive, attrs, sent_ms })
}

fn sent(response: Response) -> Answered {
    let (mut response, replay) = match response {
        Response::Sent(sent) => {
            let status = if sent.replay { StatusCode::OK } else { StatusCode::CREATED };
            (json(status, &SentShape::new(&sent))?, sent.replay)
        }
        Response::Held { id, replay } => {
            (json(StatusCode::ACCEPTED, &HeldShape { id: Shown(id), held: true })?, replay)
        }
        _ => return Err(mismatch()),
    };
    if replay {
        response.headers_mut().insert(REPLAY, HeaderValue::from_static("true"));
    }
    Ok(response)
}

#[utoipa::path(
    get, path = "/v1/chats/{token}/messages", tag = "messages",
    security(("token" = ["read"])),
    params(
        ("token" = String, Path, description = "The chat"),
        ("Carillon-Seen" = Option<String>, Header,
         description = "A cursor; the answer may not be older than it"),
        ReadQuery,
    ),
    responses(
        (status = 200, description = "Messages in their order; none if none came in time",
         body = PageShape<'static>),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Read messages, or wait for them.
pub(super) async fn read(asked: Asked<InChat<Reads>>) -> Answered {
    let token = asked.chat();
    let query: ReadQuery = asked.query()?;
    let wait = wait(query.wait.as_deref())?;
    let reader = reader(asked.grant(), query.r#as)?;
    let request = Request::Read(Read {
        token,
        after: cursor("after", query.after.as_deref())?,
        before: cursor("before", query.before.as_deref())?,
        limit: limit(query.limit.as_deref())?,
        wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        reader,
        confirmed: is_true("confirmed", query.confirmed.as_deref())?,
        pulse: None,
    });
    match asked.ask(request, wait).await? {
        Response::Page(page) => json(StatusCode::OK, &PageShape::new(&page)),
        _ => Err(mismatch()),
    }
}

/// Who follows a chat, and after which message, by what a client says.
pub(crate) fn follow_from(
    grant: &InChat<Reads>,
    said: Option<String>,
    after: Option<&str>,
) -> Result<(Option<String>, Option<Cursor>), Problem> {
    Ok((reader(grant, said)?, cursor("after", after)?))
}

/// Who reads, by what is said in `as`.
pub(super) fn reader(
    grant: &InChat<Reads>,
    said: Option<String>,
) -> Result<Option<String>, Problem> {
    // What was not UTF-8 in the address has become this character.
    if said.as_ref().is_some_and(|reader| reader.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(Problem::invalid("as: not UTF-8"));
    }
    grant.speaker_if_any("as", said)
}

pub(super) fn cursor(field: &str, text: Option<&str>) -> Result<Option<Cursor>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |_not_ours| Problem::invalid(format!("{field}: not a cursor"));
    text.parse().map(Some).map_err(wrong)
}

/// How many nodes. A number that no cluster can have stays one: the chats know how many there are.
fn count(field: &str, text: Option<&str>) -> Result<Option<u8>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match digits(text) {
        Some(0) | None => Err(Problem::invalid(format!("{field}: a number from 1"))),
        Some(count) => Ok(Some(u8::try_from(count).unwrap_or(u8::MAX))),
    }
}

fn limit(text: Option<&str>) -> Result<u16, Problem> {
    let Some(text) = text else { return Ok(LIMIT_DEFAULT) };
    let limit = digits(text).and_then(|limit| u16::try_from(limit).ok());
    limit
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| Problem::invalid(format!("limit: a number from 1 to {LIMIT_MAX}")))
}

fn wait(text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse().ok().filter(|_| plain);
    seconds
        .filter(|seconds| (0.0..=WAIT_S_MAX).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| Problem::invalid("wait: seconds from 0 to 30"))
}

fn digits(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::{count, limit, wait};
    use std::time::Duration;

    #[test]
    fn a_wait_may_have_a_fraction_and_has_an_end() {
        assert_eq!(wait(Some("0.25")).ok(), Some(Duration::from_millis(250)));
        assert_eq!(wait(Some("30")).ok(), Some(Duration::from_secs(30)));
        for bad in ["", "-1", "30.1", "1e1", "NaN", "inf", "+1", "1s", "."] {
            assert!(wait(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_has_at_least_one_message() {
        assert_eq!(limit(None).ok(), Some(100));
        assert_eq!(limit(Some("1000")).ok(), Some(1000));
        for bad in ["", "0", "1001", "-1", "+5", "1.5", "99999999999"] {
            assert!(limit(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_acks_than_any_cluster_has_is_still_a_number() {
        assert_eq!(count("w", Some("300")).ok(), Some(Some(255)));
        assert!(count("w", Some("0")).is_err());
    }
}
