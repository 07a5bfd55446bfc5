//! An upload that another node brings: received, verified, written, and held once all of it is synced.
//!
//! Nothing of a sequence is sent before there is room in memory for the whole of it; so what is on its way is
//! taken at once, and what waits for room waits where it is. A coordinator that says nothing for too long is
//! given up: it may be alive, and what it began would keep its place here for ever.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hashring::NodeId;
use replication::Stream;
use segment::archive::{Closing, Fact, Operation, Refused, SEQUENCE_BYTES_MAX, Slice, UnifiedId};

use crate::lane::{Lost, give_up};
use crate::meters;
use crate::performing::Performing;
use crate::question::{Begin, Bring, Said};
use crate::shared::Shared;
use crate::spoken::{plain, say};

/// Takes it.
pub(crate) async fn hold(shared: &Arc<Shared>, from: &NodeId, begin: Begin, mut stream: Stream) {
    if begin.upload.node != *from {
        tracing::warn!(%from, upload = %begin.upload, "an upload in another node's name");
        return;
    }
    let Ok(_one) = shared.held_uploads.try_acquire() else {
        let why = "this node takes as many uploads as it can".to_owned();
        refuse(shared, &mut stream, Lost { full: false, why }).await;
        return;
    };
    match take(shared, &begin, &mut stream).await {
        // What was said must arrive: a stream that is only dropped may lose it.
        Ok(()) => stream.finish(),
        Err(None) => give_up(shared, &begin).await,
        Err(Some(lost)) => {
            tracing::debug!(%from, upload = %begin.upload, why = lost.why, "an upload is not taken");
            refuse(shared, &mut stream, lost).await;
            give_up(shared, &begin).await;
        }
    }
}

async fn refuse(shared: &Shared, stream: &mut Stream, lost: Lost) {
    let Lost { full, why } = lost;
    // If the coordinator is gone it does not need to know.
    drop(tell(shared, stream, &Said::No { full, why }).await);
    stream.finish();
}

/// Until it is held. What is wrong is told, unless the stream is at an end.
async fn take(shared: &Shared, begin: &Begin, stream: &mut Stream) -> Result<(), Option<Lost>> {
    let mut room = shared.room(begin.size).await.map_err(Some)?;
    learn(shared, begin).await.map_err(Some)?;
    tell(shared, stream, &Said::Ready).await?;
    let mut before: Option<(u32, Performing)> = None;
    let mut next = 0;
    loop {
        match plain::<Bring>(&heard(shared, begin, stream).await?).map_err(|_strange| None)? {
            Bring::Slice { sequence, size, md5, adler32 } => {
                let bytes = usize::try_from(size).unwrap_or(usize::MAX);
                if bytes > SEQUENCE_BYTES_MAX || sequence != next {
                    return Err(None);
                }
                next += 1;
                let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
                // Cannot be an error: nobody closes it.
                let _memory = shared.held_kib.acquire_many(kib).await.map_err(|_closed| None)?;
                tell(shared, stream, &Said::Go(sequence)).await?;
                let data = bytes_of(shared, begin, stream, bytes).await?;
                if let Some((number, before)) = before.take() {
                    written(before).await?;
                    tell(shared, stream, &Said::Got(number)).await?;
                }
                let size = u64::from(size);
                let slice = Slice { sequence, data, size, md5, adler32 };
                room.used(bytes);
                let operation = match sequence {
                    0 => Operation::Start { opening: begin.opening(), slice },
                    _ => Operation::Next { upload: begin.upload.clone(), slice },
                };
                before = Some((sequence, shared.begin_operation(operation).await));
            }
            Bring::Hold { size, md5, adler32, table, time_ms } => {
                if let Some((_, before)) = before.take() {
                    written(before).await?;
                }
                let (version, meta) = (UnifiedId(0), Vec::new());
                let closing = Closing { version, size, md5, adler32, meta, time_ms };
                let (upload, opening) = (begin.upload.clone(), begin.opening());
                let holding = Operation::Hold { upload, opening, closing };
                let holding = shared.begin_operation(holding).await;
                if shared.config.sabotage.held_unsynced {
                    tell(shared, stream, &Said::Held { store: shared.engine.store() }).await?;
                    return Ok(());
                }
                written(holding).await?;
                if !is_held(shared, begin, table).await {
                    let why = "the sequences are not those that were announced".to_owned();
                    return Err(Some(Lost { full: false, why }));
                }
                tell(shared, stream, &Said::Held { store: shared.engine.store() }).await?;
                // It is held from here on, whatever becomes of the stream.
                return Ok(());
            }
        }
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

async fn tell(shared: &Shared, stream: &mut Stream, said: &Said) -> Result<(), Option<Lost>> {
    let sent = runtime::timeout(shared.config.stalled, stream.send(&say(said), &[])).await;
    sent.ok().and_then(Result::ok).ok_or(None)
}

/// What the coordinator says next.
async fn heard(shared: &Shared, begin: &Begin, stream: &mut Stream) -> Result<Bytes, Option<Lost>> {
    let next = runtime::timeout(shared.config.stalled, stream.next()).await;
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
    stream: &mut Stream,
    size: usize,
) -> Result<Bytes, Option<Lost>> {
    let mut data = BytesMut::with_capacity(size);
    while data.len() < size {
        let frame = heard(shared, begin, stream).await?;
        if data.len() + frame.len() > size || frame.is_empty() {
            return Err(None);
        }
        data.extend_from_slice(&frame);
    }
    Ok(data.freeze())
}
