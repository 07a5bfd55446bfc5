//! Room on this node's disks that is promised to uploads under way: so one for which there is none is refused before
//! its bytes come, and not in the middle.
//!
//! A promise is kept by counting, not by the disk: others may fill it all the same, and then a write says so.

use std::sync::{Arc, Mutex};

use crate::shared::locked;

/// What is promised and not written yet, over all uploads.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    promised: Mutex<u64>,
}

/// The promise to one upload. Dropping it gives back what was not used.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Arc<Rooms>,
    left: u64,
}

impl Rooms {
    /// Promises room for `size` bytes, if of `free` there is so much that nobody was promised.
    pub(crate) fn promise(self: &Arc<Self>, size: u64, free: u64) -> Option<Room> {
        let needed = with_records(size);
        let mut promised = locked(&self.promised);
        let all = promised.checked_add(needed)?;
        if all > free {
            return None;
        }
        *promised = all;
        Some(Room { rooms: Arc::clone(self), left: needed })
    }
}

impl Room {
    /// So many bytes are written, and not free any more.
    pub(crate) fn used(&mut self, bytes: usize) {
        let bytes = with_records(u64::try_from(bytes).unwrap_or(u64::MAX)).min(self.left);
        self.give_back(bytes);
    }

    fn give_back(&mut self, bytes: u64) {
        self.left -= bytes;
        let mut promised = locked(&self.rooms.promised);
        *promised = promised.saturating_sub(bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back(self.left);
    }
}

/// What bytes take with the heads of their records and their facts: less than a hundredth more.
fn with_records(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_promised_once_and_given_back() {
        let rooms = Arc::new(Rooms::default());
        let mut first = rooms.promise(1000, 2000).expect("there is room");
        assert!(rooms.promise(1000, 2000).is_none(), "the rest is too little");
        let second = rooms.promise(500, 2000).expect("for this it does");
        // What is written is not free any more, and not promised.
        first.used(600);
        assert!(rooms.promise(500, 1400).is_none());
        drop(second);
        assert!(rooms.promise(500, 1400).is_some());
        first.used(5000);
        drop(first);
        assert_eq!(*locked(&rooms.promised), 0);
        assert!(rooms.promise(u64::MAX, u64::MAX).is_some());
        assert_eq!(*locked(&rooms.promised), 0);
    }
}
