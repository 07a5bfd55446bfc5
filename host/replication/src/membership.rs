//! A node's way into the cluster.
//!
//! First the node's new life: kept on its own disk, then in `members/`, so that the registry never
//! knows of a life the disk has forgotten. Then its places on the ring, which go when it goes. Then the
//! cluster's own record: the first nodes create the partitions, each by compare-and-set on nothing, and
//! `cluster` last; so whoever finds `cluster` finds every partition too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, Ring};
use registry::{
    CLUSTER, Cas, ClusterRecord, MEMBERS, Member, MemberRecord, POSITIONS, PartitionRecord,
    PositionRecord, Session, member_key, partition_key, position_key, position_of,
};
use runtime::{Backoff, Instant};

use crate::config::{Config, Identity};
use crate::ending::Failure;

/// How long the first `commit` nodes wait for others, so that nodes started together share the
/// partitions from the beginning.
const COMPANY_MAX: Duration = Duration::from_secs(3);
/// Pauses before the registry is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often the beginning of a cluster is looked at, should no watch say anything.
const LOOK: Duration = Duration::from_millis(250);

/// One process life of one data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) store: u64,
    pub(crate) boot: u64,
}

/// What a node becomes a member with.
pub(crate) struct Membership {
    pub(crate) session: Arc<Session>,
    pub(crate) config: Arc<Config>,
    /// What stands under each of this node's positions.
    pub(crate) record: PositionRecord,
}

impl Membership {
    /// Begins a new life: on disk, then in the registry.
    pub(crate) async fn begin(&self, mut identity: Box<dyn Identity>) -> Result<Life, Failure> {
        let key = member_key(&self.config.node);
        loop {
            let value = ask(|| self.session.get(&key)).await?;
            let known = value.as_ref().map(|value| decode::<MemberRecord>(&key, &value.data));
            let known = known.transpose()?;
            let life = next_life(identity.store(), identity.boot(), known.as_ref());
            if life.store != identity.store() && identity.boot() > 0 {
                let node = &self.config.node;
                tracing::warn!(%node, "the registry knows another data folder or a later life of this \
                    node: what is in this one counts for nothing until it has been copied again");
            }
            let kept = runtime::blocking(move || {
                let begun = identity.begin(life.store, life.boot);
                (identity, begun)
            });
            let Some((back, begun)) = kept.await else {
                return Err(Failure::Identity("the runtime is ending".to_owned()));
            };
            begun.map_err(|error| Failure::Identity(error.to_string()))?;
            identity = back;
            let record = MemberRecord { store: life.store, boot: life.boot };
            let expect = value.map(|value| value.version);
            let cas = Cas { key: key.clone(), expect, data: Some(registry::encode(&record)) };
            // An answer that was lost is looked up: then the life stands there, and the next one begins.
            if let Ok(Ok(_version)) = self.session.cas(cas).await {
                return Ok(life);
            }
            runtime::sleep(PAUSE_FIRST).await;
        }
    }

    /// Takes this node's places. One that another node holds is left to it.
    pub(crate) async fn take_places(&self) -> Result<(), Failure> {
        let data = registry::encode(&self.record);
        for position in &self.config.positions {
            let key = position_key(*position);
            let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
            loop {
                let put = ask(|| self.session.put_ephemeral(&key, data.clone())).await?;
                let Err(error) = put else { break };
                let holder = error.current.and_then(|value| node_at(&value.data));
                if holder.as_ref().is_some_and(|holder| *holder != self.config.node) {
                    tracing::error!(%position, holder = ?holder, "two nodes chose one place");
                    break;
                }
                // An earlier life's session has not ended yet.
                runtime::sleep(backoff.next(rand::random())).await;
            }
        }
        Ok(())
    }

    /// The cluster's record, which this node helps to create if there is none.
    pub(crate) async fn cluster(&self) -> Result<ClusterRecord, Failure> {
        let mut watch = self.session.watch("");
        let mut enough: Option<Instant> = None;
        loop {
            if let Some(value) = ask(|| self.session.get(CLUSTER)).await? {
                let cluster: ClusterRecord = decode(CLUSTER, &value.data)?;
                let ours = self.config.partitions.count();
                if cluster.partitions != ours {
                    return Err(Failure::Partitions { theirs: cluster.partitions, ours });
                }
                return Ok(cluster);
            }
            let (ring, members) = self.present().await?;
            let nodes = ring.nodes().len();
            if nodes >= usize::from(self.config.commit) {
                let since = *enough.get_or_insert_with(runtime::now);
                let waited = runtime::now().saturating_duration_since(since);
                if nodes >= usize::from(self.config.copies) || waited >= COMPANY_MAX {
                    self.create(&ring, &members).await?;
                    runtime::sleep(PAUSE_FIRST).await;
                    continue;
                }
            } else {
                enough = None;
            }
            drop(runtime::timeout(LOOK, watch.changed()).await);
        }
    }

