//! What a start makes of the value files it finds.
//!
//! A closed file that the index knows is believed if its header and footer say the same. Every other file
//! is read from front to back into the index: the one that was left open, and all of them when there is
//! no index. One that was left open is then closed, with its real size, hash and counts. Reading a file
//! once too often is harmless: the same records make the same rows.
//!
//! Nothing that stands in a file is forgotten here: an upload that the end of a process gave up keeps its rows as long as
//! its files, and if the log makes it final all the same they are its bytes. An index that is made anew finds them too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::archive::data_file::{DataFile, Header};
use crate::archive::fact::{Fact, Sequence};
use crate::archive::footer::{Footer, Tally};
use crate::archive::index::{self, FileRow, Index};
use crate::archive::run::pieces_bytes;
use crate::archive::spaces::{Owner, Spaces};
use crate::archive::store::{ArchiveConfig, Damaged, Found};
use crate::archive::writer::Change;
use crate::archive::{OpenError, measure};
use crate::disk::{Disk, sync_folder};
use crate::header::{HEADER_BYTES, NoHeader};
use crate::ledger::Position;
use crate::record::{Head, Kind, Seed};
use crate::scan::{self, Scan};

/// So many rows are written in one transaction.
const ROWS_MAX: usize = 4096;
/// Zeros are written and batches copied in steps of so many bytes.
const STEP_BYTES: u64 = 1 << 20;

/// The archive, ready to be written.
pub(crate) struct Ready {
    pub(crate) spaces: Spaces,
    pub(crate) index: Index,
    pub(crate) writer: db::Writer,
    pub(crate) placed: BTreeMap<u32, u32>,
    /// The highest number that a file has, or had.
    pub(crate) last: u32,
    pub(crate) found: Found,
}

/// See the module.
pub(crate) fn recover(disk: &dyn Disk, config: &ArchiveConfig) -> Result<Ready, OpenError> {
    let (home, store) = (&config.home, config.store);
    let owner = Owner { home, node: &config.node, store };
    let spaces = Spaces::open(&owner, config.reserve, &config.spaces)?;
    let (index, writer) = index::open(home, store)?;
    let placed = spaces.files()?;
    let filling = |source| OpenError::Filling { source };
    let known = index.files().map_err(filling)?;
    let known: BTreeMap<u32, FileRow> = known.into_iter().map(|row| (row.file, row)).collect();
    let found = Found { files: placed.len(), ..Found::default() };
    let scanned = Vec::new();
    let mut recovery = Recovery { disk, store, index: &index, writer, found, placed, scanned };
    for (file, space) in recovery.placed.clone() {
        let Some(path) = spaces.path(space, file) else { continue };
        recovery.file(file, space, &path, known.get(&file))?;
    }
    for row in known.values() {
        if recovery.placed.contains_key(&row.file) {
            continue;
        }
        let path = spaces.path(row.space, row.file).unwrap_or_default();
        recovery.damaged(&path, 0, "the file is gone");
    }
    let Recovery { writer, mut found, placed, scanned, .. } = recovery;
    let numbers = placed.keys().chain(known.keys());
    let last = numbers.max().copied().unwrap_or(0);
    let mut given_up = BTreeSet::new();
    for file in scanned {
        given_up.extend(index.unfinished_in(file).map_err(filling)?);
    }
    found.given_up = u64::try_from(given_up.len()).unwrap_or(u64::MAX);
    if found.given_up > 0 {
        tracing::warn!(uploads = found.given_up, "uploads had not become final, and are given up");
        measure::given_up(usize::try_from(found.given_up).unwrap_or(usize::MAX));
    }
    Ok(Ready { spaces, index, writer, placed, last, found })
}

struct Recovery<'a> {
    disk: &'a dyn Disk,
    store: u64,
    index: &'a Index,
    writer: db::Writer,
    found: Found,
    placed: BTreeMap<u32, u32>,
    /// Files that had to be read.
    scanned: Vec<u32>,
}

