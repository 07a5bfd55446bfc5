//! What a start finds in the value files, and where the writer goes on.
//!
//! A torn end, which was never confirmed, is cut. Anything else that does not verify is damage: it is
//! told with its file and place, left as it is, and every partition it may belong to is suspect until its
//! log shows by itself that nothing of it is missing: an entry whose chain continues what is known proves
//! that, because nothing is appended over an unknown entry or below a promise.
//!
//! The last batch is written again and synced before anything is built on it: it may have been read from
//! memory that never reached the disk. All of this can be interrupted and begun again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId};

use crate::base_file::{self, BaseError, BaseFile};
use crate::disk::Disk;
use crate::header::{HEADER_BYTES, NoHeader};
use crate::index::{self, Index, Opened};
use crate::ledger::{Doubt, Ledger, Location, Position};
use crate::record::{Head, Kind, Seed};
use crate::scan::{Found, Scan};
use crate::value_file::{self, Header, MARK_BYTES, Room, ValueFile};
use crate::{Chain, Damage, LogConfig, LogEnd, OpenError, Promise, Recovered, measure, read};

/// So many damages are listed; a disk that has more is lost anyway.
const DAMAGES_MAX: usize = 1000;
/// The stale end of a file is overwritten in pieces of this size.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What recovery leaves for the running log.
pub(crate) struct Ready {
    pub(crate) file: ValueFile,
    pub(crate) ledger: Ledger,
    pub(crate) index: Option<Opened>,
    /// Partitions that may lack something, and the epoch above which an entry shows that it does not.
    pub(crate) doubts: Vec<(PartitionId, u64)>,
    /// What is kept of the logs that do not begin with their first entry.
    pub(crate) bases: BTreeMap<PartitionId, Arc<BaseFile>>,
    pub(crate) told: Recovered,
}

/// Recovers the logs of a folder, from the index's checkpoint if there is an index that fits.
pub(crate) fn recover(disk: &dyn Disk, config: &LogConfig) -> Result<Ready, OpenError> {
    let mut index = index::open(config);
    let mut loaded =
        index.as_mut().map(|opened| std::mem::take(&mut opened.loaded)).unwrap_or_default();
    let mut before = Ledger::default();
    let evidence = loaded.checkpoint;
    let fits = index.as_ref().is_none_or(|opened| fits(config, opened, &loaded.ledger));
    if !fits {
        // What it knew still tells what should be there.
        before = std::mem::take(&mut loaded.ledger);
        loaded.checkpoint = Position::default();
        index = index.and_then(|opened| index::rebuild(config, opened));
    }
    let known = index.as_ref().map(|opened| &opened.index);
    let mut recovery = Recovery::new(config, loaded.ledger, known);
    let file = recovery.run(disk, loaded.checkpoint, evidence)?;
    recovery.compare(&before);
    let doubts = recovery.ledger.settle();
    let bases = recovery.bases()?;
    let told = Recovered {
        partitions: recovery.ledger.iter().map(|(id, log)| (id, log.restored())).collect(),
        damages: recovery.damages,
        cut_bytes: recovery.cut_bytes,
        entries: recovery.entries,
        took: Duration::ZERO,
    };
    Ok(Ready { file, ledger: recovery.ledger, index, doubts, bases, told })
}

/// Whether the last entry that the index has of every partition is what it says.
fn fits(config: &LogConfig, opened: &Opened, ledger: &Ledger) -> bool {
    let mut indexed = ledger.iter().filter(|(_, log)| log.base.seq > log.root.seq);
    indexed.all(|(partition, log)| {
        let seq = log.base.seq;
        let found = opened.index.locations(partition, seq, seq, 1).unwrap_or_default();
        let Some((_, location)) = found.first().copied() else { return false };
        let Ok(file) = File::open(value_file::path(&config.folder, location.at.file)) else {
            return false;
        };
        read::entry(&file, config, partition, seq, location)
            .is_ok_and(|entry| (entry.epoch, entry.chain) == (log.base.epoch, log.base.chain))
    })
}

/// A log being recovered.
pub(crate) struct Recovery<'a> {
    config: &'a LogConfig,
    /// Where entries below the bases stand.
    index: Option<&'a Index>,
    pub(crate) ledger: Ledger,
    damages: Vec<Damage>,
    entries: u64,
    cut_bytes: u64,
    /// Value files before the first one that is there were given back, as far as is known: then logs may
    /// begin anywhere.
    floats: bool,
    /// The first value file that is needed, as a record says.
    released: u32,
}

