//! A node's way into the cluster.
//!
//! First the node's new life, in `members/`; the folder has kept it before, so that the registry never
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
    registration_key,
};
use runtime::{Backoff, Instant};
use segment::Folder;

use crate::config::Config;
use crate::ending::Failure;
use crate::metric;
use crate::trust::Trust;

/// How long the first `commit` nodes wait for others, so that nodes started together share the
/// partitions from the beginning.
const COMPANY_MAX: Duration = Duration::from_secs(3);
/// Pauses before the registry is asked again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often the beginning of a cluster is looked at, should no watch say anything.
const LOOK: Duration = Duration::from_millis(250);

/// What a node becomes a member with.
pub(crate) struct Membership {
    pub(crate) session: Arc<Session>,
    pub(crate) config: Arc<Config>,
    /// What stands under each of this node's positions.
    pub(crate) record: PositionRecord,
    /// Whom it can believe.
    pub(crate) trust: Trust,
}

/// Begins a new process life of this node: in its folder, then in the registry, so that the registry
/// never knows of a life that the disk has forgotten. To be called before the log in the folder is
/// opened, since a folder that was not counted on is emptied here.
///
/// It was not counted on if the registry knows another folder of this node, or a later life of this one:
/// then this is a copy, or the state of some time ago, and others have acknowledgements of it that it
/// has forgotten. It goes on as a new folder that holds nothing. A folder that is *ahead* of the registry
/// is no such case: lives that ended before they were registered were never heard of.
///
/// # Errors
/// [`Failure`].
pub async fn enlist(session: &Session, mut folder: Folder) -> Result<Folder, Failure> {
    let key = member_key(folder.node());
    loop {
        let value = ask(|| session.get(&key)).await?;
        let known = value.as_ref().map(|value| decode::<MemberRecord>(&key, &value.data));
        let life = next_life(folder.store(), folder.boot(), known.transpose()?);
        folder = begin(folder, &life).await?;
        let leaving = life.leaving;
        let (store, boot) = (folder.store(), folder.boot());
        let record = MemberRecord { store, boot, leaving, draining: false };
        let expect = value.map(|value| value.version);
        let cas = Cas { key: key.clone(), expect, data: Some(registry::encode(&record)) };
        match session.cas(cas).await {
            Ok(Ok(_version)) => return Ok(folder),
            Err(error) if is_final(&error) => return Err(refused(&error)),
            // A lost answer, like a lost race, is followed by another life.
            Ok(Err(_)) | Err(_) => runtime::sleep(PAUSE_FIRST).await,
        }
    }
}

impl Membership {
    /// Whether the nodes that are there could believe this one: asked before it takes places, and once it
    /// has them, because two may come at once.
    pub(crate) async fn belong(&self, placed: bool) -> Result<(), Failure> {
        let places = ask(|| self.session.list(POSITIONS)).await?;
        let records = places.iter().filter_map(|(_, value)| registry::decode(&value.data).ok());
        let records: Vec<PositionRecord> = records.collect();
        match self.trust.outnumbered(&self.config.node, records.iter(), placed) {
            Some(node) => Err(Failure::Authority { node }),
            None => Ok(()),
        }
    }

    /// Takes this node's places. One that another node holds is left to it.
    pub(crate) async fn take_places(&self) -> Result<(), Failure> {
        let data = registry::encode(&self.record);
        let mut told = false;
        for position in &self.config.positions {
            let key = position_key(*position);
            let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
            loop {
                let put = ask(|| self.session.put_ephemeral(&key, data.clone())).await?;
                let Err(error) = put else { break };
                let holder = error.current.and_then(|value| node_at(&value.data));
                if holder.as_ref().is_some_and(|holder| *holder != self.config.node) {
                    metric::foreign(&self.config.node, "taken");
                    tracing::error!(%position, holder = ?holder, "two nodes chose one place");
                    break;
                }
                if !told {
                    told = true;
                    tracing::warn!(
                        node = %self.config.node, key,
                        "waits until this is gone: {}",
                        match holder {
                            Some(_) => "an earlier life of this node is not given up yet",
                            None => "it is no place on a ring. If no other program needs it, delete it",
                        }
                    );
                }
                runtime::sleep(backoff.next(rand::random())).await;
            }
        }
        Ok(())
    }

