//! Where the instances of services are that say so in the service registry: `url = "registry:/services/crm"`.
//!
//! Whoever offers such a service puts an ephemeral child there, named `host:port`; what it says may name its `url` or
//! its `scheme`. The children are followed. While the registry is away the last known ones are used: they are only
//! where to try, and every connection is checked at its address like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use registry::service::{Entry, Map, ServiceRegistry, Subscription};
use tokio::sync::watch;

use crate::announcing;
use crate::config::Config;

/// What begins a URL that is looked up.
pub(crate) const REGISTRY: &str = "registry:";

/// The instances of the services of a node's file, by path.
#[derive(Debug)]
pub(crate) struct Directory {
    known: Known,
    news: News,
    // Dropped, nothing is followed any more.
    _followed: Vec<Subscription>,
    _registry: Option<ServiceRegistry>,
}

type Known = Arc<Mutex<BTreeMap<String, Vec<String>>>>;
/// Rises with everything that is new.
type News = watch::Sender<u64>;

impl Directory {
    /// Begins to follow the paths that services of `config` are at. What keeps it from that is told in the log.
    pub(crate) async fn open(config: &Config) -> Self {
        let paths: BTreeSet<&str> = paths(config).collect();
        let (known, news) = (Known::default(), News::default());
        let registry = match paths.is_empty() {
            true => None,
            false => announcing::open(config)
                .await
                .map_err(|error| {
                    tracing::error!(node = %config.node.id, %error,
                    "services of the registry are not found: their events wait");
                })
                .ok(),
        };
        let follow = |path: &&str| follow(registry.as_ref()?, path, &known, &news);
        let followed = paths.iter().filter_map(follow).collect();
        Self { known, news, _followed: followed, _registry: registry }
    }

    /// The URLs of the instances at a path.
    pub(crate) fn instances(&self, path: &str) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path).cloned().unwrap_or_default()
    }

    /// Changes whenever instances come or go.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

/// The paths in the registry that services of a node's file are at.
pub(crate) fn paths(config: &Config) -> impl Iterator<Item = &str> {
    config.services.values().filter_map(|service| service.url.strip_prefix(REGISTRY))
}

fn follow(
    registry: &ServiceRegistry,
    path: &str,
    known: &Known,
    news: &News,
) -> Option<Subscription> {
    let (known, news, at) = (Arc::clone(known), news.clone(), path.to_owned());
    let followed = registry.on_change(path, move |entry| {
        let found = instances(&entry);
        tracing::info!(path = at, instances = found.len(), "instances of a service");
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(at.clone(), found);
        news.send_modify(|news| *news += 1);
    });
    let failed = |error| tracing::error!(path, %error, "a service of the registry is not found");
    followed.map_err(failed).ok()
}

fn instances(entry: &Entry) -> Vec<String> {
    entry.children.iter().map(|(name, said)| url(name, said.as_ref())).collect()
}

/// Where one is: as it says, or its name as an address.
fn url(name: &str, said: Option<&Map>) -> String {
    let text = |key: &str| said.and_then(|said| said.get(key)).and_then(serde_json::Value::as_str);
    if let Some(url) = text("url") {
        return url.to_owned();
    }
    let scheme = text("scheme").filter(|scheme| *scheme == "https").unwrap_or("http");
    format!("{scheme}://{name}")
}

#[cfg(test)]
mod tests {
    use registry::service::decode;

    use super::url;

    #[test]
    fn an_instance_is_where_it_says_or_at_its_name() {
        let at = |said: &str| url("10.0.0.7:8080", decode(said.as_bytes()).as_ref());
        assert_eq!(at(""), "http://10.0.0.7:8080");
        assert_eq!(at(r#"{"pid": 7}"#), "http://10.0.0.7:8080");
        assert_eq!(at(r#"{"scheme": "https"}"#), "https://10.0.0.7:8080");
        assert_eq!(at(r#"{"scheme": "ftp"}"#), "http://10.0.0.7:8080");
        assert_eq!(
            at(r#"{"url": "https://crm.example.org/hook"}"#),
            "https://crm.example.org/hook"
        );
    }
}
