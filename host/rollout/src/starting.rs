//! How a node begins: with exactly what is live, or as what founds it.
//!
//! The registry says what is live. A cluster that has no record yet begins with the plugins of the first
//! node's configuration; from then on the record counts, and a file that was replaced becomes live by a
//! swap like any other. Where the registry says nothing, or something older than this node has had, the
//! node goes on with what its own disk knows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use registry::{Cas, Session, Value};

use crate::artefacts::{ARTEFACT_BYTES_MAX, Artefact, ArtefactError, read_at_most};
use crate::preparing::NotPrepared;
use crate::record::{LIVE, LiveSet};
use crate::rollout::{Behind, Shared};
use crate::settings::Unusable;
use crate::{Digest, Rollout, meters};

/// The pause before the registry is asked again.
const AGAIN: Duration = Duration::from_millis(250);
/// How often it is asked before what the disk knows is good enough.
const TRIES_MAX: u32 = 20;

/// How far a node came by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// What is live in the cluster is live here.
    Live,
    /// Components are missing: other nodes have them.
    Missing,
}

/// Why a node cannot begin. Nothing is live on it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its folder cannot be used. Nothing was changed; see the cause.
    #[error("the folder of plugins")]
    Folder(#[source] ArtefactError),
    /// Plugins cannot be used, all of them are listed. Nothing was changed; mend them.
    #[error("{}", .0.iter().map(|plugin| plugin.what.as_str()).collect::<Vec<_>>().join("; "))]
    Unusable(Vec<Unusable>),
    /// Nothing says what is live: the registry's record is none, and this node has never had one. An
    /// operator removes the record, and the next start founds it anew.
    #[error("{LIVE} in the registry: {0}. Remove it, and start again")]
    Record(String),
}

impl Rollout {
    /// Finds out what is live, and makes it live here as far as this node has it. Returns when the registry
    /// has answered, or has not for too long where the disk knows enough.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn begin(&self, session: &Session) -> Result<Begun, StartError> {
        let shared = &self.shared;
        let last = Arc::clone(&shared.last);
        let last = runtime::blocking(move || last.read()).await.flatten();
        shared.highest.store(last.as_ref().map_or(0, |last| last.number), Ordering::Relaxed);
        let set = shared.found(session, last).await?;
        shared.differences(&set).await;
        let mut missing = false;
        let mut unusable = Vec::new();
        for (name, plugin) in &set.plugins {
            match shared.prepared(&(name.clone(), plugin.digest), None).await {
                Ok(_ready) => {}
                Err(NotPrepared::Missing(what)) => {
                    tracing::warn!(node = %shared.settings.node, what, "asking other nodes");
                    missing = true;
                }
                Err(NotPrepared::Unusable(why)) => unusable.push(why),
            }
        }
        if !unusable.is_empty() {
            return Err(StartError::Unusable(unusable));
        }
        if missing {
            let what = "components of live plugins are missing here".to_owned();
            shared.behind.send_replace(Some(Behind { what, passes: true }));
            return Ok(Begun::Missing);
        }
        shared.adopt(set).await.map_err(|behind| StartError::Record(behind.what))?;
        Ok(Begun::Live)
    }
}

