//! The sections that every node has, with defaults one can defend.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hashring::NodeId;
use toml::de::DeValue;

use super::read::{FromKey, Reading, Section, text};
use super::units::{Reserve, Size, Span};
use super::{AdminListener, Config};

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

/// `[http]`: where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub listen: SocketAddr,
    /// The host and port that clients and other nodes are told; empty: the address listened on.
    pub advertise: String,
}

/// `[quic]`: where other nodes connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quic {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address others are told; empty: the one listened on.
    pub advertise: String,
    /// This node's certificate, PEM. Empty, with `key` and `ca`: made in memory, for a node that is alone.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The cluster's CA, PEM.
    pub ca: PathBuf,
}

/// `[ring]`: places on the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// How many, or which.
    pub positions: Positions,
}

/// `ring.positions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// So many, drawn at the first start and kept with the data.
    Random(u16),
    /// These.
    Given(Vec<u128>),
}

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

/// `[storage]`: value files and the disk below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// How large a value file becomes.
    pub value_file: Size,
    /// What stays free; below it sends are refused and reads go on.
    pub reserve: Reserve,
    /// How much of the logs is read again in a second, to see that it is still what was written.
    pub scrub: Size,
}

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

/// `[presence]`: who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// How long a participant may be silent before they are unavailable.
    pub idle: Idle,
}

/// How long nothing may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// For ever.
    Off,
    /// So long.
    After(Span),
}

impl Idle {
    /// How long, if that has an end.
    pub const fn span(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(span) => Some(span.0),
        }
    }
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

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Default for Listener {
    fn default() -> Self {
        Self { listen: loopback(7081), advertise: String::new() }
    }
}

impl Default for AdminListener {
    fn default() -> Self {
        Self { listen: loopback(7181) }
    }
}

