//! What every part of one service registry uses: its connection, its allowance, its tables.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::Tasks;

use super::data::Stamp;
use super::following::Followed;
use super::link::{Link, Session};
use super::meters::Meters;
use super::rate::Rate;
use super::remembering::Memory;
use super::setting::Registered;
use super::{Config, Error};

/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Longest data, in bytes, with `pid` and `created`: what ZooKeeper takes in one request by default,
/// less a path and its envelope.
pub(crate) const DATA_BYTES_MAX: usize = (1 << 20) - (4 << 10);

/// What every part of one service registry uses.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) link: Link,
    pub(crate) meters: Arc<Meters>,
    pub(crate) tasks: Tasks,
    pub(crate) stamp: Stamp,
    pub(crate) memory: Option<Memory>,
    rate: Mutex<Rate>,
    watched: Mutex<BTreeMap<String, Followed>>,
    registered: Mutex<BTreeMap<String, Registered>>,
}

impl Shared {
    pub(crate) fn new(config: Config, link: Link, tasks: Tasks, memory: Option<Memory>) -> Self {
        let bounds = config.bounds;
        let rate = Rate::new(bounds.calls_per_second, bounds.calls_at_once, runtime::now());
        Self {
            config,
            link,
            meters: Arc::new(Meters::new()),
            tasks,
            stamp: Stamp::now(),
            memory,
            rate: Mutex::new(rate),
            watched: Mutex::default(),
            registered: Mutex::default(),
        }
    }

    /// One call to the ensemble, when its turn comes, with the time a call has. The inner error is the
    /// ensemble's; time that ran out is one of them.
    pub(crate) async fn call<T, F>(
        &self,
        session: &Session,
        path: &str,
        make: impl FnOnce() -> F,
    ) -> Result<Result<T, zookeeper::Error>, Error>
    where
        F: Future<Output = Result<T, zookeeper::Error>>,
    {
        self.pace(path).await?;
        // The client sends when a call is made, so it is made only here.
        match runtime::timeout(self.config.timeout, make()).await {
            Ok(answer) => {
                if let Err(
                    zookeeper::Error::SessionExpired
                    | zookeeper::Error::AuthFailed
                    | zookeeper::Error::ClientClosed
                    | zookeeper::Error::UnexpectedError(_),
                ) = &answer
                {
                    self.link.doubt(session);
                }
                Ok(answer)
            }
            Err(_elapsed) => Ok(Err(zookeeper::Error::Timeout)),
        }
    }

    async fn pace(&self, path: &str) -> Result<(), Error> {
        let mut waited = Duration::ZERO;
        loop {
            let taken = locked(&self.rate).take(runtime::now());
            let Err(wait) = taken else { return Ok(()) };
            if waited.is_zero() {
                self.meters.paced.increment(1);
            }
            if waited + wait > self.config.timeout {
                self.meters.refused.increment(1);
                return Err(Error::Busy { path: path.to_owned(), waited });
            }
            runtime::sleep(wait).await;
            waited += wait;
        }
    }

    pub(crate) fn watched(&self) -> MutexGuard<'_, BTreeMap<String, Followed>> {
        locked(&self.watched)
    }

    pub(crate) fn registered(&self) -> MutexGuard<'_, BTreeMap<String, Registered>> {
        locked(&self.registered)
    }

    /// Runs a program's callback: one that panics costs its own call and nothing else.
    pub(crate) fn isolated(&self, callback: impl FnOnce()) {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(callback)).is_err() {
            self.meters.callbacks_failed.increment(1);
            tracing::error!("a callback of the service registry panicked");
        }
    }

    /// Counts what was refused.
    pub(crate) fn counted<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if matches!(
            result,
            Err(Error::ReadOnly { .. }
                | Error::InvalidPath { .. }
                | Error::TooLarge { .. }
                | Error::TooMany { .. }
                | Error::NoAuth { .. }
                | Error::NotEmpty { .. }
                | Error::UnderEphemeral { .. }
                | Error::Refused { .. })
        ) {
            self.meters.refused.increment(1);
        }
        result
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `path` is one, without asking anybody.
///
/// # Errors
/// [`Error::InvalidPath`].
pub fn check_path(path: &str) -> Result<(), Error> {
    let bad = |why: &str| {
        let path = path.chars().take(PATH_BYTES_MAX).collect();
        Err(Error::InvalidPath { path, why: why.to_owned() })
    };
    if path == "/" {
        return Ok(());
    }
    let Some(parts) = path.strip_prefix('/') else { return bad("it begins with a slash") };
    if path.len() > PATH_BYTES_MAX {
        return bad("it is longer than 1,024 bytes");
    }
    if parts.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return bad("its parts are neither empty nor dots");
    }
    let odd = |letter: char| {
        letter.is_control() || matches!(letter, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
    };
    if path.chars().any(odd) {
        return bad("it has a letter that ZooKeeper does not take");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_path;

    #[test]
    fn paths_are_judged_before_anybody_is_asked() {
        for path in ["/", "/a", "/a/b.c/d:1", "/ü", "/…"] {
            assert_eq!(check_path(path), Ok(()), "{path:?}");
        }
        for path in ["", "a", "/a/", "//a", "/a//b", "/a/../b", "/.", "/a\u{0}", "/\u{f000}"] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        assert!(check_path(&format!("/{}", "a".repeat(1024))).is_err());
    }
}
