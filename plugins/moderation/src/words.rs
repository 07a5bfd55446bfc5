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

/// Whether `text` says one of `words`. What it costs grows with the text and hardly with the words: a
/// message is written by somebody who may want it to cost much.
fn any(text: &str, words: &[String]) -> bool {
    let text = text.to_lowercase();
    let mut words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    words.sort_unstable();
    // Most places in a text begin no word of the list, and their first byte tells.
    let mut begins = [false; 256];
    for first in words.iter().filter_map(|word| word.as_bytes().first()) {
        if let Some(begins) = begins.get_mut(usize::from(*first)) {
            *begins = true;
        }
    }
    let begins = |byte: u8| begins.get(usize::from(byte)).is_some_and(|begins| *begins);
    text.bytes().enumerate().any(|(at, byte)| {
        if !begins(byte) {
            return false;
        }
        // A byte that begins a word begins a character, so this splits between two.
        let Some((before, rest)) = text.split_at_checked(at) else { return false };
        !before.ends_with(char::is_alphabetic) && begins_with_one(rest, &words)
    })
}

/// Whether one of `words`, which are sorted, is at the beginning of `text` and ends where it does.
fn begins_with_one(text: &str, words: &[String]) -> bool {
    let mut within = text;
    while !within.is_empty() {
        // A word that `within` begins with is no greater than it, and whatever lies between the two
        // begins with that word as well: so only the greatest one has to be looked at.
        let count = words.partition_point(|word| word.as_str() <= within);
        let Some(word) = count.checked_sub(1).and_then(|last| words.get(last)) else {
            return false;
        };
        let common = match within.strip_prefix(word.as_str()) {
            Some(_) if stands_alone(text, word) => return true,
            // Perhaps a shorter one does.
            Some(_) => word.len() - 1,
            None => word.bytes().zip(within.bytes()).take_while(|(a, b)| a == b).count(),
        };
        within = within.get(..within.floor_char_boundary(common)).unwrap_or_default();
    }
    false
}

/// Whether `text`, which begins with `word`, does not go on with a letter after it.
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
    fn of_words_that_begin_alike_each_is_found() {
        let words = ["ab", "a", "ab cd", "ab ce", "abc1", "b"].map(str::to_owned);
        for text in ["a", "ab", "ab cf", "ab cd", "ab ce", "abc1", "abc12", "x b", "a ab"] {
            assert!(any(text, &words), "{text}");
        }
        for text in ["abc", "abcd", "abd", "aba", "c", "ac"] {
            assert!(!any(text, &words), "{text}");
        }
        assert!(!any("ab cdd", &["ab cd".to_owned(), "ab ce".to_owned()]));
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
