//! What the values of one file mean to each other.
//!
//! A key that could not be read has its default here. What one key means by itself may be asked all the
//! same, as every default is good; what several mean together is asked only if all of them could be read.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::read::Reading;
use super::{AuthMode, Idle, Positions, Rate};
use super::{
    Config, Fault, LimitsConfig, RegistryKind, Size, Span, persistence, registry, services,
    storage, twilio,
};

/// The most copies a partition can have: an ensemble is a handful of nodes, and quorums are counted in
/// one round.
const COPIES_MAX: u8 = 7;
/// A message and its effects must fit one log entry.
const MESSAGE_BYTES_MAX: Size = Size(1 << 20);
/// Positions of one node; more do not spread a load better.
const POSITIONS_MAX: usize = 1024;

/// How often chats that are over may be looked for: each look goes over all that a node leads.
const COLLECT_EVERY_MIN: Span = Span(Duration::from_millis(100));
/// Shorter than this, and who asks for messages every second is gone between two questions.
const IDLE_MIN: Span = Span(Duration::from_secs(1));

/// The least with which an empty node is brought in at all.
const CATCH_UP_MIN: Size = Size(64 << 10);

/// Generations of a plugin that are kept: one to go back to at least.
const GENERATIONS: std::ops::RangeInclusive<u8> = 2..=8;

pub(super) fn relations(config: &Config, reading: &mut Reading<'_>) {
    cluster(config, reading);
    listeners(config, reading);
    auth(config, reading);
    certificates(config, reading);
    registry::relations(config, reading);
    bounds(config, reading);
    plugins(config, reading);
    twilio::relations(config, reading);
    services::relations(config, reading);
    persistence::relations(config, reading);
    storage::relations(config, reading);
}

impl Config {
    /// What keeps this node from being the only one of its process: with an embedded registry it is then
    /// the only one of its cluster.
    pub fn faults_alone(&self) -> Vec<Fault> {
        let replication = self.replication;
        if replication.commit <= 1 || self.registry.kind == RegistryKind::ZooKeeper {
            return Vec::new();
        }
        vec![Fault {
            line: 0,
            what: format!(
                "replication.commit is {}, and an embedded registry has this one node",
                replication.commit
            ),
            fix:
                "Write copies = 1 and commit = 1 below [replication], as in config/single.toml, or \
                  kind = \"zookeeper\" below [registry], as in config/cluster/a.toml"
                    .to_owned(),
        }]
    }
}

fn cluster(config: &Config, reading: &mut Reading<'_>) {
    let partitions = config.cluster.partitions;
    if !partitions.is_power_of_two() || partitions > 256 {
        let what = format!("cluster.partitions is {partitions}");
        reading.fault("cluster.partitions", what, "Write a power of two from 1 to 256");
    }
    if config.cluster.name.is_empty() {
        reading.fault("cluster.name", "cluster.name is empty", "Write a name");
    }
    let copies = config.replication.copies;
    if !(1..=COPIES_MAX).contains(&copies) {
        let what = format!("replication.copies is {copies}");
        reading.fault("replication.copies", what, format!("Write 1 to {COPIES_MAX}"));
    } else if reading.sound(&["replication.copies", "replication.commit"])
        && !(1..=copies).contains(&config.replication.commit)
    {
        let what =
            format!("replication.commit is {} of {copies} copies", config.replication.commit);
        reading.fault("replication.commit", what, format!("Write 1 to {copies}"));
    }
    match &config.ring.positions {
        Positions::Random(count) if (1..=POSITIONS_MAX).contains(&usize::from(*count)) => {}
        Positions::Given(given)
            if (1..=POSITIONS_MAX).contains(&given.len())
                && given.iter().collect::<BTreeSet<_>>().len() == given.len() => {}
        Positions::Random(_) | Positions::Given(_) => reading.fault(
            "ring.positions",
            "ring.positions is empty, has one twice, or is too many",
            format!("Write 1 to {POSITIONS_MAX}, or a list of as many different ones"),
        ),
    }
    if config.node.weight == 0 || config.node.weight > 100 {
        let what = format!("node.weight is {}", config.node.weight);
        reading.fault("node.weight", what, "Write 1 to 100");
    }
}

