//! A cluster as an operator has it: a process a node, certificates, and a real ZooKeeper.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::ensemble::Ensemble;
use tests::eventually;

use crate::inside::{Place, sh};
use crate::node::{Node, Told};

/// The first group that a node's process runs as; nobody has them.
const GROUP_FIRST: u32 = 61_001;

/// What a deployment is made like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// How many nodes.
    pub(crate) nodes: usize,
    /// How many ZooKeeper servers.
    pub(crate) servers: usize,
    /// How many partitions.
    pub(crate) partitions: u16,
    /// Bytes of a small file system for the last node's data, if it should have one.
    pub(crate) small_disk: Option<String>,
    /// Whether the last node's wall clock can be set.
    pub(crate) false_clock: bool,
}

/// Nodes, their registry and their folders. Dropping it ends and removes all of it.
#[derive(Debug)]
pub(crate) struct Deployment {
    // In this order they are dropped: nodes before what they stand on.
    pub(crate) nodes: Vec<Node>,
    pub(crate) ensemble: Ensemble,
    /// What is written here moves the last node's clock.
    pub(crate) clock: Option<PathBuf>,
    pub(crate) partitions: u16,
    small_disk: Option<PathBuf>,
    folder: TempDir,
}

impl Deployment {
    /// Starts everything; why it cannot, if this machine cannot.
    pub(crate) async fn start(place: &Place, shape: &Shape) -> Result<Self, String> {
        let folder = TempDir::with_prefix("carillon-faults-").map_err(|error| error.to_string())?;
        let ensemble = Ensemble::start(shape.servers).await.ok_or("there is no ZooKeeper")?;
        let mut deployment = Self {
            nodes: Vec::new(),
            ensemble,
            clock: None,
            partitions: shape.partitions,
            small_disk: None,
            folder,
        };
        deployment.certify(shape.nodes);
        if shape.false_clock {
            let file = deployment.folder.path().join("clock");
            std::fs::write(&file, "+0").map_err(|error| error.to_string())?;
            deployment.clock = Some(file);
        }
        let net = net();
        for number in 1..=shape.nodes {
            let last = number == shape.nodes;
            let node = deployment.node(place, shape, &net, number, last)?;
            deployment.nodes.push(node);
        }
        for node in &mut deployment.nodes {
            node.spawn(&[]);
        }
        deployment.answer().await;
        deployment.led().await;
        Ok(deployment)
    }

    fn certify(&self, nodes: usize) {
        let carillon = tests::binary("carillon").display().to_string();
        let run = |args: &[&str]| {
            sh(&carillon, args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
        };
        let folder = |name: &str| self.folder.path().join(name).display().to_string();
        let authority = folder("authority");
        run(&["cert", "ca", "--out", &authority]);
        for number in 1..=nodes {
            let name = format!("n{number}");
            let out = folder(&format!("{name}-cert"));
            run(&["cert", "node", &name, "--ca", &authority, "--out", &out]);
        }
    }

    fn node(
        &mut self,
        place: &Place,
        shape: &Shape,
        net: &str,
        number: usize,
        last: bool,
    ) -> Result<Node, String> {
        let name = format!("n{number}");
        let data = self.folder.path().join(&name);
        if let (true, Some(size)) = (last, &shape.small_disk) {
            std::fs::create_dir_all(&data).map_err(|error| error.to_string())?;
            let size = format!("size={size}");
            sh("mount", ["-t", "tmpfs", "-o", &size, "carillon", &data.display().to_string()])?;
            self.small_disk = Some(data.clone());
        }
        let environment = match (last, &self.clock) {
            (true, Some(file)) => false_clock(file)?,
            _ => Vec::new(),
        };
        let groups = GROUP_FIRST..;
        let group = groups.zip(0..number).last().map(|(group, _)| group);
        let group = group.filter(|_| place.is_inside());
        let lines = self.lines(shape);
        let told = Told { lines, group, environment };
        Ok(Node::new(self.folder.path(), &name, &format!("{net}.{number}"), &data, &told))
    }

    fn lines(&self, shape: &Shape) -> String {
        let hosts: Vec<String> =
            self.ensemble.hosts().iter().map(|host| format!("\"{host}\"")).collect();
        format!(
            "[cluster]\npartitions = {}\n\
             [registry]\nkind = \"zookeeper\"\nhosts = [{}]\nsession = \"6s\"\n\
             [ring]\npositions = 16\n\
             [storage]\nvalue_file = \"64MiB\"\nreserve = \"16MiB\"\n\
             [presence]\nidle = \"off\"\n\
             [plugins.status]\nsource = \"file:{}\"\n\
             [plugins.status.grant]\nroster = true\nchat-control = true\n\
             [chain.message]\norder = [\"status\"]\n",
            shape.partitions,
            hosts.join(", "),
            tests::component("status").display()
        )
    }

    /// Leaves everything for whoever wants to know why it failed, and tells the ends of the logs.
    fn keep(&self) {
        for node in &self.nodes {
            println!("--- the end of the log of {}\n{}", node.name, node.last_words());
        }
        let kept = tests::binary("carillon").with_file_name("faults").join("failed");
        _ = std::fs::remove_dir_all(&kept);
        _ = kept.parent().map(std::fs::create_dir_all);
        let (from, to) = (self.folder.path().display().to_string(), kept.display().to_string());
        match sh("cp", ["-a", &from, &to]) {
            Ok(_) => println!("--- histories, logs and data are kept in {to}"),
            Err(error) => println!("--- nothing is kept: {error}"),
        }
    }

    /// The folder of all of it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The ports of the ZooKeeper servers.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let hosts = self.ensemble.hosts().iter();
        hosts.filter_map(|host| host.rsplit(':').next()?.parse().ok()).collect()
    }

    /// Where the nodes answer clients.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// Waits until every node that runs answers.
    pub(crate) async fn answer(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.pid().is_some()) {
            node.answers().await;
        }
    }

    /// Waits until every node that runs knows a leader of every partition.
    pub(crate) async fn led(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.pid().is_some()) {
            let http = node.http();
            let name = node.name.clone();
            eventually(&format!("every partition to be led, says {name}"), async || {
                http.ask("GET", "/readyz", &[], None).await?.only(200)
            })
            .await;
        }
    }

    /// Starts whoever does not run, and waits until all is well.
    pub(crate) async fn restore(&mut self) {
        for node in &mut self.nodes {
            _ = node.ended();
            if node.pid().is_none() {
                node.spawn(&[]);
            }
        }
        self.answer().await;
        self.led().await;
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        self.nodes.clear();
        if let Some(data) = &self.small_disk {
            _ = sh("umount", ["-l", &data.display().to_string()]);
        }
    }
}

/// What makes a process believe `file` about the wall clock, and leaves the clock that never steps.
fn false_clock(file: &Path) -> Result<Vec<(String, String)>, String> {
    let library = crate::tools::faketime().ok_or("there is no libfaketime")?;
    let pairs = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value)).into())
}

/// The first three numbers of the nodes' addresses: where the loopback device is not the test's own,
/// others run at the same time.
fn net() -> String {
    let random: [u8; 2] = rand::random();
    format!("127.{}.{}", random[0].clamp(1, 254), random[1])
}
