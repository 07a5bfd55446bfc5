//! The sections that are told in a few keys each, with defaults one can defend; and the order in which all are read.

use std::path::PathBuf;
use std::time::Duration;

use hashring::NodeId;

use super::Config;
use super::read::{Reading, Section, words};
use super::units::{Idle, Size, Span};

/// `[cluster]`: what all nodes must agree on; fixed when the first node starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name, in certificates and in what people see.
    pub name: String,
    /// Into how many ranges the ring is cut.
    pub partitions: u16,
}

/// `[node]`: this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSection {
    /// Its name in the cluster.
    pub id: NodeId,
    /// The folder of everything it keeps.
    pub data: PathBuf,
    /// Where it stands; copies spread by it when `replication.spread` is `zone`.
    pub zone: String,
    /// Its share of the ring beside others.
    pub weight: u32,
    /// How long a stop may take to finish what has begun.
    pub drain: Span,
}

/// `[presence]`: who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// How long a participant may be silent before they are unavailable.
    pub idle: Idle,
}

/// `[auth]`: who may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// How the node tells who asks.
    pub mode: AuthMode,
    /// The key set: the public halves of the keys that tokens are signed with.
    pub jwks: PathBuf,
    /// For whom a token must be.
    pub audience: String,
    /// Whose a token must be; empty: anybody's who has a key.
    pub issuer: String,
}

/// `auth.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// Everybody may do everything and says who they are.
    #[default]
    Open,
    /// A token says who asks and what they may do.
    Jwt,
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives like `info,replication=debug`.
    pub level: String,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[limits]`: bounds on what clients can make a node do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of a message.
    pub message_bytes: Size,
    /// Connections at once.
    pub connections: usize,
    /// Connections of one address at once, loopback excepted.
    pub connections_per_address: usize,
    /// Readers that wait at once.
    pub waiting: usize,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { name: "carillon".to_owned(), partitions: 256 }
    }
}

impl Default for NodeSection {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "the text is a DNS label")]
        let id = "n1".parse().expect("n1 is a DNS label");
        let drain = Span(Duration::from_secs(30));
        Self { id, data: "data/n1".into(), zone: String::new(), weight: 1, drain }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self { idle: Idle::After(Span(Duration::from_secs(20))) }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Open,
            jwks: "jwks.json".into(),
            audience: "carillon".to_owned(),
            issuer: String::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: Size(64 << 10),
            connections: 2000,
            connections_per_address: 100,
            waiting: 5000,
        }
    }
}

impl Cluster {
    fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "name", &mut self.name);
        table.key(reading, "partitions", &mut self.partitions);
    }
}

impl NodeSection {
    fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "id", &mut self.id);
        table.key(reading, "data", &mut self.data);
        table.key(reading, "zone", &mut self.zone);
        table.key(reading, "weight", &mut self.weight);
        table.key(reading, "drain", &mut self.drain);
    }
}

impl Presence {
    fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "idle", &mut self.idle);
    }
}

impl Auth {
    fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "mode", &mut self.mode);
        table.key(reading, "jwks", &mut self.jwks);
        table.key(reading, "audience", &mut self.audience);
        table.key(reading, "issuer", &mut self.issuer);
    }
}

impl Log {
    fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "format", &mut self.format);
        table.key(reading, "level", &mut self.level);
    }
}

impl Limits {
    fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "message_bytes", &mut self.message_bytes);
        table.key(reading, "connections", &mut self.connections);
        let per_address = &mut self.connections_per_address;
        table.key(reading, "connections_per_address", per_address);
        table.key(reading, "waiting", &mut self.waiting);
    }
}

impl Config {
    pub(super) fn take_sections(&mut self, root: &mut Section<'_>, reading: &mut Reading<'_>) {
        root.within(reading, "cluster", |table, reading| self.cluster.take(table, reading));
        root.within(reading, "node", |table, reading| self.node.take(table, reading));
        root.within(reading, "http", |table, reading| self.http.take(table, reading));
        root.within(reading, "admin", |table, reading| self.admin.take(table, reading));
        root.within(reading, "quic", |table, reading| self.quic.take(table, reading));
        root.within(reading, "registry", |table, reading| self.registry.take(table, reading));
        root.within(reading, "ring", |table, reading| self.ring.take(table, reading));
        root.within(reading, "replication", |table, reading| self.replication.take(table, reading));
        root.within(reading, "storage", |table, reading| self.storage.take(table, reading));
        root.within(reading, "persistence", |table, reading| self.persistence.take(table, reading));
        root.within(reading, "collect", |table, reading| self.collect.take(table, reading));
        root.within(reading, "presence", |table, reading| self.presence.take(table, reading));
        root.within(reading, "auth", |table, reading| self.auth.take(table, reading));
        root.within(reading, "log", |table, reading| self.log.take(table, reading));
        root.within(reading, "limits", |table, reading| self.limits.take(table, reading));
    }
}

words!(AuthMode, "\"open\" or \"jwt\"", "open" => Self::Open, "jwt" => Self::Jwt);
words!(LogFormat, "\"text\" or \"json\"", "text" => Self::Text, "json" => Self::Json);
