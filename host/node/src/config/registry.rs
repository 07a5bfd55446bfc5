//! `[registry]`: where a node learns who is in the cluster, and who leads what.
//!
//! An embedded registry is a file, and there are no other nodes than this process's. With ZooKeeper the
//! nodes are processes anywhere, which is why it takes certificates: what one process makes in memory no
//! other believes.

use std::path::PathBuf;
use std::time::Duration;

use super::read::{Reading, Section, words};
use super::units::Span;
use super::{Config, Quic};

/// Below this a busy machine loses sessions for nothing. The servers may give a longer one.
const SESSION_MIN: Duration = Duration::from_secs(1);
/// A node that died is on the ring for so long; longer than this nobody wants.
const SESSION_MAX: Duration = Duration::from_secs(60);
/// Servers of one ensemble: nobody runs more, and each is tried in turn.
const HOSTS_MAX: usize = 16;
/// A path in ZooKeeper; all keys of the cluster are longer by less than a hundred bytes.
const PATH_BYTES_MAX: usize = 512;

/// `[registry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Which kind.
    pub kind: RegistryKind,
    /// ZooKeeper's servers, `host:port` each.
    pub hosts: Vec<String>,
    /// The path below which everything of this cluster is.
    pub root: String,
    /// The path below which nodes tell other programs where they answer clients.
    pub announce: String,
    /// How long ZooKeeper waits for a node that says nothing before it takes it for dead.
    pub session: Span,
    /// How long one question may take.
    pub timeout: Span,
    /// A file with `user:password`; empty: everybody may write.
    pub digest_file: PathBuf,
    /// Whether the last known ring is kept in the data folder.
    pub cache: bool,
}

/// `registry.kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistryKind {
    /// A file below the data folder; for nodes of one process.
    #[default]
    Embedded,
    /// A ZooKeeper ensemble; for nodes that are processes.
    ZooKeeper,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            kind: RegistryKind::Embedded,
            hosts: vec!["127.0.0.1:2181".to_owned()],
            root: "/services/carillon".to_owned(),
            announce: "/services/carillon-http".to_owned(),
            session: Span(Duration::from_secs(6)),
            timeout: Span(Duration::from_secs(5)),
            digest_file: PathBuf::new(),
            cache: true,
        }
    }
}

impl Registry {
    pub(super) fn take(&mut self, table: &mut Section<'_>, reading: &mut Reading<'_>) {
        table.key(reading, "kind", &mut self.kind);
        table.key(reading, "hosts", &mut self.hosts);
        table.key(reading, "root", &mut self.root);
        table.key(reading, "announce", &mut self.announce);
        table.key(reading, "session", &mut self.session);
        table.key(reading, "timeout", &mut self.timeout);
        table.key(reading, "digest_file", &mut self.digest_file);
        table.key(reading, "cache", &mut self.cache);
    }
}

words!(
    RegistryKind, "\"embedded\" or \"zookeeper\"",
    "embedded" => Self::Embedded, "zookeeper" => Self::ZooKeeper
);

/// What the keys of this section mean to each other, and to the certificates.
pub(super) fn relations(config: &Config, reading: &mut Reading<'_>) {
    if !reading.sound(&["registry.kind"]) {
        return;
    }
    match config.registry.kind {
        RegistryKind::Embedded => embedded(&config.registry, reading),
        RegistryKind::ZooKeeper => {
            hosts(&config.registry, reading);
            paths(&config.registry, reading);
            spans(&config.registry, reading);
            certificates(&config.quic, reading);
        }
    }
}

/// Whoever names servers and forgets the kind would get a node that is alone.
fn embedded(registry: &Registry, reading: &mut Reading<'_>) {
    let usual = Registry::default();
    let said = [
        ("registry.hosts", registry.hosts != usual.hosts),
        ("registry.root", registry.root != usual.root),
        ("registry.announce", registry.announce != usual.announce),
        ("registry.digest_file", registry.digest_file != usual.digest_file),
    ];
    for (key, _) in said.into_iter().filter(|(_, said)| *said) {
        let what = format!("{key} is of ZooKeeper, and registry.kind is embedded");
        reading.fault(key, what, "Write kind = \"zookeeper\" below [registry], or leave it out");
    }
}

fn hosts(registry: &Registry, reading: &mut Reading<'_>) {
    let count = registry.hosts.len();
    if !(1..=HOSTS_MAX).contains(&count) {
        let what = format!("registry.hosts names {count} servers");
        reading.fault("registry.hosts", what, format!("Name 1 to {HOSTS_MAX}"));
    }
    for (index, host) in registry.hosts.iter().enumerate() {
        // A path behind the last one is where ZooKeeper's tree begins for this cluster.
        let (address, chroot) = host
            .split_once('/')
            .map_or((host.as_str(), None), |(address, path)| (address, Some(format!("/{path}"))));
        let chroot = chroot.is_none_or(|path| index + 1 == count && is_path(&path));
        if !chroot || !is_host(address) {
            let what = format!("registry.hosts has {host:?}");
            reading.fault("registry.hosts", what, "Write host and port, as in \"127.0.0.1:2181\"");
        }
    }
}

fn is_host(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn paths(registry: &Registry, reading: &mut Reading<'_>) {
    let root = &registry.root;
    if !is_path(root) {
        let what = format!("registry.root is {root:?}");
        let fix = "Write a path like \"/services/carillon\", not below /zookeeper";
        reading.fault("registry.root", what, fix);
    }
    let announce = &registry.announce;
    if !is_path(announce) || format!("{announce}/").starts_with(&format!("{root}/")) {
        let what = format!("registry.announce is {announce:?}");
        let fix = "Write a path like \"/services/carillon-http\" that is not below registry.root";
        reading.fault("registry.announce", what, fix);
    }
}

fn is_path(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('/') else { return false };
    let part = |part: &str| {
        let plain = |c: char| !c.is_control() && !c.is_whitespace();
        !matches!(part, "" | "." | "..") && part.chars().all(plain)
    };
    text.len() <= PATH_BYTES_MAX
        && inner.split('/').all(part)
        && inner.split('/').next() != Some("zookeeper")
}

fn spans(registry: &Registry, reading: &mut Reading<'_>) {
    let (session, timeout) = (registry.session, registry.timeout);
    if !(SESSION_MIN..=SESSION_MAX).contains(&session.0) {
        let what = format!("registry.session is {session}");
        let fix = format!("Write {} to {}", Span(SESSION_MIN), Span(SESSION_MAX));
        reading.fault("registry.session", what, fix);
    }
    if timeout.0.is_zero() || timeout.0 > SESSION_MAX {
        let what = format!("registry.timeout is {timeout}");
        reading.fault("registry.timeout", what, format!("Write 1ms to {}", Span(SESSION_MAX)));
    }
}

/// Nodes of several processes need a CA that none of them made.
fn certificates(quic: &Quic, reading: &mut Reading<'_>) {
    let none = [&quic.cert, &quic.key, &quic.ca].iter().all(|path| path.as_os_str().is_empty());
    // Some of them without the others is a fault already.
    if none && reading.sound(&["quic.cert", "quic.key", "quic.ca"]) {
        let what = "registry.kind is zookeeper, and [quic] has no cert, key and ca";
        let fix = "Make them with carillon cert ca and carillon cert node, and name all three";
        reading.fault("registry.kind", what, fix);
    }
}
