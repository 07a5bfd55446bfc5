//! The first frames of a connection: who is there, both ways.
//!
//! A handshake of TLS is not enough to be connected. The dialler's side is done before the other has
//! judged its certificate, and a certificate knows neither cluster nor process life. So the dialler
//! opens the control stream with a HELLO, and only the answer makes a peer. What does not fit is
//! answered with a sentence, for whoever reads the log of the refused node.

use std::time::Duration;

use bytes::BytesMut;
use hashring::NodeId;
use quinn::{Connection, ConnectionError, SendStream};
use rustls::pki_types::CertificateDer;
use wire::limits::{FRAME_BYTES_MAX, HELLO_BYTES_MAX};
use wire::{Hello, Kind, Reason, Refusal, codec};

use crate::incoming::{Incoming, IncomingError};
use crate::peers::{Peers, code};
use crate::{distrust, tls};

/// How long a greeting may take, from the first byte of the handshake.
pub(crate) const GREETING_MAX: Duration = Duration::from_secs(5);
/// How long a refusal is given to arrive before the connection is closed.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// A connection on which both have said who they are.
#[derive(Debug)]
pub(crate) struct Greeted {
    /// What the other said.
    pub(crate) hello: Hello,
    /// The number of the connection.
    pub(crate) generation: u64,
    /// The control stream, out.
    pub(crate) control_out: SendStream,
    /// The control stream, in.
    pub(crate) control_in: Incoming,
}

/// Why there is no peer at the end of this connection. It is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    /// This node does not take the other. It was told why.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The other does not take this node. Somebody has to do what the sentence says.
    #[error("refused by the other side: {0}")]
    RefusedByPeer(Refusal),
    /// What came is no greeting. The connection was closed as malformed.
    #[error("no greeting")]
    Malformed(#[from] wire::Error),
    /// One side does not believe the other's certificate. Nothing was said; somebody has to do what the
    /// sentence says.
    #[error("not believed: {0}")]
    Distrusted(String),
    /// The connection ended first. It is dialled again.
    #[error("the connection ended: {0}")]
    Ended(String),
    /// It took too long. The connection was closed and is dialled again.
    #[error("no greeting within {} s", GREETING_MAX.as_secs())]
    Silent,
}

impl From<ConnectionError> for GreetingError {
    fn from(error: ConnectionError) -> Self {
        distrust::words(&error).map_or_else(|| Self::Ended(error.to_string()), Self::Distrusted)
    }
}

/// Greets the node that was dialled as `node`.
pub(crate) async fn call(
    connection: &Connection,
    node: &NodeId,
    ours: &Hello,
    peers: &Peers,
) -> Result<Greeted, GreetingError> {
    let (mut out, stream) = connection.open_bi().await?;
    let mut control_in = Incoming::new(stream, HELLO_BYTES_MAX);
    send(&mut out, Kind::Hello, ours).await?;
    let hello = read(&mut control_in).await?;
    judge(connection, Some(node), hello, ours, peers, out, control_in).await
}

/// Waits for the greeting of whoever dialled, and answers it.
pub(crate) async fn answer(
    connection: &Connection,
    ours: &Hello,
    peers: &Peers,
) -> Result<Greeted, GreetingError> {
    let (out, stream) = connection.accept_bi().await?;
    let mut control_in = Incoming::new(stream, HELLO_BYTES_MAX);
    let hello = read(&mut control_in).await?;
    let mut greeted = judge(connection, None, hello, ours, peers, out, control_in).await?;
    if let Err(error) = send(&mut greeted.control_out, Kind::Hello, ours).await {
        peers.leave(&greeted.hello.node, greeted.generation);
        return Err(error);
    }
    Ok(greeted)
}

/// What the certificate that the other side showed says of it.
fn certified(connection: &Connection) -> Option<Certified> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let certificate = chain.first()?;
    let fingerprint = tls::fingerprint_of(certificate);
    Some(Certified { node: tls::node_of(certificate)?, fingerprint })
}

/// Who a certificate is of, and which one it is.
struct Certified {
    node: NodeId,
    fingerprint: String,
}

async fn judge(
    connection: &Connection,
    dialled: Option<&NodeId>,
    hello: Hello,
    ours: &Hello,
    peers: &Peers,
    mut control_out: SendStream,
    mut control_in: Incoming,
) -> Result<Greeted, GreetingError> {
    let verdict = match certified(connection) {
        Some(Certified { node, fingerprint }) if dialled.is_none_or(|name| *name == node) => {
            hello.check(ours, &node).and_then(|()| peers.adopt(&hello, &fingerprint, connection))
        }
        _ => Err(Refusal::new(Reason::Name, "the certificate is not in the name of one node")),
    };
    match verdict {
        Ok(generation) => {
            control_in.allow(FRAME_BYTES_MAX);
            Ok(Greeted { hello, generation, control_out, control_in })
        }
        Err(refusal) => {
            refuse(connection, &mut control_out, &refusal).await;
            Err(GreetingError::Refused(refusal))
        }
    }
}

/// Says why, and closes once it was read.
async fn refuse(connection: &Connection, out: &mut SendStream, refusal: &Refusal) {
    if send(out, Kind::Refusal, refusal).await.is_ok() && out.finish().is_ok() {
        // If it is not read in time, the sentence in the closing frame has to do.
        drop(runtime::timeout(GOODBYE_MAX, out.stopped()).await);
    }
    connection.close(code::REFUSED, refusal.sentence.as_bytes());
}

async fn send<T: serde::Serialize>(
    out: &mut SendStream,
    kind: Kind,
    value: &T,
) -> Result<(), GreetingError> {
    let mut bytes = BytesMut::new();
    codec::encode(kind, value, &mut bytes)?;
    out.write_all(&bytes).await.map_err(|error| GreetingError::Ended(error.to_string()))
}

async fn read(control_in: &mut Incoming) -> Result<Hello, GreetingError> {
    match control_in.next().await {
        Ok(Some(frame)) if frame.kind == Kind::Refusal => {
            Err(GreetingError::RefusedByPeer(codec::decode(Kind::Refusal, &frame)?))
        }
        Ok(Some(frame)) => Ok(codec::decode(Kind::Hello, &frame)?),
        Ok(None) => Err(GreetingError::Ended("the stream ended".to_owned())),
        Err(IncomingError::Malformed(error)) => Err(error.into()),
        Err(error) => Err(GreetingError::Ended(error.to_string())),
    }
}
