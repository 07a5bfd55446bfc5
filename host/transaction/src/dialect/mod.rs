//! How events are written out for a service.
//!
//! Writing is pure: the same events, version and names give the same bytes on every node and in every
//! build, because a transaction that is tried again must carry what it carried before. So each version of
//! the writing stays as it is for ever; what is to be written otherwise is the next version. The id of a
//! transaction is in its request and not in its bytes: the entry that freezes the bytes decides the id.

mod matrix;
mod webhook;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::{Body, Message, Redaction, Reference};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{Dialect, Event, Names, Rendered, TransactionId};

/// The version that new transactions are written in.
pub const VERSION: u8 = 1;

/// Writes `events` out as version `version` of a dialect does; `None` if this build does not know it.
pub fn render(
    dialect: Dialect,
    version: u8,
    id: &TransactionId,
    events: &[Event],
    names: &Names,
) -> Option<Rendered> {
    if version != VERSION {
        return None;
    }
    let (method, path, body) = match dialect {
        Dialect::Matrix => ("PUT", matrix::path(id), matrix::body(events, names)),
        Dialect::Webhook => ("POST", String::new(), webhook::body(events)),
    };
    Some(request(dialect, version, method, path, id, body))
}

/// What asks a service whether it is there.
pub fn ping(dialect: Dialect, id: &TransactionId) -> Rendered {
    let (path, body) = match dialect {
        Dialect::Matrix => (matrix::PING.to_owned(), matrix::ping(id)),
        // As a transaction without events: what takes those takes this.
        Dialect::Webhook => (String::new(), webhook::body(&[])),
    };
    request(dialect, VERSION, "POST", path, id, body)
}

fn request(
    dialect: Dialect,
    version: u8,
    method: &'static str,
    path: String,
    id: &TransactionId,
    body: Vec<u8>,
) -> Rendered {
    let tag = match dialect {
        Dialect::Matrix => 0,
        Dialect::Webhook => 1,
    };
    let hash = Sha256::new()
        .chain_update(b"carillon transaction")
        .chain_update([tag, version])
        .chain_update(&body)
        .finalize();
    Rendered {
        method,
        path,
        content_type: "application/json",
        headers: Vec::new(),
        id: id.to_string(),
        body: Bytes::from(body),
        hash: hash.into(),
    }
}

/// What a message says, in the names that clients know; one of them is there, or why nothing is any more.
#[derive(Debug, Default, Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<TakenBack<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<Refers<'a>>,
}

/// What a message refers to in the archive.
#[derive(Clone, Debug, Serialize)]
struct Refers<'a> {
    collection: &'a str,
    key: &'a str,
    /// In decimal: more than a number can hold where it is read.
    version: String,
}

impl<'a> Refers<'a> {
    fn of(message: &'a Message) -> Option<Self> {
        let Reference { collection, key, version } = message.archive.as_deref()?;
        Some(Self { collection, key, version: version.to_string() })
    }
}

/// Why a message says nothing any more.
#[derive(Debug, Serialize)]
struct TakenBack<'a> {
    by: &'a str,
    reason: &'a str,
    time_ms: u64,
}

impl<'a> Said<'a> {
    fn new(message: &'a Message) -> Self {
        Self { archive: Refers::of(message), ..Self::of(&message.body) }
    }

    fn of(body: &'a Body) -> Self {
        match body {
            Body::Text(text) => Self { text: Some(text), ..Self::default() },
            // What is stored was checked when it came. Were it broken all the same, the service would see
            // its text.
            Body::Json(json) => match serde_json::from_str(json) {
                Ok(value) => Self { json: Some(value), ..Self::default() },
                Err(_not_json) => Self { text: Some(json), ..Self::default() },
            },
            Body::Bytes { media_type, bytes } => Self {
                base64: Some(STANDARD.encode(bytes)),
                media_type: Some(media_type),
                ..Self::default()
            },
            Body::Redacted(why) => {
                let Redaction { by, reason, time_ms } = why.as_ref();
                let redacted = Some(TakenBack { by, reason, time_ms: *time_ms });
                Self { redacted, ..Self::default() }
            }
        }
    }
}

/// `{"events": […]}`.
#[derive(Debug, Serialize)]
struct Events<T> {
    events: Vec<T>,
}

/// Its JSON. What is written here has text for keys and nothing that can fail, so there is no other case.
fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
