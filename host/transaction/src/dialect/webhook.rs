//! Events as Standard Webhooks sends them: whose `data` is the message as clients see it.
//!
//! The signature is not made here: it covers a time, and is of one attempt (`credential.rs`).

use model::{Attrs, Message, Route};
use serde::Serialize;

use crate::Event;
use crate::dialect::{Events, Said, json};

#[derive(Serialize)]
struct WebhookEvent<'a> {
    id: String,
    chat: String,
    cursor: String,
    #[serde(rename = "type")]
    kind: &'a str,
    sender: &'a str,
    time_ms: u64,
    data: Data<'a>,
}

/// A message, with the names and in the order of every answer that has one.
#[derive(Serialize)]
struct Data<'a> {
    id: String,
    cursor: String,
    sender: &'a str,
    kind: &'a str,
    route: To<'a>,
    #[serde(flatten)]
    said: Said<'a>,
    attrs: &'a Attrs,
    time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_ms: Option<u64>,
    stamps: Vec<Stamp<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum To<'a> {
    Everyone,
    Nobody,
    Only(&'a [String]),
}

#[derive(Serialize)]
struct Stamp<'a> {
    plugin: &'a str,
    version: &'a str,
    verdict: &'a str,
}

pub(super) fn body(events: &[Event]) -> Vec<u8> {
    json(&Events { events: events.iter().map(WebhookEvent::new).collect() })
}

impl<'a> WebhookEvent<'a> {
    fn new(event: &'a Event) -> Self {
        let message = &event.message;
        Self {
            id: message.id.to_string(),
            chat: event.chat.to_string(),
            cursor: event.cursor.to_string(),
            kind: &message.kind,
            sender: &message.sender,
            time_ms: message.time_ms,
            data: Data::new(message, event.cursor.to_string()),
        }
    }
}

impl<'a> Data<'a> {
    fn new(message: &'a Message, cursor: String) -> Self {
        let stamp = |stamp: &'a model::Stamp| Stamp {
            plugin: &stamp.plugin,
            version: &stamp.version,
            verdict: &stamp.verdict,
        };
        Self {
            id: message.id.to_string(),
            cursor,
            sender: &message.sender,
            kind: &message.kind,
            route: match &message.route {
                Route::Everyone => To::Everyone,
                Route::Nobody => To::Nobody,
                Route::Only(names) => To::Only(names),
            },
            said: Said::new(message),
            attrs: &message.attrs,
            time_ms: message.time_ms,
            sent_ms: message.sent_ms,
            stamps: message.stamps.iter().map(stamp).collect(),
        }
    }
}
