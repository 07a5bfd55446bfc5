//! The end of a closed value file: its real size, hash and counts, so that the file vouches for itself.
//!
//! ```text
//!  0  8  how far the records before the footer reach
//!  8 16  hash: SHA-256 over the checksums of all records in order, the first 16 bytes
//! 24  8  records
//! 32  8  sequences
//! 40  8  facts
//! 48  8  lowest version; all ones if there is none
//! 56  8  highest version
//! 64  4  distinct collections
//! 68  4  zeros
//! 72  8  when it was closed, Unix milliseconds
//! ```
//!
//! The hash is over checksums and not over bytes because each checksum already covers its record's bytes
//! and place; so a scan that verifies the records gets the hash for nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use crate::archive::UnifiedId;
use crate::archive::fact::Fact;
use crate::archive::name::CollectionName;
use crate::record::{HEAD_BYTES, Head, Kind, Seed, array};

const BODY_BYTES: usize = 80;
/// Bytes of the record.
pub(crate) const FOOTER_BYTES: u64 = 136;

const _: () = assert!(HEAD_BYTES + BODY_BYTES == 136, "a footer is a head and its body");

/// What a closed file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) end: u64,
    pub(crate) hash: [u8; 16],
    pub(crate) records: u64,
    pub(crate) sequences: u64,
    pub(crate) facts: u64,
    pub(crate) version_min: u64,
    pub(crate) version_max: u64,
    pub(crate) collections: u32,
    pub(crate) closed_ms: u64,
}

/// What is counted while a file is written or scanned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    hash: Sha256,
    records: u64,
    sequences: u64,
    facts: u64,
    versions: Option<(UnifiedId, UnifiedId)>,
    collections: BTreeSet<CollectionName>,
}

impl Tally {
    /// A record, by its two checksums as they stand in it.
    pub(crate) fn record(&mut self, checksums: [u8; 8]) {
        self.hash.update(checksums);
        self.records += 1;
    }

    /// One of the records is a sequence.
    pub(crate) fn sequence(&mut self) {
        self.sequences += 1;
    }

    /// One of the records is a fact.
    pub(crate) fn fact(&mut self, fact: &Fact) {
        self.facts += 1;
        let Some(at) = fact.at() else { return };
        let (min, max) = self.versions.unwrap_or((at.version, at.version));
        self.versions = Some((min.min(at.version), max.max(at.version)));
        if !self.collections.contains(&at.collection) {
            self.collections.insert(at.collection.clone());
        }
    }

    /// The footer of a file whose records reach to `end`.
    pub(crate) fn footer(&self, end: u64, closed_ms: u64) -> Footer {
        let none = (UnifiedId(u64::MAX), UnifiedId(0));
        let (version_min, version_max) = self.versions.unwrap_or(none);
        Footer {
            end,
            hash: array(&self.hash.clone().finalize(), 0),
            records: self.records,
            sequences: self.sequences,
            facts: self.facts,
            version_min: version_min.0,
            version_max: version_max.0,
            collections: u32::try_from(self.collections.len()).unwrap_or(u32::MAX),
            closed_ms,
        }
    }
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = self.end.to_le_bytes().to_vec();
        body.extend_from_slice(&self.hash);
        for number in [self.records, self.sequences, self.facts, self.version_min, self.version_max]
        {
            body.extend_from_slice(&number.to_le_bytes());
        }
        body.extend_from_slice(&u64::from(self.collections).to_le_bytes());
        body.extend_from_slice(&self.closed_ms.to_le_bytes());
        body
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let number = |at| u64::from_le_bytes(array(body, at));
        (body.len() == BODY_BYTES).then(|| Self {
            end: number(0),
            hash: array(body, 8),
            records: number(24),
            sequences: number(32),
            facts: number(40),
            version_min: number(48),
            version_max: number(56),
            collections: u32::from_le_bytes(array(body, 64)),
            closed_ms: number(72),
        })
    }

    /// The footer at the end of a closed file; `None` if there is none that verifies.
    pub(crate) fn read(file: &File, seed: Seed) -> io::Result<Option<Self>> {
        let Some(at) = file.metadata()?.len().checked_sub(FOOTER_BYTES) else { return Ok(None) };
        let mut record = vec![0; HEAD_BYTES + BODY_BYTES];
        file.read_exact_at(&mut record, at)?;
        let body = record.get(HEAD_BYTES..).unwrap_or_default();
        let head = Head::read(&record, seed, at).ok();
        let whole = head.is_some_and(|head| head.kind == Kind::Footer && head.vouches(body));
        Ok(Self::decode(body).filter(|footer| whole && footer.end == at))
    }
}
