//! Uploads that are whole here and of which nobody has said what becomes of them.
//!
//! Kept in memory, so that asking costs what there is of them and not all uploads ever; made of the index by a start.
//! There are as many as coordinators have under way, and more only while those are away.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use hashring::NodeId;
use runtime::Instant;

use crate::archive::fact::Held;
use crate::archive::name::Upload;
use crate::archive::store::Archive;

/// Those that are not decided.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    /// Since when, in this process: a wall clock that is a day ahead must not make one wait for a day.
    all: BTreeMap<Upload, (Held, Instant)>,
    /// The last one that was told: the next ones have their turn.
    told: Option<Upload>,
}

impl Undecided {
    /// What is left of what the index tells, when fences are counted.
    pub(crate) fn new(held: Vec<Held>, fences: &BTreeMap<NodeId, u64>) -> Self {
        let mut undecided = Self::default();
        held.into_iter().for_each(|held| undecided.hold(held));
        fences.iter().for_each(|(node, boot)| undecided.fence(node, *boot));
        undecided
    }

    pub(crate) fn hold(&mut self, held: Held) {
        self.all.entry(held.upload.clone()).or_insert_with(|| (held, runtime::now()));
    }

    pub(crate) fn decide(&mut self, upload: &Upload) {
        self.all.remove(upload);
    }

    /// Earlier lives of a node are decided.
    pub(crate) fn fence(&mut self, node: &NodeId, boot: u64) {
        self.all.retain(|upload, _| upload.node != *node || upload.boot >= boot);
    }

    /// The next so many, in turn: one that cannot be decided keeps no other from being asked about.
    fn next(&mut self, most: usize) -> Vec<(Held, Duration)> {
        let behind = match &self.told {
            Some(told) => (Bound::Excluded(told), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let turn =
            self.all.range::<Upload, _>(behind).chain(&self.all).take(most.min(self.all.len()));
        let now = runtime::now();
        let next: Vec<(Held, Duration)> = turn
            .map(|(_, (held, since))| (held.clone(), now.saturating_duration_since(*since)))
            .collect();
        self.told = next.last().map(|(held, _)| held.upload.clone());
        next
    }
}

impl Archive {
    /// Uploads that are whole here and of which nobody has said what becomes of them: at most so many, and each time
    /// the next ones.
    pub fn held(&self, most: usize) -> Vec<Held> {
        self.undecided(most).into_iter().map(|(held, _)| held).collect()
    }

    /// The same, with how long each has waited for that in this process.
    pub fn undecided(&self, most: usize) -> Vec<(Held, Duration)> {
        self.shared().undecided().next(most)
    }

    /// Whether an upload is one of them still.
    pub fn is_undecided(&self, upload: &Upload) -> bool {
        self.shared().undecided().all.contains_key(upload)
    }
}

#[cfg(test)]
mod tests {
    use runtime::SimulatedClock;

    use super::*;
    use crate::archive::Table;

    fn held(time_ms: u64) -> Held {
        let upload = Upload { node: "n1".parse().unwrap(), boot: 1, count: 1 };
        let (collection, key) = ("c".parse().unwrap(), "k".parse().unwrap());
        Held { upload, collection, key, sequences: 0, size: 0, table: Table::EMPTY, time_ms }
    }

    /// A coordinator whose clock was 25 hours ahead had what it left held for 25 hours before anybody asked.
    #[test]
    fn how_long_something_waits_follows_from_no_wall_clock() {
        let clock = SimulatedClock::new();
        let _entered = clock.enter();
        clock.set_wall(1_000);
        let mut undecided = Undecided::default();
        undecided.hold(held(u64::MAX));
        clock.set(Duration::from_secs(60));
        // It is told of it again: it waits since the first time.
        undecided.hold(held(0));
        clock.set_wall(0);
        clock.set(Duration::from_secs(90));
        let waited: Vec<Duration> = undecided.next(9).into_iter().map(|(_, age)| age).collect();
        assert_eq!(waited, [Duration::from_secs(90)]);
        undecided.fence(&"n1".parse().unwrap(), 2);
        assert_eq!(undecided.next(9), []);
    }
}
