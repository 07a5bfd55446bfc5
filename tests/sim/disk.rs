//! One node's disk: a writer with a queue, and what is left of it after a crash.
//!
//! There are two images. The *logical* one is what the node believes: everything it asked to be
//! written. The *durable* one is what a crash leaves: whole batches that were synced, and of the batch
//! under way any prefix, entry by entry.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use hashring::PartitionId;
use rand::RngExt;
use rand::rngs::StdRng;
use segment::{Chain, LogEnd, LogEntry, LogOp, Promise, Restored, Snapshot};

use crate::bases::BaseFile;

/// A log, its promise and what is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) promise: Option<Promise>,
    pub(crate) commit: u64,
    /// Where the log ended before it lost entries. Mended when it is as good again.
    pub(crate) lost: Option<LogEnd>,
    /// From here on it holds what nobody ever wrote.
    pub(crate) altered: Option<u64>,
    /// Entries that cannot be read.
    pub(crate) unreadable: BTreeSet<u64>,
    /// The log begins behind this entry. Those before are only there to be looked at by the world.
    pub(crate) base: LogEnd,
    /// Those of them that can be read.
    pub(crate) kept: BTreeSet<u64>,
}

impl Image {
    pub(crate) fn end(&self) -> LogEnd {
        self.at(self.entries.len() as u64).unwrap_or_default()
    }

    /// The place after entry `seq`; that of 0 is before the first.
    pub(crate) fn at(&self, seq: u64) -> Option<LogEnd> {
        if seq == 0 {
            return Some(LogEnd::default());
        }
        let entry = self.entries.get(usize::try_from(seq - 1).ok()?)?;
        Some(LogEnd { epoch: entry.epoch, seq: entry.seq, chain: entry.chain })
    }

    pub(crate) fn promised(&self) -> u64 {
        self.promise.as_ref().map_or(0, |promise| promise.epoch)
    }

    /// Applies one entry.
    fn push(&mut self, entry: &LogEntry) -> Result<(), String> {
        let end = self.end();
        if entry.seq != end.seq + 1 || entry.epoch < end.epoch {
            return Err(format!("entry {}/{} written after {end:?}", entry.epoch, entry.seq));
        }
        if entry.chain != end.chain.next(entry.epoch, entry.seq, &entry.payload) {
            return Err(format!("entry {}/{} written with a wrong chain", entry.epoch, entry.seq));
        }
        self.entries.push(entry.clone());
        if let Some(lost) = self.lost
            && (entry.epoch, entry.seq) >= (lost.epoch, lost.seq)
        {
            self.lost = None;
        }
        Ok(())
    }

    /// The log begins with a file.
    fn begin(&mut self, file: &BaseFile) -> Result<(), String> {
        let place = file.base.place;
        if place.seq > self.end().seq {
            self.entries.clone_from(&file.ghost);
            self.altered = None;
            self.unreadable.clear();
        }
        if self.at(place.seq) != Some(place) {
            return Err(format!("a log with {:?} begins at {place:?}", self.at(place.seq)));
        }
        self.base = place;
        // The file was made while all of it could be read.
        self.unreadable.retain(|seq| *seq > place.seq);
        self.kept.clone_from(&file.kept);
        self.commit = self.commit.max(place.seq);
        let end = self.end();
        self.lost = self.lost.filter(|lost| (end.epoch, end.seq) < (lost.epoch, lost.seq));
        Ok(())
    }

    fn restored(&self) -> Restored {
        let mut epochs: Vec<(u64, u64)> = Vec::new();
        if self.base.seq > 0 {
            epochs.push((self.base.epoch, self.base.seq));
        }
        for entry in self.entries.iter().filter(|entry| entry.seq > self.base.seq) {
            if epochs.last().is_none_or(|(epoch, _)| *epoch != entry.epoch) {
                epochs.push((entry.epoch, entry.seq));
            }
        }
        Restored {
            end: self.end(),
            base: self.base,
            epochs,
            promise: self.promise.clone(),
            commit: self.commit.min(self.end().seq),
            damaged: self.lost.is_some(),
        }
    }
}

