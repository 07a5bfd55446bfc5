//! A client of server-sent events that comes back when its stream ends, as a browser does.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

use crate::{Deadline, Http};

/// Follows a chat over whichever of its doors opens.
#[derive(Debug)]
pub struct Events {
    doors: Vec<Http>,
    path: String,
    lines: Option<Lines<BufReader<TcpStream>>>,
    /// The last `id:`.
    last: Option<String>,
    /// How often it came back.
    pub returns: usize,
}

impl Events {
    /// Follows `token` as `reader` from its start.
    pub fn new(doors: Vec<Http>, token: &str, reader: &str) -> Self {
        let path = format!("/v1/chats/{token}/events?as={reader}");
        Self { doors, path, lines: None, last: None, returns: 0 }
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        self.event(None).await
    }

    /// What is told next by the name of an event.
    pub async fn told(&mut self, name: &str) -> Value {
        self.event(Some(name)).await
    }

    async fn event(&mut self, name: Option<&str>) -> Value {
        let mut event: Option<String> = None;
        let deadline = Deadline::default();
        loop {
            let Some(lines) = &mut self.lines else {
                deadline.check("a stream", &self.last);
                self.open().await;
                continue;
            };
            // What is not of an event is the head, or says how long the next piece is.
            match lines.next_line().await {
                Ok(Some(line)) => {
                    if let Some(id) = line.strip_prefix("id: ") {
                        self.last = Some(id.to_owned());
                    }
                    if let Some(name) = line.strip_prefix("event: ") {
                        event = Some(name.to_owned());
                    }
                    let data = line.strip_prefix("data: ");
                    let data = data.and_then(|data| serde_json::from_str::<Value>(data).ok());
                    if let Some(data) = data.filter(|_| event.take().as_deref() == name) {
                        return data;
                    }
                }
                Ok(None) | Err(_) => self.lines = None,
            }
        }
    }

    async fn open(&mut self) {
        let Some(url) = self.doors.first().map(Http::url) else { return };
        self.doors.rotate_left(1);
        let authority = url.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(authority).await else { return };
        let last = self.last.as_ref().map(|last| format!("Last-Event-ID: {last}\r\n"));
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{}\r\n",
            self.path,
            last.unwrap_or_default(),
        );
        if stream.write_all(head.as_bytes()).await.is_ok() {
            self.returns += 1;
            self.lines = Some(BufReader::new(stream).lines());
        }
    }
}
