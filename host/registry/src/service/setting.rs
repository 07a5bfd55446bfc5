//! What a program sets and takes back.
//!
//! A call leaves a wish with the path's task ([`super::keeping`]) and waits, for as long as a call may
//! take, to hear what became of it. The wish outlives the call.

use std::sync::Arc;

use tokio::sync::watch;

use super::data::Data;
use super::entry::Stat;
use super::keeping::Keeper;
use super::link::State;
use super::registration::{Kind, Wish};
use super::shared::{DATA_BYTES_MAX, check_path};
use super::{Error, ServiceRegistry, User};

/// A path that is set, or about to be.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) wanted: watch::Sender<Wanted>,
    told: watch::Receiver<Told>,
}

impl Registered {
    /// Whose access list it has.
    pub(crate) fn user(&self) -> u64 {
        self.told.borrow().user
    }
}

/// The latest wish.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) serial: u64,
    pub(crate) wish: Wish,
}

/// What became of a wish.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) serial: u64,
    /// The session in which it was fulfilled.
    pub(crate) generation: u64,
    /// The user whose access list it has.
    pub(crate) user: u64,
    pub(crate) status: Status,
}

/// How a registration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not made yet: there is no connection, or it is on its way.
    Pending,
    /// As wanted. The figures are those of when it was last looked at; `None`: nothing stands there,
    /// as wanted.
    Applied(Option<Stat>),
    /// Somebody else's stands there; it is made when that goes.
    Waiting {
        /// The session it goes with; 0: none, somebody has to remove it.
        owner: i64,
    },
    /// Refused. It is tried again from time to time.
    Failed(Error),
}

/// What a call to set or unset did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the figures are those of what stands there now, if something does.
    Applied(Option<Stat>),
    /// There is no connection: it is done when there is one, unless another wish for the path comes
    /// first.
    Deferred,
    /// Somebody else's stands there: it is done when that goes.
    Waiting {
        /// The session it goes with; 0: none, somebody has to remove it.
        owner: i64,
    },
}

impl ServiceRegistry {
    /// Sets `path`: `data` with `pid` and `created` stands there. What is ephemeral is made again
    /// whenever it is gone or changed, until it is unset or the registry closed; what is persistent is
    /// written once, if it does not say the same already, and belongs to everybody then.
    ///
    /// Parents that are missing are made; only the last of them gets the user's access list.
    ///
    /// # Errors
    /// [`Error::NoConnection`], unless the registry is lazy, which defers; [`Error::ReadOnly`],
    /// [`Error::NoAuth`], [`Error::InvalidPath`], [`Error::TooLarge`], [`Error::TooMany`],
    /// [`Error::UnderEphemeral`]: nothing is wanted then. [`Error::Unknown`]: the wish stays.
    pub async fn set(&self, path: &str, data: &Data, kind: Kind) -> Result<Outcome, Error> {
        let bytes = data.encode(&self.shared().stamp);
        if bytes.len() > DATA_BYTES_MAX {
            let what = format!("{} bytes, and {DATA_BYTES_MAX} fit", bytes.len());
            let refused = Err(Error::TooLarge { path: path.to_owned(), what });
            return self.shared().counted(refused);
        }
        let wish = Wish::Set { kind, bytes, own: data.own() };
        self.wish(path, |_| wish).await
    }

    /// Takes `path` back: nothing stands there, whoever set it. Only what somebody else holds in place
    /// of an ephemeral of this registry is left alone.
    ///
    /// # Errors
    /// As [`ServiceRegistry::set`], and [`Error::NotEmpty`].
    pub async fn unset(&self, path: &str) -> Result<Outcome, Error> {
        self.wish(path, |before| {
            let was = before.and_then(|wish| match wish {
                Wish::Set { kind, .. } => Some(*kind),
                Wish::Gone { was } => *was,
            });
            Wish::Gone { was }
        })
        .await
    }

    /// Wants nothing of `path` any more, and leaves what stands there. An ephemeral still goes with
    /// the session.
    pub fn release(&self, path: &str) {
        self.shared().registered().remove(path);
    }

    /// Every path that is set or about to be, with how it is.
    pub fn registrations(&self) -> Vec<(String, Status)> {
        let registered = self.shared().registered();
        registered
            .iter()
            .map(|(path, registered)| {
                let (told, wanted) = (registered.told.borrow(), registered.wanted.borrow());
                let current = told.serial == wanted.serial;
                let status = if current { told.status.clone() } else { Status::Pending };
                (path.clone(), status)
            })
            .collect()
    }

    /// Becomes another user, or nobody in particular. What this registry set, and the parents it made,
    /// get the new access list. Returns how many of its registrations have it; the others get it when
    /// they can be reached, and the connection stays the old user, too, until then.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Closed`].
    pub async fn become_user(&self, user: Option<User>) -> Result<Renewed, Error> {
        let shared = self.shared();
        if matches!(&*shared.link.state().borrow(), State::Closed) {
            return Err(Error::Closed);
        }
        shared.link.become_user(user).await;
        let (_, version) = shared.link.user();
        Ok(self.settled(|told| told.user == version).await)
    }

