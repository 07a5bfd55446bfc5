//! Real faults on real processes: nodes, a ZooKeeper ensemble, clients, and somebody who breaks things.
//!
//! The short form is a test like any other. `make faults` runs the long form: twenty minutes, every kind of
//! fault in an order that a seed decides, and the figures of docs/faults.md. What a machine cannot do is
//! told as SKIPPED, never passed over. Verdicts are those of `tests::history`; nothing here fails because
//! something took long, but for deadlines of a minute.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a panic is how a test says that it failed, and its output is what a run is for"
)]

mod accident;
mod client;
mod clock;
mod deployment;
mod door;
mod ending;
mod figures;
mod full_disk;
mod inside;
mod measure;
mod nemesis;
mod network;
mod node;
mod report;
mod shipped;
mod tools;
mod workload;

use std::time::Duration;

use accident::Kind;
use deployment::{Deployment, Shape};
use figures::Figures;
use inside::Place;
use nemesis::Plan;
use report::Told;
use tests::history;
use tools::Tools;
use workload::{Amount, Workload};

/// How long the long form makes faults, in seconds; unset, only the short form runs.
const SECONDS: &str = "FAULTS_SECONDS";
/// Measures what a slowed member costs, and nothing else.
const SLOWED: &str = "FAULTS_SLOWED";
/// Decides the order of faults and what clients do.
const SEED: &str = "SEED";

/// What the short form does: one of each family, in this order.
const SHORT: [Kind; 5] = [Kind::Kill, Kind::Cut, Kind::Expiry, Kind::RegistryLeader, Kind::Zombie];

/// Longer than the short form takes, also on a machine with other work; it is made whole.
const SHORT_WITHIN: Duration = Duration::from_secs(600);

#[test]
fn a_cluster_of_processes_survives_one_fault_of_each_family() {
    inside::run("a_cluster_of_processes_survives_one_fault_of_each_family", false, |place| {
        block_on(short(place));
    });
}

#[test]
fn the_cluster_of_three_of_the_readme_runs_as_it_is_written() {
    let name = "the_cluster_of_three_of_the_readme_runs_as_it_is_written";
    inside::run(name, false, |place| block_on(shipped::run(place)));
}

#[test]
fn a_cluster_of_processes_survives_a_long_run_of_faults() {
    let Some(seconds) = number(SECONDS) else {
        tests::skipped("the long run of faults; `make faults` runs it");
        return;
    };
    inside::run("a_cluster_of_processes_survives_a_long_run_of_faults", true, |place| {
        block_on(long(place, Duration::from_secs(seconds)));
    });
}

#[test]
fn what_a_slowed_member_costs_is_measured() {
    let Some(clients) = number(SLOWED) else {
        tests::skipped(
            "what a slowed member costs; FAULTS_SLOWED=64 measures it with 64 clients on a quiet machine",
        );
        return;
    };
    let clients = usize::try_from(clients).expect("a number of clients");
    inside::run("what_a_slowed_member_costs_is_measured", true, |place| {
        block_on(slowed(place, clients));
    });
}

/// Three times the three figures, so that their spread is seen as well.
async fn slowed(place: Place, clients: usize) {
    let tools = Tools::look(&place);
    if !tools.strace {
        return tests::skipped("a slowed member: there is no strace");
    }
    let shape =
        Shape { nodes: 3, servers: 3, partitions: 256, small_disk: None, false_clock: false };
    let started = Deployment::start(&place, &shape).await;
    let mut deployment = started.unwrap_or_else(|reason| panic!("there is no cluster: {reason}"));
    for _ in 0..3 {
        println!("{}", measure::slowed(&mut deployment, clients, Duration::from_secs(15)).await);
    }
}

async fn short(place: Place) {
    let tools = Tools::look(&place);
    let shape =
        Shape { nodes: 3, servers: 3, partitions: 16, small_disk: None, false_clock: false };
    let mut deployment = match Deployment::start(&place, &shape).await {
        Ok(deployment) => deployment,
        Err(reason) => return tests::skipped(&format!("a cluster of processes: {reason}")),
    };
    let amount = Amount { clients: 24, chats: 24, per_second: 120 };
    let seed = seed();
    let plan = Plan::of(&SHORT, &tools);
    let told = run(&mut deployment, &tools, &plan, (seed, amount, SHORT_WITHIN)).await;
    println!("{told}");
    told.must_be_good();
    told.must_have_met(plan.len());
}

async fn long(place: Place, within: Duration) {
    let tools = Tools::look(&place);
    let seed = seed();
    println!("SEED={seed}");
    let shape = Shape {
        nodes: 3,
        servers: 3,
        partitions: 64,
        small_disk: None,
        false_clock: tools.faketime,
    };
    let full_disk = full_disk::run(&place, seed).await;
    let started = Deployment::start(&place, &Shape { partitions: 256, ..shape.clone() }).await;
    let mut quiet = started.unwrap_or_else(|reason| panic!("there is no cluster: {reason}"));
    let slowed = if tools.strace {
        Some(measure::slowed(&mut quiet, 64, Duration::from_secs(15)).await)
    } else {
        None
    };
    let take_overs = measure::take_overs(&mut quiet, 6).await;
    println!("{take_overs}");
    drop(quiet);
    let started = Deployment::start(&place, &shape).await;
    let mut deployment = started.unwrap_or_else(|reason| panic!("there is no cluster: {reason}"));
    let amount = Amount { clients: 64, chats: 200, per_second: 300 };
    let plan = Plan::all(seed, &tools);
    let mut told = run(&mut deployment, &tools, &plan, (seed, amount, within)).await;
    (told.take_overs, told.slowed) = (Some(take_overs), slowed);
    match full_disk {
        Ok(text) => told.full_disk = Some(text),
        Err(reason) => told.skipped.push(format!("the small disk: {reason}")),
    }
    println!("{told}");
    println!("written to {}", told.write().display());
    told.must_be_good();
    told.must_show();
}

/// Load, then faults under it, then the end and the verdict.
async fn run(
    deployment: &mut Deployment,
    tools: &Tools,
    plan: &Plan,
    (seed, amount, within): (u64, Amount, Duration),
) -> Told {
    let mut workload = Workload::start(deployment, seed, amount).await;
    // Something to compare with.
    runtime::sleep((within / 84).min(Duration::from_secs(10))).await;
    let injected = plan.run(deployment, workload.clock, seed, within).await;
    let done = workload.stop().await;
    let ended = ending::end(deployment, &workload).await;
    let history = history::load(&workload.history).expect("the history can be read");
    Told {
        seed,
        skipped: tools.skipped.clone(),
        figures: Figures::of(&done.samples, done.forgotten, &injected),
        checked: history::check(&history),
        ended,
        take_overs: None,
        slowed: None,
        full_disk: None,
    }
}

/// `SEED`, or one that nobody chose.
fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| rand::random::<u32>().into())
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_not| panic!("{name}={text:?} is not a number")))
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(test);
}
