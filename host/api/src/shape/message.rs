//! A message as clients see it, in every answer that has one.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chat::{Durability, Page, Sent, Stored};
use model::{Attrs, Body, ChatToken, Cursor, Message, MessageId, Redaction, Reference, Route};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{ArchiveShape, Shown};

/// To whom a message goes: `"everyone"`, `"nobody"` or `{"only": ["bob"]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Route)]
pub(crate) enum RouteShape {
    /// Everybody in the chat.
    Everyone,
    /// Nobody: recorded, never delivered.
    Nobody,
    /// The named participants.
    Only(Vec<String>),
}

/// What one handler decided.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stamp)]
pub(crate) struct StampShape<'a> {
    /// The handler.
    plugin: &'a str,
    /// Its version.
    version: &'a str,
    /// `pass`, `accept`, `rewrite`, `hold`, or `skipped` when it failed and may be skipped.
    verdict: &'a str,
}

/// A message as it is stored. One of `text`, `json` and `base64` is there, or `redacted`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct MessageShape<'a> {
    /// Unique for ever.
    #[schema(value_type = String)]
    id: Shown<MessageId>,
    /// Where it stands.
    #[schema(value_type = String)]
    cursor: Shown<Cursor>,
    /// Who sent it; `system` for the node itself and for plugins.
    sender: &'a str,
    /// What it is.
    kind: &'a str,
    /// To whom it went.
    route: RouteShape,
    /// The body, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The body, as a JSON value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    json: Option<&'a RawValue>,
    /// The body, as bytes in base64 with padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// What the bytes are.
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    /// Why it says nothing any more, if what it said was taken back: it has no attributes then either.
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<RedactionShape<'a>>,
    /// What it refers to in the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<ReferenceShape<'a>>,
    /// Free pairs.
    #[schema(value_type = HashMap<String, String>)]
    attrs: &'a Attrs,
    /// The chat's clock, in Unix milliseconds; for display only.
    time_ms: u64,
    /// The sender's clock, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_ms: Option<u64>,
    /// What the handlers decided, in their order.
    stamps: Vec<StampShape<'a>>,
}

/// An object of the archive.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reference)]
pub(crate) struct ReferenceShape<'a> {
    /// The collection.
    collection: &'a str,
    /// The key.
    key: &'a str,
    /// The version, in decimal.
    #[schema(value_type = String)]
    version: Shown<u64>,
}

/// Why a message says nothing any more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redaction)]
pub(crate) struct RedactionShape<'a> {
    /// Who took it back; empty if they did not say.
    by: &'a str,
    /// Why, in words; may be empty.
    reason: &'a str,
    /// When, on the chat's clock, in Unix milliseconds.
    time_ms: u64,
}

/// A message was taken back, now or before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Redacted)]
pub(crate) struct RedactedShape<'a> {
    /// As everybody is shown it from now on.
    message: MessageShape<'a>,
    /// The object of the archive that still has what it said, where the chat was archived before.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<ArchiveShape>,
}

/// A message was stored.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sent)]
pub(crate) struct SentShape<'a> {
    /// The message's id.
    #[schema(value_type = String)]
    id: Shown<MessageId>,
    /// Where it stands.
    #[schema(value_type = String)]
    cursor: Shown<Cursor>,
    /// The chat's clock, in Unix milliseconds.
    time_ms: u64,
    /// The sender's clock minus the chat's, if the sender said what it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    skew_ms: Option<i64>,
    /// `quorum`: it survives the loss of a node. `local`: as few hold it as were asked for.
    #[schema(value_type = String)]
    durability: Durability,
    /// What the handlers decided, in their order.
    stamps: Vec<StampShape<'a>>,
    /// As it is stored: a handler may have rewritten it.
    message: MessageShape<'a>,
    /// The messages that handlers added.
    #[schema(value_type = Vec<String>)]
    also: Vec<Shown<MessageId>>,
}

/// Messages in their order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Page)]
pub(crate) struct PageShape<'a> {
    /// Those that the reader may see.
    messages: Vec<MessageShape<'a>>,
    /// Where to read on; counts hidden messages too.
    #[schema(value_type = String)]
    cursor: Shown<Cursor>,
    /// The chat's last message.
    #[schema(value_type = String)]
    head: Shown<Cursor>,
    /// Whether there is more between `cursor` and `head`.
    more: bool,
    /// There only where the cursor in `after` is of a message that is not in the chat any more: what was seen after this one was
    /// withdrawn, and these messages take its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    gap: Option<Shown<Cursor>>,
}

