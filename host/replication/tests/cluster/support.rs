//! Nodes of one process on real sockets and files, each with a runtime of its own, so that one can be
//! killed by dropping it: no goodbye, nothing flushed.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions, Position, Spread};
use registry::Registry;
use replication::core::{Outcome, Timings};
use replication::{
    Answering, Authority, Config, Credentials, Host, NotRun, Notices, Parts, Replication,
    RequestHead, Submission,
};
use runtime::{Stop, Tasks};
use segment::{Folder, Log, LogConfig, Reserve};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// How long anything may take. Far above what it takes, so that a busy machine fails no test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes that share a registry, and the folder of everything.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    registry: Registry,
    authority: Authority,
    partitions: Partitions,
    copies: u8,
    commit: u8,
    pub(crate) timings: Timings,
    /// Bytes a second that nodes started from now on read of their logs.
    pub(crate) scrub: u64,
    nodes: BTreeMap<&'static str, Node>,
    /// Where the test itself waits.
    waiting: Runtime,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) replication: Replication,
    pub(crate) host: Arc<Recorder>,
    pub(crate) tasks: Tasks,
    pub(crate) log: Log,
    runtime: Runtime,
}

/// A host that only remembers what it was told.
#[derive(Default)]
pub(crate) struct Recorder {
    partitions: Mutex<BTreeMap<PartitionId, Led>>,
}

/// What a host knows of a partition that its node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Led {
    pub(crate) epoch: u64,
    /// The place of the next entry.
    pub(crate) next: u64,
    pub(crate) committed: u64,
}

impl Host for Recorder {
    fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let led = Led { epoch, next: seq + 1, committed: seq };
        let before = self.partitions.lock().unwrap().insert(partition, led);
        assert!(before.is_none_or(|before| before.epoch < epoch), "{before:?} then {led:?}");
    }

    fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let mut partitions = self.partitions.lock().unwrap();
        let led = partitions.get_mut(&partition).expect("opened before");
        assert!(led.epoch == epoch && led.committed < seq, "{led:?}: committed {epoch} {seq}");
        led.committed = seq;
    }

    fn closed(&self, partition: PartitionId, epoch: u64) {
        let led = self.partitions.lock().unwrap().remove(&partition);
        assert_eq!(led.map(|led| led.epoch), Some(epoch));
    }

    fn answer(&self, from: NodeId, head: RequestHead, body: Bytes) -> Answering {
        Box::pin(async move {
            match body.is_empty() {
                true => Err(NotRun::Busy),
                false => Ok(Bytes::from(format!("{from} {} {}", head.hop, body.len()))),
            }
        })
    }
}

impl Cluster {
    pub(crate) fn new(partitions: u16, copies: u8, commit: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::embedded(&folder.path().join("registry")).unwrap();
        Self::on(registry, folder, partitions, copies, commit)
    }

