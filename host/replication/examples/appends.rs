//! How many entries a second three nodes of one process commit, with nothing above replication:
//! `cargo run --release -p replication --example appends [seconds] [in flight]`.

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

use replication::core::Outcome;
use support::Cluster;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (seconds, in_flight) = (number(5), number(256));
    let cluster = Cluster::three();
    cluster.until_open();
    let partitions: Vec<_> = cluster.partitions().collect();
    let text = "x".repeat(200);
    let mut waiting = VecDeque::new();
    let mut took: Vec<Duration> = Vec::new();
    let began = runtime::now();
    let mut sent = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        while waiting.len() < usize::try_from(in_flight).unwrap() {
            let partition = partitions[sent % partitions.len()];
            waiting.push_back((runtime::now(), cluster.submit(partition, &text, 2)));
            sent += 1;
        }
        let (since, sent) = waiting.pop_front().unwrap();
        let outcome = cluster.block_on(sent.answer).unwrap();
        assert!(matches!(outcome, Outcome::Quorum { .. }), "{outcome:?}");
        took.push(since.elapsed());
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    let part = |n: usize| took[took.len() * n / 1000];
    println!(
        "{:.0} appends/s, {in_flight} in flight",
        f64::from(u32::try_from(took.len()).unwrap()) / seconds
    );
    println!("p50 {:?}, p99 {:?}, p99.9 {:?}", part(500), part(990), part(999));
}
