//! The wire of a WebSocket: frames in, texts out, and why it ends.
//!
//! What is said is put together and goes out when it is flushed, so that answers that are ready together are written
//! together. A client that takes nothing is waited for as long as any other, and not longer.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::frame::Told;
use super::meters::Ended;

/// Bytes of a frame: what a request's body may have, and room for the words around it.
const FRAME_BYTES_MAX: usize = (1 << 20) + 4096;
/// What is read at once: some twenty messages. Every socket has this much memory, also one that says nothing, and all of
/// it is filled with zeros before each look whether something came.
const READ_BYTES: usize = 8 << 10;
/// What is put together before it is written without being flushed. A socket keeps this much once it has needed it.
const WRITE_BYTES: usize = 16 << 10;

/// Why a socket ends, and how that is said.
pub(super) struct End(pub(super) Ended, pub(super) Option<CloseFrame>);

/// A client's frame, or something that is none.
pub(super) type Frame = Result<Message, WsError>;

/// The other end of the wire.
pub(super) struct Wire {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    patience: Duration,
}

impl Wire {
    /// Over `upgraded`, with a client who may take nothing for as long as `patience`.
    pub(super) async fn new(upgraded: Upgraded, patience: Duration) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX))
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(WRITE_BYTES);
        let io = TokioIo::new(upgraded);
        let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Self { stream, patience }
    }

    /// The next frame; `None` after the last. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        self.stream.next().await
    }

    /// Puts a frame to what goes out next.
    pub(super) async fn tell(&mut self, told: &Told<'_>) -> Result<(), End> {
        self.say(told.text()).await
    }

    /// Puts a text to what goes out next.
    pub(super) async fn say(&mut self, text: String) -> Result<(), End> {
        let feeding = self.stream.feed(Message::text(text));
        written(runtime::timeout(self.patience, feeding).await)
    }

    /// Puts the question whether the client is still there to what goes out next.
    pub(super) async fn ping(&mut self) -> Result<(), End> {
        let feeding = self.stream.feed(Message::Ping(Bytes::new()));
        written(runtime::timeout(self.patience, feeding).await)
    }

    /// Writes what was put together.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        let flushing = self.stream.flush();
        written(runtime::timeout(self.patience, flushing).await)
    }

    /// Says why it ends.
    pub(super) async fn close(&mut self, close: CloseFrame) {
        let closing = runtime::timeout(self.patience, self.stream.close(Some(close)));
        if let Err(error) = closing.await {
            tracing::debug!(%error, "a socket did not take its end");
        }
    }
}

/// How a write ended.
fn written<E>(result: Result<Result<(), WsError>, E>) -> Result<(), End> {
    match result {
        Ok(Ok(())) => Ok(()),
        // There is no way to tell a client that takes nothing. The socket below is as patient, and may be the first to say so.
        Ok(Err(error)) if is_stall(&error) => Err(End(Ended::Slow, None)),
        Err(_elapsed) => Err(End(Ended::Slow, None)),
        Ok(Err(_gone)) => Err(End(Ended::Client, None)),
    }
}

/// Whether a client took nothing for too long.
fn is_stall(error: &WsError) -> bool {
    matches!(error, WsError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// What was no frame, and why the socket ends.
pub(super) fn refused_frame(error: &WsError) -> End {
    match error {
        WsError::Capacity(_) => {
            let why = "a frame has at most 1052672 bytes";
            End(Ended::Refused, closing(CloseCode::Size, why))
        }
        WsError::Protocol(_) | WsError::Utf8(_) | WsError::AttackAttempt => {
            End(Ended::Refused, closing(CloseCode::Protocol, "this is not RFC 6455"))
        }
        // Reading writes too: answers to pings.
        error if is_stall(error) => End(Ended::Slow, None),
        _ => End(Ended::Client, None),
    }
}

/// How an end is said.
pub(super) fn closing(code: CloseCode, reason: &'static str) -> Option<CloseFrame> {
    Some(CloseFrame { code, reason: reason.into() })
}
