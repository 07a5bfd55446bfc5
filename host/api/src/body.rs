//! The bytes of a body: all of them, in time, and no more than are wanted.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use chat::Code;
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::problem::Problem;

/// How much of a refused body is read and dropped, so that its sender gets to read the answer.
const DISCARD_BYTES_MAX: usize = 8 << 20;
/// How long that may take.
const DISCARD_WITHIN: Duration = Duration::from_secs(5);

/// How many bytes there are at least, as far as it was said.
pub(crate) fn at_least(body: &Body) -> usize {
    usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX)
}

/// The body's bytes, if all of them come in time; `None` if there are more than `most`.
pub(crate) async fn collect(
    body: &mut Body,
    most: usize,
    within: Duration,
) -> Result<Option<Bytes>, Problem> {
    match runtime::timeout(within, gather(body, most)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_broken)) => Err(Problem::invalid("the body broke off").and_hang_up()),
        Err(_elapsed) => {
            let detail = "the body took too long to arrive";
            Err(Problem::new(Code::Timeout, detail).and_hang_up())
        }
    }
}

/// The body's bytes as they come; `None` if there are too many.
async fn gather(body: &mut Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are no part of a body.
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + all.len() + data.len() > most {
            return Ok(None);
        }
        // Nearly every body comes in one piece, and is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&first);
            first = Bytes::new();
            all.extend_from_slice(&data);
        }
    }
    Ok(Some(if all.is_empty() { first } else { all.freeze() }))
}

/// Lets whoever sends a refused body finish; whether it came to its end, within bounds.
pub(crate) async fn discard(body: &mut Body) -> bool {
    let discarded = runtime::timeout(DISCARD_WITHIN, async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DISCARD_BYTES_MAX {
                return false;
            }
        }
        true
    });
    discarded.await == Ok(true)
}
