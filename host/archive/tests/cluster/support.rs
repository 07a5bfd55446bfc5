//! Nodes of one process on real sockets and files, each with a runtime of its own, so that one can be killed: no
//! goodbye, nothing flushed. They have archives and no chats; their logs are numbered here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use archive::{Append, Archive};
use bytes::Bytes;
use hashring::{NodeId, PartitionId, Partitions, Position, Spread};
use model::ChatToken;
use registry::Registry;
use replication::core::{Outcome, Timings};
use replication::{
    Answering, Authority, Config, Credentials, Host, NotRun, Notices, Parts, Replication,
    RequestHead, Stream, Streaming, Submission,
};
use runtime::{Stop, Tasks};
use segment::archive::{Archive as Engine, ArchiveConfig, SpaceConfig};
use segment::{Disk, Folder, Log, LogConfig, Reserve, Snapshot, SystemDisk};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::wait::eventually;

/// Partitions of a cluster: more than nodes, so that every node leads some.
const PARTITIONS: u16 = 8;
/// Of what is held and undecided nobody waits longer before asking.
const UNDECIDED: Duration = Duration::from_millis(200);

/// Nodes n1, n2, n3 … that share a registry and a folder.
pub(crate) struct Cluster {
    registry: Registry,
    authority: Arc<Authority>,
    copies: u8,
    /// How long the ring must be the same before partitions follow it.
    settle: Duration,
    /// What must stay free on each node's disk.
    reserves: Vec<u64>,
    /// How their archives are set up, but for their process lives.
    config: archive::Config,
    /// What their archives write to.
    disk: Arc<dyn Disk>,
    nodes: Vec<Option<Node>>,
    folder: tempfile::TempDir,
}

/// A running node.
pub(crate) struct Node {
    replication: Replication,
    archive: Archive,
    tasks: Tasks,
    log: Log,
    mute: Arc<AtomicBool>,
    numbers: Arc<Numbers>,
    runtime: Runtime,
}

/// Numbers entries as the chats do, and tells the archive.
struct Numbers {
    replication: Replication,
    next: Mutex<BTreeMap<PartitionId, (u64, u64)>>,
    archive: OnceLock<Archive>,
    /// The chats that there are.
    chats: Mutex<BTreeSet<ChatToken>>,
    /// Those that are forgotten as soon as somebody has asked for them.
    forgotten_next: Mutex<BTreeSet<ChatToken>>,
}

impl Append for Numbers {
    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
        acks: u8,
    ) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let mut next = self.next.lock().unwrap();
        let (of, seq) = next.get_mut(&partition).filter(|(of, _)| *of == epoch)?;
        let submission = Submission { partition, epoch: *of, seq: *seq, payload, acks };
        let answer = self.replication.submit(submission)?;
        *seq += 1;
        Some((*seq - 1, answer))
    }

    fn give_up(&self, partition: PartitionId, _epoch: u64) {
        self.next.lock().unwrap().remove(&partition);
    }

    fn has_chat(&self, _: PartitionId, _: u64, chat: ChatToken) -> Option<bool> {
        let mut chats = self.chats.lock().unwrap();
        let there = chats.contains(&chat);
        if self.forgotten_next.lock().unwrap().remove(&chat) {
            chats.remove(&chat);
        }
        Some(there)
    }
}

/// What replication tells a node; and whether it takes streams without a word.
struct Told(Arc<Numbers>, Arc<AtomicBool>);

impl Told {
    fn archive(&self) -> &Archive {
        self.0.archive.get().expect("it is there before the driver")
    }
}

impl Host for Told {
    fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        self.0.next.lock().unwrap().insert(partition, (epoch, seq + 1));
        self.archive().opened(partition, epoch, seq);
    }

    fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        self.archive().committed(partition, epoch, seq);
    }

    fn closed(&self, partition: PartitionId, epoch: u64) {
        self.archive().closed(partition, epoch);
        self.0.next.lock().unwrap().remove(&partition);
    }

    fn answer(&self, from: NodeId, head: RequestHead, body: Bytes) -> Answering {
        match archive::is_question(&body) {
            true => self.archive().answer(from, head, &body),
            false => Box::pin(std::future::ready(Err(NotRun::Busy))),
        }
    }

    fn streams(&self, body: &[u8]) -> bool {
        self.archive().streams(body)
    }

    fn stream(&self, from: NodeId, body: Bytes, stream: Stream) -> Streaming {
        if self.1.load(Ordering::SeqCst) {
            return Box::pin(async move {
                let _open = stream;
                std::future::pending::<()>().await;
            });
        }
        self.archive().stream(&from, &body, stream)
    }
}