/// What a scan found in a file.
#[derive(Default)]
pub(crate) struct Scanned {
    pub(crate) tally: Tally,
    /// Where the records end.
    pub(crate) end: u64,
    /// Where the last batch begins.
    batch: u64,
    /// Where there are only zeros.
    stale: u64,
    pub(crate) footer: Option<Footer>,
    damaged: bool,
}

impl Scanned {
    pub(crate) fn new() -> Self {
        Self { end: HEADER_BYTES, batch: HEADER_BYTES, ..Self::default() }
    }
}

impl Recovery<'_> {
    fn file(
        &mut self,
        number: u32,
        space: u32,
        path: &Path,
        known: Option<&FileRow>,
    ) -> Result<(), OpenError> {
        let failed = |source| OpenError::Disk { file: path.to_owned(), source };
        let file = File::options().read(true).write(true).open(path).map_err(failed)?;
        let header = match Header::read(&file) {
            Ok(header) => {
                let expected = (space, self.store, number);
                if (header.space, header.store, header.number) != expected {
                    return Err(OpenError::Foreign { file: path.to_owned() });
                }
                header
            }
            Err(NoHeader::Newer) => {
                return Err(OpenError::Newer { file: path.to_owned(), offset: 0 });
            }
            Err(NoHeader::Disk(source)) => return Err(failed(source)),
            Err(NoHeader::Broken) => {
                self.damaged(path, 0, "the header does not verify");
                Header { space, store: self.store, number, made_ms: 0 }
            }
        };
        let seed = Seed::of_archive(self.store, number);
        if let Some(row) = known {
            let footer = Footer::read(&file, seed).map_err(failed)?;
            let same =
                footer.is_some_and(|footer| (footer.end, footer.hash) == (row.size, row.hash));
            if !same {
                self.damaged(path, row.size, "the footer is not the one that was written");
            }
            return Ok(());
        }
        self.found.scanned += 1;
        self.scanned.push(number);
        let scanned = self.scan(&file, path, number)?;
        let footer = match scanned.footer {
            Some(footer) => {
                let length = scanned.end.saturating_add(crate::archive::footer::FOOTER_BYTES);
                trim(&file, length).map_err(failed)?;
                footer
            }
            None if scanned.end == HEADER_BYTES && !scanned.damaged => {
                return self.remove(number, path).map_err(failed);
            }
            None => self.close(file, header, scanned).map_err(failed)?,
        };
        let kept = self.writer.transaction(|tx| index::put_file(tx, number, space, &footer));
        kept.map_err(|source| OpenError::Filling { source })
    }

    /// Reads all records into the index.
    fn scan(&mut self, file: &File, path: &Path, number: u32) -> Result<Scanned, OpenError> {
        let failed = |source| OpenError::Disk { file: path.to_owned(), source };
        let vouched = self.index.reach(number);
        let vouched = vouched.map_err(|source| OpenError::Filling { source })?;
        let seed = Seed::of_archive(self.store, number);
        let mut scan = Scan::new(file, seed, true).map_err(failed)?;
        let mut scanned = Scanned::new();
        let mut changes = Vec::new();
        while scanned.footer.is_none() {
            let at = scanned.end;
            let newer = || OpenError::Newer { file: path.to_owned(), offset: at };
            match scan.at(at, vouched).map_err(failed)? {
                scan::Found::Record(head) => {
                    let body = scan.body(at, &head).map_err(failed)?;
                    let place = Position { file: number, offset: at };
                    let read = record(&mut scanned, place, &head, body).ok_or_else(newer)?;
                    changes.extend(read);
                }
                scan::Found::Damage { next, .. } => {
                    scanned.damaged = true;
                    self.damaged(path, at, "a record does not verify");
                    let Some(next) = next else {
                        // What is there stays; the footer goes behind it.
                        let length = file.metadata().map_err(failed)?.len();
                        scanned.end = length.next_multiple_of(crate::record::ALIGN);
                        scanned.stale = scanned.end;
                        scanned.batch = scanned.end;
                        break;
                    };
                    scanned.end = next;
                }
                scan::Found::End { stale } => {
                    scanned.stale = stale;
                    self.found.cut_bytes += stale.saturating_sub(at);
                    break;
                }
                scan::Found::Newer => return Err(newer()),
            }
            if changes.len() >= ROWS_MAX {
                self.write(&mut changes)?;
            }
        }
        self.write(&mut changes)?;
        if scanned.footer.is_some_and(|footer| {
            !scanned.damaged && scanned.tally.footer(footer.end, 0).hash != footer.hash
        }) {
            self.damaged(path, scanned.end, "the footer does not fit the records");
        }
        Ok(scanned)
    }

    fn write(&mut self, changes: &mut Vec<Change>) -> Result<(), OpenError> {
        let written =
            self.writer.transaction(|tx| changes.iter().try_for_each(|change| change.write(tx)));
        changes.clear();
        written.map_err(|source| OpenError::Filling { source })
    }

    /// Closes a file that was left open. Its last batch is written again: it may be in memory only, of a
    /// sync that failed, and must not be believed before it is on the disk.
    fn close(&self, file: File, header: Header, scanned: Scanned) -> io::Result<Footer> {
        let mut at = scanned.batch;
        while at < scanned.end {
            let length = STEP_BYTES.min(scanned.end - at);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, at)?;
            self.disk.write(&file, &bytes, at)?;
            at += length;
        }
        while at < scanned.stale {
            let length = STEP_BYTES.min(scanned.stale - at);
            let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
            self.disk.write(&file, &zeros, at)?;
            at += length;
        }
        self.disk.sync(&file)?;
        let Scanned { end, tally, .. } = scanned;
        DataFile::reopened(file, header, end, tally)?.close(self.disk, runtime::wall_ms())
    }

    /// A file in which there is nothing.
    fn remove(&mut self, number: u32, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        self.placed.remove(&number);
        path.parent().map_or(Ok(()), sync_folder)
    }

    fn damaged(&mut self, path: &Path, offset: u64, what: &str) {
        tracing::error!(file = %path.display(), offset, what, "damage in the archive");
        measure::damage();
        let (file, what) = (PathBuf::from(path), what.to_owned());
        self.found.damages.push(Damaged { file, offset, what });
    }
}