impl Shared {
    /// What is live in the cluster.
    async fn found(&self, session: &Session, last: Option<LiveSet>) -> Result<LiveSet, StartError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let read = session.get(LIVE).await;
            match (read, &last) {
                (Ok(None), _) => {
                    let set = match &last {
                        Some(last) => last.clone(),
                        None => self.seed().await?,
                    };
                    if self.write_first(session, &set).await {
                        return Ok(set);
                    }
                }
                (Ok(Some(value)), last) => match (self.judge(&value), last) {
                    (Ok(set), Some(last)) if set.number < last.number => {
                        self.older(&set, last.number);
                        return Ok(last.clone());
                    }
                    (Ok(set), _) => return Ok(set),
                    (Err(what), Some(last)) => {
                        tracing::error!(node = %self.settings.node, what, "going on with what the disk knows");
                        return Ok(last.clone());
                    }
                    (Err(what), None) => return Err(StartError::Record(what)),
                },
                (Err(error), Some(last)) if tries >= TRIES_MAX => {
                    tracing::warn!(node = %self.settings.node, %error, number = last.number,
                        "the registry does not say what is live: going on with what the disk knows");
                    return Ok(last.clone());
                }
                (Err(error), _) => {
                    if tries % TRIES_MAX == 0 {
                        tracing::error!(node = %self.settings.node, %error,
                            "not ready: the registry does not say which plugins are live; asking on");
                    }
                }
            }
            runtime::sleep(AGAIN).await;
        }
    }

    /// The record of a value, or what is wrong with it, which is counted.
    pub(crate) fn judge(&self, value: &Value) -> Result<LiveSet, String> {
        LiveSet::decode(&value.data).map_err(|error| {
            meters::foreign();
            error.to_string()
        })
    }

    /// The registry says something older than this node has had.
    pub(crate) fn older(&self, set: &LiveSet, than: u64) {
        meters::foreign();
        tracing::error!(node = %self.settings.node, number = set.number, than,
            "the registry's live plugins are older than this node's, as if it had been put back: nothing \
             is changed by it. The next swap goes on from the higher number");
    }

    /// Writes the first record. `false`: it is not known to stand there.
    async fn write_first(&self, session: &Session, set: &LiveSet) -> bool {
        let write = Cas { key: LIVE.to_owned(), expect: None, data: Some(set.encode()) };
        match session.cas(write).await {
            Ok(Ok(_)) => true,
            Ok(Err(_other)) => false,
            Err(error) => {
                tracing::warn!(node = %self.settings.node, %error, "founding the live plugins: trying again");
                false
            }
        }
    }

    /// What a new cluster begins with: the plugins of this node's configuration.
    async fn seed(&self) -> Result<LiveSet, StartError> {
        let (mut plugins, mut unusable) = (Vec::new(), Vec::new());
        for (name, path) in &self.settings.seeds {
            match self.seed_one(name, path).await {
                Ok((digest, version)) => plugins.push((name.clone(), digest, version)),
                Err(why) => unusable.push(why),
            }
        }
        match unusable.is_empty() {
            true => Ok(LiveSet::first(rand::random(), plugins)),
            false => Err(StartError::Unusable(unusable)),
        }
    }

    async fn seed_one(&self, name: &str, path: &Path) -> Result<(Digest, String), Unusable> {
        let unusable = |what: String, fix: &str| Unusable {
            plugin: name.to_owned(),
            what: format!("plugin {name}: {what}"),
            fix: fix.to_owned(),
        };
        let artefact = read(path).await.map_err(|why| {
            let fix = format!("Name the component's file in source below [plugins.{name}]");
            unusable(format!("{} cannot be read: {why}", path.display()), &fix)
        })?;
        let digest = Digest::of(&artefact.component);
        let kept = self.keep(&artefact, digest).await;
        kept.map_err(|error| unusable(error.to_string(), "Look at the disk"))?;
        let ready = self.prepared(&(name.to_owned(), digest), None).await;
        let plugin = ready.map_err(|why| match why {
            NotPrepared::Unusable(why) => why,
            NotPrepared::Missing(what) => unusable(what, "Try again"),
        })?;
        Ok((digest, plugin.version().to_owned()))
    }

    /// Keeps the components of the configuration that are live, and says which of it is not.
    async fn differences(&self, set: &LiveSet) {
        for (name, path) in &self.settings.seeds {
            let Ok(artefact) = read(path).await else { continue };
            let digest = Digest::of(&artefact.component);
            let (node, source) = (&self.settings.node, path.display());
            match set.plugins.get(name) {
                Some(plugin) if plugin.digest == digest => {
                    // It may be the only copy that this node has.
                    if let Err(error) = self.keep(&artefact, digest).await {
                        tracing::warn!(%node, %error, "a component is not kept");
                    }
                }
                Some(plugin) => {
                    tracing::warn!(%node, plugin = name, %source, live = plugin.version,
                        "source is another component than the one that is live, and what is live \
                         counts: make it live with carillon plugin swap {name} {source}");
                }
                None => {
                    tracing::warn!(%node, plugin = name, %source,
                        "source is not live: make it live with carillon plugin swap {name} {source}");
                }
            }
        }
    }
}

/// The component of a file, and the signature beside it, if there is one: `FILE.sig`.
async fn read(path: &Path) -> Result<Artefact, String> {
    let path = path.to_owned();
    let read = runtime::blocking(move || {
        let component = match std::fs::metadata(&path) {
            Ok(about) if about.len() > u64::try_from(ARTEFACT_BYTES_MAX).unwrap_or(u64::MAX) => {
                return Err(format!("{} bytes are too many", about.len()));
            }
            Ok(_) => std::fs::read(&path).map_err(|error| error.to_string())?,
            Err(error) => return Err(error.to_string()),
        };
        let mut beside = path.into_os_string();
        beside.push(".sig");
        let signature = read_at_most(Path::new(&beside), crate::artefacts::SIGNATURE_BYTES);
        Ok(Artefact { component: Bytes::from(component), signatures: signature.map(Bytes::from) })
    });
    read.await.unwrap_or_else(|| Err("the runtime is shutting down".to_owned()))
}
