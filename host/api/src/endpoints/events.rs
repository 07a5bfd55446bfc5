//! Messages as server-sent events.

use axum::response::IntoResponse;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;

use super::Answered;
use super::messages::{cursor, reader};
use crate::asked::Asked;
use crate::auth::{InChat, Reads};
use crate::problem::ProblemShape;
use crate::stream::{EVENT_STREAM, Follower, events as text};

/// What a browser sends by itself when it comes back: the last `id:` it has seen.
const LAST_EVENT_ID: &str = "last-event-id";
/// Tells proxies of one kind not to collect what should go on at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// From where to follow.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// Only what comes after this cursor; from the start if nothing is said.
    after: Option<String>,
    /// Who reads: messages routed to others are left out. With a token it is the token's subject, and this
    /// must be left out.
    r#as: Option<String>,
}

#[utoipa::path(
    get, path = "/v1/chats/{token}/events", tag = "messages",
    security(("token" = ["read"])),
    params(
        ("token" = String, Path, description = "The chat"),
        ("Last-Event-ID" = Option<String>, Header,
         description = "The last `id:` seen, which counts before `after`: the stream goes on after it"),
        ("Carillon-Seen" = Option<String>, Header,
         description = "A cursor; what the stream begins with may not be older than it"),
        EventsQuery,
    ),
    responses(
        (status = 200, description = "Events without end. `id:` is a cursor, `data:` a message as in \
                                      `/messages`; an `id:` alone passes messages that are not for this reader. \
                                      `event: gap` comes first where the cursor that was named is of a message that is not in the chat any more: what was \
                                      seen after `after` (in its data, and its `id:`) was withdrawn, and what follows takes its place. \
                                      Events with a name and without an id say the whole of what is not written, when it \
                                      has changed: `typing` (`typing`: who does), `read` (`read`: who has read up to \
                                      which cursor), `presence` (`status` of the chat, `participants`; of at most \
                                      200). A comment comes when nothing else did for 15 s. `event: drain`: the node takes \
                                      its leave; `event: problem`: why it does not go on, as a problem. After either \
                                      the stream ends; whoever comes back with the last `id:` misses nothing",
         body = String, content_type = "text/event-stream"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Follow a chat.
pub(super) async fn events(asked: Asked<InChat<Reads>>) -> Answered {
    let query: EventsQuery = asked.query()?;
    let reader = reader(asked.grant(), query.r#as)?;
    let last = asked.header(LAST_EVENT_ID).filter(|last| !last.is_empty());
    let after = match last {
        Some(last) => cursor("Last-Event-ID", Some(last))?,
        None => cursor("after", query.after.as_deref())?,
    };
    let (connected, seen, id) = (asked.connected()?, asked.seen()?, asked.id().to_owned());
    let (edge, grant) = asked.into_grant();
    let mut follower =
        Follower::new(edge, grant, reader, after, seen, (connected.number(), id.clone()));
    let first = follower.first().await?;
    let mut response = text(follower, &first, connected, id).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNBUFFERED, HeaderValue::from_static("no"));
    Ok(response)
}
