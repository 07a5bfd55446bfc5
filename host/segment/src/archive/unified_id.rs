//! The number of a version: rising, unique over the cluster, and telling about when it was made.
//!
//! ```text
//! 63..23  milliseconds since 2011-08-24T21:07:01.721Z
//! 22..10  shard, at most 8,191
//!  9..0   counter within the millisecond, from 1
//! ```
//!
//! The clock only makes a number likely to be later; what makes it later is that the last one is
//! remembered. A clock that stands still or goes back costs nothing but the time that can be read off.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Unix milliseconds of the first millisecond.
const EPOCH_MS: u64 = 1_314_220_021_721;
const COUNTER_BITS: u32 = 10;
const SHARD_BITS: u32 = 13;
const COUNTER_MAX: u64 = (1 << COUNTER_BITS) - 1;
const SHARD_MAX: u64 = (1 << SHARD_BITS) - 1;
const MS_MAX: u64 = u64::MAX >> (COUNTER_BITS + SHARD_BITS);

/// The number of a version of an archived key, or of a tombstone. Later ones are greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnifiedId(pub u64);

/// The text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is a decimal number of at most 64 bits")]
pub struct InvalidVersion(());

impl UnifiedId {
    /// About when it was made, in Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        (self.0 >> (COUNTER_BITS + SHARD_BITS)).saturating_add(EPOCH_MS)
    }

    /// Who made it.
    pub fn shard(self) -> u16 {
        u16::try_from((self.0 >> COUNTER_BITS) & SHARD_MAX).unwrap_or(u16::MAX)
    }
}

impl fmt::Display for UnifiedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for UnifiedId {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        number.map(Self).ok_or(InvalidVersion(()))
    }
}

/// Makes the versions of one shard.
#[derive(Clone, Debug)]
pub struct UnifiedIds {
    shard: u64,
    /// Everything that is made is above it.
    last: UnifiedId,
}

impl UnifiedIds {
    /// Versions of a shard, which is at most 8,191: a greater one counts as that.
    pub fn new(shard: u16) -> Self {
        Self { shard: u64::from(shard).min(SHARD_MAX), last: UnifiedId(0) }
    }

    /// Sees to it that everything made from now on is above `seen`, whoever made that.
    pub fn observe(&mut self, seen: UnifiedId) {
        self.last = self.last.max(seen);
    }

    /// The next version at Unix time `now_ms`. Within a millisecond the counter rises; when it is used
    /// up, or the clock went back, the number runs ahead of the clock and nobody waits. `None` when the
    /// numbers are used up, in the year 2081.
    pub fn next(&mut self, now_ms: u64) -> Option<UnifiedId> {
        let now = now_ms.saturating_sub(EPOCH_MS).min(MS_MAX);
        let last_ms = self.last.0 >> (COUNTER_BITS + SHARD_BITS);
        let mut made = self.first_of(now.max(last_ms));
        if made <= self.last {
            let same = (self.last.0 >> COUNTER_BITS) == (made.0 >> COUNTER_BITS);
            made = if same && self.last.0 & COUNTER_MAX < COUNTER_MAX {
                UnifiedId(self.last.0 + 1)
            } else {
                // The counter is used up, or a higher shard has this millisecond.
                self.first_of(last_ms.saturating_add(1).min(MS_MAX))
            };
        }
        if made <= self.last {
            return None;
        }
        self.last = made;
        Some(made)
    }

    fn first_of(&self, ms: u64) -> UnifiedId {
        UnifiedId((ms << (COUNTER_BITS + SHARD_BITS)) | (self.shard << COUNTER_BITS) | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_400_000_000_000;

    #[test]
    fn the_vector_of_a_unified_id() {
        let made = UnifiedIds::new(5).next(NOW).unwrap();
        assert_eq!(made, UnifiedId(719_574_612_031_050_753));
        assert_eq!((made.unix_ms(), made.shard()), (NOW, 5));
        assert_eq!("719574612031050753".parse(), Ok(made));
    }

    /// N18: the original repeated its numbers after 1,024 of a millisecond and after a clock that went
    /// back.
    #[test]
    fn n18_versions_rise_whatever_the_clock_does() {
        let mut ids = UnifiedIds::new(7);
        let mut last = UnifiedId(0);
        let clock = (0..5000_u64).map(|turn| match turn {
            0..2000 => NOW,
            2000..3000 => NOW - turn * 1000,
            _ => NOW + turn / 100,
        });
        for now in clock {
            let made = ids.next(now).unwrap();
            assert!(made > last, "{made} after {last}");
            assert!(made.0 & COUNTER_MAX > 0);
            assert_eq!(made.shard(), 7);
            last = made;
        }
    }

    #[test]
    fn n18_the_counter_goes_to_1023_and_then_into_the_next_millisecond() {
        let mut ids = UnifiedIds::new(0);
        let made: Vec<_> = (0..1024).map(|_| ids.next(NOW).unwrap()).collect();
        assert_eq!(made[1022].0 & COUNTER_MAX, 1023);
        assert_eq!(made[1022].unix_ms(), NOW);
        assert_eq!((made[1023].unix_ms(), made[1023].0 & COUNTER_MAX), (NOW + 1, 1));
    }

    #[test]
    fn what_was_seen_of_others_is_passed() {
        let mut other = UnifiedIds::new(9);
        let seen = other.next(NOW + 90_000_000).unwrap();
        let mut ids = UnifiedIds::new(3);
        ids.observe(seen);
        let made = ids.next(NOW).unwrap();
        assert!(made > seen);
        assert_eq!(made.shard(), 3);
    }

    #[test]
    fn numbers_that_are_used_up_are_not_repeated() {
        let mut ids = UnifiedIds::new(3);
        ids.observe(UnifiedId(u64::MAX));
        assert_eq!(ids.next(NOW), None);
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "-1", "+1", "1.0", "0x10", "18446744073709551616", " 1"] {
            assert!(text.parse::<UnifiedId>().is_err(), "{text}");
        }
    }
}
