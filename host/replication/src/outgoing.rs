//! One stream on the way out: what waits to be sent, written without a task of its own.
//!
//! Everything one poll of the core has to say to a peer is encoded into one buffer and handed to the
//! connection at once. What the connection cannot take stays here, in order; the driver tries again
//! when the connection wakes it. What waits is bounded: a peer that takes too little for too long is
//! cut off, since what it is owed can be fetched again and memory cannot.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use quinn::{SendStream, WriteError};
use wire::{Kind, Message};

/// What may wait for one peer on one stream: more than the core lets be on its way to it at a time.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Room made at once for frames to come.
const BUFFER_BYTES: usize = 16 << 10;

/// What waits for one stream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream,
    /// Frames of the current poll.
    open: BytesMut,
    /// Frames of earlier polls that the connection has not taken yet.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

/// Why nothing more can be sent. The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutgoingError {
    /// The connection or the stream ended. What waited is lost, as the core expects of a lost peer.
    #[error("the stream ended")]
    Ended(#[from] WriteError),
    /// The peer takes too little. What waited is dropped with the connection.
    #[error("{0} bytes wait for a peer that does not take them")]
    Slow(usize),
}

impl Outgoing {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { stream, open: BytesMut::new(), waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// Adds a message; [`Outgoing::flush`] sends it.
    pub(crate) fn push(&mut self, message: &Message) -> Result<(), wire::Error> {
        if self.open.capacity() == 0 {
            self.open.reserve(BUFFER_BYTES);
        }
        wire::codec::encode(Kind::Message, message, &mut self.open)
    }

    /// Hands on as much as the connection takes. The task of `context` is woken when it takes more.
    pub(crate) fn flush(&mut self, context: &mut Context<'_>) -> Result<(), OutgoingError> {
        if !self.open.is_empty() {
            self.waiting_bytes += self.open.len();
            self.waiting.push_back(self.open.split().freeze());
        }
        while self.waiting_bytes > 0 {
            let taken = {
                let write = self.stream.write_chunks(self.waiting.make_contiguous());
                pin!(write).poll(context)?
            };
            match taken {
                Poll::Ready(written) => {
                    self.waiting.drain(..written.chunks);
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(written.bytes);
                }
                Poll::Pending if self.waiting_bytes > WAITING_BYTES_MAX => {
                    return Err(OutgoingError::Slow(self.waiting_bytes));
                }
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// Whether something waits for the connection.
    pub(crate) fn is_blocked(&self) -> bool {
        self.waiting_bytes > 0
    }
}
