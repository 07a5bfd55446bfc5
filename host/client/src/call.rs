//! One request with all its tries: whom to ask, when to ask again, and when to give up.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::ChatToken;
use runtime::Backoff;
use serde::de::DeserializeOwned;

use crate::client::Shared;
use crate::connection::write_request;
use crate::path::{header_safe, push};
use crate::{Bearer, Client, Connection, Cursor, Error, Problem, Target};

/// The first ceiling of the wait between two tries.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The last ceiling; a take-over of a partition takes a few seconds.
pub(crate) const RETRY_CAP: Duration = Duration::from_secs(2);

/// A request that can be made more than once.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a str,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) chat: Option<ChatToken>,
    /// How long it may take longer than usual.
    pub(crate) wait: Duration,
}

/// A try that failed, and at whom.
#[derive(Debug)]
pub(crate) struct Missed {
    pub(crate) target: Option<Target>,
    pub(crate) error: Error,
}

/// An answer that is no error.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) replay: bool,
    status: u16,
    pub(crate) body: Vec<u8>,
    target: Target,
}

impl Client {
    /// A try at the next node that may do.
    pub(crate) fn choose(&self, tried: &[Target]) -> Result<Target, Error> {
        self.shared.nodes.choose(None, tried, runtime::now()).ok_or(Error::NoUrl)
    }

    /// A connection to a node: one at rest, or a new one.
    pub(crate) async fn connection(&self, target: &Target) -> Result<Connection, Error> {
        match self.shared.pool.take(target) {
            Some(connection) => Ok(connection),
            None => connect(target, self.shared.options.connect).await,
        }
    }

    /// Asks once, for what can be done without.
    pub(crate) async fn peek<T: DeserializeOwned>(&self, call: &Call<'_>) -> Option<T> {
        self.once(call, &[]).await.ok()?.read().ok()
    }

    /// Tries until it is answered for good, or time is up.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Reply, Error> {
        let Shared { options, answered, .. } = &*self.shared;
        let begun = runtime::now();
        let give_up = begun + options.give_up + call.wait;
        let mut nobody = !answered.load(Ordering::Relaxed);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        let mut tried = Vec::new();
        loop {
            let error = match self.once(&call, &tried).await {
                Ok(reply) => {
                    self.shared.note_trouble(None);
                    return Ok(reply);
                }
                Err(Missed { target, error }) => {
                    // A node that was asked twice has been everywhere in between.
                    if target.as_ref().is_some_and(|target| tried.contains(target)) {
                        tried.clear();
                    }
                    tried.extend(target);
                    error
                }
            };
            nobody &= error.finds_nobody();
            let sooner = options.nobody.filter(|_| nobody).map(|within| begun + within);
            let give_up = sooner.map_or(give_up, |sooner| sooner.min(give_up));
            let asked_for = error.problem().and_then(|problem| problem.retry_after_ms);
            let asked_for = Duration::from_millis(asked_for.unwrap_or_default().into());
            let pause = backoff.next(rand::random()).max(asked_for);
            if !error.is_retryable() || runtime::now() + pause >= give_up {
                return Err(error);
            }
            tracing::debug!(%error, "trying again");
            self.shared.note_trouble(Some(error.to_string()));
            runtime::sleep(pause).await;
        }
    }

    /// Tries once, and remembers who did not answer.
    async fn once(&self, call: &Call<'_>, tried: &[Target]) -> Result<Reply, Missed> {
        let Shared { nodes, options, .. } = &*self.shared;
        let Some(target) = nodes.choose(call.chat, tried, runtime::now()) else {
            return Err(Missed { target: None, error: Error::NoUrl });
        };
        let within = options.answer + call.wait;
        let result = match runtime::timeout(within, self.exchange(call, &target)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Error::Timeout { target: target.clone() }),
        };
        result.map_err(|error| {
            // One that says no for this chat may be the right one for every other.
            if error.is_silence() {
                nodes.shun(&target, runtime::now());
            }
            Missed { target: Some(target), error }
        })
    }

    async fn exchange(&self, call: &Call<'_>, target: &Target) -> Result<Reply, Error> {
        let Shared { pool, nodes, answered, .. } = &*self.shared;
        let mut request = Vec::new();
        let (headers, body) = (self.headers(call), call.body.as_deref());
        write_request(&mut request, call.method, target, call.path, &headers, body);
        let mut connection = self.connection(target).await?;
        let lost = |source| Error::Lost { target: target.clone(), source };
        let answer = connection.exchange(&request).await.map_err(lost)?;
        answered.store(true, Ordering::Relaxed);
        if let Some(version) = answer.ring {
            nodes.learn_version(target, version);
        }
        if let Some((chat, primary)) = call.chat.zip(answer.primary) {
            nodes.learn_primary(chat, primary);
        }
        let reply = Reply::new(answer.status, answer.replay, answer.body, target);
        pool.put(target, connection);
        reply.checked()
    }

    /// The line of a request that says who asks.
    pub(crate) fn bearer(&self) -> String {
        let bearer = self.shared.bearer.read().unwrap_or_else(PoisonError::into_inner);
        bearer.as_ref().map(Bearer::header).unwrap_or_default()
    }

    /// The lines of a request that say who asks, and how far they have seen.
    fn headers(&self, call: &Call<'_>) -> String {
        let mut headers = call.headers.to_owned();
        headers.push_str(&self.bearer());
        if let Some(Cursor(seen)) = call.chat.and_then(|chat| self.shared.seen.of(chat)) {
            let seen = header_safe(&seen);
            push(&mut headers, format_args!("carillon-seen: {seen}\r\n"));
        }
        headers
    }
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: &'static str, path: &'a str, chat: Option<ChatToken>) -> Self {
        Self { method, path, headers: "", body: None, chat, wait: Duration::ZERO }
    }
}

impl Reply {
    /// An answer as it came.
    pub(crate) fn new(status: u16, replay: bool, body: &[u8], target: &Target) -> Self {
        Self { replay, status, body: body.to_vec(), target: target.clone() }
    }

    pub(crate) fn checked(self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => Err(Error::Refused(Box::new(problem))),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> Error {
        let (target, status) = (self.target.clone(), self.status);
        Error::Unreadable { target, status, detail: error.to_string() }
    }
}

async fn connect(target: &Target, within: Duration) -> Result<Connection, Error> {
    let unreachable = |source| Error::Unreachable { target: target.clone(), source };
    match runtime::timeout(within, Connection::open(target)).await {
        Ok(opened) => opened.map_err(unreachable),
        Err(_elapsed) => Err(unreachable(io::ErrorKind::TimedOut.into())),
    }
}