    pub(crate) fn on(
        registry: Registry,
        folder: tempfile::TempDir,
        partitions: u16,
        copies: u8,
        commit: u8,
    ) -> Self {
        Self {
            registry,
            folder,
            authority: Authority::new("test").unwrap(),
            partitions: partitions.try_into().unwrap(),
            copies,
            commit,
            timings: Timings::default(),
            scrub: 0,
            nodes: BTreeMap::new(),
            waiting: Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    pub(crate) fn three() -> Self {
        let mut cluster = Self::new(8, 3, 2);
        cluster.start("n1");
        cluster.start("n2");
        cluster.start("n3");
        cluster
    }

    /// Starts a node, as a process would: folder, registry, log, sockets, tasks.
    pub(crate) fn start(&mut self, name: &'static str) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let node: NodeId = name.parse().unwrap();
        let started = runtime.block_on(async {
            let session = self.registry.session(&node);
            let count = self.partitions.count();
            let places = || (0..16).map(|n| Position::of_key(format!("{name}/{n}").as_bytes()));
            let path = self.folder.path().join(name);
            let folder = Folder::open(&path, &node, count, || places().collect()).unwrap();
            let folder = replication::enlist(&session, folder).await.unwrap();
            let notices = Notices::default();
            let config = LogConfig {
                folder: folder.logs(),
                store: folder.store(),
                partitions: count,
                value_file_bytes_max: 64 << 20,
                reserve: Reserve::Bytes(0),
            };
            let told = notices.clone();
            let (log, recovered) = Log::open(config, move |notice| told.tell(notice)).unwrap();
            assert_eq!(recovered.damages, []);
            let positions = folder.positions().to_vec();
            let credentials = Credentials::new(&self.authority.issue(&node).unwrap()).unwrap();
            let parts = Parts {
                session,
                credentials,
                folder,
                log: log.clone(),
                restored: recovered.partitions,
                notices,
            };
            let (replication, driver) =
                replication::bind(self.config(node.clone(), positions), parts).unwrap();
            let host = Arc::new(Recorder::default());
            let tasks = Tasks::current(Stop::default());
            driver.start(Arc::<Recorder>::clone(&host), &tasks);
            (replication, host, tasks, log)
        });
        let (replication, host, tasks, log) = started;
        self.nodes.insert(name, Node { replication, host, tasks, log, runtime });
    }

    fn config(&self, node: NodeId, positions: Vec<Position>) -> Config {
        Config {
            http: format!("http://{node}.example:80"),
            node,
            partitions: self.partitions,
            copies: self.copies,
            commit: self.commit,
            spread: Spread::Node,
            positions,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: String::new(),
            zone: String::new(),
            weight: 1,
            timings: self.timings,
            scrub: self.scrub,
            catch_up: None,
        }
    }

    /// Where a node keeps everything.
    pub(crate) fn data(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// The log of a node that does not run, to be written by hand.
    pub(crate) fn open_log(&self, name: &str) -> (Log, std::sync::mpsc::Receiver<segment::Notice>) {
        let node: NodeId = name.parse().unwrap();
        let count = self.partitions.count();
        let folder = Folder::open(&self.data(name), &node, count, Vec::new).unwrap();
        let config = LogConfig {
            folder: folder.logs(),
            store: folder.store(),
            partitions: count,
            value_file_bytes_max: 64 << 20,
            reserve: Reserve::Bytes(0),
        };
        let (told, notices) = std::sync::mpsc::channel();
        let (log, _) = Log::open(config, move |notice| drop(told.send(notice))).unwrap();
        (log, notices)
    }

    /// Ends a node as a crash would: its log mid-way, its sockets without a word.
    pub(crate) fn kill(&mut self, name: &str) {
        let node = self.nodes.remove(name).expect("it runs");
        node.log.abandon();
        node.runtime.shutdown_timeout(PATIENCE);
    }

    /// The same, and its disk is lost.
    pub(crate) fn wipe(&mut self, name: &str) {
        self.kill(name);
        std::fs::remove_dir_all(self.folder.path().join(name)).unwrap();
    }

    /// An operator says that a node is to hold nothing any more, or takes that back.
    pub(crate) fn set_leaving(&self, name: &str, leaving: bool) {
        let session = self.registry.session(&"operator".parse().unwrap());
        let node = name.parse().unwrap();
        let known = self.block_on(replication::set_leaving(&session, &node, leaving));
        assert_eq!(known, Ok(true));
    }

    /// Nodes started from now on believe that there are so many.
    pub(crate) fn count_partitions(&mut self, count: u16) {
        self.partitions = count.try_into().unwrap();
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.nodes.get(name).expect("it runs")
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&'static str, &Node)> {
        self.nodes.iter().map(|(name, node)| (*name, node))
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        self.partitions.all()
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.waiting.block_on(async {
            runtime::timeout(PATIENCE, future).await.expect("within the test's patience")
        })
    }

    /// Waits until `condition` holds.
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let deadline = runtime::now() + PATIENCE;
        while !condition(self) {
            if runtime::now() > deadline {
                for (name, node) in self.nodes() {
                    for partition in self.partitions() {
                        eprintln!("{name} {partition} {:?}", node.replication.view(partition));
                    }
                }
                panic!("{what}: not within {PATIENCE:?}");
            }
            self.waiting.block_on(runtime::sleep(Duration::from_millis(2)));
        }
    }

    /// Waits until every partition is led, by one of the running nodes, and all members are there.
    pub(crate) fn until_open(&self) {
        let all = u8::try_from(self.nodes.len()).unwrap();
        self.until("every partition is led", |cluster| {
            cluster.partitions().all(|partition| {
                cluster.leader(partition).is_some_and(|name| {
                    cluster.node(name).replication.view(partition).admits(all).is_ok()
                })
            })
        });
    }

    /// Who leads `partition`, as far as it knows itself.
    pub(crate) fn leader(&self, partition: PartitionId) -> Option<&'static str> {
        let leads = |node: &Node| {
            node.replication.view(partition).leading && node.host.led(partition).is_some()
        };
        self.nodes().find(|(_, node)| leads(node)).map(|(name, _)| name)
    }

    /// Submits at the primary, and says where it went.
    pub(crate) fn submit(&self, partition: PartitionId, text: &str, acks: u8) -> Sent {
        let name = self.leader(partition).expect("it is led");
        let node = self.node(name);
        let led = node.host.take_place(partition);
        let submission = Submission {
            partition,
            epoch: led.epoch,
            seq: led.next,
            payload: Bytes::from(format!("\u{1}{text}")),
            acks,
        };
        let answer = node.replication.submit(submission).expect("there is room");
        Sent { seq: led.next, answer }
    }

    /// Submits at the primary if there is one that takes it.
    pub(crate) fn try_submit(&self, partition: PartitionId, text: &str, acks: u8) -> Option<Sent> {
        let node = self.node(self.leader(partition)?);
        node.replication.view(partition).admits(acks).ok()?;
        let led = node.host.try_take_place(partition)?;
        let submission = Submission {
            partition,
            epoch: led.epoch,
            seq: led.next,
            payload: Bytes::from(format!("\u{1}{text}")),
            acks,
        };
        let answer = node.replication.submit(submission).expect("there is room");
        Some(Sent { seq: led.next, answer })
    }

    /// Submits and waits for the answer.
    pub(crate) fn send(&self, partition: PartitionId, text: &str, acks: u8) -> Outcome {
        let Sent { seq, answer } = self.submit(partition, text, acks);
        let outcome = self.block_on(answer).expect("an answer");
        if let Outcome::Quorum { seq: place } | Outcome::Local { seq: place } = outcome {
            assert_eq!(place, seq);
        }
        outcome
    }

    /// What the log of a node holds of `partition`: the texts, without the opening entries.
    pub(crate) fn texts(&self, name: &str, partition: PartitionId) -> Vec<String> {
        let log = &self.node(name).log;
        let mut texts = Vec::new();
        let mut next = 1;
        loop {
            let entries = log.read(partition, next, 1000, 1 << 20).unwrap();
            let Some(last) = entries.last() else { return texts };
            next = last.seq + 1;
            let chat = entries.iter().filter(|entry| entry.payload.first() == Some(&1));
            texts.extend(chat.map(|e| String::from_utf8(e.payload[1..].to_vec()).unwrap()));
        }
    }

    /// Waits until every running node's log holds exactly `texts`.
    pub(crate) fn until_all_hold(&self, partition: PartitionId, texts: &[String]) {
        self.until("every node holds every text", |cluster| {
            cluster.nodes().all(|(name, _)| cluster.texts(name, partition) == texts)
        });
    }
}

/// Nodes are let go on their own runtimes, which must not be dropped inside another.
impl Drop for Cluster {
    fn drop(&mut self) {
        for (_, node) in std::mem::take(&mut self.nodes) {
            node.runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// What was submitted.
pub(crate) struct Sent {
    pub(crate) seq: u64,
    pub(crate) answer: oneshot::Receiver<Outcome>,
}

impl Recorder {
    pub(crate) fn led(&self, partition: PartitionId) -> Option<Led> {
        self.partitions.lock().unwrap().get(&partition).copied()
    }

    fn take_place(&self, partition: PartitionId) -> Led {
        self.try_take_place(partition).expect("it is led here")
    }

    fn try_take_place(&self, partition: PartitionId) -> Option<Led> {
        let mut partitions = self.partitions.lock().unwrap();
        let led = partitions.get_mut(&partition)?;
        let taken = *led;
        led.next += 1;
        Some(taken)
    }
}
