//! What nodes ask each other about objects, what they answer, and what they say on streams of bytes. How that
//! becomes bytes is in [`crate::spoken`].

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use segment::archive::{
    Adler32, At, Catalogue, CollectionName, Md5, Opening, Table, Told, UnifiedId, Upload,
    Versioning,
};
use serde::{Deserialize, Serialize};

use crate::request::Made;
use crate::{Found, List, Listing, Name, Part, Refusal, Stored};

/// Something that the primary of a partition is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// How a collection keeps versions; if there is none and it should be made, it is made so.
    Collection { name: CollectionName, make: Option<Versioning> },
    /// That an upload become a version.
    Final(Box<Proposal>),
    /// That versions be hidden.
    Delete { name: Name, versioning: Versioning, target: Option<UnifiedId>, repeat: String },
    /// That an archive of parts begin.
    Start { name: Name, versioning: Versioning, repeat: String },
    /// That it be whole.
    Finish { name: Name, versioning: Versioning, version: UnifiedId },
    /// That it be given up, or hidden.
    Abort { name: Name, versioning: Versioning, version: UnifiedId },
    /// That an upload never become a version.
    Cancel { upload: Upload },
    /// That no upload of earlier lives of a node do.
    Fence { node: NodeId, boot: u64 },
    /// What a key shows.
    Find { name: Name, version: Option<UnifiedId> },
    /// That an archive of parts be given up, if nothing came of it after a moment.
    GiveUp { name: Name, versioning: Versioning, version: UnifiedId, before_ms: u64 },
}

/// What an upload should become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) upload: Upload,
    pub(crate) name: Name,
    pub(crate) versioning: Versioning,
    pub(crate) part: Option<(UnifiedId, u32)>,
    pub(crate) sequences: u32,
    pub(crate) size: u64,
    pub(crate) md5: Md5,
    pub(crate) adler32: Adler32,
    pub(crate) table: Table,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) repeat: Option<String>,
    /// Who has said that all of it is there and synced, and in which store.
    pub(crate) held: Vec<Holder>,
    /// Or all its bytes.
    pub(crate) data: Option<Bytes>,
}

/// A node with one of its stores: another store of it holds nothing of what this one did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) node: NodeId,
    pub(crate) store: u64,
}

/// What a node is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// As the primary of a partition.
    Ask(PartitionId, Ask),
    /// What the partitions that it leads show of a collection.
    List(List),
    /// Whether it still is at an upload of its own.
    Upload(Upload),
    /// How much it has of a partition.
    Has(PartitionId),
    /// What it shows of one.
    Catalogue(PartitionId),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// This.
    Done(Result<Reply, Refusal>),
    /// Nothing was done: this node does not lead the partition, and that one does, as far as it knows.
    Elsewhere(Option<NodeId>),
}

/// What was done, or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Made(Made),
    Stored(Stored),
    Version(UnifiedId),
    Done,
    Found(Box<Found>),
    /// With the partitions that it is of.
    Listed(Listing, Vec<PartitionId>),
    /// The node's present life, and whether the upload is of it and under way.
    Upload {
        boot: u64,
        under_way: bool,
    },
    /// Up to which entry of the log it knows the objects, and how many of their segments are not whole there, if it
    /// knows that.
    Has {
        seq: u64,
        owed: Option<u64>,
    },
    Catalogue(Shown),
    /// The upload never becomes a version: the partition's log says so, whether or not whoever asks has heard it from there.
    Never,
}

/// What a node shows of a partition, and what of the log is in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Everything up to this entry; 0: it does not know the objects yet.
    pub(crate) from: u64,
    /// And nothing behind this one.
    pub(crate) upto: u64,
    pub(crate) catalogue: Catalogue,
}

/// What a stream is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stream {
    /// To bring an upload.
    Bring(Begin),
    /// To fetch bytes of a segment, the first one and the one behind the last, and before them what is
    /// known of its sequences.
    Fetch { at: At, part: Part, from: u64, until: u64 },
}

/// An upload that is brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) upload: Upload,
    pub(crate) name: Name,
    pub(crate) versioning: Versioning,
    pub(crate) part: u32,
    /// How many bytes come.
    pub(crate) size: u64,
}

impl Begin {
    pub(crate) fn opening(&self) -> Opening {
        Opening {
            upload: self.upload.clone(),
            collection: self.name.collection.clone(),
            key: self.name.key.clone(),
            part: self.part,
            segment_number: 0,
        }
    }
}

/// What the one who brings an upload says; bytes follow a slice, in frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Bring {
    /// A sequence comes.
    Slice { sequence: u32, size: u32, md5: Md5, adler32: Adler32 },
    /// All came.
    Hold { size: u64, md5: Md5, adler32: Adler32, table: Table, time_ms: u64 },
}

/// What the one who takes it says, and who gives a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Said {
    /// There is room for this sequence in memory now.
    Go(u32),
    /// All is synced, in this store.
    Held { store: u64 },
    /// These are the sequences.
    Table(Vec<Told>),
    /// No; and whether for want of room.
    No { full: bool, why: String },
    /// There is room for all of it on the disks: it may begin.
    Ready,
}
