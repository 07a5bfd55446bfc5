//! Locks across programs.
//!
//! A lock is a queue of ephemeral children ([`super::queue`]). It is only as good as its session: a
//! holder that stands still for longer than the ensemble waits loses it and may not know yet. So a lock
//! says when it is in doubt and when it is lost, and carries a number that rises from holder to holder:
//! what is written under a lock should carry it, and refuse a lower one.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Backoff, Instant, Stop};
use tokio::sync::watch;
use zookeeper::{Acls, CreateMode};

use super::link::{Session, fired};
use super::queue::{MARK, Place, place};
use super::reading::below;
use super::shared::Shared;
use super::user::acl;
use super::{Error, ServiceRegistry};

/// How a lock is wanted. [`LockOptions::default`]: for one holder, waited for 300 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOptions {
    /// Who wants it, for people who look; the machine and the process if not given.
    pub name: Option<String>,
    /// How many may have it at once; all who want it must say the same. At least 1.
    pub holders: usize,
    /// How long to wait for it; zero takes it now or not at all.
    pub wait: Duration,
}

/// A lock that is held. Dropping it gives it back in the background.
#[derive(Debug)]
pub struct Lock {
    path: String,
    fencing: i64,
    held: watch::Receiver<Held>,
    stop: Stop,
    timeout: Duration,
}

/// Whether a lock is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is.
    Yes,
    /// The connection broke: it is while the session lives, and that is not known.
    InDoubt,
    /// It is not: the session ended, or somebody removed it.
    Lost,
    /// It was given back.
    Released,
}

/// How soon an interrupted step is tried again, and how rarely at last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(2);

impl Default for LockOptions {
    fn default() -> Self {
        Self { name: None, holders: 1, wait: Duration::from_secs(300) }
    }
}

impl ServiceRegistry {
    /// Takes the lock at `path`, waiting while others have it. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Error::LockHeld`] when others had it all the time; [`Error::NoConnection`], when the registry is
    /// not lazy at once, else when there was none all the time; [`Error::ReadOnly`], [`Error::NoAuth`],
    /// [`Error::InvalidPath`], [`Error::UnderEphemeral`].
    pub async fn lock(&self, path: &str, options: &LockOptions) -> Result<Lock, Error> {
        let shared = self.shared();
        shared.counted(self.may_change(path))?;
        if !shared.config.lazy {
            shared.link.session()?;
        }
        // Standing in the queue is waiting; asking where one stands takes its own time.
        let patience = runtime::now() + options.wait;
        let deadline = patience + shared.config.timeout;
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        loop {
            let left = deadline.saturating_duration_since(runtime::now());
            let session = match runtime::timeout(left, shared.link.connected()).await {
                Ok(Some(session)) => session,
                Ok(None) => return Err(Error::Closed),
                Err(_elapsed) => {
                    let why = "there was none while the lock was waited for".to_owned();
                    return Err(Error::NoConnection { why });
                }
            };
            let contender = Contender::new(shared, &session, path, options);
            let left = deadline.saturating_duration_since(runtime::now());
            let taken = tokio::select! {
                biased;
                () = shared.link.over(&session) => Ok(Err(Error::LockLost { path: path.to_owned() })),
                taken = runtime::timeout(left, contender.take(patience)) => taken,
            };
            match taken {
                Ok(Ok(Some(fencing))) => return Ok(contender.hold(fencing)),
                Ok(Ok(None)) | Err(_) => {
                    return Err(Error::LockHeld { path: path.to_owned(), waited: options.wait });
                }
                Ok(Err(Error::LockLost { .. })) => {}
                Ok(Err(error)) => return shared.counted(Err(error)),
            }
            runtime::sleep(backoff.next(rand::random())).await;
        }
    }
}

impl Lock {
    /// The lock.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Rises from holder to holder: the transaction that made this one's place in the queue.
    pub fn fencing(&self) -> i64 {
        self.fencing
    }

    /// Whether it is held, as far as is known now.
    pub fn held(&self) -> Held {
        *self.held.borrow()
    }

    /// Waits until it is lost. Cancel-safe.
    pub async fn lost(&self) {
        let mut held = self.held.clone();
        _ = held.wait_for(|held| *held == Held::Lost).await;
    }

