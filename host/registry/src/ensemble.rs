//! What every user of a ZooKeeper ensemble does with the client crate: connect in bounded time, follow a
//! session to its end, survive a client that is gone.
//!
//! A session that is over is over for good; what follows from that is each user's own
//! ([`crate::zookeeper`] for the cluster's records, [`crate::service`] for other programs).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ::zookeeper::{Client, Connector, Error, SessionState};

/// A connection attempt to all servers in a row may take this many session timeouts, whatever they do.
const ATTEMPT_SESSIONS: u32 = 3;

/// A client with a session of its own, or why there is none; nobody is asked twice.
pub(crate) async fn connect(
    connector: Connector,
    servers: &str,
    session: Duration,
) -> Result<Client, Error> {
    let connector = connector.with_session_timeout(session).with_fail_eagerly();
    let attempt = Box::pin(connector.connect(servers));
    let attempt = runtime::timeout(session * ATTEMPT_SESSIONS, attempt).await;
    attempt.unwrap_or(Err(Error::Timeout))
}

/// Tells how the session is, now and whenever that changes, until it is over; returns how it ended.
/// Cancel-safe. A client whose own task is gone never ends here: its next answer says so.
pub(crate) async fn follow(client: &Client, mut tell: impl FnMut(SessionState)) -> SessionState {
    let mut watcher = client.state_watcher();
    let mut state = client.state();
    while !state.is_terminated() {
        tell(state);
        state = watcher.changed().await;
    }
    state
}

/// What `waited`, a watcher's next event, comes to; `None` when the client is gone. The crate panics
/// then.
pub(crate) async fn unless_gone<T>(waited: impl Future<Output = T>) -> Option<T> {
    let mut waited = pin!(waited);
    std::future::poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| waited.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Ready(event)) => Poll::Ready(Some(event)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_panic) => Poll::Ready(None),
        }
    })
    .await
}