fn listeners(config: &Config, reading: &mut Reading<'_>) {
    let http = config.http.listen;
    let is_open = config.auth.mode == AuthMode::Open && reading.sound(&["auth.mode"]);
    if is_open && !http.ip().is_loopback() {
        let what = format!("http.listen is {http}, and auth.mode is open");
        let fix = "Listen on 127.0.0.1 or [::1], or write mode = \"jwt\" below [auth]";
        reading.fault("http.listen", what, fix);
    }
    let admin = config.admin.listen;
    if !admin.ip().is_loopback() {
        let what = format!("admin.listen is {admin}, and whoever connects there may do everything");
        reading.fault("admin.listen", what, "Listen on 127.0.0.1 or [::1]; reach it over ssh");
    }
    for (key, listen, advertise) in [
        ("http.advertise", config.http.listen, &config.http.advertise),
        ("quic.advertise", config.quic.listen, &config.quic.advertise),
    ] {
        advertised(config, reading, key, listen, advertise);
    }
    let same = |one: SocketAddr, other: SocketAddr| one == other && one.port() != 0;
    if same(config.http.listen, config.admin.listen)
        && reading.sound(&["http.listen", "admin.listen"])
    {
        let what = format!("admin.listen is {} like http.listen", config.admin.listen);
        reading.fault("admin.listen", what, "Give one of them another port");
    }
}

fn auth(config: &Config, reading: &mut Reading<'_>) {
    if config.auth.mode != AuthMode::Jwt {
        return;
    }
    if config.auth.jwks.as_os_str().is_empty() {
        let fix = "Name the file of the keys that tokens are signed with";
        reading.fault("auth.jwks", "auth.mode is jwt, and auth.jwks is empty", fix);
    }
    if config.auth.audience.is_empty() {
        let fix = "Write what tokens for this cluster have as their aud";
        reading.fault("auth.audience", "auth.mode is jwt, and auth.audience is empty", fix);
    }
}

/// Others are told where to connect: not everywhere, and with a port.
fn advertised(
    config: &Config,
    reading: &mut Reading<'_>,
    key: &str,
    listen: SocketAddr,
    advertise: &str,
) {
    let everywhere = advertise.is_empty() && listen.ip().is_unspecified();
    if everywhere && config.registry.kind == RegistryKind::ZooKeeper {
        let what = format!("{key} is empty, and the address listened on is {listen}");
        reading.fault(key, what, "Write the host and port at which the other nodes reach this one");
    }
    let port = advertise.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    let told = matches!(port, Some((host, Ok(1..))) if !host.is_empty());
    if !advertise.is_empty() && !told {
        let what = format!("{key} is {advertise:?}");
        reading.fault(key, what, "Write a host and a port, as in \"10.0.0.1:7091\"");
    }
}

fn certificates(config: &Config, reading: &mut Reading<'_>) {
    let paths = [("cert", &config.quic.cert), ("key", &config.quic.key), ("ca", &config.quic.ca)];
    let missing: Vec<_> =
        paths.iter().filter(|(_, path)| path.as_os_str().is_empty()).map(|(key, _)| *key).collect();
    let read = reading.sound(&["quic.cert", "quic.key", "quic.ca"]);
    if read && !missing.is_empty() && missing.len() < paths.len() {
        let what = format!("[quic] has some of cert, key and ca, but no {}", missing.join(", no "));
        reading.fault("quic", what, "Name all three, or none for a node that is alone");
    }
}