/// The partitions' logs.
pub(crate) type Images = BTreeMap<PartitionId, Image>;

/// A change that became durable, for whoever keeps the books.
pub(crate) type Durable = Vec<LogOp>;

/// How the writer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Tens of microseconds to a few milliseconds a batch.
    Normal,
    /// Up to half a second a batch.
    Slow,
    /// Nothing gets done.
    Hung,
}

/// The disk of one node.
#[derive(Debug)]
pub(crate) struct Disk {
    /// This data directory.
    pub(crate) store: u64,
    /// The last process life that used it.
    pub(crate) boot: u64,
    pub(crate) pace: Pace,
    pub(crate) logical: Images,
    pub(crate) durable: Images,
    /// Base files that are on the disk.
    files: HashMap<(PartitionId, LogEnd), BaseFile>,
    /// How much is there of one that is taken: its digest, and bytes.
    pub(crate) taking: BTreeMap<PartitionId, ([u8; 32], u64)>,
    /// When the thread that does something about base files is free.
    pub(crate) bases_free: u64,
    /// Snapshots: each is there as a whole or not at all.
    pub(crate) snapshots: BTreeMap<PartitionId, Snapshot>,
    queued: VecDeque<(u64, Vec<LogOp>)>,
    writing: Vec<(u64, Vec<LogOp>)>,
    /// The names of new files are not synced: a rule broken on purpose. What was there before the last
    /// file began, and how many batches are in it.
    pub(crate) unnamed: Option<(Images, u32)>,
    /// One of its logs once held what nobody ever wrote.
    pub(crate) was_altered: bool,
}

/// Batches of one file.
const FILE_BATCHES: u32 = 16;

impl Disk {
    pub(crate) fn new(store: u64) -> Self {
        Self {
            store,
            boot: 0,
            pace: Pace::Normal,
            logical: Images::new(),
            durable: Images::new(),
            files: HashMap::new(),
            taking: BTreeMap::new(),
            bases_free: 0,
            snapshots: BTreeMap::new(),
            queued: VecDeque::new(),
            writing: Vec::new(),
            unnamed: None,
            was_altered: false,
        }
    }

    /// Queues operations; the logical image has them at once.
    pub(crate) fn submit(&mut self, ticket: u64, ops: Vec<LogOp>) -> Result<(), String> {
        let last = self.queued.back().or_else(|| self.writing.last()).map(|(ticket, _)| *ticket);
        if last.is_some_and(|last| ticket <= last) {
            return Err(format!("ticket {ticket} does not rise"));
        }
        for op in &ops {
            apply(&mut self.logical, &self.files, op)?;
        }
        self.queued.push_back((ticket, ops));
        Ok(())
    }

    /// Begins with everything that is queued, if the writer is free; says how long it takes.
    pub(crate) fn begin(&mut self, random: &mut StdRng) -> Option<u64> {
        if !self.writing.is_empty() || self.queued.is_empty() || self.pace == Pace::Hung {
            return None;
        }
        self.writing = self.queued.drain(..).collect();
        Some(match self.pace {
            Pace::Slow => random.random_range(5_000..500_000),
            Pace::Normal | Pace::Hung if random.random_bool(0.02) => {
                random.random_range(1_000..20_000)
            }
            Pace::Normal | Pace::Hung => random.random_range(50..1_500),
        })
    }

    /// The batch is synced. `None` while the writer hangs: it is tried again when it does not.
    pub(crate) fn finish(&mut self) -> Option<(u64, Durable)> {
        if self.pace == Pace::Hung {
            return None;
        }
        if let Some((before, batches)) = &mut self.unnamed {
            if batches.is_multiple_of(FILE_BATCHES) {
                before.clone_from(&self.durable);
            }
            *batches += 1;
        }
        let mut done = Durable::new();
        let mut last = None;
        for (ticket, ops) in std::mem::take(&mut self.writing) {
            last = Some(ticket);
            for op in ops {
                apply(&mut self.durable, &self.files, &op)
                    .expect("it applied to the logical image");
                done.push(op);
            }
        }
        last.map(|ticket| (ticket, done))
    }

