//! What the nodes of one process share: a registry, an engine for plugins, a CA, and the hooks of tests.

use std::path::Path;
use std::sync::Arc;

use plugin::Compiler;
use registry::Registry;

use crate::config::Config;
use crate::credentials::Issuer;
use crate::handlers;
use crate::joining;
use crate::start_error::StartError;

/// What the nodes of one process share. Clones are the same.
#[derive(Clone, Debug)]
pub struct Process {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) plugins: plugin::Host,
    pub(crate) issuer: Issuer,
    pub(crate) hook: Option<rollout::Hook>,
    pub(crate) service_hook: Option<outbox::Hook>,
}

impl Process {
    /// Opens what the nodes of this process share, in `folder`. Their plugins are compiled by `compiler`.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(folder: &Path, config: &Config, compiler: Compiler) -> Result<Self, StartError> {
        // First of all: what is looked up before it is there counts for nobody.
        api::install_metrics();
        let made = std::fs::create_dir_all(folder);
        made.map_err(|source| StartError::Folder { path: folder.to_owned(), source })?;
        let registry = joining::open(folder, config)?;
        let compiled = folder.join("compiled");
        let plugins = plugin::Host::new(handlers::host_config(config, Some(&compiled), compiler))?;
        let issuer = Issuer::new(&config.cluster.name)?;
        let shared = Shared { registry, plugins, issuer, hook: None, service_hook: None };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The registry of its nodes.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// With a hook at every step of a change of plugins: what a test ends a node with.
    ///
    /// # Panics
    /// When a node of this process was started already.
    #[must_use]
    pub fn with_hook(mut self, hook: rollout::Hook) -> Self {
        let shared = Arc::get_mut(&mut self.shared);
        shared.unwrap_or_else(|| unreachable!("nodes run already")).hook = Some(hook);
        self
    }

    /// With a hook at every step of a transaction: what a test ends a node with.
    ///
    /// # Panics
    /// When a node of this process was started already.
    #[must_use]
    pub fn with_service_hook(mut self, hook: outbox::Hook) -> Self {
        let shared = Arc::get_mut(&mut self.shared);
        shared.unwrap_or_else(|| unreachable!("nodes run already")).service_hook = Some(hook);
        self
    }
}
