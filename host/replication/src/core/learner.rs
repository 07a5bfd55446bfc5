//! A node that its primary gives the log, so that it can become a member.
//!
//! It is sent what a member is sent and counts for nothing: not for a commit, not for an answer, not for a
//! seal. Once it holds all that was committed a moment ago it has caught up, and only then the ensemble
//! is changed. What it has stays on its disk: the next attempt, by whomever, goes on from there.

use std::collections::VecDeque;
use std::time::Duration;

use registry::Member;

use super::Time;
use super::follower::Follower;
use super::view::LearnerView;

/// So long it may take nothing before another is tried, or the same again later.
const STALLED: Duration = Duration::from_secs(10);

/// A learner, as its primary sees it.
#[derive(Debug)]
pub(super) struct Learner {
    pub(super) follower: Follower,
    began: Time,
    /// What it held when it last came further, and when.
    further: ((u64, u64), Time),
    /// What was committed, and when, for as long as that matters.
    commits: VecDeque<(Time, u64)>,
}

impl Learner {
    /// A node that may hold nothing, or all of it.
    pub(super) fn new(member: Member, boot: u64, end: u64, now: Time) -> Self {
        let follower = Follower::learner(member, boot, end, now);
        Self { follower, began: now, further: ((0, 0), now), commits: VecDeque::new() }
    }

    /// A beat passed, or it came further.
    pub(super) fn tick(&mut self, commit: u64, now: Time, hold: Duration) {
        if self.commits.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= hold / 8) {
            self.commits.push_back((now, commit));
        }
        while self.commits.len() > 1
            && self.commits.front().is_some_and(|(at, _)| now.saturating_sub(*at) > hold)
        {
            self.commits.pop_front();
        }
        let at = (self.follower.matched, self.follower.given_of().0);
        if at > self.further.0 || self.follower.matched >= commit {
            self.further = (at, now);
        }
    }

    /// Whether it holds what was committed within the last `hold`.
    pub(super) fn has_caught_up(&self, now: Time, hold: Duration) -> bool {
        self.commits
            .iter()
            .any(|(at, commit)| now.saturating_sub(*at) <= hold && self.follower.matched >= *commit)
    }

    /// Whether it has not come further for too long.
    pub(super) fn is_stalled(&self, now: Time) -> bool {
        now.saturating_sub(self.further.1) >= STALLED
    }

    /// What is shown of it.
    pub(super) fn view(&self, end: u64, now: Time) -> LearnerView {
        let taken = self.follower.taken;
        let left = end.saturating_sub(self.follower.matched);
        let each = taken.bytes.checked_div(taken.entries).unwrap_or(0);
        let (have, total) = self.follower.given_of();
        LearnerView {
            node: self.follower.member.node.clone(),
            matched: self.follower.matched,
            end,
            bytes_done: taken.bytes + have,
            bytes_left: left.saturating_mul(each) + (total - have.min(total)),
            age: now.saturating_sub(self.began),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn it_has_caught_up_when_it_holds_what_was_committed_a_second_ago() {
        let member = Member { node: "d".parse().unwrap(), store: 1 };
        let mut learner = Learner::new(member, 1, 100, ms(0));
        for (now, commit) in [(0, 100), (500, 150), (1000, 200), (1500, 250)] {
            learner.tick(commit, ms(now), HOLD);
        }
        assert!(!learner.has_caught_up(ms(1500), HOLD), "it holds nothing");
        learner.follower.acked(149, ms(1500));
        assert!(!learner.has_caught_up(ms(1500), HOLD), "that was committed earlier");
        learner.follower.acked(150, ms(1500));
        assert!(learner.has_caught_up(ms(1500), HOLD));
        assert!(!learner.has_caught_up(ms(1501), HOLD), "and now it is not so any more");
    }

    #[test]
    fn it_is_stalled_when_it_takes_nothing_though_there_is_something() {
        let member = Member { node: "d".parse().unwrap(), store: 1 };
        let mut learner = Learner::new(member, 1, 100, ms(0));
        learner.tick(100, ms(9000), HOLD);
        assert!(!learner.is_stalled(ms(9000)) && learner.is_stalled(ms(10_000)));
        learner.follower.acked(1, ms(9500));
        learner.tick(100, ms(9500), HOLD);
        assert!(!learner.is_stalled(ms(19_000)));
        learner.follower.acked(100, ms(19_000));
        learner.tick(100, ms(30_000), HOLD);
        assert!(!learner.is_stalled(ms(30_000)), "there is nothing more to take");
    }
}
