//! Bytes of a segment from one holder, which may be this node: in pieces that are verified there.
//!
//! A holder has at most so many pieces on their way; what a slow reader does not take waits with the holder,
//! on its disk, and never in a connection. A holder that owes pieces and gives none for too long counts as one
//! that lacks them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashring::NodeId;
use replication::Sending;
use segment::archive::{At, Final, PartReading, Told};
use tokio::sync::mpsc;

use crate::Part;
use crate::lane::FRAME_BYTES;
use crate::meters;
use crate::question::{Said, Stream as Opening};
use crate::serving::{self, Pieces};
use crate::shared::Shared;
use crate::spoken::{begin, plain};

/// So many pieces are on their way: a MiB.
pub(crate) const PIECES_MAX: u32 = 4;

/// Why a holder does not give them, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lacks(pub(crate) String);

/// Bytes of a segment, coming.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) table: Vec<Told>,
    pieces: mpsc::Receiver<Result<Bytes, Lacks>>,
    /// To ask for more; none of this node's own.
    credit: Option<Sending>,
    node: NodeId,
    /// So long it may take to give a piece.
    patience: Duration,
}

impl Source {
    /// Asks a holder for a range of a segment's bytes.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        node: &NodeId,
        at: &At,
        part: &Part,
        range: Range<u64>,
    ) -> Result<Self, Lacks> {
        if *node == shared.node {
            return Self::here(shared, at, part, range).await;
        }
        let fetch = Opening::Fetch {
            at: at.clone(),
            part: part.clone(),
            from: range.start,
            until: range.end,
        };
        let away = || Lacks(format!("node {node} cannot be reached"));
        let stream = shared.replication.stream(node, begin(&fetch)).await;
        let patience = shared.config.holder;
        let (sending, mut receiving) = stream.map_err(|_ended| away())?.split();
        let first = runtime::timeout(shared.config.holder, receiving.next()).await;
        let first = first.map_err(|_late| silent(node))?;
        let table = match plain::<Said>(&first.ok().flatten().ok_or_else(away)?) {
            Ok(Said::Table(table)) => table,
            Ok(Said::No { why, .. }) => return Err(Lacks(format!("node {node}: {why}"))),
            Ok(_) => return Err(away()),
            Err(strange) => return Err(Lacks(strange.refusal(node).detail)),
        };
        let (coming, pieces) = mpsc::channel(usize::try_from(PIECES_MAX).unwrap_or(1) + 1);
        let name = node.clone();
        shared.tasks.spawn("archive-fetch", async move {
            loop {
                let next = tokio::select! { biased;
                    () = coming.closed() => return,
                    next = receiving.next() => next,
                };
                let next = match next {
                    Ok(None) => return,
                    Ok(Some(frame)) if frame.len() > 1 => piece(&frame, &name),
                    Ok(Some(_)) | Err(_) => Err(Lacks(format!("node {name} was lost"))),
                };
                let ends = next.is_err();
                // There is always room for what has credit; if nobody reads any more, it ends.
                if coming.send(next).await.is_err() || ends {
                    return;
                }
            }
        });
        Ok(Self { table, pieces, credit: Some(sending), node: node.clone(), patience })
    }

    async fn here(
        shared: &Arc<Shared>,
        at: &At,
        part: &Part,
        range: Range<u64>,
    ) -> Result<Self, Lacks> {
        let lacks = |why: String| Lacks(format!("this node: {why}"));
        let (reading, table) = serving::open(shared, at, part).await.map_err(lacks)?;
        let patience = shared.config.holder;
        let mut pieces_left = Pieces::new(&table, range);
        let (coming, pieces) = mpsc::channel(usize::try_from(PIECES_MAX).unwrap_or(1));
        let reading = Arc::new(reading);
        shared.tasks.spawn("archive-read", async move {
            loop {
                let room = tokio::select! { biased;
                    () = coming.closed() => return,
                    room = coming.reserve() => room,
                };
                let Ok(room) = room else { return };
                match pieces_left.next(&reading).await {
                    Ok(None) => return,
                    Ok(Some(piece)) => room.send(Ok(piece)),
                    Err(why) => {
                        room.send(Err(lacks(why)));
                        return;
                    }
                }
            }
        });
        Ok(Self { table, pieces, credit: None, node: shared.node.clone(), patience })
    }

    /// The next bytes; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Lacks>> {
        // Whoever waits here has given credit for at least one piece.
        let Ok(piece) = runtime::timeout(self.patience, self.pieces.recv()).await else {
            return Some(Err(silent(&self.node)));
        };
        let piece = piece?;
        if let (Some(credit), Ok(_)) = (&mut self.credit, &piece) {
            // If the holder is gone, the next piece says so.
            drop(credit.send(&[1], &[]).await);
        }
        Some(piece)
    }
}

fn silent(node: &NodeId) -> Lacks {
    meters::stalled("holder");
    Lacks(format!("node {node} gave nothing for too long"))
}

/// A frame of a piece is the byte 0 and its bytes, of an end the byte 1 and the words.
fn piece(frame: &Bytes, node: &NodeId) -> Result<Bytes, Lacks> {
    match frame.first() {
        Some(0) if frame.len() <= FRAME_BYTES + 1 => Ok(frame.slice(1..)),
        Some(1) => {
            let words = String::from_utf8_lossy(frame.get(1..).unwrap_or_default()).into_owned();
            Err(Lacks(format!("node {node}: {words}")))
        }
        Some(_) | None => Err(Lacks(format!("node {node} says something else"))),
    }
}

/// A segment as this node's archive reads it.
pub(crate) fn made(at: &At, part: &Part) -> Final {
    Final {
        upload: part.upload.clone(),
        at: at.clone(),
        part: part.part,
        segment_number: 0,
        coding: 0,
        hand_off: None,
        sequences: part.sequences,
        size: part.size,
        md5: part.md5,
        adler32: part.adler32,
        time_ms: 0,
        meta: Vec::new(),
        table: part.table,
        repeat: None,
        holders: part.holders.clone(),
    }
}

/// What is read in the background.
pub(crate) type Opened = (PartReading, Vec<Told>);
