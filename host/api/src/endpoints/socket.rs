//! Many chats over one WebSocket.

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE};

use super::Answered;
use crate::asked::Asked;
use crate::auth::Public;
use crate::handshake::Handshake;
use crate::problem::ProblemShape;
use crate::stream::{Talk, accept};

#[utoipa::path(
    get, path = "/v1/ws", tag = "messages",
    security(()),
    responses(
        (status = 101, description = "Frames of text follow, each a JSON object whose `type` says what it is. From \
                                      the client: `auth` (`token`, where the node wants one and no header brought it), `sub` (`chat`, \
                                      `after`, `as`; at most 1,024 chats at once), `unsub` (`chat`), `send` (`chat`, `key`, `w`, `n`, `message` as for \
                                      `POST …/messages`), `typing` (`chat`, `sender`, `typing`), `read` (`chat`, `sender`, `upto`), `ping`. \
                                      From the node: `hello` (`protocol`), `authed`, `subbed` \
                                      (`chat`, `head`), `unsubbed`, `msg` (`chat`, `message`), `passed` (`chat`, `cursor`: where the reader \
                                      stands, if not at the last message shown; what was passed is not for them), `gap` (`chat`, `after`: what was seen of it after this cursor was withdrawn, and what follows takes its place), `receipt` or `held` (`chat`, `key`, `replay`, `sent` or `held` as over HTTP), \
                                      `typing`, `read` and `presence` (`chat`, and as the events of that name over `/events`), `error` (`chat`, `key`, `code`, `detail`, `problem`), `pong`, `drain` (`by_ms`: the node takes its \
                                      leave; come back to any node with the last cursor of each chat)"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Follow many chats and send to them over one WebSocket.
pub(super) async fn socket(asked: Asked<Public>) -> Answered {
    asked.no_query()?;
    let accepted = accept(asked.headers())?;
    let handshake = Handshake::begin(asked).await?;
    let tasks = handshake.connected.tasks().clone();
    tasks.spawn("websocket", async move {
        let Handshake { edge, connected, request_id, caller, upgrade } = handshake;
        match upgrade.await {
            Ok(upgraded) => {
                Talk::new(edge, connected, request_id, caller, upgraded).await.run().await;
            }
            Err(error) => tracing::debug!(%error, "a connection ended before it was a socket"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    Ok(response)
}
