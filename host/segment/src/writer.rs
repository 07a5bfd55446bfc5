//! The one thread that writes: everything that waits becomes one batch, one write and one sync.
//!
//! What is synced is published to the ledger, and then told; in this order, so that whoever is told can
//! read it. A batch never spans two files: what is encoded is written and synced before a file is rolled
//! over. After a failed write or sync nobody knows what is on the disk, so nothing is published, told or
//! written any more. Only "no room" is waited for, and what waits keeps its order.

use std::collections::BTreeMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;

use crate::disk::is_full;
use crate::header::HEADER_BYTES;
use crate::ledger::{Doubt, Location, PartitionLog, Position};
use crate::log::Shared;
use crate::measure::Measures;
use crate::pulse::is_sent;
use crate::queue::{Ending, Hints, Submission, Wait};
use crate::record::{BODY_BYTES_MAX, Draft, Kind};
use crate::space::SpaceWatch;
use crate::value_file::{self, Header, MARK_BYTES, Room, ValueFile};
use crate::{Chain, LogEnd, LogEntry, LogOp, Notice, Promise};

/// A batch is written once it has so many bytes: enough that a sync costs little beside the writing, and
/// little enough that nobody waits long.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// An idle writer marks its last batch after so long; the rules allow 100 ms.
const MARK_AFTER: Duration = Duration::from_millis(50);
/// After a batch of so many entries more are sure to come soon, and are let come together: what a batch
/// costs (a sync, waking the writer, telling the core, an acknowledgement) is then shared by more of them.
/// One client alone, or a few, never wait.
const CROWD: usize = 8;
/// So long they may. It is little beside what a send takes when so many are under way.
const GATHER: Duration = Duration::from_millis(1);
/// An idle writer looks at the disk's room this often.
const IDLE: Duration = Duration::from_secs(1);
/// Without room it is looked for this often.
const NO_ROOM: Duration = Duration::from_millis(100);

/// The state of the writing thread.
pub(crate) struct Writer<N> {
    shared: Arc<Shared>,
    notices: N,
    file: ValueFile,
    space: SpaceWatch,
    measures: Measures,
    /// The batch, as it will stand in the file from `file.end` on.
    buffer: Vec<u8>,
    /// What the batch changes, in order.
    changes: Vec<Change>,
    entries: usize,
    /// Whether somebody who sends waits for the batch.
    urgent: bool,
    /// The last seq of each partition, the batch included.
    ends: BTreeMap<PartitionId, u64>,
    /// Commit hints that are in no batch yet.
    hints: Hints,
    /// What recovery found missing, and is not told to the disk yet.
    doubts: Vec<(PartitionId, u64)>,
    /// When the last batch must be marked; `None` if it is.
    mark_due: Option<runtime::Instant>,
    full_told: bool,
    /// Entries written since the queue was last taken.
    carried: usize,
}

/// What a record of the batch changes in the ledger.
enum Change {
    Entry { partition: PartitionId, seq: u64, location: Location },
    Cut { partition: PartitionId, after: u64, at: Position },
    Promise { partition: PartitionId, promise: Promise },
    Doubt { partition: PartitionId, epoch: u64 },
    Base { partition: PartitionId, base: LogEnd, at: Position },
    Released { file: u32 },
}

/// Why the writer ends.
enum End {
    /// It was asked to.
    Asked,
    /// Nobody knows what is on the disk.
    Failed(String),
}

impl<N: Fn(Notice)> Writer<N> {
    /// `doubts` are written before anything else: what follows is appended on top of them.
    pub(crate) fn new(
        shared: Arc<Shared>,
        file: ValueFile,
        doubts: Vec<(PartitionId, u64)>,
        notices: N,
    ) -> Self {
        let ends = shared.ledger().iter().map(|(id, log)| (id, log.end().seq)).collect();
        Self {
            space: SpaceWatch::new(shared.config.reserve),
            shared,
            notices,
            file,
            measures: Measures::new(),
            buffer: Vec::new(),
            changes: Vec::new(),
            entries: 0,
            urgent: false,
            ends,
            hints: Hints::new(),
            doubts,
            mark_due: Some(runtime::now() + MARK_AFTER),
            full_told: false,
            carried: 0,
        }
    }

