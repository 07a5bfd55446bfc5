//! What can happen to a deployment: each kind of fault, how it is done and how it ends.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use serde::Serialize;
use tests::{Deadline, Http, eventually, expire_session};

use crate::clock::Clock;
use crate::deployment::Deployment;
use crate::network::{Cut, cut, heal};
use crate::node::Node;
use crate::tools::Tools;

/// Where the nodes of a deployment stand in ZooKeeper.
const ROOT: &str = "/services/carillon";
/// Within this long a node whose session was ended has another.
const SESSION_MAX: Duration = Duration::from_secs(60);

/// A kind of fault. The names are those of the table in docs/faults.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// `kill -9` of a node, started again after a moment.
    Kill,
    /// `kill -9` of all nodes at once.
    KillAll,
    /// A node stands still for 1 to 4 s.
    Pause,
    /// A node stands still for longer than its session lives.
    Zombie,
    /// One node and the others do not hear each other.
    Cut,
    /// A node is heard and does not hear, or the other way around.
    OneWay,
    /// Two nodes do not hear each other; the third hears both.
    Bridge,
    /// A node does not reach ZooKeeper for longer than its session lives.
    NoRegistry,
    /// Of the datagrams between nodes one in twenty gets lost.
    Loss,
    /// `kill -9` of the leading ZooKeeper server.
    RegistryLeader,
    /// `kill -9` of every ZooKeeper server.
    RegistryAll,
    /// No ZooKeeper server for two minutes.
    RegistryAway,
    /// A node's session is ended by somebody else.
    Expiry,
    /// A node's wall clock steps, and steps back.
    Clock,
    /// A node's syncs fail.
    SyncError,
    /// A node's syncs take 200 ms longer.
    SlowSync,
}

/// How a fault is written down.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Injected {
    pub(crate) kind: Kind,
    /// Whom it met and how.
    pub(crate) detail: String,
    /// When it began, on the history's clock, in microseconds.
    pub(crate) begun: u64,
    /// When its cause was gone.
    pub(crate) healed: u64,
    /// When every node knew a leader of every partition again.
    pub(crate) well: u64,
    /// How long a client that was attached to a node standing still waited for its answer, from when the node
    /// went on, in microseconds.
    pub(crate) answered: Option<u64>,
}

impl Kind {
    /// Every kind, and how often each happens beside the others.
    pub(crate) const ALL: [(Self, u32); 16] = [
        (Self::Kill, 40),
        (Self::KillAll, 4),
        (Self::Pause, 12),
        (Self::Zombie, 8),
        (Self::Cut, 8),
        (Self::OneWay, 8),
        (Self::Bridge, 8),
        (Self::NoRegistry, 4),
        (Self::Loss, 2),
        (Self::RegistryLeader, 4),
        (Self::RegistryAll, 2),
        (Self::RegistryAway, 1),
        (Self::Expiry, 8),
        (Self::Clock, 4),
        (Self::SyncError, 8),
        (Self::SlowSync, 4),
    ];

    /// Whether it can be made here.
    pub(crate) fn is_possible(self, tools: &Tools) -> bool {
        match self {
            Self::Cut | Self::OneWay | Self::Bridge | Self::NoRegistry | Self::Loss => tools.inside,
            Self::Clock => tools.faketime,
            Self::SyncError | Self::SlowSync => tools.strace,
            Self::Kill
            | Self::KillAll
            | Self::Pause
            | Self::Zombie
            | Self::RegistryLeader
            | Self::RegistryAll
            | Self::RegistryAway
            | Self::Expiry => true,
        }
    }

