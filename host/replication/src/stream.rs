//! Bulk data between two nodes: a stream of its own, behind everything else.
//!
//! It begins as a request does, so that a node that does not know streams answers as to a request that it
//! does not understand. From then on both sides send frames whenever they like. Whoever sends must know that
//! the other side has room for it: what nobody reads would hold up the whole connection, beats and entries
//! included.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, SendStream};
use tokio::sync::mpsc;
use wire::limits::FRAME_BYTES_MAX;
use wire::{Kind, RequestHead, codec};

use crate::incoming::Incoming;
use crate::peers::code;

/// Behind the log and the calls, which have 0, and the beats, which have 1.
const PRIORITY: i32 = -1;
/// So long a stream may take to begin: longer, and the other side has more streams than it can have.
const BEGIN_MAX: Duration = Duration::from_secs(5);

/// A stream that another node has begun, while it is served.
pub type Streaming = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The stream, the connection or the other node is gone, or never was there. What was sent may have
/// arrived or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream ended")]
pub struct StreamEnded;

/// Both directions.
#[derive(Debug)]
pub struct Stream {
    sending: Sending,
    receiving: Receiving,
}

/// The way out. Dropping it without [`Sending::finish`] tells the other side that it was cut.
pub struct Sending {
    out: Out,
    finished: bool,
}

/// The way in.
#[derive(Debug)]
pub struct Receiving {
    incoming: In,
}

/// What a stream that somebody else carries is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A frame.
    Frame(Bytes),
    /// Nothing follows.
    End,
}

/// Where frames go to.
enum Out {
    Connection(SendStream),
    Carrier(mpsc::Sender<Carried>),
}

/// Where they come from.
#[derive(Debug)]
enum In {
    Connection(Incoming),
    /// Whether the end came.
    Carrier(mpsc::Receiver<Carried>, bool),
}

/// Begins a stream.
pub(crate) async fn begin(
    connection: Option<Connection>,
    body: &[u8],
) -> Result<Stream, StreamEnded> {
    let connection = connection.ok_or(StreamEnded)?;
    let opened = runtime::timeout(BEGIN_MAX, connection.open_bi()).await;
    let (mut out, stream) = opened.ok().and_then(Result::ok).ok_or(StreamEnded)?;
    out.set_priority(PRIORITY).map_err(|_closed| StreamEnded)?;
    let mut request = BytesMut::new();
    let head = RequestHead { hop: 1, wait_ms: 0 };
    codec::encode_head(Kind::Request, &head, body, &mut request).map_err(|_long| StreamEnded)?;
    out.write_all(&request).await.map_err(|_ended| StreamEnded)?;
    Ok(Stream::new(out, Incoming::new(stream, FRAME_BYTES_MAX)))
}

impl Stream {
    pub(crate) fn new(out: SendStream, incoming: Incoming) -> Self {
        // Of a stream that is gone already the next send tells.
        drop(out.set_priority(PRIORITY));
        let sending = Sending { out: Out::Connection(out), finished: false };
        Self { sending, receiving: Receiving { incoming: In::Connection(incoming) } }
    }

    /// One whose frames somebody carries by hand, as a simulation does. A channel that is dropped without
    /// [`Carried::End`] is a way that was cut.
    pub fn carried(out: mpsc::Sender<Carried>, incoming: mpsc::Receiver<Carried>) -> Self {
        let sending = Sending { out: Out::Carrier(out), finished: false };
        Self { sending, receiving: Receiving { incoming: In::Carrier(incoming, false) } }
    }

    /// One half each.
    pub fn split(self) -> (Sending, Receiving) {
        (self.sending, self.receiving)
    }

    /// See [`Sending::send`].
    ///
    /// # Errors
    /// [`StreamEnded`].
    pub async fn send(&mut self, head: &[u8], rest: &[u8]) -> Result<(), StreamEnded> {
        self.sending.send(head, rest).await
    }

    /// See [`Sending::finish`].
    pub fn finish(&mut self) {
        self.sending.finish();
    }

