//! Nodes in this process that can die.
//!
//! Each has a runtime of its own, so that one can be killed as a crash would: its tasks and its sockets
//! are gone in the middle of whatever they did, nobody is told, and its folder stays.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use node::assemble::{Node, Process};
use node::config::{Config, Idle, Positions, RegistryKind, Size, Span};
use node::shutdown::Leaving;
use plugin::Compiler;
use tempfile::TempDir;

use crate::ensemble::Ensemble;
use crate::{Http, eventually};

/// Partitions of a test's cluster: few, so that starting costs little; more than nodes, so that every
/// node leads some.
const PARTITIONS: u16 = 16;

/// Nodes that share a registry and a folder.
#[derive(Debug)]
pub struct Cluster {
    process: Process,
    configs: Vec<Config>,
    running: Vec<Option<Running>>,
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    runtime: tokio::runtime::Runtime,
    http: Http,
    /// Taken when the node is stopped in good order.
    node: Option<Node>,
}

impl Cluster {
    /// Starts nodes 0, 1, 2 …, named n1, n2, n3 …, without handlers.
    pub async fn start(nodes: u8) -> Self {
        Self::start_with(nodes, |_config| {}).await
    }

    /// Starts nodes whose configurations `change` has changed.
    pub async fn start_with(nodes: u8, change: impl Fn(&mut Config)) -> Self {
        Self::start_hooked(nodes, change, None).await
    }

    /// The same, with a hook between the steps of every change of plugins.
    pub async fn start_hooked(
        nodes: u8,
        change: impl Fn(&mut Config),
        hook: Option<rollout::Hook>,
    ) -> Self {
        Self::start_in(nodes, change, |process| match hook {
            Some(hook) => process.with_hook(hook),
            None => process,
        })
        .await
    }

    /// The same, in a process that `prepare` has prepared.
    pub async fn start_in(
        nodes: u8,
        change: impl Fn(&mut Config),
        prepare: impl FnOnce(Process) -> Process,
    ) -> Self {
        let folder = TempDir::with_prefix("carillon-it-").unwrap_or_else(|e| panic!("{e}"));
        let configs: Vec<Config> = (1..=nodes)
            .map(|number| {
                let mut config = config(folder.path(), number, nodes);
                change(&mut config);
                config
            })
            .collect();
        let process = Process::open(folder.path(), &configs[0], Compiler::Here)
            .unwrap_or_else(|error| panic!("the process cannot be opened: {error}"));
        let process = prepare(process);
        let running = configs.iter().map(|_| None).collect();
        let mut cluster = Self { process, configs, running, folder };
        let all: Vec<usize> = (0..usize::from(nodes)).collect();
        cluster.restart_all(&all).await;
        cluster.led().await;
        cluster
    }

    /// Node `index`, over HTTP.
    pub fn http(&self, index: usize) -> &Http {
        let running = self.running[index].as_ref();
        &running.unwrap_or_else(|| panic!("node {index} is dead")).http
    }

    /// Node `index` itself.
    pub fn node(&self, index: usize) -> &Node {
        let running = self.running[index].as_ref().and_then(|running| running.node.as_ref());
        running.unwrap_or_else(|| panic!("node {index} is dead"))
    }

    /// What node `index` is told at its next start.
    pub fn config(&mut self, index: usize) -> &mut Config {
        &mut self.configs[index]
    }

    /// The registry, as somebody who is no node meets it.
    pub fn registry(&self) -> registry::Session {
        let nobody = "nobody".parse().unwrap_or_else(|error| panic!("{error}"));
        self.process.registry().session(&nobody)
    }

    /// Node `index` as its operators meet it.
    pub fn admin(&self, index: usize) -> Http {
        Http::new(&self.node(index).admin_url())
    }

