//! What comes from a client, cut into sequences, each with the memory that it takes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use segment::archive::{Digesting, SEQUENCE_BYTES_MAX, Slice};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Refusal;
use crate::body::Coming;
use crate::buffers::Buffers;
use crate::governor::Way;
use crate::lane::Sheet;
use crate::performing::HEAVY_BYTES;
use crate::shared::Shared;

/// A sequence is cut short when memory is short, but not shorter than this.
const SHORT_BYTES: usize = 256 << 10;
/// Memory is plentiful where there is so many times what a sequence takes.
const PLENTY: usize = 4;
/// Or when it takes so long to come: members must hear of an upload before they take it for a dead one, and what
/// a slow client sends must not lie in memory alone for minutes.
const LONG: Duration = Duration::from_secs(30);

/// Bytes of a sequence, with the memory that they take.
#[derive(Debug)]
pub(crate) struct Cut {
    number: u32,
    data: Bytes,
    room: OwnedSemaphorePermit,
}

impl Cut {
    /// The sequence with its digests; `whole` is of all that came before, and then of this one too. `None` at the
    /// end of the process.
    pub(crate) async fn digested(
        self,
        shared: &Shared,
        mut whole: Digesting,
    ) -> Option<(Arc<Sheet>, Digesting)> {
        let Self { number: sequence, data, room } = self;
        let digested = shared.digest(move || {
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let (md5, adler32) = whole.push_apart(&data);
            (Slice { sequence, data, size, md5, adler32 }, whole)
        });
        let (slice, whole) = digested.await?;
        Some((Arc::new(Sheet { slice, _room: room }), whole))
    }
}

/// Cuts what comes into sequences.
pub(crate) struct Cutting<'a, 'b> {
    shared: &'a Shared,
    body: &'a mut Coming<'b>,
    number: u32,
    /// Came, and belongs to the next sequence.
    kept: Option<Bytes>,
}

impl<'a, 'b> Cutting<'a, 'b> {
    pub(crate) fn new(shared: &'a Shared, body: &'a mut Coming<'b>) -> Self {
        Self { shared, body, number: 0, kept: None }
    }

    /// The next sequence.
    pub(crate) async fn next(&mut self) -> Result<Option<Cut>, Refusal> {
        let mut growing = Growing::default();
        let mut until = None;
        while growing.data.len() < SEQUENCE_BYTES_MAX
            && until.is_none_or(|until| runtime::now() < until)
        {
            if growing.left() == 0 {
                let likely = usize::try_from(self.body.left()).unwrap_or(usize::MAX);
                let likely = likely.saturating_add(self.kept.as_ref().map_or(0, Bytes::len));
                let Shared { upload_kib, buffers, .. } = self.shared;
                if !growing.grow(upload_kib, buffers, likely).await? {
                    break;
                }
            }
            let Some(bytes) = self.rest(growing.left()).await? else { break };
            if self.number > 0 || growing.data.len() + bytes.len() > HEAVY_BYTES {
                self.shared.pace.turn(Way::In, bytes.len()).await;
            }
            growing.data.extend_from_slice(&bytes);
            until.get_or_insert_with(|| runtime::now() + LONG);
        }
        let Growing { data, room } = growing;
        let Some(room) = room.filter(|_| !data.is_empty()) else { return Ok(None) };
        let number = self.number;
        self.number += 1;
        Ok(Some(Cut { number, data: self.shared.buffers.lend(data), room }))
    }

    /// At most so many of the bytes that come.
    async fn rest(&mut self, most: usize) -> Result<Option<Bytes>, Refusal> {
        let kept = match self.kept.take() {
            Some(kept) => Some(kept),
            None => self.body.next().await?,
        };
        let Some(mut bytes) = kept else { return Ok(None) };
        if bytes.len() > most {
            let rest = bytes.split_off(most);
            self.kept = Some(rest);
        }
        Ok(Some(bytes))
    }
}

