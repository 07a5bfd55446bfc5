//! From bytes to a plugin: the engine that all plugins of a process share, and the way in.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore, oneshot};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::compiler::NotCompiled;
use crate::component::{Counts, Loaded, Plugin};
use crate::engine::{self, Ticking};
use crate::limits;
use crate::manifest::Manifest;
use crate::series::Series;
use crate::watch::Known;
use crate::{Compiler, Grant, Journal, Limits, LimitsWanted, LoadError, OnFailure, imports};

/// Biggest component that is compiled: Python's are about 18 MiB.
const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// How a [`Host`] runs.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where compiled components are kept; `None` compiles every time.
    pub cache: Option<PathBuf>,
    /// Who compiles.
    pub compiler: Compiler,
    /// The highest limits that manifest or configuration can give. Its memory is also the address
    /// space that is reserved for every call.
    pub ceiling: Limits,
    /// How many calls run at the same time; others wait. Each takes a slot of the pool.
    pub calls_max: u32,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self { cache: None, compiler: Compiler::Here, ceiling: Limits::CEILING, calls_max: 128 }
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

/// How far a plugin is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loading {
    /// It is machine code.
    Compiled,
    /// Its imports are granted and its exports are there.
    Linked,
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
    /// Who was ever loaded.
    pub(crate) known: Known,
    /// What guests count.
    pub(crate) series: Series,
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
        let (known, series) = (Known::default(), Series::default());
        let shared =
            Shared { config, engine, calls, known, series, cache, compiling, _ticking: ticking };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the guests of the plugin of this name said, and how they failed, in all its generations since
    /// the process started; `None` when there was none.
    pub fn journal(&self, plugin: &str) -> Option<Journal> {
        self.shared.known.journal(plugin)
    }

    /// Makes a plugin of a component: reads its manifest, refuses imports that were not granted,
    /// compiles it away from the async threads, loads every export once and has the guest check its
    /// configuration. Cancelling it leaves nothing but, perhaps, a cached compilation.
    ///
    /// # Errors
    /// See [`LoadError`]: nothing is left behind.
    pub async fn load(&self, spec: Spec) -> Result<Arc<Plugin>, LoadError> {
        self.load_telling(spec, &|_loading| {}).await
    }

    /// As [`Host::load`], and tells how far it is.
    ///
    /// # Errors
    /// See [`LoadError`]: nothing is left behind.
    pub async fn load_telling(
        &self,
        spec: Spec,
        told: &(dyn Fn(Loading) + Send + Sync),
    ) -> Result<Arc<Plugin>, LoadError> {
        self.load_as(spec, Counts::Here, told).await
    }

    /// As [`Host::load`], for calls that nobody made; see [`Plugin::aside`]. Its deadline is that of a check of
    /// a configuration: a decision that is made again must not differ because the machine is busy.
    ///
    /// # Errors
    /// See [`LoadError`]: nothing is left behind.
    pub async fn load_aside(&self, spec: Spec) -> Result<Arc<Plugin>, LoadError> {
        self.load_as(spec, Counts::Nowhere, &|_loading| {}).await
    }

    async fn load_as(
        &self,
        spec: Spec,
        counts: Counts,
        told: &(dyn Fn(Loading) + Send + Sync),
    ) -> Result<Arc<Plugin>, LoadError> {
        let Spec { name, component, config, grant, limits, on_failure } = spec;
        check_name(&name)?;
        if component.len() > COMPONENT_BYTES_MAX {
            let (bytes, bytes_max) = (component.len(), COMPONENT_BYTES_MAX);
            return Err(LoadError::TooLarge { name, bytes, bytes_max });
        }
        let manifest = Manifest::find(&component);
        let sha256: [u8; 32] = Sha256::digest(&component).into();
        let digest = hex(&sha256);
        let compiled = self.compile(&name, component, &digest).await?;
        told(Loading::Compiled);
        let manifest =
            manifest.map_err(|source| LoadError::Manifest { name: name.clone(), source })?;
        let grant = match &manifest {
            Some(manifest) => grant.within(&manifest.asks),
            None => grant,
        };
        let pre = imports::link(&self.shared.engine, &compiled, &name, &grant)?;
        let asked = manifest.as_ref().map(|manifest| manifest.limits).unwrap_or_default();
        let mut asks = imports::asked(&self.shared.engine, &compiled);
        asks.extend(manifest.iter().flat_map(|manifest| manifest.asks.names()));
        asks.sort_unstable();
        asks.dedup();
        let on_failure = on_failure
            .or_else(|| manifest.as_ref().and_then(|manifest| manifest.on_failure))
            .unwrap_or_default();
        let limits = limits::settle(limits, asked, self.shared.config.ceiling);
        let loaded = Loaded {
            version: manifest.as_ref().map_or_else(
                || digest.chars().take(12).collect(),
                |manifest| manifest.version.clone(),
            ),
            setup: setup(&config, &grant, limits, on_failure),
            on_failure,
            limits,
            name,
            sha256,
            digest,
            grant: Arc::new(grant),
            asks,
        };
        let plugin = Plugin::new(Arc::clone(&self.shared), loaded, pre, &config, counts)?;
        told(Loading::Linked);
        plugin.check_config(&config).await?;
        Ok(Arc::new(plugin))
    }

    /// The component as code: kept from before, or compiled now and kept.
    async fn compile(
        &self,
        name: &str,
        component: Bytes,
        digest: &str,
    ) -> Result<Component, LoadError> {
        let _one_at_a_time = self.shared.compiling.lock().await;
        let digest: Arc<str> = digest.into();
        let key = Arc::clone(&digest);
        if let Some(kept) = self.away(name, move |shared| shared.kept(&key)).await? {
            return Ok(kept);
        }
        let code = match &self.shared.config.compiler {
            Compiler::Here => {
                let compile = move |shared: &Shared| shared.engine.precompile_component(&component);
                let compiled = self.away(name, compile).await?;
                compiled.map_err(|fault| NotCompiled::Refused(format!("{fault:#}")))
            }
            Compiler::Child(program) => {
                program.compile(&component, self.shared.config.ceiling.memory_bytes).await
            }
        };
        let code = code.map_err(|not| not.told(name))?;
        let usable = self.away(name, move |shared| shared.keep(&digest, &code)).await?;
        usable.map_err(|text| LoadError::NotAComponent { name: name.to_owned(), text })
    }

    /// Does work that takes a while on a thread of its own.
    async fn away<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let work = move || {
            // Whoever asked may be gone.
            let _unwanted = answer.send(work(&shared));
        };
        let stopping = || LoadError::Stopping { name: name.to_owned() };
        runtime::thread("plugin-compile", work).map_err(|_no_thread| stopping())?;
        answered.await.map_err(|_gone| stopping())
    }
}