impl Default for Quic {
    fn default() -> Self {
        let none = PathBuf::new();
        let listen = loopback(7091);
        Self { listen, advertise: String::new(), cert: none.clone(), key: none.clone(), ca: none }
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self { positions: Positions::Random(64) }
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

impl Default for Storage {
    fn default() -> Self {
        Self { value_file: Size(1 << 30), reserve: Reserve::Percent(5), scrub: Size(1 << 20) }
    }
}

impl Default for Collect {
    fn default() -> Self {
        let (every, pause) = (Span(Duration::from_secs(60)), Span(Duration::from_millis(100)));
        let grace = Span(Duration::from_secs(360));
        let idle = Idle::After(Span(Duration::from_secs(86_400)));
        Self { every, pause, grace, idle, forget: Forget::Off }
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

impl Config {
    pub(super) fn take_sections(&mut self, root: &mut Section<'_>, reading: &mut Reading<'_>) {
        let mut table = root.section(reading, "cluster");
        table.key(reading, "name", &mut self.cluster.name);
        table.key(reading, "partitions", &mut self.cluster.partitions);
        table.done(reading);

        let mut table = root.section(reading, "node");
        table.key(reading, "id", &mut self.node.id);
        table.key(reading, "data", &mut self.node.data);
        table.key(reading, "zone", &mut self.node.zone);
        table.key(reading, "weight", &mut self.node.weight);
        table.key(reading, "drain", &mut self.node.drain);
        table.done(reading);

        let mut table = root.section(reading, "http");
        table.key(reading, "listen", &mut self.http.listen);
        table.key(reading, "advertise", &mut self.http.advertise);
        table.done(reading);

        let mut table = root.section(reading, "admin");
        table.key(reading, "listen", &mut self.admin.listen);
        table.done(reading);

        let mut table = root.section(reading, "quic");
        table.key(reading, "listen", &mut self.quic.listen);
        table.key(reading, "advertise", &mut self.quic.advertise);
        table.key(reading, "cert", &mut self.quic.cert);
        table.key(reading, "key", &mut self.quic.key);
        table.key(reading, "ca", &mut self.quic.ca);
        table.done(reading);

        let mut table = root.section(reading, "registry");
        self.registry.take(&mut table, reading);
        table.done(reading);

        let mut table = root.section(reading, "ring");
        table.key(reading, "positions", &mut self.ring.positions);
        table.done(reading);

        self.take_more_sections(root, reading);
    }

    fn take_more_sections(&mut self, root: &mut Section<'_>, reading: &mut Reading<'_>) {
        let mut table = root.section(reading, "replication");
        table.key(reading, "copies", &mut self.replication.copies);
        table.key(reading, "commit", &mut self.replication.commit);
        table.key(reading, "spread", &mut self.replication.spread);
        table.key(reading, "timeout", &mut self.replication.timeout);
        table.key(reading, "settle", &mut self.replication.settle);
        table.key(reading, "dead", &mut self.replication.dead);
        table.key(reading, "catch_up", &mut self.replication.catch_up);
        table.done(reading);

        let mut table = root.section(reading, "storage");
        table.key(reading, "value_file", &mut self.storage.value_file);
        table.key(reading, "reserve", &mut self.storage.reserve);
        table.key(reading, "scrub", &mut self.storage.scrub);
        table.done(reading);

        let mut table = root.section(reading, "persistence");
        self.persistence.take(&mut table, reading);
        table.done(reading);

        let mut table = root.section(reading, "collect");
        table.key(reading, "every", &mut self.collect.every);
        table.key(reading, "pause", &mut self.collect.pause);
        table.key(reading, "grace", &mut self.collect.grace);
        table.key(reading, "idle", &mut self.collect.idle);
        table.key(reading, "forget", &mut self.collect.forget);
        table.done(reading);

        let mut table = root.section(reading, "presence");
        table.key(reading, "idle", &mut self.presence.idle);
        table.done(reading);

        let mut table = root.section(reading, "auth");
        table.key(reading, "mode", &mut self.auth.mode);
        table.key(reading, "jwks", &mut self.auth.jwks);
        table.key(reading, "audience", &mut self.auth.audience);
        table.key(reading, "issuer", &mut self.auth.issuer);
        table.done(reading);

        let mut table = root.section(reading, "log");
        table.key(reading, "format", &mut self.log.format);
        table.key(reading, "level", &mut self.log.level);
        table.done(reading);

        let mut table = root.section(reading, "limits");
        table.key(reading, "message_bytes", &mut self.limits.message_bytes);
        table.key(reading, "connections", &mut self.limits.connections);
        let per_address = &mut self.limits.connections_per_address;
        table.key(reading, "connections_per_address", per_address);
        table.key(reading, "waiting", &mut self.limits.waiting);
        table.done(reading);
    }
}

/// One of a few words.
macro_rules! words {
    ($type:ty, $wanted:literal, $($word:literal => $value:expr),+) => {
        impl FromKey for $type {
            fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
                match text(value, $wanted)? {
                    $($word => Ok($value),)+
                    _ => Err($wanted.to_owned()),
                }
            }
        }
    };
}
pub(super) use words;

words!(AuthMode, "\"open\" or \"jwt\"", "open" => Self::Open, "jwt" => Self::Jwt);
words!(LogFormat, "\"text\" or \"json\"", "text" => Self::Text, "json" => Self::Json);
words!(
    Spread, "\"node\", \"host\" or \"zone\"",
    "node" => Self::Node, "host" => Self::Host, "zone" => Self::Zone
);

impl FromKey for Forget {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "\"off\", or how long chats must have been over: \"30d\"";
        if text(value, wanted)? == "off" {
            return Ok(Self::Off);
        }
        Span::from_key(value).map(Self::After).map_err(|_not_a_time| wanted.to_owned())
    }
}

impl FromKey for Idle {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "\"off\", or how long nothing may happen: \"20s\"";
        if text(value, wanted)? == "off" {
            return Ok(Self::Off);
        }
        Span::from_key(value).map(Self::After).map_err(|_not_a_time| wanted.to_owned())
    }
}

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

impl FromKey for Positions {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        if value.as_integer().is_some() {
            return u16::from_key(value).map(Self::Random);
        }
        let wanted = "a number of positions, or a list of them, each 32 lower-case hex digits";
        let given = Vec::<String>::from_key(value).map_err(|_not_a_list| wanted.to_owned())?;
        let digits = |text: &String| {
            let plain = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if plain && text.len() == 32 { u128::from_str_radix(text, 16).ok() } else { None }
        };
        let given: Option<Vec<u128>> = given.iter().map(digits).collect();
        given.map(Self::Given).ok_or_else(|| wanted.to_owned())
    }
}
