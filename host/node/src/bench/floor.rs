//! What one send cannot be faster than, and what the same clients drive when nothing is stored.

use std::io;
use std::path::Path;
use std::time::Duration;

use client::Target;

use super::latency::Latencies;
use super::report::Floor;

/// Appends with their syncs: enough for a p99, and some seconds on the slowest disk.
const APPENDS: u32 = 500;
/// Round trips between two nodes.
const ROUND_TRIPS: usize = 2000;
/// How long HTTP is measured: a third of it by one client, the rest by all of them.
const HTTP: Duration = Duration::from_millis(4500);

/// Measures all of it, one after the other; the disk in files of `folder`.
pub(super) async fn measure(
    targets: &[Target],
    clients: usize,
    folder: &Path,
) -> io::Result<Floor> {
    let folder = folder.to_owned();
    let appends = runtime::blocking(move || segment::floor(&folder, APPENDS)).await;
    let appends = collect(appends.ok_or_else(|| io::Error::other("it did not run"))??);
    let quic = collect(replication::floor_quic(ROUND_TRIPS).await.map_err(io::Error::other)?);
    let url = targets.first().map(ToString::to_string).unwrap_or_default();
    let http = client::floor_http(&url, clients, HTTP).await.map_err(io::Error::other)?;
    Ok(Floor {
        fdatasync_p50_ms: appends.p50_ms().unwrap_or_default(),
        fdatasync_p99_ms: appends.p99_ms().unwrap_or_default(),
        quic_p50_ms: quic.p50_ms().unwrap_or_default(),
        http_p50_ms: http.p50.as_secs_f64() * 1e3,
        http_per_second: http.per_second,
    })
}

fn collect(times: Vec<Duration>) -> Latencies {
    let mut latencies = Latencies::default();
    times.into_iter().for_each(|took| latencies.add(took));
    latencies
}
