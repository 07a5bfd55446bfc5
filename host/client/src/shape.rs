//! What goes over and comes back, as a program wants it.
//!
//! Unknown fields are ignored here: a newer node may say more.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{Attrs, ChatToken, MessageId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A place in a chat's messages. Only equality means something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NewChat {
    /// How long it may last after it started, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration_s: Option<u64>,
    /// How many may be in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_participants: Option<u32>,
    /// Free pairs.
    #[serde(skip_serializing_if = "Attrs::is_empty")]
    pub attrs: Attrs,
}

/// A chat was created.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Created {
    /// Its name.
    #[serde(deserialize_with = "token")]
    pub token: ChatToken,
    /// Before its first message.
    pub cursor: Cursor,
    /// `pending`.
    pub status: String,
    /// When.
    pub created_ms: u64,
}

/// A chat as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Chat {
    /// Its name.
    #[serde(deserialize_with = "token")]
    pub token: ChatToken,
    /// `pending`, `started` or `ended`.
    pub status: String,
    /// Its last message.
    pub cursor: Cursor,
    /// When it was created.
    pub created_ms: u64,
    /// When it started.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How long it may last after it started, in seconds.
    pub max_duration_s: Option<u64>,
    /// How many may be in it.
    pub max_participants: Option<u32>,
    /// Who is in it.
    pub participants: Vec<Participant>,
    /// Free pairs.
    pub attrs: Attrs,
    /// The handlers that see its messages, with their versions.
    pub plugins: BTreeMap<String, String>,
}

/// Somebody in a chat.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Participant {
    /// Unique in its chat.
    pub id: String,
    /// As what they joined.
    pub role: String,
    /// `connected`, `disconnected` or `unavailable`.
    pub status: String,
    /// When they were last heard.
    pub heard_ms: u64,
    /// The how manieth to join.
    pub ordinal: u32,
    /// Free pairs.
    pub attrs: Attrs,
}

/// To whom a message goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// Everybody in the chat.
    #[default]
    Everyone,
    /// Nobody: recorded, never delivered.
    Nobody,
    /// The named participants.
    Only(Vec<String>),
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Text.
    Text(String),
    /// A JSON value, as its text.
    Json(String),
    /// Bytes of some media type.
    Bytes {
        /// What they are.
        media_type: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Nothing any more: it was taken back. Nobody sends that.
    Redacted {
        /// Who took it back; empty if they did not say.
        by: String,
        /// Why.
        reason: String,
        /// When.
        time_ms: u64,
    },
}

/// An object of the archive that a message refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The version, in decimal. Of an attachment to be sent it may be left out; what is stored has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Who sends it. A client with a token leaves it out: there the token says it.
    pub sender: String,
    /// What it is; `text` if nothing is said.
    pub kind: Option<String>,
    /// To whom it goes.
    pub route: Route,
    /// What it says.
    pub body: Body,
    /// What it refers to in the archive.
    pub archive: Option<Reference>,
    /// Free pairs.
    pub attrs: Attrs,
    /// The sender's clock, in Unix milliseconds.
    pub sent_ms: Option<u64>,
    /// The idempotency key; one is made if there is none.
    pub key: Option<String>,
    /// How many nodes must hold it before the answer; the commit quorum if nothing is said.
    pub acks: Option<u8>,
}

/// What one handler decided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stamp {
    /// The handler.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Its verdict.
    pub verdict: String,
}

/// A message as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique for ever.
    pub id: MessageId,
    /// Where it stands.
    pub cursor: Cursor,
    /// Who sent it.
    pub sender: String,
    /// What it is.
    pub kind: String,
    /// To whom it went.
    pub route: Route,
    /// What it says.
    pub body: Body,
    /// What it refers to in the archive.
    pub archive: Option<Reference>,
    /// Free pairs.
    pub attrs: Attrs,
    /// The chat's clock, in Unix milliseconds.
    pub time_ms: u64,
    /// The sender's clock.
    pub sent_ms: Option<u64>,
    /// What the handlers decided.
    pub stamps: Vec<Stamp>,
}

