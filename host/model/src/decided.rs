//! What a plugin decided about the messages of a chat, and what it noted beside them.
//!
//! The last ones are folded with the chat, so that a plugin can be told what it decided before; everything
//! older is in the log alone.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{Cursor, MessageId};

/// Decisions of one plugin that a chat remembers.
pub const DECISIONS_MAX: usize = 32;

/// Bytes of their notes. The last decision is remembered whatever it takes.
pub const DECISION_BYTES_MAX: usize = 16 << 10;

/// One decision of one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where its message stands. The chat's last message, when its own was not stored.
    pub at: Cursor,
    /// The message.
    pub message: MessageId,
    /// The version that decided.
    pub version: String,
    /// The word in the stamp, or `reject`.
    pub verdict: String,
    /// What was noted beside it, in the plugin's order.
    pub notes: Vec<(String, String)>,
}

/// The last decisions of one plugin, oldest first.
pub type Decisions = VecDeque<Decision>;

/// Remembers one more, and forgets the oldest for it.
pub(crate) fn remember(decisions: &mut Decisions, decision: Decision) {
    decisions.push_back(decision);
    let mut bytes: usize = decisions.iter().map(bytes).sum();
    while decisions.len() > DECISIONS_MAX || (bytes > DECISION_BYTES_MAX && decisions.len() > 1) {
        bytes -= decisions.pop_front().as_ref().map_or(0, self::bytes);
    }
}

/// Forgets what was noted beside a message.
pub(crate) fn redact(decisions: &mut Decisions, message: MessageId) {
    for decision in decisions.iter_mut().filter(|decision| decision.message == message) {
        decision.notes.clear();
    }
}

fn bytes(decision: &Decision) -> usize {
    decision.notes.iter().map(|(name, value)| name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::{DECISIONS_MAX, Decision, Decisions, remember};
    use crate::{Cursor, MessageId};

    fn decision(number: u8, note_bytes: usize) -> Decision {
        Decision {
            at: Cursor::default(),
            message: MessageId([number; 16]),
            version: "1".to_owned(),
            verdict: "pass".to_owned(),
            notes: vec![("n".to_owned(), "x".repeat(note_bytes))],
        }
    }

    fn kept(decisions: &Decisions) -> Vec<u8> {
        decisions.iter().map(|decision| decision.message.0[0]).collect()
    }

    #[test]
    fn the_oldest_are_forgotten_by_count_and_by_bytes() {
        let mut decisions = Decisions::new();
        for number in 0..40 {
            remember(&mut decisions, decision(number, 10));
        }
        assert_eq!(kept(&decisions).len(), DECISIONS_MAX);
        assert_eq!(kept(&decisions)[0], 8);
        remember(&mut decisions, decision(50, 16_000));
        assert_eq!(kept(&decisions)[0], 9, "all of them fit");
        remember(&mut decisions, decision(52, 100));
        assert!(kept(&decisions)[0] > 9 && kept(&decisions).contains(&50));
        remember(&mut decisions, decision(51, 20_000));
        assert_eq!(kept(&decisions), [51], "the last one stays, whatever it takes");
    }
}
