//! Where Twilio asks what to do.
//!
//! A request that Twilio signed is always answered with TwiML, and in time: a caller waits. What keeps the chats from
//! answering is counted and told in the log, and the caller hears the operator's words instead.

use axum::response::IntoResponse;
use bytes::Bytes;
use chat::{CallContext, Code, Refusal, Request, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use runtime::Instant;

use super::{Answered, Edge, told};
use crate::asked::Asked;
use crate::auth::Public;
use crate::problem::{Problem, ProblemShape};
use crate::twilio::{Brought, FORM_BYTES_MAX, Signed, Telephones, Unsigned};

/// The media type of every answer.
const XML: HeaderValue = HeaderValue::from_static("application/xml");
/// What is signed.
const SIGNATURE: &str = "x-twilio-signature";
/// Twilio's own key for a repeat.
const IDEMPOTENCY: &str = "i-twilio-idempotency-token";
/// Bytes of it that are repeated to plugins.
const IDEMPOTENCY_BYTES_MAX: usize = 255;
/// Nothing to do: for what is no call, and cannot be spoken to.
const NOTHING: &str = "<Response></Response>";

#[utoipa::path(
    get, path = "/v1/twilio/{path}", tag = "telephones",
    security(()),
    params(
        ("path" = String, Path, description = "The channel, as in `[chain.twilio]`, and whatever its plugin makes of the rest; \
                                               it may have slashes"),
        ("chat_token" = String, Query, description = "The chat"),
        ("X-Twilio-Signature" = String, Header,
         description = "By one of the account's auth tokens, over the configured public address with its query"),
    ),
    responses(
        (status = 200, description = "TwiML: what the plugin wants, the same again for the same request, or the operator's words \
                                      when there is no answer in time", body = String, content_type = "application/xml"),
        (status = "default", description = "A problem: `forbidden` without a good signature, `not-found` where nobody answers, \
                                            `unknown-chat`", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Twilio asks what to do, with everything in the query.
pub(super) async fn get(asked: Asked<Public>) -> Answered {
    answer(asked).await
}

#[utoipa::path(
    post, path = "/v1/twilio/{path}", tag = "telephones",
    security(()),
    params(
        ("path" = String, Path, description = "As for GET"),
        ("chat_token" = String, Query, description = "The chat"),
        ("bodySHA256" = Option<String>, Query, description = "The hash of a body that is no form"),
        ("X-Twilio-Signature" = String, Header,
         description = "As for GET, and over every field of the form, by name"),
        ("I-Twilio-Idempotency-Token" = Option<String>, Header, description = "Handed to the plugin; it is not signed, so what \
                                                                              is a repeat is decided by what is"),
    ),
    request_body(content = String, content_type = "application/x-www-form-urlencoded",
                 description = "At most 64 KiB and 256 fields. A field that is posted twice counts once for each of its values. \
                                JSON is read where `bodySHA256` is its hash"),
    responses(
        (status = 200, description = "As for GET", body = String, content_type = "application/xml"),
        (status = "default", description = "As for GET; `too-large`, `unsupported-media-type`", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Twilio asks what to do.
pub(super) async fn post(asked: Asked<Public>) -> Answered {
    answer(asked).await
}

async fn answer(mut asked: Asked<Public>) -> Answered {
    let began = runtime::now();
    let twilio = asked.edge().twilio.clone();
    let Some(telephones) = twilio.telephones() else { return Err(nobody()) };
    let counters = &telephones.counters;
    let body = asked.bytes(FORM_BYTES_MAX).await;
    let body = body.inspect_err(|_too_large| counters.malformed.increment(1))?;
    let signed = look(telephones, &asked, &body).map_err(|why| {
        match why {
            Unsigned::Forged => &counters.forged,
            Unsigned::Channel | Unsigned::Chat => &counters.unknown,
            Unsigned::Fields | Unsigned::MediaType | Unsigned::Json => &counters.malformed,
        }
        .increment(1);
        why.problem()
    })?;
    let (is_call, chat, id) = (signed.is_call(), signed.chat(), asked.id().to_owned());
    let deadline = began + telephones.deadline;
    let refusal = match ask(asked.edge(), signed.into_request(), deadline, &id).await {
        Ok(Response::Twiml { text, replay }) => {
            if replay { &counters.repeated } else { &counters.answered }.increment(1);
            return Ok(xml(text));
        }
        Ok(_other) => Refusal::new(Code::Internal, "an answer to another question"),
        Err(refusal) => refusal,
    };
    match refusal.code {
        Code::UnknownChat => {
            counters.unknown.increment(1);
            return Err(Unsigned::Chat.problem());
        }
        // The signature of a request that was made of other words.
        Code::IdempotencyConflict => {
            counters.forged.increment(1);
            return Err(Unsigned::Forged.problem());
        }
        Code::Timeout => counters.late.increment(1),
        Code::PluginFailed => counters.failed.increment(1),
        _ => counters.unavailable.increment(1),
    }
    tracing::debug!(?chat, "Twilio is answered with the operator's words");
    told::tell("twilio", &refusal.into(), &id);
    Ok(xml(if is_call { telephones.fallback.clone() } else { NOTHING.to_owned() }))
}

/// Whether Twilio signed it, and what it asks then.
fn look(telephones: &Telephones, asked: &Asked<Public>, body: &Bytes) -> Result<Signed, Unsigned> {
    let mut signatures = asked.headers().get_all(SIGNATURE).iter();
    let signature = signatures.next().and_then(|signature| signature.to_str().ok());
    let signature = signature.filter(|_the_only_one| signatures.next().is_none());
    let idempotency = asked.header(IDEMPOTENCY);
    let brought = Brought {
        uri: asked.uri(),
        signature,
        media_type: asked.header(CONTENT_TYPE.as_str()),
        body,
        idempotency: idempotency.filter(|token| token.len() <= IDEMPOTENCY_BYTES_MAX),
    };
    Signed::look(telephones, &brought)
}

/// The chats' answer, or none in time.
async fn ask(
    edge: &Edge,
    request: Request,
    deadline: Instant,
    request_id: &str,
) -> Result<Response, Refusal> {
    let request_id = request_id.to_owned();
    let context = CallContext { deadline, request_id, seen: None, hop: 0, caller: 0 };
    let left = deadline.saturating_duration_since(runtime::now());
    let answer = runtime::timeout(left, edge.ask.call(request, context)).await;
    answer.unwrap_or_else(|_elapsed| Err(Refusal::new(Code::Timeout, "no answer in time")))
}

fn xml(text: String) -> axum::response::Response {
    let mut response = (StatusCode::OK, Bytes::from(text)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, XML);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Without tokens, or without a channel, there is nothing at this path.
fn nobody() -> Problem {
    Problem::new(Code::NotFound, "nobody answers Twilio here")
}

impl Unsigned {
    fn problem(self) -> Problem {
        match self {
            // No more than that: what is wrong with a signature is nothing for those who guess.
            Self::Forged => Problem::new(Code::Forbidden, "X-Twilio-Signature: not Twilio's"),
            Self::Channel => nobody(),
            Self::Chat => Problem::new(Code::UnknownChat, "no chat has this token"),
            Self::Fields => Problem::new(Code::TooLarge, "a request has at most 256 fields"),
            Self::MediaType => {
                let detail = "Content-Type: application/x-www-form-urlencoded is what is read here";
                Problem::new(Code::UnsupportedMediaType, detail)
            }
            Self::Json => Problem::invalid("the body must be a JSON object"),
        }
    }
}
