//! `[collect]`: when chats are ended, and when those that are over are forgotten.

use std::time::Duration;

use toml::de::DeValue;

use super::read::{FromKey, Reading, Section, span_or_off};
use super::units::{Idle, Span};

/// `[collect]`: chats that are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collect {
    /// How often a node looks for those that are to be ended or forgotten.
    pub every: Span,
    /// How long it rests after each.
    pub pause: Span,
    /// How long a chat that is past its duration is still open.
    pub grace: Span,
    /// How long nothing is done in a chat that never started before it is ended.
    pub idle: Idle,
    /// How long they must have been over.
    pub forget: Forget,
}

/// `collect.forget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// No chat is forgotten.
    Off,
    /// Those that have been over for so long.
    After(Span),
}

impl Default for Collect {
    fn default() -> Self {
        let (every, pause) = (Span(Duration::from_secs(60)), Span(Duration::from_millis(100)));
        let grace = Span(Duration::from_secs(360));
        let idle = Idle::After(Span(Duration::from_secs(86_400)));
        Self { every, pause, grace, idle, forget: Forget::Off }
    }
}

impl Collect {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "every", &mut self.every);
        table.key(reading, "pause", &mut self.pause);
        table.key(reading, "grace", &mut self.grace);
        table.key(reading, "idle", &mut self.idle);
        table.key(reading, "forget", &mut self.forget);
    }
}

impl FromKey for Forget {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "\"off\", or how long chats must have been over: \"30d\"";
        Ok(span_or_off(value, wanted)?.map_or(Self::Off, Self::After))
    }
}
