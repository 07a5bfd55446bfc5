//! What a world is made of: sizes, delays, bounds and the weather, all out of one seed.

use std::collections::BTreeSet;
use std::time::Duration;

use chat::{Collect, Trim};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use replication::core::{Limits, Sabotage, Timings};

use crate::agenda::{Time, ms};
use crate::chats::ChatSetup;
use crate::chats::people::Habits;
use crate::faults::{self, Kind};
use crate::network::Travel;
use crate::objects::ObjectSetup;
use crate::registry::Manners;

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) partitions: u16,
    /// How many members a partition should have.
    pub(crate) copies: usize,
    /// How many it has at first.
    pub(crate) members: usize,
    /// There is a ring, and ensembles follow it.
    pub(crate) ring: bool,
    /// For each node, how many members make a commit in epochs that it opens.
    pub(crate) commits: Vec<u8>,
    pub(crate) timings: Timings,
    pub(crate) limits: Limits,
    pub(crate) sabotage: Sabotage,
    pub(crate) travel: Travel,
    pub(crate) manners: Manners,
    /// The shortest and the longest time between two things that clients do; none without clients.
    pub(crate) load: Option<(Time, Time)>,
    /// The shortest and the longest time between two logs that begin later, where nobody reads them.
    pub(crate) trims: Option<(Time, Time)>,
    /// How many of a thousand reads of a log fail, until everything is well.
    pub(crate) unread_per_mille: u32,
    /// When trouble comes.
    pub(crate) plan: Vec<(Time, Kind)>,
    /// How often data may be lost: where the rules promise to survive it.
    pub(crate) losses: u32,
    /// When everything is well again.
    pub(crate) healed: Time,
    /// Disks forget files whose names were not synced, and nobody syncs names.
    pub(crate) unnamed: bool,
    /// Keeps the trace as text.
    pub(crate) readable: bool,
    /// Chats and their clients, instead of entries that nobody reads.
    pub(crate) chats: Option<ChatSetup>,
    /// Objects and their clients instead.
    pub(crate) objects: Option<ObjectSetup>,
}

impl Setup {
    /// A world in which nothing goes wrong by itself: schedules do everything by hand.
    pub(crate) fn calm(nodes: usize, commit: u8) -> Self {
        Self {
            seed: 1,
            partitions: 1,
            copies: 3.min(nodes),
            members: 3.min(nodes),
            ring: false,
            commits: vec![commit; nodes],
            timings: Timings::default(),
            limits: Limits::default(),
            sabotage: Sabotage::default(),
            travel: Travel { usual: (100, 500), late_per_mille: 0, longest: ms(1), idle: ms(2000) },
            manners: Manners { unknown_per_mille: 0, stale_per_mille: 0, longest: ms(2) },
            load: None,
            trims: None,
            unread_per_mille: 0,
            plan: Vec::new(),
            losses: 0,
            healed: 0,
            unnamed: false,
            readable: true,
            chats: None,
            objects: None,
        }
    }

    /// The world of a seed. Each has some kinds of faults and not others, so that long stretches
    /// without a crash are seen as well as storms of them.
    pub(crate) fn random(seed: u64, sabotage: Sabotage) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let nodes = *pick(&mut random, &[3, 3, 3, 3, 4, 5]);
        let copies = if nodes > 3 && random.random_bool(0.3) { nodes.min(4) } else { 3 };
        let commit = *pick(&mut random, &[2, 2, 2, 2, 2, 1, 3]);
        let mut commits = vec![commit; nodes];
        if random.random_bool(0.1) {
            commits.iter_mut().for_each(|commit| *commit = random.random_range(1..=3));
        }
        let kinds: BTreeSet<Kind> =
            Kind::ALL.into_iter().filter(|_| random.random_bool(0.4)).collect();
        let healed = ms(random.random_range(7_000..16_000));
        let bears_a_loss = commits.iter().all(|commit| *commit == 2) && copies == 3;
        let plan = faults::plan(&mut random, &kinds, (ms(1_500), healed));
        let slow = random.random_bool(0.2);
        let disturbed = |random: &mut StdRng| if random.random_bool(0.5) { 0 } else { 150 };
        // Of dice of their own, so that the worlds are what they were.
        let mut trims = StdRng::seed_from_u64(seed ^ 0x7472_696d);
        let often = *pick(&mut trims, &[(ms(20), ms(200)), (ms(100), ms(900))]);
        let rate = trims.random_bool(0.3).then(|| trims.random_range(200_000..2_000_000));
        let trims = trims.random_bool(0.6).then_some(often);
        Self {
            seed,
            partitions: random.random_range(1..=3),
            copies,
            members: copies,
            ring: false,
            commits,
            timings: Timings::default(),
            limits: Limits { catch_up_rate: rate, ..limits(&mut random) },
            sabotage,
            travel: Travel {
                usual: if slow { (ms(1), ms(25)) } else { (80, 900) },
                late_per_mille: *pick(&mut random, &[0, 10, 100]),
                longest: ms(80),
                idle: *pick(&mut random, &[ms(400), ms(2_000), ms(6_000)]),
            },
            manners: Manners {
                unknown_per_mille: disturbed(&mut random),
                stale_per_mille: disturbed(&mut random),
                longest: *pick(&mut random, &[ms(3), ms(3), ms(60)]),
            },
            load: Some(*pick(&mut random, &[(ms(5), ms(60)), (ms(1), ms(30)), (ms(40), ms(400))])),
            trims,
            unread_per_mille: disturbed(&mut random),
            plan,
            losses: u32::from(bears_a_loss),
            healed,
            unnamed: false,
            readable: false,
            chats: None,
            objects: None,
        }
    }
}

