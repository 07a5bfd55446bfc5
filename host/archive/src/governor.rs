//! How fast bulk data may be taken, given how long those wait who send: a pure function of what it was told.
//!
//! A disk that is given more than it can take keeps whoever syncs waiting, and every send waits for a sync; processors and
//! connections that are full of bulk keep it waiting as well. So bulk gives way when the syncs that sends wait for get slow,
//! or the commits, to half of what it did, again and again; and takes a bit more each second in which they are not. Where it
//! begins while somebody sends it begins gently. While nobody sends, nothing is slowed.

use std::time::Duration;

use runtime::Instant;
use segment::Times;

/// It looks this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Syncs are never called slow below this,
const SLOW_SYNC: Duration = Duration::from_millis(5);
/// and commits below this: a sync here, one elsewhere, and the way.
const SLOW_COMMIT: Duration = Duration::from_millis(10);
/// Fewer of them in a look say nothing.
const COUNT_MIN: u64 = 4;
/// Bulk is never slowed below this, in bytes a second: what somebody uploads must end.
pub(crate) const RATE_MIN: u64 = 8 << 20;
/// Above this it is not slowed at all: no disk here does as much.
pub(crate) const RATE_MAX: u64 = 4 << 30;
/// What it begins with while somebody sends: no disk here is slow with as much.
const RATE_BEGIN: u64 = 16 << 20;
/// While somebody sends it may do no more than so many times of what it last did: what comes at once then comes gently.
const HEADROOM: u64 = 4;
/// Less bulk than this in a look leaves syncs and commits as they are without.
const IDLE_BYTES: u64 = 1 << 20;

/// Decides.
#[derive(Debug)]
pub(crate) struct Governor {
    rate: u64,
    looked: Instant,
    syncs: Watched,
    commits: Watched,
    /// Nothing was slow since bulk began.
    eager: bool,
    /// Bytes that were let through to the disk since the last look.
    passed: u64,
    /// Until when each way has enough to do.
    busy_until: [Instant; 3],
}

/// What bulk passes, one after the other, each at the same rate: no more comes in at once than goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From a client, into memory.
    In,
    /// To the other members.
    Out,
    /// To this node's disk.
    Disk,
}

/// Something that whoever sends waits for.
#[derive(Debug)]
struct Watched {
    /// All that were counted at the last look.
    seen: Times,
    /// How long the slow ones of them take without bulk, in the mean of the last few looks.
    idle: Option<Duration>,
    /// They are never called slow below this.
    slow: Duration,
}

impl Watched {
    fn new(slow: Duration) -> Self {
        Self { seen: Times::default(), idle: None, slow }
    }

    /// Whether the slow ones since the last look are slower than they may be; nothing if there were too few to say.
    fn look(&mut self, all: Times, bulk: bool) -> Option<bool> {
        let since = all.since(&self.seen);
        self.seen = all;
        let slowest = since.percentile(99).filter(|_| since.count() >= COUNT_MIN)?;
        if !bulk {
            self.idle = Some(self.idle.map_or(slowest, |known| (known * 3 + slowest) / 4));
        }
        Some(slowest > self.slow.max(self.idle.unwrap_or_default().saturating_mul(2)))
    }
}

