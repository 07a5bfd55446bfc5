//! What can be asked, and what is answered.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use hashring::NodeId;
use model::{ATTACHMENTS, ChatToken};
use segment::archive::{Adler32, CollectionName, Key, Md5, Table, UnifiedId, Upload, Versioning};
use serde::{Deserialize, Serialize};

use crate::compact::Compact;

/// The collection of chats that are over: each is an object there, under its token.
pub const CHATS: &str = "chats";

/// A key in a collection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Name {
    /// The collection.
    pub collection: CollectionName,
    /// The key.
    pub key: Key,
}

/// What is to be stored, but for its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Under which name.
    pub name: Name,
    /// How many bytes there are: all must come, and no more.
    pub size: u64,
    /// The MD5 they must have, if somebody knows.
    pub md5: Option<Md5>,
    /// What is to be kept with it: names and values, together at most 2 KiB.
    pub meta: Vec<(String, String)>,
    /// Of which archive of several parts it is which part, from 1.
    pub part: Option<(UnifiedId, u32)>,
    /// What makes a repeat of the request one: the same key and the same bytes get the first answer.
    pub repeat: Option<String>,
}

/// The bytes of an upload, as they come.
pub trait Body: Send {
    /// The next bytes; `None` behind the last. They may be of any length.
    fn next(&mut self) -> Next<'_>;
}

/// The next bytes of a body, while they come.
pub type Next<'a> = Pin<Box<dyn Future<Output = Option<Result<Bytes, BodyEnded>>> + Send + 'a>>;

/// The sender is gone, or what came is broken. The upload is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body ended too early: {0}")]
pub struct BodyEnded(pub String);

/// All bytes at once.
#[derive(Debug)]
pub struct Whole(pub Option<Bytes>);

impl Body for Whole {
    fn next(&mut self) -> Next<'_> {
        Box::pin(std::future::ready(self.0.take().map(Ok)))
    }
}

/// Something is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its version; of a part, that of its archive.
    pub version: UnifiedId,
    /// Its bytes.
    pub size: u64,
    /// Their MD5.
    pub md5: Md5,
    /// Their Adler-32.
    pub adler32: Adler32,
    /// It was stored before, by the same request.
    pub again: bool,
}

/// A delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// What.
    pub name: Name,
    /// One version; otherwise everything that there is now.
    pub version: Option<UnifiedId>,
    /// What makes a repeat of the request one.
    pub repeat: Option<String>,
}

/// A version of a key that can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Compact", try_from = "Compact")]
pub struct Found {
    /// Of which key.
    pub key: Key,
    /// Which version.
    pub version: UnifiedId,
    /// Bytes of all parts.
    pub size: u64,
    /// Since when, in Unix milliseconds.
    pub time_ms: u64,
    /// Whether it has parts, of which there may be one only.
    pub conjoined: bool,
    /// What is kept with it; of an archive of parts, what came with its first.
    pub meta: Vec<(String, String)>,
    /// Its parts in order; one, if it is not conjoined.
    pub parts: Vec<Part>,
    /// Who should have it now.
    pub members: Vec<NodeId>,
}

/// A part of a version, or all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The name of its bytes.
    pub upload: Upload,
    /// 0, or which part it is.
    pub part: u32,
    /// How many sequences there are.
    pub sequences: u32,
    /// Its bytes.
    pub size: u64,
    /// Their MD5.
    pub md5: Md5,
    /// Their Adler-32.
    pub adler32: Adler32,
    /// The digests of its sequences.
    pub table: Table,
    /// Who held it when it became final.
    pub holders: Vec<NodeId>,
}

impl Found {
    /// What tells these bytes from others: the MD5; of an archive of parts the MD5 over its parts', and how
    /// many they are.
    pub fn etag(&self) -> String {
        if !self.conjoined {
            return self.parts.first().map(|part| part.md5.to_string()).unwrap_or_default();
        }
        let all: Vec<u8> = self.parts.iter().flat_map(|part| part.md5.0).collect();
        format!("{}-{}", Md5::of(&all), self.parts.len())
    }

    /// The Adler-32 of all bytes.
    pub fn adler32(&self) -> Adler32 {
        self.parts.iter().fold(Adler32::EMPTY, |sum, part| sum.followed_by(part.adler32, part.size))
    }
}

/// What is to be listed of a collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The collection.
    pub collection: CollectionName,
    /// Only keys that begin so.
    pub prefix: String,
    /// Only keys behind this one; with `version_marker` also later versions of it.
    pub marker: Option<Key>,
    /// At most so many.
    pub limit: u32,
    /// All versions that can be seen, not only what each key shows.
    pub versions: bool,
    /// Only versions of the marker's key that are later.
    pub version_marker: Option<UnifiedId>,
}

/// What a collection shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// In the order of the keys' bytes, versions rising. Parts' holders and tables are not told.
    pub entries: Vec<Found>,
    /// There are more. There may be more also if fewer than the limit are here, or none.
    pub truncated: bool,
    /// Then where to go on: the marker, and the version of it, of the next question.
    pub next: Option<(Key, Option<UnifiedId>)>,
}

/// Bytes of an object.
pub(crate) fn clip(range: Option<Range<u64>>, size: u64) -> Option<Range<u64>> {
    match range {
        None => Some(0..size),
        Some(range) if range.start >= size || range.start >= range.end => None,
        Some(range) => Some(range.start..range.end.min(size)),
    }
}

/// Whether a collection's name is one whose keys begin with a chat's token.
pub fn is_of_chats(collection: &CollectionName) -> bool {
    matches!(collection.as_str(), CHATS | ATTACHMENTS | "recordings")
}

/// Whether it is what a chat that is over is kept as, whole: the nodes make that, and once.
pub fn is_whole_chat(name: &Name) -> bool {
    name.collection.as_str() == CHATS && name.key.as_str().parse::<ChatToken>().is_ok()
}

/// A collection keeps versions so, and was made by this very request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) versioning: Versioning,
    pub(crate) now: bool,
}
