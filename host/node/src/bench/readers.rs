//! Readers of the load generator, in the three ways in which one can wait for messages.

use std::io;
use std::time::Duration;

use client::{Page, Socket, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::conversations::Arrivals;
use super::door::{Ask, Door, text_after};
use super::load::Place;

/// Before a reader comes back who was refused or cut off.
const PAUSE: Duration = Duration::from_millis(50);
/// What is asked of a stream at once.
const READ_BYTES: usize = 16 << 10;

/// How somebody reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Asks again and again, and waits each time.
    Poll,
    /// Server-sent events.
    Events,
    /// A WebSocket.
    Socket,
}

impl Way {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Events => "sse",
            Self::Socket => "socket",
        }
    }
}

/// Reads on for ever, and tells what arrives. The reader is at one of the nodes, whoever leads the chat.
pub(super) async fn follow(
    targets: &[Target],
    reader: usize,
    place: &Place,
    way: Way,
    arrivals: &Arrivals,
) {
    let at = reader % targets.len().max(1);
    let Some(target) = targets.get(at) else { return };
    loop {
        let ended = match way {
            Way::Poll => poll(targets, at, place, arrivals).await,
            Way::Events => events(target, place, arrivals).await,
            Way::Socket => socket(target, place, arrivals).await,
        };
        // Whoever was cut off comes back; what was said meanwhile is not measured.
        drop(ended);
        runtime::sleep(PAUSE).await;
    }
}

async fn poll(targets: &[Target], at: usize, place: &Place, arrivals: &Arrivals) -> io::Result<()> {
    let mut door = Door::new(targets, None);
    let mut after = String::new();
    loop {
        let path = format!("/v1/chats/{}/messages?limit=1000&wait=20{after}", place.token);
        let page: Page = door.json(at, Ask::get(&path), 200).await?;
        let now = runtime::now();
        for message in &page.messages {
            arrivals.arrived(&message.id.to_string(), now);
        }
        after = format!("&after={}", page.cursor);
    }
}

async fn events(target: &Target, place: &Place, arrivals: &Arrivals) -> io::Result<()> {
    let mut stream = TcpStream::connect(target.authority()).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /v1/chats/{}/events HTTP/1.1\r\nhost: {}\r\n\r\n",
        place.token,
        target.authority()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        buffer.reserve(READ_BYTES);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = runtime::now();
        // Whole lines; what stands between them of HTTP's own is passed over.
        let Some(end) = buffer.iter().rposition(|byte| *byte == b'\n') else { continue };
        for line in buffer.get(..end).unwrap_or_default().split(|byte| *byte == b'\n') {
            if let Some(id) = message(line) {
                arrivals.arrived(id, now);
            }
        }
        buffer.drain(..=end);
    }
}

async fn socket(target: &Target, place: &Place, arrivals: &Arrivals) -> io::Result<()> {
    let mut socket = Socket::open(target).await?;
    socket.put(&format!(r#"{{"type":"sub","chat":"{}"}}"#, place.token));
    socket.flush().await?;
    loop {
        let text = socket.hear().await?;
        if let Some(id) = text_after(text.as_bytes(), r#""message":{"id":""#) {
            arrivals.arrived(id, runtime::now());
        }
    }
}

/// The id in a line of a stream, if it is a message.
fn message(line: &[u8]) -> Option<&str> {
    text_after(line.strip_prefix(b"data: ")?, r#"{"id":""#)
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn a_line_of_a_stream_is_a_message_or_none() {
        assert_eq!(message(br#"data: {"id":"0a","cursor":"1-1"}"#), Some("0a"));
        assert_eq!(message(br#"data: {"typing":[]}"#), None);
        assert_eq!(message(b"id: 1-1"), None);
        assert_eq!(message(b"1a3\r"), None);
    }
}
