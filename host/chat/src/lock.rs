//! Short locks. One that a panic poisoned is used on: the panic has stopped the node, and what the lock
//! guards is only changed in steps that cannot fail half-way.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock that is never held across a wait.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
