//! A client's end of a WebSocket: what is said and heard is JSON, and nobody waits for ever.

use std::io;
use std::time::Duration;

use serde_json::Value;

use crate::Http;

/// A node says something more often than this, if only to ask for a sign of life.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// One socket to one node.
#[derive(Debug)]
pub struct Socket(client::Socket);

impl Socket {
    /// Opens one, and takes its greeting.
    ///
    /// # Errors
    /// What the system says, or the node.
    pub async fn open(http: &Http) -> io::Result<Self> {
        let target = http.url().parse().map_err(io::Error::other)?;
        let mut socket = Self(client::Socket::open(&target).await?);
        let hello = socket.hear().await?;
        if hello["type"] == "hello" { Ok(socket) } else { Err(io::Error::other(hello.to_string())) }
    }

    /// Says something.
    ///
    /// # Errors
    /// What the system says.
    pub async fn say(&mut self, frame: &Value) -> io::Result<()> {
        self.0.put(&frame.to_string());
        self.0.flush().await
    }

    /// What is said next.
    ///
    /// # Errors
    /// The node ended the socket, or says nothing any more.
    pub async fn hear(&mut self) -> io::Result<Value> {
        let text = runtime::timeout(SILENCE_MAX, self.0.hear()).await;
        let text = text.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
        serde_json::from_str(text).map_err(io::Error::other)
    }
}
