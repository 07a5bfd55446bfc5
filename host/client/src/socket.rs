//! One WebSocket to a node: texts out, texts in.
//!
//! It does as little as it can, as [`Connection`](crate::Connection) does: frames are written into one buffer, masked with zeros, and
//! read from another. What a node never sends (parts of a text, compression) it does not understand. What the texts say is its
//! user's business.

#![expect(clippy::big_endian_bytes, reason = "frames have their lengths so")]

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Target;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of a frame: a page of messages is many frames, so that this is far above any.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// What is asked of the socket at once.
const READ_BYTES: usize = 16 << 10;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A socket to a node. Dropping it ends it.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// What was read; the next frame begins at `at`.
    buffer: Vec<u8>,
    at: usize,
    out: Vec<u8>,
}

/// Where a frame is.
struct Frame {
    kind: u8,
    begins: usize,
    ends: usize,
}

impl Socket {
    /// Opens one. What it hears first is the node's greeting.
    ///
    /// # Errors
    /// What the system says, or the node.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target.authority()).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            target.authority()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut socket = Self { stream, buffer: Vec::new(), at: 0, out: Vec::new() };
        loop {
            let end = socket.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                socket.at = end + 4;
                break;
            }
            if socket.buffer.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("the answer to a handshake does not end"));
            }
            socket.more().await?;
        }
        if !socket.buffer.starts_with(b"HTTP/1.1 101") {
            let said = socket.buffer.get(..socket.at).unwrap_or_default();
            let said = String::from_utf8_lossy(said).lines().next().unwrap_or_default().to_owned();
            return Err(io::Error::other(format!("/v1/ws: {said}")));
        }
        Ok(socket)
    }

    /// Puts a text into what goes out next.
    pub fn put(&mut self, text: &str) {
        frame(&mut self.out, TEXT, text.as_bytes());
    }

    /// Sends what was put. Not cancel-safe: dropped, it leaves the socket unusable.
    ///
    /// # Errors
    /// What the system says.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Whether the next text is here already: whoever answers each may wait with [`Socket::flush`] until there is none.
    pub fn has_more(&self) -> bool {
        matches!(next(self.buffer.get(self.at..).unwrap_or_default()), Ok(Some(_)))
    }

    /// The next text. Cancel-safe, but for the answer to a node that asks whether somebody is here.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` when the node ends the socket.
    pub async fn hear(&mut self) -> io::Result<&str> {
        loop {
            match next(self.buffer.get(self.at..).unwrap_or_default())? {
                Some(Frame { kind: TEXT, begins, ends }) => {
                    let text = self.at + begins..self.at + ends;
                    self.at += ends;
                    let bytes = self.buffer.get(text).unwrap_or_default();
                    return std::str::from_utf8(bytes).map_err(io::Error::other);
                }
                Some(Frame { kind: CLOSE, .. }) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Some(Frame { kind, begins, ends }) => {
                    if kind == PING {
                        let said = self.buffer.get(self.at + begins..self.at + ends);
                        frame(&mut self.out, PONG, said.unwrap_or_default());
                        self.flush().await?;
                    }
                    self.at += ends;
                }
                None => self.more().await?,
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A client's frame: all of it at once, masked with zeros, which leave it as it is.
fn frame(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(0x80 | kind);
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(length @ 0..126), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend(length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend(u64::try_from(body.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(body);
}

/// The frame at the beginning of what was read, if all of it is there.
fn next(read: &[u8]) -> io::Result<Option<Frame>> {
    let (Some(first), Some(second)) = (read.first(), read.get(1)) else { return Ok(None) };
    let (begins, length) = match second & 0x7f {
        126 => match read.get(2..4).and_then(|two| two.first_chunk()) {
            Some(two) => (4, usize::from(u16::from_be_bytes(*two))),
            None => return Ok(None),
        },
        127 => match read.get(2..10).and_then(|eight| eight.first_chunk()) {
            Some(eight) => (10, usize::try_from(u64::from_be_bytes(*eight)).unwrap_or(usize::MAX)),
            None => return Ok(None),
        },
        length => (2, usize::from(length)),
    };
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other("a frame that is too large"));
    }
    let ends = begins + length;
    Ok((read.len() >= ends).then_some(Frame { kind: first & 0x0f, begins, ends }))
}

#[cfg(test)]
mod tests {
    use super::{Frame, TEXT, frame, next};

    #[test]
    fn a_frame_has_a_length_of_one_three_or_nine_bytes() {
        for (length, head) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            frame(&mut out, TEXT, &vec![b'x'; length]);
            assert_eq!(out.len(), head + 4 + length);
            // As a node writes it: without a mask.
            out[1] &= 0x7f;
            out.drain(head..head + 4);
            assert!(next(&out[..out.len().saturating_sub(1)]).unwrap().is_none(), "{length}");
            let Some(Frame { kind, begins, ends }) = next(&out).unwrap() else {
                panic!("a whole frame of {length}")
            };
            assert_eq!((kind, begins, ends), (TEXT, head, head + length));
        }
        assert!(next(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
