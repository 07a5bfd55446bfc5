//! Three nodes that are processes, with certificates of one authority, on a real ZooKeeper.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tests::carillon::{Carillon, STILL, run};
use tests::ensemble::Ensemble;
use tests::{Http, eventually};

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// Everything three nodes need; those of them that run.
pub(crate) struct Three {
    // The processes first: they write into the folder for as long as they run.
    running: Vec<Option<Carillon>>,
    pub(crate) ensemble: Arc<Ensemble>,
    pub(crate) folder: TempDir,
    /// What is theirs in the registry stands below it.
    pub(crate) root: String,
    starts: Starts,
}

/// How a process is begun with a configuration.
pub(crate) type Starts = fn(&str) -> Starting<'_>;
pub(crate) type Starting<'a> = Pin<Box<dyn Future<Output = Carillon> + Send + 'a>>;

pub(crate) fn folder() -> TempDir {
    TempDir::new().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap_or_else(|| panic!("{} is no text", path.display())).to_owned()
}

/// An authority and a certificate for each, as `carillon cert` makes them.
pub(crate) async fn certificates(folder: &Path, names: &[&str]) {
    let (ca, certs) = (text(&folder.join("ca")), text(&folder.join("certs")));
    if !folder.join("ca").exists() {
        let made = run(&["cert", "ca", "--out", &ca]).await;
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    for name in names {
        let made = run(&["cert", "node", name, "--ca", &ca, "--out", &certs]).await;
        assert_eq!(made.code, Some(0), "{made:?}");
    }
}

/// The configuration of node `name`; all ports are whatever is free.
pub(crate) fn configure(folder: &Path, name: &str, hosts: &[String], root: &str) -> String {
    let config = format!(
        "[cluster]\npartitions = 16\n[node]\nid = \"{name}\"\ndata = \"{name}\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [quic]\nlisten = \"127.0.0.1:0\"\ncert = \"certs/{name}.pem\"\nkey = \"certs/{name}.key\"\n\
         ca = \"certs/ca.pem\"\n[registry]\nkind = \"zookeeper\"\nhosts = {hosts:?}\n\
         root = \"{root}\"\nsession = \"2s\"\n[ring]\npositions = 16\n\
         {STILL}[storage]\nvalue_file = \"64MiB\"\n"
    );
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, config).unwrap_or_else(|error| panic!("{error}"));
    text(&file)
}

/// Adds lines to a configuration.
pub(crate) fn append(file: &str, lines: &str) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}"));
    std::fs::write(file, format!("{text}{lines}")).unwrap_or_else(|error| panic!("{error}"));
}

impl Three {
    /// `None` where there can be no ZooKeeper, which was said.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("").await
    }

    /// The same with more lines in their configurations.
    pub(crate) async fn start_with(lines: &str) -> Option<Self> {
        Self::start_by(lines, shipped).await
    }

    /// The same of other processes.
    pub(crate) async fn start_by(lines: &str, starts: Starts) -> Option<Self> {
        let ensemble = Ensemble::shared().await?;
        let folder = folder();
        certificates(folder.path(), &NAMES).await;
        let root = ensemble.root();
        let [a, b, c] = NAMES.map(|name| {
            let file = configure(folder.path(), name, ensemble.hosts(), &root);
            append(&file, lines);
            file
        });
        // Together: a cluster begins with two.
        let (a, b, c) = tokio::join!(starts(&a), starts(&b), starts(&c));
        let running = vec![Some(a), Some(b), Some(c)];
        Some(Self { running, ensemble, folder, root, starts })
    }

    /// The file of node `index`.
    pub(crate) fn config(&self, index: usize) -> String {
        text(&self.folder.path().join(format!("{}.toml", NAMES[index])))
    }

    pub(crate) fn node(&self, index: usize) -> &Carillon {
        self.running[index].as_ref().unwrap_or_else(|| panic!("{} is dead", NAMES[index]))
    }

    pub(crate) fn http(&self, index: usize) -> &Http {
        &self.node(index).nodes[0]
    }

    pub(crate) fn take(&mut self, index: usize) -> Carillon {
        self.running[index].take().unwrap_or_else(|| panic!("{} is dead", NAMES[index]))
    }

    pub(crate) async fn restart(&mut self, index: usize) {
        let config = self.config(index);
        self.running[index] = Some((self.starts)(&config).await);
    }

    /// Which one leads a chat's partition, and the partition, as node `asked` knows it.
    pub(crate) async fn primary(&self, asked: usize, token: &str) -> (usize, u64) {
        let http = self.http(asked);
        eventually("a primary", async || {
            let path = format!("/v1/chats/{token}/owners");
            let owners = http.ask("GET", &path, &[], None).await?.only(200)?.body;
            let primary = owners["primary"].as_str().unwrap_or_default();
            let index = NAMES.iter().position(|name| *name == primary);
            let partition = owners["partition"].as_u64();
            index.zip(partition).ok_or_else(|| owners.to_string())
        })
        .await
    }
}

/// The binary that is shipped.
fn shipped(config: &str) -> Starting<'_> {
    Box::pin(async move { Carillon::start(&["node", "--config", config]).await })
}

/// A partition as a node's operators see it.
pub(crate) async fn partition(node: &Carillon, partition: u64) -> Result<Value, String> {
    let admin = Http::new(&node.operators().await);
    let all = admin.ask("GET", "/admin/v1/partitions", &[], None).await?.only(200)?.body;
    let found = all["partitions"].as_array().into_iter().flatten();
    let mut found = found.filter(|one| one["partition"] == partition);
    found.next().cloned().ok_or_else(|| all.to_string())
}