impl Shared {
    /// What was compiled before, if it is there and ours.
    fn kept(&self, digest: &str) -> Option<Component> {
        let code = self.cache.as_ref()?.read(&self.engine, digest)?;
        match self.code(&code) {
            Ok(component) => Some(component),
            Err(text) => {
                tracing::warn!(digest, fault = %text, "compiling a plugin again");
                None
            }
        }
    }

    /// Code that was compiled just now, ready to be run; the next start finds it in the cache. Code that
    /// this engine does not take is not kept: it may want more memory than any call can have.
    fn keep(&self, digest: &str, code: &[u8]) -> Result<Component, String> {
        let component = self.code(code)?;
        if let Some(cache) = &self.cache {
            cache.write(&self.engine, digest, code);
        }
        Ok(component)
    }

    fn code(&self, code: &[u8]) -> Result<Component, String> {
        // SAFETY: the code comes from this node's own compiler, just now, or verified under this node's
        // own key, so that it came from there earlier.
        #[expect(unsafe_code, reason = "machine code is trusted, and only if it is ours")]
        let component = unsafe { Component::deserialize(&self.engine, code) };
        component.map_err(|fault| format!("{fault:#}"))
    }
}

impl NotCompiled {
    fn told(self, name: &str) -> LoadError {
        let name = name.to_owned();
        match self {
            Self::Refused(text) => LoadError::NotAComponent { name, text },
            Self::Exceeded(text) => LoadError::TooHard { name, text },
            Self::Broken(text) => LoadError::Compiler { name, text },
        }
    }
}

fn check_name(name: &str) -> Result<(), LoadError> {
    let plain = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if plain { Ok(()) } else { Err(LoadError::Name { name: name.to_owned() }) }
}

/// What a plugin is given, in one number: the first 8 bytes of SHA-256 over it as JSON. The deadline is no
/// part of it, because what it does to a call is not the same twice.
fn setup(config: &serde_json::Value, grant: &Grant, limits: Limits, on_failure: OnFailure) -> u64 {
    let Limits { fuel, deadline: _, memory_bytes } = limits;
    let given = serde_json::json!({
        "config": config,
        "grant": grant,
        "fuel": fuel,
        "memory": memory_bytes,
        "on_failure": on_failure,
    });
    let digest: [u8; 32] = Sha256::digest(format!("carillon setup 1 {given}")).into();
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// What a component is known by: SHA-256 of it, in hex.
pub fn digest(component: &[u8]) -> String {
    hex(&Sha256::digest(component))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
