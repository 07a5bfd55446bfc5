//! `[plugins.archive.config]`.

use serde_json::{Map, Value};

/// Most kinds: the host takes no more.
const KINDS_MAX: usize = 64;

/// Longest kind.
const KIND_BYTES_MAX: usize = 64;

/// Which chats are archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// Those in which something was said.
    #[default]
    Said,
    /// All of them.
    All,
    /// None.
    None,
}

/// What is to become of chats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Which are archived.
    pub which: Which,
    /// How long these can still be read as chats, in milliseconds.
    pub keep_ms: Option<u64>,
    /// How long the others stay.
    pub keep_empty_ms: Option<u64>,
    /// Kinds of messages that are not archived.
    pub drop_kinds: Vec<String>,
}

impl Which {
    /// The one that the configuration names.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "said" => Some(Self::Said),
            "all" => Some(Self::All),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

impl Rules {
    /// From a configuration that [`check`] has found good.
    pub fn read(config: &str) -> Self {
        let config: Map<String, Value> = serde_json::from_str(config).unwrap_or_default();
        let text = |key: &str| config.get(key).and_then(Value::as_str);
        let kinds = config.get("drop_kinds").and_then(Value::as_array).into_iter().flatten();
        Self {
            which: text("archive").and_then(Which::parse).unwrap_or_default(),
            keep_ms: text("keep").and_then(span_ms),
            keep_empty_ms: text("keep_empty").and_then(span_ms),
            drop_kinds: kinds.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

/// Everything that is wrong with a configuration, with where it is.
pub fn check(config: &str) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut problem =
        |path: &str, detail: &str| problems.push((path.to_owned(), detail.to_owned()));
    let Ok(Value::Object(config)) = serde_json::from_str(config) else {
        problem("", "not an object");
        return problems;
    };
    for (key, value) in &config {
        match key.as_str() {
            "keep" | "keep_empty" if value.as_str().and_then(span_ms).is_none() => {
                problem(key, "not a time as in \"30d\": a number with s, m, h or d");
            }
            "archive" if value.as_str().and_then(Which::parse).is_none() => {
                problem(key, "not \"said\", \"all\" or \"none\"");
            }
            "drop_kinds" => match value.as_array() {
                Some(kinds) if kinds.len() > KINDS_MAX => problem(key, "more than 64"),
                Some(kinds) => {
                    for (index, kind) in kinds.iter().enumerate() {
                        if !kind.as_str().is_some_and(is_kind) {
                            problem(&format!("{key}.{index}"), "not a kind of message");
                        }
                    }
                }
                None => problem(key, "not a list"),
            },
            "keep" | "keep_empty" | "archive" => {}
            _ => problem(key, "unknown: keep, archive, keep_empty or drop_kinds"),
        }
    }
    problems
}

/// A number and its unit, in milliseconds.
fn span_ms(text: &str) -> Option<u64> {
    let unit_ms = match text.chars().next_back()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    let plain = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    number.parse::<u64>().ok().filter(|_| plain)?.checked_mul(unit_ms)
}

fn is_kind(kind: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=KIND_BYTES_MAX).contains(&kind.len()) && kind.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{Rules, Which, check, span_ms};

    #[test]
    fn a_configuration_may_be_empty() {
        assert_eq!(check("{}"), []);
        assert_eq!(Rules::read("{}"), Rules::default());
    }

    #[test]
    fn everything_in_it_is_read() {
        let config =
            r#"{"keep": "30d", "keep_empty": "90s", "archive": "all", "drop_kinds": ["typing"]}"#;
        assert_eq!(check(config), []);
        let expected = Rules {
            which: Which::All,
            keep_ms: Some(2_592_000_000),
            keep_empty_ms: Some(90_000),
            drop_kinds: vec!["typing".to_owned()],
        };
        assert_eq!(Rules::read(config), expected);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let config = r#"{"keep": 30, "keep_empty": "1w", "archive": "some", "drop_kinds": ["ok", " no", 7],
                         "kepp": "1d"}"#;
        let mut paths: Vec<String> = check(config).into_iter().map(|(path, _)| path).collect();
        paths.sort();
        assert_eq!(
            paths,
            ["archive", "drop_kinds.1", "drop_kinds.2", "keep", "keep_empty", "kepp"]
        );
        assert_eq!(check("[]").len(), 1);
        assert_eq!(check(r#"{"drop_kinds": "typing"}"#).len(), 1);
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!((span_ms("2m"), span_ms("0h")), (Some(120_000), Some(0)));
        for bad in ["", "d", "1", "-1d", "+1d", "1.5h", "1ms", "99999999999999999999d", "1é"] {
            assert_eq!(span_ms(bad), None, "{bad}");
        }
    }
}
