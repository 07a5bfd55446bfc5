//! What the configuration means to the parts: each takes plain values of its own.

use std::net::SocketAddr;
use std::time::Duration;

use hashring::Partitions;
use replication::core::Timings;
use segment::Folder;

use crate::config::{Config, Forget, Rate};

fn timings(config: &Config) -> Timings {
    let replication = config.replication;
    Timings {
        answer: replication.timeout.0,
        settle: replication.settle.0,
        dead: replication.dead.0,
        ..Timings::default()
    }
}

pub(crate) fn settings(
    config: &Config,
    partitions: Partitions,
    folder: &Folder,
    http: String,
) -> replication::Config {
    replication::Config {
        node: config.node.id.clone(),
        partitions,
        copies: config.replication.copies,
        commit: config.replication.commit,
        spread: config.spread(),
        positions: folder.positions().to_vec(),
        listen: config.quic.listen,
        advertise: config.quic.advertise.clone(),
        http,
        zone: config.node.zone.clone(),
        weight: config.node.weight,
        timings: timings(config),
        scrub: config.storage.scrub.0,
        catch_up: match config.replication.catch_up {
            Rate::Unlimited => None,
            Rate::PerSecond(rate) => Some(rate.0),
        },
    }
}

pub(crate) fn chats(config: &Config) -> chat::Config {
    chat::Config {
        message_bytes_max: config.limits.message_bytes.bytes(),
        waiting_max: config.limits.waiting,
        timeout: config.replication.timeout.0,
        spread: config.spread(),
        collect: chat::Collect {
            every: config.collect.every.0,
            pause: config.collect.pause.0,
            grace: config.collect.grace.0,
            idle: config.collect.idle.span(),
            forget: match config.collect.forget {
                Forget::Off => None,
                Forget::After(age) => Some(age.0),
            },
        },
        idle: config.presence.idle.span(),
        // Where every chat stays nearly every entry does, and there is nothing to trim.
        trim: (config.collect.forget != Forget::Off).then(chat::Trim::default),
        ..chat::Config::default()
    }
}

/// What others are told of where clients connect.
pub(crate) fn url(config: &Config, listening: SocketAddr) -> String {
    match config.http.advertise.as_str() {
        "" => format!("http://{listening}"),
        advertise => format!("http://{advertise}"),
    }
}

pub(crate) fn admin(config: &Config) -> api::Config {
    api::Config { listen: config.admin.listen, ..api::Config::default() }
}

pub(crate) fn http(config: &Config) -> api::Config {
    let mut http = api::Config {
        listen: config.http.listen,
        message_bytes: config.limits.message_bytes.bytes(),
        connections: config.limits.connections,
        connections_per_address: config.limits.connections_per_address,
        ..api::Config::default()
    };
    // Longer than replication takes to call an outcome unknown, so that clients hear that instead.
    let unknown = config.replication.timeout.0 + Duration::from_secs(3);
    http.patience.answer = http.patience.answer.max(unknown);
    http
}