    /// Registers the process, for programs that look for the service and not for its ring.
    pub(crate) async fn register(&self) -> Result<(), Failure> {
        let service = &self.record.service_info;
        let (key, data) = (registration_key(service), registry::encode(service));
        if ask(|| self.session.put_ephemeral(&key, data.clone())).await?.is_err() {
            // The key is random, and this process's own.
            tracing::error!(node = %self.config.node, %key, "somebody else registered as this process");
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
                let company = nodes >= usize::from(self.config.copies) || waited >= COMPANY_MAX;
                if company && self.create(&ring, &members).await? {
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
            if let (Some(position), Ok(record)) = (position_of(key), decode(key, &value.data))
                && self.trust.believes(&record)
            {
                records.push((position, record));
            }
        }
        let ring = registry::ring(records.iter().map(|(position, record)| (*position, record)));
        let mut stores = BTreeMap::new();
        for (key, value) in &members {
            let node = key.strip_prefix(MEMBERS).and_then(|node| node.parse().ok());
            match (node, decode::<MemberRecord>(key, &value.data)) {
                (Some(node), Ok(record)) => drop(stores.insert(node, record.store)),
                // What it is, the running node tells.
                _ => tracing::debug!(key, "no member's record; passed over"),
            }
        }
        Ok((ring, stores))
    }

    /// Creates what is missing of the partitions, and then the cluster. Several nodes may do this at
    /// once: every record is written by whoever is first, and each of them is good. `false` if not all of
    /// it could be done.
    async fn create(&self, ring: &Ring, stores: &BTreeMap<NodeId, u64>) -> Result<bool, Failure> {
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
                return Ok(false);
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
            return Ok(false);
        }
        let cluster = ClusterRecord { id: rand::random(), partitions: config.partitions.count() };
        let data = Some(registry::encode(&cluster));
        let created = self.session.cas(Cas { key: CLUSTER.to_owned(), expect: None, data }).await;
        Ok(created.is_ok())
    }
}

/// Says that `node` is to hold nothing any more, or takes that back: its place in every ensemble is given
/// to others, one step at a time. `false` if no node of that name was ever here.
///
/// # Errors
/// [`Failure`]; nothing was changed, or it is not known whether it was, and asking again is harmless.
pub async fn set_leaving(session: &Session, node: &NodeId, leaving: bool) -> Result<bool, Failure> {
    change_member(session, node, |known| MemberRecord { leaving, ..known }).await
}

/// Says that `node` leads nothing and takes nothing over, or that it does again.
pub(crate) async fn set_draining(
    session: &Session,
    node: &NodeId,
    draining: bool,
) -> Result<bool, Failure> {
    change_member(session, node, |known| MemberRecord { draining, ..known }).await
}

/// What stands of every member. What is no record is passed over: the running node tells of it.
pub(crate) async fn members(session: &Session) -> Result<BTreeMap<NodeId, MemberRecord>, Failure> {
    let members = ask(|| session.list(MEMBERS)).await?;
    let member = |(key, value): &(String, registry::Value)| {
        let node = key.strip_prefix(MEMBERS)?.parse().ok()?;
        Some((node, registry::decode(&value.data).ok()?))
    };
    Ok(members.iter().filter_map(member).collect())
}

/// Changes what stands of `node`; `false` if no node of that name was ever here.
async fn change_member(
    session: &Session,
    node: &NodeId,
    change: impl Fn(MemberRecord) -> MemberRecord,
) -> Result<bool, Failure> {
    let key = member_key(node);
    loop {
        let Some(value) = ask(|| session.get(&key)).await? else { return Ok(false) };
        let known: MemberRecord = decode(&key, &value.data)?;
        let record = change(known.clone());
        if record == known {
            return Ok(true);
        }
        let data = Some(registry::encode(&record));
        let cas = Cas { key: key.clone(), expect: Some(value.version), data };
        // A lost answer and a lost race are both looked at again.
        if let Ok(Ok(_version)) = session.cas(cas).await {
            return Ok(true);
        }
        runtime::sleep(PAUSE_FIRST).await;
    }
}

/// The life that follows `boot`. A node that was to leave is still to leave.
fn next_life(store: u64, boot: u64, known: Option<MemberRecord>) -> MemberRecord {
    let leaving = known.as_ref().is_some_and(|known| known.leaving);
    match known {
        Some(known) if known.store != store || known.boot > boot => {
            let (store, boot) = (rand::random(), known.boot.max(boot) + 1);
            MemberRecord { store, boot, leaving, draining: false }
        }
        _ => MemberRecord { store, boot: boot + 1, leaving, draining: false },
    }
}

async fn begin(mut folder: Folder, life: &MemberRecord) -> Result<Folder, Failure> {
    if life.store != folder.store() {
        tracing::warn!(
            node = %folder.node(),
            "the registry knows another data folder or a later life of this node: what is in this one \
             counts for nothing, and is copied again from the others"
        );
    }
    let (store, boot) = (life.store, life.boot);
    let begun = runtime::blocking(move || {
        folder.begin(store, boot).map(|()| folder).map_err(|error| error.to_string())
    });
    let ended = || Failure::Folder("it was not written".to_owned());
    begun.await.ok_or_else(ended)?.map_err(Failure::Folder)
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
            Err(error) if is_final(&error) => return Err(refused(&error)),
            Err(error) => {
                tracing::debug!(%error, "asking the registry again");
                runtime::sleep(backoff.next(rand::random())).await;
            }
        }
    }
}

