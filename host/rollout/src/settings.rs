//! What a node tells its rollout: where, with what, and whom to tell.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hashring::NodeId;
use plugin::{Comparison, Host, LoadError, Plugin, Spec};

use crate::guard::Guard;
use crate::record::LiveSet;
use crate::signature::Trust;

/// What a plugin of a name is given on this node: configuration, grants, limits.
pub type SpecOf = Arc<dyn Fn(&str, Bytes) -> Spec + Send + Sync>;

/// Why a plugin of a name is not loaded and what to do about it, in words.
pub type Explain = Arc<dyn Fn(&str, &LoadError) -> Unusable + Send + Sync>;

/// One plugin that cannot be used, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The operator's name for it.
    pub plugin: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}. {}", self.what, self.fix)
    }
}

/// What versions of a plugin of a name may get away with on this node.
pub type GuardOf = Arc<dyn Fn(&str) -> Option<Guard> + Send + Sync>;

/// Who asks a version beside the live one about this node's messages.
pub trait Beside: Send + Sync + 'static {
    /// From now on, whenever the live version of its name is asked, `plugin` is to be asked the same, for so
    /// many of a million calls, in the place of whoever was before. The future does it, and is run until
    /// [`Beside::end`].
    fn begin(
        &self,
        plugin: Arc<Plugin>,
        sample: u32,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>>;
    /// What came of it so far; `None`: nobody runs.
    fn told(&self) -> Option<Comparison>;
    /// Nobody is asked any more. Returns what came of it.
    fn end(&self) -> Option<Comparison>;
}

/// Told what is live from now on, before anybody else is.
pub type Switch = Arc<dyn Fn(&Lineup) + Send + Sync>;

/// Called at each [`Point`], and waited for. What a test uses to end a node there.
#[derive(Clone)]
pub struct Hook(Arc<Hooked>);

type Hooked = dyn Fn(&NodeId, Point) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

impl Hook {
    /// This one.
    pub fn new<F>(hook: impl Fn(&NodeId, Point) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |node, point| Box::pin(hook(node, point))))
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}

/// How a node takes part.
#[derive(Clone)]
pub struct Settings {
    /// Which node.
    pub node: NodeId,
    /// Where components and logs are kept: the node's alone.
    pub folder: PathBuf,
    /// Loads plugins.
    pub host: Host,
    /// See [`SpecOf`].
    pub spec: SpecOf,
    /// See [`Explain`].
    pub explain: Explain,
    /// See [`Switch`].
    pub switch: Switch,
    /// See [`Beside`]; `None`: no version runs beside another here.
    pub beside: Option<Arc<dyn Beside>>,
    /// See [`GuardOf`].
    pub guard: GuardOf,
    /// Whose signatures are believed.
    pub trust: Trust,
    /// How many generations of a plugin can be live at once without waiting, the present one included.
    pub keep: usize,
    /// The files of the plugins that a new cluster begins with, by name.
    pub seeds: Vec<(String, PathBuf)>,
    /// See [`Hook`].
    pub hook: Option<Hook>,
}

/// Between which steps a node may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The first piece of a component came from another node, and is kept nowhere.
    Fetching,
    /// A component was kept on the disk.
    Kept,
    /// It is believed, and about to be compiled.
    Compiling,
    /// It found its configuration good, and was asked nothing yet.
    Checked,
    /// A version is prepared on this node.
    Prepared,
    /// Every node is ready, and nothing is written yet.
    Writing,
    /// The registry has it.
    Written,
    /// This node learned of a new set, and has not switched.
    Learned,
    /// This node has switched.
    Switched,
}

/// What is live on a node.
#[derive(Clone, Debug)]
pub struct Lineup {
    /// The record.
    pub set: LiveSet,
    /// The plugins, by name.
    pub plugins: Vec<Arc<Plugin>>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Settings {
    /// Waits for the hook, if there is one.
    pub(crate) async fn reached(&self, point: Point) {
        if let Some(Hook(hook)) = &self.hook {
            hook(&self.node, point).await;
        }
    }
}
