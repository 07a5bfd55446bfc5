//! What can be asked of the chats of a cluster.
//!
//! The same for HTTP, for tests and for another node: a request that a node cannot answer itself goes
//! as it is, in postcard, to the node that can. Shape was checked at the edge (lengths, alphabets, one
//! body); what a chat alone can know is checked where it is led.

use std::sync::Arc;
use std::time::Instant;

use model::{Attrs, Body, ChatToken, Cursor, MessageId, Reference, Route};
use plugin::{CallbackReply, TwilioRequest};
use serde::{Deserialize, Serialize};

use crate::PulseAt;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A new chat under a random token.
    Create {
        /// How long it may last after it started, in seconds.
        max_duration_s: Option<u64>,
        /// How many may be in it.
        max_participants: Option<u32>,
        /// Free pairs.
        attrs: Attrs,
    },
    /// What the chat looks like now.
    Show {
        /// Which chat.
        token: ChatToken,
        /// Linearizable, for one round to the ensemble.
        confirmed: bool,
    },
    /// Somebody joins, or changes role and pairs.
    Join {
        /// Which chat.
        token: ChatToken,
        /// Who.
        id: String,
        /// As what.
        role: Option<String>,
        /// Free pairs.
        attrs: Attrs,
    },
    /// Somebody leaves.
    Leave {
        /// Which chat.
        token: ChatToken,
        /// Who.
        id: String,
    },
    /// Somebody says something.
    Send(Send),
    /// Messages, or the wait for one.
    Read(Read),
    /// The chat is over.
    End {
        /// Which chat.
        token: ChatToken,
        /// Who ends it, if they said so.
        sender: Option<String>,
    },
    /// Who holds the chat.
    Owners {
        /// Which chat.
        token: ChatToken,
    },
    /// A call out was answered, or is given up. Asked by who delivers calls, and safe to ask again.
    OutcallDone(OutcallDone),
    /// Twilio asks what to do. The signature was checked by who asks.
    Twilio(Box<Telephone>),
    /// Somebody types, or does not any more. It is told, and written nowhere.
    Typing {
        /// Which chat.
        token: ChatToken,
        /// Who.
        sender: String,
        /// Whether they do.
        typing: bool,
    },
    /// Somebody has read up to a message. It is told, and written nowhere.
    Mark {
        /// Which chat.
        token: ChatToken,
        /// Who.
        sender: String,
        /// The message; what was said before only counts if it is earlier.
        upto: Cursor,
    },
    /// What a message said is taken back.
    Redact(Box<Redact>),
}

/// A message that is to say nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redact {
    /// Of which chat.
    pub token: ChatToken,
    /// Which message.
    pub id: MessageId,
    /// Where it stands, if that was said: then it need not be looked for.
    pub cursor: Option<Cursor>,
    /// Why, in words.
    pub reason: String,
    /// Who takes it back, if they said so.
    pub by: Option<String>,
    /// Whether they may with any message, and not only with their own.
    pub any: bool,
}

/// A request of Twilio about a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telephone {
    /// Which chat.
    pub token: ChatToken,
    /// The plugin that answers.
    pub plugin: String,
    /// What was signed, in short: the same words are the same request.
    pub key: String,
    /// What the plugin is asked.
    pub request: TwilioRequest,
}

/// A message on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    /// Which chat.
    pub token: ChatToken,
    /// The idempotency key; belongs to its sender.
    pub key: String,
    /// How many nodes must hold it before the answer; the commit quorum if nothing was said.
    pub acks: Option<u8>,
    /// How many copies were asked for; checked, and nothing else.
    pub copies: Option<u8>,
    /// Who sends it.
    pub sender: String,
    /// What it is.
    pub kind: String,
    /// To whom it goes.
    pub route: Route,
    /// What it says.
    pub body: Body,
    /// What it refers to in the archive.
    pub archive: Option<Box<Naming>>,
    /// Free pairs.
    pub attrs: Attrs,
    /// The sender's clock, in Unix milliseconds. No part of "the same body".
    pub sent_ms: Option<u64>,
}

/// What a message is to refer to in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Naming {
    /// The collection.
    pub collection: String,
    /// The key.
    pub key: String,
    /// The version; the newest that can be seen if nothing was said, which only an attachment of the chat may leave out.
    pub version: Option<u64>,
}

impl Naming {
    /// The reference, if it names a version.
    pub(crate) fn exact(&self) -> Option<Arc<Reference>> {
        let Self { collection, key, version } = self.clone();
        Some(Arc::new(Reference { collection, key, version: version? }))
    }
}

impl From<&Reference> for Naming {
    fn from(reference: &Reference) -> Self {
        let Reference { collection, key, version } = reference.clone();
        Self { collection, key, version: Some(version) }
    }
}

/// What became of a call out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcallDone {
    /// Which chat asked for it.
    pub token: ChatToken,
    /// Its number in the chat.
    pub number: u64,
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// What was answered.
    pub body: Vec<u8>,
    /// How often it was tried.
    pub attempts: u32,
}

impl OutcallDone {
    /// As the plugin that asked for it is told.
    pub(crate) fn reply(&self, correlation: String) -> CallbackReply {
        let Self { status, attempts, .. } = *self;
        CallbackReply { correlation, status, body: self.body.clone(), attempts }
    }
}

/// Which messages somebody wants to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Which chat.
    pub token: ChatToken,
    /// Only what comes after; from the start if nothing was said.
    pub after: Option<Cursor>,
    /// Only what comes before.
    pub before: Option<Cursor>,
    /// At most so many.
    pub limit: u16,
    /// How long to wait for one, in milliseconds.
    pub wait_ms: u32,
    /// Who reads: messages routed to others are left out.
    pub reader: Option<String>,
    /// Linearizable, for one round to the ensemble.
    pub confirmed: bool,
    /// What the reader knows of what is not written, if they want to be told of it too: whoever waits is then
    /// answered when that is another.
    pub pulse: Option<PulseAt>,
}

/// What comes with a request and is no part of it.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// When the asker stops listening.
    pub deadline: Instant,
    /// Named in log lines and problems on every node.
    pub request_id: String,
    /// The answer may not be older than this.
    pub seen: Option<Cursor>,
    /// How many nodes passed it on already.
    pub hop: u8,
    /// Who asks, as a number that is another for everybody else: places to wait are shared out by it. 0 is nobody in
    /// particular.
    pub caller: u64,
}

impl CallContext {
    /// Of what the node does by itself: nobody asked, and nobody has seen anything.
    pub(crate) fn of_node(deadline: Instant) -> Self {
        Self { deadline, request_id: String::new(), seen: None, hop: 0, caller: 0 }
    }
}

impl Request {
    /// Whether it may be asked again when nobody knows what became of it: it has a key, or does nothing twice.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self, Self::Send(_) | Self::OutcallDone(_) | Self::Twilio(_) | Self::Redact(_))
    }

    /// The chat it is about; a new chat has none yet.
    pub fn token(&self) -> Option<ChatToken> {
        match self {
            Self::Create { .. } => None,
            Self::Send(send) => Some(send.token),
            Self::Read(read) => Some(read.token),
            Self::OutcallDone(done) => Some(done.token),
            Self::Twilio(telephone) => Some(telephone.token),
            Self::Redact(redact) => Some(redact.token),
            Self::Show { token, .. }
            | Self::Join { token, .. }
            | Self::Leave { token, .. }
            | Self::End { token, .. }
            | Self::Typing { token, .. }
            | Self::Mark { token, .. }
            | Self::Owners { token } => Some(*token),
        }
    }
}
