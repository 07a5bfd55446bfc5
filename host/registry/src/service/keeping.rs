//! The task of one path that is set: it makes what is wanted so, and keeps it so.
//!
//! What to do is decided by [`super::registration`]; here it is done, again after every interruption,
//! and never in a tight loop: what others undo at once is restored at once the first time, and ever more
//! slowly while they go on.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Backoff, Instant};
use tokio::sync::watch;
use zookeeper::{Acls, CreateMode, OneshotWatcher};

use super::Error;
use super::data::decode;
use super::entry::Stat;
use super::link::{Session, fired};
use super::registration::{Kind, Seen, Step, Wish, step};
use super::setting::{Status, Told, Wanted};
use super::shared::Shared;
use super::user::{acl, open};

/// How soon something that failed is tried again, and how rarely at last.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(10);
/// After this long without a need to restore, the next one is done at once again.
const CALM: Duration = Duration::from_secs(60);
/// Steps towards one wish before it is called a failure and tried again later: each of them was
/// undone by somebody in the meantime.
const STEPS_MAX: usize = 16;

pub(crate) struct Keeper {
    shared: Arc<Shared>,
    path: String,
    wanted: watch::Receiver<Wanted>,
    told: watch::Sender<Told>,
    /// The wish that was fulfilled at least once, and what stood there then.
    applied: Option<u64>,
    stat: Option<Stat>,
    /// Whose access list it has.
    user: u64,
    /// The parent, if it was made for this.
    parent: Option<String>,
    failures: Backoff,
    restores: Backoff,
    disturbed: Option<Instant>,
}

/// A wish that needs nothing now.
struct Settled {
    status: Status,
    /// Fires when that may have changed.
    watcher: Option<OneshotWatcher>,
}

impl Keeper {
    pub(crate) fn new(
        shared: Arc<Shared>,
        path: &str,
        wanted: watch::Receiver<Wanted>,
    ) -> (Self, watch::Receiver<Told>) {
        let nothing = Told { serial: 0, generation: 0, user: 0, status: Status::Pending };
        let (told, heard) = watch::channel(nothing);
        let (_, user) = shared.link.user();
        let keeper = Self {
            shared,
            path: path.to_owned(),
            wanted,
            told,
            applied: None,
            stat: None,
            user,
            parent: None,
            failures: Backoff::new(RETRY_FIRST, RETRY_CAP),
            restores: Backoff::new(RETRY_FIRST, RETRY_CAP),
            disturbed: None,
        };
        (keeper, heard)
    }

