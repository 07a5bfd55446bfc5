//! What can be done to the archive, and what is answered.
//!
//! Every operation is answered, once, whatever becomes of it. Those that only bring bytes are answered as
//! soon as the bytes are written; those that decide something, after a sync.

use bytes::Bytes;
use hashring::NodeId;

use crate::archive::applied::Applied;
use crate::archive::fact::{At, Fact};
use crate::archive::name::{CollectionName, Key, Upload};
use crate::archive::{Adler32, Digesting, Md5, UnifiedId, Versioning};

/// A sequence has at most so many bytes.
pub const SEQUENCE_BYTES_MAX: usize = 10 << 20;
/// The parts of a conjoined archive are at most so many.
pub const PARTS_MAX: u32 = 10_000;
/// Names and values of the user's own are together at most so long, in bytes.
pub const META_BYTES_MAX: usize = 2048;
/// A segment has at most so many bytes.
pub const SEGMENT_BYTES_MAX: u64 = 16 << 30;

/// A sequence of an upload, and what its sender says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its number, from 0.
    pub sequence: u32,
    /// Its bytes.
    pub data: Bytes,
    /// How many there should be.
    pub size: u64,
    /// The MD5 they should have.
    pub md5: Md5,
    /// The Adler-32 they should have.
    pub adler32: Adler32,
}

/// What an upload will be a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The name of the bytes.
    pub upload: Upload,
    /// Where they will belong.
    pub collection: CollectionName,
    /// And under which key.
    pub key: Key,
    /// 0, or which part of a conjoined archive, from 1.
    pub part: u32,
    /// Which copy: the place in the ensemble, from 1.
    pub segment_number: u16,
}

/// What makes an upload a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Which version; for a part, that of the conjoined archive.
    pub version: UnifiedId,
    /// Bytes of all sequences.
    pub size: u64,
    /// The MD5 of all bytes. It is checked if there is at most one sequence; of several, nobody who sees
    /// them one by one can check it.
    pub md5: Md5,
    /// The Adler-32 of all bytes.
    pub adler32: Adler32,
    /// What is to be kept with it.
    pub meta: Vec<(String, String)>,
    /// When, in Unix milliseconds.
    pub time_ms: u64,
}

