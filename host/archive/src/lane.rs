//! The way of an upload to one member: sequence by sequence, then that it hold them.
//!
//! One task each. The coordinator waits only until a lane takes the next sequence, and a lane gives one while
//! another waits: so an upload has as many sequences in memory as fit between a slow member and a fast client,
//! four: one comes, one is digested, and these.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hashring::NodeId;
use replication::Stream;
use segment::archive::{Adler32, Closing, Fact, Md5, Operation, Refused, Slice, Table, UnifiedId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::governor::Way;
use crate::holding::learn;
use crate::meters;
use crate::performing::{HEAVY_BYTES, Performing};
use crate::question::{Begin, Bring, Said, Stream as Opening};
use crate::room::Room;
use crate::shared::{Shared, locked};
use crate::spoken::{begin, plain, say};

/// Bytes of one frame: a piece.
pub(crate) const FRAME_BYTES: usize = 256 << 10;
/// So long a member may take for a sequence, and to sync all it has: one that takes longer is lost, and must
/// not keep the memory of what it was to be given.
pub(crate) const GIVE_MAX: Duration = Duration::from_secs(60);
pub(crate) const HOLD_MAX: Duration = Duration::from_secs(120);

/// What an upload is when all of it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) size: u64,
    pub(crate) md5: Md5,
    pub(crate) adler32: Adler32,
    pub(crate) table: Table,
    pub(crate) time_ms: u64,
}

impl Sum {
    /// As this node's archive takes it: without the version, which is decided later.
    pub(crate) fn closing(&self) -> Closing {
        Closing {
            version: UnifiedId(0),
            size: self.size,
            md5: self.md5,
            adler32: self.adler32,
            meta: Vec::new(),
            time_ms: self.time_ms,
        }
    }
}

/// A sequence on its way, with the memory that it takes.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) slice: Slice,
    pub(crate) _room: OwnedSemaphorePermit,
}

/// What a lane is to do.
enum Work {
    Slice(Arc<Sheet>),
    Hold(Sum, oneshot::Sender<u64>),
}

/// Why a member has not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// For want of room.
    pub(crate) full: bool,
    pub(crate) why: String,
}

/// The coordinator's end.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) node: NodeId,
    work: mpsc::Sender<Work>,
    lost: Arc<Mutex<Option<Lost>>>,
}

impl Lane {
    /// Begins one to a member, which may be this node.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        node: NodeId,
        upload: &Begin,
    ) -> Result<Self, Lost> {
        let link = if node == shared.node {
            let room = shared.room(upload.size).await?;
            learn(shared, upload).await?;
            Link::Here { upload: upload.clone(), room, before: None, begun: false }
        } else {
            let opening = begin(&Opening::Bring(upload.clone()));
            let stream = shared.replication.stream(&node, opening).await.map_err(|_ended| {
                Lost { full: false, why: format!("node {node} cannot be reached") }
            })?;
            let mut stream = Box::new(stream);
            // Nothing is read of the client before it is known whether there is room for it.
            match hear(&node, &mut stream).await? {
                Said::Ready => Link::There(node.clone(), stream),
                _ => return Err(Lost::cut()),
            }
        };
        let (work, todo) = mpsc::channel(1);
        let lost = Arc::new(Mutex::new(None));
        let (task, told) = (Arc::clone(shared), Arc::clone(&lost));
        shared.tasks.spawn("archive-lane", async move {
            let stop = task.tasks.stop().clone();
            let ended = tokio::select! { biased;
                () = stop.stopped() => {
                    Err(Lost { full: false, why: "this node is stopping".to_owned() })
                }
                ended = run(&task, link, todo) => ended,
            };
            if let Err(lost) = ended {
                *locked(&told) = Some(lost);
            }
        });
        Ok(Self { node, work, lost })
    }

    /// Gives it a sequence, once it has room; whether it is still there.
    pub(crate) async fn give(&self, sheet: Arc<Sheet>) -> bool {
        self.work.send(Work::Slice(sheet)).await.is_ok()
    }

    /// Waits until the member has said that it holds all; in which store it does.
    pub(crate) async fn hold(&self, sum: Sum) -> Option<u64> {
        let (held, answer) = oneshot::channel();
        self.work.send(Work::Hold(sum, held)).await.ok()?;
        answer.await.ok()
    }

    /// Why it is not there any more.
    pub(crate) fn lost(&self) -> Option<Lost> {
        locked(&self.lost).clone()
    }
}

/// What is at the other end.
enum Link {
    Here { upload: Begin, room: Room, before: Option<Performing>, begun: bool },
    There(NodeId, Box<Stream>),
}

