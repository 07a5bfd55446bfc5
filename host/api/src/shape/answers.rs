//! What clients are answered, beside messages.

use std::collections::BTreeMap;
use std::fmt::Display;

use chat::{ChatView, Created, Owners, Pending, RingMember, RingView};
use hashring::{NodeId, PartitionId, Position};
use model::{Attrs, ChatStatus, ChatToken, Cursor, MessageId, Participant};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// A value in JSON as it is shown to people.
#[derive(Clone, Debug)]
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A chat was created.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Created)]
pub(crate) struct CreatedShape {
    /// Its name: 32 hex digits.
    #[schema(value_type = String)]
    token: Shown<ChatToken>,
    /// Before its first message.
    #[schema(value_type = String)]
    cursor: Shown<Cursor>,
    /// `pending`.
    #[schema(value_type = String)]
    status: ChatStatus,
    /// When, in Unix milliseconds.
    created_ms: u64,
}

/// A chat as it is now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Chat)]
pub(crate) struct ChatShape<'a> {
    /// Its name.
    #[schema(value_type = String)]
    token: Shown<ChatToken>,
    /// `pending`, `started` or `ended`.
    #[schema(value_type = String)]
    status: ChatStatus,
    /// Its last message.
    #[schema(value_type = String)]
    cursor: Shown<Cursor>,
    /// When it was created.
    created_ms: u64,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_ms: Option<u64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_ms: Option<u64>,
    /// How long it may last after it started, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration_s: Option<u64>,
    /// How many may be in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_participants: Option<u32>,
    /// Who is in it, in the order in which they joined.
    participants: Vec<ParticipantShape<'a>>,
    /// Free pairs.
    #[schema(value_type = HashMap<String, String>)]
    attrs: &'a Attrs,
    /// What it waits for, if that is anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<PendingShape>,
    /// The handlers that see its messages, with their versions.
    #[schema(value_type = HashMap<String, String>)]
    plugins: &'a BTreeMap<String, String>,
    /// What it is archived as, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<ArchiveShape>,
}

/// The object of the archive that a chat is kept as.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ChatArchive)]
pub(crate) struct ArchiveShape {
    /// `chats`.
    collection: &'static str,
    /// The chat's token.
    #[schema(value_type = String)]
    key: Shown<ChatToken>,
    /// The object's version, in decimal; left out where the chat is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    version: Option<Shown<u64>>,
}

/// How much a chat waits for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pending)]
pub(crate) struct PendingShape {
    /// Messages that are kept back.
    held: usize,
    /// Timers that run.
    timers: usize,
    /// Calls out that nobody has answered.
    outcalls: usize,
}

/// Somebody in a chat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Participant)]
pub(crate) struct ParticipantShape<'a> {
    /// Unique in its chat.
    id: &'a str,
    /// As what they joined; empty when they did not say.
    role: &'a str,
    /// `connected`, `disconnected` or `unavailable`.
    status: &'a str,
    /// When they were last heard.
    heard_ms: u64,
    /// The how manieth to join, from 1.
    ordinal: u32,
    /// Free pairs.
    #[schema(value_type = HashMap<String, String>)]
    attrs: &'a Attrs,
}

/// Somebody joined.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Joined)]
pub(crate) struct JoinedShape {
    /// The how manieth to join, from 1.
    pub(crate) ordinal: u32,
}

/// A chat is over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ended)]
pub(crate) struct EndedShape {
    /// `ended`.
    #[schema(value_type = String)]
    pub(crate) status: ChatStatus,
    /// The chat's last message.
    #[schema(value_type = String)]
    pub(crate) cursor: Shown<Cursor>,
    /// When it ended.
    pub(crate) ended_ms: u64,
}

/// A handler keeps a message back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Held)]
pub(crate) struct HeldShape {
    /// The id it will have.
    #[schema(value_type = String)]
    pub(crate) id: Shown<MessageId>,
    /// `true`.
    pub(crate) held: bool,
}

/// Who holds a chat, and who should.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Owners)]
pub(crate) struct OwnersShape<'a> {
    /// The chat's partition.
    #[schema(value_type = u16)]
    partition: PartitionId,
    /// Its epoch.
    epoch: u64,
    /// Who leads it; nothing while nobody does.
    #[schema(value_type = Option<String>)]
    primary: Option<&'a NodeId>,
    /// Who holds it.
    #[schema(value_type = Vec<String>)]
    ensemble: &'a [NodeId],
    /// Who should hold it, by the ring.
    #[schema(value_type = Vec<String>)]
    wanted: &'a [NodeId],
}

