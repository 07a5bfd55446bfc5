//! When the timers and holds of one chat are over, on this node's own clock.
//!
//! What is over is decided by the fold, this only says when to look. A timer that starts while this node
//! leads runs its whole length from the moment it is committed; one that was found in the log has run since
//! its entry by the wall clock, but neither less than not at all nor more than its length: a clock that
//! jumped makes a timer early or late once, and never fires it twice.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{MessageId, Waiting};
use runtime::Instant;

/// Something that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// A timer.
    Timer {
        /// Whose.
        plugin: String,
        /// Its name.
        name: String,
        /// The turn that started it.
        turn: u64,
    },
    /// One plugin's hold of a message.
    Hold {
        /// Which message.
        id: MessageId,
        /// Whose.
        plugin: String,
    },
}

/// The deadlines of one chat.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    at: BTreeMap<Deadline, Instant>,
}

impl Deadlines {
    /// Follows what the chat waits for: what is new begins now, with as much left of it as `left` says of
    /// its beginning on the chat's clock and its length.
    pub(crate) fn follow(
        &mut self,
        waiting: Option<&Waiting>,
        now: Instant,
        left: impl Fn(u64, u32) -> Duration,
    ) {
        let mut before = std::mem::take(&mut self.at);
        for (deadline, since_ms, after_ms) in waiting.into_iter().flat_map(deadlines) {
            let kept = before.remove(&deadline);
            let at = kept.unwrap_or_else(|| now + left(since_ms, after_ms));
            self.at.insert(deadline, at);
        }
    }

    /// When the next one is over.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.at.values().min().copied()
    }

    /// What is over, first what was over first; at most `most`.
    pub(crate) fn due(&self, now: Instant, most: usize) -> Vec<Deadline> {
        let over = self.at.iter().filter(|(_, at)| **at <= now);
        let mut over: Vec<(&Instant, &Deadline)> = over.map(|(what, at)| (at, what)).collect();
        over.sort();
        over.into_iter().take(most).map(|(_, what)| what.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_empty()
    }
}

/// Everything in a chat that ends by itself, with its beginning and its length.
fn deadlines(waiting: &Waiting) -> impl Iterator<Item = (Deadline, u64, u32)> {
    let timers = waiting.timers.iter().map(|((plugin, name), timer)| {
        let (plugin, name) = (plugin.clone(), name.clone());
        (Deadline::Timer { plugin, name, turn: timer.turn }, timer.since_ms, timer.after_ms)
    });
    let holds = waiting.held.iter().flat_map(|(id, held)| {
        held.holds.iter().map(|hold| {
            let deadline = Deadline::Hold { id: *id, plugin: hold.plugin.clone() };
            (deadline, held.message.time_ms, hold.deadline_ms)
        })
    });
    timers.chain(holds)
}

/// What is left of something that began at `since_ms`, now that the wall clock says `wall_ms`.
pub(crate) fn left(wall_ms: u64, since_ms: u64, after_ms: u32) -> Duration {
    Duration::from_millis(u64::from(after_ms).saturating_sub(wall_ms.saturating_sub(since_ms)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Timer, Waiting};

    use super::{Deadline, Deadlines, left};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn waiting(timers: &[(&str, u64)]) -> Waiting {
        let timer = |turn| Timer { turn, since_ms: 1_000, after_ms: 500 };
        let key = |name: &str| ("p".to_owned(), name.to_owned());
        let timers = timers.iter().map(|(name, turn)| (key(name), timer(*turn))).collect();
        Waiting { timers, ..Waiting::default() }
    }

    fn names(due: &[Deadline]) -> Vec<&str> {
        let names = due.iter().filter_map(|deadline| match deadline {
            Deadline::Timer { name, .. } => Some(name.as_str()),
            Deadline::Hold { .. } => None,
        });
        names.collect()
    }

    #[test]
    fn what_runs_keeps_its_end_and_what_starts_again_has_a_new_one() {
        let now = runtime::now();
        let whole = |_: u64, after: u32| ms(after.into());
        let mut deadlines = Deadlines::default();
        deadlines.follow(Some(&waiting(&[("a", 1), ("b", 1)])), now, whole);
        let later = now + ms(400);
        deadlines.follow(Some(&waiting(&[("a", 1), ("b", 2)])), later, whole);
        assert_eq!(deadlines.next(), Some(now + ms(500)));
        assert_eq!(names(&deadlines.due(now + ms(500), 9)), ["a"]);
        assert_eq!(names(&deadlines.due(later + ms(500), 9)), ["a", "b"]);
        assert_eq!(names(&deadlines.due(later + ms(500), 1)), ["a"]);
        deadlines.follow(None, later, whole);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn a_clock_that_jumped_changes_the_end_by_the_length_at_most() {
        assert_eq!(left(1_200, 1_000, 500), ms(300));
        assert_eq!(left(0, 1_000, 500), ms(500), "a clock that went back");
        assert_eq!(left(90_000_000, 1_000, 500), ms(0), "a day ahead");
    }
}
