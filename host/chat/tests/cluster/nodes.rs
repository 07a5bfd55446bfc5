//! Three nodes of one process on real sockets and files, with chats on top. Each has a runtime of its own,
//! so that one can be killed by dropping it: no goodbye, nothing flushed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chat::{CallContext, Chain, Chats, Config, Refusal, Request, Response, Trim};
use hashring::{NodeId, PartitionId, Partitions, Position, Spread};
use model::ChatToken;
use registry::Registry;
use replication::core::Timings;
use replication::{Authority, Credentials, Notices, Parts, Replication};
use runtime::{Stop, Tasks};
use segment::{Folder, Log, LogConfig, Reserve};
use tokio::runtime::{Builder, Runtime};

/// Far above what anything takes, so that a busy machine fails no test.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// Nodes that share a registry, and the folder of everything.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    registry: Registry,
    authority: Authority,
    partitions: Partitions,
    nodes: BTreeMap<&'static str, Node>,
    pub(crate) waiting: Runtime,
    /// What stays of logs when they are trimmed, on nodes that are started from now on.
    pub(crate) trim: Option<Trim>,
    /// How long a value file is, likewise.
    pub(crate) value_file_bytes: u64,
}

struct Node {
    replication: Replication,
    chats: Chats,
    log: Log,
    runtime: Runtime,
}

impl Cluster {
    pub(crate) fn three(partitions: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            registry: Registry::embedded(&folder.path().join("registry")).unwrap(),
            folder,
            authority: Authority::new("test").unwrap(),
            partitions: partitions.try_into().unwrap(),
            nodes: BTreeMap::new(),
            waiting: Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
            trim: None,
            value_file_bytes: 64 << 20,
        };
        for name in NAMES {
            cluster.start(name);
        }
        cluster.until_open();
        cluster
    }

    /// Starts a node, as a process would.
    pub(crate) fn start(&mut self, name: &'static str) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let node: NodeId = name.parse().unwrap();
        let (replication, chats, log) = runtime.block_on(async {
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
                value_file_bytes_max: self.value_file_bytes,
                reserve: Reserve::Bytes(0),
            };
            let told = notices.clone();
            let (log, recovered) = Log::open(config, move |notice| told.tell(notice)).unwrap();
            let positions = folder.positions().to_vec();
            let credentials = Credentials::new(&self.authority.issue(&node).unwrap()).unwrap();
            let restored = recovered.partitions;
            let log_too = log.clone();
            let parts = Parts { session, credentials, folder, log: log_too, restored, notices };
            let config = replication::Config {
                http: format!("http://{node}.example:80"),
                node,
                partitions: self.partitions,
                copies: 3,
                commit: 2,
                spread: Spread::Node,
                positions,
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                advertise: String::new(),
                zone: String::new(),
                weight: 1,
                timings: Timings::default(),
                scrub: 0,
                catch_up: None,
            };
            let (replication, driver) = replication::bind(config, parts).unwrap();
            let tasks = Tasks::current(Stop::default());
            let ledger = Arc::new(replication.clone());
            let config = Config { snapshot_entries: 20, trim: self.trim, ..Config::default() };
            let chats = Chats::new(ledger, Chain::default(), config, &tasks);
            driver.start(Arc::new(chats.clone()), &tasks);
            (replication, chats, log)
        });
        self.nodes.insert(name, Node { replication, chats, log, runtime });
    }

    /// Ends a node as a crash would: its log mid-way, its sockets without a word.
    pub(crate) fn kill(&mut self, name: &str) {
        let node = self.nodes.remove(name).expect("it runs");
        node.log.abandon();
        node.runtime.shutdown_timeout(PATIENCE);
    }

    pub(crate) fn chats(&self, name: &str) -> Chats {
        self.nodes.get(name).expect("it runs").chats.clone()
    }

    /// Waits until a node has a snapshot of a partition up to an entry, or a later one.
    pub(crate) fn until_kept(&self, name: &str, partition: PartitionId, seq: u64) {
        let node = self.nodes.get(name).expect("it runs");
        let deadline = runtime::now() + PATIENCE;
        while node.log.kept(partition).is_none_or(|kept| kept.seq < seq) {
            assert!(runtime::now() < deadline, "no snapshot of {partition} at {name}");
            self.waiting.block_on(runtime::sleep(Duration::from_millis(2)));
        }
    }

    /// Waits until the log of a node begins behind an entry, or a later one.
    pub(crate) fn until_base(&self, name: &str, partition: PartitionId, seq: u64) {
        let node = self.nodes.get(name).expect("it runs");
        let deadline = runtime::now() + PATIENCE;
        while node.log.base(partition).is_none_or(|base| base.place.seq < seq) {
            assert!(runtime::now() < deadline, "{name} keeps all of {partition}");
            self.waiting.block_on(runtime::sleep(Duration::from_millis(2)));
        }
    }

    /// How far a node knows the log of a partition to be committed.
    pub(crate) fn commit(&self, name: &str, partition: PartitionId) -> u64 {
        self.nodes.get(name).expect("it runs").replication.view(partition).commit
    }

    /// The partition of a chat.
    pub(crate) fn partition(&self, token: ChatToken) -> PartitionId {
        self.partitions.of_key(&token.key())
    }

    /// The files of all nodes that hold some bytes.
    pub(crate) fn files_with(&self, bytes: &[u8]) -> Vec<std::path::PathBuf> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                // One that is removed meanwhile holds nothing.
                let all = std::fs::read(&path).unwrap_or_default();
                if all.windows(bytes.len()).any(|some| some == bytes) {
                    found.push(path);
                }
            }
        }
        found
    }

    /// The folder of a node's log.
    pub(crate) fn logs(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name).join("logs")
    }

    /// Waits until every partition is led by a running node that hears all the others.
    pub(crate) fn until_open(&self) {
        let all = u8::try_from(self.nodes.len()).unwrap();
        let deadline = runtime::now() + PATIENCE;
        let open = || {
            self.partitions.all().all(|partition| {
                let mut views = self.nodes.values().map(|node| node.replication.view(partition));
                views.any(|view| view.admits(all).is_ok())
            })
        };
        while !open() {
            assert!(runtime::now() < deadline, "not every partition is led");
            self.waiting.block_on(runtime::sleep(Duration::from_millis(2)));
        }
    }

    /// Asks again until it is answered otherwise than with "later".
    pub(crate) fn ask(&self, name: &str, request: &Request) -> Result<Response, Refusal> {
        let chats = self.chats(name);
        self.waiting.block_on(persist(&chats, request))
    }
}

/// Asks again until it is answered otherwise than with "later".
pub(crate) async fn persist(chats: &Chats, request: &Request) -> Result<Response, Refusal> {
    let deadline = runtime::now() + PATIENCE;
    loop {
        let context = CallContext {
            caller: 0,
            deadline: runtime::now() + Duration::from_secs(8),
            request_id: String::new(),
            seen: None,
            hop: 0,
        };
        match chats.call(request.clone(), context).await {
            Err(refusal) if refusal.retryable && runtime::now() < deadline => {}
            answer => return answer,
        }
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
