//! One frame: `length u32 LE, version u8, kind u8, body`.
//!
//! The length counts from the version byte. Every frame carries its version, so that a stream can be
//! judged from any frame on; the kind says how its body is encoded. Streams are byte streams: frames
//! arrive cut anywhere and several at once, and [`Frames`] puts them together again without copying
//! those that came whole.

use bytes::{Buf, Bytes, BytesMut};

use crate::Error;

/// The version of everything in this crate.
pub const VERSION: u8 = 1;

/// Bytes before the body: length, version, kind.
pub(crate) const HEAD_BYTES: usize = 6;
const LENGTH_BYTES: usize = 4;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Who I am: the first frame of a connection, both ways.
    Hello = 1,
    /// Why your HELLO is not taken; the connection ends.
    Refusal = 2,
    /// A message of the replication rules.
    Message = 3,
    /// A request to run here on behalf of a client of another node.
    Request = 4,
    /// A part of the answer to a request; more follow.
    AnswerPart = 5,
    /// The last or only part of the answer.
    AnswerEnd = 6,
    /// The request was not run, and why.
    NotRun = 7,
    /// Some of what a stream carries that a request has begun, either way.
    Bulk = 8,
}

impl TryFrom<u8> for Kind {
    type Error = Error;

    fn try_from(byte: u8) -> Result<Self, Error> {
        Ok(match byte {
            1 => Self::Hello,
            2 => Self::Refusal,
            3 => Self::Message,
            4 => Self::Request,
            5 => Self::AnswerPart,
            6 => Self::AnswerEnd,
            7 => Self::NotRun,
            8 => Self::Bulk,
            unknown => return Err(Error::Kind(unknown)),
        })
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Hello => 1,
            Kind::Refusal => 2,
            Kind::Message => 3,
            Kind::Request => 4,
            Kind::AnswerPart => 5,
            Kind::AnswerEnd => 6,
            Kind::NotRun => 7,
            Kind::Bulk => 8,
        }
    }
}

/// A whole frame, its length and version checked and left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its body, not decoded.
    pub body: Bytes,
}

/// Turns the bytes of one stream into frames. After an error it must not be used further: where the
/// next frame would begin is not known.
#[derive(Debug)]
pub struct Frames {
    bytes_max: usize,
    /// Came last and not looked at yet.
    fresh: Bytes,
    /// The beginning of a frame that came in pieces; never more than one frame.
    begun: BytesMut,
}

impl Frames {
    /// For a stream whose frames have at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, fresh: Bytes::new(), begun: BytesMut::new() }
    }

    /// Allows longer frames from here on: the other side has said who it is.
    pub fn allow(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// The next bytes of the stream. Take all frames with [`Frames::next`] before giving more.
    pub fn push(&mut self, bytes: Bytes) {
        if self.fresh.is_empty() {
            self.fresh = bytes;
        } else {
            let mut both = BytesMut::from(self.fresh.as_ref());
            both.extend_from_slice(&bytes);
            self.fresh = both.freeze();
        }
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are not frames, or one is too long.
    #[expect(clippy::should_implement_trait, reason = "not an iterator: None means not yet")]
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        if self.begun.is_empty() {
            match self.length_of(&self.fresh)? {
                Some(length) if self.fresh.len() >= LENGTH_BYTES + length => {
                    self.fresh.advance(LENGTH_BYTES);
                    let whole = self.fresh.split_to(length);
                    return open(whole).map(Some);
                }
                _ if self.fresh.is_empty() => return Ok(None),
                _ => {}
            }
        }
        if self.begun.len() < LENGTH_BYTES {
            self.move_until(LENGTH_BYTES);
        }
        let Some(length) = self.length_of(&self.begun)? else { return Ok(None) };
        let end = LENGTH_BYTES + length;
        self.begun.reserve(end.saturating_sub(self.begun.len()));
        self.move_until(end);
        if self.begun.len() < end {
            return Ok(None);
        }
        let mut whole = self.begun.split().freeze();
        whole.advance(LENGTH_BYTES);
        open(whole).map(Some)
    }

    /// Whether the stream could end here without cutting a frame.
    pub fn is_between_frames(&self) -> bool {
        self.fresh.is_empty() && self.begun.is_empty()
    }

    fn move_until(&mut self, end: usize) {
        let wanted = end.saturating_sub(self.begun.len()).min(self.fresh.len());
        self.begun.extend_from_slice(&self.fresh.split_to(wanted));
    }

    fn length_of(&self, bytes: &[u8]) -> Result<Option<usize>, Error> {
        let Some(head) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if length > self.bytes_max {
            return Err(Error::TooLong { bytes: length, max: self.bytes_max });
        }
        if length < HEAD_BYTES - LENGTH_BYTES {
            return Err(Error::TooShort { bytes: length });
        }
        Ok(Some(length))
    }
}

