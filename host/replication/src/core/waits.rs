//! Those who wait for an answer of a primary: sends, barriers, confirmations.
//!
//! Sends wait by how many members must hold them, so that within one queue they end in order. Each
//! queue's deadlines rise, so only its front can be late.

use std::collections::VecDeque;

use super::Time;
use super::step::{Outcome, Why};

/// All who wait in one epoch of one partition.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// By the number of members that must hold it, less one.
    sends: Vec<VecDeque<Wait>>,
    barriers: VecDeque<Wait>,
    confirms: VecDeque<Wait>,
}

/// One who waits.
#[derive(Clone, Copy, Debug)]
struct Wait {
    token: u64,
    /// Until this seq is held or committed; for a confirmation, until this beat is answered.
    until: u64,
    deadline: Time,
}

impl Waits {
    /// A send waits until `acks` members hold `seq`.
    pub(super) fn send(&mut self, token: u64, seq: u64, acks: u8, deadline: Time) {
        let at = usize::from(acks.max(1)) - 1;
        if self.sends.len() <= at {
            self.sends.resize_with(at + 1, VecDeque::new);
        }
        if let Some(queue) = self.sends.get_mut(at) {
            queue.push_back(Wait { token, until: seq, deadline });
        }
    }

    /// A barrier waits until `seq` is committed.
    pub(super) fn barrier(&mut self, token: u64, seq: u64, deadline: Time) {
        self.barriers.push_back(Wait { token, until: seq, deadline });
    }

    /// A confirmation waits until enough have answered a beat of this round or a later one.
    pub(super) fn confirm(&mut self, token: u64, round: u64, deadline: Time) {
        self.confirms.push_back(Wait { token, until: round, deadline });
    }

    /// Answers the sends that may be. `level` tells up to which seq a number of members hold the log.
    pub(super) fn settle_sends(
        &mut self,
        commit: u64,
        own: u64,
        quorum: u8,
        mut level: impl FnMut(usize) -> u64,
        mut answer: impl FnMut(u64, Outcome),
    ) {
        for (at, queue) in self.sends.iter_mut().enumerate() {
            if queue.is_empty() {
                continue;
            }
            let held = level(at + 1);
            let local = if at + 1 < usize::from(quorum) { held.min(own) } else { 0 };
            let both = held.min(commit);
            while let Some(wait) = queue.front().copied() {
                let outcome = match wait.until {
                    seq if seq <= both => Outcome::Quorum { seq },
                    seq if seq <= local => Outcome::Local { seq },
                    _ => break,
                };
                queue.pop_front();
                answer(wait.token, outcome);
            }
        }
    }

    /// Answers the barriers that are passed.
    pub(super) fn settle_barriers(&mut self, commit: u64, answer: impl FnMut(u64, Outcome)) {
        settle(&mut self.barriers, commit, answer);
    }

    /// Answers the confirmations of beats up to `round`.
    pub(super) fn settle_confirms(&mut self, round: u64, answer: impl FnMut(u64, Outcome)) {
        settle(&mut self.confirms, round, answer);
    }

    /// Answers those whose time is over.
    pub(super) fn settle_late(&mut self, now: Time, mut answer: impl FnMut(u64, Outcome)) {
        let late = |queue: &mut VecDeque<Wait>| {
            queue.pop_front_if(|wait| wait.deadline <= now).map(|wait| wait.token)
        };
        for queue in self.sends.iter_mut().chain([&mut self.barriers]) {
            while let Some(token) = late(queue) {
                answer(token, Outcome::Unknown(Why::Timeout));
            }
        }
        while let Some(token) = late(&mut self.confirms) {
            answer(token, Outcome::NotCommitted(Why::Timeout));
        }
    }

    /// Answers everybody: the epoch is over.
    pub(super) fn end(&mut self, mut answer: impl FnMut(u64, Outcome)) {
        for queue in self.sends.iter_mut().chain([&mut self.barriers]) {
            for wait in queue.drain(..) {
                answer(wait.token, Outcome::Unknown(Why::Deposed));
            }
        }
        for wait in self.confirms.drain(..) {
            answer(wait.token, Outcome::NotCommitted(Why::NotLeading));
        }
    }

    /// How many wait, except for sends.
    pub(super) fn asking(&self) -> usize {
        self.barriers.len().max(self.confirms.len())
    }

