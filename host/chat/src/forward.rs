//! A request on its way to the node that leads its chat, as bytes.
//!
//! One hop and no more: a node that is asked by another and does not lead either answers who does, and
//! the first one decides what to do about it. The first byte says which version the rest has.

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use model::Cursor;
use replication::core::PartitionView;
use replication::{ANSWER_BYTES_MAX, ForwardError, RequestHead};
use serde::{Deserialize, Serialize};

use crate::chats::{Asked, Shared, is_read};
use crate::{CallContext, Code, Refusal, Request, RequestOutcome, Response};

/// The version of both.
const VERSION: u8 = 7;

/// The node that runs it has so much less time, so that its answer arrives before the asker is gone.
const MARGIN_MS: u32 = 50;

/// A request of another node.
#[derive(Debug, Serialize, Deserialize)]
struct Forwarded {
    request: Request,
    request_id: String,
    seen: Option<Cursor>,
    caller: u64,
}

/// What a node says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// This.
    Done(Result<Response, Refusal>),
    /// Nothing was done: this node does not lead the chat, and that one does, as far as it knows.
    Elsewhere(Option<NodeId>),
}

/// Whom a request is sent on to, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) node: &'a NodeId,
    /// Which it leads.
    pub(crate) partition: PartitionId,
    /// The epoch of this partition that was known before it was chosen.
    pub(crate) known: u64,
}

impl Destination<'_> {
    /// Whether somebody else leads by now.
    pub(crate) fn is_overtaken(self, view: &PartitionView) -> bool {
        let another = view.primary.as_ref().is_some_and(|primary| primary != self.node);
        view.open && another && view.epoch > self.known
    }
}

/// Why a request that was sent on has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It was not run.
    NotRun,
    /// It may have been run.
    Lost,
}

impl Shared {
    /// Lets another node run it. Its answer counts as lost when somebody else has come to lead before it.
    pub(crate) async fn forward(
        &self,
        to: Destination<'_>,
        request: &Request,
        asked: &Asked<'_>,
    ) -> Result<Answer, Unanswered> {
        let request = match request {
            // The other node counts from when it is asked.
            Request::Read(read) => {
                let left = asked.waits_until.saturating_duration_since(runtime::now());
                let wait_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
                Request::Read(crate::Read { wait_ms, ..read.clone() })
            }
            other => other.clone(),
        };
        let forwarded = Forwarded {
            request,
            request_id: asked.context.request_id.clone(),
            seen: asked.context.seen,
            caller: asked.context.caller,
        };
        let wait_ms = u32::try_from(asked.left().as_millis()).unwrap_or(u32::MAX);
        let head =
            RequestHead { hop: asked.context.hop + 1, wait_ms: wait_ms.saturating_sub(MARGIN_MS) };
        self.meters.forwarded.increment(1);
        let answer = tokio::select! {
            biased;
            answer = self.ledger.forward(to.node, head, encode(&forwarded)) => answer,
            () = self.overtaken(to) => {
                self.meters.overtaken.increment(1);
                return Err(Unanswered::Lost);
            }
        };
        match answer {
            Ok(bytes) => decode(&bytes).ok_or(Unanswered::Lost),
            Err(ForwardError::NotRun { .. }) => Err(Unanswered::NotRun),
            Err(ForwardError::Lost { .. } | ForwardError::Late { .. }) => Err(Unanswered::Lost),
        }
    }

    /// Runs a request of another node.
    pub(crate) async fn answer_node(&self, head: RequestHead, body: Bytes) -> Bytes {
        let Some(forwarded) = decode::<Forwarded>(&body) else {
            let detail = "the node that was asked does not understand the one that asks";
            return encode(&Answer::Done(Err(Refusal::new(Code::NotReady, detail))));
        };
        let context = CallContext {
            deadline: runtime::now() + std::time::Duration::from_millis(head.wait_ms.into()),
            request_id: forwarded.request_id,
            seen: forwarded.seen,
            hop: head.hop.max(1),
            caller: forwarded.caller,
        };
        let answer = self.answer(&forwarded.request, &context).await;
        let bytes = encode(&answer);
        let Some(refusal) = too_long(&forwarded.request, bytes.len()) else { return bytes };
        let request_id = &context.request_id;
        tracing::error!(request_id, bytes = bytes.len(), "an answer too long to be sent to a node");
        encode(&Answer::Done(Err(refusal)))
    }
}