    /// Whether a batch is under way.
    pub(crate) fn busy(&self) -> bool {
        !self.writing.is_empty()
    }

    /// The process is gone. Of the batch under way a prefix is on the disk.
    pub(crate) fn crash(&mut self, random: &mut StdRng) -> Durable {
        let pieces = self.writing.drain(..).flat_map(|(_, ops)| ops).flat_map(pieces);
        let pieces: Vec<LogOp> = pieces.collect();
        let kept = random.random_range(0..=pieces.len());
        let done: Durable = pieces.into_iter().take(kept).collect();
        for op in &done {
            apply(&mut self.durable, &self.files, op).expect("it applied to the logical image");
        }
        // Of what was taken and not synced any part may be lost.
        for (_, have) in self.taking.values_mut() {
            *have = if random.random_bool(0.3) { 0 } else { *have };
        }
        self.bases_free = 0;
        self.queued.clear();
        if let Some((before, batches)) = &mut self.unnamed {
            // The file with everything in it is not to be found.
            self.durable.clone_from(before);
            *batches = 0;
        }
        self.logical = self.durable.clone();
        done
    }

    /// The last entries of one log, though synced, are gone.
    pub(crate) fn damage(&mut self, partition: PartitionId, entries: usize) {
        let Some(image) = self.durable.get_mut(&partition) else { return };
        let begin = usize::try_from(image.base.seq).unwrap_or(usize::MAX);
        let left = image.entries.len().saturating_sub(entries).max(begin);
        image.lost = image.lost.or_else(|| Some(image.end()));
        image.entries.truncate(left);
        self.logical = self.durable.clone();
    }

    /// The entries of one log from `first` on say something else, and all of it verifies.
    pub(crate) fn alter(&mut self, partition: PartitionId, first: u64) {
        let Some(image) = self.durable.get_mut(&partition) else { return };
        let Some(mut before) = image.at(first.saturating_sub(1)) else { return };
        let skip = usize::try_from(first - 1).unwrap_or(usize::MAX);
        for entry in image.entries.iter_mut().skip(skip) {
            let kind = entry.payload.first().copied().unwrap_or(1);
            entry.payload = [&[kind], &b"altered"[..], &entry.payload].concat().into();
            before.chain = before.chain.next(entry.epoch, entry.seq, &entry.payload);
            entry.chain = before.chain;
        }
        image.altered = Some(first);
        self.was_altered = true;
        self.logical = self.durable.clone();
    }

    /// An entry of one log cannot be read any more.
    pub(crate) fn rot(&mut self, partition: PartitionId, seq: u64) {
        for images in [&mut self.durable, &mut self.logical] {
            if let Some(image) = images.get_mut(&partition) {
                image.unreadable.insert(seq);
            }
        }
    }

    /// Whether there are entries that cannot be read.
    pub(crate) fn is_rotten(&self) -> bool {
        self.durable.values().any(|image| !image.unreadable.is_empty())
    }

    /// The first of these entries that cannot be read.
    pub(crate) fn broken(&self, partition: PartitionId, entries: &[LogEntry]) -> Option<u64> {
        let unreadable = &image(&self.durable, partition).unreadable;
        entries.iter().map(|entry| entry.seq).find(|seq| unreadable.contains(seq))
    }

    /// What a process that starts now finds.
    pub(crate) fn restored(&self) -> BTreeMap<PartitionId, Restored> {
        self.durable.iter().map(|(partition, image)| (*partition, image.restored())).collect()
    }

    /// A base file is on the disk.
    pub(crate) fn prepare(&mut self, partition: PartitionId, file: BaseFile) {
        self.files.insert((partition, file.base.place), file);
    }

    /// The file that a log begins with.
    pub(crate) fn file(&self, partition: PartitionId) -> Option<&BaseFile> {
        let base = image(&self.durable, partition).base;
        self.files.get(&(partition, base))
    }

