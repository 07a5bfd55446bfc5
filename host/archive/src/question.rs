//! What nodes ask each other about objects: the byte `A`, then postcard; and what begins a stream between
//! them: the byte `B`, then postcard.

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use segment::archive::{
    Adler32, At, CollectionName, Md5, Opening, Table, Told, UnifiedId, Upload, Versioning,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::request::Made;
use crate::{Found, List, Listing, Name, Part, Refusal, Stored};

/// What a question and its answer begin with.
const MARK: u8 = b'A';
/// What the beginning of a stream begins with.
const STREAM: u8 = b'B';

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
    /// It is written.
    Got(u32),
    /// All is synced, in this store.
    Held { store: u64 },
    /// These are the sequences.
    Table(Vec<Told>),
    /// No; and whether for want of room.
    No { full: bool, why: String },
    /// There is room for all of it on the disks: it may begin.
    Ready,
}

/// Whether a request of another node is about objects.
pub fn is_question(body: &[u8]) -> bool {
    body.first() == Some(&MARK)
}

/// Whether a request of another node begins a stream about objects.
pub(crate) fn is_stream(body: &[u8]) -> bool {
    body.first() == Some(&STREAM)
}

pub(crate) fn encode<T: Serialize>(said: &T) -> Bytes {
    marked(MARK, said)
}

pub(crate) fn begin(stream: &Stream) -> Bytes {
    marked(STREAM, stream)
}

/// `None`: it is of another version.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    plain(bytes.strip_prefix(&[MARK])?)
}

pub(crate) fn begun(bytes: &[u8]) -> Option<Stream> {
    plain(bytes.strip_prefix(&[STREAM])?)
}

/// What is said within a stream has no mark.
pub(crate) fn say<T: Serialize>(said: &T) -> Vec<u8> {
    postcard::to_stdvec(said).unwrap_or_default()
}

pub(crate) fn plain<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (said, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(said)
}

fn marked<T: Serialize>(mark: u8, said: &T) -> Bytes {
    // Plain data: there is nothing postcard could refuse.
    postcard::to_extend(said, vec![mark]).map(Bytes::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_back_and_everything_else_is_nothing() {
        let node: NodeId = "n1".parse().unwrap();
        let upload = Upload { node: node.clone(), boot: 3, count: 4 };
        for question in
            [Question::Ask(PartitionId(7), Ask::Fence { node, boot: 9 }), Question::Upload(upload)]
        {
            let bytes = encode(&question);
            assert!(is_question(&bytes) && !is_stream(&bytes));
            assert_eq!(decode(&bytes), Some(question));
            for cut in 0..bytes.len() {
                assert_eq!(decode::<Question>(&bytes[..cut]), None);
            }
            assert_eq!(decode::<Question>(&[&bytes[..], b"x"].concat()), None);
        }
        for said in [
            Said::Ready,
            Said::No { full: true, why: "full".to_owned() },
            Said::Held { store: u64::MAX },
        ] {
            assert_eq!(plain(&say(&said)), Some(said));
        }
        assert!(!is_question(&[]) && !is_stream(&[]));
    }

    /// N20: the original's nodes sent each other pickled objects, which run what they like where they are read.
    #[test]
    fn n20_what_another_node_says_is_data_of_known_shapes_or_nothing() {
        let mut state = 20_u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(state >> 56).unwrap()
        };
        for _ in 0..20_000 {
            let length = usize::from(byte()) % 64;
            let noise: Vec<u8> = (0..length).map(|_| byte()).collect();
            let marked = [&[MARK], &noise[..]].concat();
            // What is understood says the same again; everything else is nothing, and asks for no memory.
            if let Some(question) = decode::<Question>(&marked) {
                assert_eq!(decode(&encode(&question)), Some(question));
            }
            if let Some(said) = plain::<Said>(&noise) {
                assert_eq!(plain(&say(&said)), Some(said));
            }
            let opening = [&[STREAM], &noise[..]].concat();
            if let Some(stream) = begun(&opening) {
                assert_eq!(begun(&begin(&stream)), Some(stream));
            }
        }
    }
}
