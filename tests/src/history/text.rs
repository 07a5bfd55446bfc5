//! How names and places stand in a line of a history: as the text that clients see.

use std::fmt::Display;

use model::{ChatToken, Cursor, MessageId};
use serde::{Deserialize, Deserializer, Serializer, de};

use super::{Content, Seen};

/// What has a text from which it can be read again.
pub(super) trait Text: Display + Sized {
    /// What the text says, or what was wanted.
    fn read(text: &str) -> Result<Self, &'static str>;
}

impl Text for ChatToken {
    fn read(text: &str) -> Result<Self, &'static str> {
        text.parse().map_err(|_none| "a chat token")
    }
}

impl Text for Cursor {
    fn read(text: &str) -> Result<Self, &'static str> {
        text.parse().map_err(|_none| "a cursor")
    }
}

impl Text for MessageId {
    fn read(text: &str) -> Result<Self, &'static str> {
        Self::parse(text).ok_or("a message id")
    }
}

impl Text for Content {
    fn read(text: &str) -> Result<Self, &'static str> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_none| "a content")
    }
}

impl Text for Seen {
    fn read(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split(' ');
        let mut part = || parts.next().unwrap_or_default();
        Ok(Self {
            cursor: Text::read(part())?,
            id: Text::read(part())?,
            content: Text::read(part())?,
        })
    }
}

/// For serde's `with`: one value.
pub(super) mod one {
    use super::{Deserialize, Deserializer, Serializer, Text, de};

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).map_err(|wanted| de::Error::custom(format!("{text:?} is not {wanted}")))
    }
}

/// For serde's `with`: a value or nothing.
pub(super) mod maybe {
    use super::{Deserialize, Deserializer, Serializer, Text, de};

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let value = T::read(&text);
        value.map(Some).map_err(|wanted| de::Error::custom(format!("{text:?} is not {wanted}")))
    }
}

/// For serde's `with`: many values.
pub(super) mod many {
    use super::{Deserialize, Deserializer, Serializer, Text, de};

    pub(in super::super) fn serialize<T: Text, S: Serializer>(
        values: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(in super::super) fn deserialize<'de, T: Text, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let values = texts.iter().map(|text| T::read(text)).collect::<Result<_, _>>();
        values.map_err(|wanted| de::Error::custom(format!("not {wanted}")))
    }
}
