//! Whether a text says one of the words.
//!
//! Upper and lower case are alike, and a word stands alone: `bad` is in "Bad!", in "bad1" and in "so
//! bad", and not in "badge". Only letters make a word longer, so digits do not hide one.

use serde_json::Value;

/// Whether a body of this media type says one of `words`; bytes that are no text say nothing.
pub fn said(media_type: &str, body: &[u8], words: &[String]) -> bool {
    match media_type {
        "text/plain" => std::str::from_utf8(body).is_ok_and(|text| any(text, words)),
        // In JSON a letter may be written as `\u0062`, so its texts are looked at and not its bytes.
        "application/json" => serde_json::from_slice(body)
            .is_ok_and(|value| texts(&value).into_iter().any(|text| any(text, words))),
        _ => false,
    }
}

/// Every text in a JSON value, names of fields too.
fn texts(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut left = vec![value];
    while let Some(value) = left.pop() {
        match value {
            Value::String(text) => found.push(text.as_str()),
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => {
                found.extend(fields.keys().map(String::as_str));
                left.extend(fields.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

/// Whether `text` says one of `words`, which are looked for in lower case.
fn any(text: &str, words: &[String]) -> bool {
    let text = text.to_lowercase();
    let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    // Most places in a text begin no word of the list, and their first byte tells.
    let mut begins = [false; 256];
    for first in words.iter().filter_map(|word| word.as_bytes().first()) {
        if let Some(begin) = begins.get_mut(usize::from(*first)) {
            *begin = true;
        }
    }
    let mut after_letter = false;
    for (at, character) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        let first = rest.as_bytes().first().copied().unwrap_or_default();
        let can_begin = !after_letter && begins.get(usize::from(first)) == Some(&true);
        if can_begin && words.iter().any(|word| stands_alone(rest, word)) {
            return true;
        }
        after_letter = character.is_alphabetic();
    }
    false
}

/// Whether `text` begins with `word`, and the word ends where it does.
fn stands_alone(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::{any, said};

    fn check(text: &str) -> bool {
        let words = ["bad", "Very Bad Thing", "schlecht", "böse"].map(str::to_owned);
        any(text, &words)
    }

    #[test]
    fn a_word_stands_alone() {
        for text in
            ["bad", "so BAD!", "bad1", "2bad", "a,bad", "a very bad thing.", "BÖSE", "x böse"]
        {
            assert!(check(text), "{text}");
        }
        for text in ["", "badge", "abad", "ba", "very badness", "bösen", "schlechter"] {
            assert!(!check(text), "{text}");
        }
    }

    #[test]
    fn what_is_said_depends_on_what_the_body_is() {
        let words = ["bad".to_owned()];
        assert!(said("text/plain", b"bad", &words));
        assert!(said("application/json", br#"{"a": [1, "\u0062ad"]}"#, &words));
        assert!(said("application/json", br#"{"bad": null}"#, &words));
        assert!(!said("application/json", br#"{"a": "badge"}"#, &words));
        assert!(!said("image/png", b"bad", &words));
        assert!(!said("text/plain", b"\xff bad", &words));
    }

    #[test]
    fn no_words_are_in_no_text() {
        assert!(!any("anything", &[]));
    }

    #[test]
    fn a_text_whose_lower_case_is_longer_is_looked_at_to_its_end() {
        assert!(check(&format!("{} bad", "İ".repeat(1_000))));
    }
}
