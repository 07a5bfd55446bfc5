//! Components on their way between nodes, in pieces.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hashring::NodeId;
use replication::{Answering, NotRun, RequestHead};

use crate::artefacts::{ARTEFACT_BYTES_MAX, Artefact};
use crate::question::{Answer, PIECE_BYTES, Question, asked, decode, encode};
use crate::rollout::Shared;
use crate::{Digest, meters};

/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Pieces that are read for other nodes at once: each is a MiB of memory.
pub(crate) const PIECES_AT_ONCE: usize = 4;

/// How often a piece is asked for again where the other node has too much to do.
const PIECE_TRIES_MAX: usize = 5;
/// The pause before that.
const PIECE_AGAIN: Duration = Duration::from_millis(200);

impl Shared {
    /// Asks another node. `None`: no answer, or one that is not understood.
    pub(crate) async fn ask(&self, to: &NodeId, question: &Question) -> Option<Answer> {
        let network = self.network.get()?;
        let wait_ms = u32::try_from(ANSWER_MAX.as_millis()).unwrap_or(u32::MAX);
        let head = RequestHead { hop: 1, wait_ms };
        let answer = network.replication.forward(to, head, encode(question)).await;
        answer.ok().and_then(|bytes| decode(&bytes))
    }

    /// A component of another node: of `first`, or of any that is connected.
    pub(crate) async fn fetch(&self, digest: Digest, first: Option<NodeId>) -> Option<Artefact> {
        let network = self.network.get()?;
        let ring = network.replication.ring();
        let others = ring.nodes.iter().filter(|node| node.up && node.id != self.settings.node);
        let others = others.map(|node| node.id.clone()).filter(|node| Some(node) != first.as_ref());
        let first = first.clone().filter(|node| *node != self.settings.node);
        for node in first.into_iter().chain(others) {
            if let Some(artefact) = self.fetch_of(&node, digest).await {
                meters::fetched("done");
                return Some(artefact);
            }
        }
        meters::fetched("nowhere");
        None
    }

    async fn fetch_of(&self, node: &NodeId, digest: Digest) -> Option<Artefact> {
        let mut component = BytesMut::new();
        let mut tries = 0;
        loop {
            let offset = u64::try_from(component.len()).ok()?;
            let piece = self.ask(node, &Question::Piece { digest, offset }).await;
            let (total, bytes, signatures) = match piece {
                Some(Answer::Piece { total, bytes, signatures }) => (total, bytes, signatures),
                Some(Answer::Unknown) => return None,
                _ if tries < PIECE_TRIES_MAX => {
                    tries += 1;
                    runtime::sleep(PIECE_AGAIN).await;
                    continue;
                }
                _ => return None,
            };
            component.extend_from_slice(&bytes);
            let whole = usize::try_from(total).ok().filter(|total| *total <= ARTEFACT_BYTES_MAX)?;
            if component.len() >= whole || bytes.is_empty() {
                let component = component.freeze();
                if Digest::of(&component) == digest {
                    return Some(Artefact { component, signatures });
                }
                meters::fetched("damaged");
                tracing::warn!(%node, %digest, "what came is not the component that was asked for");
                return None;
            }
        }
    }

    /// Answers another node.
    pub(crate) fn answer(self: &Arc<Self>, from: NodeId, body: &[u8]) -> Answering {
        let (question, shared) = (asked(body), Arc::clone(self));
        Box::pin(async move {
            let answer = match question {
                Some(Question::Piece { digest, offset }) => shared.piece(digest, offset).await?,
                Some(Question::Prepare { attempt, name, digest }) => {
                    Answer::Told(shared.prepare(&(name, digest), attempt, Some(from)))
                }
                Some(Question::Live) => Answer::Live(shared.number()),
                Some(Question::Beside { number, name, digest, sample }) => {
                    Answer::Beside(shared.begin_beside(number, &(name, digest), sample))
                }
                Some(Question::LookBeside { number }) => Answer::Beside(shared.look_beside(number)),
                Some(Question::EndBeside { number }) => Answer::Beside(shared.end_beside(number)),
                None => Answer::Unknown,
            };
            Ok(encode(&answer))
        })
    }

    async fn piece(&self, digest: Digest, offset: u64) -> Result<Answer, NotRun> {
        let Ok(_permit) = self.pieces.try_acquire() else { return Err(NotRun::Busy) };
        let artefacts = Arc::clone(&self.artefacts);
        let read = move || artefacts.piece(digest, offset, PIECE_BYTES);
        let piece = runtime::blocking(read).await.flatten();
        Ok(piece.map_or(Answer::Unknown, |piece| Answer::Piece {
            total: piece.total,
            bytes: Bytes::from(piece.bytes),
            signatures: piece.signatures.map(Bytes::from),
        }))
    }
}