impl Cluster {
    pub(crate) async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, |_config| {}).await
    }

    /// With archives that are set up otherwise.
    pub(crate) async fn start_with(nodes: usize, change: impl Fn(&mut archive::Config)) -> Self {
        Self::start_on(Arc::new(SystemDisk), nodes, change).await
    }

    /// Whose partitions follow the ring once it was the same for so long.
    pub(crate) async fn start_moving(
        nodes: usize,
        settle: Duration,
        change: impl Fn(&mut archive::Config),
    ) -> Self {
        Self::start_all(Arc::new(SystemDisk), nodes, settle, change).await
    }

    /// With archives on another disk.
    pub(crate) async fn start_on(
        disk: Arc<dyn Disk>,
        nodes: usize,
        change: impl Fn(&mut archive::Config),
    ) -> Self {
        Self::start_all(disk, nodes, Timings::default().settle, change).await
    }

    async fn start_all(
        disk: Arc<dyn Disk>,
        nodes: usize,
        settle: Duration,
        change: impl Fn(&mut archive::Config),
    ) -> Self {
        let mut config = archive::Config { undecided: UNDECIDED, ..archive::Config::default() };
        change(&mut config);
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::embedded(&folder.path().join("registry")).unwrap();
        let mut cluster = Self {
            registry,
            authority: Arc::new(Authority::new("test").unwrap()),
            copies: u8::try_from(nodes.min(3)).unwrap(),
            settle,
            reserves: vec![0; nodes],
            config,
            disk,
            nodes: (0..nodes).map(|_| None).collect(),
            folder,
        };
        let starting: Vec<usize> = (0..nodes).collect();
        for index in starting {
            cluster.restart(index).await;
        }
        cluster.led().await;
        cluster
    }

    pub(crate) fn node(&self, index: usize) -> &Node {
        self.nodes[index].as_ref().expect("it runs")
    }

    /// The folder of node `index`.
    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("n{}", index + 1))
    }

    /// Starts a node whose disk has no more room than is kept free.
    pub(crate) async fn restart_full(&mut self, index: usize) {
        self.reserves[index] = u64::MAX;
        self.restart(index).await;
    }

    /// Starts a node whose disk has room again.
    pub(crate) async fn restart_roomy(&mut self, index: usize) {
        self.reserves[index] = 0;
        self.restart(index).await;
    }

    /// Starts a node, as a process would: folder, registry, log, archive, sockets, tasks.
    pub(crate) async fn restart(&mut self, index: usize) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let node: NodeId = format!("n{}", index + 1).parse().unwrap();
        let session = self.registry.session(&node);
        let (path, copies, reserve) = (self.data(index), self.copies, self.reserves[index]);
        let (authority, config_of) = (Arc::clone(&self.authority), self.config);
        let settle = self.settle;
        let disk = Arc::clone(&self.disk);
        let started = runtime.spawn(async move {
            let count: Partitions = PARTITIONS.try_into().unwrap();
            let places = || (0..16).map(|n| Position::of_key(format!("{node}/{n}").as_bytes()));
            let folder = Folder::open(&path, &node, PARTITIONS, || places().collect()).unwrap();
            let folder = replication::enlist(&session, folder).await.unwrap();
            let (notices, boot) = (Notices::default(), folder.boot());
            let (log, restored) = log(&folder, &notices);
            let engine = engine(disk, &folder, &node, reserve);
            let positions = folder.positions().to_vec();
            let credentials = Credentials::new(&authority.issue(&node).unwrap()).unwrap();
            let parts = Parts { session, credentials, folder, log: log.clone(), restored, notices };
            let mut config = config(node, count, copies, positions);
            config.timings.settle = settle;
            let (replication, driver) = replication::bind(config, parts).unwrap();
            let tasks = Tasks::current(Stop::default());
            let numbers = Arc::new(Numbers {
                replication: replication.clone(),
                next: Mutex::default(),
                archive: OnceLock::new(),
                chats: Mutex::default(),
                forgotten_next: Mutex::default(),
            });
            let config = archive::Config { boot, ..config_of };
            let append = Arc::<Numbers>::clone(&numbers);
            let archive = Archive::new(replication.clone(), append, engine, config, &tasks);
            numbers.archive.set(archive.clone()).unwrap();
            let mute = Arc::new(AtomicBool::new(false));
            driver.start(Arc::new(Told(Arc::clone(&numbers), Arc::clone(&mute))), &tasks);
            (replication, archive, tasks, log, mute, numbers)
        });
        let (replication, archive, tasks, log, mute, numbers) = started.await.unwrap();
        self.nodes[index] = Some(Node { replication, archive, tasks, log, mute, numbers, runtime });
    }

    /// Waits until every living node knows a leader of every partition that lives.
    pub(crate) async fn led(&self) {
        let living: Vec<&Node> = self.nodes.iter().flatten().collect();
        let name = |node: &&Node| node.replication.node().clone();
        let names: Vec<NodeId> = living.iter().map(name).collect();
        for node in living {
            eventually("every partition to be led", async || {
                for partition in node.replication.partitions().all() {
                    let view = node.replication.view(partition);
                    let led = view.primary.as_ref().is_some_and(|node| names.contains(node));
                    if !view.open || !led {
                        return Err(format!("{partition}: {view:?}"));
                    }
                }
                Ok(())
            })
            .await;
        }
    }

    /// Which node leads the partition of a chat's objects.
    pub(crate) fn primary(&self, token: &str) -> usize {
        let token: ChatToken = token.parse().expect("a token");
        let node = self.nodes.iter().flatten().next().expect("somebody lives");
        let partition = node.replication.partitions().of_key(&token.key());
        let view = node.replication.view(partition);
        let primary = view.primary.clone().expect("it is led");
        let named = |index: &usize| format!("n{}", index + 1) == primary.as_str();
        (0..self.nodes.len()).find(named).expect("one of ours")
    }

    /// Ends a node as a crash would.
    pub(crate) async fn kill(&mut self, index: usize) {
        let Node { log, archive, runtime, replication, tasks, numbers, .. } =
            self.nodes[index].take().expect("it runs");
        let end = move || {
            log.abandon();
            archive.engine().abandon();
            drop((archive, replication, tasks, numbers));
            runtime.shutdown_timeout(Duration::from_secs(30));
        };
        tokio::task::spawn_blocking(end).await.unwrap();
    }

    /// Kills all nodes but one, at once.
    pub(crate) async fn cut_off(&mut self, stays: usize) {
        let others: Vec<Node> = (0..self.nodes.len())
            .filter(|index| *index != stays)
            .filter_map(|index| self.nodes[index].take())
            .collect();
        let end = move || {
            for Node { log, archive, runtime, replication, tasks, numbers, .. } in others {
                log.abandon();
                archive.engine().abandon();
                drop((archive, replication, tasks, numbers));
                runtime.shutdown_background();
            }
        };
        tokio::task::spawn_blocking(end).await.unwrap();
    }

    /// Ends a node in good order.
    pub(crate) async fn stop(&mut self, index: usize) {
        let Node { log, archive, runtime, replication, tasks, numbers, .. } =
            self.nodes[index].take().expect("it runs");
        let drained = replication.clone();
        drop(runtime::timeout(Duration::from_secs(5), drained.drain()).await);
        tasks.finish().await;
        let end = move || {
            drop(replication);
            archive.engine().close();
            drop((archive, log, numbers));
            runtime.shutdown_timeout(Duration::from_secs(30));
        };
        tokio::task::spawn_blocking(end).await.unwrap();
    }
}

