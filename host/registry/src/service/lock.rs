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

use super::link::Session;
use super::queue::MARK;
use super::queued::{Queued, RETRY_CAP, RETRY_FIRST};
use super::shared::Shared;
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

/// `host:pid`.
fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "localhost" } else { host };
    format!("{host}:{}", std::process::id())
}