fn bounds(config: &Config, reading: &mut Reading<'_>) {
    let every = config.collect.every;
    if every < COLLECT_EVERY_MIN {
        let fix = format!("Write {COLLECT_EVERY_MIN} or more");
        reading.fault("collect.every", format!("collect.every is {every}"), fix);
    }
    for (key, idle) in [
        ("collect.idle", config.collect.idle),
        ("presence.idle", config.presence.idle),
        ("persistence.idle", config.persistence.idle),
    ] {
        if let Idle::After(span) = idle
            && span < IDLE_MIN
        {
            let fix = format!("Write {IDLE_MIN} or more, or \"off\"");
            reading.fault(key, format!("{key} is {span}"), fix);
        }
    }
    if let Rate::PerSecond(rate) = config.replication.catch_up
        && rate < CATCH_UP_MIN
    {
        let what = format!("replication.catch_up is {rate} a second");
        let fix = format!("Write {CATCH_UP_MIN}/s or more, or \"unlimited\"");
        reading.fault("replication.catch_up", what, fix);
    }
    let bytes = config.limits.message_bytes;
    if bytes == Size(0) || bytes > MESSAGE_BYTES_MAX {
        let fix = format!("Write 1B to {MESSAGE_BYTES_MAX}");
        reading.fault("limits.message_bytes", format!("limits.message_bytes is {bytes}"), fix);
    }
    let counts = [
        ("limits.connections", config.limits.connections),
        ("limits.connections_per_address", config.limits.connections_per_address),
        ("limits.waiting", config.limits.waiting),
    ];
    for (key, _) in counts.iter().filter(|(_, count)| *count == 0) {
        reading.fault(key, format!("{key} is 0: nobody could connect"), "Write 1 or more");
    }
    let spans = [
        ("replication.timeout", config.replication.timeout),
        ("replication.settle", config.replication.settle),
        ("replication.dead", config.replication.dead),
        ("node.drain", config.node.drain),
    ];
    for (key, _) in spans.iter().filter(|(_, span)| span.0.is_zero()) {
        reading.fault(key, format!("{key} is nothing"), "Write 1s or more");
    }
}

fn plugins(config: &Config, reading: &mut Reading<'_>) {
    let mut seen = BTreeSet::new();
    for name in &config.chain {
        if !seen.insert(name) {
            let what = format!("[chain.message] names {name} twice");
            reading.fault(
                "chain.message.order",
                what,
                "Name it once: a handler runs once a message",
            );
        } else if !config.plugins.contains_key(name) && reading.sound(&[&format!("plugins.{name}")])
        {
            let what = format!("[chain.message] names {name}, which is no plugin");
            let fix = format!(
                "Add [plugins.{name}], with its source if a new cluster begins with it, or leave it out"
            );
            reading.fault("chain.message.order", what, fix);
        }
    }
    rollouts(config, reading);
    let ceiling = config.plugin_host;
    for (name, plugin) in &config.plugins {
        let LimitsConfig { fuel, deadline, memory } = plugin.limits;
        let over = [
            ("fuel", fuel > Some(ceiling.fuel), ceiling.fuel.to_string()),
            ("deadline", deadline > Some(ceiling.deadline), ceiling.deadline.to_string()),
            ("memory", memory > Some(ceiling.memory), ceiling.memory.to_string()),
        ];
        for (key, _, most) in over.into_iter().filter(|(_, over, _)| *over) {
            if !reading.sound(&[&format!("plugin_host.ceiling.{key}")]) {
                continue;
            }
            let path = format!("plugins.{name}.limits.{key}");
            let what = format!("{path} is above plugin_host.ceiling");
            reading.fault(&path, what, format!("Write at most {most}, or raise the ceiling"));
        }
    }
}

fn rollouts(config: &Config, reading: &mut Reading<'_>) {
    let rollouts = &config.rollouts;
    if !GENERATIONS.contains(&rollouts.keep_generations) {
        let what = format!("plugin_host.keep_generations is {}", rollouts.keep_generations);
        let (least, most) = (GENERATIONS.start(), GENERATIONS.end());
        reading.fault("plugin_host.keep_generations", what, format!("Write {least} to {most}"));
    }
    if let Err(wrong) = rollout::Trust::new(&rollouts.trusted_keys, rollouts.require_signature) {
        let what = format!("plugin_host.trusted_keys: {wrong}");
        let fix =
            "Write the last 32 bytes of what openssl pkey -pubout -outform DER prints, in base64";
        reading.fault("plugin_host.trusted_keys", what, fix);
    } else if rollouts.require_signature && rollouts.trusted_keys.is_empty() {
        let what = "plugin_host.require_signature is true, and trusted_keys is empty: no plugin could be used";
        reading.fault("plugin_host.require_signature", what, "Name a key in trusted_keys");
    }
}
