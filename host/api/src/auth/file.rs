//! The key set's file, and what becomes of it.
//!
//! It is read again every few seconds, and when a token names a key that is not there, so that a new key
//! is known when its first token comes. A file that is gone or cannot be used changes nothing: the keys
//! from before stay, a gauge says so and so does the log, again and again. That is the side on which
//! clients go on; a key that must not be used any more is gone only once a good file says so.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::metrics::{Counter, Gauge};
use runtime::{Instant, Stop};
use tokio::sync::Mutex;

use super::keys::{FILE_BYTES_MAX, KeySet, KeySetError};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon it is looked at again because of a token. Anybody can make up the name of a key.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often a broken file is spoken of.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A key set in a file.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    current: RwLock<Arc<KeySet>>,
    looked: Mutex<Looked>,
    counters: Counters,
}

/// The last look at the file.
#[derive(Debug)]
struct Looked {
    at: Instant,
    /// What was in it the last time that it was good.
    bytes: Vec<u8>,
    /// What is wrong with it, and when that was last told.
    problem: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Counters {
    changed: Counter,
    failed: Counter,
    /// 1 while the keys are not those of the file.
    stale: Gauge,
    keys: Gauge,
}

impl KeyFile {
    /// Reads the file for the first time.
    pub(super) fn open(path: &Path) -> Result<Self, KeySetError> {
        let bytes = read(path)?;
        let keys = KeySet::parse(&bytes)?;
        if keys.len() == 0 {
            return Err(KeySetError::Empty);
        }
        let counters = Counters::new();
        counters.says(&keys);
        Ok(Self {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(keys)),
            looked: Mutex::new(Looked { at: runtime::now(), bytes, problem: None }),
            counters,
        })
    }

    /// The keys of now.
    pub(super) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the file until the node stops.
    pub(super) async fn follow(&self, stop: &Stop) {
        while !stop.is_stopped() {
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                () = runtime::sleep(LOOK_EVERY) => self.look(Duration::ZERO).await,
            }
        }
    }

    /// Looks at the file because a token names a key that is not there, unless it was looked at just now.
    pub(super) async fn look_again(&self) {
        self.look(LOOK_AGAIN_AFTER).await;
    }

    /// Looks at the file, if that was not done within `at_rest`.
    async fn look(&self, at_rest: Duration) {
        let mut looked = self.looked.lock().await;
        if runtime::now().saturating_duration_since(looked.at) < at_rest {
            return;
        }
        let path = self.path.clone();
        let Some(read) = runtime::blocking(move || read(&path)).await else { return };
        looked.at = runtime::now();
        let parsed = match read {
            Ok(bytes) if bytes == looked.bytes => Ok(None),
            Ok(bytes) => KeySet::parse(&bytes).map(|keys| Some((keys, bytes))),
            Err(error) => Err(error),
        };
        match parsed {
            Ok(None) => {}
            Ok(Some((keys, bytes))) => {
                looked.bytes = bytes;
                self.replace(keys);
            }
            Err(error) => return self.keep(&mut looked, &error),
        }
        if looked.problem.take().is_some() {
            self.counters.stale.set(0.0);
            tracing::info!(file = %self.path.display(), "the key set can be read again");
        }
    }

    fn replace(&self, keys: KeySet) {
        let (file, count) = (self.path.display(), keys.len());
        if count == 0 {
            tracing::error!(%file, "the key set has no keys any more: every token is refused");
        } else {
            tracing::info!(%file, keys = count, "the key set has changed");
        }
        self.counters.says(&keys);
        self.counters.changed.increment(1);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Goes on with the keys from before.
    fn keep(&self, looked: &mut Looked, error: &KeySetError) {
        self.counters.failed.increment(1);
        self.counters.stale.set(1.0);
        let cause = std::error::Error::source(error);
        let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        let now = runtime::now();
        let told = looked.problem.as_ref().is_some_and(|(before, at)| {
            *before == text && now.saturating_duration_since(*at) < TELL_EVERY
        });
        if !told {
            tracing::error!(
                file = %self.path.display(), error = text,
                "the key set cannot be used: the keys from before stay, also those that were removed"
            );
            looked.problem = Some((text, now));
        }
    }
}

impl Counters {
    fn new() -> Self {
        let reads = |result: &'static str| ::metrics::counter!("carillon_auth_key_set_reads_total", "result" => result);
        Self {
            changed: reads("changed"),
            failed: reads("failed"),
            stale: ::metrics::gauge!("carillon_auth_key_set_stale"),
            keys: ::metrics::gauge!("carillon_auth_keys"),
        }
    }

    fn says(&self, keys: &KeySet) {
        self.keys.set(f64::from(u32::try_from(keys.len()).unwrap_or(u32::MAX)));
    }
}

/// The bytes of the file, and one more than there may be if there are too many.
fn read(path: &Path) -> Result<Vec<u8>, KeySetError> {
    let bound = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    // A pipe would be waited for, without end.
    let opened = std::fs::metadata(path).and_then(|found| match found.is_file() {
        true => std::fs::File::open(path),
        false => Err(std::io::Error::other("it is not a plain file")),
    });
    match opened.and_then(|file| file.take(bound).read_to_end(&mut bytes)) {
        Ok(_count) => Ok(bytes),
        Err(source) => Err(KeySetError::File { file: path.display().to_string(), source }),
    }
}
