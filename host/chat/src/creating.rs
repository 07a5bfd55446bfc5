//! Where a new chat comes to be: its token is random, and so is the partition it falls into.
//!
//! The node that is asked draws a token and lets whoever leads its partition make the chat, so that chats
//! spread over nodes as tokens do. A node that another one chose draws until the token is its own.

use hashring::PartitionId;
use model::{Change, ChatToken};
use replication::core::Why;

use crate::chats::{Asked, Shared};
use crate::forward::{Answer, Destination, Unanswered};
use crate::ran::{Interrupt, because, unknown};
use crate::routing::Leader;
use crate::{Refusal, Request, RequestOutcome, Response};

/// Tokens drawn in one go: even a node that leads one partition of 256 finds one of its own.
const DRAWS_MAX: usize = 4096;

/// How often it is tried to make one chat, each time under another token.
const TRIES_MAX: usize = 4;

/// A token, and who may be asked to make a chat of it.
struct Drawn {
    token: ChatToken,
    partition: PartitionId,
    /// The partition's epoch.
    known: u64,
    leader: Leader,
}

impl Shared {
    /// A new chat, wherever its token falls.
    pub(crate) async fn create_somewhere(
        &self,
        request: &Request,
        create: Change,
        asked: &Asked<'_>,
    ) -> Answer {
        let mut last = because(Why::NotLeading, RequestOutcome::NotCommitted);
        let mut patient = false;
        for _try in 0..TRIES_MAX {
            let Some(Drawn { token, partition, known, leader }) = self.draw(asked) else {
                if patient {
                    break;
                }
                // Nobody leads anything: as after a start. One partition is as good as another to wait for.
                patient = true;
                let partition = self.ledger.partitions().of_key(&self.ledger.token().key());
                let until = asked.deadline.min(runtime::now() + self.config.patience);
                self.settle(partition, true, until).await;
                continue;
            };
            let tried = match leader {
                Leader::Here(reign) => {
                    match Box::pin(self.create(&reign, token, create.clone(), asked)).await {
                        Ok(response) => Some(Ok(response)),
                        Err(Interrupt::Ended { appended: true }) => Some(Err(unknown())),
                        Err(Interrupt::Refused(refusal)) => nothing_done(*refusal, &mut last),
                        Err(Interrupt::Ended { appended: false } | Interrupt::Behind) => None,
                    }
                }
                Leader::There(node) => {
                    let to = Destination { node: &node, partition, known };
                    match self.forward(to, request, asked).await {
                        Ok(Answer::Done(Err(refusal))) => nothing_done(refusal, &mut last),
                        Ok(Answer::Done(done)) => Some(done),
                        Err(Unanswered::Lost) => Some(Err(unknown())),
                        Ok(Answer::Elsewhere(_)) | Err(Unanswered::NotRun) => None,
                    }
                }
                Leader::Nobody | Leader::Broken => None,
            };
            if let Some(result) = tried {
                return Answer::Done(result);
            }
        }
        Answer::Done(Err(last))
    }

    /// A token whose partition somebody leads who may be asked.
    fn draw(&self, asked: &Asked<'_>) -> Option<Drawn> {
        for _draw in 0..DRAWS_MAX {
            let token = self.ledger.token();
            let partition = self.ledger.partitions().of_key(&token.key());
            let (leader, view) = self.leader(partition, true);
            let may_ask = match &leader {
                Leader::Here(_) => true,
                Leader::There(_) => asked.context.hop == 0,
                Leader::Nobody | Leader::Broken => false,
            };
            if may_ask {
                return Some(Drawn { token, partition, known: view.epoch, leader });
            }
        }
        None
    }
}

/// Goes on with another token if nothing was done under this one.
fn nothing_done(refusal: Refusal, last: &mut Refusal) -> Option<Result<Response, Refusal>> {
    if refusal.retryable && refusal.outcome == Some(RequestOutcome::NotCommitted) {
        *last = refusal;
        return None;
    }
    Some(Err(refusal))
}
