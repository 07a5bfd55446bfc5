//! From values to frames and back. Bodies are postcard; those that are only bytes stay as they are.

use bytes::{Bytes, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::HEAD_BYTES;
use crate::limits::FRAME_BYTES_MAX;
use crate::{Error, Frame, Kind, VERSION};

/// Appends a frame of `value` to `out`.
///
/// # Errors
/// When the frame would be too long. Then `out` is as it was.
pub fn encode<T: Serialize + ?Sized>(
    kind: Kind,
    value: &T,
    out: &mut BytesMut,
) -> Result<(), Error> {
    encode_with(kind, out, |out| write(kind, value, out))
}

/// Appends a frame whose body is these bytes.
///
/// # Errors
/// When the frame would be too long. Then `out` is as it was.
pub fn encode_raw(kind: Kind, body: &[u8], out: &mut BytesMut) -> Result<(), Error> {
    encode_with(kind, out, |out| {
        out.extend_from_slice(body);
        Ok(())
    })
}

/// Appends a frame of `head` and then, as they are, the bytes of `rest`.
///
/// # Errors
/// When the frame would be too long. Then `out` is as it was.
pub fn encode_head<T: Serialize>(
    kind: Kind,
    head: &T,
    rest: &[u8],
    out: &mut BytesMut,
) -> Result<(), Error> {
    encode_with(kind, out, |out| {
        write(kind, head, out)?;
        out.extend_from_slice(rest);
        Ok(())
    })
}

/// The value of a frame of this kind.
///
/// # Errors
/// When it is another kind, does not decode, or has bytes left over.
pub fn decode<T: DeserializeOwned>(kind: Kind, frame: &Frame) -> Result<T, Error> {
    let (value, rest) = decode_head(kind, frame)?;
    if rest.is_empty() {
        return Ok(value);
    }
    Err(Error::Body { kind, text: format!("{} bytes left over", rest.len()) })
}

/// The value at the beginning of a frame of this kind, and the bytes after it, not copied.
///
/// # Errors
/// When it is another kind or does not decode.
pub fn decode_head<T: DeserializeOwned>(kind: Kind, frame: &Frame) -> Result<(T, Bytes), Error> {
    if frame.kind != kind {
        return Err(Error::Misplaced(frame.kind));
    }
    let (value, rest) = postcard::take_from_bytes::<T>(&frame.body)
        .map_err(|error| Error::Body { kind, text: error.to_string() })?;
    Ok((value, frame.body.slice_ref(rest)))
}

fn encode_with(
    kind: Kind,
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), Error>,
) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, VERSION, kind.into()]);
    let done = body(out).and_then(|()| {
        let bytes = out.len() - start - (HEAD_BYTES - 2);
        let too_long = Error::TooLong { bytes, max: FRAME_BYTES_MAX };
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX);
        let place = out.get_mut(start..).and_then(|frame| frame.first_chunk_mut::<4>());
        match (length, place) {
            (Some(length), Some(place)) => {
                *place = length.to_le_bytes();
                Ok(())
            }
            _ => Err(too_long),
        }
    });
    if done.is_err() {
        out.truncate(start);
    }
    done
}

fn write<T: Serialize + ?Sized>(kind: Kind, value: &T, out: &mut BytesMut) -> Result<(), Error> {
    postcard::serialize_with_flavor(value, Onto { out, left: FRAME_BYTES_MAX })
        .map_err(|error| Error::Body { kind, text: error.to_string() })
}

/// Writes behind what is there, and no more than a frame may hold.
struct Onto<'a> {
    out: &'a mut BytesMut,
    left: usize,
}

impl Flavor for Onto<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.left =
            self.left.checked_sub(bytes.len()).ok_or(postcard::Error::SerializeBufferFull)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Frames;

    fn frame(bytes: &[u8]) -> Frame {
        let mut frames = Frames::new(FRAME_BYTES_MAX);
        frames.push(Bytes::copy_from_slice(bytes));
        frames.next().unwrap().unwrap()
    }

    #[test]
    fn what_was_encoded_comes_back_and_leftovers_are_refused() {
        let mut out = BytesMut::new();
        encode(Kind::Message, &(7_u64, "seven"), &mut out).unwrap();
        let seven: (u64, String) = decode(Kind::Message, &frame(&out)).unwrap();
        assert_eq!(seven, (7, "seven".to_owned()));
        assert!(decode::<u64>(Kind::Message, &frame(&out)).is_err(), "bytes left over");
        assert_eq!(decode::<u64>(Kind::Hello, &frame(&out)), Err(Error::Misplaced(Kind::Message)));
    }

    #[test]
    fn a_head_and_its_rest_share_one_frame() {
        let mut out = BytesMut::new();
        encode_head(Kind::Request, &(1_u8, 250_u32), b"body", &mut out).unwrap();
        let (head, rest): ((u8, u32), Bytes) = decode_head(Kind::Request, &frame(&out)).unwrap();
        assert_eq!((head, rest.as_ref()), ((1, 250), &b"body"[..]));
    }

    #[test]
    fn a_value_too_long_for_a_frame_leaves_nothing_behind() {
        let mut out = BytesMut::from(&b"before"[..]);
        let long = vec![0_u8; FRAME_BYTES_MAX + 1];
        assert!(encode(Kind::Message, &long, &mut out).is_err());
        assert!(encode_raw(Kind::AnswerEnd, &long, &mut out).is_err());
        assert_eq!(out, "before");
    }
}
