//! The connection to the ensemble: one session after the other, for as long as the registry is open.
//!
//! A connection that breaks is mended by the client crate within the session. A session that is over is
//! over for good, with everything ephemeral of it: then a new one is made here, and whoever follows
//! [`Link::state`] sees another generation and sets, reads and watches anew. Nothing else in this folder
//! makes a client or gives one up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{Backoff, Stop};
use tokio::sync::{Notify, watch};
use zookeeper::{Client, OneshotWatcher, SessionState};

use super::meters::Meters;
use super::registration::Sessions;
use super::{Config, Error, User};
use crate::ensemble;

/// How soon a connection is tried again, and how rarely at last: an ensemble that restarts is back in
/// seconds, and a thousand programs that wait for it should not all knock at once.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Ended sessions remembered: the ensemble forgets each within its time-out, and they are made one
/// after the other.
const EARLIER_MAX: usize = 16;
/// Former users kept until what they set is renewed: more changes than this while the ensemble is away
/// leave the oldest one's access lists as they are.
const BEFORE_MAX: usize = 8;
/// How long a goodbye may take. Without it the ensemble waits for the session's time-out.
const GOODBYE: Duration = Duration::from_secs(1);

/// How the connection is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// There is no session. `tried`: it was attempted at least once.
    Connecting { why: String, tried: bool },
    /// Calls are answered.
    Connected { session: Session, read_only: bool },
    /// The connection broke; the session may still live.
    Suspended { session: Session },
    /// The registry was closed.
    Closed,
}

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    /// Counts sessions, from 1.
    pub(crate) generation: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    state: watch::Sender<State>,
    rebuild: Notify,
    /// Up to this generation sessions are over, whatever their clients say.
    doubted: watch::Sender<u64>,
    who: Mutex<Who>,
    /// Counts changes of the user.
    users: watch::Sender<u64>,
    earlier: Mutex<VecDeque<i64>>,
}

/// Who the program is now, and who it was while that still matters.
#[derive(Debug, Default)]
struct Who {
    user: Option<User>,
    /// What was set as one of these may not have got the new access list yet.
    before: Vec<User>,
}

