//! How often replies could not be given to the plugins that wait for them.
//!
//! A plugin that cannot take a reply at the moment is given it again, and not for ever: then the call ends as if the
//! plugin had taken it and wanted nothing. Only this node's own tries count: whoever leads the chat next begins anew.

use std::collections::BTreeMap;
use std::sync::Mutex;

use model::ChatToken;
use plugin::Failure;

use crate::lock::locked;

/// So often its handler is run.
const RUNS_MAX: u16 = 3;
/// So often it may be that it was not run, for want of room or because it is left alone for a while: minutes, as
/// replies are given again once a second.
const WAITS_MAX: u16 = 300;
/// Calls that are counted; of more the oldest begin anew.
const KEPT_MAX: usize = 4096;

/// The replies that could not be given, by chat and number of the call.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    tries: Mutex<BTreeMap<(ChatToken, u64), Tries>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tries {
    runs: u16,
    waits: u16,
}

impl Replies {
    /// A reply could not be given. Whether that was once too often.
    pub(crate) fn fails(&self, chat: ChatToken, number: u64, failure: &Failure) -> bool {
        let mut all = locked(&self.tries);
        if all.len() >= KEPT_MAX && !all.contains_key(&(chat, number)) {
            all.pop_first();
        }
        let tries = all.entry((chat, number)).or_default();
        match failure {
            Failure::Busy | Failure::Paused { .. } => tries.waits += 1,
            _ => tries.runs += 1,
        }
        let over = tries.runs >= RUNS_MAX || tries.waits >= WAITS_MAX;
        if over {
            all.remove(&(chat, number));
        }
        over
    }

    /// A reply was given.
    pub(crate) fn given(&self, chat: ChatToken, number: u64) {
        locked(&self.tries).remove(&(chat, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: ChatToken = ChatToken([1; 16]);
    const SLOW: Failure = Failure::Deadline { deadline_ms: 50 };

    #[test]
    fn three_runs_are_enough_and_a_success_begins_anew() {
        let replies = Replies::default();
        let fails = |number| replies.fails(CHAT, number, &SLOW);
        assert_eq!([fails(1), fails(1), fails(2), fails(1)], [false, false, false, true]);
        assert!(!fails(1), "it is over");
        assert!(!fails(2));
        replies.given(CHAT, 2);
        assert_eq!([fails(2), fails(2), fails(2)], [false, false, true]);
    }

    #[test]
    fn a_handler_that_was_not_run_is_waited_for_longer() {
        let replies = Replies::default();
        for _wait in 1..WAITS_MAX {
            assert!(!replies.fails(CHAT, 1, &Failure::Busy));
        }
        assert!(replies.fails(CHAT, 1, &Failure::Busy));
    }

    #[test]
    fn what_is_counted_is_bounded() {
        let replies = Replies::default();
        for number in 0..10_000 {
            assert!(!replies.fails(CHAT, number, &SLOW));
        }
        assert_eq!(locked(&replies.tries).len(), KEPT_MAX);
    }
}
