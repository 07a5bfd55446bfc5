//! A client's socket, as the HTTP machinery sees it.
//!
//! Three things it would not do by itself: an answer that the client does not take ends the connection
//! after a while; the bare statuses that hyper gives to what it cannot parse go out as problems, like
//! every other error; and closing waits a moment for what the client still has to say, because a close
//! over unread bytes is a reset, which can overtake the answer.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use chat::Code;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::problem::Problem;
use crate::request_id;

/// How long a closed connection is listened to.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// How much of what comes after the close is thrown away. More than the largest refused header.
const LINGER_BYTES_MAX: usize = 8 << 20;

type Timer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whether a client took nothing for too long. Clones are the same; whoever writes through HTTP's machinery, which
/// only drops them then, can tell by it why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalled(Arc<AtomicBool>);

impl Stalled {
    /// Whether it did.
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn now(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A socket between hyper and a client.
pub(crate) struct Socket {
    stream: TcpStream,
    /// The client has closed its side.
    ended: bool,
    /// How long a write may wait.
    stall_max: Duration,
    /// Runs while one does.
    stall: Option<Timer>,
    /// Told when one has.
    stalled: Stalled,
    /// Ours, written before anything else.
    instead: Bytes,
    /// Runs while closing.
    linger: Option<Timer>,
    lingered_bytes: usize,
}

impl Socket {
    /// A socket whose client may take nothing of an answer for `stall_max`; `stalled` is told if it does.
    pub(crate) fn new(stream: TcpStream, stall_max: Duration, stalled: Stalled) -> Self {
        Self {
            stream,
            ended: false,
            stall_max,
            stall: None,
            stalled,
            instead: Bytes::new(),
            linger: None,
            lingered_bytes: 0,
        }
    }

    /// Writes what is ours.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.instead.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.instead);
            let written = ready!(self.bounded(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// A write's result, or an error when writes have waited too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let within = self.stall_max;
        let stall = self.stall.get_or_insert_with(|| Box::pin(runtime::sleep(within)));
        ready!(stall.as_mut().poll(cx));
        self.stalled.now();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waste = [0; 4096];
        while !self.ended && self.lingered_bytes < LINGER_BYTES_MAX {
            let linger = self.linger.get_or_insert_with(|| Box::pin(runtime::sleep(LINGER_MAX)));
            if linger.as_mut().poll(cx).is_ready() {
                break;
            }
            let mut buffer = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.lingered_bytes += buffer.filled().len();
                }
                Ok(()) | Err(_) => self.ended = true,
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.ended |= room > 0 && buffer.filled().len() == before;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        if let Some(answer) = instead_of(bytes) {
            self.instead = answer;
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_instead(cx))?;
        // What hyper makes alone comes in one piece.
        if let [only] = slices
            && let Some(answer) = instead_of(only)
        {
            self.instead = answer;
            return Poll::Ready(Ok(only.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_instead(cx))?;
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

/// The problem to send in place of an answer that hyper made alone. Those have a status and no body, and
/// no request id, which every answer of ours has.
fn instead_of(bytes: &[u8]) -> Option<Bytes> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let bare = bytes.ends_with(b"\r\n\r\n")
        && contains(rest, b"\r\ncontent-length: 0\r\n")
        && !contains(rest, request_id::REQUEST_ID.as_str().as_bytes());
    if !bare {
        return None;
    }
    let problem = if rest.starts_with(b"31") {
        Problem::new(Code::HeadersTooLarge, "at most 100 headers, and 32 KiB of them")
    } else if rest.starts_with(b"14") {
        Problem::new(Code::HeadersTooLarge, "the path is too long")
    } else {
        Problem::invalid("this is not HTTP/1.1")
    };
    Some(alone(&problem))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A problem as a whole answer, for where there is no HTTP machinery to make one.
pub(crate) fn alone(problem: &Problem) -> Bytes {
    let id = request_id::fresh();
    let id = id.to_str().unwrap_or_default();
    let body = problem.body(id);
    let status = problem.status();
    let retry = problem.retry_after_s().map(|seconds| format!("retry-after: {seconds}\r\n"));
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n{}\
         {}: {id}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        retry.unwrap_or_default(),
        request_id::REQUEST_ID,
        body.len(),
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    Bytes::from(answer)
}

#[cfg(test)]
mod tests {
    use super::{alone, instead_of};
    use crate::problem::Problem;
    use chat::Code;

    #[test]
    fn only_answers_that_are_not_ours_are_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let problem = String::from_utf8(instead_of(bare).unwrap().to_vec()).unwrap();
        assert!(problem.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(problem.contains("\"code\":\"headers-too-large\""), "{problem}");

        let ours = b"HTTP/1.1 404 Not Found\r\ncarillon-request-id: a\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(instead_of(ours), None);
        assert_eq!(instead_of(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), None);
    }

    #[test]
    fn only_what_may_be_tried_again_says_when() {
        let waits = |code| {
            let answer = alone(&Problem::new(code, "because"));
            String::from_utf8(answer.to_vec()).unwrap().contains("\r\nretry-after: 1\r\n")
        };
        assert!(waits(Code::Overloaded));
        assert!(!waits(Code::HeadersTooLarge));
        assert!(!waits(Code::InvalidRequest));
    }
}