    /// As the table names it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of a node",
            Self::KillAll => "kill -9 of all nodes",
            Self::Pause => "pause 1 to 4 s",
            Self::Zombie => "pause longer than the session",
            Self::Cut => "partition, both ways",
            Self::OneWay => "partition, one way",
            Self::Bridge => "partition, bridge",
            Self::NoRegistry => "node cut from ZooKeeper",
            Self::Loss => "5 % of datagrams lost",
            Self::RegistryLeader => "ZooKeeper leader kill -9",
            Self::RegistryAll => "ZooKeeper ensemble kill -9",
            Self::RegistryAway => "ZooKeeper gone for 2 min",
            Self::Expiry => "session expired by another",
            Self::Clock => "wall clock steps",
            Self::SyncError => "fdatasync fails (EIO)",
            Self::SlowSync => "fdatasync +200 ms",
        }
    }

    /// Makes it happen, ends it, and waits until all is well.
    pub(crate) async fn happen(
        self,
        deployment: &mut Deployment,
        clock: Clock,
        rng: &mut StdRng,
    ) -> Injected {
        let begun = clock.us();
        let mut answered = None;
        let detail = match self {
            Self::Kill => kill(deployment, rng).await,
            Self::KillAll => kill_all(deployment),
            Self::Pause => pause(deployment, rng, 1_000..4_000).await,
            Self::Zombie => zombie(deployment, rng, clock, &mut answered).await,
            Self::Cut | Self::OneWay | Self::Bridge | Self::NoRegistry | Self::Loss => {
                self.part(deployment, rng).await
            }
            Self::RegistryLeader => registry_leader(deployment).await,
            Self::RegistryAll => registry_all(deployment, Duration::from_secs(10)).await,
            Self::RegistryAway => registry_all(deployment, Duration::from_secs(120)).await,
            Self::Expiry => expiry(deployment, rng).await,
            Self::Clock => step_clock(deployment, rng).await,
            Self::SyncError => sync_error(deployment, rng).await,
            Self::SlowSync => slow_sync(deployment, rng).await,
        };
        let healed = clock.us();
        deployment.restore().await;
        Injected { kind: self, detail, begun, healed, well: clock.us(), answered }
    }

    async fn part(self, deployment: &Deployment, rng: &mut StdRng) -> String {
        let (one, two, three) = three(deployment, rng);
        let address = |node: usize| deployment.nodes[node].address.as_str();
        let [a, b, c] = [one, two, three].map(address);
        let from = |from: &str, to: &str| Cut::From(from.to_owned(), to.to_owned());
        let mut within = 5_000..8_000;
        let (cuts, told): (Vec<Cut>, &str) = match self {
            Self::Cut => {
                (Cut::between(a, b).into_iter().chain(Cut::between(a, c)).collect(), "alone")
            }
            Self::OneWay if rng.random_range(0..2u8) == 0 => (vec![from(b, a), from(c, a)], "deaf"),
            Self::OneWay => (vec![from(a, b), from(a, c)], "unheard"),
            Self::Bridge => (Cut::between(a, b).into(), "cut from one"),
            Self::Loss => {
                let all = [a, b, c].map(|to| Cut::Loses(to.to_owned(), 50));
                (all.into(), "as all")
            }
            _ => {
                within = 8_000..11_000;
                let group = deployment.nodes[one].group.unwrap_or_default();
                let ports = deployment.ports().into_iter();
                (ports.map(|port| Cut::Port(group, port)).collect(), "without ZooKeeper")
            }
        };
        cut(cuts);
        hold(rng, within).await;
        heal();
        format!("{} {told}", deployment.nodes[one].name)
    }
}

/// A node, and the two others.
fn three(deployment: &Deployment, rng: &mut StdRng) -> (usize, usize, usize) {
    let nodes = deployment.nodes.len();
    let one = rng.random_range(0..nodes);
    (one, (one + 1) % nodes, (one + 2) % nodes)
}

/// Lets what was done have its effect: so many milliseconds.
async fn hold(rng: &mut StdRng, ms: std::ops::Range<u64>) {
    runtime::sleep(Duration::from_millis(rng.random_range(ms))).await;
}

async fn kill(deployment: &mut Deployment, rng: &mut StdRng) -> String {
    let (one, ..) = three(deployment, rng);
    deployment.nodes[one].kill();
    // At once, before anybody has missed it, or after somebody took over.
    let soon = rng.random_range(0..3u8) == 0;
    hold(rng, if soon { 1..50 } else { 500..6_000 }).await;
    deployment.nodes[one].name.clone()
}

fn kill_all(deployment: &mut Deployment) -> String {
    for node in &mut deployment.nodes {
        node.kill();
    }
    "all".to_owned()
}

async fn pause(deployment: &Deployment, rng: &mut StdRng, ms: std::ops::Range<u64>) -> String {
    let (one, ..) = three(deployment, rng);
    let node = &deployment.nodes[one];
    node.signal(Signal::STOP);
    hold(rng, ms).await;
    node.signal(Signal::CONT);
    node.name.clone()
}

/// A node stands still for longer than its session, with a client attached that sends to a chat it led; how
/// soon that one is answered, in whatever words, once the node goes on.
async fn zombie(
    deployment: &Deployment,
    rng: &mut StdRng,
    clock: Clock,
    answered: &mut Option<u64>,
) -> String {
    let (one, ..) = three(deployment, rng);
    let node = &deployment.nodes[one];
    let http = node.http();
    let token = led_by(node, &http).await;
    node.signal(Signal::STOP);
    let attached = tokio::spawn(async move {
        let answer = http.try_send(&token, "attached", "attached", "is anybody there?").await;
        (clock.us(), answer.is_ok())
    });
    hold(rng, 7_500..10_000).await;
    let resumed = clock.us();
    node.signal(Signal::CONT);
    let (at, was_answered) = attached.await.expect("the attached client ends");
    assert!(was_answered, "{} stood still, and its client was never answered", node.name);
    *answered = Some(at.saturating_sub(resumed));
    node.name.clone()
}

