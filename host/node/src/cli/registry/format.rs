//! How an entry is printed.

use clap::ValueEnum;
use registry::service::Entry;
use serde_json::Value;

/// How an entry is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object on one line
    Json,
    /// The same as YAML
    Yaml,
    /// The names of the children, one a line
    Dir,
}

impl Format {
    /// The text, without the last line break.
    pub(super) fn text(self, entry: &Entry) -> String {
        let json = serde_json::to_value(entry).unwrap_or_default();
        match self {
            Self::Json => serde_json::to_string(entry).unwrap_or_default(),
            Self::Yaml => {
                let mut text = String::from("---");
                yaml(&json, 0, &mut text);
                text
            }
            Self::Dir => entry.children.keys().map(String::as_str).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Puts `value` behind what is there, `depth` levels in. Texts are quoted as JSON quotes them, which is
/// also YAML, so that none is mistaken for a number or a date.
fn yaml(value: &Value, depth: usize, text: &mut String) {
    let indent = |text: &mut String| {
        text.push('\n');
        (0..depth).for_each(|_| text.push_str("  "));
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(text);
                text.push_str(&Value::from(key.as_str()).to_string());
                text.push(':');
                yaml(value, depth + 1, text);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for value in list {
                indent(text);
                text.push('-');
                yaml(value, depth + 1, text);
            }
        }
        plain => {
            text.push(' ');
            text.push_str(&plain.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, yaml};
    use registry::service::{Entry, decode};
    use serde_json::json;

    fn entry() -> Entry {
        Entry {
            path: "/a".to_owned(),
            data: decode(b"{\"x\":1}"),
            stat: None,
            children: [("b".to_owned(), None), ("c".to_owned(), decode(b"no: 1"))].into(),
            stale: false,
            age_ms: 0,
        }
    }

    #[test]
    fn json_is_one_line_in_the_documented_order() {
        assert_eq!(
            Format::Json.text(&entry()),
            r#"{"path":"/a","data":{"x":1},"stat":null,"children":{"b":null,"c":{"string_value":"no: 1"}},"stale":false,"age_ms":0}"#
        );
    }

    #[test]
    fn names_are_one_a_line() {
        assert_eq!(Format::Dir.text(&entry()), "b\nc");
    }

    #[test]
    fn yaml_quotes_what_could_be_mistaken() {
        let mut text = String::new();
        yaml(&json!({"a": {"y": ["1", 1, []], "z": {}}}), 0, &mut text);
        assert_eq!(text, "\n\"a\":\n  \"y\":\n    - \"1\"\n    - 1\n    - []\n  \"z\": {}");
        assert!(Format::Yaml.text(&entry()).starts_with("---\n\"age_ms\": 0\n"));
    }
}
