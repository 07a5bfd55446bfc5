//! From `[plugins.NAME]` to handlers that answer.
//!
//! Every plugin that a configuration names is read, compiled and asked to check its own configuration
//! before a node serves anything; what is wrong with several of them is told together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use plugin::{
    Compiler, Grant, Host, HostConfig, KvGrant, Limits, LimitsWanted, LoadError, Plugin, Spec,
};

use crate::cli::chain;
use crate::config::{Ceiling, Config, Fault, LimitsConfig, OnFailure, PluginConfig};

/// One plugin that cannot be used, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its name in the configuration.
    pub plugin: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// How the plugins of this configuration run; `cache` is the folder of what was compiled.
pub fn host_config(config: &Config, cache: Option<&Path>, compiler: Compiler) -> HostConfig {
    let Ceiling { fuel, deadline, memory } = config.plugin_host;
    HostConfig {
        cache: cache.map(Path::to_owned),
        compiler,
        ceiling: Limits { fuel, deadline: deadline.0, memory_bytes: memory.0 },
        ..HostConfig::default()
    }
}

/// The handlers of a message, in the order of the chain.
///
/// # Errors
/// Every plugin that cannot be used; nothing of them is left behind.
pub async fn load(config: &Config, host: &Host) -> Result<Vec<Arc<Plugin>>, Vec<Unusable>> {
    let mut loaded = BTreeMap::new();
    let mut unusable = Vec::new();
    for (name, plugin) in &config.plugins {
        match load_one(host, name, plugin).await {
            Ok(plugin) => _ = loaded.insert(name.as_str(), plugin),
            Err(fault) => unusable.push(fault),
        }
    }
    if !unusable.is_empty() {
        return Err(unusable);
    }
    // That every name of the chain is a plugin was checked with the configuration.
    Ok(config.chain.iter().filter_map(|name| loaded.get(name.as_str()).map(Arc::clone)).collect())
}

/// One plugin, in a chain or not.
///
/// # Errors
/// Why it cannot be used; nothing of it is left behind.
pub async fn load_one(
    host: &Host,
    name: &str,
    plugin: &PluginConfig,
) -> Result<Arc<Plugin>, Unusable> {
    let spec = spec(name, plugin, component(name, plugin).await?);
    let unusable = |what, fix| Unusable { plugin: name.to_owned(), what, fix };
    host.load(spec).await.map_err(|error| unusable(chain(&error), fix(name, &error)))
}

/// The bytes of a plugin's component.
///
/// # Errors
/// Why its file cannot be read.
pub async fn component(name: &str, plugin: &PluginConfig) -> Result<Vec<u8>, Unusable> {
    let unusable = |what, fix| Unusable { plugin: name.to_owned(), what, fix };
    let source = plugin.source.clone();
    match runtime::blocking(move || std::fs::read(source)).await {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(error)) => {
            let what =
                format!("plugin {name}: {} cannot be read: {error}", plugin.source.display());
            let fix = format!("Name the component's file in source below [plugins.{name}]");
            Err(unusable(what, fix))
        }
        None => Err(unusable(format!("plugin {name} was not read"), "Try again".to_owned())),
    }
}

fn spec(name: &str, plugin: &PluginConfig, component: Vec<u8>) -> Spec {
    let LimitsConfig { fuel, deadline, memory } = plugin.limits;
    Spec {
        name: name.to_owned(),
        component: Bytes::from(component),
        config: plugin.config.clone().into(),
        grant: grant(plugin),
        limits: LimitsWanted {
            fuel,
            deadline: deadline.map(|span| span.0),
            memory: memory.map(|size| size.0),
        },
        on_failure: plugin.on_failure.map(|policy| match policy {
            OnFailure::Reject => plugin::OnFailure::Reject,
            OnFailure::Skip => plugin::OnFailure::Skip,
        }),
    }
}

/// What the operator lets a plugin do.
pub fn grant(plugin: &PluginConfig) -> Grant {
    let grant = plugin.grant;
    Grant {
        log: true,
        roster: grant.roster,
        post: grant.post,
        chat_control: grant.chat_control,
        kv: grant.kv.map(|size| KvGrant { bytes: size.0 }),
    }
}

/// What the operator can do about it.
fn fix(name: &str, error: &LoadError) -> String {
    match error {
        LoadError::Name { .. } => format!("Rename [plugins.{name}]"),
        LoadError::Imports { refused, .. } => {
            if refused.iter().all(|import| import.grant.is_some()) {
                "Grant it with the line above, or leave the plugin out".to_owned()
            } else {
                "Build it without that import: no configuration can give it".to_owned()
            }
        }
        LoadError::Config { .. } => format!("Mend [plugins.{name}.config]"),
        LoadError::Manifest { .. } => "Pack it again: carillon plugin pack".to_owned(),
        LoadError::Compiler { .. } => "Mend what it says of the system, and try again".to_owned(),
        LoadError::TooLarge { .. } | LoadError::TooHard { .. } => {
            "Build a smaller one: release, stripped".to_owned()
        }
        LoadError::NotAComponent { .. } | LoadError::Shape { .. } => {
            "Build it as a component of wit/, for wasm32-wasip2 if it is Rust".to_owned()
        }
        LoadError::CheckConfig { .. } => "Tell its author, or leave the plugin out".to_owned(),
        LoadError::Stopping { .. } => "Start again".to_owned(),
    }
}

impl Unusable {
    /// As a fault of the configuration `text` that names it.
    pub fn in_text(self, text: &str) -> Fault {
        let line = Config::line_of(text, &format!("plugins.{}", self.plugin));
        Fault { line, what: self.what, fix: self.fix }
    }
}
