//! Plain HTTP, one connection a request: what a test asks is what goes over the wire, and what it sees is
//! what came back. The client crate would try again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than any answer may take; a reader waits at most 30 s.
const ANSWER_MAX: Duration = Duration::from_secs(45);

/// One node, over HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    authority: String,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body: JSON, or a text that is not.
    pub body: Value,
}

impl Answer {
    /// The body, which a test is sure came with this status.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// The problem's code.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The text of a field.
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }

    /// `self` if it has this status; else the status and body, for [`crate::eventually`].
    ///
    /// # Errors
    /// When it has another status.
    pub fn only(self, status: u16) -> Result<Self, String> {
        if self.status == status { Ok(self) } else { Err(format!("{} {}", self.status, self.body)) }
    }
}

impl Http {
    /// The node at `http://host:port`.
    pub fn new(url: &str) -> Self {
        let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        Self { authority: authority.to_owned() }
    }

    /// The node's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Asks; an error is a connection that was refused, broke, or said nothing in time.
    ///
    /// # Errors
    /// What the connection said.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut headers = headers.to_vec();
        if !body.is_empty() {
            headers.push(("Content-Type", "application/json"));
        }
        self.ask_bytes(method, path, &headers, body.as_bytes()).await
    }

    /// Asks with any bytes for a body.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn ask_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, String> {
        let asked = self.exchange(method, path, headers, body);
        let bytes = match runtime::timeout(ANSWER_MAX, asked).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_late) => return Err(format!("{method} {path}: no answer")),
        };
        parse(&bytes).ok_or_else(|| format!("cut off: {:?}", String::from_utf8_lossy(&bytes)))
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.authority).await?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.authority
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(answer)
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// `POST path`.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let asked = self.ask("POST", path, &[], Some(body)).await;
        asked.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// A new chat's token, as soon as the node can make one.
    pub async fn create(&self) -> String {
        crate::eventually("a new chat", async || {
            let answer = self.ask("POST", "/v1/chats", &[], Some(&json!({}))).await?.only(201)?;
            Ok::<_, String>(answer.text("token"))
        })
        .await
    }

    /// Sends a text once.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn try_send(
        &self,
        token: &str,
        sender: &str,
        key: &str,
        text: &str,
    ) -> Result<Answer, String> {
        self.send_with(token, "", key, &json!({"sender": sender, "text": text})).await
    }

    /// Sends a text once, to a node that answers.
    pub async fn send(&self, token: &str, sender: &str, key: &str, text: &str) -> Answer {
        let sent = self.try_send(token, sender, key, text).await;
        sent.unwrap_or_else(|error| panic!("send {key}: {error}"))
    }

    /// Sends any body, with a query.
    ///
    /// # Errors
    /// See [`Http::ask`].
    pub async fn send_with(
        &self,
        token: &str,
        query: &str,
        key: &str,
        body: &Value,
    ) -> Result<Answer, String> {
        let path = format!("/v1/chats/{token}/messages{query}");
        self.ask("POST", &path, &[("Idempotency-Key", key)], Some(body)).await
    }

    /// Sends with the same key until it is stored.
    pub async fn send_surely(&self, token: &str, sender: &str, key: &str, text: &str) -> Value {
        let answer = crate::eventually("a stored message", async || {
            let answer = self.try_send(token, sender, key, text).await?;
            if answer.status == 200 { Ok(answer) } else { answer.only(201) }
        });
        answer.await.body
    }

    /// Every message of a chat, once the node can read it.
    pub async fn all(&self, token: &str) -> Vec<Value> {
        crate::eventually("the messages of a chat", || self.try_all(token)).await
    }

    /// Every message of a chat.
    ///
    /// # Errors
    /// When one page cannot be read.
    pub async fn try_all(&self, token: &str) -> Result<Vec<Value>, String> {
        let mut messages = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/chats/{token}/messages?limit=1000{after}");
            let page = self.ask("GET", &path, &[], None).await?.only(200)?.body;
            messages.extend(page["messages"].as_array().cloned().unwrap_or_default());
            if page["more"] != true {
                return Ok(messages);
            }
            after = format!("&after={}", page["cursor"].as_str().unwrap_or_default());
        }
    }
}

/// The status line, the headers and the body, if all of it is there.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let body = bytes.get(end + 4..)?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length != body.len()) {
        return None;
    }
    let text = || Value::String(String::from_utf8_lossy(body).into_owned());
    let body = serde_json::from_slice(body).unwrap_or_else(|_no_json| text());
    Some(Answer { status, headers, body })
}

/// What was said, in order.
pub fn texts(messages: &[Value]) -> Vec<String> {
    messages.iter().filter_map(|message| message["text"].as_str().map(str::to_owned)).collect()
}
