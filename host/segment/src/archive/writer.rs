//! The one thread that writes bulk data: what waits becomes one batch, with one sync and one transaction.
//!
//! Order is everything here: written, synced, indexed, answered. A final that was answered is on the disk
//! and in the index; one that was not answered may be either. What an operation does is decided in
//! [`crate::archive::decide`]; here it is carried out. After a failed write or sync nobody knows what is
//! on the disk: everything that waits is told so, and nothing is written any more.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashring::NodeId;

use crate::Chain;
use crate::archive::active::Actives;
use crate::archive::applied::{self, Applied};
use crate::archive::data_file::{self, DataFile, Header};
use crate::archive::fact::{Fact, Held, Sequence};
use crate::archive::footer::Footer;
use crate::archive::inbox::{Command, Ending, Reply};
use crate::archive::index;
use crate::archive::operation::{Done, Refused};
use crate::archive::store::{Ended, Shared};
use crate::archive::{measure, run};
use crate::disk::is_full;
use crate::ledger::Position;
use crate::record::{Draft, Kind};

/// So much is collected before it is written.
const WRITE_BYTES: u64 = 1 << 20;
/// So much is written before it is synced: a sync then takes little longer than an idle one.
const SYNC_BYTES: u64 = 8 << 20;
/// What nobody waits for is synced after so long.
const SYNC_AFTER: Duration = Duration::from_secs(1);
/// An idle writer looks for uploads that stand still this often.
const IDLE: Duration = Duration::from_secs(1);
/// The room of a space is looked at this often at most.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Without room for what was already taken, it is looked for this often, and told this often.
const NO_ROOM: Duration = Duration::from_millis(100);
const TELL_EVERY: Duration = Duration::from_secs(30);

/// The state of the writing thread.
pub(crate) struct Writer<F> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: db::Writer,
    failed: F,
    ended: Arc<Mutex<Ended>>,
    file: Option<DataFile>,
    pub(crate) actives: Actives,
    pub(crate) fences: BTreeMap<NodeId, u64>,
    /// What is in value files and not yet in the index.
    pub(crate) pending: Vec<Change>,
    /// Who is answered once what was appended is written.
    unwritten: Vec<Reply>,
    /// Who is answered once it is synced and indexed.
    unsynced: Vec<Reply>,
    /// Bytes that no sync covers yet must be synced by then.
    sync_due: Option<runtime::Instant>,
    looked: Option<(runtime::Instant, bool)>,
    /// When it was last said that there is no room.
    told_full: Option<runtime::Instant>,
}

/// A row of the index to be.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Fact(Position, Fact),
    Sequence(Position, Sequence),
    Closed(Header, Footer),
    Applied(Applied),
}

/// What is done with an operation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is refused, and nothing was appended.
    Refuse(Refused),
    /// It is answered when it is written, or when it is synced.
    Answer(Done),
}

/// Whether what is appended may use the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Bytes of users: not below the reserve.
    Bulk,
    /// Deletes and other decisions: small, and often what makes room.
    Decision,
}

/// Why the writer ends.
pub(crate) enum End {
    /// It was asked to.
    Asked,
    /// As if it had been killed.
    Abandoned,
    /// Nobody knows what is on the disk.
    Failed(String),
}

