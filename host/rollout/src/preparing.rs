//! Versions that are prepared on this node, or are about to be.
//!
//! Preparing is done beside everything else: it fetches, checks, compiles and tries, and changes nothing
//! that messages meet. What is ready stays ready as long as a generation names it, and a little longer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashring::NodeId;
use plugin::{Loading, Plugin};
use tokio::sync::watch;

use crate::artefacts::Artefact;
use crate::audit::AuditLine;
use crate::preparation::{Step, Told};
use crate::rollout::Shared;
use crate::settings::{Point, Unusable};
use crate::signature::Unsigned;
use crate::{Digest, meters};

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
enum Version {
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

    /// Begins one. `false`: somebody else is at it, it is ready, or too many are on their way.
    fn begin(&self, key: &Key) -> bool {
        let mut table = self.lock();
        if let Some((_, Version::Running { .. } | Version::Ready(_))) = table.versions.get(key) {
            return false;
        }
        let running = table.versions.values();
        let running = running.filter(|(_, version)| matches!(version, Version::Running { .. }));
        if running.count() >= RUNNING_MAX {
            return false;
        }
        table.set(key, Version::Running { done: None });
        true
    }

    fn set(&self, key: &Key, version: Version) {
        self.lock().set(key, version);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn done(&self, key: &Key, step: Step) {
        self.set(key, Version::Running { done: Some(step) });
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

impl Table {
    fn set(&mut self, key: &Key, version: Version) {
        self.touched += 1;
        self.versions.insert(key.clone(), (self.touched, version));
    }
}

/// Why a version is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotPrepared {
    /// Its component is nowhere to be had at the moment.
    Missing(String),
    /// It cannot be used.
    Unusable(Unusable),
}

impl std::fmt::Display for NotPrepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(what) => f.write_str(what),
            Self::Unusable(why) => why.fmt(f),
        }
    }
}

impl Shared {
    /// Begins to prepare a version unless it is ready or under way, and says how far it is. `from` is asked
    /// for the component first.
    pub(crate) fn prepare(self: &Arc<Self>, key: &Key, attempt: u64, from: Option<NodeId>) -> Told {
        if let Some(told) = self.versions.told(key, attempt) {
            return told;
        }
        let begun = Told::Running { done: None };
        let Some(network) = self.network.get() else { return begun };
        if self.versions.begin(key) {
            let (shared, key, stop) = (Arc::clone(self), key.clone(), network.tasks.stop().clone());
            network.tasks.spawn("plugin being prepared", async move {
                tokio::select! { biased;
                    () = stop.stopped() => {}
                    () = async { drop(shared.bring(&key, attempt, from).await) } => {}
                }
            });
        }
        begun
    }

    /// Prepares a version, or waits for whoever is at it.
    pub(crate) async fn prepared(
        &self,
        key: &Key,
        from: Option<NodeId>,
    ) -> Result<Arc<Plugin>, NotPrepared> {
        let mut changes = self.versions.changes.subscribe();
        loop {
            if let Some(plugin) = self.versions.ready(key) {
                return Ok(plugin);
            }
            if self.versions.begin(key) {
                return self.bring(key, rand::random(), from).await;
            }
            // The sender lives as long as this.
            drop(changes.changed().await);
        }
    }

    /// Does it, for whoever began it.
    async fn bring(
        &self,
        key: &Key,
        attempt: u64,
        from: Option<NodeId>,
    ) -> Result<Arc<Plugin>, NotPrepared> {
        // Whoever waits must not wait for one who went away.
        let left = Left { versions: &self.versions, key, attempt };
        let brought = self.steps(key, from).await;
        std::mem::forget(left);
        let (name, digest) = key;
        let line = |event: &str, detail: &str| AuditLine {
            at_ms: runtime::wall_ms(),
            line: 0,
            event: event.to_owned(),
            plugin: name.clone(),
            digest: Some(*digest),
            generation: None,
            detail: detail.to_owned(),
        };
        match brought {
            Ok(plugin) => {
                meters::prepared("ready");
                self.write(line("prepared", plugin.version())).await;
                self.versions.set(key, Version::Ready(Arc::clone(&plugin)));
                self.versions.trim(&self.named());
                self.settings.reached(Point::Prepared).await;
                Ok(plugin)
            }
            Err((done, why)) => {
                let next = Step::ALL.into_iter().find(|step| Some(*step) > done);
                meters::prepared(next.unwrap_or(Step::SelfTest).name());
                tracing::warn!(node = %self.settings.node, plugin = name, %digest, %why,
                    "a version of a plugin cannot be prepared");
                let what = why.to_string();
                self.write(line("refused", &what)).await;
                self.versions.set(key, Version::Failed { attempt, done, what });
                self.versions.trim(&self.named());
                Err(why)
            }
        }
    }