/// How far the last file can be used.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// Where its last batch begins.
    batch: u64,
    /// Where its records end.
    end: u64,
    /// Up to here are remains of a batch that was not confirmed.
    stale: u64,
    /// Records are known to have reached up to here.
    vouched: u64,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(config: &'a LogConfig, ledger: Ledger, index: Option<&'a Index>) -> Self {
        let damages = Vec::new();
        let (floats, released) = (false, 0);
        Self { config, index, ledger, damages, entries: 0, cut_bytes: 0, floats, released }
    }

    /// Scans everything from `from` on and makes the last file ready for the writer. `evidence` is a place
    /// that everything is known to have been synced up to.
    pub(crate) fn run(
        &mut self,
        disk: &dyn Disk,
        from: Position,
        evidence: Position,
    ) -> Result<ValueFile, OpenError> {
        let folder = &self.config.folder;
        let found = value_file::numbers(folder).map_err(|source| disk_error(folder, source))?;
        let last = found.last().copied().unwrap_or(0);
        let first = found.first().copied().unwrap_or(0);
        self.floats = from == Position::default() && first > 1;
        let mut expected = if self.floats { first } else { from.file.max(1) };
        let mut tail = None;
        for number in found.into_iter().filter(|number| *number >= from.file) {
            if number > expected {
                self.lost(expected, 0, "files are missing from this one on");
            }
            let start = if number == from.file { from.offset } else { 0 }.max(HEADER_BYTES);
            tail = Some((number, self.file(number, start, number == last, evidence)?));
            expected = number.saturating_add(1);
        }
        self.land(first);
        if evidence.file >= expected {
            self.lost(expected, 0, "files are missing from this one on");
            tail = None;
        }
        let Some((number, tail)) = tail else {
            return self.create(disk, expected.max(evidence.file.saturating_add(1)), 0);
        };
        let file = self.open_last(disk, number, tail)?;
        self.ledger.synced = Position { file: file.number, offset: file.end };
        Ok(file)
    }

    /// Everything is scanned: whatever is before the first file must have been given back, and every log must
    /// have told where it begins.
    fn land(&mut self, first: u32) {
        if !std::mem::take(&mut self.floats) {
            return;
        }
        if self.released < first {
            self.lost(1, 0, "files are missing from this one on");
        }
        let floating = self.ledger.iter().filter(|(_, log)| log.floating);
        for partition in floating.map(|(id, _)| id).collect::<Vec<_>>() {
            self.ledger.partition_mut(partition).sink();
            let what = format!("nothing tells where the log of partition {partition} begins");
            self.report(first, 0, what, Some(partition));
        }
    }

    /// Opens the base files, and removes those that nothing begins with.
    fn bases(&mut self) -> Result<BTreeMap<PartitionId, Arc<BaseFile>>, OpenError> {
        let mut bases = BTreeMap::new();
        let roots = self.ledger.iter().map(|(id, log)| (id, log.root));
        let roots: BTreeMap<_, _> = roots.filter(|(_, root)| root.seq > 0).collect();
        for (partition, root) in &roots {
            match BaseFile::open(self.config, *partition, *root) {
                Ok(file) => drop(bases.insert(*partition, Arc::new(file))),
                Err(BaseError::Newer { path }) => {
                    return Err(OpenError::Newer { file: path, offset: 0 });
                }
                Err(BaseError::Disk { path, source }) => return Err(disk_error(&path, source)),
                Err(error) => {
                    measure::damage();
                    let file = base_file::path(&self.config.folder, *partition, root.seq);
                    let what = error.to_string();
                    self.damages.push(Damage {
                        file,
                        offset: 0,
                        what,
                        partition: Some(*partition),
                    });
                }
            }
        }
        let needed = |partition, seq| roots.get(&partition).is_some_and(|root| root.seq == seq);
        let folder = &self.config.folder;
        base_file::tidy(folder, needed).map_err(|source| disk_error(folder, source))?;
        Ok(bases)
    }

    /// Compares what was found with what an index knew that does not fit.
    fn compare(&mut self, before: &Ledger) {
        for (partition, old) in before.iter() {
            let log = self.ledger.partition_mut(partition);
            let (end, base) = (log.end(), old.base);
            if (end.epoch, end.seq) < (base.epoch, base.seq) && log.doubt == Doubt::None {
                log.miss(base.epoch, base.seq);
                let what = format!(
                    "partition {partition} ends at {}, the index knew {}",
                    end.seq, base.seq
                );
                self.report(old.applied.file, old.applied.offset, what, Some(partition));
            }
        }
    }

    /// Completes a base that went down: its chain is in the index, and the next entry must continue it.
    fn lower(&mut self, partition: PartitionId) {
        let log = self.ledger.partition_mut(partition);
        let seq = log.base.seq;
        if log.lowered && seq > 0 && log.base.chain == Chain::default() {
            let found = self.index.and_then(|index| index.locations(partition, seq, seq, 1).ok());
            if let Some((_, location)) = found.unwrap_or_default().first() {
                log.base.chain = location.chain;
            }
        }
    }

    /// Scans one file.
    fn file(
        &mut self,
        number: u32,
        start: u64,
        last: bool,
        evidence: Position,
    ) -> Result<Tail, OpenError> {
        let path = self.path(number);
        let fail = |source| disk_error(&path, source);
        let file = File::open(&path).map_err(fail)?;
        self.header(&file, number)?;
        let next = if last { None } else { self.vouched(number.saturating_add(1)) };
        let known = if evidence.file == number { evidence.offset } else { 0 };
        let vouched = next.unwrap_or(0).max(known);
        let seed = Seed::new(self.config.store, number);
        let mut scan = Scan::new(&file, seed, last).map_err(fail)?;
        let (mut at, mut batch) = (start, start);
        loop {
            // The next file says where this one ends; behind that is only room.
            if next.is_some_and(|end| at >= end) {
                return Ok(Tail { batch, end: at, stale: at, vouched });
            }
            match scan.at(at, vouched).map_err(fail)? {
                Found::Record(head) => {
                    let body = scan.body(at, &head).map_err(fail)?;
                    self.apply(Position { file: number, offset: at }, &head, body);
                    batch = at.saturating_sub(u64::from(head.since)).max(start);
                    at = at.saturating_add(head.size());
                }
                Found::Damage { head, next: Some(next) } => {
                    self.damage(number, at, head);
                    at = next;
                }
                Found::Damage { head, next: None } => {
                    self.damage(number, at, head);
                    let reached = head.map_or(MARK_BYTES, |head| head.size());
                    let vouched = vouched.max(at.saturating_add(reached));
                    return Ok(Tail { batch, end: at, stale: at, vouched });
                }
                Found::End { stale } => {
                    if !last && stale > at {
                        self.damage(number, at, None);
                    }
                    return Ok(Tail { batch, end: at, stale, vouched: at });
                }
                Found::Newer => return Err(OpenError::Newer { file: path, offset: at }),
            }
        }
    }

    /// Whether the file is ours. Its records verify without it, so a broken header loses nothing.
    fn header(&mut self, file: &File, number: u32) -> Result<(), OpenError> {
        let path = self.path(number);
        match Header::read(file) {
            Ok(header) if header.store == self.config.store && header.number == number => Ok(()),
            Ok(header) => Err(OpenError::Foreign { file: path, store: header.store }),
            Err(NoHeader::Newer) => Err(OpenError::Newer { file: path, offset: 0 }),
            Err(NoHeader::Disk(source)) => Err(disk_error(&path, source)),
            Err(NoHeader::Broken) => {
                self.report(number, 0, "the header does not verify".to_owned(), None);
                Ok(())
            }
        }
    }

    /// How far the file before `number` reaches, as `number` says.
    fn vouched(&self, number: u32) -> Option<u64> {
        let file = File::open(self.path(number)).ok()?;
        Header::read(&file).ok().map(|header| header.previous_end)
    }

    /// Makes the last file ready: the last batch again, zeros over what was not confirmed, all synced. A
    /// file that was cut short by somebody stays as it is, and a new one follows.
    fn open_last(
        &mut self,
        disk: &dyn Disk,
        number: u32,
        tail: Tail,
    ) -> Result<ValueFile, OpenError> {
        if tail.vouched > tail.end {
            return self.create(disk, number.saturating_add(1), tail.vouched);
        }
        let path = self.path(number);
        let fail = |source| disk_error(&path, source);
        let file = File::options().read(true).write(true).open(&path).map_err(fail)?;
        let allocated = file.metadata().map_err(fail)?.len();
        rewrite(disk, &file, tail).map_err(fail)?;
        self.cut_bytes = tail.stale - tail.end;
        let seed = Seed::new(self.config.store, number);
        let (end, written) = (tail.end, tail.end);
        Ok(ValueFile { number, file: Arc::new(file), seed, end, allocated, written })
    }

    fn create(
        &mut self,
        disk: &dyn Disk,
        number: u32,
        previous_end: u64,
    ) -> Result<ValueFile, OpenError> {
        let header = Header { store: self.config.store, number, previous_end };
        let file_bytes_max = self.config.value_file_bytes_max;
        let room = Room { needed: 0, ahead: value_file::AHEAD_BYTES, file_bytes_max };
        let made = ValueFile::create(disk, &self.config.folder, header, room);
        let made = made.map_err(|source| disk_error(&self.path(number), source))?;
        self.ledger.synced = Position { file: made.number, offset: made.end };
        Ok(made)
    }

    fn apply(&mut self, at: Position, head: &Head, body: &[u8]) {
        let partition = PartitionId(head.partition);
        let log = self.ledger.partition_mut(partition);
        match head.kind {
            Kind::Entry if at >= log.applied => self.entry(at, head, body),
            Kind::Cut if at >= log.applied => {
                log.cut(head.seq, at);
                self.lower(partition);
            }
            Kind::Base if at >= log.applied => {
                let root = LogEnd { epoch: head.epoch, seq: head.seq, chain: head.chain };
                log.rebase(root, at);
            }
            Kind::Released => {
                self.released = self.released.max(u32::try_from(head.seq).unwrap_or(u32::MAX));
            }
            Kind::Doubt if at >= log.applied => {
                log.miss(head.epoch, u64::MAX);
                log.doubt = Doubt::Missing;
            }
            Kind::Promise => {
                if let Some(promise) = promise(head, body) {
                    log.promise(&promise);
                }
            }
            Kind::Commit => log.commit(head.seq),
            // Records of the archive never verify in a log: their checksums begin differently.
            Kind::Entry | Kind::Cut | Kind::Mark | Kind::Doubt | Kind::Base => {}
            Kind::Piece | Kind::Sequence | Kind::Fact | Kind::Footer => {}
        }
    }

    fn entry(&mut self, at: Position, head: &Head, body: &[u8]) {
        let partition = PartitionId(head.partition);
        let log = self.ledger.partition_mut(partition);
        let location = Location { epoch: head.epoch, chain: head.chain, at, length: head.length };
        if self.floats && head.seq > log.end().seq.saturating_add(1) {
            log.float(head.seq);
        }
        let end = log.end();
        let continues =
            log.doubt == Doubt::None || end.chain.next(head.epoch, head.seq, body) == head.chain;
        if continues && log.append(head.seq, location).is_ok() {
            log.prove();
            self.entries += 1;
            return;
        }
        let sound = log.doubt == Doubt::None;
        log.miss(head.epoch, head.seq);
        log.doubt = Doubt::Missing;
        if sound {
            let seq = head.seq;
            let what = format!("entry {seq} of partition {partition} does not follow {}", end.seq);
            self.report(at.file, at.offset, what, Some(partition));
        }
    }

    /// A broken record that was confirmed.
    fn damage(&mut self, number: u32, offset: u64, head: Option<Head>) {
        let Some(head) = head else {
            return self.lost(number, offset, "a record that cannot be told from its remains");
        };
        let partition = PartitionId(head.partition);
        match head.kind {
            Kind::Entry => self.ledger.partition_mut(partition).miss(head.epoch, head.seq),
            // An entry of its epoch shows that nothing was done below it.
            Kind::Promise => self.ledger.partition_mut(partition).miss(head.epoch, 0),
            // All they say is in the head, and that is whole.
            Kind::Cut | Kind::Commit | Kind::Mark | Kind::Doubt | Kind::Base | Kind::Released => {
                self.apply(Position { file: number, offset }, &head, &[]);
            }
            Kind::Piece | Kind::Sequence | Kind::Fact | Kind::Footer => {}
        }
        let what = format!("{:?} {} of partition {partition}", head.kind, head.seq).to_lowercase();
        self.report(number, offset, what, Some(partition));
    }

    /// Something is gone, and it could be of any partition.
    fn lost(&mut self, number: u32, offset: u64, what: &str) {
        for partition in (0..self.config.partitions).map(PartitionId) {
            self.ledger.partition_mut(partition).doubt();
        }
        self.report(number, offset, what.to_owned(), None);
    }

    fn report(&mut self, number: u32, offset: u64, what: String, partition: Option<PartitionId>) {
        let file = self.path(number);
        measure::damage();
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(Damage { file, offset, what, partition });
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        value_file::path(&self.config.folder, number)
    }
}

/// Writes the last batch again, zeros over what follows it, and syncs both.
fn rewrite(disk: &dyn Disk, file: &File, tail: Tail) -> io::Result<()> {
    let mut batch = vec![0; usize::try_from(tail.end - tail.batch).unwrap_or(0)];
    file.read_exact_at(&mut batch, tail.batch)?;
    disk.write(file, &batch, tail.batch)?;
    let mut at = tail.end;
    while at < tail.stale {
        let left = usize::try_from(tail.stale - at).unwrap_or(usize::MAX);
        let zeros = ZEROS.get(..left.min(ZEROS.len())).unwrap_or_default();
        disk.write(file, zeros, at)?;
        at = at.saturating_add(u64::try_from(zeros.len()).unwrap_or(u64::MAX));
    }
    disk.sync(file)
}

fn promise(head: &Head, body: &[u8]) -> Option<Promise> {
    let node = std::str::from_utf8(body).ok()?.parse::<NodeId>().ok()?;
    Some(Promise { epoch: head.epoch, node, boot: head.seq })
}

pub(crate) fn disk_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Disk { file: path.to_owned(), source }
}