/// A chat that this node leads: a token falls anywhere, so some are drawn.
async fn led_by(node: &Node, http: &Http) -> String {
    eventually("a chat that the node leads", async || {
        let token = http.create().await;
        let path = format!("/v1/chats/{token}/owners");
        let owners = http.ask("GET", &path, &[], None).await?.only(200)?.body;
        if owners["primary"] == node.name.as_str() { Ok(token) } else { Err(owners.to_string()) }
    })
    .await
}

async fn registry_leader(deployment: &Deployment) -> String {
    let ensemble = &deployment.ensemble;
    let leader = ensemble.leader().await;
    ensemble.kill(leader).await;
    runtime::sleep(Duration::from_secs(4)).await;
    ensemble.restart(leader).await;
    format!("server {leader}")
}

async fn registry_all(deployment: &Deployment, away: Duration) -> String {
    let ensemble = &deployment.ensemble;
    for server in 1..=3 {
        ensemble.kill(server).await;
    }
    runtime::sleep(away).await;
    // At the same time: alone none of them serves.
    let restart = |server| ensemble.restart(server);
    tokio::join!(restart(1), restart(2), restart(3));
    "3 servers".to_owned()
}

async fn expiry(deployment: &Deployment, rng: &mut StdRng) -> String {
    let (one, ..) = three(deployment, rng);
    let name = deployment.nodes[one].name.clone();
    let deadline = Deadline::default();
    loop {
        // It has another session before this returns; `restore` looks at partitions, which need none.
        let expired = expire_session(&deployment.ensemble, ROOT, &name, SESSION_MAX).await;
        if expired.unwrap_or_else(|error| panic!("{error}")) {
            return name;
        }
        // It is just coming back from something else.
        deadline.check("a session of the node", &name);
        hold(rng, 100..200).await;
    }
}

async fn step_clock(deployment: &Deployment, rng: &mut StdRng) -> String {
    let file = deployment.clock.as_ref().expect("the deployment has a false clock");
    let steps = ["+3600", "-3600", "+86400", "-86400", "2026-01-01 00:00:00"];
    let step = steps[rng.random_range(0..steps.len())];
    fs::write(file, step).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    hold(rng, 4_000..6_000).await;
    fs::write(file, "+0").unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    format!("{} {step}", deployment.nodes.last().map_or("", |node| &node.name))
}

async fn sync_error(deployment: &mut Deployment, rng: &mut StdRng) -> String {
    let (one, ..) = three(deployment, rng);
    let node = &mut deployment.nodes[one];
    let mut tracer = Tracer::attach(node.pid().unwrap_or_default(), "error=EIO").await;
    let begun = runtime::now();
    let status = node.ends().await;
    let took = begun.elapsed().as_millis();
    tracer.detach();
    assert!(!status.success(), "{} ended with {status} after a failed sync", node.name);
    format!("{}, ended after {took} ms", node.name)
}

async fn slow_sync(deployment: &Deployment, rng: &mut StdRng) -> String {
    let (one, ..) = three(deployment, rng);
    let node = &deployment.nodes[one];
    let mut tracer = Tracer::attach(node.pid().unwrap_or_default(), "delay_enter=200000").await;
    hold(rng, 6_000..8_000).await;
    tracer.detach();
    node.name.clone()
}

/// An strace on a process. Dropping it lets the process go.
struct Tracer(Child);

impl Tracer {
    /// Attaches to every thread of `pid`; returns when it has.
    async fn attach(pid: u32, fault: &str) -> Self {
        let inject = format!("inject=fdatasync:{fault}");
        let child = Command::new("strace")
            .args(["-f", "-p", &pid.to_string(), "-o", "/dev/null"])
            .args(["-e", "trace=fdatasync", "-e", &inject])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let tracer = Self(child.unwrap_or_else(|error| panic!("strace: {error}")));
        let status = format!("/proc/{pid}/status");
        eventually("strace to attach", async || {
            let text = fs::read_to_string(&status).map_err(|error| error.to_string())?;
            let traced = text.lines().any(|line| {
                line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0")
            });
            if traced { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        tracer
    }

    fn detach(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.detach();
    }
}
