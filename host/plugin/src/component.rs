//! A loaded component.

use crate::{Call, Failure, OnFailure, Reply};

/// A component that compiled, linked and found its configuration good.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    version: String,
    digest: String,
    on_failure: OnFailure,
    kinds: Vec<&'static str>,
}

impl Plugin {
    /// The operator's name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version in its manifest, or the first 12 digits of its digest.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SHA-256 of the component as it was given, in hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The handlers it exports, by the name of their interface.
    pub fn kinds(&self) -> &[&'static str] {
        &self.kinds
    }

    /// What its failure means for a message.
    pub fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    /// Asks it about a message. Dropping the future ends the call and drops its effects.
    ///
    /// # Errors
    /// See [`Failure`]: nothing of the call is left.
    #[expect(clippy::unused_async, reason = "the engine follows")]
    pub async fn on_message(&self, call: Call) -> Result<Reply, Failure> {
        let _ = call;
        Err(Failure::Busy)
    }
}
