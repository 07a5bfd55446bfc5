//! One client of the load generator: a connection to each node it asks, and no retry.
//!
//! It lives on the same processors as what it measures, so it does as little as it can: requests are
//! written into one buffer, and of an answer it looks at the number and at most one field.

use std::io;

use client::{Connection, Target, write_request};

/// What a client says and to whom.
#[derive(Debug)]
pub(super) struct Door {
    targets: Vec<Target>,
    connections: Vec<Option<Connection>>,
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
    pub(super) fn new(targets: &[Target]) -> Self {
        let connections = targets.iter().map(|_| None).collect();
        Self { targets: targets.to_vec(), connections, request: Vec::new() }
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
        write_request(&mut self.request, method, to, path, headers, body);
        let answer = connection.exchange(&self.request).await?;
        Ok((answer.status, answer.body))
    }

    /// The same, for an answer that is JSON and must have this number.
    ///
    /// # Errors
    /// What the connection or the node said.
    pub(super) async fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        target: usize,
        ask: Ask<'_>,
        wanted: u16,
    ) -> io::Result<T> {
        let path = ask.path.to_owned();
        let (status, body) = self.ask(target, ask).await?;
        if status != wanted {
            let text = String::from_utf8_lossy(body);
            return Err(io::Error::other(format!("{path}: {status} {text}")));
        }
        serde_json::from_slice(body).map_err(io::Error::other)
    }
}

/// The text of the first field `name` in JSON, where the field's value is a text without escapes.
pub(super) fn field<'b>(body: &'b [u8], name: &str) -> Option<&'b str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, after) = text.split_once(name)?;
    let (_, value) = after.split_once('"').filter(|(between, _)| *between == "\":")?;
    value.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_found_without_reading_the_rest() {
        let body = br#"{"id":"0a1b","cursor":"c1"}"#;
        assert_eq!(field(body, "\"id"), Some("0a1b"));
        assert_eq!(field(body, "\"cursor"), Some("c1"));
        assert_eq!(field(body, "\"code"), None);
        assert_eq!(field(br#"{"id":5}"#, "\"id"), None);
    }
}
