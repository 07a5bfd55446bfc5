//! One connection to a node, one request at a time.
//!
//! Small on purpose: the load generator shares two cores with what it measures, so a round trip is one
//! write, mostly one read, and no task. It understands what HTTP/1.1 servers and proxies answer: bodies
//! with a length, in chunks, or until the end.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Target;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Headers of an answer.
pub(crate) const HEADERS_MAX: usize = 64;
/// Bytes of an answer's body: a full page of the largest messages, escaped as badly as JSON can.
const BODY_BYTES_MAX: usize = 512 << 20;
/// What is asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

/// A connection to a node. After an error, or when a future was dropped before it was done, it is of no
/// use any more: [`Connection::is_usable`] says so.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: TcpStream,
    /// What was read; the answer under way begins at its start.
    pub(crate) buffer: Vec<u8>,
    /// Decoded chunks, when a body comes in chunks.
    joined: Vec<u8>,
    /// The node that leads what the last answer was about.
    primary: Option<String>,
    pub(crate) usable: bool,
}

/// An answer, as long as the next request is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// HTTP's number.
    pub status: u16,
    /// Whether the answer is one that was given before, under the same key.
    pub replay: bool,
    /// The version of the ring that the node knows.
    pub ring: Option<u64>,
    /// The node that leads the chat, if another one answered.
    pub primary: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// Where the body of an answer is.
pub(crate) enum Body {
    /// So many bytes after the head.
    Sized(usize),
    /// In chunks.
    Chunked,
    /// Until the connection ends.
    Rest,
}

pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) body: Body,
    replay: bool,
    ring: Option<u64>,
    primary: Option<String>,
    pub(crate) keep_alive: bool,
}

