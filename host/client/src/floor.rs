//! What bounds a request from below: a bare round trip to a node that does nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::{Stop, Tasks};

use crate::connection::write_request;
use crate::{Connection, Error, Target};

/// Round trips to `/healthz`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HttpFloor {
    /// Median of a client that is alone.
    pub p50: Duration,
    /// The slowest of a hundred, of a client that is alone.
    pub p99: Duration,
    /// How many are done in a second by all clients together.
    pub per_second: f64,
}

/// Measures bare round trips: a third of `duration` with one client for the times, the rest with
/// `clients` at once for how many.
///
/// # Errors
/// [`Error`]; a client that fails while others go on is left out.
pub async fn floor_http(url: &str, clients: usize, duration: Duration) -> Result<HttpFloor, Error> {
    let target: Target = url.parse()?;
    let unreachable = |source| Error::Unreachable { target: target.clone(), source };
    let mut alone = round_trips(&target, duration / 3).await.map_err(unreachable)?;
    alone.sort_unstable();
    let at = |share: usize| alone.get(alone.len() * share / 100).copied().unwrap_or_default();

    let tasks = Tasks::current(Stop::default());
    let counts = Arc::new(Mutex::new(0_usize));
    let (began, together) = (runtime::now(), duration - duration / 3);
    for _ in 0..clients {
        let (target, counts) = (target.clone(), Arc::clone(&counts));
        tasks.spawn("floor", async move {
            if let Ok(times) = round_trips(&target, together).await {
                *counts.lock().unwrap_or_else(PoisonError::into_inner) += times.len();
            }
        });
    }
    tasks.finish().await;
    let seconds = runtime::now().duration_since(began).as_secs_f64();
    let count = *counts.lock().unwrap_or_else(PoisonError::into_inner);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    Ok(HttpFloor { p50: at(50), p99: at(99), per_second: f64::from(count) / seconds })
}

/// The times of round trips one after the other.
async fn round_trips(target: &Target, duration: Duration) -> std::io::Result<Vec<Duration>> {
    let mut request = Vec::new();
    write_request(&mut request, "GET", target, "/healthz", "", None);
    let mut connection = Connection::open(target).await?;
    let (began, mut times) = (runtime::now(), Vec::new());
    let mut before = began;
    while before.duration_since(began) < duration {
        connection.exchange(&request).await?;
        let after = runtime::now();
        times.push(after.duration_since(before));
        before = after;
    }
    Ok(times)
}
