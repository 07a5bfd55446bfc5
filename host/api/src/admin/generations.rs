//! What operators are told of plugins and their generations.

use hashring::NodeId;
use serde::{Deserialize, Serialize};

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
    /// Whether its guard rolled back to it: nothing is rolled back by itself before a person has changed it.
    pub held: bool,
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
    /// Whether it is called: `closed` (it is), `open` or `probing`.
    pub breaker: &'static str,
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
    /// `preparing`, `shadow`, `live` or `failed`.
    pub state: &'static str,
    /// The component; `None`: the plugin goes.
    pub digest: Option<String>,
    /// The number, once it is live.
    pub generation: Option<u64>,
    /// Why it failed.
    pub detail: String,
    /// Every registered node.
    pub nodes: Vec<NodeProgressInfo>,
    /// What came of running it beside the live version.
    pub trial: Option<TrialInfo>,
}

/// A version is to run beside the live one before it becomes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialWanted {
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// How many of a million calls may be decided otherwise.
    #[serde(default)]
    pub max_diff_ppm: u64,
    /// How many of a million calls are looked at.
    #[serde(default = "every_call")]
    pub sample_ppm: u32,
    /// How many calls must have been compared.
    #[serde(default = "some_calls")]
    pub calls: u64,
}

const fn every_call() -> u32 {
    1_000_000
}

const fn some_calls() -> u64 {
    20
}

/// What came of a version beside the live one so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrialInfo {
    /// Calls that both answered, or failed at.
    pub calls: u64,
    /// How many of them were decided otherwise.
    pub differing: u64,
    /// At how many of them the candidate failed.
    pub failed: u64,
    /// Calls that it was not asked about, because it had too much to do.
    pub dropped: u64,
    /// On how many nodes it runs.
    pub nodes: usize,
    /// How long it goes on, in milliseconds.
    pub left_ms: u64,
    /// What was decided otherwise.
    pub pairs: Vec<PairInfo>,
}

/// One way in which calls were decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PairInfo {
    /// The live version's verdict in one word, or how it failed.
    pub live: String,
    /// The candidate's.
    pub candidate: String,
    /// How often.
    pub count: u64,
    /// Some of the calls.
    pub examples: Vec<ExampleInfo>,
}

/// One call that was decided otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExampleInfo {
    /// The chat.
    pub chat: String,
    /// The message.
    pub message: String,
    /// Who sent it.
    pub sender: String,
    /// Its kind.
    pub kind: String,
    /// What it says.
    pub text: String,
    /// The live version's answer.
    pub live: String,
    /// The candidate's.
    pub candidate: String,
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
