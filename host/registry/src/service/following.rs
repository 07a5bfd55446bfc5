//! Paths that are watched, and their last known values.
//!
//! The first question about a path begins to watch it; from then on its value is in memory, kept in
//! step with the ensemble while there is a connection, and told with its age while there is none. One
//! task a path reads and watches; whoever asks looks at what it published last.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Backoff, Instant, Stop};
use tokio::sync::watch;

use super::entry::{Content, Entry};
use super::link::Session;
use super::reading::Reading;
use super::shared::{Shared, check_path};
use super::{Error, ServiceRegistry};

/// How soon a path that could not be read is read again, and how rarely at last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(10);

/// A path that is watched. Dropping it ends its task.
#[derive(Debug)]
pub(crate) struct Followed {
    view: watch::Receiver<View>,
    stop: Stop,
}

/// What is known of a path.
#[derive(Clone, Debug)]
pub(crate) struct View {
    content: Option<Content>,
    /// The session that keeps it in step; `None`: nothing does.
    generation: Option<u64>,
    /// When it was last known to be true: `before` earlier than this.
    noted: Instant,
    before: Duration,
    failure: Option<Error>,
}

/// Tells what stands at a path, now and whenever it changes.
#[derive(Debug)]
pub struct Watcher {
    registry: ServiceRegistry,
    path: String,
    view: watch::Receiver<View>,
    told: Option<Content>,
}

