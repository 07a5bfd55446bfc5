//! Every version that a node knows of: on its way, ready, or failed.
//!
//! What is live or can be rolled back to is remembered as long as a generation names it, and of the others the
//! ones that were touched last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plugin::Plugin;
use tokio::sync::watch;

use crate::Digest;
use crate::preparation::{Step, Told};

/// Versions that no generation names and that are remembered all the same: pushed and not swapped in yet,
/// or failed.
const OTHERS_MAX: usize = 8;

/// Versions that are prepared at once: each may hold a component in memory. Others wait.
const RUNNING_MAX: usize = 8;

/// A name and a component.
pub(crate) type Key = (String, Digest);

/// Every version this node knows of.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    table: Mutex<Table>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    versions: BTreeMap<Key, (u64, Version)>,
    /// Rises with every change: what was touched last stays longest.
    touched: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Version {
    Running { done: Option<Step> },
    Ready(Arc<Plugin>),
    Failed { attempt: u64, done: Option<Step>, what: String },
}

impl Versions {
    /// One that is ready.
    pub(crate) fn ready(&self, key: &Key) -> Option<Arc<Plugin>> {
        match self.lock().versions.get(key) {
            Some((_, Version::Ready(plugin))) => Some(Arc::clone(plugin)),
            _ => None,
        }
    }

    /// How far one is, as far as this attempt goes; `None`: it has to be begun.
    pub(crate) fn told(&self, key: &Key, attempt: u64) -> Option<Told> {
        match &self.lock().versions.get(key)?.1 {
            Version::Running { done } => Some(Told::Running { done: *done }),
            Version::Ready(plugin) => Some(Told::Ready { version: plugin.version().to_owned() }),
            Version::Failed { attempt: of, done, what } if *of == attempt => {
                Some(Told::Failed { done: *done, what: what.clone() })
            }
            Version::Failed { .. } => None,
        }
    }

    /// Whether it was tried and cannot be used.
    pub(crate) fn has_failed(&self, key: &Key) -> bool {
        matches!(self.lock().versions.get(key), Some((_, Version::Failed { .. })))
    }

    /// Begins one. `None`: somebody else is at it, it is ready, or too many are on their way.
    pub(crate) fn begin(&self, key: &Key, asked: Option<u64>) -> Option<Try> {
        let mut table = self.lock();
        let failed = match table.versions.get(key) {
            Some((_, Version::Running { .. } | Version::Ready(_))) => return None,
            Some((_, Version::Failed { what, .. })) => Some(what.clone()),
            None => None,
        };
        let running = table.versions.values();
        let running = running.filter(|(_, version)| matches!(version, Version::Running { .. }));
        if running.count() >= RUNNING_MAX {
            return None;
        }
        table.set(key, Version::Running { done: None });
        Some(Try { asked, failed })
    }

    pub(crate) fn set(&self, key: &Key, version: Version) {
        self.lock().set(key, version);
        self.changes.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn done(&self, key: &Key, step: Step) {
        self.set(key, Version::Running { done: Some(step) });
    }

    /// Told whenever one gets further.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Forgets what is neither named nor among the last ones touched.
    pub(crate) fn trim(&self, named: &BTreeSet<Key>) {
        let mut table = self.lock();
        let others = table.versions.iter().filter(|(key, (_, version))| {
            !named.contains(*key) && !matches!(version, Version::Running { .. })
        });
        let mut others: Vec<(u64, Key)> =
            others.map(|(key, (touched, _))| (*touched, key.clone())).collect();
        others.sort();
        let beyond = others.len().saturating_sub(OTHERS_MAX);
        for (_, key) in others.into_iter().take(beyond) {
            table.versions.remove(&key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One try to prepare a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Try {
    /// The attempt of a change that asks for it; `None`: this node needs it.
    pub(crate) asked: Option<u64>,
    /// Why the one before failed.
    pub(crate) failed: Option<String>,
}

impl Try {
    /// What nobody asks for is tried until it succeeds: why it does not is told once.
    pub(crate) fn is_news(&self, what: &str) -> bool {
        self.asked.is_some() || self.failed.as_deref() != Some(what)
    }
}

impl Table {
    fn set(&mut self, key: &Key, version: Version) {
        self.touched += 1;
        self.versions.insert(key.clone(), (self.touched, version));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Key, OTHERS_MAX, Try, Version, Versions};
    use crate::Digest;
    use crate::preparation::{Step, Told};

    fn key(index: usize) -> Key {
        (format!("p{index}"), Digest::of(&[u8::try_from(index).unwrap()]))
    }

    fn failed(attempt: u64) -> Version {
        Version::Failed { attempt, done: Some(Step::Linked), what: "no".to_owned() }
    }

    #[test]
    fn what_failed_is_tried_anew_by_another_attempt_only() {
        let versions = Versions::default();
        assert_eq!(versions.told(&key(1), 7), None);
        let begin = |asked| versions.begin(&key(1), asked);
        assert_eq!(begin(Some(7)), Some(Try { asked: Some(7), failed: None }));
        assert_eq!(begin(Some(7)), None, "somebody is at it");
        assert_eq!(versions.told(&key(1), 7), Some(Told::Running { done: None }));
        versions.set(&key(1), failed(7));
        assert!(matches!(versions.told(&key(1), 7), Some(Told::Failed { .. })));
        assert_eq!(versions.told(&key(1), 8), None);
        assert_eq!(begin(None), Some(Try { asked: None, failed: Some("no".to_owned()) }));
    }

    #[test]
    fn what_nobody_names_is_forgotten_beyond_a_few_the_oldest_first() {
        let versions = Versions::default();
        for index in 0..OTHERS_MAX + 3 {
            versions.set(&key(index), failed(1));
        }
        assert!(versions.begin(&key(100), None).is_some());
        versions.trim(&BTreeSet::from([key(0)]));
        let left: Vec<Key> = versions.lock().versions.keys().cloned().collect();
        assert_eq!(left.len(), OTHERS_MAX + 2);
        assert!(left.contains(&key(0)) && left.contains(&key(100)));
        assert!(!left.contains(&key(1)) && !left.contains(&key(2)));
    }
}
