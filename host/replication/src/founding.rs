//! A cluster that is founded on what the nodes of an earlier one left: copies of their data folders.
//!
//! Nobody of the earlier one may be left. Each partition goes on with the ensemble of its last open epoch, as far as
//! anybody's copy knows it, and needs as many logs as a take-over would need to seal ([`crate`], R2): fewer, and
//! something that was acknowledged may be in none of them. Its epoch is 2^32 higher and the cluster has another
//! number, so nothing that the earlier one has named since the copies were taken is named again. After that
//! starting is a take-over like any other.

use std::collections::{BTreeMap, BTreeSet};

use hashring::{NodeId, PartitionId, Partitions};
use registry::{
    CLUSTER, Cas, ClusterRecord, MEMBERS, Member, PARTITIONS, POSITIONS, PartitionRecord,
    PartitionState, PositionRecord, Session, partition_key,
};

use crate::ending::Failure;
use crate::membership::{ask, decode};

/// No epoch of the earlier cluster came so far since the copies were taken.
const EPOCHS_AHEAD: u64 = 1 << 32;

/// What one node left.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Which node.
    pub node: NodeId,
    /// Which of its stores.
    pub store: u64,
    /// Of which cluster.
    pub cluster: Option<u64>,
    /// How many partitions that had.
    pub partitions: u16,
    /// When it was copied, in Unix milliseconds.
    pub made_ms: u64,
    /// What stood in the registry by then.
    pub registry: Vec<(String, Vec<u8>)>,
}

