//! One stream on the way in, as frames.

use quinn::{ReadError, RecvStream};
use wire::{Frame, Frames};

/// How much is taken from the connection at a time.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// The frames of one stream.
#[derive(Debug)]
pub(crate) struct Incoming {
    stream: RecvStream,
    frames: Frames,
}

/// Why there are no more frames.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    /// The stream or the connection ended. Whole frames before it were delivered.
    #[error("the stream ended")]
    Ended(#[from] ReadError),
    /// The bytes are not frames. Whoever reads the stream closes the connection.
    #[error(transparent)]
    Malformed(#[from] wire::Error),
    /// The stream ended inside a frame. Whoever reads it closes the connection.
    #[error("the stream ended inside a frame")]
    Cut,
}

impl Incoming {
    /// Frames of at most `bytes_max` bytes.
    pub(crate) fn new(stream: RecvStream, bytes_max: usize) -> Self {
        Self { stream, frames: Frames::new(bytes_max) }
    }

    /// Allows longer frames: the other side has said who it is.
    pub(crate) fn allow(&mut self, bytes_max: usize) {
        self.frames.allow(bytes_max);
    }

    /// The next frame; `None` when the stream ended after one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, IncomingError> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(CHUNK_BYTES_MAX, true).await? {
                Some(chunk) => self.frames.push(chunk.bytes),
                None if self.frames.is_between_frames() => return Ok(None),
                None => return Err(IncomingError::Cut),
            }
        }
    }

    /// A further frame of what came with the last one.
    pub(crate) fn further(&mut self) -> Result<Option<Frame>, IncomingError> {
        Ok(self.frames.next()?)
    }
}