    /// Writes until the queue ends or the disk fails.
    pub(crate) fn run(&mut self) {
        // A panic is a bug in us, and leaves the log as a failed write does.
        let work = AssertUnwindSafe(|| self.work());
        let ended = std::panic::catch_unwind(work)
            .unwrap_or_else(|_panic| Err(End::Failed("the log writer panicked".to_owned())));
        self.shared.queue.stop();
        if let Err(End::Failed(text)) = ended {
            tracing::error!(%text, "the log cannot be written");
            (self.notices)(Notice::Failed { text });
        }
    }

    fn work(&mut self) -> Result<(), End> {
        for (partition, epoch) in std::mem::take(&mut self.doubts) {
            self.record(Draft::bare(Kind::Doubt, partition, epoch, 0))?;
        }
        self.flush()?;
        let mut taken: Vec<Submission> = Vec::new();
        loop {
            self.watch_space();
            if std::mem::take(&mut self.carried) >= CROWD {
                self.shared.queue.gather(GATHER);
            }
            let now = runtime::now();
            let (wait, patience) = match self.mark_due {
                Some(due) => (Wait::Urgent, due.saturating_duration_since(now)),
                None => (Wait::Anything, IDLE),
            };
            let ending = self.shared.queue.take(&mut taken, wait, patience);
            if ending == Ending::Abandon {
                return Err(End::Asked);
            }
            self.write(&mut taken)?;
            let due = self.mark_due.is_some_and(|due| due <= runtime::now());
            if due || ending == Ending::Drain {
                self.mark()?;
            }
            if ending == Ending::Drain {
                return Err(End::Asked);
            }
        }
    }

    /// Writes what was taken and tells the highest ticket.
    fn write(&mut self, taken: &mut Vec<Submission>) -> Result<(), End> {
        let mut written = None;
        for (ticket, ops) in taken.drain(..) {
            for op in ops {
                self.encode(op)?;
            }
            // What the log asks of itself has none, and nobody waits for it.
            written = written.max((ticket > 0).then_some(ticket));
        }
        if !self.buffer.is_empty() {
            self.encode_hints()?;
            self.flush()?;
        } else if !self.hints.is_empty() {
            self.mark_due.get_or_insert_with(|| runtime::now() + MARK_AFTER);
        }
        if let Some(ticket) = written {
            (self.notices)(Notice::Written { ticket });
        }
        Ok(())
    }

    /// Writes something whose only purpose is that the batch before it is known to be durable.
    fn mark(&mut self) -> Result<(), End> {
        self.encode_hints()?;
        if self.buffer.is_empty() {
            let mark = Draft::bare(Kind::Mark, PartitionId(0), 0, 0);
            self.record(mark)?;
        }
        self.flush()?;
        self.mark_due = None;
        Ok(())
    }

    fn encode(&mut self, op: LogOp) -> Result<(), End> {
        match op {
            LogOp::Append { partition, entries } => {
                for entry in &entries {
                    self.encode_entry(partition, entry)?;
                }
            }
            LogOp::Cut { partition, after } => {
                let at = self.record(Draft::bare(Kind::Cut, partition, 0, after))?;
                let end = self.ends.entry(partition).or_default();
                *end = after.min(*end);
                self.changes.push(Change::Cut { partition, after, at });
            }
            LogOp::Promise { partition, promise } => {
                let draft = Draft {
                    kind: Kind::Promise,
                    partition: partition.0,
                    epoch: promise.epoch,
                    seq: promise.boot,
                    chain: Chain::default(),
                    body: promise.node.as_str().as_bytes(),
                };
                self.record(draft)?;
                self.changes.push(Change::Promise { partition, promise });
            }
            LogOp::Doubt { partition, epoch } => {
                self.record(Draft::bare(Kind::Doubt, partition, epoch, 0))?;
                self.changes.push(Change::Doubt { partition, epoch });
            }
            LogOp::Base { partition, base } => {
                let at = self.record(base_draft(partition, base))?;
                let end = self.ends.entry(partition).or_default();
                *end = base.seq.max(*end);
                self.changes.push(Change::Base { partition, base, at });
            }
            LogOp::Release { file } => self.encode_release(file)?,
            LogOp::Commit { partition, seq } => {
                let ledger = self.shared.ledger();
                let known = ledger.partition(partition).map_or(0, |log| log.commit);
                drop(ledger);
                if seq > known {
                    let hint = self.hints.entry(partition).or_default();
                    *hint = seq.max(*hint);
                }
            }
        }
        Ok(())
    }