    /// Gives the session up and makes a new one: everything ephemeral is made again in it, everything
    /// watched is read again. Locks are lost.
    ///
    /// # Errors
    /// [`Error::NoConnection`] when that takes longer than a call may; it goes on then.
    pub async fn rebuild(&self) -> Result<Renewed, Error> {
        let shared = self.shared();
        let before = match &*shared.link.state().borrow() {
            State::Closed => return Err(Error::Closed),
            State::Connected { session, .. } | State::Suspended { session } => session.generation,
            State::Connecting { .. } => 0,
        };
        shared.link.rebuild();
        let mut state = shared.link.state();
        let newer = state.wait_for(|state| match state {
            State::Connected { session, .. } => session.generation > before,
            State::Closed => true,
            State::Connecting { .. } | State::Suspended { .. } => false,
        });
        let why = "the new session takes its time".to_owned();
        match runtime::timeout(shared.config.timeout, newer).await {
            Ok(_) => {}
            Err(_elapsed) => return Err(Error::NoConnection { why }),
        }
        let generation = shared.link.session()?.generation;
        Ok(self.settled(|told| told.generation >= generation).await)
    }

    /// Waits, for as long as a call may take, until all registrations are as they should be.
    async fn settled(&self, is: impl Fn(&Told) -> bool) -> Renewed {
        let shared = self.shared();
        let deadline = runtime::now() + shared.config.timeout;
        let receivers: Vec<_> =
            shared.registered().values().map(|registered| registered.told.clone()).collect();
        let mut renewed = Renewed { done: 0, pending: 0 };
        for mut told in receivers {
            let left = deadline.saturating_duration_since(runtime::now());
            match runtime::timeout(left, told.wait_for(|told| is(told))).await {
                Ok(_) => renewed.done += 1,
                Err(_elapsed) => renewed.pending += 1,
            }
        }
        renewed
    }

    async fn wish(
        &self,
        path: &str,
        wish: impl FnOnce(Option<&Wish>) -> Wish,
    ) -> Result<Outcome, Error> {
        let shared = self.shared();
        let lazy = shared.config.lazy;
        shared.counted(self.may_change(path))?;
        let connected = shared.link.session().map(drop);
        if let Err(error) = &connected
            && (!lazy || *error == Error::Closed)
        {
            return Err(error.clone());
        }
        let (serial, mut told) = shared.counted(self.leave(path, wish))?;
        if connected.is_err() {
            shared.meters.deferred.increment(1);
            return Ok(Outcome::Deferred);
        }
        let settled = told.wait_for(|told| told.serial >= serial && told.status != Status::Pending);
        let status = match runtime::timeout(shared.config.timeout, settled).await {
            Ok(Ok(told)) if told.serial == serial => told.status.clone(),
            // Fulfilled and over, or followed by another wish.
            Ok(Ok(_) | Err(_)) => Status::Applied(None),
            Err(_elapsed) if lazy => return Ok(Outcome::Deferred),
            Err(_elapsed) => return Err(Error::Unknown { path: path.to_owned() }),
        };
        match status {
            Status::Applied(stat) => Ok(Outcome::Applied(stat)),
            Status::Waiting { owner } => Ok(Outcome::Waiting { owner }),
            Status::Pending => Ok(Outcome::Deferred),
            Status::Failed(error) => {
                let mut registered = shared.registered();
                if registered.get(path).is_some_and(|r| r.wanted.borrow().serial == serial) {
                    registered.remove(path);
                }
                drop(registered);
                shared.counted(Err(error))
            }
        }
    }

    pub(crate) fn may_change(&self, path: &str) -> Result<(), Error> {
        check_path(path)?;
        if path == "/" {
            let why = "the root is always there".to_owned();
            return Err(Error::InvalidPath { path: path.to_owned(), why });
        }
        let read_only = |why| Err(Error::ReadOnly { path: path.to_owned(), why });
        if self.shared().config.read_only {
            return read_only("the registry was opened for reading");
        }
        Ok(())
    }

    /// Leaves a wish with the path's task.
    fn leave(
        &self,
        path: &str,
        wish: impl FnOnce(Option<&Wish>) -> Wish,
    ) -> Result<(u64, watch::Receiver<Told>), Error> {
        let shared = self.shared();
        let mut registered = shared.registered();
        if let Some(registered) = registered.get(path) {
            let mut serial = 0;
            registered.wanted.send_modify(|wanted| {
                serial = wanted.serial + 1;
                *wanted = Wanted { serial, wish: wish(Some(&wanted.wish)) };
            });
            return Ok((serial, registered.told.clone()));
        }
        let max = shared.config.bounds.set_max;
        if registered.len() >= max {
            return Err(Error::TooMany { what: "set", max });
        }
        let (wanted, wish) = watch::channel(Wanted { serial: 1, wish: wish(None) });
        let (keeper, told) = Keeper::new(Arc::clone(shared), path, wish);
        registered.insert(path.to_owned(), Registered { wanted, told: told.clone() });
        drop(registered);
        shared.tasks.spawn("registry registration", keeper.run());
        Ok((1, told))
    }
}

/// How far a change of all registrations has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Registrations that have it.
    pub done: usize,
    /// Registrations that get it when they can.
    pub pending: usize,
}
