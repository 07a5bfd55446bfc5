//! One client of the load generator: a connection to each node it asks, and no retry of what is measured.
//!
//! It lives on the same processors as what it measures, so it does as little as it can: requests are
//! written into one buffer, and of an answer it looks at the number and at most one field.

use std::io;
use std::time::Duration;

use client::{Bearer, Connection, Target, write_request};

/// So long a node may be unable to do what a measurement needs before it, asked so often.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(200);

/// What a client says and to whom. Not to be printed: it may hold a token.
pub(super) struct Door {
    targets: Vec<Target>,
    connections: Vec<Option<Connection>>,
    /// A line with its end, or nothing.
    proof: String,
    headers: String,
    request: Vec<u8>,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Lines, each with its line end.
    pub(super) headers: &'a str,
    pub(super) body: Option<&'a [u8]>,
}

impl<'a> Ask<'a> {
    /// `GET path`.
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: "", body: None }
    }
}

impl Door {
    /// A client of these nodes. It connects when it asks.
    pub(super) fn new(targets: &[Target], bearer: Option<&Bearer>) -> Self {
        let connections = targets.iter().map(|_| None).collect();
        let proof = bearer.map(Bearer::header).unwrap_or_default();
        let (targets, headers) = (targets.to_vec(), String::new());
        Self { targets, connections, proof, headers, request: Vec::new() }
    }

    /// How many nodes it knows.
    pub(super) fn targets(&self) -> usize {
        self.targets.len()
    }

    /// Which of its nodes that is.
    pub(super) fn index(&self, target: &Target) -> Option<usize> {
        self.targets.iter().position(|known| known == target)
    }

    /// Asks node `target` once: HTTP's number and the body.
    ///
    /// # Errors
    /// What the connection said; the next request opens another one.
    pub(super) async fn ask(&mut self, target: usize, ask: Ask<'_>) -> io::Result<(u16, &[u8])> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let to = self.targets.get(target).ok_or_else(missing)?;
        let connection = self.connections.get_mut(target).ok_or_else(missing)?;
        // One that was cut off in the middle, or closed, is of no use.
        if connection.as_ref().is_some_and(|open| !open.is_usable()) {
            *connection = None;
        }
        let connection = match connection {
            Some(open) => open,
            None => connection.insert(Connection::open(to).await?),
        };
        let Ask { method, path, headers, body } = ask;
        self.headers.clear();
        self.headers.push_str(&self.proof);
        self.headers.push_str(headers);
        write_request(&mut self.request, method, to, path, &self.headers, body);
        let answer = connection.exchange(&self.request).await?;
        Ok((answer.status, answer.body))
    }

    /// The same, for an answer that is JSON and must have this number. It prepares what is measured, so a node that
    /// cannot do it at the moment is asked again for a while.
    ///
    /// # Errors
    /// What the connection or the node said.
    pub(super) async fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        target: usize,
        ask: Ask<'_>,
        wanted: u16,
    ) -> io::Result<T> {
        let until = runtime::now() + PATIENCE;
        loop {
            let (status, body) = self.ask(target, ask).await?;
            if status == wanted {
                return serde_json::from_slice(body).map_err(io::Error::other);
            }
            if status != 503 || runtime::now() >= until {
                let text = String::from_utf8_lossy(body);
                return Err(io::Error::other(format!("{}: {status} {text}", ask.path)));
            }
            runtime::sleep(AGAIN).await;
        }
    }
}

/// What stands between `before`, like `"id":"`, and the next quote: enough for texts without escapes.
pub(super) fn text_after<'b>(body: &'b [u8], before: &str) -> Option<&'b str> {
    let (_, after) = std::str::from_utf8(body).ok()?.split_once(before)?;
    after.split_once('"').map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::text_after;

    #[test]
    fn a_text_is_found_without_reading_the_rest() {
        let body = br#"{"also":[],"id":"0a1b","cursor":"c1"}"#;
        assert_eq!(text_after(body, r#""id":""#), Some("0a1b"));
        assert_eq!(text_after(body, r#""cursor":""#), Some("c1"));
        assert_eq!(text_after(body, r#""code":""#), None);
        assert_eq!(text_after(br#"{"id":5}"#, r#""id":""#), None);
    }
}
