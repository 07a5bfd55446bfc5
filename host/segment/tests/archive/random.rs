//! Whatever is done, keeping the archive changes nothing that anybody sees.

use bytes::Bytes;
use proptest::prelude::*;
use segment::archive::{Operation, Slice};
use tempfile::TempDir;

use crate::support::{
    HOUR, Opened, at, closing, config, entire, everything, folder, noise, part_opening, try_open,
};

/// Something that is done.
#[derive(Clone, Debug)]
enum Step {
    Put { name: Name, size: usize },
    Delete { name: Name },
    DeleteVersion { which: usize },
    Conjoined { name: Name, parts: u32, abort: bool },
    Compact { hours: u64 },
    Restart { rebuild: bool },
}

/// A key of one of the collections.
type Name = (bool, u8);

fn any_step() -> impl Strategy<Value = Step> {
    let name = (any::<bool>(), 0..3_u8);
    prop_oneof![
        6 => (name.clone(), 0..60_000_usize).prop_map(|(name, size)| Step::Put { name, size }),
        2 => name.clone().prop_map(|name| Step::Delete { name }),
        3 => any::<usize>().prop_map(|which| Step::DeleteVersion { which }),
        2 => (name, 1..4_u32, any::<bool>())
            .prop_map(|(name, parts, abort)| Step::Conjoined { name, parts, abort }),
        3 => (1..400_u64).prop_map(|hours| Step::Compact { hours }),
        2 => any::<bool>().prop_map(|rebuild| Step::Restart { rebuild }),
    ]
}

struct World {
    folder: TempDir,
    opened: Option<Opened>,
    /// The version that is made next.
    version: u64,
    now: u64,
    /// Versions that were made.
    made: Vec<(&'static str, String, u64)>,
}

fn name((collection, key): Name) -> (&'static str, String) {
    (if collection { "plain" } else { "kept" }, format!("k{key}"))
}

impl World {
    fn new() -> Self {
        let (folder, made) = (folder(), Vec::new());
        let mut world = Self { folder, opened: None, version: 100, now: HOUR, made };
        world.start();
        world.opened().collections();
        world
    }

    fn start(&mut self) {
        let mut config = config(self.folder.path());
        // Small files, so that there are several.
        config.value_file_bytes_max = 150_000;
        let opened = try_open(config).unwrap();
        assert_eq!(opened.found.damages, []);
        self.opened = Some(opened);
    }

    fn opened(&self) -> &Opened {
        self.opened.as_ref().unwrap()
    }

    /// What anybody can see. Bytes that are hidden and not collected count as used, and nobody sees them.
    fn shown(&self) -> Vec<String> {
        let all = everything(self.opened()).into_iter();
        all.filter(|line| !line.contains("Usage")).collect()
    }

    fn step(&mut self, step: &Step) {
        self.version += 1;
        match step {
            Step::Put { name: of, size } => self.put(name(*of), *size),
            Step::Delete { name: of } => {
                let (collection, key) = name(*of);
                let at = at(collection, &key, self.version);
                let time_ms = self.now;
                self.opened().done(Operation::Destroy { at, target: None, time_ms });
                assert_eq!(self.opened().versions(collection, &key), [] as [u64; 0]);
            }
            Step::DeleteVersion { which } => self.delete_version(*which),
            Step::Conjoined { name: of, parts, abort } => {
                self.conjoined(name(*of), *parts, *abort);
            }
            Step::Compact { hours } => {
                self.now += hours * HOUR;
                let before = self.shown();
                self.opened().archive.compact(self.now).unwrap();
                assert_eq!(self.shown(), before);
            }
            Step::Restart { rebuild } => self.restart(*rebuild),
        }
    }

    fn put(&mut self, (collection, key): (&'static str, String), size: usize) {
        let data = noise(self.version, size);
        let mut operation = entire(collection, &key, self.version, &data);
        if let Operation::Entire { closing, .. } = &mut operation {
            closing.time_ms = self.now;
        }
        self.opened().done(operation);
        assert_eq!(self.opened().get(collection, &key).unwrap(), data);
        self.made.push((collection, key, self.version));
    }

    fn delete_version(&self, which: usize) {
        if self.made.is_empty() {
            return;
        }
        let (collection, key, target) = &self.made[which % self.made.len()];
        let at = at(collection, key, self.version);
        let target_id = Some(segment::archive::UnifiedId(*target));
        let time_ms = self.now;
        // It may be collected already.
        let _done = self.opened().perform(Operation::Destroy { at, target: target_id, time_ms });
        assert!(!self.opened().versions(collection, key).contains(target));
    }

    fn conjoined(&mut self, (collection, key): (&'static str, String), parts: u32, abort: bool) {
        let (at, time_ms) = (at(collection, &key, self.version), self.now);
        self.opened().done(Operation::StartConjoined { at: at.clone(), time_ms });
        for part in 1..=parts {
            let data = Bytes::from(vec![7; 5000]);
            let mut closing = closing(self.version, &data);
            closing.time_ms = time_ms;
            let count = self.version * 1000 + u64::from(part);
            let opening = part_opening(collection, &key, count, part);
            let slice = Slice::of(0, data);
            self.opened().done(Operation::Entire { opening, slice, closing });
        }
        self.opened().done(if abort {
            Operation::AbortConjoined { at, time_ms }
        } else {
            Operation::FinishConjoined { at, parts, time_ms }
        });
        self.made.push((collection, key, self.version));
    }

    fn restart(&mut self, rebuild: bool) {
        let before = self.shown();
        self.opened = None;
        if rebuild {
            std::fs::remove_file(self.folder.path().join("home/index.sqlite")).unwrap();
        }
        self.start();
        assert_eq!(self.shown(), before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    #[test]
    fn keeping_changes_nothing_that_anybody_sees(
        steps in proptest::collection::vec(any_step(), 1..30),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.restart(true);
    }
}
