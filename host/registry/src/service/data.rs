//! What stands in a registration, and the bytes it becomes.
//!
//! Whatever a program puts becomes one JSON object with `pid` and `created` in it; whatever stands in
//! the registry becomes an object again, also what another program put there as plain text. The rules
//! are those that programs in other languages already follow; they are in `docs/service-registry.md`.

use serde_json::Value;

use super::calendar;

/// A JSON object.
pub type Map = serde_json::Map<String, Value>;

/// What a program wants to stand in its registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Data {
    /// Only who and since when.
    #[default]
    Nothing,
    /// A text, which stands under `string_value`.
    Text(String),
    /// Keys of its own; `pid` and `created` among them win over the real ones.
    Map(Map),
}

/// What every registration of this process begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) pid: u32,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    pub(crate) created: String,
}

const PID: &str = "pid";
const CREATED: &str = "created";
const STRING_VALUE: &str = "string_value";

impl Stamp {
    /// Of this process, now.
    pub(crate) fn now() -> Self {
        Self { pid: std::process::id(), created: calendar::created(runtime::wall_ms()) }
    }
}

impl Data {
    /// `text` as a person types it: an object when it is one, nothing when it is empty, else a text.
    pub fn parse(text: &str) -> Self {
        match decode(text.as_bytes()) {
            None => Self::Nothing,
            Some(map) => Self::Map(map),
        }
    }

    /// What the program itself said.
    pub(crate) fn own(&self) -> Map {
        match self {
            Self::Nothing => Map::new(),
            Self::Text(text) => {
                Map::from_iter([(STRING_VALUE.to_owned(), Value::String(text.clone()))])
            }
            Self::Map(map) => map.clone(),
        }
    }

    /// The bytes: compact, `pid` and `created` first.
    pub(crate) fn encode(&self, stamp: &Stamp) -> Vec<u8> {
        let mut own = self.own();
        let pid = own.remove(PID).unwrap_or_else(|| stamp.pid.into());
        let created = own.remove(CREATED).unwrap_or_else(|| stamp.created.as_str().into());
        let mut text = format!("{{\"{PID}\":{pid},\"{CREATED}\":{created}");
        for (key, value) in own {
            text.push_str(&format!(",{}:{value}", Value::String(key)));
        }
        text.push('}');
        text.into_bytes()
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Map> for Data {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

/// What these bytes say: nothing for no bytes, an object for an object, else an object with the text
/// under `string_value`. Bytes that are no UTF-8 come out with replacement characters.
pub fn decode(bytes: &[u8]) -> Option<Map> {
    if bytes.is_empty() {
        return None;
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    if text.is_empty() {
        return Some(Map::new());
    }
    if text.starts_with('{')
        && text.ends_with('}')
        && let Ok(map) = serde_json::from_str(text)
    {
        return Some(map);
    }
    Some(Data::from(text).own())
}

/// Whether what stands there says the same as `own`, whoever wrote it and whenever.
pub(crate) fn says(stands: Option<&Map>, own: &Map) -> bool {
    let Some(stands) = stands else { return false };
    let added = |key: &str| (key == PID || key == CREATED) && !own.contains_key(key);
    stands.iter().filter(|(key, _)| !added(key)).eq(own.iter())
}

#[cfg(test)]
mod tests {
    use super::{Data, Map, Stamp, decode, says};
    use serde_json::json;

    fn map(value: serde_json::Value) -> Map {
        value.as_object().unwrap().clone()
    }

    fn encoded(data: &Data) -> String {
        let stamp = Stamp { pid: 11185, created: "2026-11-21 21:31:27".to_owned() };
        String::from_utf8(data.encode(&stamp)).unwrap()
    }

    #[test]
    fn what_is_put_becomes_an_object_with_pid_and_created() {
        let stamp = r#""pid":11185,"created":"2026-11-21 21:31:27""#;
        assert_eq!(encoded(&Data::Nothing), format!("{{{stamp}}}"));
        assert_eq!(encoded(&Data::Map(Map::new())), format!("{{{stamp}}}"));
        let hello = Data::from("hello");
        assert_eq!(encoded(&hello), format!(r#"{{{stamp},"string_value":"hello"}}"#));
        let foo = Data::Map(map(json!({"foo": "bar"})));
        assert_eq!(encoded(&foo), format!(r#"{{{stamp},"foo":"bar"}}"#));
    }

    #[test]
    fn keys_of_the_program_win() {
        let data = Data::Map(map(json!({"pid": 1})));
        assert_eq!(encoded(&data), r#"{"pid":1,"created":"2026-11-21 21:31:27"}"#);
        let data = Data::Map(map(json!({"created": null, "q\"": [1]})));
        assert_eq!(encoded(&data), r#"{"pid":11185,"created":null,"q\"":[1]}"#);
    }

    #[test]
    fn what_stands_there_becomes_an_object_or_nothing() {
        let text = |text: &str| Some(map(json!({ "string_value": text })));
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"  "), Some(Map::new()));
        assert_eq!(decode(b"foo\n"), text("foo"));
        assert_eq!(decode(b"{bad}"), text("{bad}"));
        assert_eq!(decode(b"[1,2]"), text("[1,2]"));
        assert_eq!(decode(b"12"), text("12"));
        assert_eq!(decode(b"{}"), Some(Map::new()));
        assert_eq!(decode(b" {\"a\": 1}\n"), Some(map(json!({"a": 1}))));
        assert_eq!(decode(b"\xff"), text("\u{fffd}"));
        // Deeper than a parser goes: a text, and no fall.
        let deep = format!("{}{}", "{\"a\":".repeat(5000), "}".repeat(5000));
        assert_eq!(decode(deep.as_bytes()), text(&deep));
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let own = map(json!({"a": {"b": [null, true, "ü"]}, "n": 18_446_744_073_709_551_615_u64}));
        let decoded = decode(encoded(&Data::Map(own.clone())).as_bytes()).unwrap();
        assert!(says(Some(&decoded), &own));
        assert_eq!(decoded["pid"], json!(11185));
    }

    #[test]
    fn only_what_the_program_said_is_compared() {
        let own = map(json!({"a": 1}));
        assert!(says(Some(&map(json!({"a": 1, "pid": 7, "created": "long ago"}))), &own));
        assert!(!says(Some(&map(json!({"a": 2, "pid": 7}))), &own));
        assert!(!says(Some(&map(json!({"a": 1, "b": 1}))), &own));
        assert!(!says(Some(&map(json!({}))), &own));
        assert!(!says(None, &Map::new()));
        assert!(!says(Some(&map(json!({"pid": 8}))), &map(json!({"pid": 7}))));
    }

    #[test]
    fn what_a_person_types_is_read_like_what_stands_there() {
        assert_eq!(Data::parse(""), Data::Nothing);
        assert_eq!(Data::parse("{\"a\":1}"), Data::Map(map(json!({"a": 1}))));
        assert_eq!(Data::parse("hello").own(), Data::from("hello").own());
    }
}
