//! Connections at rest, ready for the next request.
//!
//! Few per node: a program that sends more at once opens connections and closes them again, and is better
//! off with its own [`Connection`]s.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::{Connection, Target};

/// Connections at rest to one node.
const AT_REST_MAX: usize = 64;

/// Connections at rest, by node. The one used last is used first, so that the others can age away.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    at_rest: Mutex<HashMap<Target, Vec<Connection>>>,
}

impl Pool {
    /// A connection that can be used, if there is one.
    pub(crate) fn take(&self, target: &Target) -> Option<Connection> {
        let mut at_rest = self.at_rest.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = at_rest.get_mut(target)?;
        std::iter::from_fn(|| resting.pop()).find(Connection::is_usable)
    }

    /// Keeps a connection for later, or closes it.
    pub(crate) fn put(&self, target: &Target, connection: Connection) {
        if !connection.is_usable() {
            return;
        }
        let mut at_rest = self.at_rest.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = at_rest.entry(target.clone()).or_default();
        if resting.len() < AT_REST_MAX {
            resting.push(connection);
        }
    }
}
