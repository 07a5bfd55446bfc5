//! One reader's way through one chat.

use std::sync::Arc;
use std::time::Duration;

use chat::{Page, Pulse, PulseAt, Read, Request, Response};
use model::Cursor;
use runtime::{Backoff, Instant};

use crate::auth::{InChat, Reads};
use crate::calling::{Aside, put};
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
    /// As of when what is not written was told.
    told: PulseAt,
    /// The number of the connection.
    connection: u64,
    request_id: String,
}

/// What is there when a reader begins.
#[derive(Debug)]
pub(crate) struct First {
    pub(crate) page: Page,
    /// Of what is not written; who is there is not in it, since that is what the chat shows.
    pub(crate) pulse: Option<Box<Pulse>>,
}

/// What a reader hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// More of the chat.
    More {
        /// It may show nothing and only move the cursor on: what it passed is not theirs.
        page: Option<Page>,
        /// What changed of what is not written.
        pulse: Option<Box<Pulse>>,
    },
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
        (connection, request_id): (u64, String),
    ) -> Self {
        let told = PulseAt::default();
        Self { edge, grant, reader, at: after, seen, told, connection, request_id }
    }

    /// What is there already: perhaps nothing. To be asked first, and once.
    ///
    /// # Errors
    /// The chat is not to be read.
    pub(crate) async fn first(&mut self) -> Result<First, Problem> {
        let mut page = self.ask(Duration::ZERO).await?;
        self.seen = None;
        self.at = Some(page.cursor);
        let mut pulse = self.pulse(&mut page);
        if let Some(pulse) = &mut pulse {
            pulse.typing = pulse.typing.take().filter(|typing| !typing.is_empty());
            pulse.read = pulse.read.take().filter(|read| !read.is_empty());
            pulse.people = None;
        }
        Ok(First { page, pulse })
    }

    /// Takes what is not written from a page, and remembers that it was told.
    fn pulse(&mut self, page: &mut Page) -> Option<Box<Pulse>> {
        let pulse = page.pulse.take();
        self.told = pulse.as_ref().map_or(self.told, |pulse| pulse.at);
        pulse
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
                Ok(mut page) => {
                    let pulse = self.pulse(&mut page);
                    let moved = Some(page.cursor) != self.at
                        || !page.messages.is_empty()
                        || page.gap.is_some();
                    if !moved && pulse.is_none() {
                        return Heard::Quiet;
                    }
                    self.at = Some(page.cursor);
                    return Heard::More { page: moved.then_some(page), pulse };
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
            pulse: Some(self.told),
        };
        let Self { seen, connection, .. } = *self;
        let aside = Aside { wait, request_id: &self.request_id, seen, connection };
        match put(&self.edge, &self.grant, Request::Read(read), aside).await? {
            Response::Page(page) => Ok(page),
            _ => Err(crate::endpoints::mismatch()),
        }
    }
}
