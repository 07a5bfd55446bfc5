//! What goes wrong, and how it is planned.
//!
//! Every fault has an end, and none begins or ends after its world is healed; so what holds then is not
//! by luck.

use std::collections::BTreeSet;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::agenda::{Time, ms};
use crate::disk::Pace;
use crate::node::Wall;

/// One change for the worse, or back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is gone without a word, to be started again after a while.
    Crash {
        node: usize,
        down: Time,
    },
    /// As a crash, and the disk lost its last entries.
    Damage {
        node: usize,
        down: Time,
        entries: usize,
    },
    /// As a crash, and what the disk holds of a partition says something else from some place on that all
    /// members have.
    Alter {
        node: usize,
        down: Time,
    },
    /// An entry that all members have cannot be read on this node any more.
    Rot {
        node: usize,
    },
    /// A partition's record is deleted.
    Vanish {
        partition: u16,
    },
    /// As a crash, and the data directory is a new one.
    Wipe {
        node: usize,
        down: Time,
    },
    /// All processes are gone at once.
    CrashAll {
        down: Time,
    },
    /// A connection ends.
    Break {
        pair: (usize, usize),
    },
    /// Nothing goes from one node to another.
    Cut {
        from: usize,
        to: usize,
    },
    Uncut {
        from: usize,
        to: usize,
    },
    /// Nothing goes to or from a node.
    Isolate {
        node: usize,
    },
    Join {
        node: usize,
    },
    /// The process stands still.
    Pause {
        node: usize,
    },
    Resume {
        node: usize,
    },
    /// The writer becomes slow, hangs, or is well again.
    Pace {
        node: usize,
        pace: Pace,
    },
    Full {
        node: usize,
        full: bool,
    },
    Session {
        node: usize,
        up: bool,
    },
    Ready {
        node: usize,
        ready: bool,
    },
    HandOver {
        partition: u16,
    },
    /// A node is to give everything away; it is stopped and started again later.
    Drain {
        node: usize,
    },
    /// A node's wall clock jumps, or is well again.
    Clock {
        node: usize,
        wall: Wall,
    },
    /// A node is to leave for good, or to stay after all.
    Leave {
        node: usize,
        leaving: bool,
    },
    /// A node's place on the ring comes or goes.
    Ring {
        node: usize,
        on: bool,
    },
    /// A node's wall clock stands still.
    Freeze {
        node: usize,
    },
    /// Everything is well again.
    Heal,
}

/// When, and what.
pub(crate) type Planned = (Time, Fault);

/// Faults that a run has or has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Crash,
    CrashAll,
    Lose,
    Break,
    OneWay,
    Isolate,
    Flap,
    Pause,
    SlowDisk,
    HungDisk,
    Full,
    Session,
    Ready,
    HandOver,
    Drain,
    Clock,
    Leave,
    Gone,
    Alter,
    Rot,
    Vanish,
}

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
        Self::Crash,
        Self::CrashAll,
        Self::Lose,
        Self::Break,
        Self::OneWay,
        Self::Isolate,
        Self::Flap,
        Self::Pause,
        Self::SlowDisk,
        Self::HungDisk,
        Self::Full,
        Self::Session,
        Self::Ready,
        Self::HandOver,
        Self::Drain,
    ];
}

/// When trouble of which kind comes, between two times. Whom it hits is decided then.
pub(crate) fn plan(
    random: &mut StdRng,
    kinds: &BTreeSet<Kind>,
    (from, to): (Time, Time),
) -> Vec<(Time, Kind)> {
    let kinds: Vec<Kind> = kinds.iter().copied().collect();
    let count = if kinds.is_empty() { 0 } else { random.random_range(2..20) };
    let mut one = |_| (random.random_range(from..to), kinds[random.random_range(0..kinds.len())]);
    (0..count).map(&mut one).collect()
}

