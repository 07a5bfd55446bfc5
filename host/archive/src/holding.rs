//! An upload that another node brings: received, verified, written, and held once all of it is synced.
//!
//! Nothing of a sequence is sent before there is room in memory for the whole of it; so what is on its way is
//! taken at once, and what waits for room waits where it is. A coordinator that says nothing for too long is
//! given up: it may be alive, and what it began would keep its place here for ever.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use hashring::NodeId;
use replication::{Receiving, Sending, Stream};
use segment::archive::{Closing, Fact, Operation, Refused, SEQUENCE_BYTES_MAX, Slice, UnifiedId};
use tokio::sync::{SemaphorePermit, mpsc};

use crate::buffers::room_for;
use crate::lane::{Lost, Sum, give_up};
use crate::meters;
use crate::performing::Performing;
use crate::question::{Begin, Bring, Said};
use crate::room::Room;
use crate::shared::Shared;
use crate::spoken::{plain, say};

/// Takes it.
pub(crate) async fn hold(shared: &Arc<Shared>, from: &NodeId, begin: Begin, stream: Stream) {
    if begin.upload.node != *from {
        tracing::warn!(%from, upload = %begin.upload, "an upload in another node's name");
        return;
    }
    let (mut sending, mut receiving) = stream.split();
    let Ok(_one) = shared.held_uploads.try_acquire() else {
        let why = "this node takes as many uploads as it can".to_owned();
        refuse(shared, &mut sending, Lost { full: false, why }).await;
        return;
    };
    match take(shared, &begin, &mut sending, &mut receiving).await {
        // What was said must arrive: a stream that is only dropped may lose it.
        Ok(()) => sending.finish(),
        Err(None) => give_up(shared, &begin).await,
        Err(Some(lost)) => {
            tracing::debug!(%from, upload = %begin.upload, why = lost.why, "an upload is not taken");
            refuse(shared, &mut sending, lost).await;
            give_up(shared, &begin).await;
        }
    }
}

async fn refuse(shared: &Shared, sending: &mut Sending, lost: Lost) {
    let Lost { full, why } = lost;
    // If the coordinator is gone it does not need to know.
    drop(tell(shared, sending, &Said::No { full, why }).await);
    sending.finish();
}

/// Until it is held. What is wrong is told, unless the stream is at an end.
async fn take(
    shared: &Shared,
    begin: &Begin,
    sending: &mut Sending,
    receiving: &mut Receiving,
) -> Result<(), Option<Lost>> {
    let room = shared.room(begin.size).await.map_err(Some)?;
    learn(shared, begin).await.map_err(Some)?;
    tell(shared, sending, &Said::Ready).await?;
    // A sequence comes while the one before is digested and the one before that is written.
    let (came, slices) = mpsc::channel(1);
    let mut receiving = pin!(receive(shared, begin, sending, receiving, came));
    let mut writing = pin!(write(shared, begin, room, slices));
    let received = tokio::select! { biased;
        // It ends first where it fails.
        ended = &mut writing => return Err(ended.err().flatten()),
        received = &mut receiving => received,
    };
    // Also where nothing more comes: a cancel of what has not begun says nothing.
    let ended = writing.await;
    let (sum, sending) = received?;
    ended?;
    let (version, meta) = (UnifiedId(0), Vec::new());
    let Sum { size, md5, adler32, table, time_ms } = sum;
    let closing = Closing { version, size, md5, adler32, meta, time_ms };
    let (upload, opening) = (begin.upload.clone(), begin.opening());
    let holding = shared.begin_operation(Operation::Hold { upload, opening, closing }).await;
    if shared.config.sabotage.held_unsynced {
        return tell(shared, sending, &Said::Held { store: shared.engine.store() }).await;
    }
    written(holding).await?;
    if !is_held(shared, begin, table).await {
        let why = "the sequences are not those that were announced".to_owned();
        return Err(Some(Lost { full: false, why }));
    }
    // It is held from here on, whatever becomes of the stream.
    tell(shared, sending, &Said::Held { store: shared.engine.store() }).await
}

/// A sequence that came, with its memory.
struct Came<'a> {
    slice: Slice,
    memory: SemaphorePermit<'a>,
}