/// Why no cluster was founded.
#[derive(Debug, thiserror::Error)]
pub enum NotFounded {
    /// There is nothing to found it on. Nothing was changed; name backups.
    #[error("there is no backup to found a cluster on")]
    Nothing,
    /// A node is registered: its cluster goes on. Nothing was changed; restore single nodes into it.
    #[error("node {node} is registered: its cluster goes on")]
    Alive {
        /// Which.
        node: String,
    },
    /// The copies, or the registry, are of several clusters. Nothing was changed; name those of one.
    #[error("the backups and the registry are not of one cluster")]
    Several,
    /// Too few logs of some partitions are among the copies. Nothing was changed; name more of them.
    #[error("too few of those who held partitions {} are here", told(.partitions))]
    Lacking {
        /// Which.
        partitions: Vec<PartitionId>,
    },
    /// No copy says who held some partitions, and the registry does not either. Nothing was changed; name a copy
    /// that was taken with the registry.
    #[error("nobody knows who held partitions {}", told(.partitions))]
    Unknown {
        /// Which.
        partitions: Vec<PartitionId>,
    },
    /// Somebody else changes the registry. Some of it may be changed; found it again.
    #[error("somebody else changes the registry")]
    Raced,
    /// The registry refuses, or what stands there is no record. Some of it may be changed; see the cause.
    #[error(transparent)]
    Registry(#[from] Failure),
}

fn told(partitions: &[PartitionId]) -> String {
    let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What of the registry outlives everybody: keys and values, to be kept with a copy of a node's folder.
///
/// # Errors
/// [`Failure`].
pub async fn lasting(session: &Session) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let mut found = Vec::new();
    if let Some(value) = ask(|| session.get(CLUSTER)).await? {
        found.push((CLUSTER.to_owned(), value.data));
    }
    for prefix in [MEMBERS, PARTITIONS, "plugins/", "services/"] {
        let values = ask(|| session.list(prefix)).await?;
        found.extend(values.into_iter().map(|(key, value)| (key, value.data)));
    }
    Ok(found)
}

/// Founds a cluster in this registry, with a number that nobody had before: folders that are restored for it bear
/// it, and belong to no other.
///
/// # Errors
/// [`NotFounded`].
pub async fn found(session: &Session, remains: &[Remains], id: u64) -> Result<(), NotFounded> {
    let newest = remains.iter().max_by_key(|one| one.made_ms).ok_or(NotFounded::Nothing)?;
    if let Some((key, value)) = ask(|| session.list(POSITIONS)).await?.first() {
        let position = registry::decode::<PositionRecord>(&value.data);
        let node = position.map_or_else(|_foreign| key.clone(), |it| it.data.node.to_string());
        return Err(NotFounded::Alive { node });
    }
    let there = ask(|| session.get(CLUSTER)).await?;
    let there = match &there {
        Some(value) => Some((decode::<ClusterRecord>(CLUSTER, &value.data)?, value.version)),
        None => None,
    };
    let one_cluster = remains.iter().all(|one| {
        one.cluster.is_some()
            && (one.cluster, one.partitions) == (newest.cluster, newest.partitions)
    });
    let fits = there.as_ref().is_none_or(|(record, _)| {
        (Some(record.id), record.partitions) == (newest.cluster, newest.partitions)
    });
    if !one_cluster || !fits {
        return Err(NotFounded::Several);
    }
    let wrong = |_text| NotFounded::Several;
    let partitions = Partitions::try_from(newest.partitions).map_err(wrong)?;
    let mut writes = Vec::new();
    let mut known = records(session, remains).await?;
    let (mut lacking, mut unknown) = (Vec::new(), Vec::new());
    let stores: BTreeSet<Member> =
        remains.iter().map(|one| Member { node: one.node.clone(), store: one.store }).collect();
    for partition in partitions.all() {
        let key = partition_key(partition);
        match known.remove(&key) {
            None => unknown.push(partition),
            Some((record, expect)) => match anew(&record, &stores) {
                None => lacking.push(partition),
                Some(record) => {
                    let data = Some(registry::encode(&record));
                    writes.push(Cas { key, expect, data });
                }
            },
        }
    }
    if !unknown.is_empty() {
        return Err(NotFounded::Unknown { partitions: unknown });
    }
    if !lacking.is_empty() {
        return Err(NotFounded::Lacking { partitions: lacking });
    }
    writes.extend(others(session, newest).await?);
    let record = ClusterRecord { id, partitions: newest.partitions };
    let data = Some(registry::encode(&record));
    let cluster = Cas { key: CLUSTER.to_owned(), expect: there.map(|(_, version)| version), data };
    // Last, as when a cluster begins: whoever finds it finds everything else.
    for writes in [writes, vec![cluster]] {
        let written = ask(|| session.cas_many(writes.clone())).await?;
        if written.iter().any(Result::is_err) {
            return Err(NotFounded::Raced);
        }
    }
    Ok(())
}

/// The newest record of each partition, and which version of it stands in the registry.
async fn records(
    session: &Session,
    remains: &[Remains],
) -> Result<BTreeMap<String, (PartitionRecord, Option<u64>)>, NotFounded> {
    let mut newest: BTreeMap<String, (PartitionRecord, Option<u64>)> = BTreeMap::new();
    for (key, value) in ask(|| session.list(PARTITIONS)).await? {
        newest.insert(key.clone(), (decode(&key, &value.data)?, Some(value.version)));
    }
    for (key, data) in remains.iter().flat_map(|one| &one.registry) {
        if !key.starts_with(PARTITIONS) {
            continue;
        }
        let record: PartitionRecord = decode(key, data)?;
        match newest.get_mut(key) {
            None => drop(newest.insert(key.clone(), (record, None))),
            Some((known, _)) if known.epoch < record.epoch => *known = record,
            Some(_) => {}
        }
    }
    Ok(newest)
}

/// The record that a partition goes on with; nothing, if too few of those who held it are there.
fn anew(record: &PartitionRecord, stores: &BTreeSet<Member>) -> Option<PartitionRecord> {
    let (_, ensemble, commit) = record.last_open();
    let here = ensemble.iter().filter(|member| stores.contains(*member)).count();
    if here + usize::from(commit) < ensemble.len() + 1 {
        return None;
    }
    let epoch = record.epoch.saturating_add(EPOCHS_AHEAD);
    Some(PartitionRecord {
        epoch,
        state: PartitionState::Open,
        primary: None,
        boot: 0,
        ensemble: ensemble.to_vec(),
        commit,
        prev_epoch: epoch,
        prev_ensemble: ensemble.to_vec(),
        prev_commit: commit,
        nonce: rand::random(),
    })
}

/// What else the newest copy knows and the registry does not.
async fn others(session: &Session, newest: &Remains) -> Result<Vec<Cas>, NotFounded> {
    let mut writes = Vec::new();
    for (key, data) in &newest.registry {
        let of_nodes = key == CLUSTER || key.starts_with(PARTITIONS) || key.starts_with(MEMBERS);
        if !of_nodes && ask(|| session.get(key)).await?.is_none() {
            writes.push(Cas { key: key.clone(), expect: None, data: Some(data.clone()) });
        }
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use registry::Registry;

    use super::*;

    struct Place {
        _folder: tempfile::TempDir,
        _registry: Registry,
        session: Session,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::embedded(&folder.path().join("registry")).unwrap();
        let session = registry.session(&"n1".parse().unwrap());
        Place { session, _registry: registry, _folder: folder }
    }

    fn member(number: u64) -> Member {
        Member { node: format!("n{number}").parse().unwrap(), store: 100 + number }
    }

    /// Two partitions of three nodes, of which two commit; `epoch` is that of the second.
    fn remains(number: u64, epoch: u64, made_ms: u64) -> Remains {
        let ensemble: Vec<Member> = (1..=3).map(member).collect();
        let first = PartitionRecord::first(ensemble, 2);
        let second = PartitionRecord { epoch, ..first.clone() };
        let cluster = ClusterRecord { id: 7, partitions: 2 };
        let Member { node, store } = member(number);
        Remains {
            node,
            store,
            cluster: Some(7),
            partitions: 2,
            made_ms,
            registry: vec![
                (CLUSTER.to_owned(), registry::encode(&cluster)),
                (partition_key(PartitionId(0)), registry::encode(&first)),
                (partition_key(PartitionId(1)), registry::encode(&second)),
                ("plugins/live".to_owned(), format!("{{\"made\":{made_ms}}}").into_bytes()),
            ],
        }
    }

    async fn record(session: &Session, partition: u16) -> PartitionRecord {
        let key = partition_key(PartitionId(partition));
        let value = session.get(&key).await.unwrap().unwrap();
        registry::decode(&value.data).unwrap()
    }

    #[tokio::test]
    async fn partitions_go_on_far_above_and_the_cluster_has_another_number() {
        let place = place();
        let session = &place.session;
        let both = [remains(1, 5, 10), remains(3, 9, 20)];
        found(session, &both, 8).await.unwrap();
        let value = session.get(CLUSTER).await.unwrap().unwrap();
        let cluster: ClusterRecord = registry::decode(&value.data).unwrap();
        assert_eq!(cluster, ClusterRecord { id: 8, partitions: 2 });
        for (partition, epoch) in [(0, EPOCHS_AHEAD), (1, EPOCHS_AHEAD + 9)] {
            let found = record(session, partition).await;
            assert_eq!((found.epoch, found.state), (epoch, PartitionState::Open));
            assert_eq!((found.primary, found.commit, found.ensemble.len()), (None, 2, 3));
        }
        let live = session.get("plugins/live").await.unwrap().unwrap();
        assert_eq!(live.data, br#"{"made":20}"#, "the newest copy's");
        // It is another cluster from now on, and the copies are not of that one.
        let again = found(session, &both, 9).await;
        assert!(matches!(again, Err(NotFounded::Several)), "{again:?}");
    }

    /// A registry that outlived its nodes may know more than any copy.
    #[tokio::test]
    async fn what_the_registry_still_knows_counts_if_it_is_newer() {
        let place = place();
        let session = &place.session;
        for (key, data) in remains(1, 40, 10).registry {
            session.cas(Cas { key, expect: None, data: Some(data) }).await.unwrap().unwrap();
        }
        found(session, &[remains(1, 5, 10), remains(2, 41, 10)], 8).await.unwrap();
        assert_eq!(record(session, 1).await.epoch, EPOCHS_AHEAD + 41);
        let place = self::place();
        let session = &place.session;
        for (key, data) in remains(1, 42, 10).registry {
            session.cas(Cas { key, expect: None, data: Some(data) }).await.unwrap().unwrap();
        }
        found(session, &[remains(1, 5, 10), remains(2, 41, 10)], 8).await.unwrap();
        assert_eq!(record(session, 1).await.epoch, EPOCHS_AHEAD + 42);
    }

    #[tokio::test]
    async fn too_few_logs_and_several_clusters_are_refused_and_change_nothing() {
        let place = place();
        let session = &place.session;
        let one = found(session, &[remains(1, 5, 10)], 8).await;
        assert!(
            matches!(&one, Err(NotFounded::Lacking { partitions }) if partitions.len() == 2),
            "two of three must be there: {one:?}"
        );
        let wiped = Remains { store: 5, ..remains(2, 5, 10) };
        let other = found(session, &[remains(1, 5, 10), wiped], 8).await;
        assert!(matches!(other, Err(NotFounded::Lacking { .. })), "another store: {other:?}");
        let foreign = Remains { cluster: Some(8), ..remains(2, 5, 10) };
        let several = found(session, &[remains(1, 5, 10), foreign], 8).await;
        assert!(matches!(several, Err(NotFounded::Several)), "{several:?}");
        let silent = || Remains { registry: Vec::new(), ..remains(1, 5, 10) };
        let unknown = found(session, &[silent()], 8).await;
        assert!(matches!(unknown, Err(NotFounded::Unknown { .. })), "{unknown:?}");
        assert!(matches!(found(session, &[], 8).await, Err(NotFounded::Nothing)));
        assert_eq!(lasting(session).await.unwrap(), [], "nothing was written");
    }

    #[tokio::test]
    async fn a_cluster_that_goes_on_is_left_alone() {
        let place = place();
        let session = &place.session;
        let position = format!("{POSITIONS}{:032x}", 7);
        session.put_ephemeral(&position, b"{}".to_vec()).await.unwrap().unwrap();
        let alive = found(session, &[remains(1, 5, 10), remains(2, 5, 10)], 8).await;
        assert!(matches!(alive, Err(NotFounded::Alive { .. })), "{alive:?}");
    }
}
