//! How fast bulk data may be written, given how long the log's syncs take: a pure function of what it was told.
//!
//! A disk that is given more than it can take keeps whoever syncs waiting, and every send waits for a sync. So
//! bulk gives way when syncs that sends wait for get slow, to half of what it did, again and again; and takes a
//! bit more each second in which they are not. While nobody sends, nothing is slowed.

use std::time::Duration;

use runtime::Instant;
use segment::Syncs;

/// It looks this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Syncs are never called slow below this.
const SLOW: Duration = Duration::from_millis(5);
/// Fewer syncs in a look say nothing.
const SYNCS_MIN: u64 = 4;
/// Bulk is never slowed below this, in bytes a second: what somebody uploads must end.
pub(crate) const RATE_MIN: u64 = 8 << 20;
/// Above this it is not slowed at all: no disk here does as much.
pub(crate) const RATE_MAX: u64 = 4 << 30;
/// Less bulk than this in a look leaves syncs as they are without.
const IDLE_BYTES: u64 = 1 << 20;

/// Decides.
#[derive(Debug)]
pub(crate) struct Governor {
    rate: u64,
    looked: Instant,
    syncs: Syncs,
    /// How long the slow ones of the syncs take without bulk, as last seen.
    idle: Option<Duration>,
    /// Bytes that were let through since the last look.
    passed: u64,
    /// Until then the disk has enough to do.
    busy_until: Instant,
}

impl Governor {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            rate: RATE_MAX,
            looked: now,
            syncs: Syncs::default(),
            idle: None,
            passed: 0,
            busy_until: now,
        }
    }

    /// Whether it wants to be told of the log's syncs.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= LOOK_EVERY
    }

    /// These are all syncs that sends waited for, ever.
    pub(crate) fn handle_syncs(&mut self, now: Instant, all: Syncs) {
        let elapsed = now.saturating_duration_since(self.looked).max(Duration::from_millis(1));
        let since = all.since(&self.syncs);
        let passed = std::mem::take(&mut self.passed);
        (self.looked, self.syncs) = (now, all);
        let enough = since.count() >= SYNCS_MIN;
        let slowest = since.percentile(99).filter(|_| enough);
        if passed < IDLE_BYTES {
            self.idle = slowest.or(self.idle);
        }
        let slow = SLOW.max(self.idle.unwrap_or_default().saturating_mul(2));
        if slowest.is_some_and(|slowest| slowest > slow) && passed >= IDLE_BYTES {
            let did = u64::try_from(u128::from(passed) * 1000 / elapsed.as_millis().max(1));
            self.rate = (self.rate.min(did.unwrap_or(u64::MAX)) / 2).max(RATE_MIN);
        } else if !enough {
            self.rate = RATE_MAX;
        } else {
            self.rate = self.rate.saturating_add(self.rate / 10).min(RATE_MAX);
        }
    }

    /// Lets so many bytes through; how long they must wait.
    pub(crate) fn pass(&mut self, now: Instant, bytes: u64) -> Duration {
        self.passed = self.passed.saturating_add(bytes);
        let begins = self.busy_until.max(now);
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        self.busy_until = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
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

    /// A second in which so much bulk passed, and ten syncs took so long.
    struct World {
        governor: Governor,
        now: Instant,
        all: Syncs,
    }

    impl World {
        fn new() -> Self {
            let now = runtime::now();
            Self { governor: Governor::new(now), now, all: Syncs::default() }
        }

        fn second(&mut self, bulk: u64, syncs: usize, took: Duration) -> u64 {
            self.governor.pass(self.now, bulk);
            assert!(!self.governor.is_due(self.now));
            self.now += LOOK_EVERY;
            assert!(self.governor.is_due(self.now));
            self.all = (0..syncs).fold(self.all, |all, _| all.with(took));
            self.governor.handle_syncs(self.now, self.all);
            self.governor.rate()
        }
    }

    #[test]
    fn bulk_gives_way_to_sends_whose_syncs_get_slow_and_comes_back() {
        let mut world = World::new();
        assert_eq!(world.second(400 * MIB, 10, ms(2)), RATE_MAX, "they are not slow");
        assert_eq!(world.second(400 * MIB, 10, ms(30)), 200 * MIB, "half of what it did");
        assert_eq!(world.second(200 * MIB, 10, ms(30)), 100 * MIB);
        for _ in 0..10 {
            world.second(100 * MIB, 10, ms(30));
        }
        assert_eq!(world.governor.rate(), RATE_MIN, "and no further");
        assert_eq!(world.second(8 * MIB, 10, ms(2)), RATE_MIN + RATE_MIN / 10);
    }

    #[test]
    fn nobody_is_slowed_for_syncs_that_nobody_waits_for() {
        let mut world = World::new();
        world.second(400 * MIB, 10, ms(30));
        assert_eq!(world.second(400 * MIB, 3, ms(300)), RATE_MAX, "nobody sends");
        assert_eq!(world.second(0, 10, ms(300)), RATE_MAX, "it is not bulk that makes it slow");
    }

    #[test]
    fn a_slow_disk_is_only_called_slow_beside_what_it_is_without_bulk() {
        let mut world = World::new();
        assert_eq!(world.second(0, 10, ms(20)), RATE_MAX);
        assert_eq!(world.second(400 * MIB, 10, ms(30)), RATE_MAX);
        assert_eq!(world.second(400 * MIB, 10, ms(90)), 200 * MIB);
    }

    #[test]
    fn what_passes_waits_its_turn_at_the_rate() {
        let mut world = World::new();
        for _ in 0..12 {
            world.second(20 * MIB, 10, ms(90));
        }
        let (governor, now) = (&mut world.governor, world.now + Duration::from_secs(60));
        assert_eq!(governor.rate(), RATE_MIN);
        assert_eq!(governor.pass(now, 4 * MIB), Duration::ZERO);
        assert_eq!(governor.pass(now, 4 * MIB), ms(500));
        assert_eq!(governor.pass(now, MIB), ms(1000));
        assert_eq!(governor.pass(now + ms(2000), MIB), Duration::ZERO, "nothing is owed for ever");
    }
}