    /// The ring, and the data folders of the nodes on it.
    async fn present(&self) -> Result<(Ring, BTreeMap<NodeId, u64>), Failure> {
        let places = ask(|| self.session.list(POSITIONS)).await?;
        let members = ask(|| self.session.list(MEMBERS)).await?;
        let mut records = Vec::new();
        for (key, value) in &places {
            if let (Some(position), Ok(record)) = (position_of(key), decode(key, &value.data)) {
                records.push((position, record));
            }
        }
        let ring = registry::ring(records.iter().map(|(position, record)| (*position, record)));
        let mut stores = BTreeMap::new();
        for (key, value) in &members {
            let record: MemberRecord = decode(key, &value.data)?;
            if let Some(node) = key.strip_prefix(MEMBERS).and_then(|node| node.parse().ok()) {
                stores.insert(node, record.store);
            }
        }
        Ok((ring, stores))
    }

    /// Creates what is missing of the partitions, and then the cluster. Several nodes may do this at
    /// once: every record is written by whoever is first, and each of them is good.
    async fn create(&self, ring: &Ring, stores: &BTreeMap<NodeId, u64>) -> Result<(), Failure> {
        let config = &self.config;
        let mut writes = Vec::new();
        for partition in config.partitions.all() {
            let wanted =
                config.partitions.wanted(ring, partition, config.copies.into(), config.spread);
            let ensemble: Vec<Member> = wanted
                .into_iter()
                .filter_map(|node| Some(Member { store: *stores.get(&node)?, node }))
                .collect();
            if ensemble.len() < usize::from(config.commit) {
                tracing::warn!(
                    node = %config.node,
                    "fewer than {} nodes that do not share a {:?}: waiting for more",
                    config.commit,
                    config.spread
                );
                return Ok(());
            }
            let record = PartitionRecord::first(ensemble, config.commit);
            let data = Some(registry::encode(&record));
            writes.push(Cas { key: partition_key(partition), expect: None, data });
        }
        let keys: BTreeSet<String> = writes.iter().map(|write| write.key.clone()).collect();
        // Lost answers and lost races look the same from here: what counts is that all are there.
        drop(self.session.cas_many(writes).await);
        let there = ask(|| self.session.list(registry::PARTITIONS)).await?;
        let there: BTreeSet<String> = there.into_iter().map(|(key, _)| key).collect();
        if !keys.is_subset(&there) {
            return Ok(());
        }
        let cluster = ClusterRecord { id: rand::random(), partitions: config.partitions.count() };
        let data = Some(registry::encode(&cluster));
        drop(self.session.cas(Cas { key: CLUSTER.to_owned(), expect: None, data }).await);
        Ok(())
    }
}

/// The life that follows. The disk is written first, so it may be one ahead of the registry; that life
/// was never registered and nobody has heard of it. Anything else means that this is not the folder, or
/// not the state of it, that others counted on: it goes on as a new one.
fn next_life(store: u64, boot: u64, known: Option<&MemberRecord>) -> Life {
    let registered = known.map_or(0, |known| known.boot);
    let same_store = known.is_none_or(|known| known.store == store);
    let same_time = boot == registered || boot == registered + 1;
    let store = if same_store && same_time { store } else { rand::random() };
    Life { store, boot: registered + 1 }
}

/// Asks the registry until it answers.
pub(crate) async fn ask<T, F>(question: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, registry::Error>>,
{
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(registry::Error::Failed) => return Err(Failure::Registry),
            Err(error) => {
                tracing::debug!(%error, "asking the registry again");
                runtime::sleep(backoff.next(rand::random())).await;
            }
        }
    }
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(key: &str, data: &[u8]) -> Result<T, Failure> {
    registry::decode(data)
        .map_err(|error| Failure::Record { key: key.to_owned(), text: error.to_string() })
}

fn node_at(data: &[u8]) -> Option<NodeId> {
    registry::decode::<PositionRecord>(data).ok().map(|record| record.data.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(store: u64, boot: u64, known: Option<(u64, u64)>) -> Life {
        let known = known.map(|(store, boot)| MemberRecord { store, boot });
        next_life(store, boot, known.as_ref())
    }

    #[test]
    fn a_folder_that_the_registry_counted_on_goes_on() {
        assert_eq!(next(7, 0, None), Life { store: 7, boot: 1 }, "a first start");
        assert_eq!(next(7, 1, None), Life { store: 7, boot: 1 }, "it crashed before it registered");
        assert_eq!(next(7, 4, Some((7, 4))), Life { store: 7, boot: 5 });
        assert_eq!(
            next(7, 5, Some((7, 4))),
            Life { store: 7, boot: 5 },
            "life 5 was never heard of"
        );
    }

    #[test]
    fn a_folder_of_another_time_or_place_starts_anew_in_a_life_of_its_own() {
        for (boot, known) in [(4, (8, 4)), (3, (7, 4)), (6, (7, 4)), (0, (7, 4))] {
            let life = next(7, boot, Some(known));
            assert_ne!(life.store, 7, "boot {boot}, registry {known:?}");
            assert_eq!(life.boot, known.1 + 1);
        }
        assert_ne!(next(7, 2, None).store, 7, "the registry has forgotten everything");
    }
}
