//! `[persistence]`: who plans what becomes of chats, when it is asked, and how much of it is done at once.

use super::Config;
use super::read::{Reading, Section};
use super::units::Idle;

/// Chats that are archived at once at most: each reads a log and fills an upload.
const PARALLEL_MAX: u16 = 64;
/// Attempts that follow the first at most: a chat that fails as often is left alone for a while anyway.
const RETRIES_MAX: u16 = 100;

/// What becomes of chats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// The plugin that plans it; empty: nobody does.
    pub policy: String,
    /// Chats that a node archives at once.
    pub parallel: u16,
    /// How often it tries again.
    pub retries: u16,
    /// Whether the plugin is asked about a chat when its first message is committed, too.
    pub committed: bool,
    /// It is asked when nothing was said in a chat for so long, too.
    pub idle: Idle,
}

impl Default for Persistence {
    fn default() -> Self {
        let (policy, committed, idle) = (String::new(), false, Idle::Off);
        Self { policy, parallel: 4, retries: 4, committed, idle }
    }
}

impl Persistence {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "policy", &mut self.policy);
        table.key(reading, "parallel", &mut self.parallel);
        table.key(reading, "retries", &mut self.retries);
        table.key(reading, "committed", &mut self.committed);
        table.key(reading, "idle", &mut self.idle);
    }
}

/// What the section means beside the others.
pub(super) fn relations(config: &Config, reading: &mut Reading<'_>) {
    let Persistence { policy, parallel, retries, .. } = &config.persistence;
    let named = policy.is_empty() || config.plugins.contains_key(policy);
    if !named && reading.sound(&[&format!("plugins.{policy}")]) {
        let what = format!("persistence.policy is {policy}, which is no plugin");
        let fix = format!(
            "Add [plugins.{policy}], with its source if a new cluster begins with it, or write \"\""
        );
        reading.fault("persistence.policy", what, fix);
    }
    if !(1..=PARALLEL_MAX).contains(parallel) {
        let what = format!("persistence.parallel is {parallel}");
        reading.fault("persistence.parallel", what, format!("Write 1 to {PARALLEL_MAX}"));
    }
    if *retries > RETRIES_MAX {
        let what = format!("persistence.retries is {retries}");
        reading.fault("persistence.retries", what, format!("Write 0 to {RETRIES_MAX}"));
    }
}
