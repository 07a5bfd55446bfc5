//! Several nodes in one process: the demo, the bench, and nothing else.
//!
//! They share a registry, an engine for plugins and a CA that lives in memory; everything else is theirs
//! alone, as if they were processes. A folder keeps all of it; without one it is temporary.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::{JoinError, JoinSet};

use crate::assemble::{Node, Process, StartError};
use crate::cli;
use crate::config::{Config, Positions};

/// How long a cluster may take until every partition is led: opening 256 partitions takes seconds on a
/// loaded machine, and something is wrong when it takes longer than this.
const READY_MAX: Duration = Duration::from_secs(60);

/// Which nodes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many.
    pub nodes: u8,
    /// Where everything is kept; `None`: in a temporary folder.
    pub folder: Option<PathBuf>,
    /// Node i answers HTTP on this port plus i; 0: on any free ports.
    pub http_port: u16,
    /// What all of them are told; what makes one node another is written over it.
    pub common: Config,
}

/// Nodes that serve.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    folder: Folder,
}

/// A folder that stays, or one that goes when this is dropped.
#[derive(Debug)]
pub enum Folder {
    /// Stays.
    Kept(PathBuf),
    /// Goes.
    Temporary(TempDir),
}

impl Folder {
    fn open(kept: Option<PathBuf>) -> Result<Self, StartError> {
        match kept {
            Some(path) => Ok(Self::Kept(path)),
            None => TempDir::with_prefix("carillon-")
                .map(Self::Temporary)
                .map_err(|source| StartError::Folder { path: std::env::temp_dir(), source }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

impl Cluster {
    /// Starts the nodes and waits until every partition is led.
    ///
    /// # Errors
    /// Whatever keeps one of them from starting; those that had started are gone then.
    pub async fn start(plan: Plan) -> Result<Self, StartError> {
        let folder = Folder::open(plan.folder.clone())?;
        let configs: Vec<Config> =
            (1..=plan.nodes).map(|i| plan.config(folder.path(), i)).collect();
        let Some(first) = configs.first() else { return Ok(Self { nodes: Vec::new(), folder }) };
        let process = Process::open(folder.path(), first, cli::compiler())?;
        // Together: the cluster exists only when enough of them are there.
        let mut starting = JoinSet::new();
        for config in configs {
            let process = process.clone();
            starting.spawn(async move { Node::start(&config, &process).await });
        }
        let mut nodes = Vec::new();
        while let Some(started) = starting.join_next().await {
            let ended = |error: JoinError| StartError::Ended(error.to_string());
            nodes.push(started.map_err(ended)??);
        }
        nodes.sort_by(|one, other| one.name().cmp(other.name()));
        for node in &nodes {
            node.ready(READY_MAX).await?;
        }
        Ok(Self { nodes, folder })
    }

    /// Where the nodes answer.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes and their folder, which must outlive them.
    pub fn into_parts(self) -> (Vec<Node>, Folder) {
        (self.nodes, self.folder)
    }
}

impl Plan {
    /// What node `number` of 1, 2, 3 … is told.
    fn config(&self, folder: &Path, number: u8) -> Config {
        let mut config = self.common.clone();
        let name = format!("n{number}");
        if let Ok(id) = name.parse() {
            config.node.id = id;
        }
        config.node.data = folder.join(name);
        let port = |base: u16| match self.http_port {
            0 => 0,
            port => port.saturating_add(base).saturating_add(u16::from(number)),
        };
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        config.http.listen = loopback(port(0));
        config.admin.listen = loopback(port(100));
        // Others learn it from the registry, so that any free port will do.
        config.quic.listen = loopback(0);
        config.ring.positions = Positions::Random(64);
        config.replication.copies = self.nodes.min(3);
        config.replication.commit = self.nodes.min(3) / 2 + 1;
        config
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;
    use crate::config::Config;
    use std::path::Path;

    #[test]
    fn nodes_of_a_demo_have_the_documented_ports_and_quorums() {
        let common = Config::default();
        let plan = |nodes| Plan { nodes, folder: None, http_port: 7080, common: common.clone() };
        let config = plan(3).config(Path::new("d"), 2);
        assert_eq!(config.node.id.as_str(), "n2");
        assert_eq!((config.http.listen.port(), config.admin.listen.port()), (7082, 7182));
        for (nodes, copies, commit) in [(1, 1, 1), (2, 2, 2), (3, 3, 2), (5, 3, 2)] {
            let replication = plan(nodes).config(Path::new("d"), 1).replication;
            assert_eq!((replication.copies, replication.commit), (copies, commit), "{nodes}");
        }
        let anywhere = Plan { http_port: 0, ..plan(3) }.config(Path::new("d"), 1);
        assert_eq!(anywhere.http.listen.port(), 0);
    }
}