/// What was seen after `after` was withdrawn.
#[derive(Debug, Serialize)]
pub(crate) struct GapShape {
    after: Shown<Cursor>,
}

impl GapShape {
    pub(crate) fn new(after: Cursor) -> Self {
        Self { after: Shown(after) }
    }
}

/// Two words and one list, each written in one way. Serde's own would also take the words for objects with
/// nothing in them, which nobody means.
impl<'de> Deserialize<'de> for RouteShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RouteVisitor)
    }
}

struct RouteVisitor;

impl<'de> Visitor<'de> for RouteVisitor {
    type Value = RouteShape;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(r#""everyone", "nobody" or {"only": [names]}"#)
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RouteShape, E> {
        match word {
            "everyone" => Ok(RouteShape::Everyone),
            "nobody" => Ok(RouteShape::Nobody),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RouteShape, A::Error> {
        let rule = || A::Error::custom(r#"an object here is {"only": [names]}"#);
        if map.next_key::<Cow<'_, str>>()?.as_deref() != Some("only") {
            return Err(rule());
        }
        let names = map.next_value()?;
        match map.next_key::<Cow<'_, str>>()? {
            None => Ok(RouteShape::Only(names)),
            Some(_) => Err(rule()),
        }
    }
}

impl From<RouteShape> for Route {
    fn from(shape: RouteShape) -> Self {
        match shape {
            RouteShape::Everyone => Self::Everyone,
            RouteShape::Nobody => Self::Nobody,
            RouteShape::Only(names) => Self::Only(names),
        }
    }
}

impl From<&Route> for RouteShape {
    fn from(route: &Route) -> Self {
        match route {
            Route::Everyone => Self::Everyone,
            Route::Nobody => Self::Nobody,
            Route::Only(names) => Self::Only(names.clone()),
        }
    }
}

impl<'a> MessageShape<'a> {
    /// The message at `cursor`.
    pub(crate) fn new(message: &'a Message, cursor: Cursor) -> Self {
        let mut shape = Self {
            id: Shown(message.id),
            cursor: Shown(cursor),
            sender: &message.sender,
            kind: &message.kind,
            route: RouteShape::from(&message.route),
            text: None,
            json: None,
            base64: None,
            media_type: None,
            redacted: None,
            archive: message.archive.as_deref().map(ReferenceShape::new),
            attrs: &message.attrs,
            time_ms: message.time_ms,
            sent_ms: message.sent_ms,
            stamps: stamps(message),
        };
        match &message.body {
            Body::Text(text) => shape.text = Some(text),
            // What is stored was checked when it came, from a client or from a handler. Were it broken
            // all the same, the reader would see its text.
            Body::Json(json) => match serde_json::from_str(json) {
                Ok(value) => shape.json = Some(value),
                Err(_not_json) => shape.text = Some(json),
            },
            Body::Bytes { media_type, bytes } => {
                shape.base64 = Some(STANDARD.encode(bytes));
                shape.media_type = Some(media_type);
            }
            Body::Redacted(why) => {
                let Redaction { by, reason, time_ms } = why.as_ref();
                shape.redacted = Some(RedactionShape { by, reason, time_ms: *time_ms });
            }
        }
        shape
    }
}

impl<'a> ReferenceShape<'a> {
    fn new(reference: &'a Reference) -> Self {
        let Reference { collection, key, version } = reference;
        Self { collection, key, version: Shown(*version) }
    }
}

impl<'a> RedactedShape<'a> {
    /// A message of `chat`, which was archived as `archive` if it was.
    pub(crate) fn new(chat: ChatToken, stored: &'a Stored, archive: Option<u64>) -> Self {
        Self {
            message: MessageShape::new(&stored.message, stored.cursor),
            archive: archive.map(|version| ArchiveShape::new(chat, Some(version))),
        }
    }
}

impl<'a> SentShape<'a> {
    pub(crate) fn new(sent: &'a Sent) -> Self {
        Self {
            id: Shown(sent.message.id),
            cursor: Shown(sent.cursor),
            time_ms: sent.message.time_ms,
            skew_ms: sent.skew_ms,
            durability: sent.durability,
            stamps: stamps(&sent.message),
            message: MessageShape::new(&sent.message, sent.cursor),
            also: sent.also.iter().copied().map(Shown).collect(),
        }
    }
}

impl<'a> PageShape<'a> {
    pub(crate) fn new(page: &'a Page) -> Self {
        let shown = |stored: &'a Stored| MessageShape::new(&stored.message, stored.cursor);
        Self {
            messages: page.messages.iter().map(shown).collect(),
            cursor: Shown(page.cursor),
            head: Shown(page.head),
            more: page.more,
            gap: page.gap.map(Shown),
        }
    }
}

fn stamps(message: &Message) -> Vec<StampShape<'_>> {
    message
        .stamps
        .iter()
        .map(|stamp| StampShape {
            plugin: &stamp.plugin,
            version: &stamp.version,
            verdict: &stamp.verdict,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{MessageShape, RouteShape};
    use model::{Attrs, Body, Cursor, Message, MessageId, Redaction, Reference, Route, Stamp};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn shown(body: Body) -> Value {
        referring(body, None)
    }

    fn referring(body: Body, archive: Option<Reference>) -> Value {
        let message = Message {
            id: MessageId([0xab; 16]),
            sender: "alice".to_owned(),
            kind: "text".to_owned(),
            route: Route::Only(vec!["bob".to_owned()]),
            body,
            archive: archive.map(Arc::new),
            attrs: Attrs::new(),
            time_ms: 5,
            sent_ms: None,
            stamps: vec![Stamp {
                plugin: "status".to_owned(),
                version: "1".to_owned(),
                verdict: "pass".to_owned(),
            }],
        };
        let shape = MessageShape::new(&message, Cursor { epoch: 1, seq: 10 });
        serde_json::to_value(&shape).unwrap()
    }

    #[test]
    fn a_message_has_the_names_clients_know() {
        let expected = json!({
            "id": "abababababababababababababababab", "cursor": "1-a", "sender": "alice",
            "kind": "text", "route": {"only": ["bob"]}, "text": "hi", "attrs": {}, "time_ms": 5,
            "stamps": [{"plugin": "status", "version": "1", "verdict": "pass"}],
        });
        assert_eq!(shown(Body::Text("hi".to_owned())), expected);
    }

    #[test]
    fn what_a_message_refers_to_is_named_exactly() {
        let (collection, key) = ("attachments".to_owned(), "t/bell.jpg".to_owned());
        let archive = Reference { collection, key, version: u64::MAX };
        let message = referring(Body::Text("look".to_owned()), Some(archive));
        let expected = json!({
            "collection": "attachments", "key": "t/bell.jpg", "version": "18446744073709551615",
        });
        assert_eq!((&message["archive"], &message["text"]), (&expected, &json!("look")));
        assert_eq!(shown(Body::Text("look".to_owned())).get("archive"), None);
    }

    #[test]
    fn json_comes_out_as_it_went_in() {
        let json = "{\"big\":123456789012345678901234567890,\"b\":1,\"a\":null}";
        let message = shown(Body::Json(json.to_owned()));
        assert_eq!(message["json"]["a"], Value::Null);
        assert!(message.get("text").is_none());
    }

    #[test]
    fn bytes_come_out_in_base64_with_their_type() {
        let body = Body::Bytes { media_type: "image/png".to_owned(), bytes: vec![0, 255] };
        let message = shown(body);
        assert_eq!(
            (&message["base64"], &message["media_type"]),
            (&json!("AP8="), &json!("image/png"))
        );
    }

    #[test]
    fn what_was_taken_back_says_why_and_nothing_else() {
        let why = Redaction { by: "bob".into(), reason: "private".into(), time_ms: 9 };
        let message = shown(Body::Redacted(Arc::new(why)));
        let expected = json!({"by": "bob", "reason": "private", "time_ms": 9});
        assert_eq!((&message["redacted"], &message["sender"]), (&expected, &json!("alice")));
        for body in ["text", "json", "base64", "media_type"] {
            assert_eq!(message.get(body), None, "{body}");
        }
    }

    #[test]
    fn a_route_is_a_word_or_a_list() {
        let read = |text| serde_json::from_str::<RouteShape>(text).ok();
        assert_eq!(read("\"everyone\""), Some(RouteShape::Everyone));
        assert_eq!(read("{\"only\":[\"bob\"]}"), Some(RouteShape::Only(vec!["bob".to_owned()])));
        for bad in [
            "\"only\"",
            "\"all\"",
            "{\"only\":\"bob\"}",
            "{\"only\":{}}",
            "{\"only\":null}",
            "{\"only\":[\"bob\"],\"only\":[\"eve\"]}",
            "{\"everyone\":1}",
            "{\"everyone\":null}",
            "{\"nobody\":null}",
            "{\"nobody\":[]}",
            "[\"everyone\"]",
            "[]",
            "{}",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
