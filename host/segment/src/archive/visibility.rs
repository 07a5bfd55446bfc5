//! Which versions of a key anybody can see: a pure function of what is known of the key.
//!
//! It is a fold over events in any order, with repeats, so a copy that arrives late changes nothing that it
//! should not. "Later" always compares versions; times only say since when something is hidden. Once hidden,
//! a version stays hidden, whatever becomes known: no event undoes another.
//!
//! A version is hidden by an abort, by a specific tombstone that names it, by a later general tombstone,
//! and in an unversioned collection by a later archive: a plain one that is final, or a conjoined one that
//! is finished, whatever became of either since. A *floor* stands for hiding events that are collected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::archive::UnifiedId;

/// Whether a collection keeps earlier versions of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Versioning {
    /// A later archive replaces an earlier one.
    Unversioned,
    /// All stay until they are deleted.
    Versioned,
}

/// Something that is known of one key. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A segment became final: a whole archive (part 0), or a part of a conjoined one, from 1.
    Final {
        /// Whose it is.
        version: UnifiedId,
        /// Which part.
        part: u32,
        /// Bytes of it.
        size: u64,
        /// When.
        time_ms: u64,
    },
    /// A conjoined archive was finished.
    Finished {
        /// Which.
        version: UnifiedId,
        /// How many parts it has.
        parts: u32,
        /// When.
        time_ms: u64,
    },
    /// A conjoined archive was aborted.
    Aborted {
        /// Which.
        version: UnifiedId,
        /// When.
        time_ms: u64,
    },
    /// A delete: of everything earlier (general), or of one version (specific).
    Tombstone {
        /// The tombstone's own.
        version: UnifiedId,
        /// What it deletes, if not everything earlier.
        target: Option<UnifiedId>,
        /// When.
        time_ms: u64,
    },
    /// What is left of events that hid everything up to and with this version.
    Floor {
        /// The last version it hides.
        version: UnifiedId,
        /// Since when.
        time_ms: u64,
    },
}

/// How a version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be read.
    Visible,
    /// A conjoined archive that is not finished.
    Pending,
    /// A conjoined archive that is finished, and here some of its parts are missing.
    Incomplete,
    /// It cannot be read any more.
    Hidden {
        /// Since when, in Unix milliseconds.
        since_ms: u64,
    },
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub id: UnifiedId,
    /// How it stands.
    pub standing: Standing,
    /// Which events are its parts, in order of the parts, each part once.
    pub parts: Vec<usize>,
    /// Bytes of all its parts.
    pub size: u64,
    /// The earliest time of its parts, in Unix milliseconds.
    pub time_ms: u64,
}

/// All versions of a key, rising.
pub fn versions(versioning: Versioning, events: &[Event]) -> Vec<Version> {
    let mut slots: BTreeMap<UnifiedId, Slot> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        gather(&mut slots, at, *event);
    }
    let mut hidden = None;
    let mut found = Vec::new();
    for (id, slot) in slots.iter().rev() {
        hidden = earliest(hidden, slot.floor);
        if let Some(version) = slot.version(*id, hidden) {
            found.push(version);
        }
        hidden = earliest(hidden, slot.general);
        if versioning == Versioning::Unversioned {
            hidden = earliest(hidden, slot.replaces());
        }
    }
    found.reverse();
    found
}

/// The visible versions of a key, rising: the last one is what the key shows.
pub fn visible(versioning: Versioning, events: &[Event]) -> Vec<Version> {
    let mut found = versions(versioning, events);
    found.retain(|version| version.standing == Standing::Visible);
    found
}

/// What is known of one number.
#[derive(Debug, Default)]
struct Slot {
    /// By part: which event, its size and its time.
    parts: BTreeMap<u32, (usize, u64, u64)>,
    finished: Option<(u32, u64)>,
    aborted: Option<u64>,
    deleted: Option<u64>,
    general: Option<u64>,
    floor: Option<u64>,
}

impl Slot {
    /// `hidden` is since when something later hides it.
    fn version(&self, id: UnifiedId, hidden: Option<u64>) -> Option<Version> {
        if self.parts.is_empty() && self.finished.is_none() {
            return None;
        }
        let hidden = earliest(hidden, earliest(self.aborted, self.deleted));
        let parts = self.own_parts();
        Some(Version {
            id,
            standing: hidden.map_or_else(
                || self.standing_alone(parts.len()),
                |since_ms| Standing::Hidden { since_ms },
            ),
            size: parts.iter().fold(0, |sum, (_, size, _)| sum.saturating_add(*size)),
            time_ms: parts.iter().map(|(_, _, time_ms)| *time_ms).min().unwrap_or(0),
            parts: parts.into_iter().map(|(at, _, _)| at).collect(),
        })
    }

    /// The parts that belong to it: the whole, or those that a finish counted, or all while nothing has.
    fn own_parts(&self) -> Vec<(usize, u64, u64)> {
        if let Some(whole) = self.parts.get(&0) {
            return vec![*whole];
        }
        let last = self.finished.map_or(u32::MAX, |(parts, _)| parts);
        self.parts.range(1..=last.max(1)).map(|(_, part)| *part).collect()
    }

    fn standing_alone(&self, parts: usize) -> Standing {
        match self.finished {
            _ if self.parts.contains_key(&0) => Standing::Visible,
            None => Standing::Pending,
            Some((wanted, _)) if usize::try_from(wanted) == Ok(parts) => Standing::Visible,
            Some(_) => Standing::Incomplete,
        }
    }

    /// Since when it replaces earlier versions in an unversioned collection.
    fn replaces(&self) -> Option<u64> {
        let plain = self.parts.get(&0).map(|(_, _, time_ms)| *time_ms);
        earliest(plain, self.finished.map(|(_, time_ms)| time_ms))
    }
}

fn gather(slots: &mut BTreeMap<UnifiedId, Slot>, at: usize, event: Event) {
    match event {
        Event::Final { version, part, size, time_ms } => {
            slots.entry(version).or_default().parts.entry(part).or_insert((at, size, time_ms));
        }
        Event::Finished { version, parts, time_ms } => {
            slots.entry(version).or_default().finished.get_or_insert((parts, time_ms));
        }
        Event::Aborted { version, time_ms } => {
            let slot = slots.entry(version).or_default();
            slot.aborted = earliest(slot.aborted, Some(time_ms));
        }
        Event::Tombstone { version, target: None, time_ms } => {
            let slot = slots.entry(version).or_default();
            slot.general = earliest(slot.general, Some(time_ms));
        }
        Event::Tombstone { target: Some(target), time_ms, .. } => {
            let slot = slots.entry(target).or_default();
            slot.deleted = earliest(slot.deleted, Some(time_ms));
        }
        Event::Floor { version, time_ms } => {
            let slot = slots.entry(version).or_default();
            slot.floor = earliest(slot.floor, Some(time_ms));
        }
    }
}

fn earliest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "visibility_tests.rs"]
mod tests;