/// A fault of a kind that hits a node now, and its end: what happens when.
pub(crate) fn of_kind(
    random: &mut StdRng,
    kind: Kind,
    (node, nodes): (usize, usize),
    at: Time,
) -> Vec<Planned> {
    let mut plan = Vec::new();
    let peer = (node + random.random_range(1..nodes)) % nodes;
    let lasts = ms(if random.random_bool(0.3) {
        random.random_range(1..400)
    } else {
        random.random_range(400..6_000)
    });
    let end = at + lasts;
    let mut lasting = |begin: Fault, over: Fault| plan.extend([(at, begin), (end, over)]);
    match kind {
        Kind::Crash => plan.push((at, Fault::Crash { node, down: lasts / 2 })),
        Kind::CrashAll => plan.push((at, Fault::CrashAll { down: lasts / 4 })),
        Kind::Lose if random.random_bool(0.3) => {
            plan.push((at, Fault::Wipe { node, down: lasts / 2 }));
        }
        Kind::Lose => {
            let entries = random.random_range(1..20);
            plan.push((at, Fault::Damage { node, down: lasts / 2, entries }));
        }
        Kind::Alter => plan.push((at, Fault::Alter { node, down: lasts / 4 })),
        Kind::Vanish => plan.push((at, Fault::Vanish { partition: random.random_range(0..3) })),
        Kind::Rot => plan.push((at, Fault::Rot { node })),
        Kind::Break => plan.push((at, Fault::Break { pair: (node.min(peer), node.max(peer)) })),
        Kind::OneWay => {
            lasting(Fault::Cut { from: node, to: peer }, Fault::Uncut { from: node, to: peer });
        }
        Kind::Isolate => lasting(Fault::Isolate { node }, Fault::Join { node }),
        Kind::Flap => {
            for turn in 0..random.random_range(2..8) {
                let begin = at + turn * ms(random.random_range(50..900));
                plan.push((begin, Fault::Cut { from: node, to: peer }));
                let over = begin + ms(random.random_range(10..600));
                plan.push((over, Fault::Uncut { from: node, to: peer }));
            }
        }
        Kind::Pause => lasting(Fault::Pause { node }, Fault::Resume { node }),
        Kind::SlowDisk | Kind::HungDisk => {
            let pace = if kind == Kind::SlowDisk { Pace::Slow } else { Pace::Hung };
            lasting(Fault::Pace { node, pace }, Fault::Pace { node, pace: Pace::Normal });
        }
        Kind::Full => lasting(Fault::Full { node, full: true }, Fault::Full { node, full: false }),
        Kind::Session => {
            lasting(Fault::Session { node, up: false }, Fault::Session { node, up: true });
        }
        Kind::Ready => {
            lasting(Fault::Ready { node, ready: false }, Fault::Ready { node, ready: true });
        }
        Kind::Leave => lasting(
            Fault::Leave { node, leaving: true },
            Fault::Leave { node, leaving: random.random_bool(0.3) },
        ),
        Kind::Gone => {
            plan.push((at, Fault::Crash { node, down: lasts }));
            plan.push((at + ms(random.random_range(0..1_000)), Fault::Ring { node, on: false }));
            plan.push((end + ms(1_000), Fault::Ring { node, on: true }));
        }
        Kind::Clock => {
            let hours = [-25, -1, 1, 25][random.random_range(0..4)];
            let wall = Wall { shift_ms: hours * 3_600_000, frozen: None };
            let well = Wall::default();
            match random.random_range(0..3) {
                0 => plan.push((at, Fault::Clock { node, wall })),
                1 => plan.extend([
                    (at, Fault::Clock { node, wall }),
                    (end, Fault::Clock { node, wall: well }),
                ]),
                _ => plan.extend([
                    (at, Fault::Freeze { node }),
                    (end, Fault::Clock { node, wall: well }),
                ]),
            }
        }
        Kind::HandOver => plan.push((at, Fault::HandOver { partition: random.random_range(0..3) })),
        Kind::Drain => {
            plan.push((at, Fault::Drain { node }));
            plan.push((end, Fault::Crash { node, down: lasts / 4 }));
        }
    }
    plan
}