/// Takes what comes until all came, and says what that is.
async fn receive<'a, 's>(
    shared: &'a Shared,
    begin: &Begin,
    sending: &'s mut Sending,
    receiving: &mut Receiving,
    came: mpsc::Sender<Came<'a>>,
) -> Result<(Sum, &'s mut Sending), Option<Lost>> {
    for next in 0.. {
        match plain::<Bring>(&heard(shared, begin, receiving).await?).map_err(|_strange| None)? {
            Bring::Slice { sequence, size, md5, adler32 } => {
                let bytes = usize::try_from(size).unwrap_or(usize::MAX);
                if bytes > SEQUENCE_BYTES_MAX || sequence != next {
                    return Err(None);
                }
                // No memory is taken for it before the one that came last has its turn. An error is the writing
                // side's, which tells it.
                let turn = came.reserve().await.map_err(|_ended| None)?;
                let kib = u32::try_from(room_for(bytes) / 1024 + 1).unwrap_or(u32::MAX);
                // Cannot be an error: nobody closes it.
                let memory = shared.held_kib.acquire_many(kib).await.map_err(|_closed| None)?;
                tell(shared, sending, &Said::Go(sequence)).await?;
                let data = bytes_of(shared, begin, receiving, bytes).await?;
                let slice = Slice { sequence, data, size: u64::from(size), md5, adler32 };
                turn.send(Came { slice, memory });
            }
            Bring::Hold { size, md5, adler32, table, time_ms } => {
                return Ok((Sum { size, md5, adler32, table, time_ms }, sending));
            }
        }
    }
    Err(None)
}

/// Verifies and writes what came, in order; ends when nothing more comes.
async fn write(
    shared: &Shared,
    begin: &Begin,
    mut room: Room,
    mut slices: mpsc::Receiver<Came<'_>>,
) -> Result<(), Option<Lost>> {
    let mut before: Option<Performing> = None;
    while let Some(Came { slice, memory }) = slices.recv().await {
        room.used(slice.data.len());
        let operation = match slice.sequence {
            0 => Operation::Start { opening: begin.opening(), slice },
            _ => Operation::Next { upload: begin.upload.clone(), slice },
        };
        let operation = shared.begin_operation(operation).await;
        drop(memory);
        if let Some(before) = before.replace(operation) {
            written(before).await?;
        }
    }
    match before {
        Some(before) => written(before).await,
        None => Ok(()),
    }
}

/// The collection's own entry may be in a log that this node does not have.
pub(crate) async fn learn(shared: &Shared, begin: &Begin) -> Result<(), Lost> {
    let name = begin.name.collection.clone();
    if shared.engine.versioning(&name).is_some() {
        return Ok(());
    }
    let (versioning, time_ms) = (begin.versioning, runtime::wall_ms());
    let made = Operation::CreateCollection { name, versioning, time_ms };
    shared.perform(made).await.map(drop).map_err(|refused| Lost::of(&refused))
}

async fn is_held(shared: &Shared, begin: &Begin, table: segment::archive::Table) -> bool {
    let (engine, upload) = (shared.engine.clone(), begin.upload.clone());
    let facts = runtime::blocking(move || engine.facts_of_upload(&upload)).await;
    facts.and_then(Result::ok).is_some_and(|facts| {
        facts.iter().any(|fact| match fact {
            Fact::Held(held) => held.table == table,
            Fact::Final(made) => made.table == table,
            _ => false,
        })
    })
}

async fn written(operation: Performing) -> Result<(), Option<Lost>> {
    match operation.wait().await {
        // It was decided meanwhile, with the copies of others.
        Ok(_) | Err(Refused::AlreadyHeld(_)) => Ok(()),
        Err(refused) => Err(Some(Lost::of(&refused))),
    }
}

async fn tell(shared: &Shared, sending: &mut Sending, said: &Said) -> Result<(), Option<Lost>> {
    let sent = runtime::timeout(shared.config.stalled, sending.send(&say(said), &[])).await;
    sent.ok().and_then(Result::ok).ok_or(None)
}

/// What the coordinator says next.
async fn heard(
    shared: &Shared,
    begin: &Begin,
    receiving: &mut Receiving,
) -> Result<Bytes, Option<Lost>> {
    let next = runtime::timeout(shared.config.stalled, receiving.next()).await;
    let frame = next.map_err(|_late| {
        meters::stalled("coordinator");
        let upload = &begin.upload;
        tracing::warn!(%upload, "nothing came of an upload for too long: it is given up here");
        let why = format!("nothing came for {} s", shared.config.stalled.as_secs());
        Some(Lost { full: false, why })
    })?;
    frame.ok().flatten().ok_or(None)
}

/// So many bytes, out of as many frames as they come in.
async fn bytes_of(
    shared: &Shared,
    begin: &Begin,
    receiving: &mut Receiving,
    size: usize,
) -> Result<Bytes, Option<Lost>> {
    let mut data = shared.buffers.take(room_for(size));
    while data.len() < size {
        let frame = heard(shared, begin, receiving).await?;
        if data.len() + frame.len() > size || frame.is_empty() {
            return Err(None);
        }
        data.extend_from_slice(&frame);
    }
    Ok(shared.buffers.lend(data))
}
