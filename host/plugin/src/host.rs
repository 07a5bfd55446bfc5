//! From bytes to a plugin: the engine that all plugins of a process share, and the way in.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore, oneshot};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::component::{Loaded, Plugin};
use crate::engine::{self, Ticking};
use crate::limits;
use crate::manifest::Manifest;
use crate::{Grant, Limits, LimitsWanted, LoadError, OnFailure, imports};

/// Biggest component that is compiled: Python's are about 18 MiB.
const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// How a [`Host`] runs.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where compiled components are kept; `None` compiles every time.
    pub cache: Option<PathBuf>,
    /// The highest limits that manifest or configuration can give. Its memory is also the address
    /// space that is reserved for every call.
    pub ceiling: Limits,
    /// How many calls run at the same time; others wait. Each takes a slot of the pool.
    pub calls_max: u32,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self { cache: None, ceiling: Limits::CEILING, calls_max: 128 }
    }
}

/// The host could not be set up. Nothing was left behind.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine refused its configuration or the system refused its memory. The text says which.
    #[error("plugin engine: {text}")]
    Engine {
        /// What it said.
        text: String,
    },
    /// The cache folder or its key cannot be used. The operator mends its rights, or removes it.
    #[error("plugin cache {}", .path.display())]
    Cache {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system has no thread left. The operator raises the limit.
    #[error("starting a thread for plugins")]
    Thread(#[source] std::io::Error),
}

/// A component, and what the operator says about it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The operator's name for it: `NAME` of `[plugins.NAME]`.
    pub name: String,
    /// The component, packed or not.
    pub component: Bytes,
    /// `[plugins.NAME.config]`, or an empty object.
    pub config: serde_json::Value,
    /// `[plugins.NAME.grant]`.
    pub grant: Grant,
    /// `[plugins.NAME.limits]`.
    pub limits: LimitsWanted,
    /// `on_failure`; `None` leaves it to the manifest, and then to [`OnFailure::Reject`].
    pub on_failure: Option<OnFailure>,
}

/// Loads plugins. Clones are the same host; several nodes of one process share one. When the last clone
/// and the last plugin are gone, its thread ends.
#[derive(Clone, Debug)]
pub struct Host {
    shared: Arc<Shared>,
}

/// What the plugins of a host have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    config: HostConfig,
    pub(crate) engine: Engine,
    /// One permit is one call: more than the pool holds would be refused by it.
    pub(crate) calls: Semaphore,
    cache: Option<Cache>,
    /// Compiling takes both processors and much memory: one at a time.
    compiling: Mutex<()>,
    _ticking: Ticking,
}

impl Host {
    /// Sets up the engine, its ticks and the cache.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        let cache = config.cache.as_deref().map(Cache::open).transpose();
        let cache = cache.map_err(|(path, source)| HostError::Cache { path, source })?;
        let (engine, ticking) = engine::start(&config)?;
        let calls = Semaphore::new(usize::try_from(config.calls_max).unwrap_or(1));
        let compiling = Mutex::new(());
        let shared = Shared { config, engine, calls, cache, compiling, _ticking: ticking };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes a plugin of a component: reads its manifest, refuses imports that were not granted,
    /// compiles it away from the async threads, loads every export once and has the guest check its
    /// configuration. Cancelling it leaves nothing but, perhaps, a cached compilation.
    ///
    /// # Errors
    /// See [`LoadError`]: nothing is left behind.
    pub async fn load(&self, spec: Spec) -> Result<Arc<Plugin>, LoadError> {
        let Spec { name, component, config, grant, limits, on_failure } = spec;
        check_name(&name)?;
        if component.len() > COMPONENT_BYTES_MAX {
            let (bytes, bytes_max) = (component.len(), COMPONENT_BYTES_MAX);
            return Err(LoadError::TooLarge { name, bytes, bytes_max });
        }
        let manifest = Manifest::find(&component);
        let digest = digest(&component);
        let compiled = self.compile(&name, component, &digest).await?;
        let manifest =
            manifest.map_err(|source| LoadError::Manifest { name: name.clone(), source })?;
        let pre = imports::link(&self.shared.engine, &compiled, &name, &grant)?;
        let asked = manifest.as_ref().map(|manifest| manifest.limits).unwrap_or_default();
        let loaded = Loaded {
            version: manifest.as_ref().map_or_else(
                || digest.chars().take(12).collect(),
                |manifest| manifest.version.clone(),
            ),
            on_failure: on_failure
                .or_else(|| manifest.and_then(|manifest| manifest.on_failure))
                .unwrap_or_default(),
            limits: limits::settle(limits, asked, self.shared.config.ceiling),
            name,
            digest,
            grant,
        };
        let plugin = Plugin::new(Arc::clone(&self.shared), loaded, pre, &config)?;
        plugin.check_config(&config).await?;
        Ok(Arc::new(plugin))
    }

    async fn compile(
        &self,
        name: &str,
        component: Bytes,
        digest: &str,
    ) -> Result<Component, LoadError> {
        let _one_at_a_time = self.shared.compiling.lock().await;
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let digest = digest.to_owned();
        let work = move || {
            let compiled = shared.compile(&component, &digest);
            // Whoever asked may be gone; the cache has it.
            let _unwanted = answer.send(compiled);
        };
        let stopping = || LoadError::Stopping { name: name.to_owned() };
        runtime::thread("plugin-compile", work).map_err(|_no_thread| stopping())?;
        answered
            .await
            .map_err(|_gone| stopping())?
            .map_err(|text| LoadError::NotAComponent { name: name.to_owned(), text })
    }
}

impl Shared {
    fn compile(&self, component: &[u8], digest: &str) -> Result<Component, String> {
        if let Some(code) = self.cache.as_ref().and_then(|cache| cache.read(&self.engine, digest)) {
            // SAFETY: the code verified under this node's own key, so this node compiled it.
            #[expect(unsafe_code, reason = "machine code is trusted, and only if it is ours")]
            let kept = unsafe { Component::deserialize(&self.engine, &code) };
            match kept {
                Ok(component) => return Ok(component),
                Err(fault) => tracing::warn!(digest, %fault, "compiling a plugin again"),
            }
        }
        let compiled = Component::from_binary(&self.engine, component)
            .map_err(|fault| format!("{fault:#}"))?;
        if let Some(cache) = &self.cache {
            match compiled.serialize() {
                Ok(code) => cache.write(&self.engine, digest, &code),
                Err(fault) => tracing::warn!(digest, %fault, "a compiled plugin is not kept"),
            }
        }
        Ok(compiled)
    }
}

fn check_name(name: &str) -> Result<(), LoadError> {
    let plain = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if plain { Ok(()) } else { Err(LoadError::Name { name: name.to_owned() }) }
}

/// What a component is known by: SHA-256 of it, in hex.
pub fn digest(component: &[u8]) -> String {
    hex(&Sha256::digest(component))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