/// Takes version and kind off.
fn open(mut whole: Bytes) -> Result<Frame, Error> {
    let short = Error::TooShort { bytes: whole.len() };
    let (Some(&version), Some(&kind)) = (whole.first(), whole.get(1)) else { return Err(short) };
    if version != VERSION {
        return Err(Error::Version(version));
    }
    whole.advance(2);
    Ok(Frame { kind: Kind::try_from(kind)?, body: whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    fn stream(bodies: &[&[u8]]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for body in bodies {
            codec::encode_raw(Kind::AnswerPart, body, &mut out).unwrap();
        }
        out.to_vec()
    }

    fn all(frames: &mut Frames) -> Vec<Bytes> {
        std::iter::from_fn(|| frames.next().unwrap()).map(|frame| frame.body).collect()
    }

    #[test]
    fn frames_come_out_whole_wherever_the_stream_was_cut() {
        let bytes = stream(&[b"one", b"", &[7; 3000], b"four"]);
        for step in [1, 2, 3, 5, 7, 64, 1200, bytes.len()] {
            let mut frames = Frames::new(4096);
            let mut bodies = Vec::new();
            for piece in bytes.chunks(step) {
                frames.push(Bytes::copy_from_slice(piece));
                bodies.extend(all(&mut frames));
            }
            assert_eq!(bodies, [&b"one"[..], b"", &[7; 3000], b"four"], "cut every {step}");
            assert!(frames.is_between_frames());
        }
    }

    #[test]
    fn a_frame_that_came_whole_is_not_copied() {
        let bytes = Bytes::from(stream(&[b"one", b"two"]));
        let mut frames = Frames::new(64);
        frames.push(bytes.clone());
        for frame in all(&mut frames) {
            assert!(bytes.as_ptr_range().contains(&frame.as_ptr()));
        }
    }

    #[test]
    fn a_long_frame_is_refused_by_its_first_four_bytes() {
        let mut frames = Frames::new(1 << 20);
        frames.push(Bytes::from_static(&[0xff, 0xff, 0xff]));
        assert_eq!(frames.next(), Ok(None));
        frames.push(Bytes::from_static(&[0x7f]));
        let refused = Error::TooLong { bytes: 0x7fff_ffff, max: 1 << 20 };
        assert_eq!(frames.next(), Err(refused));
        assert!(frames.begun.capacity() < 4096, "no memory was set aside");
    }

    #[test]
    fn short_frames_other_versions_and_unknown_kinds_are_refused() {
        for (bytes, error) in [
            (&[1, 0, 0, 0, 1][..], Error::TooShort { bytes: 1 }),
            (&[2, 0, 0, 0, 9, 1], Error::Version(9)),
            (&[2, 0, 0, 0, VERSION, 200], Error::Kind(200)),
        ] {
            let mut frames = Frames::new(64);
            frames.push(Bytes::copy_from_slice(bytes));
            assert_eq!(frames.next(), Err(error));
        }
    }

    #[test]
    fn every_kind_has_one_number() {
        for byte in 0..=u8::MAX {
            if let Ok(kind) = Kind::try_from(byte) {
                assert_eq!(u8::from(kind), byte);
            }
        }
    }
}