impl Connection {
    /// Connects to a node.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.authority()).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(READ_BYTES);
        Ok(Self { stream, buffer, joined: Vec::new(), primary: None, usable: true })
    }

    /// Sends `request`, a whole one as [`write_request`] makes it, and reads its answer. Not cancel-safe:
    /// dropped, it leaves the connection unusable.
    ///
    /// # Errors
    /// What the system says, and `InvalidData` when the answer is not HTTP. Whether the request was done
    /// is unknown then.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.begin()?;
        self.stream.write_all(request).await?;
        self.receive().await
    }

    /// A request begins: usable again only when its answer is complete.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        let was_usable = std::mem::replace(&mut self.usable, false);
        if !was_usable {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.buffer.clear();
        Ok(())
    }

    /// Reads the answer to what was sent.
    pub(crate) async fn receive(&mut self) -> io::Result<Answer<'_>> {
        let mut head = self.head().await?;
        self.primary = head.primary.take();
        let end = match head.body {
            Body::Sized(length) => self.sized(head.bytes, length).await?,
            Body::Chunked => return self.chunked(&head).await,
            Body::Rest => self.rest().await?,
        };
        self.usable = head.keep_alive && end == self.buffer.len();
        let body = self.buffer.get(head.bytes..end).unwrap_or_default();
        Ok(head.answer(self.primary.as_deref(), body))
    }

    /// Whether another request can be sent: the last answer was complete and the server has not closed.
    pub fn is_usable(&self) -> bool {
        let mut byte = [0];
        // Nothing to read is what a connection at rest looks like; an end or a byte is not.
        self.usable
            && matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(crate) async fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(head) = parse_head(&self.buffer)? {
                if (100..200).contains(&head.status) {
                    self.buffer.drain(..head.bytes);
                    continue;
                }
                return Ok(head);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(invalid("the head of an answer does not end"));
            }
            self.more().await?;
        }
    }

    async fn sized(&mut self, begin: usize, length: usize) -> io::Result<usize> {
        if length > BODY_BYTES_MAX {
            return Err(invalid("an answer is too large"));
        }
        let end = begin + length;
        self.buffer.reserve(end.saturating_sub(self.buffer.len()));
        while self.buffer.len() < end {
            self.more().await?;
        }
        Ok(end)
    }

    async fn rest(&mut self) -> io::Result<usize> {
        loop {
            match self.more().await {
                Ok(()) if self.buffer.len() <= BODY_BYTES_MAX => {}
                Ok(()) => return Err(invalid("an answer is too large")),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(self.buffer.len());
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn chunked(&mut self, head: &Head) -> io::Result<Answer<'_>> {
        self.joined.clear();
        let mut at = head.bytes;
        loop {
            let (length, begin) = self.chunk_size(at).await?;
            if self.joined.len().saturating_add(length) > BODY_BYTES_MAX {
                return Err(invalid("an answer is too large"));
            }
            if length == 0 {
                at = begin;
                break;
            }
            let end = self.sized(begin, length + 2).await?;
            self.joined.extend_from_slice(self.buffer.get(begin..end - 2).unwrap_or_default());
            at = end;
        }
        // Trailers, up to an empty line; nobody asked for any.
        loop {
            let end = self.line(at).await?;
            let empty = end == at + 2;
            at = end;
            if empty {
                break;
            }
        }
        self.usable = head.keep_alive && at == self.buffer.len();
        Ok(head.answer(self.primary.as_deref(), &self.joined))
    }

    /// The size of the chunk whose line begins at `at`, and where its bytes begin.
    async fn chunk_size(&mut self, at: usize) -> io::Result<(usize, usize)> {
        let end = self.line(at).await?;
        let line = self.buffer.get(at..end).unwrap_or_default();
        match httparse::parse_chunk_size(line) {
            Ok(httparse::Status::Complete((_, size))) => {
                let size =
                    usize::try_from(size).map_err(|_huge| invalid("a chunk is too large"))?;
                Ok((size, end))
            }
            _ => Err(invalid("an answer's chunk has no size")),
        }
    }

    /// The end of the line that begins at `at`, behind its line feed.
    async fn line(&mut self, at: usize) -> io::Result<usize> {
        loop {
            let line = self.buffer.get(at..).unwrap_or_default();
            if let Some(feed) = line.iter().position(|byte| *byte == b'\n') {
                return Ok(at + feed + 1);
            }
            if line.len() > HEAD_BYTES_MAX {
                return Err(invalid("a line of an answer does not end"));
            }
            self.more().await?;
        }
    }

    pub(crate) async fn more(&mut self) -> io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl Head {
    fn answer<'a>(&self, primary: Option<&'a str>, body: &'a [u8]) -> Answer<'a> {
        Answer { status: self.status, replay: self.replay, ring: self.ring, primary, body }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(invalid("an answer is not HTTP")),
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head {
        status,
        bytes: length,
        body: Body::Rest,
        replay: false,
        ring: None,
        primary: None,
        keep_alive: response.version == Some(1),
    };
    for header in response.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value).ok().and_then(|text| text.parse().ok());
            head.body = Body::Sized(length.ok_or_else(|| invalid("an answer has no length"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.body = Body::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.keep_alive &= !header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("idempotent-replay") {
            head.replay = header.value == b"true";
        } else if header.name.eq_ignore_ascii_case("carillon-ring") {
            head.ring = std::str::from_utf8(header.value).ok().and_then(|text| text.parse().ok());
        } else if header.name.eq_ignore_ascii_case("carillon-primary") {
            head.primary = std::str::from_utf8(header.value).ok().map(str::to_owned);
        }
    }
    if matches!(status, 100..200 | 204 | 304) {
        head.body = Body::Sized(0);
    }
    head.keep_alive &= !matches!(head.body, Body::Rest);
    Ok(Some(head))
}

/// Writes a whole request into `request`, in place of what was there. `headers` are lines, each with its
/// line end; a `body` is JSON.
pub fn write_request(
    request: &mut Vec<u8>,
    method: &str,
    target: &Target,
    path: &str,
    headers: &str,
    body: Option<&[u8]>,
) {
    let mut head = String::from_utf8(std::mem::take(request)).unwrap_or_default();
    head.clear();
    for part in [method, " ", path, " HTTP/1.1\r\nhost: ", target.authority(), "\r\n", headers] {
        head.push_str(part);
    }
    if let Some(body) = body {
        // Writing to a string cannot fail.
        let _infallible = write!(
            head,
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
    } else {
        head.push_str("\r\n");
    }
    *request = head.into_bytes();
    request.extend_from_slice(body.unwrap_or_default());
}

pub(crate) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
