//! How far a change of the plugins is, and what it came to, as whoever asked for it is told.

use hashring::NodeId;

use crate::Digest;
use crate::preparation::Step;
use crate::shadowing::Trialled;

/// A component was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its name from now on.
    pub digest: Digest,
    /// Whether this node did not have it.
    pub new: bool,
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The number of the set that is live; the plugin's generation, if it was changed.
    pub generation: u64,
    /// The version that is live; `None`: the plugin is gone.
    pub version: Option<String>,
    /// Its component.
    pub digest: Option<Digest>,
    /// Nodes on which it is live already.
    pub live: usize,
    /// Nodes that are registered.
    pub nodes: usize,
}

/// How far the change is that was asked of this node last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The plugin.
    pub plugin: String,
    /// The component; `None`: it goes.
    pub digest: Option<Digest>,
    /// `preparing`, `shadow`, `live`, `failed`.
    pub state: &'static str,
    /// The generation, once it is live.
    pub generation: Option<u64>,
    /// Why it failed.
    pub detail: String,
    /// Every registered node.
    pub nodes: Vec<NodeProgress>,
    /// What came of running it beside the live version.
    pub trial: Option<Trialled>,
}

impl Progress {
    pub(crate) fn preparing(plugin: String, digest: Option<Digest>) -> Self {
        Self {
            plugin,
            digest,
            state: "preparing",
            generation: None,
            detail: String::new(),
            nodes: Vec::new(),
            trial: None,
        }
    }
}

/// How far one node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgress {
    /// Which.
    pub node: NodeId,
    /// The last step that was done.
    pub done: Option<Step>,
    /// `silent`, `running`, `ready`, `failed`.
    pub state: &'static str,
    /// Whether the change is live there.
    pub live: bool,
}
