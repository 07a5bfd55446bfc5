//! What becomes of somebody who said a forbidden word.

use crate::{LastStrike, Rules};

/// What follows a strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// How many strikes the sender has now.
    pub strikes: u32,
    /// The code of the rejection.
    pub code: &'static str,
    /// Its words.
    pub reason: String,
    /// What else happens.
    pub penalty: Penalty,
}

/// What a strike costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// A message that only the sender sees.
    Warning {
        /// What it says.
        text: String,
    },
    /// The sender is disconnected, and everybody is told.
    Removal {
        /// What they are told.
        text: String,
    },
    /// The chat ends, and everybody is told.
    End {
        /// What they are told.
        text: String,
    },
}

/// Longest name in a text.
const NAME_CHARS_MAX: usize = 80;

/// What follows when `sender`, who had so many strikes before, says a forbidden word.
pub fn judge(rules: Rules, sender: &str, strikes_before: u32) -> Judgement {
    let strikes = strikes_before.saturating_add(1);
    let Rules { strikes: most, last } = rules;
    let name: String = sender.chars().take(NAME_CHARS_MAX).collect();
    let penalty = match last {
        _ if strikes < most => {
            let then = match last {
                LastStrike::Remove => "you are removed",
                LastStrike::End => "the chat ends",
            };
            let text = format!("Please mind your words: strike {strikes} of {most}, then {then}.");
            Penalty::Warning { text }
        }
        LastStrike::Remove => {
            Penalty::Removal { text: format!("{name} was removed for forbidden words.") }
        }
        LastStrike::End => {
            Penalty::End { text: format!("The chat has ended: {name} used forbidden words.") }
        }
    };
    let reason = format!("a word in it is not allowed here: strike {strikes} of {most}");
    Judgement { strikes, code: "forbidden-word", reason, penalty }
}

/// Whether somebody with so many strikes is no longer heard.
pub fn removed(rules: Rules, strikes: u32) -> bool {
    rules.last == LastStrike::Remove && strikes >= rules.strikes
}

#[cfg(test)]
mod tests {
    use super::{Penalty, judge, removed};
    use crate::{LastStrike, Rules};

    fn rules(last: LastStrike) -> Rules {
        Rules { strikes: 3, last }
    }

    #[test]
    fn two_warnings_then_a_removal() {
        let rules = rules(LastStrike::Remove);
        for before in [0, 1] {
            let judgement = judge(rules, "mallory", before);
            assert_eq!(judgement.strikes, before + 1);
            assert!(matches!(judgement.penalty, Penalty::Warning { .. }));
            assert!(!removed(rules, judgement.strikes));
        }
        let last = judge(rules, "mallory", 2);
        assert!(matches!(&last.penalty, Penalty::Removal { text } if text.contains("mallory")));
        assert!(removed(rules, last.strikes));
    }

    #[test]
    fn the_chat_ends_where_the_operator_says_so() {
        let rules = rules(LastStrike::End);
        assert!(matches!(judge(rules, "mallory", 2).penalty, Penalty::End { .. }));
        assert!(!removed(rules, 3), "a chat that has ended needs nobody removed");
    }

    #[test]
    fn fewer_strikes_than_somebody_has_already_are_passed() {
        let rules = Rules { strikes: 1, ..rules(LastStrike::Remove) };
        assert!(matches!(judge(rules, "mallory", 7).penalty, Penalty::Removal { .. }));
        assert!(removed(rules, u32::MAX));
    }
}
