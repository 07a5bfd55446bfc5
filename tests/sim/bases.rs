//! What logs stand on, in a simulated world: base files as they are written, given, taken and lost.
//!
//! A file knows more than a real one: beside what is kept it has every entry up to its place, so that whatever
//! is checked of a log can be checked of one that lost its beginning. Nobody is given those to read.

use std::collections::BTreeSet;

use bytes::Bytes;
use hashring::PartitionId;
use rand::RngExt;
use replication::core::{Event, Kept, Step};
use segment::{Base, LogEnd, LogEntry};

use crate::agenda::{Happening, Time, ms};
use crate::disk::{Pace, image};
use crate::invariants::{Verdict, must};
use crate::node::Came;
use crate::world::World;

/// A base file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseFile {
    pub(crate) base: Base,
    /// What was made of the log.
    pub(crate) parts: Vec<Bytes>,
    /// Which entries can be read.
    pub(crate) kept: BTreeSet<u64>,
    /// All of them.
    pub(crate) ghost: Vec<LogEntry>,
}

/// What a disk does about base files.
#[derive(Debug)]
pub(crate) enum BaseWork {
    /// Reads a piece of the one that the log stands on.
    Read { partition: PartitionId, request: u64, at: u64, bytes_max: usize },
    /// Keeps a piece of another node's.
    Keep { partition: PartitionId, base: Base, at: u64, piece: Bytes },
    /// Is synced: a log may begin with it.
    Sync { partition: PartitionId, base: Base },
}

impl BaseFile {
    /// Of the first entries of a log; its contents are as long as its place says.
    pub(crate) fn new(
        place: LogEnd,
        parts: Vec<Bytes>,
        kept: BTreeSet<u64>,
        ghost: Vec<LogEntry>,
    ) -> Self {
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(place.chain.0) {
            *to = from;
        }
        digest[16] = u8::try_from(kept.len() % 251).unwrap_or(0);
        let bytes =
            100 + 40 * kept.len() as u64 + parts.iter().map(|it| it.len() as u64).sum::<u64>();
        let base = Base { place, bytes, entries: kept.len() as u64, digest };
        Self { base, parts, kept, ghost }
    }
}

impl World {
    /// Now and then the log of a node begins later, where nobody reads what was before.
    pub(crate) fn trims(&mut self) -> Verdict {
        let Some((shortest, longest)) = self.setup.trims else { return Ok(()) };
        if !self.busy {
            return Ok(());
        }
        let delay = self.random.random_range(shortest..=longest);
        self.agenda.after(delay, Happening::Trims);
        let partition = PartitionId(self.random.random_range(0..self.setup.partitions));
        let node = self.random.random_range(0..self.nodes.len());
        let Some(life) = self.nodes[node].awake() else { return Ok(()) };
        let view = life.core.view(partition);
        let log = image(&self.nodes[node].disk.durable, partition);
        let known = match self.setup.sabotage.trim_early {
            true => log.end().seq,
            false => view.commit.min(log.end().seq),
        };
        let back = self.random.random_range(0..12);
        let seq = known.saturating_sub(back);
        let Some(place) = log.at(seq).filter(|_| seq > log.base.seq) else { return Ok(()) };
        // Whoever makes a base of a log reads all of it, and believes what has the chain that is committed.
        let lies = log.altered.is_some_and(|first| first <= seq);
        if lies || log.unreadable.range(..=seq).next().is_some() {
            return Ok(());
        }
        let kept = (1..=seq).filter(|seq| seq.is_multiple_of(5)).collect();
        let ghost = log.entries.iter().take(usize::try_from(seq).unwrap_or(0)).cloned().collect();
        let file = BaseFile::new(place, Vec::new(), kept, ghost);
        self.prepared(node, partition, file);
        Ok(())
    }

    /// What a log may begin with is on the disk.
    pub(crate) fn prepared(&mut self, node: usize, partition: PartitionId, file: BaseFile) {
        let base = file.base.place;
        self.files.insert((partition, file.base.digest), file.clone());
        self.nodes[node].disk.prepare(partition, file);
        self.tell(node, Came::Event(Event::Trimmable { partition, base }));
    }

    /// A core wants something done about what logs stand on.
    pub(crate) fn base_step(&mut self, node: usize, boot: u64, step: Step) -> Verdict {
        match step {
            Step::ReadBase { partition, request, at, bytes_max } => {
                self.counts.reads += 1;
                let work = BaseWork::Read { partition, request, at, bytes_max };
                self.base_work(node, boot, work);
            }
            Step::Keep { partition, base, at, piece } => {
                self.base_work(node, boot, BaseWork::Keep { partition, base, at, piece });
            }
            _ => {}
        }
        Ok(())
    }

    /// The disk begins with something.
    pub(crate) fn base_work(&mut self, node: usize, boot: u64, work: BaseWork) {
        let disk = &self.nodes[node].disk;
        let longest: Time = match (&work, disk.pace) {
            (BaseWork::Sync { .. }, Pace::Normal) => ms(20),
            (BaseWork::Sync { .. }, _) => ms(400),
            (_, Pace::Normal) => ms(2),
            (_, _) => ms(50),
        };
        let delay = self.random.random_range(50..longest);
        // One thread does all of it in order.
        let at = self.nodes[node].disk.bases_free.max(self.agenda.now()) + delay;
        self.nodes[node].disk.bases_free = at;
        self.agenda.at(at, Happening::BaseWorked { node, boot, work });
    }

    /// It is done.
    pub(crate) fn base_worked(&mut self, node: usize, boot: u64, work: BaseWork) -> Verdict {
        if self.nodes[node].life_of(boot).is_none() {
            return Ok(());
        }
        let fails = self.random.random_ratio(self.setup.unread_per_mille, 1000);
        let disk = &mut self.nodes[node].disk;
        let event = match work {
            BaseWork::Read { partition, request, at, bytes_max } => {
                let file = disk.file(partition).filter(|_| !fails);
                let base = file.map(|file| file.base).unwrap_or_default();
                let piece = file.map(|_| {
                    let left = usize::try_from(base.bytes.saturating_sub(at)).unwrap_or(0);
                    Bytes::from(vec![0; left.min(bytes_max)])
                });
                Event::BaseRead { partition, request, base, at, piece }
            }
            BaseWork::Keep { partition, base, at, piece } => {
                let have = disk.taking.get(&partition).filter(|(of, _)| *of == base.digest);
                let have = have.map_or(0, |(_, have)| *have);
                let last = at + piece.len() as u64;
                let have = if at == have && !fails { last } else { have };
                must(have <= base.bytes, "I15", || format!("{last} bytes of {base:?}"))?;
                disk.taking.insert(partition, (base.digest, have));
                if have == base.bytes && base.bytes > 0 {
                    self.base_work(node, boot, BaseWork::Sync { partition, base });
                    return Ok(());
                }
                let kept = if fails { Kept::Nothing } else { Kept::Some(have) };
                Event::Kept { partition, base, kept }
            }
            BaseWork::Sync { partition, base } => {
                let file = self.files.get(&(partition, base.digest)).cloned();
                let Some(file) = file else {
                    return must(false, "R31", || format!("nobody wrote {base:?}"));
                };
                disk.taking.remove(&partition);
                disk.prepare(partition, file);
                self.counts.bases_taken += 1;
                Event::Kept { partition, base, kept: Kept::All }
            }
        };
        self.tell(node, Came::Event(event));
        Ok(())
    }
}