    fn encode_entry(&mut self, partition: PartitionId, entry: &LogEntry) -> Result<(), End> {
        let end = self.ends.get(&partition).copied().unwrap_or(0);
        // A hole in a log would be found at the next start; better to stop before it is written.
        if entry.seq != end.saturating_add(1) {
            let seq = entry.seq;
            return Err(End::Failed(format!(
                "partition {partition}: entry {seq} does not follow {end}"
            )));
        }
        let length = entry.payload.len();
        if length > BODY_BYTES_MAX {
            return Err(End::Failed(format!("partition {partition}: an entry of {length} bytes")));
        }
        let draft = Draft {
            kind: Kind::Entry,
            partition: partition.0,
            epoch: entry.epoch,
            seq: entry.seq,
            chain: entry.chain,
            body: &entry.payload,
        };
        let at = self.record(draft)?;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let location = Location { epoch: entry.epoch, chain: entry.chain, at, length };
        self.ends.insert(partition, entry.seq);
        self.changes.push(Change::Entry { partition, seq: entry.seq, location });
        self.entries += 1;
        self.urgent |= is_sent(&entry.payload);
        Ok(())
    }

    /// Says again what may stand in files before `file`, and then that they are not needed.
    fn encode_release(&mut self, file: u32) -> Result<(), End> {
        let told: Vec<_> = {
            let ledger = self.shared.ledger();
            let told = |(id, log): (PartitionId, &PartitionLog)| {
                (id, log.root, log.promise.clone(), log.commit)
            };
            ledger.iter().map(told).collect()
        };
        for (partition, root, promise, commit) in told {
            if root.seq > 0 {
                self.record(base_draft(partition, root))?;
            }
            if let Some(promise) = promise {
                self.encode(LogOp::Promise { partition, promise })?;
            }
            if commit > 0 {
                self.record(Draft::bare(Kind::Commit, partition, 0, commit))?;
            }
        }
        self.record(Draft::bare(Kind::Released, PartitionId(0), 0, u64::from(file)))?;
        self.changes.push(Change::Released { file });
        Ok(())
    }

    fn encode_hints(&mut self) -> Result<(), End> {
        let hints = std::mem::take(&mut self.hints);
        for (partition, seq) in &hints {
            self.record(Draft::bare(Kind::Commit, *partition, 0, *seq))?;
            self.shared.ledger().partition_mut(*partition).commit(*seq);
        }
        Ok(())
    }

    /// Adds a record to the batch and says where it will stand.
    fn record(&mut self, draft: Draft<'_>) -> Result<Position, End> {
        let size = draft.size();
        if self.buffer.len() >= BATCH_BYTES_MAX {
            self.flush()?;
        }
        if self.next().saturating_add(size + MARK_BYTES) > self.shared.config.value_file_bytes_max {
            self.flush()?;
            // A record that is larger than a file may be gets a file of its own.
            if self.file.end > HEADER_BYTES {
                self.roll_over()?;
            }
        }
        let offset = self.next();
        let since = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        draft.write(self.file.seed, offset, since, &mut self.buffer);
        Ok(Position { file: self.file.number, offset })
    }

