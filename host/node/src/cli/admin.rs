//! Asking a node what operators ask, over its own listener.
//!
//! One request a connection, and no second try: an operator sees at once that nobody answers.

use std::io;
use std::time::Duration;

use client::{Connection, Target, write_request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Problem;

/// A node's own bound on an answer is 8 s; what comes later was lost.
const ANSWER_MAX: Duration = Duration::from_secs(12);
/// A change of plugins waits for the slowest node, which a node bounds by itself.
const CHANGE_MAX: Duration = Duration::from_secs(420);
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// A node's listener for operators.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Admin {
    target: Target,
}

impl Admin {
    /// The one at `url`.
    pub(in crate::cli) fn new(url: &str) -> Result<Self, Problem> {
        let target = url.parse().map_err(|error: client::InvalidUrl| {
            Problem::usage(error, "Write --admin http://127.0.0.1:7181")
        })?;
        Ok(Self { target })
    }

    /// Where it is.
    pub(in crate::cli) fn url(&self) -> String {
        self.target.to_string()
    }

    /// Asks for something.
    pub(in crate::cli) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        let value = self.ask("GET", path, None).await?;
        serde_json::from_value(value).map_err(|error| {
            let what = format!("{path} of {} is not as expected: {error}", self.target);
            Problem::failed(what, "Use the carillon that the node was built with")
        })
    }

    /// Asks for something that takes a while to be found, and hands over bytes to look at if there are some.
    pub(in crate::cli) async fn find(
        &self,
        path: &str,
        headers: &str,
        body: Option<&[u8]>,
    ) -> Result<Value, Problem> {
        let method = if body.is_some() { "POST" } else { "GET" };
        self.ask_with(method, path, headers, body, CHANGE_MAX).await
    }

    /// Hands over bytes, with more headers; they may take a while to be looked at.
    pub(in crate::cli) async fn put(
        &self,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<Value, Problem> {
        self.ask_with("PUT", path, headers, Some(body), CHANGE_MAX).await
    }

    /// Wants something done that takes as long as the slowest node.
    pub(in crate::cli) async fn change(&self, path: &str, body: &Value) -> Result<Value, Problem> {
        self.change_within(path, body, Duration::ZERO).await
    }

    /// The same of something that takes so much longer.
    pub(in crate::cli) async fn change_within(
        &self,
        path: &str,
        body: &Value,
        longer: Duration,
    ) -> Result<Value, Problem> {
        let body = body.to_string();
        let within = CHANGE_MAX.saturating_add(longer);
        self.ask_with("POST", path, "", Some(body.as_bytes()), within).await
    }

    /// Wants something done.
    pub(in crate::cli) async fn post(&self, path: &str, body: &Value) -> Result<Value, Problem> {
        self.ask("POST", path, Some(body)).await
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Problem> {
        let body = body.map(Value::to_string);
        self.ask_with(method, path, "", body.as_deref().map(str::as_bytes), ANSWER_MAX).await
    }

    async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&[u8]>,
        within: Duration,
    ) -> Result<Value, Problem> {
        let headers = format!("connection: close\r\n{headers}");
        let mut request = Vec::new();
        write_request(&mut request, method, &self.target, path, &headers, body);
        let opened = runtime::timeout(CONNECT_MAX, Connection::open(&self.target)).await;
        let mut connection = opened
            .map_err(|_late| self.nobody("it takes too long"))?
            .map_err(|error| self.nobody(&error.to_string()))?;
        let exchanged = runtime::timeout(within, connection.exchange(&request)).await;
        let answer = match exchanged {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(self.nobody("what answers speaks no HTTP"));
            }
            Ok(Err(error)) => return Err(self.lost(&error.to_string())),
            Err(_late) => return Err(self.lost("it takes too long")),
        };
        let value: Option<Value> = serde_json::from_slice(answer.body).ok();
        match (answer.status, value) {
            (200..300, Some(value)) => Ok(value),
            (status, Some(problem)) if problem.get("code").is_some_and(Value::is_string) => {
                Err(refused(&self.target, status, &problem))
            }
            (status, _) => Err(self.nobody(&format!("the answer is {status}, and no node's"))),
        }
    }

    fn nobody(&self, why: &str) -> Problem {
        let what = format!("no node answers operators at {}: {why}", self.target);
        Problem::unreachable(what, "Name admin.listen of a node with --admin")
    }

    fn lost(&self, why: &str) -> Problem {
        let what = format!("the answer of {} was lost: {why}", self.target);
        Problem::unreachable(
            what,
            "See whether the node lives, and ask again: it changes nothing twice",
        )
    }
}

fn refused(target: &Target, status: u16, problem: &Value) -> Problem {
    let text = |field: &str| problem.get(field).and_then(Value::as_str).unwrap_or_default();
    let what = format!("{target} refuses: {} ({} {})", text("detail"), status, text("code"));
    let fix = match problem.get("retryable").and_then(Value::as_bool) {
        _ if text("code") == "needed" => "Bring the others back first, or add --force",
        Some(true) => "Try again in a while, or ask another node",
        Some(false) | None => "Correct what the sentence names",
    };
    Problem::failed(what, fix)
}

#[cfg(test)]
mod tests {
    use super::Admin;
    use crate::cli::Exit;

    #[tokio::test]
    async fn nobody_and_nonsense_are_told_apart_from_a_refusal() {
        let nobody = Admin::new("http://127.0.0.1:1").unwrap();
        let problem = nobody.get::<serde_json::Value>("/admin/v1/info").await.unwrap_err();
        assert_eq!(problem.exit, Exit::Unreachable);
        assert!(problem.what.contains("http://127.0.0.1:1"), "{problem}");
        assert_eq!(Admin::new("127.0.0.1:1").unwrap_err().exit, Exit::Usage);
    }
}
