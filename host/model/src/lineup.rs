//! Which handlers decide about a chat: enough of each to find it again when its decisions are asked about.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The handlers of one generation, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineup {
    /// The number with which they became live together.
    pub generation: u64,
    /// Who they are.
    pub handlers: Vec<Link>,
}

/// One handler of a lineup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The plugin.
    pub plugin: String,
    /// Its version, as in stamps.
    pub version: String,
    /// SHA-256 of its component.
    pub digest: [u8; 32],
    /// What it was given by the node that asked it (configuration, grants, limits), in one number: another
    /// number is another decision, perhaps.
    pub setup: u64,
}

impl Lineup {
    /// What tells it from others: a chat remembers no more of the last one that was recorded. Never 0, which
    /// is a chat's that has recorded none.
    pub fn mark(&self) -> u64 {
        let mut hash = Sha256::new()
            .chain_update(b"carillon lineup 1")
            .chain_update(self.generation.to_le_bytes());
        for Link { plugin, version, digest, setup } in &self.handlers {
            for text in [plugin, version] {
                hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
                hash.update(text);
            }
            hash.update(digest);
            hash.update(setup.to_le_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        digest.first_chunk().map_or(1, |first| u64::from_le_bytes(*first)).max(1)
    }

    /// The handler of this name.
    pub fn find(&self, plugin: &str) -> Option<&Link> {
        self.handlers.iter().find(|link| link.plugin == plugin)
    }
}
