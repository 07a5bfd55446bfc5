//! Memory of sequences that is used again.
//!
//! A sequence takes up to ten MiB for less than a second. Memory that is new each time is cleared by the system page by page
//! when it is first written, which cost half of what a hundred uploads took of the processors, and that in moments in which
//! nobody else came to run. So what was given back is kept, a bit of it and for a while.
//!
//! It takes no part in deciding how much may be in use: that is counted before somebody asks here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use runtime::Instant;
use segment::archive::SEQUENCE_BYTES_MAX;

use crate::shared::locked;

/// So much is kept beside what is in use: a few sequences, since what is given back is soon asked for where it matters.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// What nobody asked for as long as this goes back to the system.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Less than this is cheap to come by.
const SMALL_BYTES: usize = 256 << 10;

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    free: Vec<Vec<u8>>,
    /// When somebody asked last.
    asked: Option<Instant>,
}

/// A buffer that comes back when nobody needs its bytes any more.
struct Lent {
    data: Vec<u8>,
    buffers: Arc<Buffers>,
}

/// How much room a buffer for `bytes` has: of few sizes, so that one that was given back is soon asked for again. Count this as in use.
pub(crate) fn room_for(bytes: usize) -> usize {
    match bytes {
        0..SMALL_BYTES => bytes,
        _ => bytes.next_power_of_two().min(SEQUENCE_BYTES_MAX.max(bytes)),
    }
}

impl Buffers {
    /// An empty one with just so much room.
    pub(crate) fn take(&self, room: usize) -> Vec<u8> {
        let mut kept = locked(&self.0);
        kept.asked = Some(runtime::now());
        match kept.free.iter().rposition(|buffer| buffer.capacity() == room) {
            Some(at) => kept.free.swap_remove(at),
            None => Vec::with_capacity(room),
        }
    }

    /// The bytes of one; it comes back when they are dropped.
    pub(crate) fn lend(self: &Arc<Self>, data: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { data, buffers: Arc::clone(self) })
    }

    /// One that is not needed any more.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        let room = buffer.capacity();
        let mut kept = locked(&self.0);
        let held: usize = kept.free.iter().map(Vec::capacity).sum();
        if room >= SMALL_BYTES && room == room_for(room) && held + room <= KEPT_BYTES_MAX {
            buffer.clear();
            kept.free.push(buffer);
        }
    }

    /// Time goes on: what nobody needs goes back to the system.
    pub(crate) fn handle_timeout(&self, now: Instant) {
        let mut kept = locked(&self.0);
        if kept.asked.is_some_and(|asked| now >= asked + KEPT_FOR) {
            kept.free.clear();
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn held(buffers: &Buffers) -> Vec<usize> {
        locked(&buffers.0).free.iter().map(|buffer| buffer.capacity() / MIB).collect()
    }

    #[test]
    fn what_was_lent_comes_back_and_is_used_again() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take(MIB);
        let address = buffer.as_ptr();
        buffer.extend_from_slice(b"bytes");
        let bytes = buffers.lend(buffer);
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!((&part[..], held(&buffers)), (&b"yt"[..], vec![]), "somebody still reads it");
        drop(part);
        assert_eq!(held(&buffers), [1]);
        let larger = buffers.take(2 * MIB);
        assert_eq!((larger.capacity(), held(&buffers)), (2 * MIB, vec![1]), "not for another size");
        let again = buffers.take(MIB);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
    }

    #[test]
    fn little_is_kept_and_not_for_ever() {
        let buffers = Buffers::default();
        for _ in 0..9 {
            buffers.give_back(Vec::with_capacity(8 * MIB));
        }
        assert_eq!(held(&buffers), [8, 8, 8, 8]);
        let asked = runtime::now();
        drop(buffers.take(8 * MIB));
        buffers.handle_timeout(asked);
        assert_eq!(held(&buffers), [8, 8, 8]);
        buffers.handle_timeout(runtime::now() + KEPT_FOR);
        assert_eq!(held(&buffers), Vec::<usize>::new());
        buffers.give_back(Vec::with_capacity(3 * MIB));
        buffers.give_back(Vec::with_capacity(100));
        assert_eq!(held(&buffers), Vec::<usize>::new(), "nobody asks for such");
    }

    #[test]
    fn room_is_of_few_sizes() {
        let rooms = [100, 300 << 10, 2 * MIB, 5 * MIB, 9 * MIB, 10 * MIB].map(room_for);
        assert_eq!(rooms, [100, 512 << 10, 2 * MIB, 8 * MIB, 10 * MIB, 10 * MIB]);
    }
}
