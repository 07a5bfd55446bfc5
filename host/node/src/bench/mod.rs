//! `carillon bench`: how much a cluster takes, how soon it answers, and what bounds that.
//!
//! Load and nodes share this machine unless URLs say otherwise, so what is measured is both together.
//! The floor is measured in the same run, because the same machine is sometimes half as fast: one
//! append with its sync, one QUIC round trip, one HTTP round trip, and how many of those the same
//! clients drive.

pub(crate) mod conversations;
mod delivery;
mod door;
mod floor;
mod latency;
mod load;
mod readers;
mod report;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{Bearer, Created, Owners, Ring, Target};

use door::{Ask, Door};
use latency::Latencies;
use load::{Load, Place, Progress, Tally};
pub(crate) use report::Report;
use report::{Alone, Percentiles};

/// Before it counts: connections open, caches fill, what handlers need is compiled.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the client that is alone sends.
const ALONE: Duration = Duration::from_secs(2);

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The nodes.
    pub(crate) targets: Vec<Target>,
    /// What proves who sends, for nodes that want that. It must be for all chats.
    pub(crate) bearer: Option<Bearer>,
    /// Clients at once.
    pub(crate) clients: usize,
    /// How long.
    pub(crate) measured: Duration,
    /// Bytes of each message.
    pub(crate) body_bytes: usize,
    /// Chats that the messages go to.
    pub(crate) chats: usize,
    /// Acknowledgements asked for; the commit quorum if not said.
    pub(crate) acks: Option<u8>,
    /// Sends to any node, not to the one that leads the chat.
    pub(crate) any_node: bool,
    /// Where to measure the disk; `None`: no floor.
    pub(crate) floor: Option<PathBuf>,
}

/// Measures, telling `progress` a line now and then.
///
/// # Errors
/// When the nodes cannot be asked at all; errors of single sends are counted instead.
pub(crate) async fn run(plan: &Plan, progress: impl Fn(&str)) -> io::Result<Report> {
    let mut door = Door::new(&plan.targets, plan.bearer.as_ref());
    let mut places = Vec::new();
    for chat in 0..plan.chats.max(1) {
        places.push(place(&mut door, chat, plan.any_node).await?);
    }
    progress(&format!("{} chats, {} clients", places.len(), plan.clients));
    let load = Load {
        targets: plan.targets.clone(),
        bearer: plan.bearer.clone(),
        places,
        clients: plan.clients,
        body_bytes: plan.body_bytes,
        acks: plan.acks,
        run: format!("{:08x}", rand::random::<u32>()),
    };
    let tally = watched(load.clone(), plan.measured, &progress).await;
    let mut report = Report::default();
    report.set(&tally);

    progress("one client alone");
    let alone_place = place(&mut door, 0, plan.any_node).await?;
    let alone =
        Load { places: vec![alone_place], clients: 1, run: format!("{}a", load.run), ..load };
    let tally = alone.run(WARM_UP / 2, ALONE, Arc::default()).await;
    report.alone = Some(Alone {
        alone_p50_ms: tally.sent.p50_ms(),
        alone_delivered_p50_ms: tally.delivered.p50_ms(),
        alone_bound_ms: None,
    });
    if let Some(folder) = &plan.floor {
        progress("the floor: disk, QUIC, HTTP");
        report.set_floor(floor::measure(&plan.targets, plan.clients, folder).await?);
    }
    Ok(report)
}

/// Makes a chat and finds out who leads it.
async fn place(door: &mut Door, number: usize, any_node: bool) -> io::Result<Place> {
    let first = number % door.targets().max(1);
    let create = Ask { method: "POST", path: "/v1/chats", headers: "", body: Some(b"{}") };
    let created: Created = door.json(first, create, 201).await?;
    let token = created.token.to_string();
    if any_node {
        return Ok(Place { token, leader: None });
    }
    let path = format!("/v1/chats/{token}/owners");
    let owners: Owners = door.json(first, Ask::get(&path), 200).await?;
    let ring: Ring = door.json(first, Ask::get("/v1/ring"), 200).await?;
    let primary = ring.nodes.iter().find(|node| Some(&node.id) == owners.primary.as_ref());
    let leader = primary.and_then(|node| node.http.parse().ok());
    // A leader that was not named as a target is reached through one that was.
    let leader = leader.and_then(|leader: Target| door.index(&leader)).unwrap_or(first);
    Ok(Place { token, leader: Some(leader) })
}

/// Runs a load and tells every second how it goes.
async fn watched(load: Load, measured: Duration, progress: &impl Fn(&str)) -> Tally {
    let seen = Arc::new(Progress::default());
    let mut running = Box::pin(load.run(WARM_UP, measured, Arc::clone(&seen)));
    let mut sends = 0;
    for second in 0u64.. {
        tokio::select! {
            biased;
            tally = &mut running => return tally,
            () = runtime::sleep(Duration::from_secs(1)) => {}
        }
        let now = seen.sends.load(Ordering::Relaxed);
        let errors = seen.errors.load(Ordering::Relaxed);
        if second >= WARM_UP.as_secs() {
            progress(&format!("{second:>3} s  {:>7} a second  {errors} errors", now - sends));
        }
        sends = now;
    }
    running.await
}

impl Report {
    /// What the clients of the load saw.
    fn set(&mut self, tally: &Tally) {
        self.sends = tally.sent.count();
        self.errors = tally.errors.values().sum();
        self.errors_by_code = tally.errors.clone();
        self.per_second = rate(&tally.sent, tally.elapsed);
        self.sent = Percentiles::of(&tally.sent);
        self.delivered_p50_ms = tally.delivered.p50_ms();
        self.delivered_p99_ms = tally.delivered.p99_ms();
    }
}

/// So many a second.
fn rate(latencies: &Latencies, elapsed: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' worth of sends")]
    let count = latencies.count() as f64;
    count / elapsed.as_secs_f64().max(f64::EPSILON)
}
