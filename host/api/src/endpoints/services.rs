//! What application services say themselves.

use axum::response::IntoResponse;
use hyper::StatusCode;
use serde::Deserialize;

use super::Answered;
use crate::asked::{Asked, Presence};
use crate::auth::{Serves, Within};
use crate::json::parse;
use crate::problem::{Problem, ProblemShape};

/// Where the name stands in `/v1/services/{name}/ping`.
const NAME_AT: usize = 3;

/// There is nothing to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ping {}

#[utoipa::path(
    post, path = "/v1/services/{name}/ping", tag = "services",
    params(("name" = String, Path, description = "The service, as nodes are configured with it")),
    security(("token" = ["service"])),
    responses(
        (status = 204, description = "All nodes try at once what waits for it"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Say that an application service is there.
///
/// What was away need not wait until it is tried again. More than one a second changes nothing more.
pub(super) async fn ping(mut asked: Asked<Within<Serves>>) -> Answered {
    asked.no_query()?;
    let body = asked.body(Presence::Optional).await?;
    if !body.is_empty() {
        let Ping {} = parse(&body)?;
    }
    let service = asked.parts.uri.path().split('/').nth(NAME_AT).unwrap_or_default().to_owned();
    asked.edge().pings.ping(service).await.map_err(Problem::from)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
