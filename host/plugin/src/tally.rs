//! How often a version answered with which word, since it was loaded.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Failure, Reply, Verdict};

/// Answers to messages, by verdict. What the host could not run is nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// It had no opinion.
    pub pass: u64,
    /// It ended the chain.
    pub accept: u64,
    /// It wrote something else.
    pub rewrite: u64,
    /// It said no.
    pub reject: u64,
    /// It kept it back.
    pub hold: u64,
    /// It broke, or could not decide.
    pub failed: u64,
}

impl Tally {
    /// All calls.
    pub fn calls(&self) -> u64 {
        self.words().into_iter().map(|(_, count)| count).sum()
    }

    /// Each word with its count, always in the same order.
    pub const fn words(&self) -> [(&'static str, u64); 6] {
        let Self { pass, accept, rewrite, reject, hold, failed } = *self;
        [
            ("pass", pass),
            ("accept", accept),
            ("rewrite", rewrite),
            ("reject", reject),
            ("hold", hold),
            ("failed", failed),
        ]
    }

    /// What came after `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            pass: self.pass.saturating_sub(earlier.pass),
            accept: self.accept.saturating_sub(earlier.accept),
            rewrite: self.rewrite.saturating_sub(earlier.rewrite),
            reject: self.reject.saturating_sub(earlier.reject),
            hold: self.hold.saturating_sub(earlier.hold),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }
}

/// A tally while it is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    words: [AtomicU64; 6],
}

impl Counts {
    pub(crate) fn count(&self, answer: &Result<Reply, Failure>) {
        let [pass, accept, rewrite, reject, hold, failed] = &self.words;
        let word = match answer {
            Ok(reply) => match reply.verdict {
                Verdict::Pass => pass,
                Verdict::Accept => accept,
                Verdict::Rewrite(_) => rewrite,
                Verdict::Reject { .. } => reject,
                Verdict::Hold { .. } => hold,
            },
            Err(Failure::Busy | Failure::Paused { .. } | Failure::Absent { .. }) => return,
            Err(_) => failed,
        };
        word.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn tally(&self) -> Tally {
        let [pass, accept, rewrite, reject, hold, failed] =
            self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        Tally { pass, accept, rewrite, reject, hold, failed }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Tally};
    use crate::{Failure, Reply, Verdict};

    #[test]
    fn answers_are_counted_by_their_word_and_what_the_host_did_is_not() {
        let counts = Counts::default();
        let reply = |verdict| Ok(Reply { verdict, notes: vec![], effects: vec![], fuel: 1 });
        counts.count(&reply(Verdict::Pass));
        counts.count(&reply(Verdict::Accept));
        let before = counts.tally();
        counts.count(&reply(Verdict::Pass));
        counts.count(&Err(Failure::Trap { text: String::new() }));
        counts.count(&Err(Failure::Busy));
        counts.count(&Err(Failure::Paused { retry_after_ms: 1 }));
        let all = Tally { pass: 2, accept: 1, failed: 1, ..Tally::default() };
        assert_eq!((counts.tally(), all.calls()), (all, 4));
        let since = Tally { pass: 1, failed: 1, ..Tally::default() };
        assert_eq!(all.since(&before), since);
    }
}
