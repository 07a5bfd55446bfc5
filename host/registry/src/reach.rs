//! Whether a session reaches its registry: as the registry says, unless somebody cut it off on purpose.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch as state;

use crate::SessionState;

#[derive(Debug)]
pub(crate) struct Reach {
    parts: Mutex<Parts>,
    published: state::Sender<SessionState>,
}

#[derive(Debug)]
struct Parts {
    connected: bool,
    cut: bool,
}

impl Reach {
    pub(crate) fn new(connected: bool) -> Self {
        let parts = Parts { connected, cut: false };
        let published = state::Sender::new(parts.state());
        Self { parts: Mutex::new(parts), published }
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        let mut parts = self.lock();
        parts.connected = connected;
        self.publish(&parts);
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        let mut parts = self.lock();
        parts.cut = cut;
        self.publish(&parts);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.lock().cut
    }

    pub(crate) fn is_connected(&self) -> bool {
        *self.published.borrow() == SessionState::Connected
    }

    pub(crate) fn subscribe(&self) -> state::Receiver<SessionState> {
        self.published.subscribe()
    }

    fn publish(&self, parts: &Parts) {
        let state = parts.state();
        self.published.send_if_modified(|published| {
            let news = *published != state;
            *published = state;
            news
        });
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    fn state(&self) -> SessionState {
        if self.connected && !self.cut {
            SessionState::Connected
        } else {
            SessionState::Disconnected
        }
    }
}
