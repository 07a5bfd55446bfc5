//! Why something was not done, as a client can know it.

use std::io;

use serde::Deserialize;

use crate::{InvalidUrl, Target};

/// What went wrong with a request, after everything that was tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node answered that it was not done. The problem says why, and whether it may have had an effect.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// No node could be connected to. Nothing was sent.
    #[error("no node can be reached; the last one tried was {target}")]
    Unreachable {
        /// The last node tried.
        target: Target,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The connection broke before the answer. It may have been done: the same key makes it safe to try
    /// again.
    #[error("the answer of {target} is lost")]
    Lost {
        /// The last node tried.
        target: Target,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No answer came in time. It may have been done: the same key makes it safe to try again.
    #[error("no answer of {target} in time")]
    Timeout {
        /// The last node tried.
        target: Target,
    },
    /// What came is no answer of a node. It may have been done; the address may be another server's.
    #[error("{target} answered {status} with something that cannot be read: {detail}")]
    Unreadable {
        /// Who answered.
        target: Target,
        /// HTTP's number.
        status: u16,
        /// What is wrong with it.
        detail: String,
    },
    /// A URL is not one. Nothing was sent; it wants `http://host:port`.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// The body of a message is not the JSON that it claims to be. Nothing was sent; correct it.
    #[error("what should be sent is not JSON: {detail}")]
    NotJson {
        /// What is wrong with it.
        detail: String,
    },
    /// There is no URL to go to. Nothing was sent; name at least one node.
    #[error("no node's URL was given")]
    NoUrl,
}

/// What a node says when it does not do something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// HTTP's number.
    pub status: u16,
    /// The stable name.
    pub code: String,
    /// What was wrong, for people.
    #[serde(default)]
    pub detail: String,
    /// Whether the same request may succeed later, or at another node.
    #[serde(default)]
    pub retryable: bool,
    /// The request's name in the nodes' logs.
    #[serde(default)]
    pub request_id: String,
    /// `not-committed` or `unknown`, if it may matter.
    pub outcome: Option<String>,
    /// The id of the message that a handler refused.
    pub message: Option<String>,
    /// The handler that refused.
    pub plugin: Option<String>,
    /// The handler's reason, for programs.
    pub reason_code: Option<String>,
    /// The handler's reason, for people.
    pub reason: Option<String>,
    /// When it makes sense to try again.
    pub retry_after_ms: Option<u32>,
    /// The object that a forgotten chat is archived as.
    pub archive: Option<Archived>,
}

/// The object that a chat is archived as.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Archived {
    /// Its collection.
    pub collection: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.detail)
    }
}

impl Error {
    /// The problem, if a node told one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. }
            | Self::Url(_)
            | Self::NotJson { .. }
            | Self::NoUrl => None,
        }
    }

    /// Whether the system said that nothing listens there.
    pub(crate) fn finds_nobody(&self) -> bool {
        matches!(self, Self::Unreachable { source, .. }
            if source.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether the node did not answer at all, or not as a node does.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. } => true,
            Self::Refused(_) | Self::Url(_) | Self::NotJson { .. } | Self::NoUrl => false,
        }
    }

    /// Whether trying again, perhaps elsewhere, may help.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.retryable,
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Timeout { .. } => true,
            Self::Unreadable { status, .. } => *status >= 500,
            Self::Url(_) | Self::NotJson { .. } | Self::NoUrl => false,
        }
    }
}
