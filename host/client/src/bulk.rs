//! Bodies that are too large for one read or write: sent in steps, received in pieces.
//!
//! Each step is bounded in time and none is kept. A node that refuses a body says so before it has taken all of it:
//! so while it is sent, whatever comes is listened for.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::connection::{Body, HEADERS_MAX, invalid};
use crate::{Answer, Connection};

/// Bytes of a step.
const STEP_BYTES: usize = 256 << 10;

/// How long a step may take, and the answer behind the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within {
    pub(crate) step: Duration,
    pub(crate) answer: Duration,
}

/// An answer whose body is to be read in pieces.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) status: u16,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    /// Bytes of the body that have not come yet.
    pub(crate) left: u64,
    keep_alive: bool,
}

impl Opened {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl Connection {
    /// Sends a request's head and its body, and reads the answer. `sent` is told of each step.
    pub(crate) async fn exchange_bulk(
        &mut self,
        head: &str,
        body: &[u8],
        within: Within,
        sent: &mut (dyn FnMut(usize) + Send),
    ) -> io::Result<Answer<'_>> {
        self.begin()?;
        let brought = self.bring(head, body, within.step, sent).await;
        let answer = match runtime::timeout(within.answer, self.receive()).await {
            Ok(answer) => answer,
            Err(_late) => Err(io::ErrorKind::TimedOut.into()),
        };
        match (answer, brought) {
            (Ok(answer), _) => Ok(answer),
            // What broke first is why there is no answer.
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(_)) => Err(error),
        }
    }

    /// Sends until all is sent, or an answer comes.
    async fn bring(
        &mut self,
        head: &str,
        body: &[u8],
        step: Duration,
        sent: &mut (dyn FnMut(usize) + Send),
    ) -> io::Result<()> {
        self.stream.write_all(head.as_bytes()).await?;
        for chunk in body.chunks(STEP_BYTES) {
            let (mut reading, mut writing) = self.stream.split();
            let mut byte = [0];
            let written = async {
                tokio::select! { biased;
                    // An answer, or an end: there is nothing more to send.
                    _come = reading.peek(&mut byte) => Ok(false),
                    written = writing.write_all(chunk) => written.map(|()| true),
                }
            };
            match runtime::timeout(step, written).await {
                Ok(Ok(true)) => sent(chunk.len()),
                Ok(Ok(false)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_late) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(())
    }

    /// Sends a request, and reads the head of its answer.
    pub(crate) async fn open_bulk(&mut self, request: &str) -> io::Result<Opened> {
        self.begin()?;
        self.stream.write_all(request.as_bytes()).await?;
        let head = self.head().await?;
        let Body::Sized(size) = head.body else {
            return Err(invalid("an object comes without its size"));
        };
        let headers = headers(&self.buffer)?;
        self.buffer.drain(..head.bytes.min(self.buffer.len()));
        let left = u64::try_from(size).unwrap_or(u64::MAX);
        Ok(Opened { status: head.status, headers, left, keep_alive: head.keep_alive })
    }

    /// The next bytes of the body; `None` behind the last.
    pub(crate) async fn piece(&mut self, opened: &mut Opened) -> io::Result<Option<Vec<u8>>> {
        if opened.left == 0 {
            self.usable = opened.keep_alive && self.buffer.is_empty();
            return Ok(None);
        }
        if self.buffer.is_empty() {
            self.buffer.reserve(STEP_BYTES);
            self.more().await?;
        }
        let left = usize::try_from(opened.left).unwrap_or(usize::MAX);
        let piece: Vec<u8> = self.buffer.drain(..left.min(self.buffer.len())).collect();
        opened.left -= u64::try_from(piece.len()).unwrap_or(opened.left);
        Ok(Some(piece))
    }
}

fn headers(bytes: &[u8]) -> io::Result<Vec<(String, String)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(bytes).map_err(|_not_http| invalid("an answer is not HTTP"))?;
    let text = |header: &httparse::Header<'_>| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_ascii_lowercase(), value)
    };
    Ok(response.headers.iter().map(text).collect())
}
