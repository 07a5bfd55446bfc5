//! What operators ask, and of whom: the node in service; in tests whatever answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use chat::{Refusal, RingView};
use hashring::{NodeId, PartitionId};
use model::{ChatToken, MessageId};

use super::{
    AttemptInfo, AttemptsInfo, AuditInfo, ChainInfo, ChangedInfo, CollectionInfo, DeadLettersInfo,
    ErrorInfo, LinesInfo, PluginInfo, ProgressInfo, PushedInfo, ReplayedInfo, ServiceWish,
    ServicesInfo, TrialWanted, WhyInfo, With,
};

/// Something an operator wants done, while it is. Dropping it stops waiting for it.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// Who answers operators.
pub trait Operate: Send + Sync + 'static {
    /// Which node this is, and how it does.
    fn about(&self) -> About;
    /// The ring as this node knows it.
    fn ring(&self) -> Arc<RingView>;
    /// The partitions as this node knows them.
    fn partitions(&self) -> Partitions;
    /// How much of each collection of the archive this node holds, by name.
    fn collections(&self) -> Doing<'_, Vec<CollectionInfo>>;
    /// The live plugins, by name.
    fn plugins(&self) -> Vec<PluginInfo>;
    /// The handlers of a message, in their order.
    fn chain(&self) -> ChainInfo;
    /// Takes a component for a plugin, with its signature in base64, and has every node prepare it.
    fn push(
        &self,
        name: String,
        component: Bytes,
        signature: Option<String>,
    ) -> Doing<'_, PushedInfo>;
    /// Makes a component that was pushed the live version of a plugin; `wait`: on all nodes. With a `trial` it
    /// runs beside the live version first.
    fn swap(
        &self,
        name: String,
        digest: String,
        wait: bool,
        trial: Option<TrialWanted>,
    ) -> Doing<'_, ChangedInfo>;
    /// Makes the version before the live one live again; the only one goes.
    fn roll_back(&self, name: String, wait: bool) -> Doing<'_, ChangedInfo>;
    /// How far the change is that was asked of this node last, if it was of this plugin.
    fn progress(&self, name: &str) -> Option<ProgressInfo>;
    /// What was done to the plugins of this node, the oldest first.
    fn audit(&self) -> Vec<AuditInfo>;
    /// What the guests of a plugin said after the line `after`, in one chat or in all; `None`: no such plugin.
    fn lines(&self, plugin: &str, chat: Option<ChatToken>, after: u64) -> Option<LinesInfo>;
    /// How the calls of a plugin failed, the latest first; `None`: no such plugin.
    fn errors(&self, plugin: &str) -> Option<Vec<ErrorInfo>>;
    /// The application services, by name, as all nodes see them.
    fn services(&self) -> Doing<'_, ServicesInfo>;
    /// The last attempts of all nodes at a service, newest first.
    fn attempts(&self, service: String) -> Doing<'_, AttemptsInfo>;
    /// Asks a service whether it is there, from this node; nothing follows from it.
    fn test(&self, service: String) -> Doing<'_, AttemptInfo>;
    /// What a service did not take.
    fn dead_letters(&self, service: String) -> Doing<'_, DeadLettersInfo>;
    /// Has something done with a service on all nodes; how it does then.
    fn wish(&self, service: String, wish: ServiceWish) -> Doing<'_, ServicesInfo>;
    /// Has sent again what a service did not take, or these messages of it.
    fn replay(&self, service: String, events: Option<Vec<String>>) -> Doing<'_, ReplayedInfo>;
    /// Makes the decision about a message again, or lets another component decide.
    fn why(&self, message: MessageId, with: Option<With>) -> Doing<'_, WhyInfo>;
    /// Begins to give away everything this node leads, and takes nothing over any more until it is
    /// started again, or told so. [`About::led`] says how far it is.
    fn drain(&self, going: Going) -> Doing<'_, ()>;
    /// Writes that `node` leaves the cluster for good, or that it stays after all.
    fn leave(&self, node: NodeId, going: Going) -> Doing<'_, ()>;
}

/// Whether a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// If the others can do without it.
    Going,
    /// Whatever becomes of the others.
    Anyway,
    /// It stays after all.
    Staying,
}

/// A node, its process and its state.
#[derive(Clone, Debug)]
pub struct About {
    /// Its id.
    pub node: NodeId,
    /// The version of the program.
    pub version: String,
    /// The build of it.
    pub build: String,
    /// The number of this process life: one more than the last.
    pub incarnation: u64,
    /// Its data directory.
    pub store: u64,
    /// The cluster; `None` before it is known.
    pub cluster: Option<u64>,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// Where clients are told to connect: a URL.
    pub http: String,
    /// Whether it was told to give everything away.
    pub draining: bool,
    /// How many partitions it leads or takes over.
    pub led: usize,
    /// The registry.
    pub registry: RegistryInfo,
}

/// How a node stands with the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryInfo {
    /// `embedded` or `zookeeper`.
    pub kind: &'static str,
    /// For how long it has not been reached, in milliseconds; 0: it is reached.
    pub unreached_ms: u64,
}

/// All partitions, and what holds for all of them.
#[derive(Clone, Debug)]
pub struct Partitions {
    /// How many nodes should hold each.
    pub copies: u8,
    /// How many must hold an entry before it is shown.
    pub commit: u8,
    /// What two copies must not share: `node`, `host` or `zone`.
    pub spread: &'static str,
    /// How long the ring must have been the same before anything is moved by it, in milliseconds.
    pub settle_ms: u64,
    /// The partitions, in order.
    pub partitions: Vec<PartitionInfo>,
}

/// A partition as one node knows it.
#[derive(Clone, Debug)]
pub struct PartitionInfo {
    /// Which.
    pub partition: PartitionId,
    /// The number of the current reign.
    pub epoch: u64,
    /// `open`, `sealing`, or `unknown` while the node has no record of it.
    pub state: &'static str,
    /// Who leads it.
    pub primary: Option<NodeId>,
    /// What this node does for it.
    pub role: &'static str,
    /// Who holds it.
    pub ensemble: Vec<NodeId>,
    /// Who should, by the ring.
    pub wanted: Vec<NodeId>,
    /// The last entry of this node's log.
    pub end: u64,
    /// The last entry known to be committed.
    pub commit: u64,
    /// For how long the primary has not been heard, in milliseconds; 0 where it is, and on the primary.
    pub stale_ms: u64,
    /// Who is being brought in; known to the primary.
    pub moves: Vec<Movement>,
    /// What is wrong with this node's log.
    pub log: LogHealth,
    /// Members whose logs contradict the primary's; known to the primary.
    pub differing: Vec<NodeId>,
}

/// What is wrong with a node's log of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHealth {
    /// It lost something, and counts for little until it is whole again.
    pub damaged: bool,
    /// An entry that cannot be read.
    pub unreadable: Option<u64>,
    /// How often the process took it back to what the others have.
    pub mended: u64,
    /// What it held instead is put aside in the data folder, for somebody to look at.
    pub evidence: bool,
}

/// A node that is being given a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Who.
    pub node: NodeId,
    /// Bytes it has of the log.
    pub bytes_done: u64,
    /// Bytes the log has.
    pub bytes_total: u64,
    /// How long it will take at the present pace, in milliseconds; `None`: nobody knows yet.
    pub left_ms: Option<u64>,
}
