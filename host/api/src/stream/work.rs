//! What takes time on a socket: questions that wait, and messages on their way.
//!
//! Each is a future in one set, so that a socket needs no task beside its own.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use model::ChatToken;

use super::follow::{First, Follower, Heard};
use crate::problem::Problem;

/// What has come of it.
pub(super) enum Done {
    /// A chat's reader has heard something. Boxed with the reader, who is asked again.
    Heard(Box<(ChatToken, Follower, Heard)>),
    /// A chat is followed, or is not to be followed.
    Followed(Box<(ChatToken, Follower, Result<First, Problem>)>),
    /// A message has an answer, or what is not written was refused.
    Sent(Option<String>),
    /// Nobody wants to know any more.
    Dropped,
}

/// All of it.
#[derive(Default)]
pub(super) struct Work {
    all: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    /// How much of it will be [`Done::Sent`].
    sends: usize,
}

impl Work {
    /// A message goes its way. It is not called back.
    pub(super) fn send(&mut self, work: impl Future<Output = Option<String>> + Send + 'static) {
        self.sends += 1;
        self.all.push(Box::pin(async move { Done::Sent(work.await) }));
    }

    /// Somebody waits, until what is given back says that it is in vain.
    pub(super) fn wait(&self, work: impl Future<Output = Done> + Send + 'static) -> AbortHandle {
        let (abort, registration) = AbortHandle::new_pair();
        let work = Abortable::new(work, registration);
        self.all.push(Box::pin(async move { work.await.unwrap_or(Done::Dropped) }));
        abort
    }

    /// How many messages are on their way.
    pub(super) fn sends(&self) -> usize {
        self.sends
    }

    /// What has come to its end; `None` when nothing is under way. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Done> {
        let done = self.all.next().await?;
        if matches!(done, Done::Sent(_)) {
            self.sends = self.sends.saturating_sub(1);
        }
        Some(done)
    }
}
