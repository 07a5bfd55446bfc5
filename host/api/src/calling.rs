//! How the chats are asked for whoever was let through: only what the grant covers, until when, and what is
//! answered if they say nothing by then.

use std::time::Duration;

use chat::{CallContext, Code, Refusal, Request, RequestOutcome, Response};
use model::Cursor;

use crate::auth::Grant;
use crate::endpoints::Edge;
use crate::problem::Problem;

/// What the chats may be late beyond their deadline before their answer is given up.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Asks the chats for whoever has `grant`, and only what it covers.
pub(crate) async fn put(
    edge: &Edge,
    grant: &impl Grant,
    request: Request,
    wait: Duration,
    request_id: &str,
    seen: Option<Cursor>,
) -> Result<Response, Problem> {
    let context = context(edge, grant, &request, wait, request_id, seen)?;
    settle(edge, request, context).await
}

/// What is said beside a request that may take `wait` longer than usual, if the grant covers it.
pub(crate) fn context(
    edge: &Edge,
    grant: &impl Grant,
    request: &Request,
    wait: Duration,
    request_id: &str,
    seen: Option<Cursor>,
) -> Result<CallContext, Problem> {
    if !grant.covers(request) {
        return Err(Problem::new(Code::Internal, "an endpoint asked beyond its grant"));
    }
    let deadline = runtime::now() + edge.config.patience.answer + wait;
    Ok(CallContext { deadline, request_id: request_id.to_owned(), seen, hop: 0 })
}

/// The chats' answer, or none in time.
pub(crate) async fn settle(
    edge: &Edge,
    request: Request,
    context: CallContext,
) -> Result<Response, Problem> {
    let within = context.deadline.saturating_duration_since(runtime::now()) + LATE_MAX;
    let answer = edge.ask.call(request, context);
    match runtime::timeout(within, answer).await {
        Ok(answer) => answer.map_err(Problem::from),
        Err(_elapsed) => {
            let refusal = Refusal::new(Code::Timeout, "no answer in time");
            Err(refusal.with_outcome(RequestOutcome::Unknown).into())
        }
    }
}
