//! `[replication]`: how many hold what, how far apart, and how long each waits for the others.

use std::time::Duration;

use toml::de::DeValue;

use super::read::{FromKey, Reading, Section, text, words};
use super::units::{Size, Span};

/// `[replication]`: how many hold what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Nodes that hold a partition.
    pub copies: u8,
    /// Nodes that must hold an entry before anybody sees it.
    pub commit: u8,
    /// What two copies must not share.
    pub spread: Spread,
    /// How long a send waits for its acknowledgements.
    pub timeout: Span,
    /// How long the ring must be the same before partitions follow it.
    pub settle: Span,
    /// How long a node must be missing before others take its places.
    pub dead: Span,
    /// How fast a node gives what they lack to all together who are behind.
    pub catch_up: Rate,
}

/// `replication.catch_up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as it goes.
    Unlimited,
    /// So many bytes a second.
    PerSecond(Size),
}

/// `replication.spread`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Copies on different nodes.
    Node,
    /// Copies on different hosts.
    Host,
    /// Copies in different zones.
    Zone,
}

/// As it is written.
impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Host => "host",
            Self::Zone => "zone",
        })
    }
}

impl Default for Replication {
    fn default() -> Self {
        let timeout = Span(Duration::from_secs(5));
        let (settle, dead) = (Span(Duration::from_secs(60)), Span(Duration::from_secs(600)));
        let catch_up = Rate::PerSecond(Size(64 << 20));
        Self { copies: 3, commit: 2, spread: Spread::Node, timeout, settle, dead, catch_up }
    }
}

impl Replication {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "copies", &mut self.copies);
        table.key(reading, "commit", &mut self.commit);
        table.key(reading, "spread", &mut self.spread);
        table.key(reading, "timeout", &mut self.timeout);
        table.key(reading, "settle", &mut self.settle);
        table.key(reading, "dead", &mut self.dead);
        table.key(reading, "catch_up", &mut self.catch_up);
    }
}

words!(
    Spread, "\"node\", \"host\" or \"zone\"",
    "node" => Self::Node, "host" => Self::Host, "zone" => Self::Zone
);

impl FromKey for Rate {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "\"unlimited\", or bytes a second: \"64MiB/s\"";
        let text = text(value, wanted)?;
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let size = text.strip_suffix("/s").and_then(|size| size.parse().ok());
        size.map(Self::PerSecond).ok_or_else(|| wanted.to_owned())
    }
}
