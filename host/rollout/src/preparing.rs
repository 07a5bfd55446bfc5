//! Preparing a version on this node: beside everything else it is fetched, checked, compiled and tried, and nothing
//! is changed that messages meet.
//!
//! Of a change that somebody asked for each step is kept in the audit log; what the node needs by itself, at its
//! start or when it is behind, is told by how it ended.

use std::sync::{Arc, Mutex};

use hashring::NodeId;
use plugin::{Loading, Plugin};

use crate::artefacts::Artefact;
use crate::audit::AuditLine;
use crate::changing::locked;
use crate::preparation::{Step, Told};
use crate::rollout::Shared;
use crate::settings::{Point, Unusable};
use crate::signature::Unsigned;
use crate::versions::{Key, Try, Version, Versions};
use crate::{Digest, meters};

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
        if let Some(begun) = self.versions.begin(key, Some(attempt)) {
            let (shared, key, stop) = (Arc::clone(self), key.clone(), network.tasks.stop().clone());
            network.tasks.spawn("plugin being prepared", async move {
                tokio::select! { biased;
                    () = stop.stopped() => {}
                    () = async { drop(shared.bring(&key, begun, from).await) } => {}
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
        let mut changes = self.versions.changes();
        loop {
            if let Some(plugin) = self.versions.ready(key) {
                return Ok(plugin);
            }
            if let Some(begun) = self.versions.begin(key, None) {
                return self.bring(key, begun, from).await;
            }
            // The sender lives as long as this.
            drop(changes.changed().await);
        }
    }

    /// Does it, for whoever began it.
    async fn bring(
        &self,
        key: &Key,
        begun: Try,
        from: Option<NodeId>,
    ) -> Result<Arc<Plugin>, NotPrepared> {
        let attempt = begun.asked.unwrap_or_else(rand::random);
        // Whoever waits must not wait for one who went away.
        let left = Left { versions: &self.versions, key, attempt };
        let brought = self.steps(key, &begun, from).await;
        std::mem::forget(left);
        let (name, digest) = key;
        let now_ms = runtime::wall_ms();
        match brought {
            Ok(plugin) => {
                meters::prepared("ready");
                self.write(line(key, now_ms, "prepared", plugin.version())).await;
                self.versions.set(key, Version::Ready(Arc::clone(&plugin)));
                self.versions.trim(&self.named());
                self.settings.reached(Point::Prepared).await;
                Ok(plugin)
            }
            Err((done, why)) => {
                let next = Step::ALL.into_iter().find(|step| Some(*step) > done);
                meters::prepared(next.unwrap_or(Step::SelfTest).name());
                let what = why.to_string();
                if begun.is_news(&what) {
                    tracing::warn!(node = %self.settings.node, plugin = name, %digest, %why,
                        "a version of a plugin cannot be prepared");
                    self.write(line(key, now_ms, "refused", &what)).await;
                }
                self.versions.set(key, Version::Failed { attempt, done, what });
                self.versions.trim(&self.named());
                Err(why)
            }
        }
    }

    /// Says and keeps that steps were done, and when.
    async fn did(&self, key: &Key, begun: &Try, steps: &[(Step, u64)]) {
        if let Some((step, _)) = steps.last() {
            self.versions.done(key, *step);
        }
        // What a node needs by itself, at its start or when it is behind, is told by its end alone.
        if begun.asked.is_some() {
            let steps = steps.iter().map(|(step, at_ms)| line(key, *at_ms, step.name(), ""));
            self.note(steps.collect()).await;
        }
    }

    async fn steps(
        &self,
        key: &Key,
        begun: &Try,
        from: Option<NodeId>,
    ) -> Result<Arc<Plugin>, (Option<Step>, NotPrepared)> {
        let (name, digest) = key;
        let artefact = self.obtain(name, *digest, from.clone()).await;
        let artefact = artefact.map_err(|what| (None, NotPrepared::Missing(what)))?;
        self.did(key, begun, &[(Step::Fetched, runtime::wall_ms())]).await;
        let done = || self.versions.told(key, 0).and_then(|told| told.done());
        let unusable = |what: String, fix: &str| {
            let (plugin, fix) = (name.clone(), fix.to_owned());
            NotPrepared::Unusable(Unusable { plugin, what, fix })
        };
        let artefact = self.signed(key, artefact, from).await.map_err(|why| {
            let fix = "Have it signed with a trusted key under this name, and push both";
            (done(), unusable(format!("plugin {name}: {why}"), fix))
        })?;
        self.did(key, begun, &[(Step::Verified, runtime::wall_ms())]).await;
        self.settings.reached(Point::Compiling).await;
        let spec = (self.settings.spec)(name, artefact.component);
        let loading = Mutex::new(Vec::new());
        let told = |at| {
            let step = match at {
                Loading::Compiled => Step::Compiled,
                Loading::Linked => Step::Linked,
            };
            self.versions.done(key, step);
            locked(&loading).push((step, runtime::wall_ms()));
        };
        let loaded = self.settings.host.load_telling(spec, &told).await;
        let mut steps = std::mem::take(&mut *locked(&loading));
        steps.extend(loaded.is_ok().then(|| (Step::CheckConfig, runtime::wall_ms())));
        self.did(key, begun, &steps).await;
        let plugin = loaded.map_err(|error| {
            (done(), NotPrepared::Unusable((self.settings.explain)(name, &error)))
        })?;
        self.settings.reached(Point::Checked).await;
        plugin.self_test().await.map_err(|failure| {
            let what =
                format!("plugin {name} fails its self-test: asked about a message it {failure}");
            (done(), unusable(what, "Tell its author; what was live is live"))
        })?;
        self.did(key, begun, &[(Step::SelfTest, runtime::wall_ms())]).await;
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
        let Ok(other) = self.fetch(*digest, from).await else { return Err(why) };
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
        let artefact = self.fetch(digest, from).await;
        let artefact = artefact.map_err(|missing| format!("plugin {name}: {missing}"))?;
        self.keep(&artefact, digest).await.map_err(|error| format!("plugin {name}: {error}"))?;
        Ok(artefact)
    }
}

/// A line of the audit log about a version.
fn line(key: &Key, at_ms: u64, event: &str, detail: &str) -> AuditLine {
    let (name, digest) = key;
    AuditLine {
        at_ms,
        line: 0,
        event: event.to_owned(),
        plugin: name.clone(),
        digest: Some(*digest),
        generation: None,
        detail: detail.to_owned(),
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
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use plugin::{Grant, Host, HostConfig, LimitsWanted, LoadError, Spec};

    use super::Try;
    use crate::artefacts::Artefact;
    use crate::rollout::Shared;
    use crate::{Digest, Rollout, Settings, Trust, Unusable};

    /// A node without others.
    fn node(folder: &Path) -> Arc<Shared> {
        let spec = |name: &str, component: Bytes| Spec {
            name: name.to_owned(),
            component,
            config: serde_json::json!({}),
            grant: Grant::default(),
            limits: LimitsWanted::default(),
            on_failure: None,
        };
        let explain = |name: &str, error: &LoadError| {
            let (plugin, what) = (name.to_owned(), error.to_string());
            Unusable { plugin, what, fix: "Mend it".to_owned() }
        };
        let settings = Settings {
            node: "n1".parse().unwrap(),
            folder: folder.to_owned(),
            host: Host::new(HostConfig::default()).unwrap(),
            spec: Arc::new(spec),
            explain: Arc::new(explain),
            switch: Arc::new(|_lineup| {}),
            beside: None,
            guard: Arc::new(|_name| None),
            trust: Trust::default(),
            keep: 3,
            seeds: Vec::new(),
            hook: None,
        };
        Rollout::open(settings).unwrap().shared
    }

    fn events(node: &Shared) -> Vec<String> {
        node.told().into_iter().map(|line| line.event).collect()
    }

    /// A node that could not have what was live wrote so every second.
    #[tokio::test]
    async fn why_a_node_cannot_have_what_it_needs_is_told_once_and_what_was_asked_for_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path());
        let component = Bytes::from_static(b"no component");
        let key = ("p".to_owned(), Digest::of(&component));
        node.keep(&Artefact { component, signatures: None }, key.1).await.unwrap();
        for _ in 0..3 {
            assert!(node.prepared(&key, None).await.is_err());
        }
        assert_eq!(events(&node), ["refused"]);
        for attempt in [7, 8] {
            let begun = node.versions.begin(&key, Some(attempt)).unwrap();
            assert!(node.bring(&key, begun, None).await.is_err());
        }
        let asked = ["fetched", "verified", "refused"];
        assert_eq!(events(&node), [&["refused"][..], &asked, &asked].concat());
        // Another reason is news.
        let begun = Try { asked: None, failed: Some("another".to_owned()) };
        assert!(node.bring(&key, begun, None).await.is_err());
        assert_eq!(events(&node).len(), 8);
    }
}
