//! Taking back what a message said.

use std::time::Duration;

use chat::{Code, Redact, Request, Response};
use hyper::StatusCode;

use super::messages::cursor;
use super::{Answered, json, mismatch};
use crate::asked::{Asked, Presence};
use crate::auth::{InChat, Sends};
use crate::check;
use crate::json::parse;
use crate::problem::{Problem, ProblemShape};
use crate::shape::{RedactedShape, Redacting};

#[utoipa::path(
    delete, path = "/v1/chats/{token}/messages/{id}", tag = "messages",
    security(("token" = ["send"])),
    params(
        ("token" = String, Path, description = "The chat"),
        ("id" = String, Path, description = "The message"),
    ),
    request_body = Redacting,
    responses(
        (status = 200, description = "It says nothing any more, to anybody; the same answer again if it was taken back \
                                      before", body = RedactedShape<'static>),
        (status = 404, description = "`unknown-chat`, or `unknown-message`: also one that may not be read by whoever asks",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = "default", description = "A problem; `forbidden` where the token is not its sender's and has not the \
                                            scope `admin`", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Take back what a message said, also in a chat that is over.
///
/// It stays in its place with its id, sender, kind, route and times, and says who took it back, when and why.
pub(super) async fn redact(mut asked: Asked<InChat<Sends>>) -> Answered {
    let token = asked.chat();
    asked.no_query()?;
    let id = asked.message();
    let body = asked.body(Presence::Optional).await?;
    let said: Redacting = if body.is_empty() { Redacting::default() } else { parse(&body)? };
    let unknown = || Problem::new(Code::UnknownMessage, "no message has this id");
    let id = id.ok_or_else(unknown)?;
    let reason = said.reason.unwrap_or_default();
    check::reason(&reason)?;
    let cursor = cursor("cursor", said.cursor.as_deref())?;
    let by = asked.grant().speaker_if_any("sender", said.sender)?;
    let any = asked.grant().may_with_any();
    let redact = Redact { token, id, cursor, reason, by, any };
    match asked.ask(Request::Redact(Box::new(redact)), Duration::ZERO).await? {
        Response::Redacted { stored, archive } => {
            json(StatusCode::OK, &RedactedShape::new(token, &stored, archive))
        }
        _ => Err(mismatch()),
    }
}