impl Link {
    pub(crate) fn new(config: &Config) -> Self {
        let why = "it was not tried yet".to_owned();
        let connecting = State::Connecting { why, tried: false };
        let who = Who { user: config.user.clone(), before: Vec::new() };
        let shared = Shared {
            config: config.clone(),
            state: watch::Sender::new(connecting),
            rebuild: Notify::new(),
            doubted: watch::Sender::new(0),
            who: Mutex::new(who),
            users: watch::Sender::new(0),
            earlier: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Follows how it is.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// The session, when calls are answered now.
    ///
    /// # Errors
    /// [`Error::NoConnection`] with what the connection says; [`Error::Closed`].
    pub(crate) fn session(&self) -> Result<Session, Error> {
        match &*self.shared.state.borrow() {
            State::Connected { session, .. } => Ok(session.clone()),
            State::Connecting { why, .. } => Err(Error::NoConnection { why: why.clone() }),
            State::Suspended { .. } => {
                Err(Error::NoConnection { why: "the connection broke".to_owned() })
            }
            State::Closed => Err(Error::Closed),
        }
    }

    /// Waits until calls are answered. `None` when the registry is closed. Cancel-safe.
    pub(crate) async fn connected(&self) -> Option<Session> {
        let mut state = self.state();
        let state = state.wait_for(|state| state.is_connected() || state.is_closed()).await.ok()?;
        match &*state {
            State::Connected { session, .. } => Some(session.clone()),
            _ => None,
        }
    }

    /// Waits until `session` is interrupted or over. Cancel-safe.
    pub(crate) async fn interrupted(&self, session: &Session) {
        let mut state = self.state();
        // The sender lives as long as this.
        _ = state.wait_for(|state| !state.is_of(session)).await;
    }

    /// Waits until `session` is over for good. Cancel-safe.
    pub(crate) async fn over(&self, session: &Session) {
        let mut state = self.state();
        let lives = |state: &State| match state {
            State::Connected { session: now, .. } | State::Suspended { session: now } => {
                now.generation == session.generation
            }
            State::Connecting { .. } | State::Closed => false,
        };
        _ = state.wait_for(|state| !lives(state)).await;
    }

    /// `session` gave an answer that only one gives that is over, or whose client has ended without a
    /// word: it is given up, unless another took its place.
    pub(crate) fn doubt(&self, session: &Session) {
        self.shared.doubted.send_if_modified(|doubted| {
            let news = *doubted < session.generation;
            *doubted = (*doubted).max(session.generation);
            news
        });
    }

    /// Gives the session up and makes a new one.
    pub(crate) fn rebuild(&self) {
        self.shared.rebuild.notify_one();
    }

    /// Whose what is set now is, and how often that changed.
    pub(crate) fn user(&self) -> (Option<User>, u64) {
        let who = self.who();
        (who.user.clone(), *self.shared.users.borrow())
    }

    /// Follows how often the user changed.
    pub(crate) fn users(&self) -> watch::Receiver<u64> {
        self.shared.users.subscribe()
    }

    /// Another user, from now on. What was set before is given the new access list under the old
    /// identity, which the connection therefore keeps until [`Link::forget_before`].
    pub(crate) async fn become_user(&self, user: Option<User>) {
        {
            let mut who = self.who();
            if who.user == user {
                return;
            }
            if let Some(before) = who.user.take() {
                who.before.insert(0, before);
                who.before.truncate(BEFORE_MAX);
            }
            who.user = user.clone();
        }
        let session = match &*self.shared.state.borrow() {
            State::Connected { session, .. } | State::Suspended { session } => {
                Some(session.clone())
            }
            State::Connecting { .. } | State::Closed => None,
        };
        if let (Some(user), Some(session)) = (user, session) {
            let shown = user.shown();
            // Queued at once, before whatever is asked next, also while the connection is broken; shown
            // again by the client itself after every interruption; a refusal ends the session.
            let answer = session.client.auth("digest", &shown);
            if self.session().is_ok() {
                _ = runtime::timeout(self.shared.config.timeout, answer).await;
            }
        }
        // Told last: who renews an access list now can.
        self.shared.users.send_modify(|version| *version += 1);
    }

    /// Whether the connection still is somebody else, too, for the sake of what they set.
    pub(crate) fn has_before(&self) -> bool {
        !self.who().before.is_empty()
    }

    /// Nothing is left that only the users before could change.
    pub(crate) fn forget_before(&self, version: u64) {
        let mut who = self.who();
        if *self.shared.users.borrow() == version {
            who.before.clear();
        }
    }

    /// `session`, and those before it.
    pub(crate) fn sessions(&self, session: &Session) -> Sessions {
        let earlier = self.shared.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        let current = session.client.session_id().0;
        let earlier = earlier.iter().copied().filter(|id| *id != current).collect();
        Sessions { current, earlier }
    }

    /// Makes session after session until `stop`.
    pub(crate) async fn keep(self, stop: Stop, meters: Arc<Meters>) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        let mut generation = 0;
        loop {
            let (_, user) = self.user();
            let made = tokio::select! {
                biased;
                () = stop.stopped() => break,
                made = self.connect() => made,
            };
            if made.is_ok() && self.user().1 != user {
                // It was shown a user that is not the user any more.
                continue;
            }
            match made {
                Ok(client) => {
                    backoff.reset();
                    generation += 1;
                    meters.sessions.increment(1);
                    if !self.follow(Session { client, generation }, &stop).await {
                        break;
                    }
                    meters.sessions_lost.increment(1);
                }
                Err(error) => {
                    let servers = &self.shared.config.servers;
                    tracing::debug!(%servers, %error, "the ensemble cannot be reached");
                    let why = match error {
                        zookeeper::Error::NoHosts => format!("nobody answers at {servers}"),
                        error => format!("{servers}: {error}"),
                    };
                    self.shared.state.send_replace(State::Connecting { why, tried: true });
                }
            }
            tokio::select! {
                biased;
                () = stop.stopped() => break,
                () = self.shared.rebuild.notified() => {}
                () = runtime::sleep(backoff.next(rand::random())) => {}
            }
        }
        self.say_goodbye().await;
    }

    /// Follows one session to its end. `false`: the registry is to stop.
    async fn follow(&self, session: Session, stop: &Stop) -> bool {
        let id = session.client.session_id();
        tracing::info!(session = %id, "connected to the ensemble");
        let mut doubted = self.shared.doubted.subscribe();
        tokio::select! {
            biased;
            () = stop.stopped() => return false,
            () = self.shared.rebuild.notified() => {
                tracing::info!(session = %id, "the session is given up, as was asked");
            }
            _ = doubted.wait_for(|doubted| *doubted >= session.generation) => {
                tracing::warn!(session = %id, "the session ended without a word: a new one is made");
            }
            state = ensemble::follow(&session.client, |state| self.publish(&session, state)) => {
                tracing::warn!(session = %id, %state, "the session is over: a new one is made");
            }
        }
        let mut earlier = self.shared.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        earlier.push_front(id.0);
        earlier.truncate(EARLIER_MAX);
        let why = "the session is over".to_owned();
        self.shared.state.send_replace(State::Connecting { why, tried: true });
        true
    }

    fn publish(&self, session: &Session, state: SessionState) {
        let session = session.clone();
        let state = match state {
            SessionState::SyncConnected => State::Connected { session, read_only: false },
            SessionState::ConnectedReadOnly => State::Connected { session, read_only: true },
            SessionState::Disconnected
            | SessionState::AuthFailed
            | SessionState::Expired
            | SessionState::Closed => State::Suspended { session },
        };
        self.shared.state.send_replace(state);
    }

    async fn connect(&self) -> Result<Client, zookeeper::Error> {
        let config = &self.shared.config;
        let mut connector = Client::connector().with_readonly(config.read_only);
        {
            let who = self.who();
            for user in who.before.iter().chain(&who.user) {
                connector = connector.with_auth("digest", &user.shown());
            }
        }
        ensemble::connect(connector, &config.servers, config.session).await
    }

    /// Gives up the last client, and waits until the ensemble knows: then what is ephemeral is gone.
    async fn say_goodbye(&self) {
        let last = self.shared.state.send_replace(State::Closed);
        let (State::Connected { session, .. } | State::Suspended { session }) = last else {
            return;
        };
        let mut watcher = session.client.state_watcher();
        drop(session);
        let closed = async {
            while !watcher.state().is_terminated() {
                watcher.changed().await;
            }
        };
        // An ensemble that cannot be reached learns it from the session's time-out.
        _ = runtime::timeout(GOODBYE, closed).await;
    }

    fn who(&self) -> MutexGuard<'_, Who> {
        self.shared.who.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Whether calls of `session` are answered.
    fn is_of(&self, session: &Session) -> bool {
        matches!(self, Self::Connected { session: now, .. } if now.generation == session.generation)
    }
}

/// Waits until `watcher` fires. A client that is gone counts: the next call finds out.
pub(crate) async fn fired(watcher: OneshotWatcher) {
    _ = ensemble::unless_gone(watcher.changed()).await;
}
