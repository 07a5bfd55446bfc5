//! Why a change of the plugins was not made.

use crate::artefacts::ArtefactError;

/// A change was not made, or nobody knows. Each says what happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What was asked makes no sense. Nothing was changed; ask otherwise.
    #[error("{0}")]
    Invalid(String),
    /// There is no such plugin, or no such component. Nothing was changed; push it first.
    #[error("{0}")]
    Unknown(String),
    /// The component cannot be used, here or on another node. What was live is live; the text says what
    /// to mend.
    #[error("{0}")]
    Unusable(String),
    /// Somebody else changes the plugins, or has. What they made live is live; look at it, and ask again.
    #[error("{0}")]
    Conflict(String),
    /// Not now. Nothing was changed; ask again.
    #[error("{0}")]
    NotReady(String),
    /// The disk has no room for it. Nothing was changed; make some.
    #[error("{0}")]
    Full(String),
    /// The registry's answer was lost. It may be live or not; look which.
    #[error("{0}")]
    Unsure(String),
}

impl From<ArtefactError> for Refused {
    fn from(error: ArtefactError) -> Self {
        let text = match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        match error {
            ArtefactError::TooLarge { .. } => Self::Invalid(text),
            ArtefactError::NoRoom { .. } | ArtefactError::Disk { .. } => Self::Full(text),
        }
    }
}
