//! Connections at rest, ready for a service's next request.
//!
//! Few, and not for long: a name that moves is followed when a connection is old, and a service that is
//! reached by another URL, or may not be called at that address any more, is never sent anything over
//! one that was made before.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::Instant;

use crate::address::Range;
use crate::dial::may_dial;
use crate::service_url::Origin;
use crate::wire::Wire;

/// Connections at rest of one service: as many as it is sent requests at once by default.
const SERVICE_MAX: usize = 16;
/// Connections at rest of all: as many as a node has requests under way.
const ALL_MAX: usize = 256;
/// How long one rests: shorter than most servers wait, so that few are found closed.
const REST_MAX: Duration = Duration::from_secs(30);
/// How old one becomes: after this a service that has moved is looked up again.
const AGE_MAX: Duration = Duration::from_secs(300);

/// Connections at rest, by service. The one used last is used first, so that the others age away.
#[derive(Default)]
pub(crate) struct Resting {
    wires: Mutex<HashMap<String, Vec<(Instant, Wire)>>>,
}

impl Resting {
    /// A connection of `service` that can be used, if there is one.
    pub(crate) fn take(&self, service: &str, origin: &Origin, allowed: &[Range]) -> Option<Wire> {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let resting = wires.get_mut(service)?;
        let now = runtime::now();
        std::iter::from_fn(|| resting.pop()).find_map(|(since, mut wire)| {
            let fits = wire.origin == *origin
                && may_dial(origin.scheme, wire.address, allowed).is_ok()
                && is_fresh(now, since, &wire)
                && wire.is_usable();
            fits.then_some(wire)
        })
    }

    /// Keeps a connection for later, or closes it; and closes those that nobody came back for.
    pub(crate) fn put(&self, service: &str, wire: Wire) {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let now = runtime::now();
        wires.retain(|_, resting| {
            resting.retain(|(since, wire)| is_fresh(now, *since, wire));
            !resting.is_empty()
        });
        let all: usize = wires.values().map(Vec::len).sum();
        let own = wires.get(service).map_or(0, Vec::len);
        if all < ALL_MAX && own < SERVICE_MAX {
            wires.entry(service.to_owned()).or_default().push((now, wire));
        }
    }
}

fn is_fresh(now: Instant, since: Instant, wire: &Wire) -> bool {
    now.saturating_duration_since(since) < REST_MAX
        && now.saturating_duration_since(wire.since) < AGE_MAX
}

impl fmt::Debug for Resting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resting")
    }
}
