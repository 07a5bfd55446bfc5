//! The fields of a request: those of its query, and those that were posted.
//!
//! What is posted is kept as it is signed: by name, each value once. So nobody can say something else with the same
//! signature by saying it twice, or in another order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Bytes of what is posted: Twilio posts a few KiB.
pub(crate) const FORM_BYTES_MAX: usize = 64 << 10;
/// Fields of a query, or of what is posted. The longest that Twilio posts, with the media of a message, has about fifty.
const FIELDS_MAX: usize = 256;

/// Too many fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// What was posted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(BTreeMap<String, BTreeSet<String>>);

impl Fields {
    /// Of a form.
    pub(super) fn posted(form: &[u8]) -> Result<Self, TooMany> {
        let mut fields = Self::default();
        for (name, value) in pairs(form)? {
            fields.0.entry(name).or_default().insert(value);
        }
        Ok(fields)
    }

    /// By name, and of one name by value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(name, values)| {
            values.iter().map(move |value| (name.as_str(), value.as_str()))
        })
    }
}

/// The pairs of a query or form, in their order.
pub(super) fn pairs(text: &[u8]) -> Result<Vec<(String, String)>, TooMany> {
    let mut pairs = Vec::new();
    for (name, value) in form_urlencoded::parse(text) {
        if pairs.len() == FIELDS_MAX {
            return Err(TooMany);
        }
        pairs.push((name.into_owned(), value.into_owned()));
    }
    Ok(pairs)
}

/// The members of a JSON object, as fields: texts as they are, everything else as JSON. `None`: it is none, or has too
/// many.
pub(super) fn members(body: &[u8]) -> Option<Vec<(String, String)>> {
    let members: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let field = |(name, value)| match value {
        Value::String(text) => (name, text),
        other => (name, other.to_string()),
    };
    (members.len() <= FIELDS_MAX).then(|| members.into_iter().map(field).collect())
}

#[cfg(test)]
mod tests {
    use super::{FIELDS_MAX, Fields, TooMany, members, pairs};

    #[test]
    fn a_field_that_is_posted_twice_is_there_once() {
        let fields = Fields::posted(b"b=2&a=+1%2B&b=1&b=2&a=").unwrap();
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [("a", ""), ("a", " 1+"), ("b", "1"), ("b", "2")]);
        assert_eq!(Fields::posted(b""), Ok(Fields::default()));
    }

    #[test]
    fn so_many_fields_and_no_more() {
        let most = "a&".repeat(FIELDS_MAX);
        assert_eq!(pairs(most.as_bytes()).map(|pairs| pairs.len()), Ok(FIELDS_MAX));
        assert_eq!(pairs(format!("{most}a").as_bytes()), Err(TooMany));
        assert_eq!(Fields::posted("a&".repeat(FIELDS_MAX + 1).as_bytes()), Err(TooMany));
    }

    #[test]
    fn a_json_object_has_fields_too() {
        let fields = members(br#"{"a": "x", "n": 1, "o": {"b": []}}"#).unwrap();
        let texts: Vec<_> = fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(texts, [("a", "x"), ("n", "1"), ("o", r#"{"b":[]}"#)]);
        for bad in [&b"[]"[..], b"", b"\"a\"", b"{"] {
            assert_eq!(members(bad), None);
        }
    }
}
