//! The scrub: everything in closed files is read now and then, so that damage is found while other copies
//! are still there to mend it.
//!
//! It goes on where it stopped, over restarts too. What it finds is reported and counted, and left as it
//! is: a broken sequence is owed, and a broken fact is written once more, elsewhere.

use std::fs::File;
use std::sync::PoisonError;

use crate::archive::compaction::KeepError;
use crate::archive::footer::Footer;
use crate::archive::inbox::Command;
use crate::archive::index::FileRow;
use crate::archive::measure;
use crate::archive::pace::Pace;
use crate::archive::store::{Archive, Damaged, Shared};
use crate::header::HEADER_BYTES;
use crate::ledger::Position;
use crate::record::Seed;
use crate::scan::{self, Scan};

/// What a scrub did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// Places that are not what was written.
    pub damages: usize,
    /// Whether it came to the end of the last file; the next one begins anew.
    pub complete: bool,
}

impl Archive {
    /// Goes on with the scrub for about `bytes_max` bytes. It blocks on the disk.
    ///
    /// # Errors
    /// The disk or the index; damage is none.
    pub fn scrub(&self, bytes_max: u64) -> Result<Scrubbed, KeepError> {
        step(self.shared(), bytes_max, &Pace::free())
    }
}

/// See [`Archive::scrub`].
pub(crate) fn step(
    shared: &Shared,
    bytes_max: u64,
    pace: &Pace<'_>,
) -> Result<Scrubbed, KeepError> {
    let mut kept = shared.scrub.lock().unwrap_or_else(PoisonError::into_inner);
    let mut at = match *kept {
        Some(at) => at,
        None => shared.index.scrubbed()?.unwrap_or_default(),
    };
    let mut done = Scrubbed::default();
    while done.bytes < bytes_max && !pace.is_ending() {
        let rows = shared.index.files()?;
        let Some(row) = rows.into_iter().find(|row| row.file >= at.file) else {
            at = Position::default();
            done.complete = true;
            break;
        };
        if row.file > at.file || at.offset < HEADER_BYTES {
            at = Position { file: row.file, offset: HEADER_BYTES };
        }
        let left = bytes_max - done.bytes;
        at = file(shared, row, at, left, &mut done, pace)?;
        *kept = Some(at);
    }
    *kept = Some(at);
    shared.inbox.command(Command::Scrubbed(at));
    measure::scrubbed(done.bytes);
    Ok(done)
}

/// Reads on in one file, and says where to go on.
fn file(
    shared: &Shared,
    row: FileRow,
    begun: Position,
    bytes_max: u64,
    done: &mut Scrubbed,
    pace: &Pace<'_>,
) -> Result<Position, KeepError> {
    let path = shared.path(row.file).unwrap_or_default();
    let failed = |source| KeepError::Disk { file: path.clone(), source };
    let mut report = |offset, until, what: &str| {
        done.damages += 1;
        shared.damaged(Damaged { file: path.clone(), offset, what: what.to_owned() });
        if let Err(error) = shared.owe_between(row.file, offset, until) {
            tracing::warn!(%error, "whose the damage is cannot be told: reading finds it");
        }
    };
    let next = Position { file: row.file.saturating_add(1), offset: 0 };
    let Some(opened) = shared.open(row.file)? else {
        // Compaction may have removed it since the row was read.
        if shared.index.files()?.contains(&row) {
            report(0, row.size, "the file is gone");
        }
        return Ok(next);
    };
    let seed = Seed::of_archive(shared.config.store, row.file);
    if begun.offset == HEADER_BYTES {
        ends(&opened, seed, &row, &mut report).map_err(failed)?;
    }
    let mut scan = Scan::new(&opened, seed, false).map_err(failed)?;
    let mut at = begun.offset;
    while at < row.size && at - begun.offset < bytes_max {
        match scan.at(at, row.size).map_err(failed)? {
            scan::Found::Record(head) => {
                at = at.saturating_add(head.size());
                if !pace.spend(head.size()) {
                    break;
                }
            }
            scan::Found::Damage { next, .. } => {
                let next = next.unwrap_or(row.size).min(row.size);
                report(at, next, "a record does not verify");
                at = next;
            }
            scan::Found::End { .. } | scan::Found::Newer => {
                report(at, row.size, "the records end before the footer");
                at = row.size;
            }
        }
    }
    done.bytes += at.saturating_sub(begun.offset);
    Ok(if at < row.size { Position { file: row.file, offset: at } } else { next })
}

/// Whether the file begins and ends as it did when it was closed.
fn ends(
    file: &File,
    seed: Seed,
    row: &FileRow,
    report: &mut impl FnMut(u64, u64, &str),
) -> std::io::Result<()> {
    if crate::archive::data_file::Header::read(file).is_err() {
        report(0, 0, "the header does not verify");
    }
    let footer = Footer::read(file, seed)?;
    if footer.is_none_or(|footer| (footer.end, footer.hash) != (row.size, row.hash)) {
        report(row.size, row.size, "the footer is not the one that was written");
    }
    Ok(())
}
