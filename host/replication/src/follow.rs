//! What a running node follows in the registry: the ring with its members, the partitions, and whether
//! the registry can be reached at all.
//!
//! A watch only says where to look, and changes come in crowds (a take-over rewrites a hundred
//! records), so each follower looks at once and then not again for a while. What cannot be read or
//! understood changes nothing: the node goes on with what it knew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, Position, Ring};
use registry::{
    CLUSTER, ClusterRecord, MEMBERS, MemberRecord, PARTITIONS, POSITIONS, PartitionRecord,
    PositionRecord, Session, SessionState, partition_of, position_of,
};
use runtime::Stop;
use tokio::sync::watch;

use crate::config::Config;
use crate::core::{Event, Roster};
use crate::dialler::{Dialler, Target};
use crate::foreign::Foreign;
use crate::inbox::{Command, Inbox};
use crate::peers::Peers;
use crate::trust::Trust;
use crate::{RingMember, RingView, wanted};

/// The pause between two looks at the same things.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// More changed records than this are read all together: one listing is a few round trips.
const READ_SINGLY_MAX: usize = 16;
/// How long a record that could not be read is left alone.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows who is on the ring: dials them, publishes the ring as this node sees it, and tells the core who
/// should hold what by it.
pub(crate) struct RingFollower {
    pub(crate) node: NodeId,
    pub(crate) session: Arc<Session>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) dialler: Dialler,
    pub(crate) view: watch::Sender<Arc<RingView>>,
    /// The cluster this node joined.
    pub(crate) cluster: ClusterRecord,
    /// Whose places count.
    pub(crate) trust: Trust,
    pub(crate) foreign: Foreign,
    pub(crate) config: Arc<Config>,
    pub(crate) inbox: Inbox,
    /// What the core was told last.
    pub(crate) told: Option<Roster>,
}