impl Governor {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            rate: RATE_MAX,
            looked: now,
            syncs: Watched::new(SLOW_SYNC),
            commits: Watched::new(SLOW_COMMIT),
            eager: true,
            passed: 0,
            busy_until: [now; 3],
        }
    }

    /// Whether it wants to be told what sends waited for.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= LOOK_EVERY
    }

    /// These are all syncs of the log that sends waited for, and all their commits, ever.
    pub(crate) fn handle_times(&mut self, now: Instant, syncs: Times, commits: Times) {
        let elapsed = now.saturating_duration_since(self.looked).max(Duration::from_millis(1));
        let passed = std::mem::take(&mut self.passed);
        self.looked = now;
        let bulk = passed >= IDLE_BYTES;
        let looks = [self.syncs.look(syncs, bulk), self.commits.look(commits, bulk)];
        if looks == [None, None] {
            (self.rate, self.eager) = (RATE_MAX, true);
            return;
        }
        let did = u128::from(passed) * 1000 / elapsed.as_millis().max(1);
        let did = u64::try_from(did).unwrap_or(u64::MAX);
        self.eager |= !bulk;
        if bulk && looks.contains(&Some(true)) {
            self.rate = (self.rate.min(did) / 2).max(RATE_MIN);
            self.eager = false;
        } else {
            let more = self.rate / if self.eager { 4 } else { 10 };
            let most = did.saturating_mul(HEADROOM).clamp(RATE_BEGIN, RATE_MAX);
            self.rate = self.rate.saturating_add(more).min(most);
        }
    }

    /// Lets so many bytes through; how long they must wait.
    pub(crate) fn pass(&mut self, way: Way, now: Instant, bytes: u64) -> Duration {
        let [inwards, outwards, disk] = &mut self.busy_until;
        let until = match way {
            Way::In => inwards,
            Way::Out => outwards,
            Way::Disk => {
                self.passed = self.passed.saturating_add(bytes);
                disk
            }
        };
        let begins = (*until).max(now);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        *until = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        begins.saturating_duration_since(now)
    }

    /// Bytes a second.
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A second in which so much bulk passed, and ten syncs or commits took so long.
    struct World {
        governor: Governor,
        now: Instant,
        syncs: Times,
        commits: Times,
    }

    impl World {
        fn new() -> Self {
            let now = runtime::now();
            let (syncs, commits) = (Times::default(), Times::default());
            Self { governor: Governor::new(now), now, syncs, commits }
        }

        fn second(&mut self, bulk: u64, syncs: usize, took: Duration) -> u64 {
            self.syncs = (0..syncs).fold(self.syncs, |all, _| all.with(took));
            self.passes(bulk)
        }

        fn committed(&mut self, bulk: u64, commits: usize, took: Duration) -> u64 {
            self.commits = (0..commits).fold(self.commits, |all, _| all.with(took));
            self.passes(bulk)
        }

        fn passes(&mut self, bulk: u64) -> u64 {
            self.governor.pass(Way::Disk, self.now, bulk);
            assert!(!self.governor.is_due(self.now));
            self.now += LOOK_EVERY;
            assert!(self.governor.is_due(self.now));
            self.governor.handle_times(self.now, self.syncs, self.commits);
            self.governor.rate()
        }
    }

    #[test]
    fn bulk_gives_way_to_sends_whose_syncs_get_slow_and_comes_back() {
        let mut world = World::new();
        assert_eq!(world.second(400 * MIB, 10, ms(2)), 1600 * MIB, "they are not slow");
        assert_eq!(world.second(400 * MIB, 10, ms(30)), 200 * MIB, "half of what it did");
        assert_eq!(world.second(200 * MIB, 10, ms(30)), 100 * MIB);
        for _ in 0..10 {
            world.second(100 * MIB, 10, ms(30));
        }
        assert_eq!(world.governor.rate(), RATE_MIN, "and no further");
        assert_eq!(world.second(8 * MIB, 10, ms(2)), RATE_MIN + RATE_MIN / 10);
    }

    #[test]
    fn bulk_gives_way_to_sends_whose_commits_get_slow_though_no_sync_does() {
        let mut world = World::new();
        assert_eq!(world.committed(400 * MIB, 10, ms(4)), 1600 * MIB);
        assert_eq!(world.committed(400 * MIB, 10, ms(30)), 200 * MIB);
        world.second(200 * MIB, 10, ms(1));
        assert_eq!(world.governor.rate(), 220 * MIB, "there were no commits then");
    }

    #[test]
    fn what_begins_while_somebody_sends_begins_gently_and_grows_until_something_is_slow() {
        let mut world = World::new();
        assert_eq!(world.second(0, 10, ms(2)), RATE_BEGIN);
        let mut rates = Vec::new();
        for _ in 0..3 {
            let rate = world.governor.rate();
            rates.push(world.second(rate, 10, ms(2)) / MIB);
        }
        assert_eq!(rates, [20, 25, 31]);
        let rate = world.governor.rate();
        assert_eq!(world.second(rate, 10, ms(30)), rate / 2);
        let rate = world.governor.rate();
        assert_eq!(world.second(rate, 10, ms(2)), rate + rate / 10, "with care from then on");
        assert_eq!(world.second(2 * MIB, 10, ms(2)), RATE_BEGIN, "what is not used is not kept");
    }

    #[test]
    fn nobody_is_slowed_for_syncs_that_nobody_waits_for() {
        let mut world = World::new();
        world.second(400 * MIB, 10, ms(30));
        assert_eq!(world.second(400 * MIB, 3, ms(300)), RATE_MAX, "nobody sends");
        assert_eq!(world.second(0, 10, ms(300)), RATE_BEGIN, "it is not bulk that makes it slow");
        assert_eq!(world.second(400 * MIB, 10, ms(300)), RATE_BEGIN + RATE_BEGIN / 4);
    }

    #[test]
    fn a_slow_disk_is_only_called_slow_beside_what_it_is_without_bulk() {
        let mut world = World::new();
        assert_eq!(world.second(0, 10, ms(20)), RATE_BEGIN);
        assert_eq!(world.second(16 * MIB, 10, ms(30)), 20 * MIB);
        assert_eq!(world.second(20 * MIB, 10, ms(90)), 10 * MIB);
    }

    #[test]
    fn what_passes_waits_its_turn_at_the_rate() {
        let mut world = World::new();
        for _ in 0..12 {
            world.second(20 * MIB, 10, ms(90));
        }
        let (governor, now) = (&mut world.governor, world.now + Duration::from_secs(60));
        assert_eq!(governor.rate(), RATE_MIN);
        for way in [Way::In, Way::Out, Way::Disk] {
            assert_eq!(
                governor.pass(way, now, 4 * MIB),
                Duration::ZERO,
                "{way:?} has its own turn"
            );
            assert_eq!(governor.pass(way, now, 4 * MIB), ms(500));
            assert_eq!(governor.pass(way, now, MIB), ms(1000));
            let later = governor.pass(way, now + ms(2000), MIB);
            assert_eq!(later, Duration::ZERO, "nothing is owed for ever");
        }
    }
}