    async fn steps(
        &self,
        key: &Key,
        from: Option<NodeId>,
    ) -> Result<Arc<Plugin>, (Option<Step>, NotPrepared)> {
        let (name, digest) = key;
        let artefact = self.obtain(name, *digest, from.clone()).await;
        let artefact = artefact.map_err(|what| (None, NotPrepared::Missing(what)))?;
        self.versions.done(key, Step::Fetched);
        let done = || self.versions.told(key, 0).and_then(|told| told.done());
        let unusable = |what: String, fix: &str| {
            let (plugin, fix) = (name.clone(), fix.to_owned());
            NotPrepared::Unusable(Unusable { plugin, what, fix })
        };
        let artefact = self.signed(key, artefact, from).await.map_err(|why| {
            let fix = "Have it signed with a trusted key under this name, and push both";
            (done(), unusable(format!("plugin {name}: {why}"), fix))
        })?;
        self.versions.done(key, Step::Verified);
        let spec = (self.settings.spec)(name, artefact.component);
        let told = |loading| {
            let step = match loading {
                Loading::Compiled => Step::Compiled,
                Loading::Linked => Step::Linked,
            };
            self.versions.done(key, step);
        };
        let loaded = self.settings.host.load_telling(spec, &told).await;
        let plugin = loaded.map_err(|error| {
            (done(), NotPrepared::Unusable((self.settings.explain)(name, &error)))
        })?;
        self.versions.done(key, Step::CheckConfig);
        plugin.self_test().await.map_err(|failure| {
            let what =
                format!("plugin {name} fails its self-test: asked about a message it {failure}");
            (done(), unusable(what, "Tell its author; what was live is live"))
        })?;
        Ok(plugin)
    }

    /// The component, if it is believed. Where this disk has no signature of it that counts, as when it came under
    /// another name, the node that asks may have one.
    async fn signed(
        &self,
        key: &Key,
        artefact: Artefact,
        from: Option<NodeId>,
    ) -> Result<Artefact, Unsigned> {
        let (name, digest) = key;
        let check = |artefact: &Artefact| self.settings.trust.check(name, *digest, artefact);
        let Err(why) = check(&artefact) else { return Ok(artefact) };
        let Some(other) = self.fetch(*digest, from).await else { return Err(why) };
        check(&other)?;
        if let Err(error) = self.keep(&other, *digest).await {
            tracing::warn!(plugin = name, %digest, %error, "a signature is not kept");
        }
        Ok(other)
    }

    /// The component, from this disk or another's.
    pub(crate) async fn obtain(
        &self,
        name: &str,
        digest: Digest,
        from: Option<NodeId>,
    ) -> Result<Artefact, String> {
        let artefacts = Arc::clone(&self.artefacts);
        let kept = runtime::blocking(move || artefacts.read(digest)).await.flatten();
        if let Some(artefact) = kept {
            return Ok(artefact);
        }
        let artefact = self.fetch(digest, from).await.ok_or_else(|| {
            format!(
                "plugin {name}: no node that can be reached has the component {digest}: push it again, \
                 or start a node that has it"
            )
        })?;
        self.keep(&artefact, digest).await.map_err(|error| format!("plugin {name}: {error}"))?;
        Ok(artefact)
    }
}

/// Says that nobody is at it any more.
struct Left<'a> {
    versions: &'a Versions,
    key: &'a Key,
    attempt: u64,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        let what = "it was not finished".to_owned();
        self.versions.set(self.key, Version::Failed { attempt: self.attempt, done: None, what });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Key, OTHERS_MAX, Version, Versions};
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
        assert!(versions.begin(&key(1)));
        assert!(!versions.begin(&key(1)), "somebody is at it");
        assert_eq!(versions.told(&key(1), 7), Some(Told::Running { done: None }));
        versions.set(&key(1), failed(7));
        assert!(matches!(versions.told(&key(1), 7), Some(Told::Failed { .. })));
        assert_eq!(versions.told(&key(1), 8), None);
        assert!(versions.begin(&key(1)));
    }

    #[test]
    fn what_nobody_names_is_forgotten_beyond_a_few_the_oldest_first() {
        let versions = Versions::default();
        for index in 0..OTHERS_MAX + 3 {
            versions.set(&key(index), failed(1));
        }
        versions.begin(&key(100));
        versions.trim(&BTreeSet::from([key(0)]));
        let left: Vec<Key> = versions.lock().versions.keys().cloned().collect();
        assert_eq!(left.len(), OTHERS_MAX + 2);
        assert!(left.contains(&key(0)) && left.contains(&key(100)));
        assert!(!left.contains(&key(1)) && !left.contains(&key(2)));
    }
}