    /// Gives it back, and waits until the next one may have it.
    ///
    /// # Errors
    /// [`Error::LockLost`] when it was lost before; [`Error::Unknown`] when the ensemble does not answer
    /// in time: it is given back as soon as it does, or with the session.
    pub async fn release(self) -> Result<(), Error> {
        let mut held = self.held.clone();
        self.stop.stop();
        let done = held.wait_for(|held| matches!(held, Held::Lost | Held::Released));
        match runtime::timeout(self.timeout, done).await {
            Ok(Ok(held)) if *held == Held::Released => Ok(()),
            Ok(_) => Err(Error::LockLost { path: self.path.clone() }),
            Err(_elapsed) => Err(Error::Unknown { path: self.path.clone() }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// One that stands in the queue. Dropping it leaves the queue, also when it is not known whether it
/// ever came to stand there.
struct Contender {
    /// Taken when there is nothing to leave.
    place: Option<Queued>,
    holders: usize,
    data: Vec<u8>,
}

#[derive(Clone)]
struct Queued {
    shared: Arc<Shared>,
    session: Session,
    path: String,
    /// What its child's name begins with; nobody else's does.
    unique: String,
}

impl Contender {
    fn new(shared: &Arc<Shared>, session: &Session, path: &str, options: &LockOptions) -> Self {
        let unique = format!("{:032x}{MARK}", rand::random::<u128>());
        let name = options.name.clone().unwrap_or_else(process_name);
        let queued = Queued {
            shared: Arc::clone(shared),
            session: session.clone(),
            path: path.to_owned(),
            unique,
        };
        Self { place: Some(queued), holders: options.holders.max(1), data: name.into_bytes() }
    }

    /// Queues and waits for its turn; the number it has then, or nothing when patience is over.
    async fn take(&self, patience: Instant) -> Result<Option<i64>, Error> {
        let Some(queued) = self.place.clone() else { return Err(Error::Closed) };
        let (ours, fencing) = queued.enqueue(&self.data).await?;
        loop {
            match queued.wait_for_turn(&ours, self.holders, patience).await {
                Ok(turn) => return Ok(turn.then_some(fencing)),
                Err(error) if error.is_passing() => {
                    // The session lives, or the caller stops waiting.
                    if queued.shared.link.connected().await.is_none() {
                        return Err(Error::Closed);
                    }
                    runtime::sleep(RETRY_FIRST).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Watches over what is held.
    fn hold(mut self, fencing: i64) -> Lock {
        let (told, held) = watch::channel(Held::Yes);
        let placed = self.place.take();
        let stop = placed.as_ref().map(|queued| queued.shared.tasks.stop().child());
        let stop = stop.unwrap_or_default();
        let (mut path, mut timeout) = (String::new(), Duration::ZERO);
        if let Some(queued) = placed {
            path.clone_from(&queued.path);
            timeout = queued.shared.config.timeout;
            let tasks = queued.shared.tasks.clone();
            tasks.spawn("registry lock", queued.watch_over(told, stop.clone()));
        }
        Lock { path, fencing, held, stop, timeout }
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        if let Some(queued) = self.place.take() {
            let tasks = queued.shared.tasks.clone();
            tasks.spawn("registry lock", async move { queued.leave().await });
        }
    }
}

impl Queued {
    /// Makes our child, once, however often the answer is lost.
    async fn enqueue(&self, data: &[u8]) -> Result<(String, i64), Error> {
        let (user, _) = self.shared.link.user();
        let list = acl(user.as_ref());
        let options = CreateMode::EphemeralSequential.with_acls(Acls::new(&list));
        let (client, prefix) = (&self.session.client, below(&self.path, &self.unique));
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        loop {
            match self
                .shared
                .call(&self.session, &self.path, || client.create(&prefix, data, &options))
                .await?
            {
                Ok((stat, number)) => return Ok((format!("{}{number}", self.unique), stat.czxid)),
                Err(zookeeper::Error::NoNode) => {
                    self.shared.make_parent(&self.session, &prefix, &list).await?;
                    continue;
                }
                Err(error) => {
                    let error = Error::writing(&self.path, &error);
                    if !error.is_passing() {
                        return Err(error);
                    }
                }
            }
            runtime::sleep(backoff.next(rand::random())).await;
            if self.shared.link.connected().await.is_none() {
                return Err(Error::Closed);
            }
            if let Ok(Some(found)) = self.find().await {
                return Ok(found);
            }
        }
    }

    /// Our child and the transaction that made it, if it is there.
    async fn find(&self) -> Result<Option<(String, i64)>, Error> {
        let client = &self.session.client;
        let names = self
            .shared
            .call(&self.session, &self.path, || client.list_children(&self.path))
            .await?;
        let names = match names {
            Ok(names) => names,
            Err(zookeeper::Error::NoNode) => return Ok(None),
            Err(error) => return Err(Error::reading(&self.path, &error)),
        };
        let Some(ours) = names.into_iter().find(|name| name.starts_with(&self.unique)) else {
            return Ok(None);
        };
        let path = below(&self.path, &ours);
        let stat = self.shared.call(&self.session, &path, || client.check_stat(&path)).await?;
        let stat = stat.map_err(|error| Error::reading(&path, &error))?;
        Ok(stat.map(|stat| (ours, stat.czxid)))
    }

    /// Whether its turn came before patience was over.
    async fn wait_for_turn(
        &self,
        ours: &str,
        holders: usize,
        patience: Instant,
    ) -> Result<bool, Error> {
        let (client, path) = (&self.session.client, self.path.as_str());
        let failed = |error: zookeeper::Error| match error {
            zookeeper::Error::NoNode => Error::LockLost { path: path.to_owned() },
            error => Error::reading(path, &error),
        };
        loop {
            let listed = self
                .shared
                .call(&self.session, path, || client.list_and_watch_children(path))
                .await?;
            let (names, changed) = listed.map_err(failed)?;
            let before = match place(&names, ours, holders) {
                Place::Holds => return Ok(true),
                Place::Gone => return Err(Error::LockLost { path: path.to_owned() }),
                Place::Behind(before) => below(path, &before),
            };
            // With one holder only the one before us matters, so that not everybody wakes for each.
            let moved = if holders > 1 {
                changed
            } else {
                drop(changed);
                let ask = || client.check_and_watch_stat(&before);
                let seen = self.shared.call(&self.session, &before, ask).await?;
                let (Some(_), gone) = seen.map_err(failed)? else { continue };
                gone
            };
            tokio::select! {
                biased;
                () = fired(moved) => {}
                () = runtime::sleep_until(patience) => return Ok(false),
            }
        }
    }

    /// Until it is given back or lost.
    async fn watch_over(self, told: watch::Sender<Held>, stop: Stop) {
        let lost = tokio::select! {
            biased;
            () = stop.stopped() => false,
            () = self.shared.link.over(&self.session) => true,
            () = self.gone(&told) => true,
        };
        if lost {
            self.shared.meters.locks_lost.increment(1);
            tracing::warn!(lock = %self.path, "a lock was lost while it was held");
            told.send_replace(Held::Lost);
        }
        self.leave().await;
        if !lost {
            told.send_replace(Held::Released);
        }
    }

    /// Until somebody else removed our child; says meanwhile whether that can be known.
    async fn gone(&self, told: &watch::Sender<Held>) {
        let client = &self.session.client;
        loop {
            let Ok(found) = self.find().await else {
                told.send_replace(Held::InDoubt);
                if self.shared.link.connected().await.is_none() {
                    return;
                }
                runtime::sleep(RETRY_FIRST).await;
                continue;
            };
            let Some((ours, _)) = found else { return };
            let ours = below(&self.path, &ours);
            let seen =
                self.shared.call(&self.session, &ours, || client.check_and_watch_stat(&ours)).await;
            match seen {
                Ok(Ok((Some(_), gone))) => {
                    told.send_replace(Held::Yes);
                    tokio::select! {
                        biased;
                        () = self.shared.link.interrupted(&self.session) => {
                            told.send_replace(Held::InDoubt);
                        }
                        () = fired(gone) => {}
                    }
                }
                Ok(Ok((None, _))) => return,
                Ok(Err(_)) | Err(_) => _ = told.send_replace(Held::InDoubt),
            }
        }
    }

    /// Removes our child, if there is one; with the session it goes by itself.
    async fn leave(self) {
        let removed = async {
            let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
            while !matches!(self.remove().await, Ok(true)) {
                runtime::sleep(backoff.next(rand::random())).await;
            }
        };
        tokio::select! {
            biased;
            () = self.shared.link.over(&self.session) => {}
            () = removed => {}
        }
    }

    async fn remove(&self) -> Result<bool, Error> {
        let Some((ours, _)) = self.find().await? else { return Ok(true) };
        let path = below(&self.path, &ours);
        let client = &self.session.client;
        let removed = self.shared.call(&self.session, &path, || client.delete(&path, None)).await?;
        Ok(matches!(removed, Ok(()) | Err(zookeeper::Error::NoNode)))
    }
}

/// `host:pid`.
fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "localhost" } else { host };
    format!("{host}:{}", std::process::id())
}
