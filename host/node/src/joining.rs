//! A node's way to its registry: which one, and what is said while it is waited for.
//!
//! Without it a node that starts cannot know whether another life of it was counted on since: it promises
//! nothing and listens nowhere, and somebody who reads its log has to see why.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use registry::{Digest, Problem, Registry, Session, ZooKeeperConfig};
use segment::Folder;

use crate::assemble::StartError;
use crate::config::{Config, RegistryKind};

/// How long a start may be silent: longer than a registry takes that is there.
const SILENT_MAX: Duration = Duration::from_secs(3);
/// How often it is said again what a start waits for.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// The registry of a process whose folder is `folder`. Nobody is asked yet.
pub(crate) fn open(folder: &Path, config: &Config) -> Result<Registry, StartError> {
    match config.registry.kind {
        RegistryKind::Embedded => Ok(Registry::embedded(&folder.join("registry"))?),
        RegistryKind::ZooKeeper => Ok(zookeeper(folder, config)?),
    }
}

/// The one on ZooKeeper, with its last known ring in `folder` if that is to be kept.
///
/// # Errors
/// The user's file cannot be read, or the configuration cannot be meant.
pub(crate) fn zookeeper(folder: &Path, config: &Config) -> Result<Registry, Problem> {
    let cache = config.registry.cache.then(|| folder.join("registry.cache"));
    Registry::zookeeper(ZooKeeperConfig { cache, ..servers(config)? })
}

/// What the configuration says of ZooKeeper, without a place on the disk.
///
/// # Errors
/// The user's file cannot be read.
pub(crate) fn servers(config: &Config) -> Result<ZooKeeperConfig, Problem> {
    let registry = &config.registry;
    let digest = match registry.digest_file.as_os_str().is_empty() {
        true => None,
        false => Some(Digest::read(&registry.digest_file)?),
    };
    Ok(ZooKeeperConfig {
        hosts: registry.hosts.clone(),
        root: registry.root.clone(),
        session: registry.session.0,
        timeout: registry.timeout.0,
        digest,
        cache: None,
        observes: false,
    })
}

/// Begins a new life in the registry, and says so when that keeps it waiting.
pub(crate) async fn enlist(
    config: &Config,
    session: &Session,
    folder: Folder,
) -> Result<Folder, StartError> {
    let waiting = || {
        let why = session.problem().map_or_else(
            || "the registry does not answer".to_owned(),
            |problem| problem.to_string(),
        );
        tracing::error!(
            node = %config.node.id,
            "not ready: {why}. Until the registry can be reached this node serves nobody and promises \
             nothing; it keeps trying"
        );
    };
    Ok(patiently(replication::enlist(session, folder), waiting).await?)
}

/// Waits as long as it takes, and calls `tell` when that is long.
pub(crate) async fn patiently<T>(waited: impl Future<Output = T>, tell: impl Fn()) -> T {
    let mut waited = std::pin::pin!(waited);
    let mut patience = SILENT_MAX;
    loop {
        if let Ok(done) = runtime::timeout(patience, waited.as_mut()).await {
            return done;
        }
        tell();
        patience = TELL_EVERY;
    }
}
