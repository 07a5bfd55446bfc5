//! Collections: make one, and list what it shows.

use archive::{InvalidName, KEY_BYTES_MAX, List, Versioning};
use hyper::StatusCode;
use serde::Deserialize;

use super::{until, version};
use crate::asked::{Asked, Presence};
use crate::auth::{Everywhere, InArchive, Reads, Sends};
use crate::endpoints::chats::is_true;
use crate::endpoints::{Answered, json};
use crate::json::parse;
use crate::problem::{Problem, ProblemShape};
use crate::shape::{CollectionShape, ListingShape, NewCollection};

/// Entries of an answer, if nothing is said, and at most.
const LIMIT_MAX: u32 = 1000;

/// What to list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct ListQuery {
    /// Only keys that begin so.
    prefix: Option<String>,
    /// Only keys behind this one: the `next_marker` of the answer before.
    marker: Option<String>,
    /// At most so many entries: 1 to 1000, 1000 if nothing is said.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// `true`: all versions that can be seen, and not only what each key shows.
    #[param(value_type = Option<bool>)]
    versions: Option<String>,
    /// With `versions`: only later versions of the marker's key, and keys behind it.
    version_marker: Option<String>,
}

#[utoipa::path(
    put, path = "/v1/archive/{collection}", operation_id = "make_collection", tag = "archive", request_body = NewCollection,
    security(("token" = ["send"])),
    params(("collection" = String, Path,
            description = "Its name: 1 to 64 letters, digits, `-`, `_` and `.`, no dot in front")),
    responses(
        (status = 201, description = "It is made, for ever", body = CollectionShape),
        (status = 200, description = "It is there already, and alike", body = CollectionShape),
        (status = 409, description = "`collection-exists`: it is there and keeps versions otherwise",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Make a collection. It takes a token for all chats.
pub(in crate::endpoints) async fn create(mut asked: Asked<Everywhere<Sends>>) -> Answered {
    asked.no_query()?;
    let body = asked.body(Presence::Required).await?;
    let NewCollection { versioning } = parse(&body)?;
    let name = asked.grant().collection(&asked.parts.uri)?;
    let kept = if versioning { Versioning::Versioned } else { Versioning::Unversioned };
    let edge = asked.edge();
    let new = edge.objects.create(name.clone(), kept, until(edge)).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    json(status, &CollectionShape { collection: name.to_string(), versioning })
}

#[utoipa::path(
    get, path = "/v1/archive/{collection}", operation_id = "list_collection", tag = "archive",
    security(("token" = ["read"])),
    params(("collection" = String, Path, description = "The collection"), ListQuery),
    responses(
        (status = 200, description = "All that was stored before, by the bytes of the keys", body = ListingShape<'static>),
        (status = 503, description = "`not-ready`: not everything could be looked at",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// List a collection. In `chats`, `attachments` and `recordings` it takes a token for all chats, or for the one
/// whose token `prefix` begins with.
pub(in crate::endpoints) async fn list(asked: Asked<InArchive<Reads>>) -> Answered {
    let query: ListQuery = asked.query()?;
    asked.no_body()?;
    let marker = query.marker.filter(|marker| !marker.is_empty());
    let wrong = |wrong: InvalidName| Problem::invalid(format!("marker: {wrong}"));
    let prefix = query.prefix.unwrap_or_default();
    if prefix.len() > KEY_BYTES_MAX {
        let detail = format!("prefix: {} bytes, a key has at most {KEY_BYTES_MAX}", prefix.len());
        return Err(Problem::invalid(detail));
    }
    let list = List {
        collection: asked.grant().collection()?,
        prefix,
        marker: marker.map(|marker| marker.parse().map_err(wrong)).transpose()?,
        limit: limit(query.limit.as_deref())?,
        versions: is_true("versions", query.versions.as_deref())?,
        version_marker: version("version_marker", query.version_marker.as_deref())?,
    };
    let edge = asked.edge();
    let listing = edge.objects.list(list, until(edge)).await?;
    json(StatusCode::OK, &ListingShape::new(&listing))
}

fn limit(text: Option<&str>) -> Result<u32, Problem> {
    let Some(text) = text else { return Ok(LIMIT_MAX) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = digits.then(|| text.parse().ok()).flatten();
    let fits = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
    fits.ok_or_else(|| Problem::invalid(format!("limit: 1 to {LIMIT_MAX}")))
}
