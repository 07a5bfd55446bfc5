//! Chats as a whole: create, show, end, owners.

use std::time::Duration;

use chat::{Request, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use model::ChatStatus;
use serde::Deserialize;

use super::{Answered, json, mismatch};
use crate::asked::{Asked, Presence};
use crate::auth::{Creating, InChat, Reads, Sends};
use crate::check;
use crate::json::parse;
use crate::problem::{Problem, ProblemShape};
use crate::shape::{ChatShape, CreatedShape, EndedShape, Ending, NewChat, OwnersShape, Shown};

/// How a chat is shown.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ShowQuery {
    /// `true`: the answer includes everything that was done before it was asked for.
    #[param(value_type = Option<bool>)]
    confirmed: Option<String>,
}

#[utoipa::path(
    post, path = "/v1/chats", tag = "chats", request_body = NewChat,
    security(("token" = ["send"])),
    responses(
        (status = 201, description = "The chat, under a random token", body = CreatedShape),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Create a chat.
pub(super) async fn create(mut asked: Asked<Creating>) -> Answered {
    asked.no_query()?;
    let body = asked.body(Presence::Optional).await?;
    let new: NewChat = if body.is_empty() { NewChat::default() } else { parse(&body)? };
    check::at_most(
        "max_duration_s",
        new.max_duration_s.unwrap_or_default(),
        check::DURATION_S_MAX,
    )?;
    if new.max_participants == Some(0) {
        return Err(Problem::invalid("max_participants: at least 1"));
    }
    check::attrs(&new.attrs)?;
    let request = Request::Create {
        max_duration_s: new.max_duration_s,
        max_participants: new.max_participants,
        attrs: new.attrs,
    };
    let Response::Created(created) = asked.ask(request, Duration::ZERO).await? else {
        return Err(mismatch());
    };
    let mut response = json(StatusCode::CREATED, &CreatedShape::new(&created))?;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/chats/{}", created.token)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

#[utoipa::path(
    get, path = "/v1/chats/{token}", tag = "chats",
    security(("token" = ["read"])),
    params(("token" = String, Path, description = "The chat"), ShowQuery),
    responses(
        (status = 200, description = "The chat as it is now", body = ChatShape<'static>),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Show a chat.
pub(super) async fn show(asked: Asked<InChat<Reads>>) -> Answered {
    let token = asked.chat();
    let confirmed = is_true("confirmed", asked.query::<ShowQuery>()?.confirmed.as_deref())?;
    match asked.ask(Request::Show { token, confirmed }, Duration::ZERO).await? {
        Response::Chat(view) => json(StatusCode::OK, &ChatShape::new(&view)),
        _ => Err(mismatch()),
    }
}

#[utoipa::path(
    post, path = "/v1/chats/{token}/end", tag = "chats",
    security(("token" = ["send"])),
    params(("token" = String, Path, description = "The chat")), request_body = Ending,
    responses(
        (status = 200, description = "It is over; the same answer again if it was", body = EndedShape),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// End a chat. It can be read until it is forgotten.
pub(super) async fn end(mut asked: Asked<InChat<Sends>>) -> Answered {
    let token = asked.chat();
    asked.no_query()?;
    let body = asked.body(Presence::Optional).await?;
    let ending: Ending = if body.is_empty() { Ending::default() } else { parse(&body)? };
    let sender = asked.grant().speaker_if_any("sender", ending.sender)?;
    let request = Request::End { token, sender };
    match asked.ask(request, Duration::ZERO).await? {
        Response::Ended { cursor, ended_ms } => {
            let (status, cursor) = (ChatStatus::Ended, Shown(cursor));
            json(StatusCode::OK, &EndedShape { status, cursor, ended_ms })
        }
        _ => Err(mismatch()),
    }
}

#[utoipa::path(
    get, path = "/v1/chats/{token}/owners", tag = "cluster",
    security(("token" = ["read"])),
    params(("token" = String, Path, description = "The chat")),
    responses(
        (status = 200, description = "Who holds the chat, and who should", body = OwnersShape<'static>),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Show who holds a chat.
pub(super) async fn owners(asked: Asked<InChat<Reads>>) -> Answered {
    let token = asked.chat();
    asked.no_query()?;
    match asked.ask(Request::Owners { token }, Duration::ZERO).await? {
        Response::Owners(owners) => json(StatusCode::OK, &OwnersShape::new(&owners)),
        _ => Err(mismatch()),
    }
}

/// `true` or `false`, in a query.
pub(super) fn is_true(field: &str, text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::invalid(format!("{field}: true or false"))),
    }
}