/// What is said instead of an answer that cannot cross: said at all, because an asker who hears nothing
/// asks again. What was stored stays stored.
fn too_long(request: &Request, bytes: usize) -> Option<Refusal> {
    if bytes <= ANSWER_BYTES_MAX {
        return None;
    }
    let mut refusal = Refusal::new(
        Code::Internal,
        format!("the answer has {bytes} bytes, and between nodes it may have {ANSWER_BYTES_MAX}"),
    );
    refusal.retryable = false;
    refusal.outcome = (!is_read(request)).then_some(RequestOutcome::Unknown);
    Some(refusal)
}

fn encode(value: &impl Serialize) -> Bytes {
    // Cannot fail: plain data into memory.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default().into()
}

fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let (version, rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (value, left) = postcard::take_from_bytes(rest).ok()?;
    left.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use hashring::{NodeId, PartitionId};
    use model::ChatToken;
    use replication::ANSWER_BYTES_MAX;
    use replication::core::PartitionView;

    use super::{Answer, Destination, VERSION, decode, encode, too_long};
    use crate::{Code, Refusal, Request, RequestOutcome, Response};

    #[test]
    fn an_answer_that_cannot_cross_is_a_refusal_that_nobody_retries() {
        let token = ChatToken([1; 16]);
        let (show, end) =
            (Request::Show { token, confirmed: false }, Request::End { token, sender: None });
        assert_eq!(too_long(&show, ANSWER_BYTES_MAX), None);
        for (request, outcome) in [(show, None), (end, Some(RequestOutcome::Unknown))] {
            let refusal = too_long(&request, ANSWER_BYTES_MAX + 1).unwrap();
            assert_eq!((refusal.code, refusal.retryable), (Code::Internal, false));
            assert_eq!(refusal.outcome, outcome);
        }
    }

    #[test]
    fn an_answer_crosses_and_a_broken_one_does_not() {
        let answer = Answer::Done(Ok(Response::Joined { ordinal: 3 }));
        let bytes = encode(&answer);
        assert_eq!(decode(&bytes), Some(answer));
        let no = Answer::Done(Err(Refusal::rejected("p", "c", "r", Some(1))));
        assert_eq!(decode(&encode(&no)), Some(no));
        for length in 0..bytes.len() {
            assert_eq!(decode::<Answer>(&bytes[..length]), None);
        }
        assert_eq!(
            decode::<Answer>(&[&[VERSION + 1], &bytes[1..]].concat()),
            None,
            "a later version"
        );
        let _compiles = Refusal::new(Code::NotReady, "");
    }

    #[test]
    fn only_another_leader_of_a_later_epoch_overtakes_a_request() {
        let [asked, other]: [NodeId; 2] = ["n1", "n2"].map(|name| name.parse().unwrap());
        let to = Destination { node: &asked, partition: PartitionId(0), known: 5 };
        let view = |epoch, primary: Option<&NodeId>, open| PartitionView {
            epoch,
            primary: primary.cloned(),
            open,
            ..PartitionView::default()
        };
        assert!(to.is_overtaken(&view(6, Some(&other), true)));
        for (view, why) in [
            (view(6, Some(&other), false), "it is not open yet: the asked node may still answer"),
            (view(6, Some(&asked), true), "the asked node leads on, with another ensemble"),
            (view(6, None, true), "nobody"),
            (view(5, Some(&other), true), "what was known when a hint named the asked node"),
        ] {
            assert!(!to.is_overtaken(&view), "{why}");
        }
    }
}
