//! What a value file says beside the bytes: facts, each small, each one record, none ever changed.
//!
//! A fact is kept in a value file and once more, as it stands there, in the index. What is true of a key is
//! computed from its facts; nothing is stored that could be computed.

use hashring::NodeId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::name::{CollectionName, Key, Upload};
use crate::archive::{Adler32, Event, Md5, Table, UnifiedId, Versioning};
use crate::record::array;

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct At {
    /// The collection.
    pub collection: CollectionName,
    /// The key in it.
    pub key: Key,
    /// The version.
    pub version: UnifiedId,
}

/// Something that is so from now on. Times are Unix milliseconds. The order of the cases is part of the
/// format: new ones go behind the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A collection exists.
    Collection {
        /// Its name.
        name: CollectionName,
        /// Whether it keeps earlier versions.
        versioning: Versioning,
        /// Since when.
        time_ms: u64,
    },
    /// A segment is whole.
    Final(Final),
    /// An upload was given up: nothing of it becomes final.
    Cancelled {
        /// Which.
        upload: Upload,
        /// Since when.
        time_ms: u64,
    },
    /// A delete: of everything earlier, or of one version.
    Tombstone {
        /// The tombstone's own version.
        at: At,
        /// The version it deletes, if not everything earlier.
        target: Option<UnifiedId>,
        /// Since when.
        time_ms: u64,
        /// Under which key it was asked for.
        repeat: Option<String>,
    },
    /// An archive of several parts was begun.
    Started {
        /// Which.
        at: At,
        /// When.
        time_ms: u64,
        /// Under which key it was asked for.
        repeat: Option<String>,
    },
    /// It is whole.
    Finished {
        /// Which.
        at: At,
        /// How many parts it has.
        parts: u32,
        /// Since when.
        time_ms: u64,
    },
    /// It was given up, or hidden after it was whole.
    Aborted {
        /// Which.
        at: At,
        /// Since when.
        time_ms: u64,
    },
    /// A writer began a life: nothing of its earlier ones becomes final any more.
    WriterStarted {
        /// The writer.
        node: NodeId,
        /// Its life.
        boot: u64,
        /// Since when.
        time_ms: u64,
    },
    /// What is left of facts that hid everything up to and with this version.
    Floor {
        /// The last version it hides.
        at: At,
        /// Since when.
        time_ms: u64,
    },
    /// All sequences of an upload are here and synced, and nobody knows yet whether it becomes final.
    Held(Held),
}

/// An upload that is whole here and not decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The name of its bytes.
    pub upload: Upload,
    /// Of which key they would be.
    pub collection: CollectionName,
    /// And that is it.
    pub key: Key,
    /// How many sequences there are.
    pub sequences: u32,
    /// How many bytes.
    pub size: u64,
    /// Their digests.
    pub table: Table,
    /// Since when, in Unix milliseconds.
    pub time_ms: u64,
}

/// A segment that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Final {
    /// The name of its bytes.
    pub upload: Upload,
    /// What they are.
    pub at: At,
    /// 0, or which part of a conjoined archive, from 1.
    pub part: u32,
    /// Which copy: the place in the ensemble, from 1.
    pub segment_number: u16,
    /// How the bytes are spread: 0, whole copies.
    pub coding: u8,
    /// For whom they are kept; nobody uses it.
    pub hand_off: Option<NodeId>,
    /// How many sequences there are.
    pub sequences: u32,
    /// How many bytes.
    pub size: u64,
    /// Of all bytes. With several sequences it is what the writer said.
    pub md5: Md5,
    /// Of all bytes.
    pub adler32: Adler32,
    /// When it became final, in Unix milliseconds.
    pub time_ms: u64,
    /// What the writer wants to be kept with it.
    pub meta: Vec<(String, String)>,
    /// The digests of its sequences.
    pub table: Table,
    /// Under which key it was asked for.
    pub repeat: Option<String>,
    /// The nodes that held all of it when it became final; none, if the bytes came with it.
    pub holders: Vec<NodeId>,
}

/// What stands behind the pieces of a sequence and closes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sequence {
    pub(crate) upload: Upload,
    /// From 0.
    pub(crate) number: u32,
    pub(crate) size: u32,
    /// Kept for codings that need it; 0.
    pub(crate) padding: u16,
    pub(crate) md5: Md5,
    pub(crate) adler32: Adler32,
}

/// Tells one fact from another: copies of a fact have the same.
pub(crate) type Identity = [u8; 16];

impl Fact {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// `None` if the bytes are no fact, or followed by others.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        decode(bytes)
    }

    /// Of the bytes of a fact.
    pub(crate) fn identity(bytes: &[u8]) -> Identity {
        array(&Sha256::digest(bytes), 0)
    }

    /// Of which key and version it speaks.
    pub fn at(&self) -> Option<&At> {
        match self {
            Self::Final(made) => Some(&made.at),
            Self::Tombstone { at, .. }
            | Self::Started { at, .. }
            | Self::Finished { at, .. }
            | Self::Aborted { at, .. }
            | Self::Floor { at, .. } => Some(at),
            Self::Collection { .. }
            | Self::Cancelled { .. }
            | Self::WriterStarted { .. }
            | Self::Held(_) => None,
        }
    }

    /// The segment that it says is whole.
    pub(crate) fn made(&self) -> Option<&Final> {
        match self {
            Self::Final(made) => Some(made),
            _ => None,
        }
    }

    /// Of which upload it speaks.
    pub fn upload(&self) -> Option<&Upload> {
        match self {
            Self::Final(made) => Some(&made.upload),
            Self::Cancelled { upload, .. } => Some(upload),
            Self::Held(held) => Some(&held.upload),
            _ => None,
        }
    }

    /// What it means for what can be seen of its key.
    pub fn event(&self) -> Option<Event> {
        Some(match self {
            Self::Final(made) => Event::Final {
                version: made.at.version,
                part: made.part,
                size: made.size,
                time_ms: made.time_ms,
            },
            Self::Finished { at, parts, time_ms } => {
                Event::Finished { version: at.version, parts: *parts, time_ms: *time_ms }
            }
            Self::Aborted { at, time_ms } => {
                Event::Aborted { version: at.version, time_ms: *time_ms }
            }
            Self::Tombstone { at, target, time_ms, .. } => {
                Event::Tombstone { version: at.version, target: *target, time_ms: *time_ms }
            }
            Self::Floor { at, time_ms } => Event::Floor { version: at.version, time_ms: *time_ms },
            Self::Started { .. }
            | Self::Collection { .. }
            | Self::Cancelled { .. }
            | Self::WriterStarted { .. }
            | Self::Held(_) => return None,
        })
    }

    /// A number for the index, so that a look-up need not decode.
    pub(crate) fn kind(&self) -> u64 {
        match self {
            Self::Collection { .. } => 0,
            Self::Final(_) => FINAL,
            Self::Cancelled { .. } => 2,
            Self::Tombstone { .. } => 3,
            Self::Started { .. } => 4,
            Self::Finished { .. } => 5,
            Self::Aborted { .. } => 6,
            Self::WriterStarted { .. } => 7,
            Self::Floor { .. } => 8,
            Self::Held(_) => HELD,
        }
    }
}

/// The number of [`Fact::Final`].
pub(crate) const FINAL: u64 = 1;
/// The number of [`Fact::Held`].
pub(crate) const HELD: u64 = 9;

impl Sequence {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        decode(bytes)
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Into memory, of plain values: there is nothing that could fail.
    postcard::to_stdvec(value).unwrap_or_default()
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}