    /// Until the registry stops, nothing is wanted any more, or what is wanted gone is gone.
    pub(crate) async fn run(mut self) {
        let stop = self.shared.tasks.stop().clone();
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        while let Some(session) = self.shared.link.connected().await {
            if self.wanted.has_changed().is_err() {
                return;
            }
            let wanted = self.wanted.borrow_and_update().clone();
            self.told.send_if_modified(|told| {
                let before = told.generation != session.generation;
                if before {
                    told.status = Status::Pending;
                }
                before
            });
            let settled = self.settle(&session, &wanted).await;
            let gone = matches!(wanted.wish, Wish::Gone { .. });
            match settled {
                Ok(Settled { status, watcher }) => {
                    self.failures.reset();
                    self.tell(&session, wanted.serial, status);
                    if gone && self.is_last(wanted.serial) {
                        return;
                    }
                    if !self.rest(&session, watcher).await {
                        return;
                    }
                }
                Err(error) => {
                    let passing = error.is_passing();
                    if !passing {
                        tracing::warn!(path = %self.path, %error, "a registration is refused");
                        self.tell(&session, wanted.serial, Status::Failed(error));
                    }
                    let wait = self.failures.next(rand::random());
                    tokio::select! {
                        biased;
                        changed = self.wanted.changed() => if changed.is_err() { return },
                        () = runtime::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Waits until something may have to be done. `false`: nothing is wanted any more.
    async fn rest(&mut self, session: &Session, watcher: Option<OneshotWatcher>) -> bool {
        let mut users = self.shared.link.users();
        let user = self.user;
        let fired = async {
            match watcher {
                Some(watcher) => fired(watcher).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = self.wanted.changed() => return changed.is_ok(),
            _ = users.wait_for(|version| *version != user) => return true,
            () = self.shared.link.over(session) => return true,
            () = fired => {}
        }
        let now = runtime::now();
        let again = self.disturbed.replace(now).is_some_and(|before| now < before + CALM);
        if again {
            runtime::sleep(self.restores.next(rand::random())).await;
        } else {
            self.restores.reset();
        }
        true
    }

    fn tell(&self, session: &Session, serial: u64, status: Status) {
        let generation = session.generation;
        let told = Told { serial, generation, user: self.user, status };
        self.told.send_replace(told);
        self.forget_former_users();
    }

    /// The old identities go when nothing needs them.
    fn forget_former_users(&self) {
        let link = &self.shared.link;
        if !link.has_before() {
            return;
        }
        let (_, version) = link.user();
        let renewed = self.shared.registered().values().all(|r| r.user() == version);
        if renewed {
            link.forget_before(version);
        }
    }

    /// Ends the registration, unless another wish came.
    fn is_last(&self, serial: u64) -> bool {
        let mut registered = self.shared.registered();
        if registered.get(&self.path).is_some_and(|r| r.wanted.borrow().serial != serial) {
            return false;
        }
        registered.remove(&self.path);
        true
    }

    /// Goes step by step towards the wish until nothing is left to do.
    async fn settle(&mut self, session: &Session, wanted: &Wanted) -> Result<Settled, Error> {
        let applied = self.applied == Some(wanted.serial);
        let stays = matches!(wanted.wish, Wish::Set { kind: Kind::Persistent, .. });
        if applied && stays {
            self.renew(session, true).await?;
            return Ok(Settled { status: Status::Applied(self.stat), watcher: None });
        }
        let sessions = self.shared.link.sessions(session);
        for _ in 0..STEPS_MAX {
            let (seen, stat, watcher) = self.look(session).await?;
            let step = step(&wanted.wish, applied, seen.as_ref(), &sessions);
            if applied && !matches!(step, Step::Done | Step::Wait { .. }) {
                self.shared.meters.restored.increment(1);
            }
            match step {
                Step::Done => {
                    self.renew(session, matches!(wanted.wish, Wish::Set { .. })).await?;
                    self.applied = Some(wanted.serial);
                    self.stat = stat;
                    return Ok(Settled { status: Status::Applied(stat), watcher: Some(watcher) });
                }
                Step::Wait { owner } => {
                    self.renew(session, false).await?;
                    let status = Status::Waiting { owner };
                    return Ok(Settled { status, watcher: Some(watcher) });
                }
                Step::Create => {
                    let Wish::Set { kind, bytes, .. } = &wanted.wish else { continue };
                    self.create(session, *kind, bytes).await?;
                }
                Step::Write { version } => {
                    let Wish::Set { bytes, .. } = &wanted.wish else { continue };
                    self.write(session, bytes, version).await?;
                }
                Step::Remove { version } => self.remove(session, version).await?,
            }
        }
        let why = "somebody else changes it all the time".to_owned();
        Err(Error::Refused { path: self.path.clone(), why })
    }

    async fn look(
        &self,
        session: &Session,
    ) -> Result<(Option<Seen>, Option<Stat>, OneshotWatcher), Error> {
        let (client, path) = (&session.client, self.path.as_str());
        for _ in 0..STEPS_MAX {
            match self.shared.call(session, path, || client.get_and_watch_data(path)).await? {
                Ok((bytes, stat, watcher)) => {
                    let (owner, version) = (stat.ephemeral_owner, stat.version);
                    let seen = Seen { owner, data: decode(&bytes), version };
                    return Ok((Some(seen), Some(stat.into()), watcher));
                }
                Err(zookeeper::Error::NoNode) => {}
                Err(error) => return Err(Error::reading(path, &error)),
            }
            let stat =
                self.shared.call(session, path, || client.check_and_watch_stat(path)).await?;
            if let (None, watcher) = stat.map_err(|error| Error::reading(path, &error))? {
                return Ok((None, None, watcher));
            }
        }
        let why = "it comes and goes".to_owned();
        Err(Error::Refused { path: self.path.clone(), why })
    }

    async fn create(&mut self, session: &Session, kind: Kind, bytes: &[u8]) -> Result<(), Error> {
        let mode = match kind {
            Kind::Ephemeral => CreateMode::Ephemeral,
            Kind::Persistent => CreateMode::Persistent,
        };
        let (user, version) = self.shared.link.user();
        let list = acl(user.as_ref());
        let options = mode.with_acls(Acls::new(&list));
        let (client, path) = (&session.client, self.path.as_str());
        let mut made =
            self.shared.call(session, path, || client.create(path, bytes, &options)).await?;
        if made == Err(zookeeper::Error::NoNode) {
            if self.shared.make_parent(session, path, &list).await? {
                self.parent = parent(path).map(ToOwned::to_owned);
            }
            made = self.shared.call(session, path, || client.create(path, bytes, &options)).await?;
        }
        match made {
            Ok(_) => self.user = version,
            // Somebody was faster, or an answer was lost: the next look tells.
            Err(zookeeper::Error::NodeExists) => {}
            Err(error) => return Err(Error::writing(path, &error)),
        }
        Ok(())
    }

    async fn write(&self, session: &Session, bytes: &[u8], version: i32) -> Result<(), Error> {
        let (client, path) = (&session.client, self.path.as_str());
        match self
            .shared
            .call(session, path, || client.set_data(path, bytes, Some(version)))
            .await?
        {
            Ok(_) | Err(zookeeper::Error::BadVersion | zookeeper::Error::NoNode) => Ok(()),
            Err(error) => Err(Error::writing(path, &error)),
        }
    }

    async fn remove(&self, session: &Session, version: Option<i32>) -> Result<(), Error> {
        let (client, path) = (&session.client, self.path.as_str());
        match self.shared.call(session, path, || client.delete(path, version)).await? {
            Ok(()) | Err(zookeeper::Error::BadVersion | zookeeper::Error::NoNode) => Ok(()),
            Err(error) => Err(Error::writing(path, &error)),
        }
    }

    /// Gives the parent that was made for the path the user's access list, and with `own` the path
    /// itself, if another's is there.
    async fn renew(&mut self, session: &Session, own: bool) -> Result<(), Error> {
        let (user, version) = self.shared.link.user();
        if version == self.user {
            return Ok(());
        }
        let list = acl(user.as_ref());
        for path in self.parent.iter().chain(own.then_some(&self.path)) {
            let set = || session.client.set_acl(path, &list, None);
            match self.shared.call(session, path, set).await? {
                Ok(_) | Err(zookeeper::Error::NoNode) => {}
                Err(error) => return Err(Error::writing(path, &error)),
            }
        }
        self.user = version;
        Ok(())
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Shared {
    /// Makes what is above `path`, with `list` for the last of it and everything for everybody above
    /// that. Whether the last one was made.
    pub(crate) async fn make_parent(
        &self,
        session: &Session,
        path: &str,
        list: &[zookeeper::Acl],
    ) -> Result<bool, Error> {
        let client = &session.client;
        let open = open();
        let Some(parent) = parent(path) else {
            // Directly below a root that does not exist: the connection's own root is missing.
            let root = client.path().to_owned();
            let Ok(whole) = client.clone().chroot("/") else { return Ok(false) };
            let options = CreateMode::Persistent.with_acls(Acls::new(&open));
            let made = self.call(session, path, || whole.mkdir(&root, &options)).await?;
            return made.map(|()| false).map_err(|error| Error::writing(&root, &error));
        };
        let last = CreateMode::Persistent.with_acls(Acls::new(list));
        for _ in 0..2 {
            match self.call(session, parent, || client.create(parent, b"", &last)).await? {
                Ok(_) => return Ok(true),
                Err(zookeeper::Error::NodeExists) => return Ok(false),
                Err(zookeeper::Error::NoNode) => {}
                Err(error) => return Err(Error::writing(parent, &error)),
            }
            Box::pin(self.make_parent(session, parent, &open)).await?;
        }
        let why = "what is above it was removed at once".to_owned();
        Err(Error::Refused { path: path.to_owned(), why })
    }
}

/// What is above `path`, unless that is the root.
fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}