impl Setup {
    /// The world of a seed in which ensembles change.
    pub(crate) fn random_ring(seed: u64, sabotage: Sabotage) -> Self {
        Self::random(seed, sabotage).with_ring(seed)
    }

    /// The world of a seed in which disks lie or records vanish.
    pub(crate) fn random_losses(seed: u64, sabotage: Sabotage) -> Self {
        let base = Self::random(seed, sabotage);
        let mut random = StdRng::seed_from_u64(seed ^ 0x6c69_6573);
        let mut plan = base.plan;
        // What the rules promise to survive is one loss: this one.
        plan.retain(|(_, kind)| *kind != Kind::Lose);
        let kind = *pick(&mut random, &[Kind::Alter, Kind::Alter, Kind::Rot, Kind::Vanish]);
        let kinds = BTreeSet::from([kind]);
        plan.extend(faults::plan(&mut random, &kinds, (ms(3_000), base.healed)));
        let commits = vec![2; base.commits.len()];
        Self { commits, copies: 3, members: 3, losses: 1, plan, ..base }
    }

    /// The same with a ring: more nodes than hold a partition, that come, go and leave.
    pub(crate) fn with_ring(self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x7269_6e67);
        let nodes = random.random_range(4..7);
        let copies = 3;
        let members = *pick(&mut random, &[3, 3, 3, 2, 1]);
        let commit = *pick(&mut random, &[2, 2, 2, 2, 1, 3]);
        let timings = Timings {
            settle: Duration::from_millis(random.random_range(200..2_000)),
            dead: Duration::from_millis(random.random_range(1_500..5_000)),
            ..self.timings
        };
        let kinds = BTreeSet::from([Kind::Leave, Kind::Gone]);
        let mut plan = self.plan;
        plan.extend(faults::plan(&mut random, &kinds, (ms(1_500), self.healed)));
        let losses = u32::from(commit == 2 && members == 3);
        let commits = vec![commit; nodes];
        Self { commits, copies, members, timings, plan, losses, ring: true, ..self }
    }

    /// The world of a seed with chats in it.
    pub(crate) fn random_chats(seed: u64, sabotage: chat::Sabotage) -> Self {
        let base = Self::random(seed, Sabotage::default());
        let mut random = StdRng::seed_from_u64(seed ^ 0x6368_6174);
        let habits = Habits {
            persons: random.random_range(3..8),
            chats: random.random_range(1..4),
            pause: *pick(&mut random, &[(ms(5), ms(60)), (ms(20), ms(300)), (ms(100), ms(900))]),
            ends: random.random_bool(0.4),
            ends_per_mille: 0,
            plain: random.random_bool(0.6),
            swaps: random.random_bool(0.5),
        };
        let config = chat::Config {
            recent_bytes_max: *pick(&mut random, &[1, 4_000, 64 << 20]),
            waiting_max: *pick(&mut random, &[2, 5_000]),
            snapshot_entries: if seed.is_multiple_of(4) { 4096 } else { 1 + seed % 16 },
            sabotage,
            ..chat::Config::default()
        };
        let chats = ChatSetup {
            config,
            habits,
            busy_per_mille: *pick(&mut random, &[0, 0, 5]),
            lost_per_mille: *pick(&mut random, &[0, 10, 50]),
        };
        let mut plan = base.plan;
        if random.random_bool(0.5) {
            let clocks = BTreeSet::from([Kind::Clock]);
            plan.extend(faults::plan(&mut random, &clocks, (ms(1_500), base.healed)));
        }
        let partitions = *pick(&mut random, &[1, 1, 2]);
        let ring = random.random_bool(0.3);
        let mut chats = chats;
        if chats.habits.ends && random.random_bool(0.6) {
            chats.habits.ends_per_mille = 150;
            chats.config.collect = Collect {
                every: Duration::from_millis(random.random_range(50..1_000)),
                pause: Duration::from_millis(10),
                forget: Some(Duration::from_millis(random.random_range(0..4_000))),
                ..Collect::default()
            };
        }
        let mut trims = StdRng::seed_from_u64(seed ^ 0x6261_7365);
        if trims.random_bool(0.5) {
            let entries = trims.random_range(2..40);
            chats.config.trim = Some(Trim { entries, bytes: trims.random_range(500..20_000) });
        }
        let setup = Self { partitions, load: None, plan, chats: Some(chats), ..base };
        if ring { setup.with_ring(seed) } else { setup }
    }
}

/// The real bounds, or such narrow ones that a run meets them.
fn limits(random: &mut StdRng) -> Limits {
    let limits = Limits::default();
    if random.random_bool(0.5) {
        return limits;
    }
    Limits {
        uncommitted_entries_max: random.random_range(4..40),
        uncommitted_bytes_max: random.random_range(2_000..40_000),
        waiting_max: random.random_range(4..40),
        in_flight_entries_max: random.random_range(2..40),
        append_entries_max: random.random_range(1..10),
        append_bytes_max: random.random_range(600..4_000),
        tail_entries_max: random.random_range(1..40),
        ..limits
    }
}

pub(crate) fn pick<'a, T>(random: &mut StdRng, of: &'a [T]) -> &'a T {
    &of[random.random_range(0..of.len())]
}
