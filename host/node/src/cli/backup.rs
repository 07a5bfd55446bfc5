//! `carillon backup`: copies of nodes' data folders, and folders made of them.
//!
//! What a copy is, and what a folder made of one may say, is [`segment::Backup`]'s; how a cluster is founded on
//! several is [`replication::found`]'s.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use registry::{Registry, Session};
use replication::{NotFounded, Remains};
use segment::{Backup, BackupError, Road};
use serde_json::json;

use super::{Problem, chain, of_spaces, output};
use crate::config::{Config, RegistryKind};
use crate::joining;
use crate::opening;

/// The registry is waited for so long.
const REGISTRY_MAX: Duration = Duration::from_secs(10);

/// Copies a node's data folder, and makes folders of copies.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon backup create --config a.toml --to /backups/a\n  carillon backup \
                        verify /backups/a\n\nA node is stopped while it is copied; others go on. A node that \
                        lost its disk needs no backup while enough others have everything: see \
                        docs/operations.md."
)]
pub(super) struct BackupCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    Verify(Verify),
    Restore(Restore),
    Found(Found),
}

/// Copies the data folder of a node that is stopped.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon backup create --config a.toml --to /backups/a")]
struct Create {
    /// The node's configuration
    #[arg(long)]
    config: PathBuf,
    /// A folder that is empty, or not there
    #[arg(long)]
    to: PathBuf,
    /// Also if the registry cannot be asked: then no cluster can be founded on this backup alone
    #[arg(long)]
    without_registry: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads a backup and compares everything with its manifest.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon backup verify /backups/a")]
struct Verify {
    /// The backup
    backup: PathBuf,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Makes a node's data folder of a backup.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon backup restore /backups/a --config a.toml\n\nThe node returns to its cluster \
                  with its places and plugins, as a store that has promised nothing: it is given logs and objects by \
                  the others. If nobody of the cluster is left, run carillon backup found first, and restore every \
                  node with the --cluster that it prints."
)]
struct Restore {
    /// The backup
    backup: PathBuf,
    /// The node's configuration
    #[arg(long)]
    config: PathBuf,
    /// The cluster that was founded on the backups, as carillon backup found printed it
    #[arg(long)]
    cluster: Option<String>,
}

/// Founds a cluster on the backups of an earlier one of which nobody is left.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon backup found /backups/a /backups/b /backups/c --config a.toml\n\nWith a \
                  registry in the node's own folder (one backup) the folder is restored as well. What was stored after \
                  the backups were taken is lost, and no name of it is given out again."
)]
struct Found {
    /// The backups: of each partition as many as could have taken it over
    #[arg(required = true)]
    backups: Vec<PathBuf>,
    /// The configuration of one of the nodes: which registry
    #[arg(long)]
    config: PathBuf,
}

impl BackupCommand {
    pub(super) fn run(self) -> Result<(), Problem> {
        match self.command {
            Command::Create(create) => create.run(),
            Command::Verify(verify) => verify.run(),
            Command::Restore(restore) => restore.run(),
            Command::Found(found) => found.run(),
        }
    }
}

impl Create {
    fn run(self) -> Result<(), Problem> {
        let config = Config::load_alone(&self.config)?;
        let data = config.data();
        if !data.join("identity").exists() {
            let what = format!("{} is no data folder of a node", data.display());
            return Err(Problem::usage(what, "Name the configuration of a node that has run"));
        }
        // It is locked from here on: a node that runs has it.
        let folder = opening::folder(&config)?;
        let asked = super::small_runtime()?.block_on(async {
            let registry = open(&config, data)?;
            let session = reached(&registry, &config).await?;
            replication::lasting(&session).await.map_err(unreachable)
        });
        let registry = match asked {
            Ok(registry) => registry,
            Err(problem) if self.without_registry => {
                output::note(format_args!("without what stands in the registry: {}", problem.what));
                Vec::new()
            }
            Err(problem) => return Err(problem),
        };
        let backup = Backup::create(&folder, &self.to, registry)?;
        let (files, bytes) = backup.verify()?;
        tell(&backup, &self.to, files, bytes, self.json)
    }
}

impl Verify {
    fn run(self) -> Result<(), Problem> {
        let backup = Backup::open(&self.backup)?;
        let (files, bytes) = backup.verify()?;
        tell(&backup, &self.backup, files, bytes, self.json)
    }
}

impl Restore {
    fn run(self) -> Result<(), Problem> {
        let config = Config::load_alone(&self.config)?;
        let backup = Backup::open(&self.backup)?;
        let road = match &self.cluster {
            None if config.registry.kind == RegistryKind::Embedded => {
                let what = "a node with the registry in its own folder returns to no cluster";
                let fix = "Run carillon backup found, which restores it";
                return Err(Problem::usage(what, fix));
            }
            None => Road::Member,
            Some(text) => Road::Founder { cluster: number(text)? },
        };
        restore(&backup, &config, road)?;
        output::line(match road {
            Road::Member => format!(
                "{}: node {}, a new store; start it, and the others give it what it should hold",
                config.data().display(),
                backup.node()
            ),
            Road::Founder { cluster } => format!(
                "{}: node {} of cluster {cluster:016x}; start it with the others",
                config.data().display(),
                backup.node()
            ),
        })
        .map(drop)
    }
}