/// Whether asking again changes nothing.
fn is_final(error: &registry::Error) -> bool {
    use registry::Error::{Denied, Failed, Refused, TooLarge};
    matches!(error, Denied { .. } | Failed | Refused { .. } | TooLarge { .. })
}

fn refused(error: &registry::Error) -> Failure {
    match error {
        registry::Error::Failed => Failure::Registry,
        error => Failure::Refused(error.to_string()),
    }
}

pub(crate) fn decode<T: registry::Record>(key: &str, data: &[u8]) -> Result<T, Failure> {
    registry::decode(data)
        .map_err(|error| Failure::Record { key: key.to_owned(), text: error.to_string() })
}

fn node_at(data: &[u8]) -> Option<NodeId> {
    registry::decode::<PositionRecord>(data).ok().map(|record| record.data.node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::Registry;

    struct Place {
        folder: tempfile::TempDir,
        registry: Registry,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let registry = Registry::embedded(&folder.path().join("registry")).unwrap();
            Self { folder, registry }
        }

        fn open(&self, name: &str) -> Folder {
            let path = self.folder.path().join(name);
            Folder::open(&path, &"n1".parse().unwrap(), 4, Vec::new).unwrap()
        }

        /// One start of node n1 with a folder: its store and boot.
        async fn start(&self, name: &str) -> (u64, u64) {
            let session = self.registry.session(&"n1".parse().unwrap());
            let folder = enlist(&session, self.open(name)).await.unwrap();
            let value = session.get("members/n1").await.unwrap().unwrap();
            let known: MemberRecord = registry::decode(&value.data).unwrap();
            assert_eq!((known.store, known.boot), (folder.store(), folder.boot()));
            (folder.store(), folder.boot())
        }
    }

    #[tokio::test]
    async fn a_folder_goes_on_also_after_lives_that_never_registered() {
        let place = Place::new();
        let (store, boot) = place.start("data").await;
        assert_eq!(place.start("data").await, (store, boot + 1));
        for unheard_of in [boot + 2, boot + 3] {
            place.open("data").begin(store, unheard_of).unwrap();
        }
        assert_eq!(place.start("data").await, (store, boot + 4));
    }

    #[tokio::test]
    async fn another_folder_of_a_node_begins_anew_and_so_does_the_first_when_it_comes_back() {
        let place = Place::new();
        let (first, _) = place.start("first").await;
        let (second, boot) = place.start("second").await;
        assert_ne!(first, second);
        let (back, later) = place.start("first").await;
        assert!(back != first && back != second, "what others counted on is not in it any more");
        assert!(later > boot);
    }

    #[tokio::test]
    async fn a_node_that_is_to_leave_is_still_to_leave_after_a_restart_until_it_is_taken_back() {
        let place = Place::new();
        let operator = place.registry.session(&"n2".parse().unwrap());
        let node = "n1".parse().unwrap();
        assert_eq!(set_leaving(&operator, &node, true).await, Ok(false), "nobody yet");
        let (store, boot) = place.start("data").await;
        assert_eq!(set_leaving(&operator, &node, true).await, Ok(true));
        assert_eq!(place.start("data").await, (store, boot + 1));
        let leaving = async || {
            let value = operator.get("members/n1").await.unwrap().unwrap();
            registry::decode::<MemberRecord>(&value.data).unwrap().leaving
        };
        assert!(leaving().await);
        assert_eq!(set_leaving(&operator, &node, false).await, Ok(true));
        assert!(!leaving().await);
    }

    /// A backup of the node's present life is no older than what the registry knows, and still behind what it promised
    /// since: only as a new store may it come back.
    #[tokio::test]
    async fn a_folder_that_was_restored_begins_anew_also_from_a_copy_of_the_present_life() {
        let place = Place::new();
        let (store, boot) = place.start("data").await;
        let (copy, path) = (place.folder.path().join("copy"), place.folder.path().join("data"));
        let backup = segment::Backup::create(&place.open("data"), &copy, Vec::new()).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        backup.restore(&path, &"n1".parse().unwrap(), 4, segment::Road::Member).unwrap();
        let (anew, later) = place.start("data").await;
        assert_ne!(anew, store);
        assert_eq!(later, boot + 1, "above every life before it");
    }

    #[tokio::test]
    async fn the_state_of_some_time_ago_begins_anew() {
        let place = Place::new();
        let (store, _) = place.start("data").await;
        let identity = place.folder.path().join("data/identity");
        let backup = std::fs::read(&identity).unwrap();
        place.start("data").await;
        place.start("data").await;
        std::fs::write(&identity, backup).unwrap();
        let (anew, boot) = place.start("data").await;
        assert_ne!(anew, store);
        assert_eq!(boot, 4, "higher than any before it");
    }
}
