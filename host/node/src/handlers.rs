//! From `[plugins.NAME]` to what a plugin of that name is given, and why one cannot be used.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use plugin::{
    Compiler, Grant, HistoryGrant, Host, HostConfig, KvGrant, Limits, LimitsWanted, LoadError,
    Plugin, Spec,
};
use rollout::Unusable;

use crate::cli::chain;
use crate::config::{Ceiling, Config, Fault, LimitsConfig, OnFailure, PluginConfig};

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

/// One plugin, in a chain or not.
///
/// # Errors
/// Why it cannot be used; nothing of it is left behind.
pub async fn load_one(
    host: &Host,
    name: &str,
    plugin: &PluginConfig,
) -> Result<Arc<Plugin>, Unusable> {
    let component = Bytes::from(component(name, plugin).await?);
    let spec = spec(name, Some(plugin), component);
    host.load(spec).await.map_err(|error| explain(name, &error))
}

/// Why a plugin is not loaded, and what would help.
pub fn explain(name: &str, error: &LoadError) -> Unusable {
    Unusable { plugin: name.to_owned(), what: chain(error), fix: fix(name, error) }
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

/// What a plugin is given on this node. One that the configuration does not name has an empty
/// configuration and no grants.
pub fn spec(name: &str, plugin: Option<&PluginConfig>, component: Bytes) -> Spec {
    let unnamed = PluginConfig::default();
    let plugin = plugin.unwrap_or(&unnamed);
    let LimitsConfig { fuel, deadline, memory } = plugin.limits;
    Spec {
        name: name.to_owned(),
        component,
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
            OnFailure::Hold => plugin::OnFailure::Hold,
        }),
    }
}

/// What the operator lets a plugin do.
pub fn grant(plugin: &PluginConfig) -> Grant {
    let grant = &plugin.grant;
    Grant {
        log: true,
        roster: grant.roster,
        post: grant.post,
        chat_control: grant.chat_control,
        timers: grant.timers,
        outcall: grant.outcall.clone(),
        kv: grant.kv.map(|size| KvGrant { bytes: size.0 }),
        history: grant.history.map(|messages| HistoryGrant { messages }),
        recall: grant.recall,
        metrics: grant.metrics,
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

/// A plugin that cannot be used, as a fault of the configuration `text` that names it.
pub fn in_text(unusable: Unusable, text: &str) -> Fault {
    let line = Config::line_of(text, &format!("plugins.{}", unusable.plugin));
    Fault { line, what: unusable.what, fix: unusable.fix }
}
