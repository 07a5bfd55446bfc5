//! Logs that lose their beginning, or are given another one's, among everything else that happens to a log.

use std::collections::BTreeMap;

use hashring::PartitionId;
use segment::LogOp;

use crate::base::{FILE, Model, is, restores, trim, without_index};
use crate::support::{Opened, append, commit, config, cut, image, open, promised, quick_folder};

/// Throws dice that can be thrown again.
struct Dice(u64);

impl Dice {
    fn next(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Random operations, restarts and crashes: everything was confirmed, so everything is there.
struct Run {
    folder: tempfile::TempDir,
    log: Option<Opened>,
    models: BTreeMap<u16, Model>,
    committed: BTreeMap<u16, u64>,
    epoch: u64,
}

impl Run {
    fn log(&self) -> &Opened {
        self.log.as_ref().unwrap()
    }

    /// One thing that changes the log of a partition.
    fn act(&mut self, id: u16, dice: &mut Dice) {
        let log = self.log.as_ref().unwrap();
        let partition = PartitionId(id);
        let model = self.models.entry(id).or_default();
        let known = self.committed.entry(id).or_default();
        let end = model.end().seq;
        match dice.next(13) {
            0..=5 => {
                let length = usize::try_from(dice.next(2500)).unwrap();
                let payload = vec![u8::try_from(dice.next(256)).unwrap(); length];
                log.write(vec![append(id, model.more(self.epoch, &[&payload, b"x"]))]);
            }
            6 => {
                self.epoch += 1;
                let after = end - dice.next(end - *known + 1);
                model.entries.truncate(usize::try_from(after).unwrap());
                let entries = model.more(self.epoch, &[b"instead"]);
                log.write(vec![cut(id, after), append(id, entries)]);
            }
            7 => {
                self.epoch += 1;
                model.promise = self.epoch;
                let promise = promised(self.epoch);
                log.write(vec![LogOp::Promise { partition, promise }]);
            }
            8 | 9 => {
                *known = (*known).max(end - dice.next(4).min(end));
                log.write(vec![commit(id, *known)]);
            }
            10 | 11 if *known > model.base.seq => {
                let base = model.base.seq + 1 + dice.next(*known - model.base.seq);
                let modulus = 1 + dice.next(4);
                model.trim(base, |seq| seq.is_multiple_of(modulus));
                trim(log, partition, model);
            }
            _ => self.take(id, dice),
        }
    }

    /// A partition is given another one's log, which is further.
    fn take(&mut self, id: u16, dice: &mut Dice) {
        let log = self.log.as_ref().unwrap();
        let partition = PartitionId(id);
        let model = self.models.entry(id).or_default();
        let known = self.committed.entry(id).or_default();
        let mut other = model.clone();
        other.entries.truncate(usize::try_from(*known).unwrap());
        self.epoch += 1;
        let payloads = vec![b"given".as_slice(); 3 + usize::try_from(dice.next(9)).unwrap()];
        other.more(self.epoch, &payloads);
        let base = other.end().seq;
        if base <= model.end().seq {
            return;
        }
        other.kept = (1..=base).filter(|_| dice.next(2) == 0).collect();
        other.base = other.place(base);
        let mut draft = log.log.draft_base(partition, other.base, 10).unwrap();
        other.there().iter().for_each(|entry| draft.entry(entry).unwrap());
        draft.finish().unwrap();
        log.write(vec![LogOp::Base { partition, base: other.base }]);
        *known = base;
        *model = other;
    }

    /// The process ends in one way or another, and the next begins.
    fn restart(&mut self, dice: &mut Dice) {
        let how = dice.next(3);
        let log = self.log.take().unwrap();
        if how == 0 {
            let copy = image(self.folder.path());
            log.log.abandon();
            self.folder = copy;
        }
        drop(log);
        if how == 1 {
            without_index(self.folder.path());
        }
        self.log = Some(open(config(self.folder.path(), FILE)));
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let folder = quick_folder();
    let log = Some(open(config(folder.path(), FILE)));
    let (models, committed) = (BTreeMap::new(), BTreeMap::new());
    let mut run = Run { folder, log, models, committed, epoch: 1 };
    for _act in 0..80 {
        match dice.next(16) {
            0..=2 => run.restart(&mut dice),
            _ => {
                let id = u16::try_from(dice.next(3)).unwrap();
                run.act(id, &mut dice);
            }
        }
        for (id, model) in &run.models {
            is(run.log(), PartitionId(*id), model);
        }
    }
    drop(run.log.take());
    for forgets in [false, true] {
        if forgets {
            without_index(run.folder.path());
        }
        let log = open(config(run.folder.path(), FILE));
        for (id, model) in &run.models {
            restores(&log, PartitionId(*id), model);
        }
    }
}

#[test]
fn whatever_is_done_in_whatever_order_what_is_kept_is_there() {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..60).for_each(run),
    }
}
