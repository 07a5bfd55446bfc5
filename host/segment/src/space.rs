//! Whether the disk has room: looked at a few times a second, told early.

use std::path::Path;
use std::time::Duration;

use crate::Reserve;
use crate::disk::{Disk, Space};
use crate::value_file::AHEAD_BYTES;

/// The disk is asked at most this often, however many batches there are.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So much less is taken ahead, when it would go below the reserve.
const FRUGAL_BYTES: u64 = 1 << 20;

/// What is known of the disk's room.
#[derive(Debug)]
pub(crate) struct SpaceWatch {
    reserve: Reserve,
    looked: Option<runtime::Instant>,
    low: bool,
    /// Something could not be written for lack of room.
    pub(crate) blocked: bool,
}

impl SpaceWatch {
    pub(crate) fn new(reserve: Reserve) -> Self {
        Self { reserve, looked: None, low: false, blocked: false }
    }

    /// Looks, if it is time to.
    pub(crate) fn look(&mut self, disk: &dyn Disk, folder: &Path) {
        let now = runtime::now();
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        match disk.space(folder) {
            Ok(space) => self.low = self.judge(space),
            Err(error) => tracing::warn!(%error, "the room on the disk of the log is not known"),
        }
    }

    /// Whether sends should be refused.
    pub(crate) fn is_full(&self) -> bool {
        self.low || self.blocked
    }

    /// How much room may be taken ahead.
    pub(crate) fn ahead(&self, disk: &dyn Disk, folder: &Path) -> u64 {
        let Ok(space) = disk.space(folder) else { return FRUGAL_BYTES };
        space.free.saturating_sub(self.kept(space)).clamp(FRUGAL_BYTES, AHEAD_BYTES)
    }

    /// Full below the reserve; after that, only an eighth more than the reserve counts as room, so that
    /// a disk on the edge does not change its mind with every batch.
    fn judge(&self, space: Space) -> bool {
        let kept = self.kept(space);
        let wanted = if self.low { kept.saturating_add(kept / 8) } else { kept };
        space.free < wanted
    }

    fn kept(&self, space: Space) -> u64 {
        self.reserve.of(space)
    }
}

impl Reserve {
    pub(crate) fn of(self, space: Space) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => (space.total / 100).saturating_mul(u64::from(percent)),
        }
    }

    /// Whether `bytes` more leave the disk well above the reserve: a quarter more, so that what can be done
    /// without is given up before sends are refused.
    pub(crate) fn leaves(self, space: Space, bytes: u64) -> bool {
        let kept = self.of(space);
        space.free >= kept.saturating_add(kept / 4).saturating_add(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_below_its_reserve_and_has_room_an_eighth_above_it() {
        let mut watch = SpaceWatch::new(Reserve::Percent(8));
        let mut full = |free| {
            watch.low = watch.judge(Space { total: 1000, free });
            watch.low
        };
        assert_eq!(
            [100, 80, 79, 80, 89, 90, 80].map(&mut full),
            [false, false, true, true, true, false, false]
        );
    }
}
