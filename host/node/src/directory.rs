//! Where the instances of services are that say so in the service registry: `url = "registry:/services/crm"`.
//!
//! Whoever offers such a service puts an ephemeral child there, named `host:port`; what it says may name its `url` or
//! its `scheme`. The children are followed. While the registry is away the last known ones are used: they are only
//! where to try, and every connection is checked at its address like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use registry::service::{Entry, Map, ServiceRegistry, Subscription};
use tokio::sync::watch;

use crate::announcing;
use crate::config::Config;

/// What begins a URL that is looked up.
pub(crate) const REGISTRY: &str = "registry:";

/// How long a node that starts waits until it knows who is there: without that the first attempts find nobody, which says
/// nothing of the services.
const LISTED_MAX: Duration = Duration::from_secs(2);

/// The instances of the services of a node's file, by path.
#[derive(Debug)]
pub(crate) struct Directory {
    known: Known,
    news: News,
    // Dropped, nothing is followed any more.
    _followed: Vec<Subscription>,
    _registry: Option<ServiceRegistry>,
}

type Known = Arc<Mutex<Paths>>;
/// Rises with everything that is new.
type News = watch::Sender<u64>;

/// What is known of paths.
#[derive(Debug, Default)]
struct Paths {
    known: BTreeMap<String, Vec<String>>,
    /// Those that somebody looked for when they were not known.
    missed: BTreeSet<String>,
}

impl Paths {
    fn at(&mut self, path: &str) -> Vec<String> {
        match self.known.get(path) {
            Some(instances) => instances.clone(),
            None => {
                self.missed.insert(path.to_owned());
                Vec::new()
            }
        }
    }

    /// Learns who is at a path; whether that is news. Who was there before this node began is none: services go on where
    /// they were. It is if somebody looked for them in vain.
    fn learns(&mut self, path: &str, found: Vec<String>) -> bool {
        let before = self.known.insert(path.to_owned(), found);
        self.missed.remove(path) || before.is_some()
    }
}

impl Directory {
    /// Begins to follow the paths that services of `config` are at, and waits a moment to know them. What keeps it from
    /// that is told in the log.
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
        let listed = watch::Sender::new(0);
        let follow = |path: &&str| follow(registry.as_ref()?, path, &known, (&news, &listed));
        let followed: Vec<_> = paths.iter().filter_map(follow).collect();
        let mut count = listed.subscribe();
        let wanted = followed.len();
        let all = count.wait_for(|listed| *listed >= wanted);
        // Whatever is not known then is news when it comes.
        drop(runtime::timeout(LISTED_MAX, all).await);
        Self { known, news, _followed: followed, _registry: registry }
    }

    /// The URLs of the instances at a path.
    pub(crate) fn instances(&self, path: &str) -> Vec<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).at(path)
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
    (news, listed): (&News, &watch::Sender<usize>),
) -> Option<Subscription> {
    let (known, at) = (Arc::clone(known), path.to_owned());
    let (news, listed) = (news.clone(), listed.clone());
    let followed = registry.on_change(path, move |entry| {
        let found = instances(&entry);
        tracing::info!(path = at, instances = found.len(), "instances of a service");
        let (is_news, count) = {
            let mut paths = known.lock().unwrap_or_else(PoisonError::into_inner);
            (paths.learns(&at, found), paths.known.len())
        };
        listed.send_replace(count);
        if is_news {
            news.send_modify(|news| *news += 1);
        }
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

    use super::{Paths, url};

    #[test]
    fn who_was_there_before_is_no_news_unless_somebody_looked_for_them() {
        let (mut paths, one) = (Paths::default(), || vec!["http://10.0.0.7:8080".to_owned()]);
        assert!(!paths.learns("/crm", one()), "nobody is woken because a node starts");
        assert!(paths.learns("/crm", Vec::new()) && paths.learns("/crm", one()));
        assert_eq!(paths.at("/other"), Vec::<String>::new());
        assert!(paths.learns("/other", one()), "an attempt was in vain");
        assert_eq!((paths.at("/crm"), paths.at("/other")), (one(), one()));
    }

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
