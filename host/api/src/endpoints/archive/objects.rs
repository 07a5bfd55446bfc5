//! Objects: read one, look at it, delete it.

use std::ops::Range;
use std::sync::Arc;

use archive::{Delete, Found, Name, UnifiedId};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chat::Code;
use futures_util::stream;
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE};
use runtime::Instant;
use serde::Deserialize;

use super::range::{Wanted, wanted};
use super::{headers, until, version};
use crate::asked::Asked;
use crate::auth::{Grant, InArchive, Reads, Sends};
use crate::endpoints::{Answered, Edge, json};
use crate::problem::{Problem, ProblemShape};
use crate::shape::{Shown, VersionShape};
use crate::{Objects, Pieces};

/// Which version.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct VersionQuery {
    /// A version, in decimal; what the key shows if nothing is said.
    version: Option<String>,
}

#[utoipa::path(
    get, path = "/v1/archive/{collection}/{key}", operation_id = "get_object", tag = "archive",
    security(("token" = ["read"])),
    params(
        ("collection" = String, Path, description = "The collection"),
        ("key" = String, Path, description = "The key; it may have slashes"),
        VersionQuery,
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The range only of what has this `ETag`"),
        ("If-None-Match" = Option<String>, Header, description = "Nothing if it has this `ETag`"),
    ),
    responses(
        (status = 200, description = "Its bytes. `ETag` is their MD5; of an archive of parts the MD5 over theirs, \
         `-` and how many they are. `Carillon-Version`, `Carillon-Adler32`, `Carillon-Created-Ms` and what is \
         kept with it as `Carillon-Meta-NAME`", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 206, description = "A range of them", body = Vec<u8>,
         content_type = "application/octet-stream"),
        (status = 304, description = "It has that `ETag`"),
        (status = 416, description = "`range-not-satisfiable`: there are not so many bytes",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 500, description = "`damaged`: no copy of it verifies",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Read an object. Every byte was verified before it leaves; if the rest cannot be had, the connection breaks.
pub(in crate::endpoints) async fn get(asked: Asked<InArchive<Reads>>) -> Answered {
    let looking = Looking::new(&asked)?;
    let found = looking.find(until(asked.edge())).await?;
    if let Some(unchanged) = unchanged(&asked, &found) {
        return Ok(unchanged);
    }
    let (range, whole) = (ranged(&asked, &found)?, found.size);
    let bytes = range.clone().unwrap_or(0..whole);
    let mut headers = headers::of(&found, bytes.end - bytes.start, range.is_none());
    let status = match &range {
        None => StatusCode::OK,
        Some(range) => {
            let said = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
            let said = HeaderValue::try_from(said);
            headers.extend(said.ok().map(|said| (CONTENT_RANGE, said)));
            StatusCode::PARTIAL_CONTENT
        }
    };
    let body = body(asked.edge(), looking.name, found, bytes).await?;
    Ok((status, headers, body).into_response())
}

#[utoipa::path(
    head, path = "/v1/archive/{collection}/{key}", operation_id = "look_at_object", tag = "archive",
    security(("token" = ["read"])),
    params(
        ("collection" = String, Path, description = "The collection"),
        ("key" = String, Path, description = "The key; it may have slashes"),
        VersionQuery,
    ),
    responses(
        (status = 200, description = "The headers that reading it has"),
        (status = "default", description = "A problem, without its body"),
    ),
)]
/// Look at an object without its bytes.
pub(in crate::endpoints) async fn head(asked: Asked<InArchive<Reads>>) -> Answered {
    let found = Looking::new(&asked)?.find(until(asked.edge())).await?;
    match unchanged(&asked, &found) {
        Some(unchanged) => Ok(unchanged),
        None => Ok((StatusCode::OK, headers::of(&found, found.size, true)).into_response()),
    }
}

