//! What one call may use, and what a plugin does to its message when it fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// What one call may use. Fuel is the limit that can be reproduced; the deadline is the one people
/// feel; memory counts the linear memories of the call together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Wasm instructions, roughly.
    pub fuel: u64,
    /// Wall time from the start of the call.
    pub deadline: Duration,
    /// Linear memory in bytes.
    pub memory_bytes: u64,
}

impl Default for Limits {
    /// 50 million fuel is about 60 ms of a tight loop; a shipped handler uses some ten thousand.
    fn default() -> Self {
        Self { fuel: 50_000_000, deadline: Duration::from_millis(50), memory_bytes: 64 << 20 }
    }
}

impl Limits {
    /// The highest limits a configuration may give unless `ceiling` says otherwise.
    pub const CEILING: Self =
        Self { fuel: 200_000_000, deadline: Duration::from_millis(500), memory_bytes: 256 << 20 };

    fn capped(self, ceiling: Self) -> Self {
        Self {
            fuel: self.fuel.min(ceiling.fuel),
            deadline: self.deadline.min(ceiling.deadline),
            memory_bytes: self.memory_bytes.min(ceiling.memory_bytes),
        }
    }
}

/// Limits as written in a manifest, in `[plugins.NAME.limits]` or as a ceiling: what is absent is
/// left to somebody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsWanted {
    /// See [`Limits::fuel`].
    pub fuel: Option<u64>,
    /// See [`Limits::deadline`].
    #[serde(deserialize_with = "units::de_duration_option")]
    pub deadline: Option<Duration>,
    /// See [`Limits::memory_bytes`].
    #[serde(deserialize_with = "units::de_bytes_option")]
    pub memory: Option<u64>,
}

impl LimitsWanted {
    /// These where they are given, `base` elsewhere.
    pub fn over(self, base: Limits) -> Limits {
        Limits {
            fuel: self.fuel.unwrap_or(base.fuel),
            deadline: self.deadline.unwrap_or(base.deadline),
            memory_bytes: self.memory.unwrap_or(base.memory_bytes),
        }
    }
}

/// The operator's word over the manifest's over the default, all below the ceiling.
pub(crate) fn settle(operator: LimitsWanted, manifest: LimitsWanted, ceiling: Limits) -> Limits {
    operator.over(manifest.over(Limits::default())).capped(ceiling)
}

/// What happens to a message when a handler fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The message is refused: a check that cannot be made was not passed.
    #[default]
    Reject,
    /// The chain goes on without it, and the stamp says so.
    Skip,
    /// The message is kept back as if the handler had held it: it can still release it, and if it does
    /// not, the message is dropped. Who comes and goes cannot be kept back, and is refused.
    Hold,
}

#[cfg(test)]
mod tests {
    use super::{Limits, LimitsWanted, OnFailure, settle};
    use std::time::Duration;

    #[test]
    fn the_operator_wins_over_the_manifest_and_the_ceiling_over_both() {
        let operator: LimitsWanted = toml::from_str("deadline = \"2s\"").unwrap();
        let manifest: LimitsWanted =
            toml::from_str("fuel = 7\ndeadline = \"1ms\"\nmemory = \"1MiB\"").unwrap();
        let limits = settle(operator, manifest, Limits::CEILING);
        assert_eq!(limits.fuel, 7);
        assert_eq!(limits.deadline, Duration::from_millis(500));
        assert_eq!(limits.memory_bytes, 1 << 20);
    }

    #[test]
    fn a_failure_policy_is_one_word() {
        let policy: OnFailure = serde_json::from_str("\"skip\"").unwrap();
        assert_eq!(policy, OnFailure::Skip);
    }
}