    /// Where the next record will stand.
    fn next(&self) -> u64 {
        self.file.end.saturating_add(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX))
    }

    /// Writes and syncs the batch, then publishes what it changes.
    fn flush(&mut self) -> Result<(), End> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let began = runtime::now();
        let (bytes, end) = (self.buffer.len(), self.next());
        self.with_room("write", |writer| {
            let needed = end.saturating_sub(writer.file.end);
            if !writer.file.has_room(needed) {
                let room = writer.room(needed);
                writer.file.take_room(writer.shared.disk.as_ref(), room)?;
            }
            writer.buffer.truncate(bytes);
            let zeros = writer.file.zeros_behind(end);
            writer.buffer.resize(bytes.saturating_add(zeros), 0);
            writer.shared.disk.write(&writer.file.file, &writer.buffer, writer.file.end)
        })?;
        if let Err(error) = self.shared.disk.sync(&self.file.file) {
            return Err(self.failed("sync", &error));
        }
        let took = runtime::now() - began;
        self.measures.batch(took, self.entries, bytes);
        if std::mem::take(&mut self.urgent) {
            self.shared.pulse.beat(took);
        }
        self.carried += self.entries;
        self.file.written = self.file.written.max(self.next());
        self.file.end = end;
        self.mark_due = Some(runtime::now() + MARK_AFTER);
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let mut ledger = self.shared.ledger();
        for change in self.changes.drain(..) {
            match change {
                Change::Entry { partition, seq, location } => {
                    let followed = ledger.partition_mut(partition).append(seq, location);
                    // Its seq was checked when it was encoded; an epoch that goes back is the core's.
                    if followed.is_err() {
                        tracing::error!(%partition, seq, "an entry does not follow its log");
                    }
                }
                Change::Cut { partition, after, at } => {
                    ledger.partition_mut(partition).cut(after, at);
                }
                Change::Doubt { partition, epoch } => {
                    let log = ledger.partition_mut(partition);
                    log.miss(epoch, u64::MAX);
                    log.doubt = Doubt::Missing;
                }
                Change::Promise { partition, promise } => {
                    ledger.partition_mut(partition).promise(&promise);
                }
                Change::Base { partition, base, at } => {
                    ledger.partition_mut(partition).rebase(base, at);
                    self.shared.bases().begin(partition, base);
                }
                Change::Released { file } => self.shared.bases().released(file),
            }
        }
        ledger.synced = Position { file: self.file.number, offset: self.file.end };
        drop(ledger);
        self.buffer.clear();
        // One large entry must not cost its memory for ever.
        self.buffer.shrink_to(2 * BATCH_BYTES_MAX);
        self.entries = 0;
    }

    /// Begins the next file. Everything in this one is synced.
    fn roll_over(&mut self) -> Result<(), End> {
        let header = Header {
            store: self.shared.config.store,
            number: self.file.number.saturating_add(1),
            previous_end: self.file.end,
        };
        let mut next = None;
        self.with_room("make", |writer| {
            let room = writer.room(0);
            let folder = &writer.shared.config.folder;
            next = Some(ValueFile::create(writer.shared.disk.as_ref(), folder, header, room)?);
            Ok(())
        })?;
        if let Some(next) = next {
            let old = std::mem::replace(&mut self.file, next);
            // What was taken ahead and not used. If it stays, it is only room.
            if let Err(error) = old.file.set_len(old.end) {
                tracing::warn!(%error, file = old.number, "the unused end of a value file stays");
            }
            self.shared.files().insert(self.file.number, Arc::clone(&self.file.file));
        }
        Ok(())
    }

    /// Does something that takes room, again and again until there is some.
    fn with_room(
        &mut self,
        what: &str,
        mut work: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> Result<(), End> {
        loop {
            match work(self) {
                Ok(()) => {
                    self.space.blocked = false;
                    return Ok(());
                }
                Err(error) if is_full(&error) => {
                    if !self.space.blocked {
                        tracing::warn!(%error, "no room on the disk of the log: waiting for some");
                    }
                    self.space.blocked = true;
                    self.tell_full();
                }
                Err(error) => return Err(self.failed(what, &error)),
            }
            // Who ends now was told of nothing that is still here, so it can be left.
            if self.shared.queue.pause(NO_ROOM) != Ending::No {
                return Err(End::Asked);
            }
        }
    }

    fn room(&self, needed: u64) -> Room {
        let config = &self.shared.config;
        Room {
            needed,
            ahead: self.space.ahead(self.shared.disk.as_ref(), &config.folder),
            file_bytes_max: config.value_file_bytes_max,
        }
    }

    fn watch_space(&mut self) {
        self.space.look(self.shared.disk.as_ref(), &self.shared.config.folder);
        self.tell_full();
    }

    fn tell_full(&mut self) {
        let full = self.space.is_full();
        if full != self.full_told {
            self.full_told = full;
            self.measures.full(full);
            (self.notices)(Notice::Full(full));
        }
    }

    fn failed(&self, what: &str, error: &io::Error) -> End {
        let path: PathBuf = value_file::path(&self.shared.config.folder, self.file.number);
        End::Failed(format!("could not {what} {}: {error}", path.display()))
    }
}

/// Says where a log begins.
fn base_draft(partition: PartitionId, base: LogEnd) -> Draft<'static> {
    let LogEnd { epoch, seq, chain } = base;
    Draft { kind: Kind::Base, partition: partition.0, epoch, seq, chain, body: &[] }
}
