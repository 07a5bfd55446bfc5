//! How the index follows a compaction: it points into the file that was written, and then forgets those it replaces.
//!
//! In between it is asked whether what was not taken along is needed by now. What nobody had made final when it was judged
//! may be a segment of which bytes stand nowhere else here, and that counts as whole: then the old files stay.

use std::collections::BTreeSet;

use db::{Error, Transaction, Value};

use crate::archive::fact::FINAL;
use crate::archive::index::{self, Index};
use crate::archive::operation::Refused;
use crate::archive::writer::{Change, End, Writer, stopped};

/// What the index must be told of a compacted file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Relocation {
    /// What is in it, and where.
    pub(crate) changes: Vec<Change>,
    /// The files that it replaces and that go now; none while more changes follow.
    pub(crate) sources: Vec<u32>,
    /// The fact that was judged last. If a segment became final since of which the sources have something, they stay.
    pub(crate) last_fact: u64,
    /// Shards of which nothing was taken along. If the node has a part in one again by now, the files stay.
    pub(crate) left: BTreeSet<u16>,
}

impl Relocation {
    pub(crate) fn write(&self, tx: &Transaction<'_>) -> Result<(), Error> {
        self.changes.iter().try_for_each(|change| change.write(tx))
    }

    /// The files that it replaces are no more. What was kept points elsewhere by now.
    pub(crate) fn forget(&self, tx: &Transaction<'_>) -> Result<(), Error> {
        self.sources.iter().try_for_each(|file| index::forget_file(tx, *file))
    }
}

impl<F: Fn(&str)> Writer<F> {
    /// Lets the index point into a file that compaction wrote, and forget those it replaces.
    pub(crate) fn relocate(&mut self, relocation: &Relocation) -> Result<Result<(), Refused>, End> {
        let came_back = !relocation.left.is_subset(&self.shared.left());
        if came_back || relocation.sources.iter().any(|file| self.actives.files().contains(file)) {
            return Ok(Err(Refused::Busy));
        }
        let written = self.index.transaction(|tx| relocation.write(tx));
        if written.is_err() || relocation.sources.is_empty() {
            return self.told(written);
        }
        if self.is_needed(relocation).map_err(|error| stopped(&error))? {
            return Ok(Err(Refused::Busy));
        }
        let forgotten = self.index.transaction(|tx| relocation.forget(tx));
        if forgotten.is_ok() {
            // The old files go next: an index that would come back from a loss of power must not need them.
            self.index.settle().map_err(|error| self.distrusts(&error))?;
        }
        self.told(forgotten)
    }

    /// Whether something became final since it was judged, of which the files have sequences that were not taken along.
    fn is_needed(&self, relocation: &Relocation) -> Result<bool, Error> {
        let (index, behind) = (&self.shared.index, relocation.last_fact);
        let mut files = relocation.sources.iter();
        files.try_fold(false, |needed, file| Ok(needed || index.became_final_in(*file, behind)?))
    }

    fn told(&self, written: Result<(), Error>) -> Result<Result<(), Refused>, End> {
        match written {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.is_full() => Ok(Err(Refused::NoRoom)),
            Err(error) => Err(self.distrusts(&error)),
        }
    }

    fn distrusts(&self, error: &Error) -> End {
        self.shared.index.distrust();
        stopped(error)
    }
}

impl Index {
    /// The row of the fact that came last.
    pub(crate) fn last_fact(&self) -> Result<u64, Error> {
        let sql = "SELECT coalesce(max(rowid), 0) FROM facts";
        let found = self.reader.query(sql, &[], |row| row.integer(0))?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// Whether a segment, of which sequences are in a file, became final behind a row.
    pub(crate) fn became_final_in(&self, file: u32, behind: u64) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM facts f WHERE f.rowid > ?1 AND f.kind = ?2 AND EXISTS
            (SELECT 1 FROM sequences s WHERE s.upload = f.upload AND s.file = ?3) LIMIT 1";
        let values = [behind, FINAL, u64::from(file)].map(Value::Integer);
        Ok(!self.reader.query(sql, &values, |row| row.integer(0))?.is_empty())
    }
}
