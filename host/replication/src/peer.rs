//! One connection to a peer, from its greeting to its end.
//!
//! Three kinds of stream share it. The *control* stream, both ways, carries beats and pre-votes: small,
//! urgent, and binding nobody, so it must not wait behind a megabyte of entries. One *log* stream each
//! way carries everything that changes a log or tells what one holds; it is one stream, so that what is
//! said about a partition arrives in the order it was said. Forwarded *calls* have a short stream each.
//!
//! The connection's task reads; the driver writes, through the [`Link`] it is given at the beginning.

use std::sync::Arc;

use hashring::NodeId;
use quinn::{Connection, VarInt};
use runtime::Tasks;
use tokio::sync::Semaphore;
use wire::limits::FRAME_BYTES_MAX;
use wire::{Frame, Hello, Kind, Message, Refusal, codec};

use crate::forward;
use crate::greeting::Greeted;
use crate::inbox::{Command, Inbox};
use crate::incoming::{Incoming, IncomingError};
use crate::outgoing::{Outgoing, OutgoingError};
use crate::peers::{Peers, code};
use crate::{Host, metric};

/// What every connection needs of its node.
#[derive(Clone)]
pub(crate) struct Net {
    /// How this node greets.
    pub(crate) ours: Hello,
    pub(crate) peers: Arc<Peers>,
    pub(crate) inbox: Inbox,
    pub(crate) host: Arc<dyn Host>,
    /// How many calls of other nodes run here at once.
    pub(crate) calls: Arc<Semaphore>,
    pub(crate) tasks: Tasks,
}

/// The sending half of a connection, which the driver owns.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who is at the other end.
    pub(crate) node: NodeId,
    /// Its process life.
    pub(crate) boot: u64,
    /// Its data directory.
    pub(crate) store: u64,
    /// The number of the connection.
    pub(crate) generation: u64,
    connection: Connection,
    control: Outgoing,
    log: Outgoing,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// It was lost, or the other side closed it. It is dialled again by whose turn that is.
    #[error("{0}")]
    Lost(String),
    /// What came does not belong there. It was closed, and is dialled again.
    #[error("malformed: {0}")]
    Malformed(wire::Error),
    /// The other side does not take this node after all. It was closed; somebody has to do what the
    /// sentence says.
    #[error("refused by the other side: {0}")]
    Refused(Refusal),
    /// The node stops. Nothing is left to do.
    #[error("this node stops")]
    Stopping,
}

impl Link {
    /// Adds a message to what the next flush sends.
    pub(crate) fn push(&mut self, message: &Message) {
        let stream = if is_control(message) { &mut self.control } else { &mut self.log };
        if let Err(error) = stream.push(message) {
            // Entries are bounded at the door, so that this would be a mistake of ours. Without the
            // message the peer waits for it for ever; with a new connection it is told anew.
            tracing::error!(peer = %self.node, %error, "a message is too long for a frame");
            self.connection.close(code::MALFORMED, b"a message too long for a frame");
        }
    }

    /// Sends what was added. The task of `context` is woken when more can be sent.
    pub(crate) fn flush(&mut self, context: &mut std::task::Context<'_>) {
        let flushed = self.control.flush(context).and_then(|()| self.log.flush(context));
        if let Err(error @ OutgoingError::Slow(_)) = flushed {
            tracing::warn!(peer = %self.node, %error, "closing the connection");
            self.connection.close(code::SLOW, b"too much waits for you");
        }
        // A stream that ended ends the connection's task, which tells the driver.
    }

    /// Whether something waits for the connection.
    pub(crate) fn is_blocked(&self) -> bool {
        self.control.is_blocked() || self.log.is_blocked()
    }
}

/// Beats and votes bind nobody and are urgent; everything else is told in order.
fn is_control(message: &Message) -> bool {
    matches!(
        message,
        Message::Beat(_) | Message::BeatAnswer(_) | Message::PreVote(_) | Message::PreVoteAnswer(_)
    )
}

/// Runs a greeted connection until it ends. Dropping the future closes nothing; the caller does.
pub(crate) async fn serve(net: &Net, connection: &Connection, greeted: Greeted) {
    let Greeted { hello, generation, control_out, control_in } = greeted;
    let node = hello.node.clone();
    tracing::info!(node = %net.ours.node, peer = %node, boot = hello.boot, "connected");
    metric::connected(&net.ours.node, true);
    let ended = match start(net, connection, hello, generation, control_out).await {
        Ok(()) => read_all(net, connection, &node, generation, control_in).await,
        Err(ended) => ended,
    };
    let (code, reason) = match &ended {
        Ended::Stopping | Ended::Lost(_) => (code::STOPPING, "stopping".to_owned()),
        Ended::Refused(refusal) => {
            metric::refused(&net.ours.node);
            tracing::warn!(node = %net.ours.node, peer = %node, %refusal, "no peer");
            (code::STOPPING, "refused".to_owned())
        }
        Ended::Malformed(error) => {
            metric::malformed(&net.ours.node);
            tracing::warn!(node = %net.ours.node, peer = %node, %error, "closing the connection");
            (code::MALFORMED, error.to_string())
        }
    };
    connection.close(code, reason.as_bytes());
    net.peers.leave(&node, generation);
    metric::connected(&net.ours.node, false);
    tracing::info!(node = %net.ours.node, peer = %node, why = %ended, "disconnected");
    // If the driver is gone there is nobody to tell.
    drop(net.inbox.send(Command::PeerDown { node, generation }).await);
}

