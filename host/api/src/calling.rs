//! How the chats are asked for whoever was let through: only what the grant covers, until when, and what is
//! answered if they say nothing by then.

use std::time::Duration;

use chat::{CallContext, Code, Refusal, Request, RequestOutcome, Response};
use model::Cursor;

use crate::auth::{Caller, Grant};
use crate::endpoints::Edge;
use crate::problem::Problem;

/// What the chats may be late beyond their deadline before their answer is given up.
const LATE_MAX: Duration = Duration::from_secs(1);

/// What is known of a request beside what it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aside<'a> {
    /// How much longer than usual it may take.
    pub(crate) wait: Duration,
    pub(crate) request_id: &'a str,
    /// The answer may not be older than this.
    pub(crate) seen: Option<Cursor>,
    /// The number of the connection it came over.
    pub(crate) connection: u64,
}

/// Asks the chats for whoever has `grant`, and only what it covers.
pub(crate) async fn put(
    edge: &Edge,
    grant: &impl Grant,
    request: Request,
    aside: Aside<'_>,
) -> Result<Response, Problem> {
    let context = context(edge, grant, &request, aside)?;
    settle(edge, request, context).await
}

/// What is said beside a request, if the grant covers it. Who asks is who the token names; where nobody needs one, each
/// connection is somebody.
pub(crate) fn context(
    edge: &Edge,
    grant: &impl Grant,
    request: &Request,
    aside: Aside<'_>,
) -> Result<CallContext, Problem> {
    let Aside { wait, request_id, seen, connection } = aside;
    if !grant.covers(request) {
        return Err(Problem::new(Code::Internal, "an endpoint asked beyond its grant"));
    }
    let deadline = runtime::now() + edge.config.patience.answer + wait;
    let caller = grant.caller().and_then(Caller::number).unwrap_or(connection);
    Ok(CallContext { deadline, request_id: request_id.to_owned(), seen, hop: 0, caller })
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