    /// See [`Receiving::next`].
    ///
    /// # Errors
    /// [`StreamEnded`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, StreamEnded> {
        self.receiving.next().await
    }
}

impl Sending {
    /// Sends a frame of `head` and `rest`, together less than a MiB; waits until the connection has taken it.
    ///
    /// # Errors
    /// [`StreamEnded`], also when it is too long.
    pub async fn send(&mut self, head: &[u8], rest: &[u8]) -> Result<(), StreamEnded> {
        let mut frame = BytesMut::with_capacity(head.len() + rest.len() + 16);
        let body = [head, rest];
        let length = 2 + body.iter().map(|part| part.len()).sum::<usize>();
        if length > FRAME_BYTES_MAX {
            return Err(StreamEnded);
        }
        let out = match &mut self.out {
            Out::Connection(out) => out,
            Out::Carrier(out) => {
                let frame = Carried::Frame(body.concat().into());
                return out.send(frame).await.map_err(|_gone| StreamEnded);
            }
        };
        let length = u32::try_from(length).map_err(|_long| StreamEnded)?;
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&[wire::VERSION, Kind::Bulk.into()]);
        body.iter().for_each(|part| frame.extend_from_slice(part));
        let written = out.write_chunk(frame.freeze()).await;
        written.map_err(|_ended| StreamEnded)
    }

    /// Nothing follows.
    pub fn finish(&mut self) {
        self.finished = true;
        // If it is gone, so is whoever would be told.
        match &mut self.out {
            Out::Connection(out) => drop(out.finish()),
            Out::Carrier(out) => drop(out.try_send(Carried::End)),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let (false, Out::Connection(out)) = (self.finished, &mut self.out) {
            drop(out.reset(code::SILENT));
        }
    }
}

impl Receiving {
    /// The next frame; `None` when the other side has nothing more to say. Cancel-safe.
    ///
    /// # Errors
    /// [`StreamEnded`], also when what came is no frame of a stream.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StreamEnded> {
        let incoming = match &mut self.incoming {
            In::Connection(incoming) => incoming,
            In::Carrier(_, true) => return Ok(None),
            In::Carrier(carrier, ended) => {
                return match carrier.recv().await {
                    Some(Carried::Frame(frame)) => Ok(Some(frame)),
                    Some(Carried::End) => {
                        *ended = true;
                        Ok(None)
                    }
                    None => Err(StreamEnded),
                };
            }
        };
        match incoming.next().await {
            Ok(Some(frame)) if frame.kind == Kind::Bulk => Ok(Some(frame.body)),
            Ok(None) => Ok(None),
            Ok(Some(_)) | Err(_) => Err(StreamEnded),
        }
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("finished", &self.finished).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever carries frames is told of an end and of a cut as a connection tells of them.
    #[tokio::test]
    async fn what_is_carried_by_hand_ends_and_is_cut_as_on_a_connection() {
        let (there, said) = mpsc::channel(4);
        let (says, here) = mpsc::channel(4);
        let mut one = Stream::carried(there, here);
        one.send(b"a", b"b").await.unwrap();
        one.finish();
        let mut said = said;
        assert_eq!(said.recv().await, Some(Carried::Frame(Bytes::from_static(b"ab"))));
        assert_eq!(said.recv().await, Some(Carried::End));
        says.send(Carried::Frame(Bytes::from_static(b"c"))).await.unwrap();
        says.send(Carried::End).await.unwrap();
        assert_eq!(one.next().await, Ok(Some(Bytes::from_static(b"c"))));
        assert_eq!((one.next().await, one.next().await), (Ok(None), Ok(None)));
        let long = vec![0; FRAME_BYTES_MAX];
        assert_eq!(one.send(&long, &[]).await, Err(StreamEnded), "as on a connection");
        let (there, said) = mpsc::channel(4);
        let (says, here) = mpsc::channel::<Carried>(4);
        let mut cut = Stream::carried(there, here);
        drop((says, said));
        assert_eq!(cut.next().await, Err(StreamEnded));
        assert_eq!(cut.send(b"x", &[]).await, Err(StreamEnded));
    }
}
