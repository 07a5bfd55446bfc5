//! Events as a Matrix home server sends them to its application services.
//!
//! A text is an `m.room.message`, every other kind is `carillon.KIND`. A Matrix event's content is an
//! object: JSON that is one stands there as it is, and everything else under the name it has for clients; so does JSON beside which a
//! message refers to the archive.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::{Events, Refers, Said, json};
use crate::{Event, Names, TransactionId};

/// What asks a service whether it is there.
pub(super) const PING: &str = "/_matrix/app/v1/ping";

#[derive(Serialize)]
struct MatrixEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    room_id: String,
    event_id: String,
    sender: String,
    origin_server_ts: u64,
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text {
        msgtype: &'static str,
        body: &'a str,
        #[serde(rename = "carillon.archive", skip_serializing_if = "Option::is_none")]
        archive: Option<Refers<'a>>,
    },
    Object(&'a RawValue),
    Said(Said<'a>),
}

#[derive(Serialize)]
struct Ping {
    transaction_id: String,
}

pub(super) fn path(id: &TransactionId) -> String {
    format!("/_matrix/app/v1/transactions/{id}")
}

pub(super) fn body(events: &[Event], names: &Names) -> Vec<u8> {
    json(&Events { events: events.iter().map(|event| MatrixEvent::new(event, names)).collect() })
}

pub(super) fn ping(id: &TransactionId) -> Vec<u8> {
    json(&Ping { transaction_id: id.to_string() })
}

impl<'a> MatrixEvent<'a> {
    fn new(event: &'a Event, names: &Names) -> Self {
        let message = &event.message;
        let cluster = &names.cluster;
        let said = Said::new(message);
        let (kind, content) = match said {
            Said { text: Some(body), archive, .. } if message.kind == "text" => {
                ("m.room.message".to_owned(), Content::Text { msgtype: "m.text", body, archive })
            }
            Said { json: Some(value), archive: None, .. }
                if value.get().trim_start().starts_with('{') =>
            {
                (named(&message.kind), Content::Object(value))
            }
            said => (named(&message.kind), Content::Said(said)),
        };
        Self {
            kind,
            room_id: format!("!{}:{cluster}", event.chat),
            event_id: format!("${}", message.id),
            sender: format!("@{}:{cluster}", message.sender),
            origin_server_ts: message.time_ms,
            content,
        }
    }
}

fn named(kind: &str) -> String {
    format!("carillon.{kind}")
}
