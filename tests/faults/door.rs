//! One request to one node, and what a client knows after it.

use std::io;
use std::time::Duration;

use client::{Connection, Target, write_request};
use model::{Cursor, MessageId};
use serde_json::Value;
use tests::history::{Content, Durability, Outcome, Page, Seen, Stored};

/// For a connection: on one machine it is there at once or never.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longer than a node takes to say that the outcome of a send is unknown.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(6);

/// Refusals before anything was appended, which carry no outcome of their own.
const BEFORE: [&str; 5] =
    ["not-ready", "overloaded", "rate-limited", "storage-full", "plugin-failed"];

/// A connection to each node, opened when it is needed. It never tries twice.
#[derive(Debug)]
pub(crate) struct Door {
    targets: Vec<Target>,
    connections: Vec<Option<Connection>>,
    request: Vec<u8>,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// Lines, each with its line end.
    pub(crate) headers: &'a str,
    pub(crate) body: Option<&'a [u8]>,
    pub(crate) within: Duration,
}

/// HTTP's number, whether it repeats an answer, and the body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) replay: bool,
    pub(crate) body: Value,
}

impl Door {
    pub(crate) fn new(urls: &[String]) -> Self {
        let targets: Result<Vec<Target>, _> = urls.iter().map(|url| url.parse()).collect();
        let targets = targets.unwrap_or_else(|error| panic!("{error}"));
        let connections = targets.iter().map(|_| None).collect();
        Self { targets, connections, request: Vec::new() }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> usize {
        self.targets.len()
    }

    /// Asks a node once.
    ///
    /// # Errors
    /// What the connection said. It may have been done.
    pub(crate) async fn ask(&mut self, node: usize, ask: Ask<'_>) -> io::Result<Answer> {
        let mut connection = match self.connections[node].take().filter(Connection::is_usable) {
            Some(connection) => connection,
            None => {
                let opened = runtime::timeout(CONNECT_MAX, Connection::open(&self.targets[node]));
                match opened.await {
                    Ok(Ok(connection)) => connection,
                    // Nothing was sent: that much is certain.
                    Ok(Err(_)) | Err(_) => return Err(io::ErrorKind::ConnectionRefused.into()),
                }
            }
        };
        let Ask { method, path, headers, body, within } = ask;
        write_request(&mut self.request, method, &self.targets[node], path, headers, body);
        let answer = runtime::timeout(within, connection.exchange(&self.request)).await;
        let answer = answer.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
        let (status, replay) = (answer.status, answer.replay);
        let body = serde_json::from_slice(answer.body).map_err(io::Error::other)?;
        self.connections[node] = Some(connection);
        Ok(Answer { status, replay, body })
    }
}

/// What a client knows after a send.
pub(crate) fn outcome(answer: io::Result<Answer>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Outcome::NotCommitted { code: "connection refused".to_owned() };
        }
        Err(error) => return Outcome::Unknown { code: error.kind().to_string() },
    };
    let Answer { status, replay, body } = &answer;
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    match status {
        200 | 201 => match stored(body, *replay) {
            Some(stored) => Outcome::Ok(stored),
            None => panic!("an answer that nobody can read: {body}"),
        },
        202 => Outcome::Held { id: id(body).unwrap_or_else(|| panic!("no id: {body}")) },
        _ => {
            let code = text("code");
            match text("outcome").as_str() {
                "not-committed" => Outcome::NotCommitted { code },
                "unknown" => Outcome::Unknown { code },
                _ if BEFORE.contains(&code.as_str()) => Outcome::NotCommitted { code },
                _ if *status >= 500 || *status == 408 => Outcome::Unknown { code },
                _ => Outcome::Refused { code },
            }
        }
    }
}

fn stored(body: &Value, replay: bool) -> Option<Stored> {
    let durability = match body["durability"].as_str()? {
        "quorum" => Durability::Quorum,
        "local" => Durability::Local,
        _ => return None,
    };
    Some(Stored { id: id(body)?, cursor: cursor(&body["cursor"])?, durability, replay })
}

fn id(body: &Value) -> Option<MessageId> {
    MessageId::parse(body["id"].as_str()?)
}

/// A cursor, looked into: see `tests::history`.
pub(crate) fn cursor(value: &Value) -> Option<Cursor> {
    value.as_str()?.parse().ok()
}

/// What a page shows.
pub(crate) fn page(body: &Value) -> Option<Page> {
    let messages = body["messages"].as_array()?.iter().map(seen).collect::<Option<_>>()?;
    Some(Page { head: cursor(&body["head"])?, messages })
}

fn seen(message: &Value) -> Option<Seen> {
    let content = Content::of(message["sender"].as_str()?, message["text"].as_str()?);
    Some(Seen { cursor: cursor(&message["cursor"])?, id: id(message)?, content })
}
