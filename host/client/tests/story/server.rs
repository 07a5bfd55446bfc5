//! A node that answers what the test says, byte for byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Client, Options};
use runtime::{Stop, Tasks};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A token that is well-formed.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What the node does with one request.
pub(crate) enum Act {
    /// Answers with this status and JSON.
    Say(u16, String),
    /// Answers with these bytes and keeps the connection.
    Raw(String),
    /// Answers with these bytes and closes the connection.
    Cut(String),
    /// Closes the connection without an answer.
    HangUp,
    /// Never answers.
    Stall,
}

type Script = dyn Fn(&str) -> Act + Send + Sync;

/// A node on a port of its own.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    accepted: Arc<Mutex<usize>>,
    _tasks: Tasks,
}

impl Node {
    /// A node that does what `script` says to each request's text.
    pub(crate) async fn start(script: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Tasks::current(Stop::default());
        let (heard, accepted) = (Arc::default(), Arc::new(Mutex::new(0)));
        let script: Arc<Script> = Arc::new(script);
        let node = Self {
            address,
            heard: Arc::clone(&heard),
            accepted: Arc::clone(&accepted),
            _tasks: tasks.clone(),
        };
        tasks.clone().spawn("node", async move {
            while let Ok((stream, _)) = listener.accept().await {
                *accepted.lock().unwrap() += 1;
                let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
                tasks.spawn("connection", serve(stream, script, heard));
            }
        });
        node
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, each from its first line to the end of its body.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn accepted(&self) -> usize {
        *self.accepted.lock().unwrap()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, heard: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    loop {
        while let Some(length) = whole(&bytes) {
            let request = String::from_utf8(bytes.drain(..length).collect()).unwrap();
            let act = script(&request);
            heard.lock().unwrap().push(request);
            let answer = match act {
                Act::Say(status, body) => {
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                }
                Act::Raw(answer) => answer,
                Act::Cut(answer) => {
                    // Whoever asked may have gone.
                    let _gone = stream.write_all(answer.as_bytes()).await;
                    return;
                }
                Act::HangUp => return,
                Act::Stall => return std::future::pending().await,
            };
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
    }
}

/// The length of the first request in `bytes`, if all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes).unwrap();
    let end = text.find("\r\n\r\n")? + 4;
    let length = text.get(..end)?.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = end + length.map_or(0, |length| length.parse::<usize>().unwrap());
    (bytes.len() >= length).then_some(length)
}

/// A client that is soon out of patience.
pub(crate) fn hasty(nodes: &[&Node]) -> Client {
    hasty_at(nodes.iter().map(|node| node.url()))
}

pub(crate) fn hasty_at(urls: impl IntoIterator<Item = String>) -> Client {
    let options = Options {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(200),
        give_up: Duration::from_secs(2),
        nobody: None,
        ask_leaders: false,
    };
    Client::with_options(urls, options).unwrap()
}

/// The answer to a send.
pub(crate) fn sent(text: &str) -> Act {
    let message = message(text);
    Act::Say(
        201,
        format!(
            r#"{{"id": "{id}", "cursor": "1-1", "time_ms": 5, "durability": "quorum", "stamps": [],
                "message": {message}, "also": []}}"#,
            id = "01".repeat(16),
        ),
    )
}

pub(crate) fn message(text: &str) -> String {
    format!(
        r#"{{"id": "{id}", "cursor": "1-1", "sender": "alice", "kind": "text", "route": "everyone",
            "text": "{text}", "attrs": {{}}, "time_ms": 5, "stamps": []}}"#,
        id = "01".repeat(16),
    )
}

pub(crate) fn problem(status: u16, code: &str, retryable: bool) -> Act {
    let body = format!(
        r#"{{"status": {status}, "code": "{code}", "detail": "because", "retryable": {retryable}}}"#
    );
    Act::Say(status, body)
}

/// The key of a request.
pub(crate) fn key(request: &str) -> &str {
    request.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap()
}