impl Node {
    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// From now on there is a chat of this token, or none any more.
    pub(crate) fn has_chat(&self, token: &str, there: bool) {
        let token: ChatToken = token.parse().expect("a token");
        let mut chats = self.numbers.chats.lock().unwrap();
        if there {
            chats.insert(token)
        } else {
            chats.remove(&token)
        };
    }

    /// The chat of this token is forgotten as soon as somebody has asked whether there is one.
    pub(crate) fn forgets_next(&self, token: &str) {
        let token: ChatToken = token.parse().expect("a token");
        self.numbers.forgotten_next.lock().unwrap().insert(token);
    }

    /// From now on it takes streams, and says nothing on them.
    pub(crate) fn mute(&self) {
        self.mute.store(true, Ordering::SeqCst);
    }

    pub(crate) fn replication(&self) -> &Replication {
        &self.replication
    }

    /// Appends what is no object's to a partition that this node leads, as chats do with messages; where it stands, once
    /// two nodes have it.
    pub(crate) async fn say(&self, partition: PartitionId, payload: Bytes) -> Option<u64> {
        let epoch = self.numbers.next.lock().unwrap().get(&partition)?.0;
        let (seq, answer) = self.numbers.append(partition, epoch, payload, 2)?;
        match answer.await {
            Ok(Outcome::Quorum { .. } | Outcome::Done) => Some(seq),
            Ok(_) | Err(_) => None,
        }
    }
}

