//! The engine that all plugins of a process share.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Grant, Limits, LimitsWanted, LoadError, OnFailure, Plugin};

/// How a [`Host`] runs.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where compiled components are kept; `None` compiles every time.
    pub cache: Option<PathBuf>,
    /// The highest limits that manifest or configuration can give.
    pub ceiling: Limits,
    /// How many calls run at the same time.
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
/// and the last plugin are gone, its threads end.
#[derive(Clone, Debug)]
pub struct Host {
    _config: Arc<HostConfig>,
}

impl Host {
    /// Sets up the engine.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        Ok(Self { _config: Arc::new(config) })
    }

    /// Compiles and checks a component, away from the async threads.
    ///
    /// # Errors
    /// See [`LoadError`]: nothing is left behind.
    #[expect(clippy::unused_async, reason = "the engine follows")]
    pub async fn load(&self, spec: Spec) -> Result<Arc<Plugin>, LoadError> {
        Err(LoadError::Stopping { name: spec.name })
    }
}
