//! One that stands in a lock's queue: comes to stand there, waits for its turn, watches over what it
//! holds, leaves.
//!
//! It is bound to one session. Every answer may be lost, and none of that may leave a child behind that
//! nobody removes: it would keep everybody out for as long as the session lives.

use std::sync::Arc;
use std::time::Duration;

use runtime::{Backoff, Instant, Stop};
use tokio::sync::watch;
use zookeeper::{Acls, CreateMode};

use super::Error;
use super::link::{Session, fired};
use super::lock::Held;
use super::queue::{Place, place};
use super::reading::below;
use super::shared::Shared;
use super::user::acl;

/// How soon an interrupted step is tried again, and how rarely at last.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(50);
pub(crate) const RETRY_CAP: Duration = Duration::from_secs(2);

/// A place in the queue of a lock, or the wish for one.
#[derive(Clone)]
pub(crate) struct Queued {
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Session,
    pub(crate) path: String,
    /// What its child's name begins with; nobody else's does.
    pub(crate) unique: String,
}

impl Queued {
    /// Makes our child, once, however often the answer is lost.
    pub(crate) async fn enqueue(&self, data: &[u8]) -> Result<(String, i64), Error> {
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
    pub(crate) async fn wait_for_turn(
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
    pub(crate) async fn watch_over(self, told: watch::Sender<Held>, stop: Stop) {
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
    pub(crate) async fn leave(self) {
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
