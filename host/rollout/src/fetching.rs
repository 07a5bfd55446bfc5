//! Components on their way between nodes, in pieces.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashring::NodeId;
use replication::{Answering, ForwardError, NotRun, RequestHead};

use crate::artefacts::Artefact;
use crate::question::{Answer, PIECE_BYTES, Question, asked, decode, encode};
use crate::rollout::Shared;
use crate::settings::Point;
use crate::transfer::{Ended, Heard, Missing, Next, Transfer};
use crate::{Digest, meters};

/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Pieces that are read for other nodes at once: each is a MiB of memory.
pub(crate) const PIECES_AT_ONCE: usize = 4;

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    /// The node has no time for it.
    Busy,
    /// It said nothing, or nothing that is understood.
    Silence,
}

impl Shared {
    /// Asks another node. `None`: no answer, or one that is not understood.
    pub(crate) async fn ask(&self, to: &NodeId, question: &Question) -> Option<Answer> {
        self.try_ask(to, question).await.ok()
    }

    async fn try_ask(&self, to: &NodeId, question: &Question) -> Result<Answer, Unanswered> {
        let network = self.network.get().ok_or(Unanswered::Silence)?;
        let wait_ms = u32::try_from(ANSWER_MAX.as_millis()).unwrap_or(u32::MAX);
        let head = RequestHead { hop: 1, wait_ms };
        match network.replication.forward(to, head, encode(question)).await {
            Ok(bytes) => decode(&bytes).ok_or(Unanswered::Silence),
            Err(ForwardError::NotRun { why: Some(NotRun::Busy), .. }) => Err(Unanswered::Busy),
            Err(_silent) => Err(Unanswered::Silence),
        }
    }

    /// A component of another node: of `first`, or of any that is connected.
    pub(crate) async fn fetch(
        &self,
        digest: Digest,
        first: Option<NodeId>,
    ) -> Result<Artefact, Missing> {
        let nodes = self.network.get().map(|network| network.replication.ring());
        let others = nodes.iter().flat_map(|ring| &ring.nodes);
        let others = others.filter(|node| node.up && node.id != self.settings.node);
        let others = others.map(|node| node.id.clone()).filter(|node| Some(node) != first.as_ref());
        let first = first.clone().filter(|node| *node != self.settings.node);
        let mut missing = Missing::Nowhere(digest);
        for node in first.into_iter().chain(others) {
            match self.fetch_of(&node, digest).await {
                Ok(artefact) => {
                    meters::fetched("done");
                    return Ok(artefact);
                }
                Err((ended, began)) => {
                    if let Some(why) = told(ended, began) {
                        missing = Missing::NotGiven { node, digest, why };
                    }
                }
            }
        }
        meters::fetched(match missing {
            Missing::Nowhere(_) => "nowhere",
            Missing::NotGiven { .. } => "not-given",
        });
        Err(missing)
    }

    /// What a node has, or why not, and whether it had begun to come.
    async fn fetch_of(&self, node: &NodeId, digest: Digest) -> Result<Artefact, (Ended, bool)> {
        let mut transfer = Transfer::new(digest);
        let mut offset = 0;
        loop {
            let heard = match self.try_ask(node, &Question::Piece { digest, offset }).await {
                Ok(Answer::Piece { total, bytes, signatures }) => {
                    if offset == 0 {
                        self.settings.reached(Point::Fetching).await;
                    }
                    Heard::Piece { total, bytes, signatures }
                }
                Ok(Answer::Unknown) => Heard::Unknown,
                Err(Unanswered::Busy) => Heard::Busy,
                Ok(_) | Err(Unanswered::Silence) => Heard::Silence,
            };
            offset = match transfer.heard(heard, rand::random()) {
                Next::Ask(offset) => offset,
                Next::AskAfter(pause, offset) => {
                    runtime::sleep(pause).await;
                    offset
                }
                Next::Done(artefact) => return Ok(artefact),
                Next::End(ended) => {
                    if ended == Ended::Damaged {
                        meters::fetched("damaged");
                        tracing::warn!(%node, %digest,
                            "what came is not the component that was asked for");
                    }
                    return Err((ended, offset > 0));
                }
            };
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

/// Why a node that has a component does not give it; `None`: it is not known to have it.
fn told(ended: Ended, began: bool) -> Option<&'static str> {
    match (ended, began) {
        (Ended::Busy, _) => Some("had no time to give it"),
        (Ended::Silent, true) => Some("went silent before all of it was here"),
        (Ended::Silent, false) | (Ended::Unknown | Ended::Damaged, _) => None,
    }
}
