//! A real ZooKeeper: servers that `scripts/zookeeper` starts in a folder of their own.
//!
//! Where Java is missing and cannot be installed there is none, and a test that needs one says SKIPPED,
//! loudly, and ends. Tests that leave the server alone share one ([`Ensemble::shared`]) and keep apart by
//! their roots; one that kills, pauses or fills it starts its own.

mod intruder;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use registry::{Registry, Session, ZooKeeperConfig};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;

pub use intruder::Intruder;

/// The script's exit code for "something is missing here".
const MISSING: i32 = 3;
/// How long a session may take to begin on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

static SHARED: OnceCell<Option<Arc<Ensemble>>> = OnceCell::const_new();
static ROOTS: AtomicU32 = AtomicU32::new(0);

/// One server or three. They end when this is dropped, or with this process.
#[derive(Debug)]
pub struct Ensemble {
    folder: TempDir,
    hosts: Vec<String>,
}

impl Ensemble {
    /// Starts `servers` of them, one or three, and waits until they serve. `None`: they cannot be had on
    /// this machine, which has been said; the test is skipped.
    pub async fn start(servers: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let count = servers.to_string();
        let output = script(&["start", text(folder.path()), &count]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(MISSING) {
            let what = format!("a test that needs ZooKeeper did not run. {said}");
            crate::skip::without("zookeeper", &what);
            return None;
        }
        assert!(output.status.success(), "no ZooKeeper: {said}");
        let hosts = String::from_utf8_lossy(&output.stdout);
        let hosts = hosts.trim().split(',').map(str::to_owned).collect();
        Some(Self { folder, hosts })
    }

    /// The one server that tests share which leave it alone.
    pub async fn shared() -> Option<Arc<Self>> {
        SHARED.get_or_init(async || Self::start(1).await.map(Arc::new)).await.clone()
    }

    /// Where the servers answer: `host:port`.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// A root that nobody else has.
    pub fn root(&self) -> String {
        format!("/tests/{}", ROOTS.fetch_add(1, Ordering::Relaxed))
    }

    /// A registry here, below `root`, with short times.
    pub fn config(&self, root: &str) -> ZooKeeperConfig {
        ZooKeeperConfig {
            hosts: self.hosts.clone(),
            root: root.to_owned(),
            session: Duration::from_secs(4),
            ..ZooKeeperConfig::default()
        }
    }

    /// A second client, of another program.
    pub async fn intruder(&self) -> Intruder {
        Intruder::connect(&self.hosts.join(",")).await
    }

    /// `kill -9`; it is gone when this returns.
    pub async fn kill(&self, server: usize) {
        self.must("kill", server).await;
    }

    /// Starts it again, and waits until it serves.
    pub async fn restart(&self, server: usize) {
        self.must("restart", server).await;
    }

    /// SIGSTOP.
    pub async fn pause(&self, server: usize) {
        self.must("pause", server).await;
    }

    /// SIGCONT.
    pub async fn resume(&self, server: usize) {
        self.must("resume", server).await;
    }

    /// The number of the server that leads.
    pub async fn leader(&self) -> usize {
        let output = script(&["leader", text(self.folder.path())]).await;
        let said = String::from_utf8_lossy(&output.stdout);
        said.trim().parse().unwrap_or_else(|_none| panic!("no leader: {output:?}"))
    }

    async fn must(&self, command: &str, server: usize) {
        let server = server.to_string();
        let output = script(&[command, text(self.folder.path()), &server]).await;
        assert!(output.status.success(), "{command} {server}: {output:?}");
    }
}

impl Drop for Ensemble {
    fn drop(&mut self) {
        let ended = std::process::Command::new(path())
            .args(["stop", text(self.folder.path())])
            .stdin(Stdio::null())
            .output();
        drop(ended);
    }
}

/// A session that is there already.
///
/// # Panics
/// When there is none in a minute.
pub async fn session(registry: &Registry, node: &str) -> Session {
    let node = node.parse().unwrap_or_else(|error| panic!("{error}"));
    let session = registry.session(&node);
    if let Err(problem) = session.connected(PATIENCE).await {
        panic!("no session: {problem:?}");
    }
    session
}

/// A registry with this configuration.
pub fn registry(config: ZooKeeperConfig) -> Registry {
    Registry::zookeeper(config).unwrap_or_else(|problem| panic!("{problem}"))
}

async fn script(args: &[&str]) -> std::process::Output {
    let mut command = Command::new(path());
    // Should this process be killed, its servers end too.
    command.args(args).env("ZOOKEEPER_OWNER", std::process::id().to_string()).stdin(Stdio::null());
    command.output().await.unwrap_or_else(|error| panic!("{}: {error}", path().display()))
}

fn path() -> PathBuf {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut scripts = folders.map(|folder| folder.join("scripts/zookeeper"));
    scripts.find(|script| script.exists()).unwrap_or_else(|| panic!("scripts/zookeeper is missing"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_else(|| panic!("{} is no text", path.display()))
}
