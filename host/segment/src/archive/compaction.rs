//! Compaction: what is still needed of some closed files is copied into a new one, and they go.
//!
//! Every step leaves something legal if it is the last: copy and sync, footer and sync, name and folder
//! sync, index, and only then the old files. Copies of a record are equal, so files that hold both make
//! the same index as files that hold one. The copy is read back before anything is removed, and a record
//! that does not verify stops it: a damaged file is kept for what can still be saved of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use crate::Chain;
use crate::archive::collectable::floor;
use crate::archive::data_file::{DataFile, Header};
use crate::archive::fact::{Fact, Final};
use crate::archive::footer::{FOOTER_BYTES, Footer};
use crate::archive::inbox::Command;
use crate::archive::index::{FileRow, Stored};
use crate::archive::judge::Judge;
use crate::archive::name::{CollectionName, Key};
use crate::archive::operation::Refused;
use crate::archive::pace::Pace;
use crate::archive::recovery::{self, Scanned};
use crate::archive::relocation::Relocation;
use crate::archive::run::{self, Broken, record_bytes, run_bytes};
use crate::archive::store::{Archive, Damaged, Shared};
use crate::archive::writer::Change;
use crate::archive::{ReadError, measure};
use crate::disk::{is_full, sync_folder};
use crate::header::HEADER_BYTES;
use crate::ledger::Position;
use crate::record::{Draft, Kind, Seed};
use crate::scan::{self, Scan};

/// A file is compacted when so many hundredths of it are waste.
const WASTE_PERCENT: u64 = 25;
/// Files that are smaller are put together: each start leaves one behind.
const SMALL_BYTES: u64 = 64 << 20;
/// So many rows are read or written at once.
const ROWS_MAX: usize = 1000;
/// Of what is copied, so much is synced at once.
const SYNC_BYTES: u64 = 8 << 20;

/// What compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files that are gone.
    pub files: usize,
    /// Bytes they had.
    pub bytes_before: u64,
    /// Bytes of what replaced them.
    pub bytes_after: u64,
    /// Segments that were collected.
    pub segments: u64,
    /// Files that were looked at for whether it is worth it.
    pub looked: usize,
}

