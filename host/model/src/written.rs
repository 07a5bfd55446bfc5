//! A message in postcard.
//!
//! What it refers to stands with its body, as one more case of it: so a message without a reference has the bytes it
//! always had, and a node that knows of none does not take one with it for something else.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Attrs, Body, Message, MessageId, Redaction, Reference, Route, Stamp};

/// A message as it goes out.
#[derive(Serialize)]
struct Going<'a> {
    id: MessageId,
    sender: &'a str,
    kind: &'a str,
    route: &'a Route,
    body: GoingBody<'a>,
    attrs: &'a Attrs,
    time_ms: u64,
    sent_ms: Option<u64>,
    stamps: &'a [Stamp],
}

/// The cases of [`Body`], and one more.
#[derive(Serialize)]
enum GoingBody<'a> {
    Text(&'a str),
    Json(&'a str),
    Bytes { media_type: &'a str, bytes: &'a [u8] },
    Redacted(&'a Redaction),
    Referring(&'a Body, &'a Reference),
}

/// A message as it comes in.
#[derive(Deserialize)]
struct Coming {
    id: MessageId,
    sender: String,
    kind: String,
    route: Route,
    body: ComingBody,
    attrs: Attrs,
    time_ms: u64,
    sent_ms: Option<u64>,
    stamps: Vec<Stamp>,
}

/// The same cases. A body in a body has no further one.
#[derive(Deserialize)]
enum ComingBody {
    Text(String),
    Json(String),
    Bytes { media_type: String, bytes: Vec<u8> },
    Redacted(Arc<Redaction>),
    Referring(Body, Arc<Reference>),
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, sender, kind, route, body, archive, attrs, time_ms, sent_ms, stamps } = self;
        let body = match (archive, body) {
            (Some(archive), body) => GoingBody::Referring(body, archive),
            (None, Body::Text(text)) => GoingBody::Text(text),
            (None, Body::Json(json)) => GoingBody::Json(json),
            (None, Body::Bytes { media_type, bytes }) => GoingBody::Bytes { media_type, bytes },
            (None, Body::Redacted(redaction)) => GoingBody::Redacted(redaction),
        };
        let (id, time_ms, sent_ms) = (*id, *time_ms, *sent_ms);
        Going { id, sender, kind, route, body, attrs, time_ms, sent_ms, stamps }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Coming { id, sender, kind, route, body, attrs, time_ms, sent_ms, stamps } =
            Coming::deserialize(deserializer)?;
        let (body, archive) = match body {
            ComingBody::Text(text) => (Body::Text(text), None),
            ComingBody::Json(json) => (Body::Json(json), None),
            ComingBody::Bytes { media_type, bytes } => (Body::Bytes { media_type, bytes }, None),
            ComingBody::Redacted(redaction) => (Body::Redacted(redaction), None),
            ComingBody::Referring(body, archive) => (body, Some(archive)),
        };
        Ok(Self { id, sender, kind, route, body, archive, attrs, time_ms, sent_ms, stamps })
    }
}
