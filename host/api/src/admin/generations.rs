//! What operators are told of plugins and their generations.

use hashring::NodeId;

/// One live plugin.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// Its name in the configuration.
    pub name: String,
    /// The interfaces it exports.
    pub kinds: Vec<&'static str>,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// The number with which it became live.
    pub generation: u64,
    /// `live`; `behind`: this node does not have what is live in its cluster.
    pub state: &'static str,
    /// `reject` or `skip`.
    pub on_failure: &'static str,
    /// What it may do.
    pub grants: Vec<&'static str>,
    /// The powers that it imports or asks for.
    pub asks: Vec<PowerInfo>,
    /// The versions that it can be rolled back to, the latest first.
    pub past: Vec<PastInfo>,
    /// Calls so far.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
}

/// A power that a plugin wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerInfo {
    /// Its name.
    pub power: &'static str,
    /// Whether this node grants it.
    pub granted: bool,
    /// The configuration that grants it.
    pub line: &'static str,
}

/// A version that was live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastInfo {
    /// The number with which it became live.
    pub generation: u64,
    /// Its version.
    pub version: String,
    /// SHA-256 of the component, in hex.
    pub digest: String,
}

/// The handlers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    /// The number of what is live; 0: nothing yet.
    pub generation: u64,
    /// Why this node is not where its cluster is.
    pub behind: Option<String>,
    /// In the order in which they are asked.
    pub message: Vec<LinkInfo>,
}

/// One handler of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The plugin.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The number with which it became live.
    pub generation: u64,
    /// `reject` or `skip`.
    pub on_failure: &'static str,
}

/// A component was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedInfo {
    /// Its SHA-256 in hex.
    pub digest: String,
    /// Whether this node did not have it.
    pub new: bool,
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedInfo {
    /// The number of what is live.
    pub generation: u64,
    /// The version that is live; `None`: the plugin is gone.
    pub version: Option<String>,
    /// Its component.
    pub digest: Option<String>,
    /// On how many nodes.
    pub live: usize,
    /// How many are registered.
    pub nodes: usize,
}

/// How far a change is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressInfo {
    /// `preparing`, `live` or `failed`.
    pub state: &'static str,
    /// The component; `None`: the plugin goes.
    pub digest: Option<String>,
    /// The number, once it is live.
    pub generation: Option<u64>,
    /// Why it failed.
    pub detail: String,
    /// Every registered node.
    pub nodes: Vec<NodeProgressInfo>,
}

/// How far a change is on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgressInfo {
    /// Which.
    pub node: NodeId,
    /// The steps that were done, in their order.
    pub done: Vec<&'static str>,
    /// `silent`, `running`, `ready` or `failed`.
    pub state: &'static str,
    /// Whether it is live there.
    pub live: bool,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditInfo {
    /// Its number.
    pub line: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub event: String,
    /// The plugin, or nothing.
    pub plugin: String,
    /// The component.
    pub digest: Option<String>,
    /// The number of what is live.
    pub generation: Option<u64>,
    /// In words.
    pub detail: String,
}
