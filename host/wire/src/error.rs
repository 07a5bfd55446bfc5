//! What can be wrong with bytes from another node.

/// The bytes are not what a node of this version sends. Nothing of them was used; whoever reads the
/// stream closes the connection, since what follows cannot be trusted to be a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A frame says it is longer than allowed here. No memory was set aside for it.
    #[error("a frame of {bytes} bytes, more than {max}")]
    TooLong {
        /// What it says.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },

    /// A frame is too short to have a version and a kind. Its sender is not one of us.
    #[error("a frame of {bytes} bytes: it has no kind")]
    TooShort {
        /// What it says.
        bytes: usize,
    },

    /// A frame of a version this node does not speak. The newer node has to speak the older one's.
    #[error("a frame of version {0}: this node speaks {version}", version = crate::VERSION)]
    Version(u8),

    /// A frame of a kind this version does not have. Its sender is not one of us.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),

    /// A frame that has no place at this point of the stream. Its sender lost count, or guesses.
    #[error("a {0:?} frame where none belongs")]
    Misplaced(crate::Kind),

    /// The body does not decode, or has bytes left over. Nothing of it was used.
    #[error("the body of a {kind:?} frame: {text}")]
    Body {
        /// Of which frame.
        kind: crate::Kind,
        /// What the decoder said.
        text: String,
    },
}