impl Node {
    /// Lets every partition's log begin where it is committed to by now, with its entries about objects kept below
    /// as the chats' floor does; how many logs lost an entry.
    pub(crate) async fn trim(&self) -> usize {
        let mut trimmed = 0;
        for partition in self.replication.partitions().all() {
            let Some(place) = self.replication.view(partition).committed else { continue };
            let until = usize::try_from(place.seq).unwrap();
            let entries = self.replication.read(partition, 1, until, usize::MAX).await.unwrap();
            let kept = entries.iter().filter(|entry| model::encode::is_object(&entry.payload));
            let kept: Vec<u64> =
                kept.map(|entry| entry.seq).filter(|seq| *seq <= place.seq).collect();
            trimmed += usize::from(u64::try_from(kept.len()).unwrap() < place.seq);
            let snapshot = Snapshot { place, parts: Vec::new() };
            eventually("all bytes to be kept elsewhere", async || {
                match self.archive.kept(partition).await {
                    far if far >= place.seq => Ok(()),
                    far => Err(format!("{partition}: up to {far} of {}", place.seq)),
                }
            })
            .await;
            let anew = Arc::new(|entry: &segment::LogEntry| archive::without_bytes(&entry.payload));
            assert!(self.replication.trim(partition, snapshot, kept, anew).await);
            eventually("the log to begin later", async || {
                match self.replication.view(partition).base {
                    base if base == place.seq => Ok(()),
                    base => Err(format!("{partition} begins at {base}")),
                }
            })
            .await;
        }
        trimmed
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            node.log.abandon();
            node.archive.engine().abandon();
            node.runtime.shutdown_background();
        }
    }
}

fn log(folder: &Folder, notices: &Notices) -> (Log, BTreeMap<PartitionId, segment::Restored>) {
    let config = LogConfig {
        folder: folder.logs(),
        store: folder.store(),
        partitions: PARTITIONS,
        value_file_bytes_max: 64 << 20,
        reserve: Reserve::Bytes(0),
    };
    let told = notices.clone();
    let (log, recovered) = Log::open(config, move |notice| told.tell(notice)).unwrap();
    assert_eq!(recovered.damages, []);
    (log, recovered.partitions)
}

fn engine(disk: Arc<dyn Disk>, folder: &Folder, node: &NodeId, reserve_bytes: u64) -> Engine {
    let home = folder.path().join("archive");
    engine_at(disk, home, node, folder.store(), reserve_bytes)
}

/// The archive of a store in a folder.
pub(crate) fn engine_at(
    disk: Arc<dyn Disk>,
    home: PathBuf,
    node: &NodeId,
    store: u64,
    reserve_bytes: u64,
) -> Engine {
    let config = ArchiveConfig {
        node: node.clone(),
        store,
        spaces: vec![SpaceConfig { id: 1, root: home.join("spaces.d"), takes: true }],
        reserve: Reserve::Bytes(reserve_bytes),
        value_file_bytes_max: 64 << 20,
        idle_max: Duration::from_secs(1800),
        hidden_for: Duration::from_secs(3600),
        grace: Duration::from_secs(864_000),
        keeping: None,
        home,
    };
    Engine::open_on(disk, config, |_text| {}).unwrap().0
}

fn config(node: NodeId, partitions: Partitions, copies: u8, positions: Vec<Position>) -> Config {
    Config {
        http: format!("http://{node}.example:80"),
        node,
        partitions,
        copies,
        commit: copies / 2 + 1,
        spread: Spread::Node,
        positions,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        advertise: String::new(),
        zone: String::new(),
        weight: 1,
        timings: Timings::default(),
        scrub: 0,
        catch_up: None,
    }
}