    /// The nodes that live.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.running.len()).filter(|index| self.running[*index].is_some()).collect()
    }

    /// The folder of node `index`.
    pub fn data(&self, index: usize) -> PathBuf {
        self.configs[index].node.data.clone()
    }

    /// The folder of all of it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The number of the node that leads a chat's partition.
    pub async fn primary(&self, token: &str) -> usize {
        let alive = self.running.iter().position(Option::is_some);
        let asked = self.http(alive.unwrap_or_else(|| panic!("everybody is dead"))).clone();
        eventually("a primary", async || {
            let path = format!("/v1/chats/{token}/owners");
            let owners = asked.ask("GET", &path, &[], None).await?.only(200)?.body;
            let primary = owners["primary"].as_str().unwrap_or_default();
            let index = self.configs.iter().position(|config| config.node.id.as_str() == primary);
            index.ok_or_else(|| owners.to_string())
        })
        .await
    }

    /// Kills a node without any goodbye.
    pub async fn kill(&mut self, index: usize) {
        let Some(Running { runtime, node, .. }) = self.running[index].take() else { return };
        // What waits for the disk is lost, as it would be: the runtime's end alone would still write it.
        if let Some(node) = &node {
            let (log, archive) = (node.log().clone(), node.archive().engine().clone());
            let abandon = move || {
                log.abandon();
                archive.abandon();
            };
            _ = tokio::task::spawn_blocking(abandon).await;
        }
        end(runtime).await;
        drop(node);
    }

    /// Stops a node in good order; what had to be cut.
    pub async fn stop(&mut self, index: usize) -> Vec<String> {
        let Some(mut running) = self.running[index].take() else { return Vec::new() };
        let Some(node) = running.node.take() else { return Vec::new() };
        let deadline = runtime::now() + node.grace();
        let stopped = running.runtime.spawn(node.stop(deadline, Leaving::Alone)).await;
        end(running.runtime).await;
        stopped.unwrap_or_else(|error| panic!("stopping panicked: {error}"))
    }

    /// Starts a node that was killed or stopped, on the folder it had.
    pub async fn restart(&mut self, index: usize) {
        self.restart_all(&[index]).await;
    }

    /// Starts several at the same time: a cluster begins when enough of them are there.
    pub async fn restart_all(&mut self, nodes: &[usize]) {
        let mut starting = tokio::task::JoinSet::new();
        for index in nodes.iter().copied() {
            let (config, process) = (self.configs[index].clone(), self.process.clone());
            starting.spawn(async move { (index, Running::start(config, process).await) });
        }
        while let Some(started) = starting.join_next().await {
            let (index, node) = started.unwrap_or_else(|error| panic!("{error}"));
            self.running[index] = Some(node);
        }
    }

    /// Waits until every living node knows a leader of every partition.
    pub async fn led(&self) {
        for running in self.running.iter().flatten() {
            eventually("every partition to be led", async || {
                running.http.ask("GET", "/readyz", &[], None).await?.only(200)
            })
            .await;
        }
    }
}

impl Running {
    async fn start(config: Config, process: Process) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .thread_name(config.node.id.as_str())
            .build()
            .unwrap_or_else(|error| panic!("no runtime: {error}"));
        let name = config.node.id.clone();
        let started = runtime.spawn(async move { Node::start(&config, &process).await }).await;
        match started.unwrap_or_else(|error| panic!("starting {name} panicked: {error}")) {
            Ok(node) => Self { runtime, http: Http::new(&node.url()), node: Some(node) },
            Err(error) => panic!("node {name} does not start: {error}"),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for Running { runtime, .. } in self.running.iter_mut().filter_map(Option::take) {
            runtime.shutdown_background();
        }
    }
}

/// Ends a runtime and everything on it, wherever it stood.
async fn end(runtime: tokio::runtime::Runtime) {
    let ended = tokio::task::spawn_blocking(|| runtime.shutdown_timeout(Duration::from_secs(30)));
    ended.await.unwrap_or_else(|error| panic!("ending a runtime: {error}"));
}

/// What node `number` of 1, 2, 3 … is told.
fn config(folder: &Path, number: u8, nodes: u8) -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = Config::default();
    let name = format!("n{number}");
    config.node.id = name.parse().unwrap_or_else(|_| panic!("{name} is no label"));
    config.node.data = folder.join(name);
    config.cluster.partitions = PARTITIONS;
    config.http.listen = any;
    config.admin.listen = any;
    config.quic.listen = any;
    config.ring.positions = Positions::Random(16);
    config.storage.value_file = Size(64 << 20);
    config.replication.copies = nodes.min(3);
    config.replication.commit = nodes.min(3) / 2 + 1;
    // As `carillon::STILL`, and for its reason.
    config.presence.idle = Idle::Off;
    config
}

impl Ensemble {
    /// What makes the nodes of a cluster have their registry here, below a root of their own.
    pub fn nodes(&self) -> impl Fn(&mut Config) + use<> {
        let (hosts, root) = (self.hosts().to_vec(), self.root());
        move |config| {
            config.registry.kind = RegistryKind::ZooKeeper;
            config.registry.hosts.clone_from(&hosts);
            config.registry.root.clone_from(&root);
            // Short, so that a node that died is gone soon; long enough for a machine that is busy.
            config.registry.session = Span(Duration::from_secs(4));
        }
    }
}

/// Adds the shipped handlers, which `make build` has built.
pub fn shipped(config: &mut Config) {
    let status = crate::component("status");
    let folder = status.parent().unwrap_or_else(|| panic!("{} is in no folder", status.display()));
    node::shipped::add(config, folder);
}
