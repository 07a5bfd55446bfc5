//! From a service's name to its addresses.
//!
//! Nothing is remembered: what a name means is asked for each new connection, and checked there. One look-up
//! a name is under way at a time, and whoever asks for the same name meanwhile waits for that one: the
//! system's resolver cannot be interrupted, so a name server that is silent holds one thread for each name
//! and not one for each attempt.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Addresses, once they are known.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Knows the addresses of names.
pub trait Resolve: Debug + Send + Sync {
    /// The addresses of `name`, the best one first. It may take for ever; dropping it gives up.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// The system's resolver.
#[derive(Clone, Debug, Default)]
pub struct SystemResolver {
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Option<Known>>>>>,
}

/// What a look-up found, as those who wait for it share it.
type Known = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

/// A look-up on its thread. When it is dropped, done or not, the next one may begin.
struct Lookup {
    name: String,
    of: SystemResolver,
    found: watch::Sender<Option<Known>>,
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(self.look_up(name))
    }
}

impl SystemResolver {
    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let (mut found, begun) = self.begin(name);
        if let Some(lookup) = begun {
            runtime::blocking(move || lookup.run()).await;
        }
        let stopped = || io::Error::other("the node stops");
        let known = found.wait_for(Option::is_some).await.map_err(|_dropped| stopped())?;
        match known.clone() {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err((kind, text))) => Err(io::Error::new(kind, text)),
            None => Err(stopped()),
        }
    }

    /// Where the answer will be, and the look-up if it is not under way already.
    fn begin(&self, name: &str) -> (watch::Receiver<Option<Known>>, Option<Lookup>) {
        let mut under_way = self.under_way();
        if let Some(found) = under_way.get(name) {
            return (found.clone(), None);
        }
        let (sender, found) = watch::channel(None);
        under_way.insert(name.to_owned(), found.clone());
        (found, Some(Lookup { name: name.to_owned(), of: self.clone(), found: sender }))
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<String, watch::Receiver<Option<Known>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    fn run(self) {
        let found = (self.name.as_str(), 0).to_socket_addrs();
        let known = found
            .map(|found| found.map(|address| address.ip()).collect())
            .map_err(|error| (error.kind(), error.to_string()));
        self.found.send_replace(Some(known));
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.of.under_way().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::{Resolve, SystemResolver};

    #[tokio::test]
    async fn the_system_knows_this_machine_and_nothing_stays_under_way() {
        let resolver = SystemResolver::default();
        let found = resolver.resolve("localhost").await.unwrap();
        assert!(found.iter().all(|address| address.is_loopback()) && !found.is_empty());
        assert!(resolver.resolve("no such name").await.is_err());
        assert!(resolver.under_way().is_empty());
    }

    #[tokio::test]
    async fn who_asks_for_a_name_that_is_looked_up_waits_for_that() {
        let resolver = SystemResolver::default();
        let (_, begun) = resolver.begin("localhost");
        let (_, again) = resolver.begin("localhost");
        assert!(begun.is_some() && again.is_none());
        let waits = resolver.resolve("localhost");
        let (found, ()) = tokio::join!(waits, async { begun.unwrap().run() });
        assert!(!found.unwrap().is_empty());
        assert!(resolver.begin("localhost").1.is_some());
    }

    #[tokio::test]
    async fn a_look_up_that_is_given_up_is_not_waited_for() {
        let resolver = SystemResolver::default();
        let (mut found, begun) = resolver.begin("localhost");
        drop(begun);
        assert!(found.wait_for(Option::is_some).await.is_err());
        assert!(resolver.begin("localhost").1.is_some());
    }
}
