//! How the calls of a plugin have failed: each way once, with how often. Failures are alike when their
//! words are, whatever the numbers in them.

use std::sync::Arc;

use super::Subject;

/// Most entries of one plugin. With at most 2 KiB of text each, some 64 KiB.
const ENTRIES_MAX: usize = 32;

/// One way in which calls failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorEntry {
    /// `trap`, `fuel`, `deadline`, `memory`, `bad-output`, `refused`.
    pub kind: &'static str,
    /// The version of the plugin.
    pub version: Arc<str>,
    /// How often.
    pub count: u64,
    /// When first, by the wall clock of the node.
    pub first_ms: u64,
    /// When last.
    pub last_ms: u64,
    /// The last such call.
    pub of: Subject,
    /// The last time: what the guest printed last, what it failed on, and in which functions.
    pub text: String,
}

/// The latest last.
#[derive(Debug, Default)]
pub(super) struct Errors {
    kept: Vec<ErrorEntry>,
}

impl Errors {
    pub(super) fn push(
        &mut self,
        kind: &'static str,
        version: &Arc<str>,
        of: Subject,
        text: String,
        at_ms: u64,
    ) {
        let alike = |entry: &ErrorEntry| {
            entry.kind == kind && entry.version == *version && words(&entry.text).eq(words(&text))
        };
        let entry = match self.kept.iter().position(alike) {
            Some(at) => {
                let before = self.kept.remove(at);
                let count = before.count + 1;
                ErrorEntry { count, last_ms: at_ms, of, text, ..before }
            }
            None => ErrorEntry {
                kind,
                version: Arc::clone(version),
                count: 1,
                first_ms: at_ms,
                last_ms: at_ms,
                of,
                text,
            },
        };
        if self.kept.len() >= ENTRIES_MAX {
            self.kept.remove(0);
        }
        self.kept.push(entry);
    }

    pub(super) fn all(&self) -> Vec<ErrorEntry> {
        self.kept.iter().rev().cloned().collect()
    }
}

fn words(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|character| !character.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ENTRIES_MAX, Errors};
    use crate::journal::Subject;

    fn fail(errors: &mut Errors, text: &str, at_ms: u64) {
        errors.push("trap", &Arc::from("1.0"), Subject::default(), text.to_owned(), at_ms);
    }

    #[test]
    fn the_same_words_are_one_entry_whatever_the_numbers() {
        let mut errors = Errors::default();
        fail(&mut errors, "index 7 of 3 in f < g", 1);
        fail(&mut errors, "other", 2);
        fail(&mut errors, "index 19 of 3 in f < g", 3);
        let all = errors.all();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].text.as_str(), all[0].count), ("index 19 of 3 in f < g", 2));
        assert_eq!((all[0].first_ms, all[0].last_ms), (1, 3));
        assert_eq!((all[1].text.as_str(), all[1].count), ("other", 1));
    }

    #[test]
    fn many_ways_to_fail_take_so_much_room() {
        let mut errors = Errors::default();
        for count in 1..=1_000 {
            fail(&mut errors, &"x".repeat(count), 0);
        }
        let all = errors.all();
        assert_eq!((all.len(), all[0].text.len()), (ENTRIES_MAX, 1_000));
    }
}
