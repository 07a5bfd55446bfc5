//! What is counted. Looked up once.

use metrics::{Counter, counter};

/// The meters of one service registry.
pub(crate) struct Meters {
    /// Sessions begun.
    pub(crate) sessions: Counter,
    /// Sessions that ended without being asked to.
    pub(crate) sessions_lost: Counter,
    /// Registrations made again, because somebody removed or changed them or the session ended.
    pub(crate) restored: Counter,
    /// Calls that were refused: read-only, too many, too large, not allowed.
    pub(crate) refused: Counter,
    /// Registrations put off until the ensemble is there.
    pub(crate) deferred: Counter,
    /// Calls that had to wait for the allowed rate.
    pub(crate) paced: Counter,
    /// Callbacks that panicked.
    pub(crate) callbacks_failed: Counter,
    /// Times the cache file could not be read or written.
    pub(crate) cache_failed: Counter,
    /// Locks that were lost while they were held.
    pub(crate) locks_lost: Counter,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            sessions: counter!("carillon_service_registry_sessions_total"),
            sessions_lost: counter!("carillon_service_registry_sessions_lost_total"),
            restored: counter!("carillon_service_registry_restored_total"),
            refused: counter!("carillon_service_registry_refused_total"),
            deferred: counter!("carillon_service_registry_deferred_total"),
            paced: counter!("carillon_service_registry_paced_total"),
            callbacks_failed: counter!("carillon_service_registry_callbacks_failed_total"),
            cache_failed: counter!("carillon_service_registry_cache_failed_total"),
            locks_lost: counter!("carillon_service_registry_locks_lost_total"),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}