/// A message was stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// The message's id.
    #[serde(deserialize_with = "message_id")]
    pub id: MessageId,
    /// Where it stands.
    pub cursor: Cursor,
    /// The chat's clock, in Unix milliseconds.
    pub time_ms: u64,
    /// `quorum` or `local`.
    pub durability: String,
    /// What the handlers decided.
    pub stamps: Vec<Stamp>,
    /// As it is stored.
    pub message: Message,
    /// Whether it had been stored before, by an earlier try under the same key.
    #[serde(skip)]
    pub replay: bool,
}

/// Which messages to read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// Only what comes after; from the start if nothing is said.
    pub after: Option<Cursor>,
    /// Only what comes before.
    pub before: Option<Cursor>,
    /// At most so many.
    pub limit: Option<u16>,
    /// How long to wait for one.
    pub wait: Duration,
    /// Who reads. A client with a token leaves it out.
    pub reader: Option<String>,
    /// Includes everything that was done before the read began.
    pub confirmed: bool,
}

/// Messages in their order.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// Those that the reader may see.
    pub messages: Vec<Message>,
    /// Where to read on.
    pub cursor: Cursor,
    /// The chat's last message.
    pub head: Cursor,
    /// Whether there is more between the two.
    pub more: bool,
    /// The cursor that was asked for is of a message that is not in the chat any more: what was seen after this one was
    /// withdrawn, and these messages take its place.
    pub gap: Option<Cursor>,
}

/// A chat is over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ended {
    /// The chat's last message.
    pub cursor: Cursor,
    /// When it ended.
    pub ended_ms: u64,
}

/// Who holds a chat, and who should.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Owners {
    /// The chat's partition.
    pub partition: u16,
    /// Its epoch.
    pub epoch: u64,
    /// Who leads it.
    pub primary: Option<String>,
    /// Who holds it.
    pub ensemble: Vec<String>,
    /// Who should hold it.
    pub wanted: Vec<String>,
}

/// The ring as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ring {
    /// Rises with every change that the node sees.
    pub version: u64,
    /// How long ago it was last known to be true.
    pub stale_ms: u64,
    /// The nodes.
    pub nodes: Vec<RingNode>,
    /// Their positions, in ring order.
    pub positions: Vec<RingPosition>,
}

/// One node of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RingNode {
    /// Its name.
    pub id: String,
    /// Short name of its machine.
    pub hostname: String,
    /// Where it answers clients.
    pub http: String,
    /// Where it answers nodes.
    pub quic: String,
    /// Its failure domain, or nothing.
    pub zone: String,
    /// How many shares of the ring it has.
    pub weight: u32,
    /// `up` or `down`.
    pub state: String,
}

/// One position of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RingPosition {
    /// 32 hex digits.
    pub position: String,
    /// Whose it is.
    pub node: String,
}

/// A message in JSON, on its way out.
#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "is_everyone")]
    route: &'a Route,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<&'a Reference>,
    #[serde(skip_serializing_if = "Attrs::is_empty")]
    attrs: &'a Attrs,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_ms: Option<u64>,
}

/// Why a message says nothing any more, in JSON.
#[derive(Deserialize)]
struct Redacted {
    by: String,
    reason: String,
    time_ms: u64,
}

/// A message in JSON, as it comes.
#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(deserialize_with = "message_id")]
    id: MessageId,
    cursor: Cursor,
    sender: String,
    kind: String,
    route: Route,
    text: Option<String>,
    #[serde(borrow, default, deserialize_with = "any")]
    json: Option<&'a RawValue>,
    base64: Option<String>,
    media_type: Option<String>,
    redacted: Option<Redacted>,
    archive: Option<Reference>,
    #[serde(default)]
    attrs: Attrs,
    time_ms: u64,
    sent_ms: Option<u64>,
    #[serde(default)]
    stamps: Vec<Stamp>,
}