/// Whose word the digests of bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digests {
    /// Somebody's: they are computed again.
    Told,
    /// This process computed them, of these very bytes in memory.
    Own,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes a collection, for ever. Again alike is answered alike.
    CreateCollection {
        /// Its name.
        name: CollectionName,
        /// Whether it keeps earlier versions.
        versioning: Versioning,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
    /// A whole archive in one sequence. No bytes at all are an archive too, and have no sequence.
    Entire {
        /// What it is.
        opening: Opening,
        /// Its bytes.
        slice: Slice,
        /// What makes it a version.
        closing: Closing,
    },
    /// Begins an upload with its first sequence.
    Start {
        /// What it will be.
        opening: Opening,
        /// Sequence 0.
        slice: Slice,
    },
    /// Goes on with one.
    Next {
        /// Which.
        upload: Upload,
        /// The sequence that follows.
        slice: Slice,
    },
    /// Makes one final.
    Final {
        /// Which.
        upload: Upload,
        /// The last sequence, if it did not come yet.
        slice: Option<Slice>,
        /// What makes it a version.
        closing: Closing,
    },
    /// Gives one up.
    Cancel {
        /// Which.
        upload: Upload,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
    /// Deletes: everything before `at`, whether there is anything or not, or one version.
    Destroy {
        /// The tombstone's own version.
        at: At,
        /// The version to delete, if not everything earlier.
        target: Option<UnifiedId>,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
    /// Begins an archive of several parts.
    StartConjoined {
        /// What it will be.
        at: At,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
    /// Gives one up, or hides one that was finished.
    AbortConjoined {
        /// Which.
        at: At,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
    /// Makes one visible.
    FinishConjoined {
        /// Which.
        at: At,
        /// How many parts it has: all from 1 to this must be final.
        parts: u32,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
    /// A writer began a life: what its earlier ones left under way is given up, and nothing of them
    /// becomes final any more.
    WriterStart {
        /// The writer.
        node: NodeId,
        /// Its life.
        boot: u64,
        /// When, in Unix milliseconds.
        time_ms: u64,
    },
    /// Says that all of an upload is here: from then on it outlives this process, until it is decided what
    /// becomes of it. Again alike is answered alike. An upload without bytes need not have begun.
    Hold {
        /// Which.
        upload: Upload,
        /// What it would be, should it not have begun.
        opening: Opening,
        /// What it should be, its version apart.
        closing: Closing,
    },
    /// Takes over what was decided elsewhere, whatever is known here: facts that are known already change
    /// nothing. Bytes that come with one are written; if there is no room for them, they are missing.
    Adopt {
        /// What was decided.
        entries: Vec<Adopted>,
        /// How far the decisions of partitions are thereby known.
        applied: Vec<Applied>,
    },
    /// Puts a sequence of a final segment in the place of one that is missing or broken.
    Mend {
        /// The segment's bytes.
        upload: Upload,
        /// The sequence.
        slice: Slice,
    },
    /// Syncs what is written.
    Sync,
}

/// Something that was decided elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// What.
    pub fact: Fact,
    /// How its collection keeps versions, if it is of one.
    pub collection: Option<(CollectionName, Versioning)>,
    /// All bytes of a final segment, if they come with it: one sequence, or none.
    pub data: Option<Bytes>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The bytes are written. A loss of power may still take them.
    Written,
    /// It would survive a loss of power.
    Synced,
}

/// What an operation is answered with.
pub type Answer = Result<Done, Refused>;

/// Why an operation was not done. Nothing of it was written, unless its case says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such collection. Nothing was written; make it first.
    #[error("there is no collection {0}")]
    UnknownCollection(CollectionName),
    /// It exists and keeps versions differently. Nothing was changed; choose another name.
    #[error("collection {0} exists with another versioning, which cannot be changed")]
    CollectionExists(CollectionName),
    /// There are as many collections as there can be. Nothing was made; use one of them.
    #[error("there are {0} collections, and that is the most there can be")]
    TooManyCollections(usize),
    /// The bytes are not as many as was said. Nothing was written; send them again.
    #[error("{found} bytes where {expected} were announced")]
    SizeMismatch {
        /// What was said.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The bytes have another MD5 than was said. Nothing was written; send them again.
    #[error("the bytes have MD5 {found}, {expected} was announced")]
    Md5Mismatch {
        /// What was said.
        expected: Md5,
        /// What there is.
        found: Md5,
    },
    /// The bytes have another Adler-32 than was said. Nothing was written; send them again.
    #[error("the bytes have Adler-32 {found}, {expected} was announced")]
    Adler32Mismatch {
        /// What was said.
        expected: Adler32,
        /// What there is.
        found: Adler32,
    },
    /// It is not the sequence, or the part, that must come now. Nothing was written; send that one.
    #[error("number {found} came where {expected} must come")]
    WrongOrder {
        /// What must come.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// It is larger than it may be. Nothing was written; divide it.
    #[error("{what}: {found} is more than {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it may be.
        max: u64,
        /// How large it is.
        found: u64,
    },
    /// No such upload is under way: it never began, or the process that had it ended. Nothing was
    /// written; begin anew.
    #[error("no upload {0} is under way")]
    UnknownSegment(Upload),
    /// The upload is under way already. Nothing was written; go on with it, or cancel it.
    #[error("upload {0} is under way already")]
    SegmentBusy(Upload),
    /// It is final already. Nothing was changed; there is nothing left to do.
    #[error("{0} is final already")]
    AlreadyFinal(String),
    /// It was cancelled or aborted. Nothing was written; begin anew.
    #[error("{0} was given up")]
    GivenUp(String),
    /// All of it is here, and what becomes of it is decided elsewhere. Nothing was written; there is nothing
    /// left to bring.
    #[error("all of upload {0} is here already")]
    AlreadyHeld(Upload),
    /// A later life of its writer has begun. Nothing was written; the writer must begin anew under its
    /// present life.
    #[error("upload {upload} is of a life of its writer that ended: {boot} has begun")]
    Fenced {
        /// The upload.
        upload: Upload,
        /// The life that began.
        boot: u64,
    },
    /// The key has no such version. Nothing was changed; name one that it has.
    #[error("the key has no version {0}")]
    UnknownVersion(UnifiedId),
    /// As many uploads are under way as may be. Nothing was written; try again when one has ended.
    #[error("{0} uploads are under way, and that is the most there may be")]
    TooManyUploads(usize),
    /// The disk has no room above what is reserved. Nothing was written; delete something, give it more
    /// room, or add a space.
    #[error("no space has room for this above its reserve")]
    NoRoom,
    /// Too much waits already: the disk is slower than what comes. Nothing was written; try again.
    #[error("too much waits for the archive")]
    Busy,
    /// The archive has stopped. Whether an operation that was under way was done is not known; ask after
    /// the next start.
    #[error("the archive has stopped: {0}")]
    Stopped(String),
}

impl Operation {
    /// What it weighs while it waits, in bytes.
    pub(crate) fn weight(&self) -> usize {
        let slice = match self {
            Self::Entire { slice, .. } | Self::Start { slice, .. } | Self::Next { slice, .. } => {
                slice.data.len()
            }
            Self::Final { slice: Some(slice), .. } | Self::Mend { slice, .. } => slice.data.len(),
            Self::Adopt { entries, .. } => {
                entries.iter().map(|entry| 1024 + entry.data.as_ref().map_or(0, Bytes::len)).sum()
            }
            _ => 0,
        };
        slice.saturating_add(4096)
    }

    /// Whether what it brings is what it says: everything that can be told without knowing anything else.
    pub(crate) fn verify(&self, whose: Digests) -> Result<(), Refused> {
        match self {
            Self::Entire { opening, slice, closing } => {
                opening.verify()?;
                slice.verify(whose)?;
                closing.verify()
            }
            Self::Start { opening, slice } => {
                opening.verify()?;
                slice.verify_some(whose)
            }
            Self::Next { slice, .. } | Self::Mend { slice, .. } => slice.verify_some(whose),
            Self::Hold { closing, opening, .. } => {
                opening.verify()?;
                closing.verify()
            }
            Self::Final { slice, closing, .. } => {
                slice.as_ref().map_or(Ok(()), |slice| slice.verify_some(whose))?;
                closing.verify()
            }
            Self::FinishConjoined { parts, .. } => {
                if *parts == 0 {
                    return Err(Refused::WrongOrder { expected: 1, found: 0 });
                }
                bounded("parts", u64::from(PARTS_MAX), u64::from(*parts))
            }
            _ => Ok(()),
        }
    }
}

impl Slice {
    /// A slice that says of itself what is so.
    pub fn of(sequence: u32, data: Bytes) -> Self {
        let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let (md5, adler32) = Digesting::of(&data).finish();
        Self { sequence, data, size, md5, adler32 }
    }

    fn verify(&self, whose: Digests) -> Result<(), Refused> {
        let found = u64::try_from(self.data.len()).unwrap_or(u64::MAX);
        if found != self.size {
            return Err(Refused::SizeMismatch { expected: self.size, found });
        }
        bounded("a sequence", u64::try_from(SEQUENCE_BYTES_MAX).unwrap_or(u64::MAX), found)?;
        if whose == Digests::Own {
            return Ok(());
        }
        let (md5, adler32) = Digesting::of(&self.data).finish();
        if md5 != self.md5 {
            return Err(Refused::Md5Mismatch { expected: self.md5, found: md5 });
        }
        if adler32 != self.adler32 {
            return Err(Refused::Adler32Mismatch { expected: self.adler32, found: adler32 });
        }
        Ok(())
    }

    /// The same, and there must be something in it: only a whole archive may be empty.
    fn verify_some(&self, whose: Digests) -> Result<(), Refused> {
        if self.data.is_empty() {
            return Err(Refused::SizeMismatch { expected: self.size.max(1), found: 0 });
        }
        self.verify(whose)
    }
}

impl Opening {
    fn verify(&self) -> Result<(), Refused> {
        bounded("parts", u64::from(PARTS_MAX), u64::from(self.part))
    }
}

impl Closing {
    fn verify(&self) -> Result<(), Refused> {
        let meta: usize = self.meta.iter().map(|(name, value)| name.len() + value.len()).sum();
        let max = u64::try_from(META_BYTES_MAX).unwrap_or(u64::MAX);
        bounded("metadata", max, u64::try_from(meta).unwrap_or(u64::MAX))?;
        bounded("a segment", SEGMENT_BYTES_MAX, self.size)
    }
}

fn bounded(what: &'static str, max: u64, found: u64) -> Result<(), Refused> {
    if found > max { Err(Refused::TooLarge { what, max, found }) } else { Ok(()) }
}
