//! Signs of life: somebody types, or has read so far. They are told to those who follow the chat, and written
//! nowhere.

use std::time::Duration;

use axum::response::IntoResponse;
use chat::{Request, Response};
use hyper::StatusCode;

use super::messages::cursor;
use super::{Answered, mismatch};
use crate::asked::{Asked, Presence};
use crate::auth::{InChat, Reads, Sends};
use crate::json::parse;
use crate::problem::{Problem, ProblemShape};
use crate::shape::{NewMark, NewTyping};

#[utoipa::path(
    post, path = "/v1/chats/{token}/typing", tag = "members",
    security(("token" = ["send"])),
    params(("token" = String, Path, description = "The chat")),
    request_body = NewTyping,
    responses(
        (status = 204, description = "Whoever follows the chat is told. It ends by itself after 6 s without \
                                      another one, and with the sender's next message"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Say that somebody types.
pub(super) async fn typing(mut asked: Asked<InChat<Sends>>) -> Answered {
    asked.no_query()?;
    let body = asked.body(Presence::Optional).await?;
    let said: NewTyping = if body.is_empty() { NewTyping::default() } else { parse(&body)? };
    let request = typing_request(asked.grant(), said.sender, said.typing)?;
    noted(asked.ask(request, Duration::ZERO).await?)
}

#[utoipa::path(
    post, path = "/v1/chats/{token}/read", tag = "members",
    security(("token" = ["read"])),
    params(("token" = String, Path, description = "The chat")),
    request_body = NewMark,
    responses(
        (status = 204, description = "Whoever follows the chat is told. Of several the latest message counts"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Say how far somebody has read.
pub(super) async fn read(mut asked: Asked<InChat<Reads>>) -> Answered {
    asked.no_query()?;
    let body = asked.body(Presence::Required).await?;
    let said: NewMark = parse(&body)?;
    let request = mark_request(asked.grant(), said.sender, &said.upto)?;
    noted(asked.ask(request, Duration::ZERO).await?)
}

/// That somebody types, as the chats take it.
pub(crate) fn typing_request(
    grant: &InChat<Sends>,
    sender: Option<String>,
    typing: Option<bool>,
) -> Result<Request, Problem> {
    let sender = grant.speaker("sender", sender)?;
    Ok(Request::Typing { token: grant.chat(), sender, typing: typing.unwrap_or(true) })
}

/// How far somebody has read, as the chats take it.
pub(crate) fn mark_request(
    grant: &InChat<Reads>,
    sender: Option<String>,
    upto: &str,
) -> Result<Request, Problem> {
    let sender = grant.speaker("sender", sender)?;
    let upto = cursor("upto", Some(upto))?.unwrap_or_default();
    Ok(Request::Mark { token: grant.chat(), sender, upto })
}

fn noted(response: Response) -> Answered {
    match response {
        Response::Noted => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Err(mismatch()),
    }
}
