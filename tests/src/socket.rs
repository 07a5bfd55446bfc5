//! A client's end of a WebSocket, as the RFC has it and no more of it than a test needs: texts out, texts in.

#![expect(clippy::big_endian_bytes, reason = "frames have their lengths so")]

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Http;

/// A node says something more often than this, if only to ask for a sign of life.
const SILENCE_MAX: Duration = Duration::from_secs(45);

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// One socket to one node.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Socket {
    /// Opens one, and takes its greeting.
    ///
    /// # Errors
    /// What the system says, or the node.
    pub async fn open(http: &Http) -> io::Result<Self> {
        let url = http.url();
        let authority = url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority).await?;
        let head = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        // Not a byte beyond its end: what follows are frames.
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()));
        }
        let mut socket = Self { stream, read: Vec::new() };
        let hello = socket.hear().await?;
        if hello["type"] == "hello" { Ok(socket) } else { Err(io::Error::other(hello.to_string())) }
    }

    /// Says something.
    ///
    /// # Errors
    /// What the system says.
    pub async fn say(&mut self, frame: &Value) -> io::Result<()> {
        self.write(TEXT, frame.to_string().as_bytes()).await
    }

    /// What is said next.
    ///
    /// # Errors
    /// The node ended the socket, or says nothing any more.
    pub async fn hear(&mut self) -> io::Result<Value> {
        loop {
            let frame = runtime::timeout(SILENCE_MAX, self.frame()).await;
            match frame.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?? {
                (TEXT, body) => return serde_json::from_slice(&body).map_err(io::Error::other),
                (PING, body) => self.write(PONG, &body).await?,
                (CLOSE, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    async fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let kind = self.take::<1>().await?[0] & 0x0f;
        let length = match self.take::<1>().await?[0] & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.take().await?)),
            127 => u64::from_be_bytes(self.take().await?),
            length => length.into(),
        };
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.fill(length).await?;
        Ok((kind, self.read.drain(..length).collect()))
    }

    async fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.fill(N).await?;
        let mut taken = [0; N];
        for (to, from) in taken.iter_mut().zip(self.read.drain(..N)) {
            *to = from;
        }
        Ok(taken)
    }

    async fn fill(&mut self, bytes: usize) -> io::Result<()> {
        while self.read.len() < bytes {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// All of it in one frame, masked with zeros, which leave it as it is.
    async fn write(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | kind];
        match (u8::try_from(body.len()), u16::try_from(body.len())) {
            (Ok(length @ 0..126), _) => frame.push(0x80 | length),
            (_, Ok(length)) => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
            _ => return Err(io::Error::other("no test says so much at once")),
        }
        frame.extend([0; 4]);
        frame.extend(body);
        self.stream.write_all(&frame).await
    }
}