/// A callback that is called. Dropping it ends that; a call that has begun goes on.
#[derive(Debug)]
pub struct Subscription {
    stop: Stop,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl Subscription {
    pub(crate) fn new(stop: Stop) -> Self {
        Self { stop }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

impl ServiceRegistry {
    /// What stands at `path`. The first question asks the ensemble and begins to watch; later ones are
    /// answered from memory. A path where nothing stands has no `stat`. Without a connection the last
    /// known value is told, as `stale`, with its age.
    ///
    /// # Errors
    /// [`Error::NoConnection`] when nothing is known and nobody can be asked, [`Error::InvalidPath`],
    /// [`Error::TooMany`], [`Error::TooLarge`], [`Error::NoAuth`].
    pub async fn get(&self, path: &str) -> Result<Entry, Error> {
        let shared = self.shared();
        let (mut view, new) = shared.counted(self.follow(path))?;
        let deadline = runtime::now() + shared.config.timeout;
        let mut state = shared.link.state();
        loop {
            let session = shared.link.session();
            let generation = session.as_ref().ok().map(|session| session.generation);
            let (entry, failure) = {
                let view = view.borrow_and_update();
                (view.entry(path, generation), view.failure.clone())
            };
            match (entry, session, failure) {
                (Some(entry), _, _) if !entry.stale => return Ok(entry),
                (Some(entry), Err(_), _) | (Some(entry), Ok(_), Some(_)) => return Ok(entry),
                (None, Err(error), _) | (None, Ok(_), Some(error)) => {
                    if new {
                        self.forget(path);
                    }
                    return shared.counted(Err(error));
                }
                // Connected, but not in step yet.
                (entry, Ok(_), None) => {
                    tokio::select! {
                        changed = view.changed() => {
                            let why = || "it was forgotten meanwhile".to_owned();
                            changed.map_err(|_gone| Error::NoConnection { why: why() })?;
                        }
                        _ = state.changed() => {}
                        () = runtime::sleep_until(deadline) => {
                            let why = "it did not answer in time".to_owned();
                            return entry.ok_or(Error::NoConnection { why });
                        }
                    }
                }
            }
        }
    }

    /// Watches `path`: [`Watcher::next`] tells what stands there at once, and whenever that changes.
    ///
    /// # Errors
    /// [`Error::InvalidPath`], [`Error::TooMany`].
    pub fn watch(&self, path: &str) -> Result<Watcher, Error> {
        let (view, _) = self.shared().counted(self.follow(path))?;
        Ok(Watcher { registry: self.clone(), path: path.to_owned(), view, told: None })
    }

    /// Calls `callback` with what stands at `path`, at once and whenever that changes, one call after
    /// the other, each in the task of this subscription. A callback that panics is counted and called
    /// again for the next change.
    ///
    /// # Errors
    /// [`Error::InvalidPath`], [`Error::TooMany`].
    pub fn on_change(
        &self,
        path: &str,
        mut callback: impl FnMut(Entry) + Send + 'static,
    ) -> Result<Subscription, Error> {
        let (mut view, _) = self.shared().counted(self.follow(path))?;
        // Not the registry itself: a callback must not keep it open.
        let shared = Arc::clone(self.shared());
        let tasks = shared.tasks.clone();
        let stop = tasks.stop().child();
        let subscription = Subscription::new(stop.clone());
        let path = path.to_owned();
        tasks.spawn("registry callback", async move {
            let mut told = None;
            loop {
                let next = next(&shared, &path, &mut view, &mut told);
                let entry = tokio::select! {
                    biased;
                    () = stop.stopped() => return,
                    entry = next => entry,
                };
                let Some(entry) = entry else { return };
                shared.isolated(|| callback(entry));
            }
        });
        Ok(subscription)
    }

    /// Watches `path` no more, and forgets what is known of it, for everybody with this registry.
    pub fn forget(&self, path: &str) {
        self.shared().watched().remove(path);
    }

    /// The path's view, and whether it is new.
    fn follow(&self, path: &str) -> Result<(watch::Receiver<View>, bool), Error> {
        check_path(path)?;
        let shared = self.shared();
        let mut watched = shared.watched();
        if let Some(followed) = watched.get(path) {
            return Ok((followed.view.clone(), false));
        }
        let max = shared.config.bounds.watched_max;
        if watched.len() >= max {
            return Err(Error::TooMany { what: "watched", max });
        }
        let known = shared.memory.as_ref().and_then(|memory| memory.recall(path));
        let (content, before) = known.map_or((None, Duration::ZERO), |(c, age)| (Some(c), age));
        let view = View { content, generation: None, noted: runtime::now(), before, failure: None };
        let (sender, view) = watch::channel(view);
        let stop = shared.tasks.stop().child();
        watched.insert(path.to_owned(), Followed { view: view.clone(), stop: stop.clone() });
        let following = Following { shared: Arc::clone(shared), path: path.to_owned(), sender };
        shared.tasks.spawn("registry watch", following.run(stop));
        Ok((view, true))
    }
}

impl Watcher {
    /// What stands there: at once the first time, then whenever it changes. Changes that follow each
    /// other closely may be told as one. `None` when the registry is closed or the path forgotten.
    /// Cancel-safe.
    pub async fn next(&mut self) -> Option<Entry> {
        next(self.registry.shared(), &self.path, &mut self.view, &mut self.told).await
    }
}

async fn next(
    shared: &Shared,
    path: &str,
    view: &mut watch::Receiver<View>,
    told: &mut Option<Content>,
) -> Option<Entry> {
    loop {
        {
            let view = view.borrow_and_update();
            if view.content.is_some() && view.content != *told {
                told.clone_from(&view.content);
                let session = shared.link.session().ok().map(|session| session.generation);
                return view.entry(path, session);
            }
        }
        view.changed().await.ok()?;
    }
}

impl View {
    /// As a program sees it, when calls of session `generation` are answered now.
    fn entry(&self, path: &str, generation: Option<u64>) -> Option<Entry> {
        let fresh = self.generation.is_some() && self.generation == generation;
        let age = runtime::now().saturating_duration_since(self.noted) + self.before;
        Some(self.content.clone()?.into_entry(path, (!fresh).then_some(age)))
    }
}

/// The task of one path.
struct Following {
    shared: Arc<Shared>,
    path: String,
    sender: watch::Sender<View>,
}

impl Following {
    async fn run(self, stop: Stop) {
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        while let Some(session) = self.shared.link.connected().await {
            let failed = tokio::select! {
                biased;
                () = self.shared.link.interrupted(&session) => None,
                error = self.keep_in_step(&session, &mut backoff) => Some(error),
            };
            self.lost();
            let Some(error) = failed else { continue };
            if !error.is_passing() {
                tracing::warn!(path = %self.path, %error, "a watched path cannot be read");
                self.sender.send_modify(|view| view.failure = Some(error));
            }
            runtime::sleep(backoff.next(rand::random())).await;
        }
    }

    /// Reads and watches until that fails.
    async fn keep_in_step(&self, session: &Session, backoff: &mut Backoff) -> Error {
        let mut reading = match Reading::read(&self.shared, session, &self.path).await {
            Ok(reading) => reading,
            Err(error) => return error,
        };
        loop {
            backoff.reset();
            self.publish(&reading.content, session.generation);
            let dirty = reading.changed().await;
            if let Err(error) = reading.refresh(&self.shared, session, &dirty).await {
                return error;
            }
        }
    }

    /// It is in step no more: what is known was true until now.
    fn lost(&self) {
        self.sender.send_if_modified(|view| {
            if view.generation.take().is_none() {
                return false;
            }
            view.noted = runtime::now();
            view.before = Duration::ZERO;
            if let (Some(memory), Some(content)) = (&self.shared.memory, &view.content) {
                memory.note(&self.path, content);
            }
            true
        });
    }

    fn publish(&self, content: &Content, generation: u64) {
        if let Some(memory) = &self.shared.memory {
            memory.note(&self.path, content);
        }
        self.sender.send_modify(|view| {
            view.content = Some(content.clone());
            view.generation = Some(generation);
            view.failure = None;
        });
    }
}

/// Notes again everything that is in step: it is true now.
pub(crate) fn note_all(shared: &Shared) {
    let Some(memory) = &shared.memory else { return };
    for (path, followed) in shared.watched().iter() {
        let view = followed.view.borrow();
        if let (Some(_), Some(content)) = (view.generation, &view.content) {
            memory.note(path, content);
        }
    }
}