    /// How many sends wait.
    pub(super) fn sending(&self) -> usize {
        self.sends.iter().map(VecDeque::len).sum()
    }

    /// The beat that the last confirmation waits for.
    pub(super) fn last_round(&self) -> Option<u64> {
        self.confirms.back().map(|wait| wait.until)
    }
}

fn settle(queue: &mut VecDeque<Wait>, done: u64, mut answer: impl FnMut(u64, Outcome)) {
    while let Some(wait) = queue.pop_front_if(|wait| wait.until <= done) {
        answer(wait.token, Outcome::Done);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Two of three make a commit; the highest seqs that one, two and three members hold.
    fn settle(waits: &mut Waits, commit: u64, own: u64, levels: [u64; 3]) -> Vec<(u64, Outcome)> {
        let mut answers = Vec::new();
        let level = |count: usize| levels.get(count - 1).copied().unwrap_or(0);
        waits.settle_sends(commit, own, 2, level, |token, outcome| answers.push((token, outcome)));
        answers
    }

    fn waits() -> Waits {
        let mut waits = Waits::default();
        for (token, acks) in [(11, 1), (12, 2), (13, 3), (14, 9)] {
            waits.send(token, 7, acks, Duration::from_secs(5));
        }
        waits
    }

    #[test]
    fn each_send_is_answered_when_as_many_hold_it_as_it_asked_for() {
        let mut waits = waits();
        assert_eq!(settle(&mut waits, 6, 6, [7, 6, 6]), [], "another's disk alone is not enough");
        assert_eq!(settle(&mut waits, 6, 7, [7, 6, 6]), [(11, Outcome::Local { seq: 7 })]);
        assert_eq!(settle(&mut waits, 7, 7, [7, 7, 6]), [(12, Outcome::Quorum { seq: 7 })]);
        assert_eq!(settle(&mut waits, 7, 7, [7, 7, 7]), [(13, Outcome::Quorum { seq: 7 })]);
        assert_eq!(waits.sending(), 1, "more than there are");
    }

    #[test]
    fn a_committed_send_is_not_called_local_and_an_uncommitted_one_not_quorum() {
        let mut waits = waits();
        let answers = settle(&mut waits, 7, 0, [7, 7, 0]);
        assert_eq!(answers, [(11, Outcome::Quorum { seq: 7 }), (12, Outcome::Quorum { seq: 7 })]);
        // Held by all, but the commit rule (own epoch) has not let it pass.
        assert_eq!(settle(&mut waits, 6, 7, [7, 7, 7]), []);
    }

    #[test]
    fn whoever_waits_too_long_or_for_a_lost_epoch_is_told_what_is_known() {
        let second = Duration::from_secs(1);
        let mut waits = Waits::default();
        waits.send(1, 7, 2, second);
        waits.barrier(2, 7, second);
        waits.confirm(3, 7, second);
        waits.send(4, 8, 2, 3 * second);
        waits.barrier(5, 8, 3 * second);
        waits.confirm(6, 8, 3 * second);
        let mut answers = Vec::new();
        waits.settle_late(2 * second, |token, outcome| answers.push((token, outcome)));
        let unknown = Outcome::Unknown(Why::Timeout);
        let nothing = Outcome::NotCommitted(Why::Timeout);
        assert_eq!(answers, [(1, unknown), (2, unknown), (3, nothing)]);
        answers.clear();
        waits.end(|token, outcome| answers.push((token, outcome)));
        let unknown = Outcome::Unknown(Why::Deposed);
        assert_eq!(
            answers,
            [(4, unknown), (5, unknown), (6, Outcome::NotCommitted(Why::NotLeading))]
        );
        assert_eq!((waits.sending(), waits.asking(), waits.last_round()), (0, 0, None));
    }

    #[test]
    fn barriers_and_confirmations_end_in_order() {
        let mut waits = Waits::default();
        waits.barrier(1, 4, Time::ZERO);
        waits.barrier(2, 5, Time::ZERO);
        waits.confirm(3, 9, Time::ZERO);
        let mut done = Vec::new();
        waits.settle_barriers(4, |token, _| done.push(token));
        waits.settle_confirms(8, |token, _| done.push(token));
        waits.settle_confirms(9, |token, _| done.push(token));
        assert_eq!(done, [1, 3]);
    }
}
