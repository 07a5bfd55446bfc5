//! A path, its children and their data, read with a watch on each.
//!
//! The watches are of the kind that fires once: they hold no queue that could grow, the ensemble fires
//! them also for what happened while the connection was broken, and several on one path do not disturb
//! each other. After each, only what it concerns is read again.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use super::Error;
use super::data::{Map, decode};
use super::entry::Content;
use super::link::{Session, fired};
use super::shared::Shared;

/// Times a path may come or go while it is read: each is an answer of the ensemble that was already
/// wrong, and after these it is tried again later.
const TRIES: usize = 8;

type Fired = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What was read, and what waits for it to change.
pub(crate) struct Reading {
    path: String,
    pub(crate) content: Content,
    own: Vec<Fired>,
    children: BTreeMap<String, Fired>,
}

/// What has to be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    own: bool,
    children: Vec<String>,
}

impl Reading {
    pub(crate) async fn read(
        shared: &Shared,
        session: &Session,
        path: &str,
    ) -> Result<Self, Error> {
        let mut reading = Self {
            path: path.to_owned(),
            content: Content::default(),
            own: Vec::new(),
            children: BTreeMap::new(),
        };
        reading.refresh(shared, session, &Dirty { own: true, children: Vec::new() }).await?;
        Ok(reading)
    }

    /// Waits until something is to be read again. Cancel-safe: what was not returned is found again.
    pub(crate) async fn changed(&mut self) -> Dirty {
        std::future::poll_fn(|cx| {
            let own = self.own.iter_mut().any(|watch| watch.as_mut().poll(cx).is_ready());
            let mut dirty = Dirty { own, children: Vec::new() };
            for (name, watch) in &mut self.children {
                if watch.as_mut().poll(cx).is_ready() {
                    dirty.children.push(name.clone());
                }
            }
            for name in &dirty.children {
                self.children.remove(name);
            }
            if dirty == Dirty::default() { Poll::Pending } else { Poll::Ready(dirty) }
        })
        .await
    }

    /// Reads again.
    pub(crate) async fn refresh(
        &mut self,
        shared: &Shared,
        session: &Session,
        dirty: &Dirty,
    ) -> Result<(), Error> {
        for name in &dirty.children {
            self.children.remove(name);
        }
        if dirty.own {
            self.refresh_own(shared, session).await?;
        }
        let missing: Vec<String> = self
            .content
            .children
            .keys()
            .filter(|name| !self.children.contains_key(*name))
            .cloned()
            .collect();
        for name in missing {
            self.refresh_child(shared, session, name).await?;
        }
        Ok(())
    }

    async fn refresh_own(&mut self, shared: &Shared, session: &Session) -> Result<(), Error> {
        self.own.clear();
        let (client, path) = (&session.client, self.path.as_str());
        for _ in 0..TRIES {
            let (data, watcher) =
                match shared.call(session, path, || client.get_and_watch_data(path)).await? {
                    Ok((bytes, _, watcher)) => (decode(&bytes), watcher),
                    Err(zookeeper::Error::NoNode) => {
                        let stat = shared
                            .call(session, path, || client.check_and_watch_stat(path))
                            .await?;
                        match stat.map_err(|error| Error::reading(path, &error))? {
                            (Some(_), _) => continue,
                            (None, watcher) => {
                                self.own.push(Box::pin(fired(watcher)));
                                self.content = Content::default();
                                self.children.clear();
                                return Ok(());
                            }
                        }
                    }
                    Err(error) => return Err(Error::reading(path, &error)),
                };
            self.own.push(Box::pin(fired(watcher)));
            let listed = shared.call(session, path, || client.get_and_watch_children(path)).await?;
            let (names, stat, watcher) = match listed {
                Ok(listed) => listed,
                Err(zookeeper::Error::NoNode) => continue,
                Err(error) => return Err(Error::reading(path, &error)),
            };
            self.own.push(Box::pin(fired(watcher)));
            let max = shared.config.bounds.children_max;
            if names.len() > max {
                let what = format!("it has {} children, and {max} are read", names.len());
                return Err(Error::TooLarge { path: path.to_owned(), what });
            }
            let mut before = std::mem::take(&mut self.content.children);
            let children: BTreeMap<String, Option<Map>> = names
                .into_iter()
                .map(|name| {
                    let known = before.remove(&name).flatten();
                    (name, known)
                })
                .collect();
            self.children.retain(|name, _| children.contains_key(name));
            self.content = Content { data, stat: Some(stat.into()), children };
            return Ok(());
        }
        let why = "it comes and goes".to_owned();
        Err(Error::Refused { path: self.path.clone(), why })
    }

    async fn refresh_child(
        &mut self,
        shared: &Shared,
        session: &Session,
        name: String,
    ) -> Result<(), Error> {
        let path = below(&self.path, &name);
        let read = shared.call(session, &path, || session.client.get_and_watch_data(&path)).await?;
        match read {
            Ok((bytes, _, watcher)) => {
                self.content.children.insert(name.clone(), decode(&bytes));
                self.children.insert(name, Box::pin(fired(watcher)));
            }
            // Gone between the list and this: the watch on the list says so, too.
            Err(zookeeper::Error::NoNode) => _ = self.content.children.remove(&name),
            // Not for our eyes; its name is.
            Err(zookeeper::Error::NoAuth) => {
                self.content.children.insert(name.clone(), None);
                self.children.insert(name, Box::pin(std::future::pending()));
            }
            Err(error) => return Err(Error::reading(&path, &error)),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The path of `name` below `path`.
pub(crate) fn below(path: &str, name: &str) -> String {
    if path == "/" { format!("/{name}") } else { format!("{path}/{name}") }
}
