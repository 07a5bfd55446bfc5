//! `[plugins.moderation.config]`.

use serde_json::Value;

/// Most words. Every message is compared with all of them.
const WORDS_MAX: usize = 500;

/// Longest word or phrase.
const WORD_BYTES_MAX: usize = 64;

/// Most strikes: with more it is no moderation.
const STRIKES_MAX: u32 = 100;

/// Strikes of somebody, unless the configuration says otherwise.
const STRIKES: u32 = 3;

/// What follows the last strike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastStrike {
    /// The sender is removed.
    #[default]
    Remove,
    /// The chat ends.
    End,
}

impl LastStrike {
    /// The one that the configuration names.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "remove" => Some(Self::Remove),
            "end" => Some(Self::End),
            _ => None,
        }
    }
}

/// How many strikes there are, and what follows the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How many a sender has.
    pub strikes: u32,
    /// What then.
    pub last: LastStrike,
}

impl Rules {
    /// From the JSON texts of `strikes` and `on_last_strike`, which [`check`] has found good.
    pub fn read(strikes: Option<&str>, last: Option<&str>) -> Self {
        Self {
            strikes: strikes.and_then(|json| json.parse().ok()).unwrap_or(STRIKES),
            last: last
                .and_then(|json| LastStrike::parse(json.trim_matches('"')))
                .unwrap_or_default(),
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
    for key in config.keys() {
        if !matches!(key.as_str(), "words" | "strikes" | "on_last_strike") {
            problem(key, "unknown: words, strikes or on_last_strike");
        }
    }
    match config.get("words").map(Value::as_array) {
        None => problem("words", "missing: write words = [\"badword\"]"),
        Some(Some(words)) if words.len() > WORDS_MAX => problem("words", "more than 500"),
        Some(Some(words)) => {
            for (index, word) in words.iter().enumerate() {
                if !word.as_str().is_some_and(is_word) {
                    let detail = "a text of 1 to 64 bytes without space around it";
                    problem(&format!("words.{index}"), detail);
                }
            }
        }
        Some(None) => problem("words", "not a list"),
    }
    let strikes = config.get("strikes").is_none_or(|strikes| {
        strikes.as_u64().is_some_and(|strikes| (1..=u64::from(STRIKES_MAX)).contains(&strikes))
    });
    if !strikes {
        problem("strikes", "not a number from 1 to 100");
    }
    let last = config
        .get("on_last_strike")
        .is_none_or(|last| last.as_str().is_some_and(|last| LastStrike::parse(last).is_some()));
    if !last {
        problem("on_last_strike", "not \"remove\" or \"end\"");
    }
    problems
}

fn is_word(word: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&word.len()) && word.trim() == word
}

#[cfg(test)]
mod tests {
    use super::{LastStrike, Rules, check};

    fn paths(config: &str) -> Vec<String> {
        check(config).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_configuration_needs_words_and_nothing_else() {
        assert_eq!(check(r#"{"words": ["badword"]}"#), []);
        assert_eq!(check(r#"{"words": [], "strikes": 1, "on_last_strike": "end"}"#), []);
        assert_eq!(paths("{}"), ["words"]);
        assert_eq!(paths("[]"), [""]);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let config =
            r#"{"words": ["ok", " no", 7], "strikes": 0, "on_last_strike": "ban", "wrods": []}"#;
        let mut paths = paths(config);
        paths.sort();
        assert_eq!(paths, ["on_last_strike", "strikes", "words.1", "words.2", "wrods"]);
    }

    #[test]
    fn rules_are_read_from_the_json_of_their_keys() {
        let rules = Rules::read(Some("5"), Some("\"end\""));
        assert_eq!(rules, Rules { strikes: 5, last: LastStrike::End });
        let rules = Rules::read(None, None);
        assert_eq!(rules, Rules { strikes: 3, last: LastStrike::Remove });
    }
}