impl Found {
    fn run(self) -> Result<(), Problem> {
        let config = Config::load_alone(&self.config)?;
        let backups: Result<Vec<Backup>, BackupError> =
            self.backups.iter().map(|path| Backup::open(path)).collect();
        let backups = backups?;
        for backup in &backups {
            backup.verify()?;
        }
        let cluster = rand::random();
        if config.registry.kind == RegistryKind::Embedded {
            let [backup] = &backups[..] else {
                let what = "a registry in a node's own folder is of one node";
                return Err(Problem::usage(what, "Name that node's backup alone"));
            };
            restore(backup, &config, Road::Founder { cluster })?;
        }
        let remains: Vec<Remains> = backups.iter().map(remains).collect();
        super::small_runtime()?.block_on(async {
            let registry = open(&config, config.data())?;
            let session = reached(&registry, &config).await?;
            replication::found(&session, &remains, cluster).await.map_err(not_founded)
        })?;
        output::line(format_args!("cluster: {cluster:016x}")).map(drop)
    }
}

fn restore(backup: &Backup, config: &Config, road: Road) -> Result<(), Problem> {
    backup.restore(config.data(), &config.node.id, config.cluster.partitions, road)?;
    Ok(())
}

fn remains(backup: &Backup) -> Remains {
    Remains {
        node: backup.node().clone(),
        store: backup.store(),
        cluster: backup.cluster(),
        partitions: backup.partitions(),
        made_ms: backup.made_ms(),
        registry: backup.registry().to_vec(),
    }
}

/// The registry, without what a node keeps of it.
fn open(config: &Config, data: &Path) -> Result<Registry, Problem> {
    let wrong = |what| Problem::usage(what, "Run carillon check");
    match config.registry.kind {
        RegistryKind::Embedded => joining::open(data, config).map_err(Problem::from),
        RegistryKind::ZooKeeper => {
            let zookeeper = joining::servers(config).map_err(|error| wrong(chain(&error)))?;
            Registry::zookeeper(zookeeper).map_err(|error| wrong(chain(&error)))
        }
    }
}

async fn reached(registry: &Registry, config: &Config) -> Result<Session, Problem> {
    let session = registry.session(&config.node.id);
    match session.connected(REGISTRY_MAX).await {
        Ok(()) => Ok(session),
        Err(problem) => {
            Err(unreachable(problem.map_or_else(
                || "the registry does not answer".to_owned(),
                |problem| chain(&problem),
            )))
        }
    }
}

fn unreachable(what: impl std::fmt::Display) -> Problem {
    Problem::unreachable(what, "See that the registry runs and hosts below [registry] are right")
}

fn tell(backup: &Backup, path: &Path, files: usize, bytes: u64, json: bool) -> Result<(), Problem> {
    let (node, registry) = (backup.node(), backup.registry().len());
    if json {
        let cluster = backup.cluster().map(|cluster| format!("{cluster:016x}"));
        return output::line(json!({
            "path": path, "node": node.to_string(), "cluster": cluster,
            "made_ms": backup.made_ms(), "files": files, "bytes": bytes, "registry": registry,
        }))
        .map(drop);
    }
    let path = path.display();
    output::line(format_args!(
        "{path}: node {node}, {files} files of {bytes} bytes and {registry} records of the registry, all as copied"
    ))
    .map(drop)
}

/// A cluster's number, as it is printed.
fn number(text: &str) -> Result<u64, Problem> {
    u64::from_str_radix(text, 16).map_err(|_other| {
        let what = format!("{text} is no cluster");
        Problem::usage(what, "Write it as carillon backup found printed it")
    })
}

fn not_founded(error: NotFounded) -> Problem {
    let what = chain(&error);
    match error {
        NotFounded::Alive { .. } => Problem::failed(
            what,
            "Restore single nodes without --cluster; or stop all, and wait until the registry forgot them",
        ),
        NotFounded::Lacking { .. } | NotFounded::Nothing => Problem::failed(
            what,
            "Name the backups of more nodes: without them something may be lost",
        ),
        NotFounded::Unknown { .. } => {
            Problem::failed(what, "Name a backup that was taken with the registry")
        }
        NotFounded::Several => Problem::failed(
            what,
            "Name backups of one cluster, and a registry that is empty or was that cluster's",
        ),
        NotFounded::Raced => Problem::failed(what, "Found it again"),
        NotFounded::Registry(_) => unreachable(what),
    }
}

impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        let what = chain(&error);
        match error {
            BackupError::NotEmpty { .. } => {
                Self::failed(what, "Nothing is written over: move it away, or name another folder")
            }
            BackupError::Inside { .. } => Self::usage(what, "Name a folder elsewhere"),
            BackupError::NoBackup { .. } => Self::failed(
                what,
                "Name a folder that carillon backup create has written to the end",
            ),
            BackupError::Manifest { .. } | BackupError::Differs { .. } => {
                Self::failed(what, "Use another backup: this one cannot be trusted")
            }
            BackupError::OtherNode { .. } | BackupError::OtherPartitions { .. } => {
                Self::usage(what, "Name the backup and the configuration of one node")
            }
            BackupError::Spaces(error) => Self::failed(what, of_spaces(&error)),
            BackupError::Disk { .. } => Self::failed(what, "See that it can be read and written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_cluster_is_named_as_it_is_printed() {
        assert_eq!(number(&format!("{:016x}", 77_u64)).unwrap(), 77);
        assert_eq!(number(&format!("{:016x}", u64::MAX)).unwrap(), u64::MAX);
        assert!(number("n1").is_err());
    }
}
