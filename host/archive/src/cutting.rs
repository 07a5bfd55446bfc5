//! What comes from a client, cut into sequences, each with the memory that it takes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use segment::archive::{Digesting, SEQUENCE_BYTES_MAX, Slice};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::Coming;
use crate::lane::Sheet;
use crate::shared::Shared;
use crate::{Code, Refusal};

/// A sequence is cut short when memory is short, but not shorter than this.
const SHORT_BYTES: usize = 256 << 10;
/// Or when it takes so long to come: members must hear of an upload before they take it for a dead one, and what
/// a slow client sends must not lie in memory alone for minutes.
const LONG: Duration = Duration::from_secs(30);

/// Cuts what comes into sequences.
pub(crate) struct Cutting<'a, 'b> {
    shared: &'a Shared,
    body: &'a mut Coming<'b>,
    digesting: Option<Digesting>,
    number: u32,
    /// Came, and belongs to the next sequence.
    kept: Option<Bytes>,
}

impl<'a, 'b> Cutting<'a, 'b> {
    pub(crate) fn new(shared: &'a Shared, body: &'a mut Coming<'b>) -> Self {
        Self { shared, body, digesting: Some(Digesting::new()), number: 0, kept: None }
    }

    /// How many sequences there were, and the digest of all of them.
    pub(crate) fn end(self) -> (u32, Digesting) {
        (self.number, self.digesting.unwrap_or_default())
    }

    /// The next sequence.
    pub(crate) async fn next(&mut self) -> Result<Option<Arc<Sheet>>, Refusal> {
        let mut growing = Growing::default();
        let mut until = None;
        while growing.data.len() < SEQUENCE_BYTES_MAX
            && until.is_none_or(|until| runtime::now() < until)
        {
            if growing.left() == 0 && !growing.grow(&self.shared.upload_kib).await? {
                break;
            }
            let Some(bytes) = self.rest(growing.left()).await? else { break };
            growing.data.extend_from_slice(&bytes);
            until.get_or_insert_with(|| runtime::now() + LONG);
        }
        let Growing { data, room } = growing;
        let Some(room) = room.filter(|_| !data.is_empty()) else { return Ok(None) };
        let (data, number) = (Bytes::from(data), self.number);
        self.number += 1;
        let mut digesting = self.digesting.take().unwrap_or_default();
        let digested = runtime::blocking(move || {
            digesting.push(&data);
            (Slice::of(number, data), digesting)
        });
        let stopping = || Refusal::not_committed(Code::NotReady, "this node is stopping");
        let (slice, digesting) = digested.await.ok_or_else(stopping)?;
        self.digesting = Some(digesting);
        Ok(Some(Arc::new(Sheet { slice, _room: room })))
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
    /// the first.
    async fn grow(&mut self, kib: &Arc<Semaphore>) -> Result<bool, Refusal> {
        let wanted = (self.data.capacity() * 2).clamp(SHORT_BYTES, SEQUENCE_BYTES_MAX);
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
        let mut data = Vec::with_capacity(wanted);
        data.extend_from_slice(&self.data);
        self.data = data;
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
        let kib = Arc::new(Semaphore::new(4 * KIB));
        let mut growing = Growing::default();
        let mut sizes = Vec::new();
        while growing.grow(&kib).await.unwrap() {
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
    async fn the_largest_sequence_takes_what_it_is_and_no_more() {
        let kib = Arc::new(Semaphore::new(128 * KIB));
        let mut growing = Growing::default();
        while growing.data.len() < SEQUENCE_BYTES_MAX {
            assert!(growing.grow(&kib).await.unwrap());
            growing.data.resize(growing.data.capacity(), 7);
        }
        assert_eq!(growing.data.len(), SEQUENCE_BYTES_MAX);
        assert_eq!((128 * KIB - kib.available_permits()) * KIB, SEQUENCE_BYTES_MAX);
    }
}