    /// After which entry a log has no more than so many entries and bytes.
    pub(crate) fn weigh(&self, partition: PartitionId, (entries, bytes): (u64, u64)) -> u64 {
        let log = image(&self.durable, partition);
        let mut left = (entries, bytes);
        let fits = |entry: &&LogEntry| {
            let length = entry.payload.len() as u64;
            let fits = entry.seq > log.base.seq && left.0 > 0 && left.1 >= length;
            left = (left.0.saturating_sub(1), left.1.saturating_sub(length));
            fits
        };
        let stay = log.entries.iter().rev().take_while(fits).count();
        log.end().seq - stay as u64
    }

    /// Whether there is one of that place.
    pub(crate) fn has_file(&self, partition: PartitionId, place: LogEnd) -> bool {
        self.files.contains_key(&(partition, place))
    }

    /// Entries that are on the disk, within bounds but at least one.
    pub(crate) fn read(
        &self,
        partition: PartitionId,
        from: u64,
        (entries_max, bytes_max): (usize, usize),
    ) -> Vec<LogEntry> {
        let skip = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        let log = image(&self.durable, partition);
        let there = |it: &&LogEntry| it.seq > log.base.seq || log.kept.contains(&it.seq);
        let entries = log.entries.iter().skip(skip).filter(there).take(entries_max);
        let mut bytes = 0;
        let fits = |(place, entry): &(usize, &LogEntry)| {
            bytes += entry.payload.len();
            *place == 0 || bytes <= bytes_max
        };
        entries.enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect()
    }
}

/// The log of a partition, or that of one that has nothing yet.
pub(crate) fn image(images: &Images, partition: PartitionId) -> &Image {
    static EMPTY: Image = Image {
        entries: Vec::new(),
        promise: None,
        commit: 0,
        lost: None,
        altered: None,
        unreadable: BTreeSet::new(),
        base: LogEnd { epoch: 0, seq: 0, chain: Chain([0; 16]) },
        kept: BTreeSet::new(),
    };
    images.get(&partition).unwrap_or(&EMPTY)
}

fn apply(
    images: &mut Images,
    files: &HashMap<(PartitionId, LogEnd), BaseFile>,
    op: &LogOp,
) -> Result<(), String> {
    match op {
        LogOp::Base { partition, base } => {
            let file = files.get(&(*partition, *base));
            let file = file.ok_or_else(|| format!("nothing is kept at {base:?}"))?;
            images.entry(*partition).or_default().begin(file)
        }
        LogOp::Release { .. } => Ok(()),
        LogOp::Append { partition, entries } => {
            let image = images.entry(*partition).or_default();
            entries.iter().try_for_each(|entry| image.push(entry))
        }
        LogOp::Cut { partition, after } => {
            let image = images.entry(*partition).or_default();
            image.entries.truncate(usize::try_from(*after).unwrap_or(usize::MAX));
            image.altered = image.altered.filter(|first| first <= after);
            image.unreadable.retain(|seq| seq <= after);
            Ok(())
        }
        LogOp::Doubt { partition, epoch } => {
            let lost = LogEnd { epoch: *epoch, seq: u64::MAX, ..LogEnd::default() };
            images.entry(*partition).or_default().lost = Some(lost);
            Ok(())
        }
        LogOp::Promise { partition, promise } => {
            images.entry(*partition).or_default().promise = Some(promise.clone());
            Ok(())
        }
        LogOp::Commit { partition, seq } => {
            let image = images.entry(*partition).or_default();
            image.commit = image.commit.max(*seq);
            Ok(())
        }
    }
}

/// An operation in the smallest parts that a torn write can keep.
fn pieces(op: LogOp) -> Vec<LogOp> {
    match op {
        LogOp::Append { partition, entries } => entries
            .into_iter()
            .map(|entry| LogOp::Append { partition, entries: vec![entry] })
            .collect(),
        LogOp::Cut { .. }
        | LogOp::Promise { .. }
        | LogOp::Doubt { .. }
        | LogOp::Commit { .. }
        | LogOp::Base { .. }
        | LogOp::Release { .. } => vec![op],
    }
}
