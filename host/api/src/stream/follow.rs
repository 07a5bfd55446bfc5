//! One reader's way through one chat.

use std::sync::Arc;
use std::time::Duration;

use chat::{Page, Read, Request, Response};
use model::Cursor;
use runtime::{Backoff, Instant};

use crate::asked::put;
use crate::auth::{InChat, Reads};
use crate::endpoints::Edge;
use crate::problem::Problem;

/// Messages of one page. What a stream has in memory is one page, of at most about 1 MiB.
const LIMIT: u16 = 100;
/// How long one question waits. Afterwards a sign of life is due, and the token is looked at again.
const WAIT: Duration = Duration::from_secs(15);
/// How long nobody need lead the chat before the stream is given up: longer than a take-over takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// The first and the last ceiling of the wait between two questions that were refused.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_CAP: Duration = Duration::from_secs(2);

/// Reads on, page by page.
#[derive(Debug)]
pub(crate) struct Follower {
    edge: Arc<Edge>,
    grant: InChat<Reads>,
    reader: Option<String>,
    at: Option<Cursor>,
    seen: Option<Cursor>,
    request_id: String,
}

/// What a reader hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// More of the chat. It may show nothing and only move the cursor on: what it passed is not theirs.
    Page(Page),
    /// Nothing for a while.
    Quiet,
    /// It cannot go on.
    Refused(Problem),
}

impl Follower {
    /// Follows the grant's chat after `after`, or from its start; nothing is answered that is older than
    /// `seen`.
    pub(crate) fn new(
        edge: Arc<Edge>,
        grant: InChat<Reads>,
        reader: Option<String>,
        after: Option<Cursor>,
        seen: Option<Cursor>,
        request_id: String,
    ) -> Self {
        Self { edge, grant, reader, at: after, seen, request_id }
    }

    /// What is there already: perhaps nothing. To be asked first, and once.
    ///
    /// # Errors
    /// The chat is not to be read.
    pub(crate) async fn first(&mut self) -> Result<Page, Problem> {
        let page = self.ask(Duration::ZERO).await?;
        self.seen = None;
        self.at = Some(page.cursor);
        Ok(page)
    }

    /// What comes next. Cancel-safe: what was not returned is asked for again.
    pub(crate) async fn next(&mut self) -> Heard {
        let mut backoff = Backoff::new(AGAIN_FIRST, AGAIN_CAP);
        let mut refused_since: Option<Instant> = None;
        loop {
            if let Err(problem) = self.grant.still_valid(&self.edge.auth) {
                return Heard::Refused(problem);
            }
            match self.ask(WAIT).await {
                Ok(page) if Some(page.cursor) == self.at && page.messages.is_empty() => {
                    return Heard::Quiet;
                }
                Ok(page) => {
                    self.at = Some(page.cursor);
                    return Heard::Page(page);
                }
                Err(problem) => {
                    let since = *refused_since.get_or_insert_with(runtime::now);
                    let waited = runtime::now().duration_since(since);
                    if !problem.is_retryable() || waited >= PATIENCE {
                        return Heard::Refused(problem);
                    }
                    runtime::sleep(backoff.next(rand::random())).await;
                }
            }
        }
    }

    async fn ask(&self, wait: Duration) -> Result<Page, Problem> {
        let read = Read {
            token: self.grant.chat(),
            after: self.at,
            before: None,
            limit: LIMIT,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            reader: self.reader.clone(),
            confirmed: false,
        };
        let asking =
            put(&self.edge, &self.grant, Request::Read(read), wait, &self.request_id, self.seen);
        match asking.await? {
            Response::Page(page) => Ok(page),
            _ => Err(crate::endpoints::mismatch()),
        }
    }
}