#[utoipa::path(
    delete, path = "/v1/archive/{collection}/{key}", operation_id = "delete_object", tag = "archive",
    security(("token" = ["send"])),
    params(
        ("collection" = String, Path, description = "The collection"),
        ("key" = String, Path, description = "The key; it may have slashes"),
        VersionQuery,
        ("Idempotency-Key" = Option<String>, Header,
         description = "1 to 255 visible ASCII characters; the same key makes a retry safe"),
    ),
    responses(
        (status = 200, description = "It is hidden, whether there was anything or not: the delete's own version",
         body = VersionShape),
        (status = "default", description = "A problem; `unknown-version` if the key never had the one named",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
    ),
)]
/// Delete everything that a key has, or one version of it.
pub(in crate::endpoints) async fn delete(asked: Asked<InArchive<Sends>>) -> Answered {
    let name = asked.grant().name()?;
    asked.no_body()?;
    let query: VersionQuery = asked.query()?;
    let version = version("version", query.version.as_deref())?;
    let delete = Delete { name, version, repeat: asked.key_if_any()? };
    let edge = asked.edge();
    let version = Shown(edge.objects.delete(delete, until(edge)).await?);
    json(StatusCode::OK, &VersionShape { version })
}

/// What a request is about.
struct Looking {
    objects: Arc<dyn Objects>,
    name: Name,
    version: Option<UnifiedId>,
}

impl Looking {
    fn new(asked: &Asked<InArchive<Reads>>) -> Result<Self, Problem> {
        let name = asked.grant().name()?;
        asked.no_body()?;
        let query: VersionQuery = asked.query()?;
        let version = version("version", query.version.as_deref())?;
        Ok(Self { objects: Arc::clone(&asked.edge().objects), name, version })
    }

    async fn find(&self, until: Instant) -> Result<Found, Problem> {
        Ok(self.objects.find(self.name.clone(), self.version, until).await?)
    }
}

/// The range that is wanted of what was found; nothing, if that is all of it.
fn ranged(asked: &Asked<InArchive<Reads>>, found: &Found) -> Result<Option<Range<u64>>, Problem> {
    let if_range = asked.header(IF_RANGE.as_str());
    // A range of something else is no use: then everything is wanted.
    let same = if_range.is_none_or(|tag| tag == headers::etag(found));
    match wanted(asked.header(RANGE.as_str()).filter(|_| same), found.size) {
        Wanted::All => Ok(None),
        Wanted::Part(range) => Ok(Some(range)),
        Wanted::Beyond => {
            let detail = format!("there are {} bytes", found.size);
            let refusal = archive::Refusal::new(archive::Code::Range, detail);
            Err(Problem::from(refusal).of_bytes(found.size))
        }
    }
}

/// The answer to somebody who has it already.
fn unchanged<G: Grant>(asked: &Asked<G>, found: &Found) -> Option<Response> {
    let known = asked.header(IF_NONE_MATCH.as_str())?;
    if !headers::names(known, &headers::etag(found)) {
        return None;
    }
    let mut headers = headers::of(found, 0, false);
    headers.remove(CONTENT_LENGTH);
    Some((StatusCode::NOT_MODIFIED, headers).into_response())
}

/// The bytes, of which the first are there: what cannot be read at all is refused, and not begun.
async fn body(edge: &Edge, name: Name, found: Found, range: Range<u64>) -> Result<Body, Problem> {
    if range.is_empty() {
        return Ok(Body::empty());
    }
    let mut pieces = edge.objects.read(&name, found, range)?;
    let first = match runtime::timeout(edge.config.patience.answer, pieces.next()).await {
        Ok(first) => first?,
        Err(_late) => {
            return Err(Problem::new(Code::NotReady, "no node has begun to give it in time"));
        }
    };
    let rest = stream::unfold((first, Some(pieces)), |(ready, pieces)| async move {
        let mut pieces = pieces?;
        if let Some(bytes) = ready {
            return Some((Ok(bytes), (None, Some(pieces))));
        }
        next(&mut *pieces).await.map(|next| {
            let ends = next.is_err();
            (next, (None, Some(pieces).filter(|_| !ends)))
        })
    });
    Ok(Body::from_stream(rest))
}

/// More bytes, or why there are none: then the connection breaks, and the client knows that it has too few.
async fn next(pieces: &mut dyn Pieces) -> Option<Result<Bytes, archive::Refusal>> {
    let next = pieces.next().await;
    if let Err(refusal) = &next {
        tracing::warn!(%refusal, "an object breaks off for its reader");
    }
    next.transpose()
}