impl NewMessage {
    /// A text from somebody to everyone.
    pub fn text(sender: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            sender: sender.into(),
            kind: None,
            route: Route::Everyone,
            body: Body::Text(text.into()),
            archive: None,
            attrs: Attrs::new(),
            sent_ms: None,
            key: None,
            acks: None,
        }
    }

    /// As it is sent where a token says who sends it: `sender` is left out.
    pub(crate) fn unsigned(&self) -> Unsigned<'_> {
        Unsigned(self)
    }

    fn write<S: Serializer>(&self, sender: Option<&str>, to: S) -> Result<S::Ok, S::Error> {
        let mut outgoing = Outgoing {
            sender,
            kind: self.kind.as_deref(),
            route: &self.route,
            text: None,
            json: None,
            base64: None,
            media_type: None,
            archive: self.archive.as_ref(),
            attrs: &self.attrs,
            sent_ms: self.sent_ms,
        };
        match &self.body {
            Body::Text(text) => outgoing.text = Some(text),
            Body::Json(json) => {
                let value = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                outgoing.json = Some(value);
            }
            Body::Bytes { media_type, bytes } => {
                outgoing.base64 = Some(STANDARD.encode(bytes));
                outgoing.media_type = Some(media_type);
            }
            Body::Redacted { .. } => {
                let rule = "what was taken back cannot be sent";
                return Err(serde::ser::Error::custom(rule));
            }
        }
        outgoing.serialize(to)
    }
}

/// A message whose sender is said by a token.
#[derive(Debug)]
pub(crate) struct Unsigned<'a>(&'a NewMessage);

impl Serialize for NewMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write(Some(&self.sender), serializer)
    }
}

impl Serialize for Unsigned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(None, serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let incoming = Incoming::deserialize(deserializer)?;
        let body = match (incoming.text, incoming.json, incoming.base64, incoming.media_type) {
            (Some(text), ..) => Body::Text(text),
            (None, Some(json), ..) => Body::Json(json.get().to_owned()),
            (None, None, Some(base64), Some(media_type)) => {
                let bytes = STANDARD.decode(base64).map_err(D::Error::custom)?;
                Body::Bytes { media_type, bytes }
            }
            (None, None, ..) => match incoming.redacted {
                Some(Redacted { by, reason, time_ms }) => Body::Redacted { by, reason, time_ms },
                None => return Err(D::Error::custom("a message without a body")),
            },
        };
        Ok(Self {
            id: incoming.id,
            cursor: incoming.cursor,
            sender: incoming.sender,
            kind: incoming.kind,
            route: incoming.route,
            body,
            archive: incoming.archive,
            attrs: incoming.attrs,
            time_ms: incoming.time_ms,
            sent_ms: incoming.sent_ms,
            stamps: incoming.stamps,
        })
    }
}

fn is_everyone(route: &Route) -> bool {
    *route == Route::Everyone
}

/// A value that is there, whatever it is; serde's own takes `null` for nothing.
fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

fn token<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChatToken, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(D::Error::custom)
}

fn message_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MessageId, D::Error> {
    let text = String::deserialize(deserializer)?;
    MessageId::parse(&text).ok_or_else(|| D::Error::custom("a message id is 32 hex digits"))
}

#[cfg(test)]
mod tests {
    use super::{Body, Message, NewMessage, Reference, Route};
    use serde_json::json;

    #[test]
    fn a_plain_text_needs_two_fields() {
        let message = NewMessage::text("alice", "hi");
        let shown = serde_json::to_value(&message).unwrap();
        assert_eq!(shown, json!({"sender": "alice", "text": "hi"}));
        assert_eq!(serde_json::to_value(message.unsigned()).unwrap(), json!({"text": "hi"}));
    }

    #[test]
    fn what_was_sent_is_read_again() {
        let bodies = [
            Body::Text("hi".to_owned()),
            Body::Json("null".to_owned()),
            Body::Bytes { media_type: "image/png".to_owned(), bytes: vec![0, 255] },
        ];
        for body in bodies {
            let mut message = NewMessage::text("alice", "");
            message.body = body;
            let (collection, key) = ("attachments".to_owned(), "t/bell.jpg".to_owned());
            let version = Some("7".to_owned());
            message.archive = Some(Reference { collection, key, version });
            message.route = Route::Only(vec!["bob".to_owned()]);
            let mut shown = serde_json::to_value(&message).unwrap();
            shown["id"] = json!("00".repeat(16));
            shown["cursor"] = json!("1-1");
            shown["kind"] = json!("text");
            shown["time_ms"] = json!(5);
            shown["newer_field"] = json!({});
            let read: Message = serde_json::from_str(&shown.to_string()).unwrap();
            assert_eq!((read.body, read.route), (message.body, message.route));
            assert_eq!(read.archive, message.archive);
        }
    }
}
