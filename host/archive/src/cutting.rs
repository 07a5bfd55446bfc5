//! What comes from a client, cut into sequences, each with the memory that it takes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
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
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut data = BytesMut::new();
        let mut until = None;
        while data.len() < SEQUENCE_BYTES_MAX && until.is_none_or(|until| runtime::now() < until) {
            let mut has = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * 1024;
            if data.len() >= has {
                match more(Arc::clone(&self.shared.upload_kib), data.len() >= SHORT_BYTES).await? {
                    None => break,
                    Some(more) => match &mut room {
                        Some(room) => room.merge(more),
                        None => room = Some(more),
                    },
                }
                has += SHORT_BYTES;
            }
            let Some(bytes) = self.rest(has - data.len()).await? else { break };
            data.extend_from_slice(&bytes);
            until.get_or_insert_with(|| runtime::now() + LONG);
        }
        let Some(room) = room.filter(|_| !data.is_empty()) else { return Ok(None) };
        let (data, number) = (data.freeze(), self.number);
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

/// Memory for more; nothing if there is none and the sequence can end here.
async fn more(kib: Arc<Semaphore>, can_end: bool) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
    let wanted = u32::try_from(SHORT_BYTES / 1024).unwrap_or(1);
    match Arc::clone(&kib).try_acquire_many_owned(wanted) {
        Ok(more) => Ok(Some(more)),
        Err(_short) if can_end => Ok(None),
        Err(_short) => {
            let waited = kib.acquire_many_owned(wanted).await;
            waited.map(Some).map_err(|_closed| Refusal::unknown("this node is stopping"))
        }
    }
}
