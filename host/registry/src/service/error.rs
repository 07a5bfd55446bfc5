//! Why a call did not do what it was asked.

use std::time::Duration;

/// Why a call did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The ensemble cannot be reached, and nothing is known from before. Nothing was changed; try again
    /// later, or begin lazily.
    #[error("the ensemble cannot be reached: {why}")]
    NoConnection {
        /// What the connection says.
        why: String,
    },
    /// The answer was lost. It may or may not have been done; a registration goes on being wanted until
    /// it is taken back.
    #[error("the answer about {path} was lost")]
    Unknown {
        /// The path.
        path: String,
    },
    /// This registry is open for reading only, or the server is without a quorum. Nothing was changed.
    #[error("{path} cannot be changed: {why}")]
    ReadOnly {
        /// The path.
        path: String,
        /// Which of the two.
        why: &'static str,
    },
    /// The path is no path. Nothing was asked; it is a fault of the caller.
    #[error("{path:?} is no path: {why}")]
    InvalidPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than one znode holds, or more children than a watch reads. Nothing was changed; split it.
    #[error("{path} is too large: {what}")]
    TooLarge {
        /// The path.
        path: String,
        /// What there is too much of.
        what: String,
    },
    /// As many paths are set or watched as may be. Nothing was changed; forget some, or raise the bound.
    #[error("{max} paths are {what} already")]
    TooMany {
        /// Set, or watched.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// More calls wait for the allowed rate than fit into the time of one. Nothing was asked; ask less
    /// often.
    #[error("too many calls: {path} waited {} s for its turn", waited.as_secs_f64())]
    Busy {
        /// The path.
        path: String,
        /// How long.
        waited: Duration,
    },
    /// The user may not do that. Nothing was changed; become another user, or have the access list
    /// changed.
    #[error("not allowed on {path}")]
    NoAuth {
        /// The path.
        path: String,
    },
    /// It has children. Nothing was removed; remove them first.
    #[error("{path} has children")]
    NotEmpty {
        /// The path.
        path: String,
    },
    /// Its parent goes with a session, and such have no children. Nothing was created; choose another
    /// path.
    #[error("what is above {path} is ephemeral")]
    UnderEphemeral {
        /// The path.
        path: String,
    },
    /// The server refused for another reason. Nothing was changed; see the reason.
    #[error("the server refused {path}: {why}")]
    Refused {
        /// The path.
        path: String,
        /// Its reason.
        why: String,
    },
    /// Others held the lock all the time. This one stands in the queue no more; try again.
    #[error("lock {path} was held by others for {} s", waited.as_secs_f64())]
    LockHeld {
        /// The lock.
        path: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The session ended while the lock was waited for, or somebody removed it. It is not held; try
    /// again.
    #[error("lock {path} was lost")]
    LockLost {
        /// The lock.
        path: String,
    },
    /// What the registry was opened with makes no sense. Nothing was opened; it is a fault of the
    /// caller.
    #[error("{what}")]
    Config {
        /// What is wrong.
        what: String,
    },
    /// The registry was closed. Nothing more is done; open another.
    #[error("the registry is closed")]
    Closed,
}

impl Error {
    /// Why a question about `path` has no answer.
    pub(crate) fn reading(path: &str, error: &zookeeper::Error) -> Self {
        if is_loss(error) {
            return Self::NoConnection { why: error.to_string() };
        }
        Self::refused(path, error)
    }

    /// Why a change of `path` has no good answer.
    pub(crate) fn writing(path: &str, error: &zookeeper::Error) -> Self {
        if is_loss(error) {
            return Self::Unknown { path: path.to_owned() };
        }
        Self::refused(path, error)
    }

    fn refused(path: &str, error: &zookeeper::Error) -> Self {
        let path = path.to_owned();
        match error {
            zookeeper::Error::NoAuth | zookeeper::Error::InvalidAcl => Self::NoAuth { path },
            zookeeper::Error::NotEmpty => Self::NotEmpty { path },
            zookeeper::Error::NoChildrenForEphemerals => Self::UnderEphemeral { path },
            zookeeper::Error::NotReadOnly => {
                Self::ReadOnly { path, why: "the server has no quorum" }
            }
            zookeeper::Error::BadArguments(why) => {
                Self::InvalidPath { path, why: (**why).to_owned() }
            }
            other => Self::Refused { path, why: other.to_string() },
        }
    }

    /// Whether asking again can help without anybody doing anything.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::NoConnection { .. } | Self::Unknown { .. } | Self::Busy { .. })
    }
}

/// Whether the answer, and not the deed, is what is missing.
fn is_loss(error: &zookeeper::Error) -> bool {
    matches!(
        error,
        zookeeper::Error::ConnectionLoss
            | zookeeper::Error::Timeout
            | zookeeper::Error::NoHosts
            | zookeeper::Error::SessionExpired
            | zookeeper::Error::SessionMoved
            | zookeeper::Error::ClientClosed
            | zookeeper::Error::AuthFailed
            | zookeeper::Error::Custom(_)
            | zookeeper::Error::UnexpectedError(_)
    )
}