/// A sequence that grows, with memory for all that it takes: not its bytes, but the room that was made for them.
#[derive(Debug, Default)]
struct Growing {
    data: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Growing {
    /// So many bytes more fit.
    fn left(&self) -> usize {
        self.data.capacity() - self.data.len()
    }

    /// Makes room for twice as much, if there is memory for that beside what it has; whether there is. It waits for
    /// the first, which is for all that is likely to come where memory is plentiful.
    async fn grow(
        &mut self,
        kib: &Arc<Semaphore>,
        buffers: &Buffers,
        likely: usize,
    ) -> Result<bool, Refusal> {
        let likely = likely.clamp(SHORT_BYTES, SEQUENCE_BYTES_MAX);
        let is_plentiful = kib.available_permits() / PLENTY >= likely / 1024;
        let wanted = match self.room.is_none() && is_plentiful {
            true => likely,
            false => (self.data.capacity() * 2).clamp(SHORT_BYTES, SEQUENCE_BYTES_MAX),
        };
        let permits = u32::try_from(wanted.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = match Arc::clone(kib).try_acquire_many_owned(permits) {
            Ok(room) => room,
            Err(_short) if self.room.is_some() => return Ok(false),
            Err(_short) => {
                let waited = Arc::clone(kib).acquire_many_owned(permits).await;
                waited.map_err(|_closed| Refusal::unknown("this node is stopping"))?
            }
        };
        // Both are there for a moment, and so is the memory for both.
        let mut data = buffers.take(wanted);
        data.extend_from_slice(&self.data);
        buffers.give_back(std::mem::replace(&mut self.data, data));
        self.room = Some(room);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[tokio::test]
    async fn a_sequence_has_memory_for_the_room_it_takes_and_ends_when_there_is_no_more() {
        let (kib, buffers) = (Arc::new(Semaphore::new(4 * KIB)), Buffers::default());
        let mut growing = Growing::default();
        let mut sizes = Vec::new();
        while growing.grow(&kib, &buffers, usize::MAX).await.unwrap() {
            let taken = 4 * KIB - kib.available_permits();
            assert!(growing.data.capacity() <= taken * KIB, "{taken} KiB");
            growing.data.resize(growing.data.capacity(), 7);
            sizes.push(growing.data.len() / KIB);
        }
        // Twice 2 MiB, beside which the next has no memory.
        assert_eq!(sizes, [256, 512, 1024, 2048]);
        assert_eq!(growing.data.len(), growing.data.iter().filter(|byte| **byte == 7).count());
        drop(growing);
        assert_eq!(kib.available_permits(), 4 * KIB, "all of it is given back");
    }

    #[tokio::test]
    async fn where_memory_is_plentiful_there_is_room_at_once_for_what_is_likely_to_come() {
        let (kib, buffers) = (Arc::new(Semaphore::new(128 * KIB)), Buffers::default());
        for (likely, room) in [(0, SHORT_BYTES), (3 << 20, 3 << 20), (1 << 30, SEQUENCE_BYTES_MAX)]
        {
            let mut growing = Growing::default();
            assert!(growing.grow(&kib, &buffers, likely).await.unwrap());
            assert_eq!(growing.left(), room, "{likely}");
        }
        let taken = Arc::clone(&kib).acquire_many_owned(100 * 1024).await.unwrap();
        let mut growing = Growing::default();
        assert!(growing.grow(&kib, &buffers, usize::MAX).await.unwrap());
        assert_eq!(growing.left(), SHORT_BYTES, "28 MiB are not plenty beside 10");
        drop(taken);
    }

    #[tokio::test]
    async fn the_largest_sequence_takes_what_it_is_and_no_more() {
        let (kib, buffers) = (Arc::new(Semaphore::new(128 * KIB)), Buffers::default());
        let mut growing = Growing::default();
        while growing.data.len() < SEQUENCE_BYTES_MAX {
            assert!(growing.grow(&kib, &buffers, usize::MAX).await.unwrap());
            growing.data.resize(growing.data.capacity(), 7);
        }
        assert_eq!(growing.data.len(), SEQUENCE_BYTES_MAX);
        assert_eq!((128 * KIB - kib.available_permits()) * KIB, SEQUENCE_BYTES_MAX);
    }
}
