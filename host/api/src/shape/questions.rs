//! What clients send.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use model::Attrs;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::RouteShape;

/// A new chat.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewChat {
    /// How long it may last after it started, in seconds; 0 and nothing: for ever.
    pub(crate) max_duration_s: Option<u64>,
    /// How many may be in it at once.
    #[schema(minimum = 1)]
    pub(crate) max_participants: Option<u32>,
    /// Free pairs.
    #[serde(default)]
    #[schema(value_type = HashMap<String, String>)]
    pub(crate) attrs: Attrs,
}

/// Somebody joins, or changes role and pairs.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMember {
    /// As what they join.
    pub(crate) role: Option<String>,
    /// Free pairs.
    #[serde(default)]
    #[schema(value_type = HashMap<String, String>)]
    pub(crate) attrs: Attrs,
}

/// Who ends a chat.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ending {
    /// Who ends it, if they want to say so; with a token it must be left out.
    pub(crate) sender: Option<String>,
}

/// Why a message is taken back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redacting {
    /// Why: at most 512 bytes. Whoever reads the message is shown it.
    pub(crate) reason: Option<String>,
    /// Who takes it back, if they want to say so; with a token it must be left out.
    pub(crate) sender: Option<String>,
    /// The message's cursor: with it the message is found at once, however long the chat is.
    pub(crate) cursor: Option<String>,
}

/// A message. Exactly one of `text`, `json` and `base64` is its body; with `archive` all may be left out, which is an empty
/// text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sender": "alice", "text": "hello"}))]
pub(crate) struct NewMessage<'a> {
    /// Who sends it: required where authentication is open; elsewhere the token says it, and this must be
    /// left out.
    pub(crate) sender: Option<String>,
    /// What it is; `text` if nothing is said.
    pub(crate) kind: Option<String>,
    /// To whom it goes; `"everyone"` if nothing is said.
    pub(crate) route: Option<RouteShape>,
    /// The body, as text.
    pub(crate) text: Option<String>,
    /// The body, as any JSON value, `null` too.
    #[serde(borrow, default, deserialize_with = "any")]
    #[schema(value_type = Value)]
    pub(crate) json: Option<&'a RawValue>,
    /// The body, as bytes in base64 with padding.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub(crate) base64: Option<Cow<'a, str>>,
    /// What the bytes of `base64` are.
    pub(crate) media_type: Option<String>,
    /// What it refers to in the archive; then it needs no body.
    #[serde(default, deserialize_with = "object")]
    pub(crate) archive: Option<Box<NewReference>>,
    /// The sender's clock, in Unix milliseconds.
    pub(crate) sent_ms: Option<u64>,
    /// Free pairs.
    #[serde(default)]
    #[schema(value_type = HashMap<String, String>)]
    pub(crate) attrs: Attrs,
}

/// What a message is to refer to in the archive. In `attachments` the key begins with the chat's token and a `/`, and the object must be
/// there; it goes with the message. Anything else is stored as it is said, and looked at by nobody.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"collection": "attachments", "key": "0123456789abcdef0123456789abcdef/bell.jpg"}))]
pub(crate) struct NewReference {
    /// The collection.
    pub(crate) collection: String,
    /// The key.
    pub(crate) key: String,
    /// The version, in decimal. In `attachments` it may be left out: then it is the newest that there is, and the message says
    /// which.
    pub(crate) version: Option<String>,
}

/// The fields of a message that can be its body.
#[derive(Debug)]
pub(crate) struct NewBody<'a> {
    pub(crate) text: Option<String>,
    pub(crate) json: Option<&'a RawValue>,
    pub(crate) base64: Option<Cow<'a, str>>,
    pub(crate) media_type: Option<String>,
}

impl NewBody<'_> {
    /// Whether none of them is there.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { text, json, base64, media_type } = self;
        text.is_none() && json.is_none() && base64.is_none() && media_type.is_none()
    }
}

/// A value that is there, whatever it is. Serde's own takes `null` for nothing.
fn any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// An object or nothing. Serde's own would also take a list of its values.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    deserializer.deserialize_any(Object(PhantomData))
}