impl RingFollower {
    pub(crate) async fn run(mut self, stop: Stop) {
        let mut places = self.session.watch(POSITIONS);
        let mut members = self.session.watch(MEMBERS);
        let mut connections = self.peers.changes();
        let mut reachable = self.session.state();
        if *reachable.borrow() == SessionState::Disconnected {
            self.show_last_known();
        }
        loop {
            // Who is connected this node knows by itself, whoever is on the ring.
            self.show_connections();
            if *reachable.borrow() == SessionState::Connected
                && let Err(error) = self.look().await
            {
                tracing::debug!(node = %self.node, %error, "the ring stays as it was");
            }
            tokio::select! { biased;
                () = stop.stopped() => return,
                () = runtime::sleep(LOOK_PAUSE) => {}
            }
            tokio::select! { biased;
                () = stop.stopped() => return,
                _ = places.changed() => {}
                _ = members.changed() => {}
                _ = connections.changed() => {}
                _ = reachable.changed() => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), registry::Error> {
        let places = self.session.list(POSITIONS).await?;
        let members = self.session.list(MEMBERS).await?;
        self.same_cluster().await?;
        let mut lives: BTreeMap<NodeId, MemberRecord> = BTreeMap::new();
        for (key, value) in &members {
            let node = key.strip_prefix(MEMBERS).and_then(|node| node.parse().ok());
            match (node, registry::decode::<MemberRecord>(&value.data)) {
                (Some(node), Ok(member)) => drop(lives.insert(node, member)),
                _ => self.foreign.pass_over(&self.node, "member", key, value.version),
            }
        }
        let mut records = Vec::new();
        for (key, value) in &places {
            match (position_of(key), registry::decode::<PositionRecord>(&value.data)) {
                (Some(position), Ok(record)) if self.trust.believes(&record) => {
                    records.push((position, record));
                }
                (Some(_), Ok(PositionRecord { data, .. })) => {
                    let whose = format!("{POSITIONS} of node {}", data.node);
                    self.foreign.pass_over(&self.node, "authority", &whose, 0);
                }
                _ => self.foreign.pass_over(&self.node, "place", key, value.version),
            }
        }
        let ring = registry::ring(records.iter().map(|(position, record)| (*position, record)));
        let mut nodes: BTreeMap<NodeId, &PositionRecord> = BTreeMap::new();
        for (_, record) in &records {
            nodes.entry(record.data.node.clone()).or_insert(record);
        }
        self.dialler.only(&nodes.keys().collect());
        for (node, record) in &nodes {
            if *node != self.node
                && let Some(life) = lives.get(node)
            {
                let (address, fingerprint) =
                    (record.data.quic.clone(), record.data.fingerprint.clone());
                let target = Target { address, boot: life.boot, store: life.store, fingerprint };
                self.dialler.aim(node, target);
            }
        }
        let nodes = nodes.values().map(|record| self.member(record)).collect();
        self.publish(ring, nodes, 0);
        self.tell(wanted::roster(&records, &lives, &self.config)).await;
        Ok(())
    }

    /// Publishes what this node's disk knows, with its age. It is for showing: nobody is dialled by it.
    fn show_last_known(&self) {
        let Some(known) = self.session.last_known() else { return };
        let records: Vec<(Position, PositionRecord)> = known
            .list(POSITIONS)
            .filter_map(|(key, value)| {
                Some((position_of(key)?, registry::decode(&value.data).ok()?))
            })
            .collect();
        let ring = registry::ring(records.iter().map(|(position, record)| (*position, record)));
        let mut nodes = BTreeMap::new();
        for (_, record) in &records {
            nodes.entry(&record.data.node).or_insert_with(|| self.member(record));
        }
        self.publish(ring, nodes.into_values().collect(), known.age_ms().max(1));
    }

    /// Publishes the same ring with who is connected now.
    fn show_connections(&self) {
        let (ring, stale_ms, mut nodes) = {
            let view = self.view.borrow();
            (view.ring.clone(), view.stale_ms, view.nodes.clone())
        };
        for member in &mut nodes {
            member.up = self.is_up(&member.id);
        }
        self.publish(ring, nodes, stale_ms);
    }

    fn is_up(&self, node: &NodeId) -> bool {
        *node == self.node || self.peers.is_up(node)
    }

    /// Says so if the cluster's own record is another one now: two clusters on one root, or somebody's hand.
    /// What this node joined it stays in.
    async fn same_cluster(&mut self) -> Result<(), registry::Error> {
        let (data, version) = match self.session.get(CLUSTER).await? {
            Some(value) => (value.data, value.version),
            None => (Vec::new(), u64::MAX),
        };
        if !registry::decode::<ClusterRecord>(&data).is_ok_and(|found| found == self.cluster) {
            self.foreign.pass_over(&self.node, "cluster", CLUSTER, version);
        }
        Ok(())
    }

    /// Tells the core, if it is another roster than the last one.
    async fn tell(&mut self, roster: Roster) {
        if self.told.as_ref() != Some(&roster) {
            let event = Event::Roster(Box::new(roster.clone()));
            // Once the driver has ended nobody wants to know.
            drop(self.inbox.send(Command::Event(event)).await);
            self.told = Some(roster);
        }
    }

    fn member(&self, record: &PositionRecord) -> RingMember {
        let (service, data) = (&record.service_info, &record.data);
        RingMember {
            id: data.node.clone(),
            hostname: service.hostname.clone(),
            fqdn: service.fqdn.clone(),
            http: data.http.clone(),
            quic: data.quic.clone(),
            zone: data.zone.clone(),
            weight: data.weight,
            up: self.is_up(&data.node),
        }
    }

    fn publish(&self, ring: Ring, nodes: Vec<RingMember>, stale_ms: u64) {
        self.view.send_if_modified(|view| {
            let same = view.nodes == nodes
                && view.stale_ms == stale_ms
                && view.ring.positions().eq(ring.positions());
            if !same {
                let version = view.version + 1;
                *view = Arc::new(RingView { version, stale_ms, ring, nodes });
            }
            !same
        });
    }
}

/// Follows the partitions' records and hands them to the core.
pub(crate) async fn partitions(session: Arc<Session>, inbox: Inbox, stop: Stop) {
    let mut watch = session.watch(PARTITIONS);
    let mut foreign = Foreign::default();
    let mut due: Option<BTreeSet<String>> = None;
    loop {
        let records = match &due {
            // At first all of them.
            None => session.list(PARTITIONS).await,
            Some(keys) => read(&session, keys).await,
        };
        let pause = match records {
            Ok(records) => {
                let mut missing = due.replace(BTreeSet::new()).unwrap_or_default();
                missing.retain(|key| records.iter().all(|(found, _)| found != key));
                for key in missing.iter().filter(|key| partition_of(key).is_some()) {
                    foreign.pass_over(session.node(), "missing", key, u64::MAX);
                    if let Some(partition) = partition_of(key) {
                        let event = Event::RecordGone { partition };
                        if inbox.send(Command::Event(event)).await.is_err() {
                            return;
                        }
                    }
                }
                for (key, value) in records {
                    if !tell(&session, &mut foreign, &inbox, &key, &value).await {
                        return;
                    }
                }
                LOOK_PAUSE
            }
            Err(error) => {
                tracing::debug!(%error, "partition records are read again later");
                AGAIN
            }
        };
        tokio::select! { biased;
            () = stop.stopped() => return,
            () = runtime::sleep(pause) => {}
        }
        if due.as_ref().is_some_and(BTreeSet::is_empty) {
            tokio::select! { biased;
                () = stop.stopped() => return,
                changed = watch.changed() => match changed {
                    Some(keys) => due = Some(keys),
                    None => return,
                }
            }
        }
    }
}

async fn read(
    session: &Session,
    keys: &BTreeSet<String>,
) -> Result<Vec<(String, registry::Value)>, registry::Error> {
    if keys.len() > READ_SINGLY_MAX {
        let mut all = session.list(PARTITIONS).await?;
        all.retain(|(key, _)| keys.contains(key));
        return Ok(all);
    }
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        if let Some(value) = session.get(key).await? {
            found.push((key.clone(), value));
        }
    }
    Ok(found)
}

/// `false` when nobody listens any more.
async fn tell(
    session: &Session,
    foreign: &mut Foreign,
    inbox: &Inbox,
    key: &str,
    value: &registry::Value,
) -> bool {
    let (Some(partition), Ok(record)) =
        (partition_of(key), registry::decode::<PartitionRecord>(&value.data))
    else {
        foreign.pass_over(session.node(), "partition", key, value.version);
        return true;
    };
    let event = Event::Record { partition, record, version: value.version };
    inbox.send(Command::Event(event)).await.is_ok()
}

/// Tells the core whether the registry can be reached, now and whenever that changes.
pub(crate) async fn session(session: Arc<Session>, inbox: Inbox, stop: Stop) {
    let mut state = session.state();
    loop {
        let event = match *state.borrow_and_update() {
            SessionState::Connected => Event::SessionUp,
            SessionState::Disconnected => Event::SessionDown,
        };
        if inbox.send(Command::Event(event)).await.is_err() {
            return;
        }
        tokio::select! { biased;
            () = stop.stopped() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}