/// Opens this side's log stream and hands the sending half to the driver, before anything is read.
async fn start(
    net: &Net,
    connection: &Connection,
    hello: Hello,
    generation: u64,
    control_out: quinn::SendStream,
) -> Result<(), Ended> {
    let log = connection.open_uni().await.map_err(|error| Ended::Lost(error.to_string()))?;
    // Beats overtake entries, also within one packet.
    control_out.set_priority(1).map_err(|error| Ended::Lost(error.to_string()))?;
    let link = Link {
        node: hello.node,
        boot: hello.boot,
        store: hello.store,
        generation,
        connection: connection.clone(),
        control: Outgoing::new(control_out),
        log: Outgoing::new(log),
    };
    let sent = net.inbox.send(Command::PeerUp(Box::new(link))).await;
    sent.map_err(|_stopped| Ended::Stopping)
}

async fn read_all(
    net: &Net,
    connection: &Connection,
    node: &NodeId,
    generation: u64,
    control_in: Incoming,
) -> Ended {
    let log = async {
        match connection.accept_uni().await {
            Ok(stream) => {
                let log_in = Incoming::new(stream, FRAME_BYTES_MAX);
                read_messages(net, node, generation, log_in).await
            }
            Err(error) => Ended::Lost(error.to_string()),
        }
    };
    tokio::select! { biased;
        () = net.tasks.stop().stopped() => Ended::Stopping,
        ended = read_messages(net, node, generation, control_in) => ended,
        ended = log => ended,
        ended = take_calls(net, connection, node) => ended,
    }
}

/// Hands on what a peer says. What came in one piece is handed on together: the driver is woken for each
/// piece, and not for each message.
async fn read_messages(net: &Net, node: &NodeId, generation: u64, mut from: Incoming) -> Ended {
    loop {
        let (mut messages, mut next) = (Vec::new(), from.next().await);
        let ended = loop {
            match next.map_or_else(|error| Err(error.into()), message) {
                Ok(message) => messages.push(message),
                Err(ended) => break Some(ended),
            }
            match from.further() {
                Ok(None) => break None,
                further => next = further,
            }
        };
        if !messages.is_empty() {
            let command = Command::Messages { from: node.clone(), generation, messages };
            if net.inbox.send(command).await.is_err() {
                return Ended::Stopping;
            }
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// The message of a frame, or how the connection ends with it.
fn message(frame: Option<Frame>) -> Result<Message, Ended> {
    let frame = frame.ok_or_else(|| Ended::Lost("the stream ended".to_owned()))?;
    // Whoever dialled has judged the answer to its greeting, and comes to say that it goes.
    if frame.kind == Kind::Refusal {
        let refusal = codec::decode::<Refusal>(Kind::Refusal, &frame).map_err(Ended::Malformed)?;
        return Err(Ended::Refused(refusal));
    }
    codec::decode::<Message>(Kind::Message, &frame).map_err(Ended::Malformed)
}

impl From<IncomingError> for Ended {
    fn from(error: IncomingError) -> Self {
        match error {
            IncomingError::Malformed(error) => Self::Malformed(error),
            other => Self::Lost(other.to_string()),
        }
    }
}

async fn take_calls(net: &Net, connection: &Connection, node: &NodeId) -> Ended {
    loop {
        match connection.accept_bi().await {
            Ok((out, stream)) => {
                let (net, connection, node) = (net.clone(), connection.clone(), node.clone());
                // As many at once as the transport allows streams.
                net.tasks.clone().spawn("call of another node", async move {
                    forward::answer(&net, &connection, node, out, stream).await;
                });
            }
            Err(error) => return Ended::Lost(error.to_string()),
        }
    }
}

/// Closes a connection whose calls are not what they should be.
pub(crate) fn close_malformed(net: &Net, connection: &Connection, error: &wire::Error) {
    metric::malformed(&net.ours.node);
    close(connection, code::MALFORMED, &error.to_string());
}

fn close(connection: &Connection, code: VarInt, reason: &str) {
    connection.close(code, reason.as_bytes());
}
