//! Who is on the ring and since when, as far as this process has seen it.
//!
//! What is remembered beside the last [`Roster`] is for how long a node has been missing: a process that
//! just started has seen nobody go, and waits for the whole time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hashring::NodeId;
use registry::Member;

use super::Time;
use super::event::Roster;

/// Who is there, who should go, and who is missing.
#[derive(Debug, Default)]
pub(super) struct Roll {
    present: BTreeMap<NodeId, u64>,
    leaving: BTreeSet<NodeId>,
    missing: BTreeMap<NodeId, Time>,
    known: bool,
}

/// Who should hold one partition.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) members: Vec<Member>,
    /// Rises whenever others are wanted.
    pub(super) version: u64,
    /// Since when, or since when the ring is as it is.
    since: Time,
}

/// Why a member that is not wanted may be dropped; the least is dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Goes {
    /// What it held is gone, or so is its node.
    Lost,
    /// An operator said so.
    Leaving,
    /// The ring has another place for it.
    Elsewhere,
}

impl Roll {
    /// A new roster. Whether the ring itself is another one than before.
    pub(super) fn take(&mut self, roster: &Roster, now: Time) -> bool {
        let moved = !self.known || self.present != roster.present;
        let before = std::mem::replace(&mut self.present, roster.present.clone());
        self.leaving.clone_from(&roster.leaving);
        self.known = true;
        for node in before.into_keys() {
            self.missing.entry(node).or_insert(now);
        }
        self.missing.retain(|node, _| !roster.present.contains_key(node));
        moved
    }

    /// Begins to count for members that nobody has seen.
    pub(super) fn note(&mut self, ensemble: &[Member], now: Time) {
        for member in ensemble.iter().filter(|member| !self.present.contains_key(&member.node)) {
            self.missing.entry(member.node.clone()).or_insert(now);
        }
    }

    /// The process stood still, and saw nobody come back.
    pub(super) fn be_patient(&mut self, now: Time) {
        for since in self.missing.values_mut() {
            *since = now;
        }
    }

    /// Whether a member that is not wanted may be dropped.
    pub(super) fn goes(&self, member: &Member, now: Time, dead: Duration) -> Option<Goes> {
        match self.present.get(&member.node) {
            _ if !self.known => None,
            Some(store) if *store != member.store => Some(Goes::Lost),
            _ if self.leaving.contains(&member.node) => Some(Goes::Leaving),
            Some(_) => Some(Goes::Elsewhere),
            None => {
                let since = self.missing.get(&member.node)?;
                (now.saturating_sub(*since) >= dead).then_some(Goes::Lost)
            }
        }
    }
}

impl Wanted {
    /// What is wanted from now on; `moved` if the ring is another one than before.
    pub(super) fn next(before: Option<Self>, members: Vec<Member>, moved: bool, now: Time) -> Self {
        let version = before.as_ref().map_or(1, |before| {
            if before.members == members { before.version } else { before.version + 1 }
        });
        let since = match before {
            Some(before) if !moved || before.members == members => before.since,
            _ => now,
        };
        Self { members, version, since }
    }

    /// Whether the ring has been as it is for long enough.
    pub(super) fn settled(&self, now: Time, settle: Duration) -> bool {
        now.saturating_sub(self.since) >= settle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Time {
        Time::from_secs(seconds)
    }

    fn roster(present: &[(&str, u64)], leaving: &[&str]) -> Roster {
        let present = present.iter().map(|(node, store)| (node.parse().unwrap(), *store));
        let leaving = leaving.iter().map(|node| node.parse().unwrap());
        Roster { present: present.collect(), leaving: leaving.collect(), ..Roster::default() }
    }

    fn member(node: &str, store: u64) -> Member {
        Member { node: node.parse().unwrap(), store }
    }

    #[test]
    fn a_missing_member_goes_when_it_was_missed_for_long_enough_by_this_process() {
        let mut roll = Roll::default();
        assert_eq!(roll.goes(&member("a", 1), at(9000), DEAD), None, "nothing is known yet");
        assert!(roll.take(&roster(&[("a", 1), ("b", 1)], &[]), at(10)));
        roll.note(&[member("a", 1), member("z", 1)], at(10));
        assert!(roll.take(&roster(&[("b", 1)], &[]), at(20)));
        assert!(!roll.take(&roster(&[("b", 1)], &[]), at(30)), "the same again");
        let goes = |roll: &Roll, node, now| roll.goes(&member(node, 1), at(now), DEAD);
        assert_eq!(goes(&roll, "a", 619), None);
        assert_eq!(goes(&roll, "a", 620), Some(Goes::Lost));
        assert_eq!(goes(&roll, "z", 609), None, "never seen: since it was looked for");
        assert_eq!(goes(&roll, "z", 610), Some(Goes::Lost));
        roll.be_patient(at(700));
        assert_eq!(goes(&roll, "a", 710), None);
        roll.take(&roster(&[("a", 1), ("b", 1)], &[]), at(710));
        assert_eq!(goes(&roll, "a", 9000), Some(Goes::Elsewhere), "it is there again");
    }

    #[test]
    fn a_member_that_leaves_or_lost_its_store_goes_at_once() {
        let mut roll = Roll::default();
        roll.take(&roster(&[("a", 1), ("b", 2)], &["a", "c"]), at(1));
        assert_eq!(roll.goes(&member("a", 1), at(1), DEAD), Some(Goes::Leaving));
        assert_eq!(roll.goes(&member("b", 1), at(1), DEAD), Some(Goes::Lost), "another store");
        assert_eq!(roll.goes(&member("b", 2), at(1), DEAD), Some(Goes::Elsewhere));
        assert_eq!(roll.goes(&member("c", 1), at(1), DEAD), Some(Goes::Leaving), "and not there");
    }

    #[test]
    fn what_is_wanted_settles_with_the_ring_and_not_with_a_word_of_an_operator() {
        let settle = Duration::from_secs(60);
        let wanted = |before, nodes: &[&str], moved, now| {
            let members = nodes.iter().map(|node| member(node, 1)).collect();
            Wanted::next(before, members, moved, at(now))
        };
        let first = wanted(None, &["a", "b"], true, 10);
        assert!(!first.settled(at(69), settle) && first.settled(at(70), settle));
        let elsewhere = wanted(Some(first), &["a", "b"], true, 30);
        assert!(elsewhere.settled(at(70), settle), "the ring moved, and not here");
        let left = wanted(Some(elsewhere), &["a", "c"], false, 40);
        assert!(left.settled(at(70), settle));
        let moved = wanted(Some(left), &["b", "c"], true, 50);
        assert!(!moved.settled(at(109), settle) && moved.settled(at(110), settle));
    }
}
