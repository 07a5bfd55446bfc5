//! Who is in a chat: join and leave.

use std::time::Duration;

use axum::response::IntoResponse;
use chat::{Request, Response};
use hyper::StatusCode;

use super::{Answered, json, mismatch};
use crate::asked::{Asked, Presence};
use crate::auth::{InChat, Sends};
use crate::check;
use crate::json::parse;
use crate::problem::ProblemShape;
use crate::shape::{JoinedShape, NewMember};

#[utoipa::path(
    put, path = "/v1/chats/{token}/members/{id}", tag = "members",
    security(("token" = ["send"])),
    params(
        ("token" = String, Path, description = "The chat"),
        ("id" = String, Path, description = "Who: 1 to 128 bytes, no control characters"),
    ),
    request_body = NewMember,
    responses(
        (status = 200, description = "They are in the chat", body = JoinedShape),
        (status = "default", description = "A problem; `chat-full` when no more may join",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
    ),
)]
/// Join a chat, or change role and attributes.
pub(super) async fn join(mut asked: Asked<InChat<Sends>>) -> Answered {
    let token = asked.chat();
    let id = asked.member()?;
    asked.may_move(&id)?;
    asked.no_query()?;
    let body = asked.body(Presence::Optional).await?;
    let member: NewMember = if body.is_empty() { NewMember::default() } else { parse(&body)? };
    if let Some(role) = &member.role {
        check::role(role)?;
    }
    check::attrs(&member.attrs)?;
    let request = Request::Join { token, id, role: member.role, attrs: member.attrs };
    match asked.ask(request, Duration::ZERO).await? {
        Response::Joined { ordinal } => json(StatusCode::OK, &JoinedShape { ordinal }),
        _ => Err(mismatch()),
    }
}

#[utoipa::path(
    delete, path = "/v1/chats/{token}/members/{id}", tag = "members",
    security(("token" = ["send"])),
    params(
        ("token" = String, Path, description = "The chat"),
        ("id" = String, Path, description = "Who"),
    ),
    responses(
        (status = 204, description = "They are not in the chat"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Leave a chat.
pub(super) async fn leave(asked: Asked<InChat<Sends>>) -> Answered {
    let token = asked.chat();
    let id = asked.member()?;
    asked.may_move(&id)?;
    asked.no_query()?;
    match asked.ask(Request::Leave { token, id }, Duration::ZERO).await? {
        Response::Left => Ok(StatusCode::NO_CONTENT.into_response()),
        _ => Err(mismatch()),
    }
}
