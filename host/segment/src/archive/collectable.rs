//! Which facts of a key nobody needs any more: a pure function.
//!
//! What is hidden goes after a while. What hides goes after the grace, and only when nothing is left that it
//! hides: not in any file, even one that should have been compacted, since an index may be built from files
//! alone. And what has hidden others in an unversioned collection leaves a floor when it goes, because
//! something it replaced may still stand elsewhere, or arrive late.

use crate::archive::fact::{At, Fact};
use crate::archive::{Event, Standing, UnifiedId, Versioning, visibility};

/// When something may go. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) now_ms: u64,
    /// Hidden bytes stay so long.
    pub(crate) hidden_for_ms: u64,
    /// Hiding facts stay so long.
    pub(crate) grace_ms: u64,
}

impl Terms {
    fn graced(&self, time_ms: u64) -> bool {
        time_ms.saturating_add(self.grace_ms) <= self.now_ms
    }
}

/// For each of the facts of one key whether it may go.
pub(crate) fn collectable(versioning: Versioning, facts: &[&Fact], terms: Terms) -> Vec<bool> {
    let events: Vec<Event> = facts.iter().filter_map(|fact| fact.event()).collect();
    let hides = Hides { versioning, events, facts, terms };
    facts.iter().map(|fact| hides.may_go(fact)).collect()
}

/// The floor that must be left when some facts of a key go; `gone` is who they are.
pub(crate) fn floor(
    versioning: Versioning,
    facts: &[&Fact],
    gone: impl Fn(&Fact) -> bool,
    now_ms: u64,
) -> Option<Fact> {
    if versioning == Versioning::Versioned {
        return None;
    }
    let replaced = |fact: &&Fact| match fact {
        Fact::Final(made) if made.part == 0 => Some(made.at.clone()),
        Fact::Finished { at, .. } => Some(at.clone()),
        _ => None,
    };
    let going = facts.iter().filter(|fact| gone(fact)).filter_map(replaced);
    let at: At = going.max_by_key(|at| at.version)?;
    let covers = |fact: &&&Fact| match fact {
        Fact::Tombstone { at: by, target: None, .. } => by.version > at.version,
        Fact::Floor { at: by, .. } => by.version >= at.version,
        other => replaced(other).is_some_and(|by| by.version > at.version),
    };
    let covered = facts.iter().filter(|fact| !gone(fact)).any(|fact| covers(&fact));
    (!covered).then_some(Fact::Floor { at, time_ms: now_ms })
}

struct Hides<'a> {
    versioning: Versioning,
    events: Vec<Event>,
    facts: &'a [&'a Fact],
    terms: Terms,
}

