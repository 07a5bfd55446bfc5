//! What a node keeps on its disks is opened: the key set, the folder, the log.

use hashring::Position;
use replication::Notices;
use segment::{Folder, Log, LogConfig, Recovered};

use crate::config::{AuthMode, Config, Positions, Reserve};
use crate::start_error::StartError;

/// How it tells who asks.
pub(crate) async fn auth(config: &Config) -> Result<api::Auth, StartError> {
    let auth = &config.auth;
    if auth.mode == AuthMode::Open {
        return Ok(api::Auth::open());
    }
    let jwt = api::JwtConfig {
        key_set: auth.jwks.clone(),
        audience: auth.audience.clone(),
        issuer: auth.issuer.clone(),
    };
    let opened = runtime::blocking(move || api::Auth::jwt(&jwt)).await;
    let ended = || StartError::Ended("the key set was not read".to_owned());
    let path = auth.jwks.clone();
    opened.ok_or_else(ended)?.map_err(|source| StartError::Auth { path, source })
}

/// The node's folder, which is locked from here on.
pub(crate) fn folder(config: &Config) -> Result<Folder, StartError> {
    let path = config.data();
    let chosen = || match &config.ring.positions {
        Positions::Given(given) => given.iter().map(|position| Position(*position)).collect(),
        Positions::Random(count) => (0..u32::from(*count) * config.node.weight)
            .map(|_| Position(rand::random::<u128>()))
            .collect(),
    };
    let folder = Folder::open(path, &config.node.id, config.cluster.partitions, chosen)?;
    if matches!(config.ring.positions, Positions::Given(_)) && folder.positions() != chosen() {
        tracing::warn!(
            folder = %path.display(),
            "ring.positions is not what this folder began with: places are chosen once, and those stay"
        );
    }
    Ok(folder)
}

/// The log, and what it held. Recovering reads its tail: not on the threads that serve.
pub(crate) async fn log(
    config: &Config,
    folder: &Folder,
    notices: &Notices,
) -> Result<(Log, Recovered), StartError> {
    let log = LogConfig {
        folder: folder.logs(),
        store: folder.store(),
        partitions: config.cluster.partitions,
        value_file_bytes_max: config.storage.value_file.0,
        reserve: reserve(config),
    };
    let told = notices.clone();
    let opened = runtime::blocking(move || Log::open(log, move |notice| told.tell(notice))).await;
    let ended = || StartError::Ended("the log was not opened".to_owned());
    let (log, recovered) = opened.ok_or_else(ended)??;
    tell(config, &recovered);
    Ok((log, recovered))
}

/// What stays free on each disk.
pub(crate) fn reserve(config: &Config) -> segment::Reserve {
    match config.storage.reserve {
        Reserve::Percent(percent) => segment::Reserve::Percent(percent),
        Reserve::Bytes(size) => segment::Reserve::Bytes(size.0),
    }
}

/// Says what recovery found.
fn tell(config: &Config, recovered: &Recovered) {
    let node = &config.node.id;
    tracing::info!(
        %node, entries = recovered.entries, partitions = recovered.partitions.len(),
        took_ms = recovered.took.as_millis(), "log recovered"
    );
    if recovered.cut_bytes > 0 {
        tracing::warn!(%node, bytes = recovered.cut_bytes,
            "the last batch was torn and is cut: it was never acknowledged");
    }
    let helped = if config.replication.copies > 1 {
        "its partitions take part again when a member that has it helps"
    } else {
        "this node is alone, so what is missing is lost, and it goes on with what it has"
    };
    for damage in &recovered.damages {
        let partition =
            damage.partition.map_or_else(|| "?".to_owned(), |partition| partition.to_string());
        tracing::error!(
            %node, file = %damage.file.display(), offset = damage.offset, %partition,
            "damage in a value file: {}; {helped}", damage.what
        );
    }
}
