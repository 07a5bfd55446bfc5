//! Objects: store one, at once or in parts.

use archive::{PARTS_MAX, Put, Stored};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde::Deserialize;

use super::{headers, until, version};
use crate::asked::Asked;
use crate::auth::{InArchive, Sends};
use crate::endpoints::{Answered, json};
use crate::problem::{Problem, ProblemShape};
use crate::shape::{Shown, StoredShape, VersionShape};

/// Set when an answer is the first answer again.
const REPLAY: HeaderName = HeaderName::from_static("idempotent-replay");

/// Of which archive of parts it is which part.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct PartQuery {
    /// The version that `start` gave.
    conjoined: Option<String>,
    /// Which part, from 1.
    #[param(value_type = Option<u32>)]
    part: Option<String>,
}

/// What is to become of an archive of parts.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::endpoints) struct ActQuery {
    /// `start`, `finish` or `abort`.
    action: Option<String>,
    /// The version that `start` gave.
    conjoined: Option<String>,
}

#[utoipa::path(
    put, path = "/v1/archive/{collection}/{key}", operation_id = "put_object", tag = "archive",
    security(("token" = ["send"])),
    params(
        ("collection" = String, Path, description = "The collection"),
        ("key" = String, Path, description = "The key: 1 to 1024 bytes, no control characters, no part `..`; in \
         `chats`, `attachments` and `recordings` it begins with a chat's token; in `chats` the token alone is the \
         chat itself, which nodes store"),
        PartQuery,
        ("Content-Length" = u64, Header, description = "How many bytes there are, at most 16 GiB"),
        ("Content-MD5" = Option<String>, Header, description = "Their MD5 in base64, to be checked"),
        ("Idempotency-Key" = Option<String>, Header,
         description = "1 to 255 visible ASCII characters; the same key and the same bytes get the first answer"),
        ("Carillon-Meta-NAME" = Option<String>, Header,
         description = "Kept with it; names and values have at most 2 KiB. Of an archive of parts those of part 1 \
                        are told"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "Stored", body = StoredShape),
        (status = 200, description = "The first answer again, with `Idempotent-Replay: true`", body = StoredShape),
        (status = 400, description = "`md5-mismatch`, `size-mismatch`: nothing is stored",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 409, description = "`already-final`: the part is there with other bytes, or the archive is whole; \
         `idempotency-conflict`", body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 411, description = "`length-required`", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
        (status = 503, description = "Not done (`not-committed`), or perhaps (`unknown`)",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 507, description = "`storage-full`", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Store an object, or a part of one. It is answered once it is synced where it must be.
pub(in crate::endpoints) async fn put(mut asked: Asked<InArchive<Sends>>) -> Answered {
    let put = match said(&asked) {
        Ok(put) => put,
        Err(problem) => return Err(Box::pin(asked.refuse(problem)).await),
    };
    let objects = std::sync::Arc::clone(&asked.edge().objects);
    let stored = objects.put(put, &mut asked.incoming()).await;
    match stored {
        Ok(stored) => answer(&stored),
        Err(refusal) => Err(Box::pin(asked.refuse(refusal.into())).await),
    }
}

/// What somebody wants to store.
fn said(asked: &Asked<InArchive<Sends>>) -> Result<Put, Problem> {
    let name = asked.grant().free_name()?;
    let size = asked.length()?;
    asked.plain()?;
    let query: PartQuery = asked.query()?;
    let headers = &asked.parts.headers;
    for condition in [IF_MATCH, IF_NONE_MATCH] {
        // To pass over a condition would be to do what was not wanted.
        if headers.contains_key(&condition) {
            return Err(Problem::invalid(format!("{condition}: storing knows no conditions")));
        }
    }
    let part = match (version("conjoined", query.conjoined.as_deref())?, query.part) {
        (None, None) => None,
        (Some(version), Some(part)) => Some((version, number(&part)?)),
        (None, Some(_)) => return Err(Problem::invalid("conjoined: missing; part needs it")),
        (Some(_), None) => return Err(Problem::invalid("part: missing; conjoined needs it")),
    };
    let (md5, meta) = (headers::md5(headers)?, headers::meta(headers)?);
    Ok(Put { name, size, md5, meta, part, repeat: asked.key_if_any()? })
}

fn number(text: &str) -> Result<u32, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok()).flatten();
    let fits = number.filter(|number| (1..=PARTS_MAX).contains(number));
    fits.ok_or_else(|| Problem::invalid(format!("part: 1 to {PARTS_MAX}")))
}

fn answer(stored: &Stored) -> Answered {
    let status = if stored.again { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = json(status, &StoredShape::new(stored))?;
    if stored.again {
        response.headers_mut().insert(REPLAY, HeaderValue::from_static("true"));
    }
    Ok(response)
}

#[utoipa::path(
    post, path = "/v1/archive/{collection}/{key}", operation_id = "act_on_object", tag = "archive",
    security(("token" = ["send"])),
    params(
        ("collection" = String, Path, description = "The collection"),
        ("key" = String, Path, description = "The key; it may have slashes"),
        ActQuery,
        ("Idempotency-Key" = Option<String>, Header,
         description = "With `start`: 1 to 255 visible ASCII characters; the same key makes a retry safe"),
    ),
    responses(
        (status = 200, description = "Done, or done before: the version of the archive", body = VersionShape),
        (status = 400, description = "`wrong-order`: parts are missing",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 404, description = "`unknown-version`: nobody started it",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = 409, description = "`already-final`: it was given up",
         body = ProblemShape<'static>, content_type = "application/problem+json"),
        (status = "default", description = "A problem", body = ProblemShape<'static>,
         content_type = "application/problem+json"),
    ),
)]
/// Start, finish or abort an archive of parts. It cannot be seen before it is finished; an abort after that hides
/// it.
pub(in crate::endpoints) async fn act(asked: Asked<InArchive<Sends>>) -> Answered {
    let name = asked.grant().free_name()?;
    asked.no_body()?;
    let query: ActQuery = asked.query()?;
    let version = version("conjoined", query.conjoined.as_deref())?;
    let version = match (query.action.as_deref(), version) {
        (Some("start"), None) => {
            let (edge, repeat) = (asked.edge(), asked.key_if_any()?);
            edge.objects.start(name, repeat, until(edge)).await?
        }
        (Some("start"), Some(_)) => {
            return Err(Problem::invalid("conjoined: start gives it, and takes none"));
        }
        (Some("finish" | "abort"), None) => {
            return Err(Problem::invalid("conjoined: missing; it is the version that start gave"));
        }
        (Some("finish"), Some(version)) => {
            let edge = asked.edge();
            edge.objects.finish(name, version, until(edge)).await?;
            version
        }
        (Some("abort"), Some(version)) => {
            let edge = asked.edge();
            edge.objects.abort(name, version, until(edge)).await?;
            version
        }
        _ => return Err(Problem::invalid("action: start, finish or abort")),
    };
    json(StatusCode::OK, &VersionShape { version: Shown(version) })
}
