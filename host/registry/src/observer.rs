//! Watching a cluster without being in it.
//!
//! For programs that want to know who is there and who leads what: a load balancer, a dashboard, a
//! router. An observer only reads: it takes no place on the ring, is no member, and nothing in the cluster
//! depends on it. What it shows is a hint like everything that the registry says; who must be sure asks
//! the node. On ZooKeeper it needs a session that [`observes`](crate::ZooKeeperConfig::observes): without the
//! nodes' password, and without making anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId, Position, Ring};
use runtime::Backoff;

use crate::codec::Record;
use crate::membership::ring;
use crate::{
    CLUSTER, ClusterRecord, Error, PARTITIONS, POSITIONS, PartitionRecord, PositionRecord, Session,
    Value, Watch, decode, partition_of, position_of,
};

/// Waits before the registry is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Somebody who watches a cluster. See `examples/observe.rs`.
#[derive(Debug)]
pub struct Observer {
    session: Arc<Session>,
    cluster: Watch,
    positions: Watch,
    partitions: Watch,
    /// What must be read again.
    due: Due,
    view: Arc<ClusterView>,
}

/// A cluster, as the registry shows it.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Rises with every view of this observer, from 1.
    pub version: u64,
    /// The cluster; nothing before it exists.
    pub cluster: Option<ClusterRecord>,
    /// The ring.
    pub ring: Ring,
    /// What its nodes say at each of their positions: who they are, and where they answer.
    pub positions: BTreeMap<Position, PositionRecord>,
    /// Who leads and who holds each partition.
    pub partitions: BTreeMap<PartitionId, PartitionRecord>,
    /// The keys whose values make no sense. What they said before, if it made sense, is still shown.
    pub unreadable: BTreeSet<String>,
}

/// Which parts may have changed.
#[derive(Clone, Copy, Debug)]
struct Due {
    cluster: bool,
    positions: bool,
    partitions: bool,
}

impl Observer {
    /// Begins to watch over `session`, whose node's name is used for nothing.
    pub fn new(session: impl Into<Arc<Session>>) -> Self {
        let session = session.into();
        // Watched before it is read, so that nothing is missed in between.
        let (cluster, positions) = (session.watch(CLUSTER), session.watch(POSITIONS));
        let partitions = session.watch(PARTITIONS);
        Self { session, cluster, positions, partitions, due: Due::ALL, view: Arc::default() }
    }

    /// The last view; an empty one, version 0, before the first.
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(&self.view)
    }

    /// The next view: the first at once, later ones when something has changed. Changes are merged. While
    /// the registry cannot be reached it waits, and the last view stays. `None` when the session is over.
    /// Cancel-safe: what was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Option<Arc<ClusterView>> {
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        loop {
            if !self.due.any() && !self.wait().await {
                return None;
            }
            // Whatever fails stays due, and what was read is kept only together.
            match self.read().await {
                Ok(view) => {
                    self.due = Due::NONE;
                    if self.view.version == 0 || !self.view.shows_the_same(&view) {
                        let version = self.view.version + 1;
                        self.view = Arc::new(ClusterView { version, ..view });
                        return Some(self.view());
                    }
                }
                Err(Error::Failed) => return None,
                Err(error) => {
                    tracing::debug!(%error, "the cluster cannot be observed at the moment");
                    self.due = Due::ALL;
                    runtime::sleep(backoff.next(rand::random())).await;
                }
            }
        }
    }

    /// Waits until something changed; `false` when the session is over.
    async fn wait(&mut self) -> bool {
        let (due, changed) = tokio::select! {
            biased;
            changed = self.positions.changed() => (&mut self.due.positions, changed),
            changed = self.partitions.changed() => (&mut self.due.partitions, changed),
            changed = self.cluster.changed() => (&mut self.due.cluster, changed),
        };
        *due = true;
        changed.is_some()
    }

    async fn read(&self) -> Result<ClusterView, Error> {
        let mut view = ClusterView::clone(&self.view);
        if self.due.cluster {
            let value = self.session.get(CLUSTER).await?;
            let readable = value.as_ref().and_then(|value| view.note(CLUSTER, value));
            view.cluster = match value {
                None => None,
                Some(_) => readable.or(view.cluster),
            };
        }
        if self.due.partitions {
            let found = self.session.list(PARTITIONS).await?;
            let before = std::mem::take(&mut view.partitions);
            view.partitions = view.records(PARTITIONS, &found, &before, partition_of);
        }
        if self.due.positions {
            let found = self.session.list(POSITIONS).await?;
            let before = std::mem::take(&mut view.positions);
            view.positions = view.records(POSITIONS, &found, &before, position_of);
            view.ring = ring(view.positions.iter().map(|(position, record)| (*position, record)));
        }
        Ok(view)
    }
}

impl Due {
    const ALL: Self = Self { cluster: true, positions: true, partitions: true };
    const NONE: Self = Self { cluster: false, positions: false, partitions: false };

    fn any(self) -> bool {
        self.cluster || self.positions || self.partitions
    }
}

impl ClusterView {
    /// The node that leads a partition.
    pub fn primary(&self, partition: PartitionId) -> Option<&NodeId> {
        self.partitions.get(&partition)?.primary.as_ref()
    }

    /// Where a node answers clients: its URL.
    pub fn http(&self, node: &NodeId) -> Option<&str> {
        let record = self.positions.values().find(|record| record.data.node == *node)?;
        Some(&record.data.http)
    }

    /// The records of `found`, under what their keys mean. For one that makes no sense, the one `before`.
    fn records<K: Copy + Ord, R: Clone + Record>(
        &mut self,
        prefix: &str,
        found: &[(String, Value)],
        before: &BTreeMap<K, R>,
        place: impl Fn(&str) -> Option<K>,
    ) -> BTreeMap<K, R> {
        // What is gone is no longer unreadable either.
        let stands = |key: &String| found.iter().any(|(other, _)| other == key);
        self.unreadable.retain(|key| !key.starts_with(prefix) || stands(key));
        let mut records = BTreeMap::new();
        for (key, value) in found {
            let Some(at) = place(key) else {
                self.unreadable.insert(key.clone());
                continue;
            };
            let record = self.note(key, value).or_else(|| before.get(&at).cloned());
            records.extend(record.map(|record| (at, record)));
        }
        records
    }

    /// The record in a value, or a note that there is none.
    fn note<R: Record>(&mut self, key: &str, value: &Value) -> Option<R> {
        match decode(&value.data) {
            Ok(record) => {
                self.unreadable.remove(key);
                Some(record)
            }
            Err(error) => {
                if self.unreadable.insert(key.to_owned()) {
                    tracing::warn!(key, %error, "a value in the registry makes no sense: passed over");
                }
                None
            }
        }
    }

    fn shows_the_same(&self, other: &Self) -> bool {
        // The ring follows from the positions.
        let Self { version: _, ring: _, cluster, positions, partitions, unreadable } = self;
        *cluster == other.cluster
            && *positions == other.positions
            && *partitions == other.partitions
            && *unreadable == other.unreadable
    }
}