/// Takes in a record; `None` if a newer version wrote it. The row it makes is returned.
pub(crate) fn record(
    scanned: &mut Scanned,
    at: Position,
    head: &Head,
    body: &[u8],
) -> Option<Option<Change>> {
    if head.kind == Kind::Footer {
        scanned.footer = Some(Footer::decode(body)?);
        return Some(None);
    }
    let [head_crc, body_crc] = head.checksums().map(u32::to_le_bytes);
    let [a, b, c, d] = head_crc;
    let [e, f, g, h] = body_crc;
    scanned.tally.record([a, b, c, d, e, f, g, h]);
    scanned.batch = at.offset.saturating_sub(u64::from(head.since));
    scanned.end = at.offset.saturating_add(head.size());
    match head.kind {
        Kind::Sequence => {
            let sequence = Sequence::decode(body)?;
            scanned.tally.sequence();
            let offset = at.offset.saturating_sub(pieces_bytes(sequence.size));
            Some(Some(Change::Sequence(Position { offset, ..at }, sequence)))
        }
        Kind::Fact => {
            let fact = Fact::decode(body)?;
            scanned.tally.fact(&fact);
            Some(Some(Change::Fact(at, fact)))
        }
        Kind::Piece => Some(None),
        _ => None,
    }
}

/// A file that was closed and not made as long as its records.
fn trim(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() > length {
        file.set_len(length)?;
        file.sync_all()?;
    }
    Ok(())
}