/// Does what comes, until nothing comes any more or the member is lost. What is cut before the member holds
/// all of it is given up there.
async fn run(shared: &Shared, mut link: Link, mut todo: mpsc::Receiver<Work>) -> Result<(), Lost> {
    let mut whole = false;
    let mut done = Ok(());
    while let Some(work) = todo.recv().await {
        done = match work {
            Work::Slice(sheet) => within(GIVE_MAX, link.bring(shared, &sheet.slice)).await,
            Work::Hold(sum, held) => {
                let done = within(HOLD_MAX, link.hold(shared, sum)).await;
                whole = done.is_ok();
                done.map(|store| {
                    // If nobody waits any more, it is held all the same.
                    let _heard = held.send(store);
                })
            }
        };
        if done.is_err() {
            break;
        }
    }
    if !whole && let Link::Here { upload, before, .. } = link {
        // What is under way first: a cancel of what has not begun says nothing.
        if let Some(before) = before {
            drop(before.wait().await);
        }
        give_up(shared, &upload).await;
    }
    done
}

/// Gives a member so long.
async fn within<T>(
    longest: Duration,
    work: impl Future<Output = Result<T, Lost>>,
) -> Result<T, Lost> {
    runtime::timeout(longest, work).await.unwrap_or_else(|_late| {
        meters::stalled("member");
        Err(Lost { full: false, why: "it took too long".to_owned() })
    })
}

/// The time of a cancel that only this node's archive knows, and no log decided.
const HERE_MS: u64 = 0;

/// Whether a node's archive has given up an upload for itself: it is none of those that hold it, and whoever decides what
/// becomes of it is not bound by that.
pub(crate) fn is_given_up_here(fact: &Fact) -> bool {
    matches!(fact, Fact::Cancelled { time_ms: HERE_MS, .. })
}

/// An upload that this node does not hold all of is not under way here any more.
pub(crate) async fn give_up(shared: &Shared, upload: &Begin) {
    let (upload, time_ms) = (upload.upload.clone(), HERE_MS);
    match shared.perform(Operation::Cancel { upload, time_ms }).await {
        Ok(_) | Err(Refused::UnknownSegment(_) | Refused::AlreadyFinal(_)) => {}
        Err(refused) => tracing::warn!(%refused, "an upload was not given up here: its end is"),
    }
}

impl Link {
    async fn bring(&mut self, shared: &Shared, slice: &Slice) -> Result<(), Lost> {
        match self {
            Self::Here { upload, room, before, begun } => {
                if let Some(before) = before.take() {
                    before.wait().await.map_err(|refused| Lost::of(&refused))?;
                }
                room.used(slice.data.len());
                let operation = match std::mem::replace(begun, true) {
                    false => Operation::Start { opening: upload.opening(), slice: slice.clone() },
                    true => Operation::Next { upload: upload.upload.clone(), slice: slice.clone() },
                };
                *before = Some(shared.begin_own(operation).await);
                Ok(())
            }
            Self::There(node, stream) => {
                let Slice { sequence, size, md5, adler32, data } = slice.clone();
                let size = u32::try_from(size).unwrap_or(u32::MAX);
                tell(stream, &Bring::Slice { sequence, size, md5, adler32 }).await?;
                if hear(node, stream).await? != Said::Go(sequence) {
                    return Err(Lost::cut());
                }
                let others = usize::from(shared.replication.copies().saturating_sub(1)).max(1);
                for piece in data.chunks(FRAME_BYTES) {
                    if data.len() > HEAVY_BYTES {
                        // Each of the others is sent the same.
                        shared.pace.turn(Way::Out, piece.len() / others).await;
                    }
                    stream.send(piece, &[]).await.map_err(|_ended| Lost::cut())?;
                }
                Ok(())
            }
        }
    }

    async fn hold(&mut self, shared: &Shared, sum: Sum) -> Result<u64, Lost> {
        match self {
            Self::Here { upload, before, .. } => {
                if let Some(before) = before.take() {
                    before.wait().await.map_err(|refused| Lost::of(&refused))?;
                }
                let (opening, upload) = (upload.opening(), upload.upload.clone());
                let held = Operation::Hold { upload, opening, closing: sum.closing() };
                shared.perform(held).await.map_err(|refused| Lost::of(&refused))?;
                Ok(shared.engine.store())
            }
            Self::There(node, stream) => {
                let Sum { size, md5, adler32, table, time_ms } = sum;
                tell(stream, &Bring::Hold { size, md5, adler32, table, time_ms }).await?;
                match hear(node, stream).await? {
                    Said::Held { store } => Ok(store),
                    _ => Err(Lost::cut()),
                }
            }
        }
    }
}

async fn tell(stream: &mut Stream, said: &Bring) -> Result<(), Lost> {
    stream.send(&say(said), &[]).await.map_err(|_ended| Lost::cut())
}

/// Waits for a word.
async fn hear(node: &NodeId, stream: &mut Stream) -> Result<Said, Lost> {
    let frame: Option<Bytes> = stream.next().await.map_err(|_ended| Lost::cut())?;
    match plain::<Said>(&frame.ok_or_else(Lost::cut)?) {
        Ok(Said::No { full, why }) => Err(Lost { full, why }),
        Ok(said) => Ok(said),
        Err(strange) => Err(Lost { full: false, why: strange.refusal(node).detail }),
    }
}

impl Lost {
    fn cut() -> Self {
        Self { full: false, why: "the connection was cut".to_owned() }
    }

    pub(crate) fn of(refused: &Refused) -> Self {
        let full = matches!(refused, Refused::NoRoom);
        Self { full, why: refused.to_string() }
    }
}
