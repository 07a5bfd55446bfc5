//! How fast an empty node is given the log of another one, syncs included, by the size of the entries:
//! `cargo run --release -p replication --example catch_up [MiB]`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    dead_code,
    reason = "a measurement that cannot go on ends; the tests' nodes have more than it needs"
)]

#[path = "../tests/cluster/support.rs"]
mod support;

use std::collections::VecDeque;
use std::time::Duration;

use support::Cluster;

/// Sends under way while the first node is filled.
const IN_FLIGHT: usize = 256;

fn main() {
    let mib: usize = std::env::args().nth(1).map_or(128, |text| text.parse().unwrap());
    for entry in [200, 2_000, 100_000] {
        measure(mib << 20, entry);
    }
}

fn measure(bytes: usize, entry: usize) {
    let mut cluster = Cluster::new(4, 2, 1);
    cluster.timings.settle = Duration::from_millis(250);
    cluster.start("n1");
    cluster.until("n1 leads", |cluster| cluster.partitions().all(|p| cluster.leader(p).is_some()));
    let partitions: Vec<_> = cluster.partitions().collect();
    let text = "x".repeat(entry);
    let mut waiting = VecDeque::new();
    for partition in partitions.iter().cycle().take(bytes / entry) {
        waiting.push_back(cluster.submit(*partition, &text, 1));
        if waiting.len() >= IN_FLIGHT.min((4 << 20) / entry) {
            let sent = waiting.pop_front().unwrap();
            cluster.block_on(sent.answer).unwrap();
        }
    }
    for sent in waiting {
        cluster.block_on(sent.answer).unwrap();
    }
    cluster.start("n2");
    let learns = |cluster: &Cluster| {
        let n1 = &cluster.node("n1").replication;
        cluster.partitions().any(|partition| !n1.view(partition).learners.is_empty())
    };
    cluster.until("it begins", learns);
    let began = runtime::now();
    cluster.until("n2 is a member of everything", |cluster| {
        let n1 = &cluster.node("n1").replication;
        cluster.partitions().all(|partition| n1.view(partition).ensemble.len() == 2)
    });
    let seconds = began.elapsed().as_secs_f64();
    let moved = f64::from(u32::try_from(bytes >> 10).unwrap()) / 1024.0;
    println!(
        "entries of {entry} bytes: {moved:.0} MiB in {seconds:.2} s, {:.0} MiB/s",
        moved / seconds
    );
}