/// The ring as a node knows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ring)]
pub(crate) struct RingShape<'a> {
    /// Rises with every change that the node sees.
    version: u64,
    /// How long ago it was last known to be true.
    stale_ms: u64,
    /// The nodes.
    nodes: Vec<RingNodeShape<'a>>,
    /// Their positions, in ring order.
    positions: Vec<PositionShape<'a>>,
}

/// One node of the ring.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RingNode)]
pub(crate) struct RingNodeShape<'a> {
    /// Its name.
    #[schema(value_type = String)]
    id: &'a NodeId,
    /// Short name of its machine.
    hostname: &'a str,
    /// Full name of its machine.
    fqdn: &'a str,
    /// Where it answers clients.
    http: &'a str,
    /// Where it answers nodes.
    quic: &'a str,
    /// Its failure domain, or nothing.
    zone: &'a str,
    /// How many shares of the ring it has.
    weight: u32,
    /// `up` or `down`, as the answering node sees it.
    state: &'static str,
}

/// One position of the ring.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RingPosition)]
pub(crate) struct PositionShape<'a> {
    /// 32 hex digits.
    #[schema(value_type = String)]
    position: Shown<Position>,
    /// Whose it is.
    #[schema(value_type = String)]
    node: &'a NodeId,
}

/// A node that can be asked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Ready)]
pub(crate) struct ReadyShape {
    /// `true`.
    pub(crate) ready: bool,
    /// How many partitions the cluster has.
    pub(crate) partitions: usize,
    /// How many of them have a leader.
    pub(crate) led: usize,
    /// How many can have fewer copies than they should, for want of nodes, hosts or zones.
    pub(crate) thin: usize,
}

/// A node that runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Healthy)]
pub(crate) struct HealthyShape {
    /// `ok`.
    pub(crate) status: &'static str,
}

impl CreatedShape {
    pub(crate) fn new(created: &Created) -> Self {
        Self {
            token: Shown(created.token),
            cursor: Shown(created.cursor),
            status: created.status,
            created_ms: created.created_ms,
        }
    }
}

impl<'a> ChatShape<'a> {
    pub(crate) fn new(view: &'a ChatView) -> Self {
        Self {
            token: Shown(view.token),
            status: view.status,
            cursor: Shown(view.cursor),
            created_ms: view.created_ms,
            started_ms: view.started_ms,
            ended_ms: view.ended_ms,
            max_duration_s: view.max_duration_s,
            max_participants: view.max_participants,
            participants: view.participants.iter().map(ParticipantShape::new).collect(),
            attrs: &view.attrs,
            pending: PendingShape::new(view.pending),
            plugins: &view.plugins,
            archive: view.archive.map(|version| ArchiveShape::new(view.token, Some(version))),
        }
    }
}

impl ArchiveShape {
    pub(crate) fn new(chat: ChatToken, version: Option<u64>) -> Self {
        Self { collection: archive::CHATS, key: Shown(chat), version: version.map(Shown) }
    }
}

impl PendingShape {
    fn new(pending: Pending) -> Option<Self> {
        let Pending { held, timers, outcalls } = pending;
        (!pending.is_empty()).then_some(Self { held, timers, outcalls })
    }
}

impl<'a> ParticipantShape<'a> {
    pub(super) fn new(participant: &'a Participant) -> Self {
        Self {
            id: &participant.id,
            role: &participant.role,
            status: &participant.status,
            heard_ms: participant.heard_ms,
            ordinal: participant.ordinal,
            attrs: &participant.attrs,
        }
    }
}

impl<'a> OwnersShape<'a> {
    pub(crate) fn new(owners: &'a Owners) -> Self {
        Self {
            partition: owners.partition,
            epoch: owners.epoch,
            primary: owners.primary.as_ref(),
            ensemble: &owners.ensemble,
            wanted: &owners.wanted,
        }
    }
}

impl<'a> RingShape<'a> {
    pub(crate) fn new(view: &'a RingView) -> Self {
        let position = |(position, node)| PositionShape { position: Shown(position), node };
        Self {
            version: view.version,
            stale_ms: view.stale_ms,
            nodes: view.nodes.iter().map(RingNodeShape::new).collect(),
            positions: view.ring.positions().map(position).collect(),
        }
    }
}

impl<'a> RingNodeShape<'a> {
    fn new(member: &'a RingMember) -> Self {
        Self {
            id: &member.id,
            hostname: &member.hostname,
            fqdn: &member.fqdn,
            http: &member.http,
            quic: &member.quic,
            zone: &member.zone,
            weight: member.weight,
            state: if member.up { "up" } else { "down" },
        }
    }
}