/// Why compaction or a scrub stopped. Nothing is lost: the files that were to go are still there.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A record does not verify. The file stays as it is, and is left alone until the next start.
    #[error("{file} is damaged at byte {offset}")]
    Damaged {
        /// The value file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
    },
    /// There is no room for the copy. The next pass tries again.
    #[error("there is no room to compact")]
    NoRoom,
    /// An upload under way is in one of the files, or one became final meanwhile, or this node has a part again in what it
    /// let go. What was copied is used, and the files go with a later pass.
    #[error("a file that is compacted is needed again")]
    Busy,
    /// The archive ended meanwhile. What was copied is found by the next start.
    #[error("the archive ended")]
    Ended(#[source] Refused),
    /// The disk refused. The next pass tries again.
    #[error("{file}")]
    Disk {
        /// The value file.
        file: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Something could not be read. The next pass tries again.
    #[error("reading the archive")]
    Read(#[from] ReadError),
}

impl From<db::Error> for KeepError {
    fn from(error: db::Error) -> Self {
        Self::Read(error.into())
    }
}

impl Archive {
    /// Compacts what is worth it, as of `now_ms` in Unix milliseconds. It blocks on the disk.
    ///
    /// # Errors
    /// [`KeepError`]; what was done before it stays done.
    pub fn compact(&self, now_ms: u64) -> Result<Compacted, KeepError> {
        pass(self.shared(), now_ms, &Pace::free())
    }
}

/// Compacts what is worth it: each file is looked at once, and then they are put together.
pub(crate) fn pass(shared: &Shared, now_ms: u64, pace: &Pace<'_>) -> Result<Compacted, KeepError> {
    // What is in them is no row any more: whatever hides it must not go before them.
    remove_forgotten(shared)?;
    let mut done = Compacted::default();
    let mut worth = judged(shared, now_ms, pace, &mut done.looked)?;
    loop {
        let sources = together(&mut worth, shared.config.value_file_bytes_max);
        if sources.is_empty() || pace.is_ending() {
            return Ok(done);
        }
        let mut copy = Copy::new(shared, &sources, now_ms)?;
        let compacted = copy.compact(pace).inspect_err(|error| {
            if let KeepError::Damaged { .. } = error {
                shared.spared().extend(sources.iter().map(|row| row.file));
            }
        })?;
        done.files += compacted.files;
        done.bytes_before += compacted.bytes_before;
        done.bytes_after += compacted.bytes_after;
        done.segments += compacted.segments;
    }
}

/// Removes the files that the index has forgotten, as far as it can.
fn remove_forgotten(shared: &Shared) -> Result<(), KeepError> {
    let mut removed = Ok(());
    let all = shared.forgotten().clone();
    for number in all {
        let file = shared.path(number).unwrap_or_default();
        let gone = match shared.disk.remove(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        match gone.and_then(|()| file.parent().map_or(Ok(()), sync_folder)) {
            Ok(()) => {
                shared.placed().remove(&number);
                shared.forgotten().remove(&number);
            }
            Err(source) => removed = Err(KeepError::Disk { file, source }),
        }
    }
    removed
}

/// Files that are worth it, each with the bytes of it that are needed.
fn judged(
    shared: &Shared,
    now_ms: u64,
    pace: &Pace<'_>,
    looked: &mut usize,
) -> Result<Vec<(FileRow, u64)>, KeepError> {
    // In this order: a file that is closed after the second look is not looked at.
    let rows = shared.index.files()?;
    let pinned = shared.pinned().clone();
    let spared = shared.spared().clone();
    let bytes_max = shared.config.value_file_bytes_max;
    let (mut wasteful, mut small) = (Vec::new(), Vec::new());
    for row in rows {
        let there = shared.placed().contains_key(&row.file);
        if pinned.contains(&row.file) || spared.contains(&row.file) || !there {
            continue;
        }
        *looked += 1;
        let live = Judge::new(shared, now_ms)?.live_bytes(row.file, pace)?;
        if pace.is_ending() {
            return Ok(Vec::new());
        }
        let records = row.size.saturating_sub(HEADER_BYTES).max(1);
        let waste = records.saturating_sub(live);
        if waste.saturating_mul(100) >= records.saturating_mul(WASTE_PERCENT) {
            wasteful.push((row, live));
        } else if row.size < SMALL_BYTES.min(bytes_max / 2) {
            small.push((row, live));
        }
    }
    // One small file alone would only be copied.
    if wasteful.len() + small.len() >= 2 {
        wasteful.append(&mut small);
    }
    Ok(wasteful)
}

/// Takes those that fit one new file; none if nothing more is worth it.
fn together(worth: &mut Vec<(FileRow, u64)>, bytes_max: u64) -> Vec<FileRow> {
    loop {
        let mut left = bytes_max.saturating_sub(HEADER_BYTES + 4 * FOOTER_BYTES);
        let mut chosen = Vec::new();
        worth.retain(|(row, live)| {
            let fits = chosen.is_empty() || *live <= left;
            if fits {
                left = left.saturating_sub(*live);
                chosen.push((*row, *live));
            }
            !fits
        });
        let alone = chosen.len() == 1;
        // A single one is worth it only for its own waste.
        chosen.retain(|(row, live)| !alone || live.saturating_add(HEADER_BYTES) < row.size);
        if !chosen.is_empty() || worth.is_empty() {
            return chosen.into_iter().map(|(row, _)| row).collect();
        }
    }
}

/// One compaction.
struct Copy<'a> {
    shared: &'a Shared,
    judge: Judge<'a>,
    sources: &'a [FileRow],
    header: Header,
    path: PathBuf,
    made: Option<DataFile>,
    /// Segments that were not taken along.
    gone: Vec<Final>,
    /// Keys of which something was not taken along.
    touched: BTreeSet<(CollectionName, Key)>,
    dropped: BTreeSet<crate::archive::fact::Identity>,
}

impl<'a> Copy<'a> {
    fn new(shared: &'a Shared, sources: &'a [FileRow], now_ms: u64) -> Result<Self, KeepError> {
        let roomiest = shared.spaces.roomiest(shared.disk.as_ref());
        let space = roomiest.unwrap_or_else(|| shared.spaces.first());
        let number = shared.next_file.fetch_add(1, Ordering::SeqCst);
        let path = shared.spaces.path(space, number).unwrap_or_default();
        let store = shared.config.store;
        Ok(Self {
            shared,
            judge: Judge::new(shared, now_ms)?,
            sources,
            header: Header { space, store, number, made_ms: runtime::wall_ms() },
            path,
            made: None,
            gone: Vec::new(),
            touched: BTreeSet::new(),
            dropped: BTreeSet::new(),
        })
    }

    fn compact(&mut self, pace: &Pace<'_>) -> Result<Compacted, KeepError> {
        let copied = self.copy(pace).and_then(|()| self.finish());
        let footer = copied.inspect_err(|_error| {
            // It has no name yet; the next start would remove it as well.
            drop(fs::remove_file(self.path.with_extension("new")));
        })?;
        self.replace(footer)?;
        for made in &self.gone {
            measure::removed(made.size);
        }
        Ok(Compacted {
            files: self.sources.len(),
            bytes_before: self.sources.iter().map(|row| row.size + FOOTER_BYTES).sum(),
            bytes_after: footer.map_or(0, |footer| footer.end + FOOTER_BYTES),
            segments: self.gone.len() as u64,
            looked: 0,
        })
    }

    /// Everything that is still needed goes into the new file.
    fn copy(&mut self, pace: &Pace<'_>) -> Result<(), KeepError> {
        for row in self.sources {
            let file = self.shared.open(row.file)?;
            let path = self.shared.path(row.file).unwrap_or_default();
            let gone = || KeepError::Damaged { file: path.clone(), offset: 0 };
            let source = Source { file: file.ok_or_else(gone)?, path, number: row.file };
            self.copy_facts(&source)?;
            self.copy_sequences(&source, pace)?;
        }
        self.leave_floors()
    }

    fn copy_facts(&mut self, source: &Source) -> Result<(), KeepError> {
        let mut from = Position { file: source.number, offset: 0 };
        loop {
            let facts = self.shared.index.facts_in(from, ROWS_MAX as u64)?;
            let Some(last) = facts.last() else { return Ok(()) };
            from.offset = last.at.offset + 1;
            for Stored { at, fact } in facts {
                let body = fact.encode();
                if self.judge.may_go(&fact)? {
                    // What is let go leaves nothing: a floor would hide it from whoever has a part in it again.
                    if !self.judge.is_left(&fact) {
                        self.dropped.insert(Fact::identity(&body));
                        if let Some(at) = fact.at() {
                            self.touched.insert((at.collection.clone(), at.key.clone()));
                        }
                    }
                    if let Fact::Final(made) = fact {
                        self.gone.push(made);
                    }
                    continue;
                }
                let seed = Seed::of_archive(self.header.store, source.number);
                let whole = run::has_fact(&source.file, seed, at.offset, &body);
                whole.map_err(|broken| self.broken(source, at, broken))?;
                self.put_fact(&fact, &body)?;
            }
        }
    }

    fn copy_sequences(&mut self, source: &Source, pace: &Pace<'_>) -> Result<(), KeepError> {
        let mut from = Position { file: source.number, offset: 0 };
        let seed = Seed::of_archive(self.header.store, source.number);
        loop {
            let sequences = self.shared.index.sequences_in(from, ROWS_MAX as u64)?;
            let Some((_, last)) = sequences.last() else { return Ok(()) };
            from.offset = last.offset + 1;
            for (sequence, at) in sequences {
                if !self.judge.keeps(&sequence)? {
                    continue;
                }
                let read = run::read(&source.file, seed, at.offset, &sequence);
                let data = read.map_err(|broken| self.broken(source, at, broken))?;
                let closing = sequence.encode();
                let made = self.room(run_bytes(&sequence, &closing))?;
                run::write(made, &sequence, &closing, &data);
                self.flush()?;
                if !pace.spend(data.len() as u64) {
                    return Err(KeepError::Ended(Refused::Stopped("it is closing".to_owned())));
                }
            }
        }
    }

    /// What hid others and goes leaves that behind.
    fn leave_floors(&mut self) -> Result<(), KeepError> {
        for (collection, key) in std::mem::take(&mut self.touched) {
            let Some(versioning) = self.shared.versioning(&collection) else { continue };
            let stored = self.shared.index.of_key(&collection, &key)?;
            let facts: Vec<&Fact> = stored.iter().map(|stored| &stored.fact).collect();
            let gone = |fact: &Fact| self.dropped.contains(&Fact::identity(&fact.encode()));
            if let Some(floor) = floor(versioning, &facts, gone, self.judge.terms.now_ms) {
                self.put_fact(&floor, &floor.encode())?;
            }
        }
        Ok(())
    }

    fn put_fact(&mut self, fact: &Fact, body: &[u8]) -> Result<(), KeepError> {
        let made = self.room(record_bytes(body.len() as u64))?;
        let (kind, chain) = (Kind::Fact, Chain::default());
        made.append(Draft { kind, partition: 0, epoch: 0, seq: 0, chain, body });
        made.tally.fact(fact);
        self.flush()
    }

    /// The new file, with room for so many bytes more.
    fn room(&mut self, bytes: u64) -> Result<&mut DataFile, KeepError> {
        let disk = self.shared.disk.as_ref();
        let failed = |source: io::Error| {
            if is_full(&source) {
                return KeepError::NoRoom;
            }
            KeepError::Disk { file: self.path.clone(), source }
        };
        let made = match self.made.take() {
            Some(made) => made,
            None => {
                let bytes_max = self.shared.config.value_file_bytes_max;
                DataFile::create(disk, &self.path, self.header, bytes_max).map_err(failed)?
            }
        };
        let made = self.made.insert(made);
        made.take_room(disk, bytes).map_err(failed)?;
        Ok(made)
    }

    fn flush(&mut self) -> Result<(), KeepError> {
        let disk = self.shared.disk.as_ref();
        let Some(made) = &mut self.made else { return Ok(()) };
        let written =
            if made.unsynced() >= SYNC_BYTES { made.sync(disk) } else { made.flush(disk) };
        written.map_err(|source| KeepError::Disk { file: self.path.clone(), source })
    }

    /// Closes the new file and gives it its name. None was made if nothing was needed.
    fn finish(&mut self) -> Result<Option<Footer>, KeepError> {
        let Some(made) = self.made.take() else { return Ok(None) };
        let disk = self.shared.disk.as_ref();
        let closed = made.close(disk, runtime::wall_ms()).and_then(|footer| {
            crate::archive::data_file::publish(&self.path)?;
            Ok(footer)
        });
        let footer =
            closed.map_err(|source| KeepError::Disk { file: self.path.clone(), source })?;
        self.shared.placed().insert(self.header.number, self.header.space);
        Ok(Some(footer))
    }

    /// The index learns what is in the new file, and the old ones go.
    fn replace(&self, footer: Option<Footer>) -> Result<(), KeepError> {
        let mut relocation = Relocation::default();
        if let Some(footer) = footer {
            self.read_back(footer, &mut relocation)?;
            relocation.changes.push(Change::Closed(self.header, footer));
        }
        let copied = relocation.clone();
        relocation.sources = self.sources.iter().map(|row| row.file).collect();
        (relocation.left, relocation.last_fact) = (self.judge.left.clone(), self.judge.last_fact);
        if let Err(busy) = self.tell(relocation) {
            // Rows may point into the copy by now: it stays, and the files are waste for a later pass.
            if matches!(busy, KeepError::Busy) {
                self.tell(copied)?;
            }
            return Err(busy);
        }
        self.shared.forgotten().extend(self.sources.iter().map(|row| row.file));
        remove_forgotten(self.shared)
    }

    /// Reads the new file as a start would, and tells the index in steps.
    fn read_back(&self, footer: Footer, relocation: &mut Relocation) -> Result<(), KeepError> {
        let failed = |source| KeepError::Disk { file: self.path.clone(), source };
        let file = File::open(&self.path).map_err(failed)?;
        let seed = Seed::of_archive(self.header.store, self.header.number);
        let mut scan = Scan::new(&file, seed, false).map_err(failed)?;
        let mut scanned = Scanned::new();
        while scanned.footer.is_none() {
            let offset = scanned.end;
            let broken = || KeepError::Damaged { file: self.path.clone(), offset };
            let scan::Found::Record(head) = scan.at(offset, footer.end).map_err(failed)? else {
                return Err(broken());
            };
            let body = scan.body(offset, &head).map_err(failed)?;
            let at = Position { file: self.header.number, offset };
            let read = recovery::record(&mut scanned, at, &head, body).ok_or_else(broken)?;
            relocation.changes.extend(read);
            if relocation.changes.len() >= ROWS_MAX {
                self.tell(std::mem::take(relocation))?;
            }
        }
        if scanned.footer != Some(footer) || scanned.tally.footer(footer.end, 0).hash != footer.hash
        {
            return Err(KeepError::Damaged { file: self.path.clone(), offset: footer.end });
        }
        Ok(())
    }

    fn tell(&self, relocation: Relocation) -> Result<(), KeepError> {
        let (reply, answer) = sync_channel(1);
        let reply = Box::new(move |done| {
            // This thread waits for it.
            let _heard = reply.send(done);
        });
        self.shared.inbox.command(Command::Relocate(relocation, reply));
        self.shared.nudge();
        let done = answer.recv();
        let done = done.unwrap_or_else(|_gone| Err(Refused::Stopped("it is gone".to_owned())));
        done.map_err(|refused| match refused {
            Refused::Busy => KeepError::Busy,
            Refused::NoRoom => KeepError::NoRoom,
            refused => KeepError::Ended(refused),
        })
    }

    fn broken(&self, source: &Source, at: Position, broken: Broken) -> KeepError {
        let (offset, what) = match broken {
            Broken::Disk(error) => {
                return KeepError::Disk { file: source.path.clone(), source: error };
            }
            Broken::Record { offset } => (offset, "a record does not verify"),
            Broken::Digest => (at.offset, "a sequence has other digests"),
        };
        let (file, what) = (source.path.clone(), what.to_owned());
        self.shared.damaged(Damaged { file: file.clone(), offset, what });
        KeepError::Damaged { file, offset }
    }
}

/// A file that is copied from.
struct Source {
    file: File,
    path: PathBuf,
    number: u32,
}

#[cfg(test)]
#[path = "compaction_tests.rs"]
mod tests;
