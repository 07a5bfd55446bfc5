//! What a host keeps of a plugin beside its code: its journal, its breaker, and who it is in both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge, counter, gauge};

use crate::aloud::Aloud;
use crate::breaker::{Breaker, Changed, Ending};
use crate::journal::{Journal, Subject};
use crate::{BreakerRule, BreakerState, Failure};

/// Most versions of one plugin that are counted by their own name, in the life of a process: a series is
/// never forgotten. Those after them are counted together.
const VERSIONS_MAX: usize = 32;

/// The version under which all later ones are counted.
const LATER: &str = "later";

/// What a host knows of plugins by their names, whatever is loaded under them.
#[derive(Debug, Default)]
pub(crate) struct Known {
    names: Mutex<BTreeMap<String, Name>>,
}

#[derive(Debug, Default)]
struct Name {
    journal: Journal,
    versions: BTreeSet<String>,
}

impl Known {
    /// The journal of a plugin that was loaded, or nearly.
    pub(crate) fn journal(&self, plugin: &str) -> Option<Journal> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(plugin).map(|name| name.journal.clone())
    }

    /// The journal of this plugin, and the version as it is counted.
    pub(crate) fn meet(&self, plugin: &str, version: &str) -> (Journal, String) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let name = names.entry(plugin.to_owned()).or_default();
        if name.versions.len() < VERSIONS_MAX {
            name.versions.insert(version.to_owned());
        }
        let counted = if name.versions.contains(version) { version } else { LATER };
        (name.journal.clone(), counted.to_owned())
    }
}

/// Who speaks: a plugin in one version. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    shared: Arc<Speaker>,
}

#[derive(Debug)]
struct Speaker {
    plugin: String,
    version: Arc<str>,
    journal: Journal,
    /// What it says is in the node's own log too, as far as this goes.
    aloud: Option<Aloud>,
}

impl Voice {
    pub(crate) fn new(plugin: &str, version: &str, journal: Journal) -> Self {
        let (plugin, version) = (plugin.to_owned(), version.into());
        Self {
            shared: Arc::new(Speaker { plugin, version, journal, aloud: Some(Aloud::default()) }),
        }
    }

    /// One that is heard by nobody who does not ask for it.
    pub(crate) fn aside(plugin: &str, version: &str) -> Self {
        let (plugin, version) = (plugin.to_owned(), version.into());
        let journal = Journal::default();
        Self { shared: Arc::new(Speaker { plugin, version, journal, aloud: None }) }
    }

    /// Whether its next line goes into the node's own log too; if so, how many did not since the last one.
    pub(crate) fn speaks(&self) -> Option<u64> {
        self.shared.aloud.as_ref()?.admit(runtime::now())
    }

    /// The plugin.
    pub(crate) fn name(&self) -> &str {
        &self.shared.plugin
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Keeps a line.
    pub(crate) fn say(&self, level: &'static str, of: Subject, text: String) {
        self.shared.journal.say(level, &self.shared.version, of, text);
    }

    fn fail(&self, of: Subject, failure: &Failure) {
        let text = match failure {
            Failure::Trap { text } | Failure::BadOutput { text } => text.clone(),
            other => other.to_string(),
        };
        self.shared.journal.fail(failure.name(), &self.shared.version, of, text);
    }
}

#[cfg(test)]
impl From<&str> for Voice {
    fn from(plugin: &str) -> Self {
        Self::new(plugin, "1.0", Journal::default())
    }
}

/// Watches over the calls of one plugin.
#[derive(Debug)]
pub(crate) struct Watch {
    voice: Voice,
    /// `None`: what it does counts for nothing.
    guarded: Option<Guarded>,
}

#[derive(Debug)]
struct Guarded {
    breaker: Breaker,
    meters: Meters,
}

impl Watch {
    pub(crate) fn new(voice: Voice, rule: BreakerRule) -> Self {
        let meters = Meters::new(voice.name());
        meters.left_alone.set(0.0);
        Self { voice, guarded: Some(Guarded { breaker: Breaker::new(rule), meters }) }
    }

    /// One that lets every call through and remembers nothing of it.
    pub(crate) const fn aside(voice: Voice) -> Self {
        Self { voice, guarded: None }
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.guarded.as_ref().map_or(BreakerState::Closed, |guarded| guarded.breaker.state())
    }

    pub(crate) fn opened(&self) -> u64 {
        self.guarded.as_ref().map_or(0, |guarded| guarded.breaker.opened())
    }

    /// Makes a call unless the plugin is left alone, and keeps how it failed.
    pub(crate) async fn over<T>(
        &self,
        of: Subject,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let admitted = self.guarded.as_ref().map(|guarded| guarded.breaker.admit()).transpose();
        let pass = admitted.map_err(|left| Failure::Paused {
            retry_after_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        })?;
        let result = call.await;
        if let (Some(pass), Some(guarded)) = (pass, &self.guarded) {
            guarded.told(self.voice.name(), pass.end(ending(&result)));
            if let Err(failure) = &result {
                self.voice.fail(of, failure);
            }
        }
        result
    }
}

impl Guarded {
    fn told(&self, plugin: &str, changed: Changed) {
        match changed {
            Changed::Nothing => {}
            Changed::Opened => {
                self.meters.opened.increment(1);
                self.meters.left_alone.set(1.0);
                tracing::warn!(target: "plugin", plugin, "it fails again and again: not called for a while");
            }
            Changed::Closed => {
                self.meters.left_alone.set(0.0);
                tracing::info!(target: "plugin", plugin, "it answers again");
            }
        }
    }
}

/// What an end says of the guest. A guest that cannot decide is well; a host without room is not it, nor is
/// whoever asks it what it is not there for.
fn ending<T>(result: &Result<T, Failure>) -> Ending {
    match result {
        Ok(_) | Err(Failure::Refused { .. }) => Ending::Answered,
        Err(
            Failure::Trap { .. }
            | Failure::Fuel { .. }
            | Failure::Deadline { .. }
            | Failure::Memory { .. }
            | Failure::BadOutput { .. },
        ) => Ending::Failed,
        Err(Failure::Busy | Failure::Paused { .. } | Failure::Absent { .. }) => Ending::Neither,
    }
}

/// What is counted of a breaker.
struct Meters {
    opened: Counter,
    left_alone: Gauge,
}

impl Meters {
    fn new(plugin: &str) -> Self {
        let plugin = plugin.to_owned();
        Self {
            opened: counter!("carillon_plugin_breaker_opened_total", "plugin" => plugin.clone()),
            left_alone: gauge!("carillon_plugin_breaker_open", "plugin" => plugin),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Known;
    use crate::journal::Subject;

    #[test]
    fn generations_share_a_journal_and_the_series_are_bounded() {
        let known = Known::default();
        let (first, counted) = known.meet("m", "0");
        assert_eq!(counted, "0");
        first.say("info", &"0".into(), Subject::default(), "before".to_owned());
        let counted: Vec<String> =
            (1..1_000).map(|version| known.meet("m", &version.to_string()).1).collect();
        assert_eq!((counted[0].as_str(), counted[30].as_str()), ("1", "31"));
        assert!(counted[31..].iter().all(|version| version == "later"));
        let (again, counted) = known.meet("m", "0");
        assert_eq!((again.lines(None, 0).lines.len(), counted.as_str()), (1, "0"));
        assert!(known.meet("other", "0").0.lines(None, 0).lines.is_empty());
    }
}
