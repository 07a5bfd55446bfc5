//! How a node tells other programs where it answers clients.
//!
//! One ephemeral below `registry.announce`, in a session of its own: what other programs read there must
//! not be mixed up with the cluster's own records, and a node that cannot announce itself serves all the
//! same. With an embedded registry there is nobody to tell.

use registry::Digest;
use registry::service::{Config as ServiceConfig, Error, Map, ServiceRegistry, User, announce};
use serde_json::json;

use crate::config::{Config, RegistryKind};

/// What one node announces; withdrawn when it is dropped, in the background.
#[derive(Debug, Default)]
pub(crate) struct Announcement {
    registry: Option<ServiceRegistry>,
}

impl Announcement {
    /// Announces that the node of `config` answers at `url`. What keeps it from that is told in the log.
    pub(crate) async fn begin(config: &Config, url: &str) -> Self {
        if config.registry.kind == RegistryKind::Embedded {
            return Self::default();
        }
        let registry = match open(config).await {
            Ok(registry) => registry,
            Err(error) => {
                tracing::warn!(node = %config.node.id, %error, "this node does not announce itself");
                return Self::default();
            }
        };
        let address = url.split_once("://").map_or(url, |(_, address)| address);
        let folder = &config.registry.announce;
        match announce(&registry, folder, address, details(config, url)).await {
            Ok(outcome) => {
                tracing::info!(node = %config.node.id, folder, address, ?outcome, "announced");
            }
            Err(error) => {
                tracing::warn!(node = %config.node.id, folder, address, %error,
                    "this node does not announce itself");
            }
        }
        Self { registry: Some(registry) }
    }

    /// Nobody who looks finds this node any more.
    pub(crate) async fn withdraw(&self) {
        if let Some(registry) = &self.registry {
            registry.close().await;
        }
    }
}

/// The service registry, as the configuration says where it is. It need not be there yet.
pub(crate) async fn open(config: &Config) -> Result<ServiceRegistry, Error> {
    let registry = &config.registry;
    let mut service = ServiceConfig::new(&registry.hosts.join(","));
    service.timeout = registry.timeout.0;
    service.session = registry.session.0;
    // The ensemble may be away just now; then it is connected later.
    service.lazy = true;
    if !registry.digest_file.as_os_str().is_empty() {
        let refused = |what: String| Error::Config { what };
        let digest = Digest::read(&registry.digest_file);
        let digest = digest.map_err(|problem| refused(problem.to_string()))?;
        service.user = Some(User::new(&digest.user, &digest.password)?);
    }
    ServiceRegistry::open(service).await
}

/// What stands there, beside `pid` and `created`.
fn details(config: &Config, url: &str) -> Map {
    let mut details = Map::new();
    details.insert("node".to_owned(), json!(config.node.id));
    details.insert("url".to_owned(), json!(url));
    details.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
    details.insert("zone".to_owned(), json!(config.node.zone));
    details
}
