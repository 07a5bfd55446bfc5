//! The service registry for other programs: who offers what, where; small settings; locks.
//!
//! A program opens a [`ServiceRegistry`] on an ensemble, sets what it offers, asks for what others offer
//! and is told when that changes. The bytes are JSON that programs in other languages read and write
//! too; `docs/service-registry.md` shows how. Nodes announce themselves this way.
//!
//! What a program set or watches is remembered here and made again: after a broken connection, after
//! the end of a session, after somebody else disturbed it. While the ensemble is away the last known
//! values are told, marked as stale, with their age; with a cache file also after a restart.
//!
//! One task holds the session, one each path that is watched or set; they follow the session's state
//! and each other through channels that keep only the latest. Nothing here is a singleton: as many
//! registries as a program opens are as many sessions.

mod announce;
mod cache;
mod calendar;
mod config;
mod data;
mod entry;
mod error;
mod following;
mod keeping;
mod link;
mod lock;
mod meters;
mod queue;
mod queued;
mod rate;
mod reading;
mod registration;
mod remembering;
mod setting;
mod shared;
mod user;

use std::sync::Arc;

use runtime::{Stop, Tasks};
use tokio::sync::watch;

pub use announce::announce;
pub use config::{Bounds, Config};
pub use data::{Data, Map, decode};
pub use entry::{Entry, Stat};
pub use error::Error;
pub use following::{Subscription, Watcher};
pub use lock::{Held, Lock, LockOptions};
pub use registration::Kind;
pub use setting::{Outcome, Renewed, Status};
pub use shared::check_path;
pub use user::User;

use link::Link;
use remembering::Memory;
use shared::Shared;

/// A service registry. Clones are the same one; when the last is dropped it is closed in the
/// background.
#[derive(Clone, Debug)]
pub struct ServiceRegistry {
    open: Arc<Open>,
}

/// Closes when it is dropped.
#[derive(Debug)]
struct Open {
    shared: Arc<Shared>,
}

/// How the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Calls are answered.
    Connected,
    /// Questions are answered, by a server without a quorum: what it says may be old.
    ReadOnly,
    /// The connection broke; what is ephemeral is still there until the session ends.
    Suspended,
    /// There is no session: what was ephemeral is gone, or goes.
    Connecting,
    /// The registry was closed.
    Closed,
}

/// Tells how the connection is, now and whenever that changes.
#[derive(Debug)]
pub struct Connections {
    state: watch::Receiver<link::State>,
    told: Option<Connection>,
}

impl ServiceRegistry {
    /// Opens a registry on the current runtime, and waits until it is connected; a lazy one only until
    /// that was tried.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::NoConnection`] when there is none in time, unless it is lazy: then it
    /// goes on trying.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn open(config: Config) -> Result<Self, Error> {
        config.check()?;
        let link = Link::new(&config);
        let memory = match config.cache.clone() {
            Some(path) => runtime::blocking(move || Memory::open(&path)).await,
            None => None,
        };
        let (lazy, timeout) = (config.lazy, config.timeout);
        let tasks = Tasks::current(Stop::default());
        let shared = Arc::new(Shared::new(config, link.clone(), tasks.clone(), memory));
        let stop = tasks.stop().clone();
        tasks.spawn("registry link", link.clone().keep(stop.clone(), Arc::clone(&shared.meters)));
        tasks.spawn("registry cache", remembering::remember(Arc::clone(&shared), stop));
        let registry = Self { open: Arc::new(Open { shared }) };
        let mut state = link.state();
        let done = state.wait_for(|state| match state {
            link::State::Connected { .. } | link::State::Closed => true,
            link::State::Connecting { tried, .. } => lazy && *tried,
            link::State::Suspended { .. } => false,
        });
        let in_time = runtime::timeout(timeout, done).await.is_ok();
        if lazy || in_time {
            return Ok(registry);
        }
        let failed = link.session().err();
        registry.close().await;
        let why = "it did not answer in time".to_owned();
        Err(failed.unwrap_or(Error::NoConnection { why }))
    }

    /// How the connection is.
    pub fn connection(&self) -> Connection {
        Connection::from(&*self.shared().link.state().borrow())
    }

    /// Follows how the connection is.
    pub fn connections(&self) -> Connections {
        Connections { state: self.shared().link.state(), told: None }
    }

    /// Calls `callback` with how the connection is, at once and whenever that changes, one call after
    /// the other. One that panics is counted and called again.
    pub fn on_connection(
        &self,
        mut callback: impl FnMut(Connection) + Send + 'static,
    ) -> Subscription {
        let mut connections = self.connections();
        let shared = Arc::clone(self.shared());
        let tasks = shared.tasks.clone();
        let stop = tasks.stop().child();
        let subscription = Subscription::new(stop.clone());
        tasks.spawn("registry callback", async move {
            loop {
                let next = tokio::select! {
                    biased;
                    () = stop.stopped() => return,
                    next = connections.next() => next,
                };
                let Some(connection) = next else { return };
                shared.isolated(|| callback(connection));
            }
        });
        subscription
    }

    /// Closes it: what is ephemeral goes, the cache is written, locks are lost. Returns when that is
    /// done, or the ensemble was given up on. Every clone is closed with it.
    pub async fn close(&self) {
        self.shared().tasks.finish().await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.open.shared
    }
}

impl Connections {
    /// How it is: at once the first time, then whenever it changes. `None` when the registry is closed
    /// and that was told. Cancel-safe.
    pub async fn next(&mut self) -> Option<Connection> {
        loop {
            let now = Connection::from(&*self.state.borrow_and_update());
            if self.told != Some(now) {
                self.told = Some(now);
                return Some(now);
            }
            if now == Connection::Closed {
                return None;
            }
            self.state.changed().await.ok()?;
        }
    }
}

impl Connection {
    /// Whether calls are answered.
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Connected | Self::ReadOnly)
    }
}

impl From<&link::State> for Connection {
    fn from(state: &link::State) -> Self {
        match state {
            link::State::Connected { read_only: false, .. } => Self::Connected,
            link::State::Connected { read_only: true, .. } => Self::ReadOnly,
            link::State::Suspended { .. } => Self::Suspended,
            link::State::Connecting { .. } => Self::Connecting,
            link::State::Closed => Self::Closed,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.tasks.stop().stop();
    }
}
