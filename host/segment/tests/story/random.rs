//! Random operations, restarts and crashes, against a model.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use segment::LogOp;

use crate::support::{
    Expected, Opened, append, apply, commit, config, cut, follow, image, open, promise,
    quick_folder,
};

/// A small file, so that there are several.
const FILE: u64 = 16 << 10;

#[derive(Clone, Debug)]
enum Act {
    /// Appends entries of these lengths.
    Append(u16, Vec<u16>),
    /// Drops so many of the uncommitted entries, in a new epoch.
    Cut(u16, u8),
    Promise(u16),
    /// Commits all but so many entries.
    Commit(u16, u8),
    /// Waits for the disk.
    Wait,
    Restart,
    /// Ends without a goodbye.
    Abandon,
    /// Goes on with a copy of the folder as it is while the log is open.
    Image,
    /// A restart without the index.
    Forget,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let partition = || 0..3_u16;
    vec(
        prop_oneof![
            8 => (partition(), vec(0..2000_u16, 1..5)).prop_map(|(id, sizes)| Act::Append(id, sizes)),
            2 => (partition(), any::<u8>()).prop_map(|(id, count)| Act::Cut(id, count)),
            1 => partition().prop_map(Act::Promise),
            3 => (partition(), 0..4_u8).prop_map(|(id, left)| Act::Commit(id, left)),
            2 => proptest::strategy::Just(Act::Wait),
            1 => proptest::strategy::Just(Act::Restart),
            1 => proptest::strategy::Just(Act::Abandon),
            1 => proptest::strategy::Just(Act::Image),
            1 => proptest::strategy::Just(Act::Forget),
        ],
        1..40,
    )
}

/// The log, what it should hold, and what of that was confirmed.
struct Run {
    folder: tempfile::TempDir,
    log: Option<Opened>,
    model: BTreeMap<u16, Expected>,
    committed: BTreeMap<u16, u64>,
    epoch: u64,
    last: u64,
}

impl Run {
    fn new() -> Self {
        let folder = quick_folder();
        let log = Some(open(config(folder.path(), FILE)));
        let (model, committed) = (BTreeMap::new(), BTreeMap::new());
        Self { folder, log, model, committed, epoch: 1, last: 0 }
    }

    fn submit(&mut self, op: LogOp) {
        apply(&mut self.model, &op);
        self.last = self.log.as_ref().unwrap().submit(vec![op]);
    }

    fn wait(&mut self) {
        if self.last > 0 {
            self.log.as_ref().unwrap().written(self.last);
            self.last = 0;
        }
    }

    fn reopen(&mut self) {
        self.log = None;
        self.last = 0;
        let log = open(config(self.folder.path(), FILE));
        assert_eq!(log.recovered.damages, []);
        log.restored(&self.model);
        log.holds(&self.model);
        for (partition, seq) in &self.committed {
            let restored = log.recovered.partitions.get(&hashring::PartitionId(*partition));
            let hint = restored.map_or(0, |restored| restored.commit);
            assert!(hint <= *seq, "partition {partition}");
        }
        self.log = Some(log);
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Append(partition, sizes) => {
                let payloads: Vec<Vec<u8>> = sizes
                    .iter()
                    .map(|size| vec![size.to_le_bytes()[0]; usize::from(*size)])
                    .collect();
                let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                let before = self.model.entry(partition).or_default();
                let entries = follow(&before.entries, self.epoch, &payloads);
                self.submit(append(partition, entries));
            }
            Act::Cut(partition, count) => {
                let end = self.model.get(&partition).map_or(0, |log| log.entries.len() as u64);
                let committed = self.committed.get(&partition).copied().unwrap_or(0);
                let after = end.saturating_sub(u64::from(count)).max(committed);
                self.epoch += 1;
                self.submit(cut(partition, after));
            }
            Act::Promise(partition) => {
                self.epoch += 1;
                self.submit(promise(partition, self.epoch));
            }
            Act::Commit(partition, left) => {
                let end = self.model.get(&partition).map_or(0, |log| log.entries.len() as u64);
                let committed = self.committed.entry(partition).or_default();
                *committed = end.saturating_sub(u64::from(left)).max(*committed);
                let seq = *committed;
                self.submit(commit(partition, seq));
            }
            Act::Wait => {
                self.wait();
                self.log.as_ref().unwrap().holds(&self.model);
            }
            Act::Restart => self.reopen(),
            Act::Abandon => {
                self.wait();
                self.log.as_ref().unwrap().log.abandon();
                self.reopen();
            }
            Act::Image => {
                self.wait();
                let copy = image(self.folder.path());
                self.log = None;
                self.folder = copy;
                self.reopen();
            }
            Act::Forget => {
                self.log = None;
                for file in std::fs::read_dir(self.folder.path()).unwrap() {
                    let path = file.unwrap().path();
                    if path.file_name().unwrap().to_str().unwrap().starts_with("index") {
                        std::fs::remove_file(path).unwrap();
                    }
                }
                self.reopen();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn whatever_happens_the_log_is_what_the_model_says(acts in acts()) {
        let mut run = Run::new();
        for act in acts {
            run.act(act);
        }
        run.reopen();
    }
}
