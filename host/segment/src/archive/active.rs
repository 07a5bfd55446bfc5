//! Uploads under way: what has come of each, and what may come next.
//!
//! Pure: it is asked whether something may be done, and told that it was. Nothing here outlives the
//! process: an upload that was not final when it ended is given up, and its bytes are waste, unless the log makes it
//! final all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hashring::NodeId;

use crate::archive::name::Upload;
use crate::archive::operation::{Closing, Opening, Refused, Slice};
use crate::archive::{Adler32, Md5, Table};

/// So many uploads are under way at most: what is known of one is small, what comes of it is not.
pub(crate) const UPLOADS_MAX: usize = 256;

/// The uploads under way.
#[derive(Debug, Default)]
pub(crate) struct Actives(BTreeMap<Upload, Active>);

/// One upload under way.
#[derive(Clone, Debug)]
pub(crate) struct Active {
    pub(crate) opening: Opening,
    /// The value files that its sequences are in.
    files: BTreeSet<u32>,
    total: Total,
    /// When something last came of it.
    touched: runtime::Instant,
}

/// What some sequences are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) sequences: u32,
    pub(crate) size: u64,
    adler32: Adler32,
    /// Of all bytes, if that is known: of none, or of one sequence.
    md5: Option<Md5>,
    pub(crate) table: Table,
}

impl Total {
    /// Of nothing.
    pub(crate) fn empty() -> Self {
        let (adler32, md5, table) = (Adler32::EMPTY, Some(Md5::of(&[])), Table::EMPTY);
        Self { sequences: 0, size: 0, adler32, md5, table }
    }

    /// With one more behind.
    #[must_use]
    pub(crate) fn with(self, slice: &Slice) -> Self {
        Self {
            sequences: self.sequences.saturating_add(1),
            size: self.size.saturating_add(slice.size),
            adler32: self.adler32.followed_by(slice.adler32, slice.size),
            md5: (self.sequences == 0).then_some(slice.md5),
            table: self.table.with(slice.size, slice.md5, slice.adler32),
        }
    }

    /// Whether it is what a closing says.
    pub(crate) fn check(&self, closing: &Closing) -> Result<(), Refused> {
        if self.size != closing.size {
            return Err(Refused::SizeMismatch { expected: closing.size, found: self.size });
        }
        if let Some(found) = self.md5.filter(|md5| *md5 != closing.md5) {
            return Err(Refused::Md5Mismatch { expected: closing.md5, found });
        }
        if self.adler32 != closing.adler32 {
            let (expected, found) = (closing.adler32, self.adler32);
            return Err(Refused::Adler32Mismatch { expected, found });
        }
        Ok(())
    }
}

/// Whether a slice is the one that must come.
pub(crate) fn in_order(slice: &Slice, expected: u32) -> Result<(), Refused> {
    if slice.sequence == expected {
        return Ok(());
    }
    Err(Refused::WrongOrder { expected, found: slice.sequence })
}

impl Active {
    /// What it is with one more sequence, if that is the one that must come.
    pub(crate) fn total_with(&self, slice: Option<&Slice>) -> Result<Total, Refused> {
        let Some(slice) = slice else { return Ok(self.total) };
        in_order(slice, self.total.sequences)?;
        Ok(self.total.with(slice))
    }
}

impl Actives {
    /// Whether another may begin.
    pub(crate) fn may_begin(&self, upload: &Upload) -> Result<(), Refused> {
        if self.0.contains_key(upload) {
            return Err(Refused::SegmentBusy(upload.clone()));
        }
        if self.0.len() >= UPLOADS_MAX {
            return Err(Refused::TooManyUploads(self.0.len()));
        }
        Ok(())
    }

    pub(crate) fn begin(&mut self, opening: Opening) {
        let upload = opening.upload.clone();
        let (files, total, touched) = (BTreeSet::new(), Total::empty(), runtime::now());
        self.0.insert(upload, Active { opening, files, total, touched });
    }

    /// A sequence of an upload was written to a file.
    pub(crate) fn extend(&mut self, upload: &Upload, slice: &Slice, file: u32) {
        if let Some(active) = self.0.get_mut(upload) {
            active.total = active.total.with(slice);
            active.files.insert(file);
            active.touched = runtime::now();
        }
    }

    pub(crate) fn find(&self, upload: &Upload) -> Option<&Active> {
        self.0.get(upload)
    }

    /// Ends one.
    pub(crate) fn end(&mut self, upload: &Upload) -> Option<Active> {
        self.0.remove(upload)
    }

    /// Ends those of a writer's lives before `boot`.
    pub(crate) fn end_before(&mut self, node: &NodeId, boot: u64) -> Vec<Upload> {
        self.end_if(|upload, _| upload.node == *node && upload.boot < boot)
    }

    /// Ends those of which nothing came for longer than `idle_max`.
    pub(crate) fn end_idle(&mut self, now: runtime::Instant, idle_max: Duration) -> Vec<Upload> {
        self.end_if(|_, active| now.saturating_duration_since(active.touched) > idle_max)
    }

    fn end_if(&mut self, ends: impl Fn(&Upload, &Active) -> bool) -> Vec<Upload> {
        let ended: Vec<Upload> = self
            .0
            .iter()
            .filter(|(upload, active)| ends(upload, active))
            .map(|(upload, _)| upload.clone())
            .collect();
        self.0.retain(|upload, _| !ended.contains(upload));
        ended
    }

    pub(crate) fn uploads(&self) -> impl Iterator<Item = &Upload> {
        self.0.keys()
    }

    /// The files that sequences of uploads under way are in.
    pub(crate) fn files(&self) -> BTreeSet<u32> {
        self.0.values().flat_map(|active| &active.files).copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