impl Hides<'_> {
    fn may_go(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Final(made) => self.is_long_hidden(made.at.version),
            Fact::Started { at, .. } | Fact::Finished { at, .. } => self.is_long_hidden(at.version),
            Fact::Tombstone { at, target: None, time_ms, .. } => {
                self.terms.graced(*time_ms) && !self.archives(|version| version < at.version)
            }
            Fact::Tombstone { target: Some(target), time_ms, .. } => {
                self.terms.graced(*time_ms) && !self.archives(|version| version == *target)
            }
            Fact::Aborted { at, time_ms } => {
                self.terms.graced(*time_ms) && !self.archives(|version| version == at.version)
            }
            Fact::Floor { at, time_ms } => {
                self.terms.graced(*time_ms) && !self.archives(|version| version <= at.version)
            }
            Fact::Collection { .. }
            | Fact::Cancelled { .. }
            | Fact::WriterStarted { .. }
            | Fact::Held(_) => false,
        }
    }

    /// Whether any archive of such a version is there, in whole or in part, seen or not.
    fn archives(&self, of: impl Fn(UnifiedId) -> bool) -> bool {
        self.facts.iter().any(|fact| match fact {
            Fact::Final(made) => of(made.at.version),
            Fact::Started { at, .. } | Fact::Finished { at, .. } => of(at.version),
            _ => false,
        })
    }

    fn is_long_hidden(&self, version: UnifiedId) -> bool {
        let found = visibility::versions(self.versioning, &self.events).into_iter();
        let mut found = found.filter(|found| found.id == version).map(|found| found.standing);
        let since = match found.next() {
            Some(Standing::Hidden { since_ms }) => Some(since_ms),
            Some(_) => None,
            // It was started, and has no part.
            None => self.aborted_or_deleted(version),
        };
        since.is_some_and(|since| {
            since.saturating_add(self.terms.hidden_for_ms) <= self.terms.now_ms
        })
    }

    fn aborted_or_deleted(&self, version: UnifiedId) -> Option<u64> {
        let hiding = self.events.iter().filter_map(|event| match *event {
            Event::Aborted { version: of, time_ms } if of == version => Some(time_ms),
            Event::Tombstone { target: Some(of), time_ms, .. } if of == version => Some(time_ms),
            Event::Tombstone { version: by, target: None, time_ms } if by > version => {
                Some(time_ms)
            }
            _ => None,
        });
        hiding.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::fact::Final;
    use crate::archive::{Adler32, Md5, Upload};
    use Versioning::{Unversioned, Versioned};

    const TERMS: Terms = Terms { now_ms: 1000, hidden_for_ms: 100, grace_ms: 500 };

    fn at(version: u64) -> At {
        let (collection, key) = ("c".parse().unwrap(), "k".parse().unwrap());
        At { collection, key, version: UnifiedId(version) }
    }

    fn made(version: u64, time_ms: u64) -> Fact {
        Fact::Final(Final {
            upload: Upload { node: "n1".parse().unwrap(), boot: 1, count: version },
            at: at(version),
            part: 0,
            segment_number: 1,
            coding: 0,
            hand_off: None,
            sequences: 0,
            size: 0,
            md5: Md5::of(&[]),
            adler32: Adler32::EMPTY,
            time_ms,
            meta: Vec::new(),
            table: crate::archive::Table::EMPTY,
            repeat: None,
            holders: Vec::new(),
        })
    }

    fn tombstone(version: u64, target: Option<u64>, time_ms: u64) -> Fact {
        let target = target.map(UnifiedId);
        Fact::Tombstone { at: at(version), target, time_ms, repeat: None }
    }

    fn floor_at(version: u64, time_ms: u64) -> Fact {
        Fact::Floor { at: at(version), time_ms }
    }

    fn go(versioning: Versioning, facts: &[Fact]) -> Vec<bool> {
        collectable(versioning, &facts.iter().collect::<Vec<_>>(), TERMS)
    }

    #[test]
    fn what_is_hidden_long_enough_goes() {
        assert_eq!(go(Unversioned, &[made(1, 0), made(2, 900)]), [true, false]);
        assert_eq!(go(Unversioned, &[made(1, 0), made(2, 901)]), [false, false]);
        assert_eq!(go(Versioned, &[made(1, 0), made(2, 0)]), [false, false]);
        assert_eq!(go(Versioned, &[made(1, 0), tombstone(2, None, 900)]), [true, false]);
    }

    #[test]
    fn what_hides_stays_for_the_grace_and_while_anything_it_hides_is_left() {
        assert_eq!(go(Versioned, &[tombstone(2, None, 501)]), [false]);
        assert_eq!(go(Versioned, &[tombstone(2, None, 500)]), [true]);
        // The archive may go, and goes first: a start may find it in a file again.
        assert_eq!(go(Versioned, &[made(1, 0), tombstone(2, None, 0)]), [true, false]);
        assert_eq!(go(Versioned, &[made(1, 0), tombstone(2, Some(1), 0)]), [true, false]);
        assert_eq!(go(Versioned, &[made(3, 0), tombstone(2, None, 0)]), [false, true]);
        assert_eq!(go(Unversioned, &[made(2, 0), floor_at(2, 0)]), [true, false]);
        assert_eq!(go(Unversioned, &[made(3, 0), floor_at(2, 0)]), [false, true]);
    }

    #[test]
    fn an_abort_stays_while_a_part_is_left() {
        let aborted = Fact::Aborted { at: at(1), time_ms: 0 };
        let started = Fact::Started { at: at(1), time_ms: 0, repeat: None };
        assert_eq!(go(Versioned, &[started, aborted.clone()]), [true, false]);
        assert_eq!(go(Versioned, &[aborted]), [true]);
        assert_eq!(
            go(Versioned, &[Fact::Started { at: at(1), time_ms: 0, repeat: None }]),
            [false]
        );
    }

    /// A deleted archive that had replaced an earlier one is collected, and the earlier one still stands
    /// in another file: without a floor it would be seen again.
    #[test]
    fn what_replaced_others_leaves_a_floor() {
        let left = |versioning, facts: &[Fact], gone: &[u64]| {
            let facts: Vec<&Fact> = facts.iter().collect();
            let is_gone = |fact: &Fact| matches!(fact, Fact::Final(made) if gone.contains(&made.at.version.0));
            floor(versioning, &facts, is_gone, 7)
        };
        let facts = [made(1, 0), made(2, 0), tombstone(3, Some(2), 0)];
        assert_eq!(left(Unversioned, &facts, &[2]), Some(floor_at(2, 7)));
        assert_eq!(left(Unversioned, &facts, &[1]), None);
        assert_eq!(left(Unversioned, &facts, &[1, 2]), Some(floor_at(2, 7)));
        assert_eq!(left(Versioned, &facts, &[2]), None);
        assert_eq!(left(Unversioned, &[made(1, 0), tombstone(3, None, 0)], &[1]), None);
        assert_eq!(left(Unversioned, &[made(1, 0), floor_at(1, 0)], &[1]), None);
    }
}