impl<F: Fn(&str)> Writer<F> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        index: db::Writer,
        fences: BTreeMap<NodeId, u64>,
        ended: Arc<Mutex<Ended>>,
        failed: F,
    ) -> Self {
        Self {
            shared,
            index,
            failed,
            ended,
            file: None,
            actives: Actives::default(),
            fences,
            pending: Vec::new(),
            unwritten: Vec::new(),
            unsynced: Vec::new(),
            sync_due: None,
            looked: None,
            told_full: None,
        }
    }

    /// Works until it is told to end or the disk fails.
    pub(crate) fn run(&mut self) {
        self.until_ended(Self::work);
    }

    /// Works; if that is the end, whoever waits is told why. Whether it goes on.
    pub(crate) fn until_ended(&mut self, work: impl FnOnce(&mut Self) -> Result<(), End>) -> bool {
        // A panic is a bug in us, and leaves the files as a failed write does.
        let work = AssertUnwindSafe(|| work(self));
        let ended = std::panic::catch_unwind(work)
            .unwrap_or_else(|_panic| Err(End::Failed("the archive's writer panicked".to_owned())));
        let why = match ended {
            Ok(()) => return true,
            Err(End::Asked) => "it is closed".to_owned(),
            Err(End::Abandoned) => "it was abandoned".to_owned(),
            Err(End::Failed(text)) => {
                tracing::error!(%text, "the archive cannot be written");
                (self.failed)(&text);
                text
            }
        };
        self.leave(&why);
        false
    }

    /// Answers everybody who still waits, and tells what is lost.
    fn leave(&mut self, why: &str) {
        let replies = self.unwritten.drain(..).chain(self.unsynced.drain(..));
        let unanswered: Vec<Reply> = replies.collect();
        let lost = unanswered.len() + self.shared.inbox.stop(why);
        unanswered.into_iter().for_each(|reply| reply(Err(Refused::Stopped(why.to_owned()))));
        let active = self.actives.len();
        for upload in self.actives.uploads() {
            tracing::warn!(%upload, "an upload was under way, and is given up");
        }
        if lost > 0 {
            tracing::warn!(lost, "operations of the archive ended without anybody knowing how");
        }
        measure::given_up(active);
        measure::lost(lost);
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Ended { active, lost };
    }

    fn work(&mut self) -> Result<(), End> {
        loop {
            let now = runtime::now();
            let due = self.sync_due.map(|due| due.saturating_duration_since(now));
            self.batch(due.map_or(IDLE, |due| due.min(IDLE)))?;
        }
    }

    /// Does everything that waits, or that comes within a while.
    pub(crate) fn batch(&mut self, patience: Duration) -> Result<(), End> {
        let (taken, ending) = self.shared.inbox.take(patience);
        if ending == Ending::Abandon {
            return Err(End::Abandoned);
        }
        for command in taken {
            self.command(command)?;
        }
        self.finish_batch()?;
        self.expire();
        if ending == Ending::Drain {
            self.close_file()?;
            self.sync()?;
            return Err(End::Asked);
        }
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Operate(operation, reply) => match self.decide(operation)? {
                Verdict::Refuse(refused) => {
                    measure::refused();
                    reply(Err(refused));
                }
                Verdict::Answer(Done::Written) => self.unwritten.push(reply),
                Verdict::Answer(Done::Synced) => self.unsynced.push(reply),
            },
            Command::Relocate(relocation, reply) => {
                self.sync()?;
                reply(self.relocate(&relocation)?);
            }
            Command::Scrubbed(at) => {
                // Only a position: losing it costs reading something twice.
                let kept = self.index.transaction(|tx| index::put_scrubbed(tx, at));
                if let Err(error) = kept {
                    tracing::warn!(%error, "how far the scrub came is not kept");
                }
            }
            Command::Broken(upload, number) => {
                // Only a note: losing it costs finding it again.
                let kept = self.index.transaction(|tx| index::put_broken(tx, &upload, number));
                if let Err(error) = kept {
                    tracing::warn!(%error, "that a sequence is broken is not kept");
                }
            }
            Command::Again(facts) => self.write_again(facts)?,
        }
        if self.file.as_ref().is_some_and(|file| file.unsynced() >= SYNC_BYTES) {
            self.sync()?;
        }
        Ok(())
    }

    /// Whether so many bytes can be appended. They then go into one file.
    pub(crate) fn room(&mut self, bytes: u64, need: Need) -> Result<Result<(), Refused>, End> {
        if self.file.as_ref().is_some_and(|file| !file.takes(bytes)) {
            self.close_file()?;
        }
        if need == Need::Bulk && !self.above_reserve() {
            // Another space may have room where this one has none.
            if self.shared.spaces.roomiest(self.shared.disk.as_ref()).is_none() {
                return Ok(Err(Refused::NoRoom));
            }
            self.close_file()?;
        }
        if self.extend(bytes, need)? {
            return Ok(Ok(()));
        }
        // The disk of this file is full: another space may have room, for a decision as well.
        let (now, other) = (self.space(), self.shared.spaces.roomiest(self.shared.disk.as_ref()));
        if now.is_none() || other.is_none() || now == other {
            return Ok(Err(Refused::NoRoom));
        }
        self.close_file()?;
        Ok(if self.extend(bytes, need)? { Ok(()) } else { Err(Refused::NoRoom) })
    }

    /// Takes room for so many bytes in the open file, or in a new one; whether there was any.
    fn extend(&mut self, bytes: u64, need: Need) -> Result<bool, End> {
        if self.file.is_none() {
            match self.new_file(need) {
                Ok(made) => self.file = made,
                Err(error) if is_full(&error) => return Ok(false),
                Err(error) => return Err(failure("make", &error)),
            }
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        match file.take_room(self.shared.disk.as_ref(), bytes) {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(failure("extend", &error)),
        }
    }

    /// The space of the open file.
    fn space(&self) -> Option<u32> {
        self.file.as_ref().map(|file| file.header.space)
    }

    /// Appends a fact, for which there is room.
    pub(crate) fn put(&mut self, fact: Fact) {
        let Some(file) = &mut self.file else { return };
        let body = fact.encode();
        let (kind, chain) = (Kind::Fact, Chain::default());
        let at = file.append(Draft { kind, partition: 0, epoch: 0, seq: 0, chain, body: &body });
        file.tally.fact(&fact);
        self.pending.push(Change::Fact(at, fact));
    }

    /// Appends a sequence, for which there is room, and says to which file.
    pub(crate) fn put_run(
        &mut self,
        sequence: Sequence,
        closing: &[u8],
        data: &[u8],
    ) -> Result<u32, End> {
        let Some(file) = &mut self.file else {
            return Err(End::Failed("a sequence has no file".to_owned()));
        };
        let at = run::write(file, &sequence, closing, data);
        // A row at once, not with the final: a start does not read closed files again to find it.
        self.pending.push(Change::Sequence(at, sequence));
        self.sync_due.get_or_insert_with(|| runtime::now() + SYNC_AFTER);
        if file.unsynced() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(at.file)
    }

    fn new_file(&self, need: Need) -> io::Result<Option<DataFile>> {
        let shared = &self.shared;
        let disk = shared.disk.as_ref();
        let space = match (shared.spaces.roomiest(disk), need) {
            (Some(space), _) => space,
            (None, Need::Bulk) => return Ok(None),
            (None, Need::Decision) => shared.spaces.first(),
        };
        let number = shared.next_file.fetch_add(1, Ordering::SeqCst);
        let Some(path) = shared.spaces.path(space, number) else { return Ok(None) };
        let (store, made_ms) = (shared.config.store, runtime::wall_ms());
        let header = Header { space, store, number, made_ms };
        let file = DataFile::create(disk, &path, header, shared.config.value_file_bytes_max)?;
        data_file::publish(&path)?;
        shared.placed().insert(number, space);
        Ok(Some(file))
    }

    fn above_reserve(&mut self) -> bool {
        let Some(file) = &self.file else { return true };
        let now = runtime::now();
        match self.looked {
            Some((looked, had)) if now.saturating_duration_since(looked) < LOOK_EVERY => had,
            _ => {
                let space = file.header.space;
                let has = self.shared.spaces.has_room(self.shared.disk.as_ref(), space);
                self.looked = Some((now, has));
                has
            }
        }
    }

    /// Writes what is appended, and answers those who waited only for that.
    fn finish_batch(&mut self) -> Result<(), End> {
        self.flush()?;
        for reply in self.unwritten.drain(..) {
            reply(Ok(Done::Written));
        }
        let due = self.sync_due.is_some_and(|due| due <= runtime::now());
        if due || !self.unsynced.is_empty() {
            self.sync()?;
        }
        *self.shared.pinned() = self.actives.files();
        measure::active(self.actives.len());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), End> {
        loop {
            let Some(file) = &mut self.file else { return Ok(()) };
            match file.flush(self.shared.disk.as_ref()) {
                Ok(()) => return Ok(()),
                // Room was taken before; a file system that does not keep it for us can still run out.
                Err(error) if is_full(&error) => self.wait_for_room(&error)?,
                Err(error) => return Err(failure("write", &error)),
            }
        }
    }

    /// Waits a moment for room on the disk, unless the archive is to end.
    fn wait_for_room(&mut self, error: &dyn Error) -> Result<(), End> {
        let now = runtime::now();
        if self.told_full.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
            tracing::warn!(%error, "the archive waits for room");
            self.told_full = Some(now);
        }
        match self.shared.inbox.pause(NO_ROOM) {
            Ending::No => Ok(()),
            Ending::Abandon => Err(End::Abandoned),
            Ending::Drain => Err(End::Failed("closed without room on the disk".to_owned())),
        }
    }

    /// Syncs, indexes, answers.
    fn sync(&mut self) -> Result<(), End> {
        let began = runtime::now();
        self.flush()?;
        let mut bytes = 0;
        if let Some(file) = &mut self.file {
            bytes = file.unsynced();
            file.sync(self.shared.disk.as_ref()).map_err(|error| failure("sync", &error))?;
        }
        self.sync_due = None;
        // More than needed until the rows are there: compaction sees sequences as pinned or as rows.
        self.shared.pinned().extend(self.actives.files());
        self.index_pending()?;
        measure::batch(runtime::now() - began, self.unsynced.len(), bytes);
        for reply in self.unsynced.drain(..) {
            reply(Ok(Done::Synced));
        }
        Ok(())
    }

    fn index_pending(&mut self) -> Result<(), End> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.pending);
        while let Err(error) =
            self.index.transaction(|tx| changes.iter().try_for_each(|change| change.write(tx)))
        {
            // The value files have it; the index takes it when there is room.
            let waited =
                if error.is_full() { self.wait_for_room(&error) } else { Err(stopped(&error)) };
            if let Err(end) = waited {
                self.shared.index.distrust();
                return Err(end);
            }
        }
        for change in changes {
            match change {
                Change::Fact(_, Fact::Collection { name, versioning, .. }) => {
                    self.shared.collections().insert(name, versioning);
                }
                Change::Fact(_, Fact::Final(made)) => {
                    measure::added(made.size);
                    self.shared.undecided().decide(&made.upload);
                }
                Change::Fact(_, Fact::Cancelled { upload, .. }) => {
                    self.shared.undecided().decide(&upload);
                }
                Change::Fact(_, Fact::WriterStarted { node, boot, .. }) => {
                    self.shared.undecided().fence(&node, boot);
                }
                Change::Fact(_, Fact::Held(held)) => self.note_held(held)?,
                Change::Sequence(_, sequence) => self.shared.debts().paid(&sequence),
                Change::Applied(applied) => {
                    self.shared.applied().insert(applied.partition, applied);
                }
                Change::Fact(..) | Change::Closed(..) => {}
            }
        }
        Ok(())
    }

    /// What is held is undecided, unless what decides it came before.
    fn note_held(&self, held: Held) -> Result<(), End> {
        let facts = self.of_upload(&held.upload)?;
        let decides = |fact: &Fact| matches!(fact, Fact::Final(_) | Fact::Cancelled { .. });
        let fenced =
            self.fences.get(&held.upload.node).is_some_and(|boot| *boot > held.upload.boot);
        if !fenced && !facts.iter().any(decides) {
            self.shared.undecided().hold(held);
        }
        Ok(())
    }

    /// Closes the open file: all that was appended to it is then synced.
    fn close_file(&mut self) -> Result<(), End> {
        self.flush()?;
        self.looked = None;
        let Some(file) = self.file.take() else { return Ok(()) };
        let header = file.header;
        let closed = file.close(self.shared.disk.as_ref(), runtime::wall_ms());
        let footer = closed.map_err(|error| failure("close", &error))?;
        self.pending.push(Change::Closed(header, footer));
        Ok(())
    }

    /// Puts facts, whose records are broken, where they can be read.
    fn write_again(&mut self, facts: Vec<Fact>) -> Result<(), End> {
        for fact in facts {
            // It may have been collected since.
            if !self.shared.index.knows(&fact).map_err(|error| stopped(&error))? {
                continue;
            }
            match self.decision(fact)? {
                Ok(_) => measure::written_again(),
                Err(refused) => {
                    tracing::warn!(%refused, "a fact is not written again: the next scrub tries");
                    break;
                }
            }
        }
        self.sync()
    }

    fn expire(&mut self) {
        let idle = self.actives.end_idle(runtime::now(), self.shared.config.idle_max);
        for upload in &idle {
            tracing::warn!(%upload, "nothing came of an upload for too long: it is given up");
        }
        if !idle.is_empty() {
            measure::given_up(idle.len());
            *self.shared.pinned() = self.actives.files();
        }
    }
}

impl Change {
    pub(crate) fn write(&self, tx: &db::Transaction<'_>) -> Result<(), db::Error> {
        match self {
            Self::Fact(at, fact) => index::put_fact(tx, *at, fact),
            Self::Sequence(at, sequence) => index::put_sequence(tx, *at, sequence),
            Self::Closed(header, footer) => {
                index::put_file(tx, header.number, header.space, footer)
            }
            Self::Applied(applied) => applied::put(tx, applied),
        }
    }
}

pub(crate) fn stopped(error: &db::Error) -> End {
    End::Failed(format!("the archive's index cannot be written: {error}"))
}

fn failure(what: &str, error: &io::Error) -> End {
    End::Failed(format!("cannot {what} a value file of the archive: {error}"))
}
