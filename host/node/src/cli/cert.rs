//! `carillon cert`: a cluster's authority, and the certificates of its nodes.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hashring::NodeId;
use replication::{AUTHORITY_DAYS, Authority, NODE_DAYS, TlsError};

use super::{Problem, chain, output};

/// Makes the certificates with which nodes know each other.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon cert ca --out ca\n  carillon cert node n1 --ca ca --out n1\n\n\
                        Whoever has ca.key can make a node: keep it away from all of them."
)]
pub(super) struct Cert {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ca(Ca),
    Node(NodeCert),
}

/// Makes a cluster's authority: ca.pem, which every node gets, and ca.key, which none does.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon cert ca --out ca\n\nIt is good for ten years.")]
struct Ca {
    /// The folder to write into; it is made if it is not there
    #[arg(long)]
    out: PathBuf,
    /// The cluster, as in cluster.name
    #[arg(long, default_value = "carillon")]
    cluster: String,
}

/// Makes a node's certificate: NAME.pem and NAME.key, and ca.pem beside them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon cert node n1 --ca ca --out n1 --host n1.example.org\n\nIt is good \
                        for two years. To renew it, make another with --replace and start the node again."
)]
struct NodeCert {
    /// The node's id, as in node.id
    name: String,
    /// The folder with ca.pem and ca.key
    #[arg(long)]
    ca: PathBuf,
    /// The folder to write into; it is made if it is not there
    #[arg(long)]
    out: PathBuf,
    /// A name or address of its machine, for programs that look at it; nodes do not
    #[arg(long)]
    host: Vec<String>,
    /// Writes over the certificate and the key that are there
    #[arg(long)]
    replace: bool,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readers {
    /// Its owner only.
    Owner,
    /// Everybody.
    All,
}

impl Cert {
    pub(super) fn run(self) -> Result<(), Problem> {
        match self.command {
            Command::Ca(ca) => ca.run(),
            Command::Node(node) => node.run(),
        }
    }
}

impl Ca {
    fn run(self) -> Result<(), Problem> {
        if self.cluster.is_empty() {
            return Err(Problem::usage("a cluster has a name", "Write --cluster carillon"));
        }
        let (certificate, key) = (self.out.join("ca.pem"), self.out.join("ca.key"));
        if let Some(there) = [&certificate, &key].into_iter().find(|path| path.exists()) {
            let what = format!("{} is there already, and nothing was written", there.display());
            let fix =
                "Name another folder; with another authority every node needs a new certificate";
            return Err(Problem::failed(what, fix));
        }
        let authority = Authority::new(&self.cluster).map_err(not_made)?;
        folder(&self.out)?;
        // The key first: a certificate without its key would look like an authority and be none.
        write(&key, &authority.key(), Readers::Owner)?;
        write(&certificate, authority.certificate(), Readers::All)?;
        output::line(format_args!(
            "{} and {}: the authority of cluster {}, good for {AUTHORITY_DAYS} days",
            certificate.display(),
            key.display(),
            self.cluster
        ))
        .map(drop)
    }
}

impl NodeCert {
    fn run(self) -> Result<(), Problem> {
        let node: NodeId = self.name.parse().map_err(|error: hashring::InvalidNodeId| {
            Problem::usage(error, "Write the node's id, as in node.id")
        })?;
        let authority = self.authority()?;
        let files = Files::new(&self.out, &node);
        if let Some(there) = files.own().into_iter().find(|path| path.exists())
            && !self.replace
        {
            let what = format!("{} is there already, and nothing was written", there.display());
            return Err(Problem::failed(what, "Say --replace to renew it, or name another folder"));
        }
        if let Ok(other) = fs::read_to_string(&files.authority)
            && other.trim() != authority.certificate().trim()
        {
            let what = format!("{} is of another authority", files.authority.display());
            return Err(Problem::failed(
                what,
                "Name the folder of that authority with --ca, or another --out",
            ));
        }
        let pem = authority.issue_for(&node, &self.host).map_err(not_made)?;
        folder(&self.out)?;
        write(&files.key, &pem.key, Readers::Owner)?;
        write(&files.certificate, &pem.certificate, Readers::All)?;
        write(&files.authority, &pem.authority, Readers::All)?;
        output::line(format_args!(
            "{} and {}: node {node}, good for {NODE_DAYS} days",
            files.certificate.display(),
            files.key.display()
        ))
        .map(drop)
    }

    fn authority(&self) -> Result<Authority, Problem> {
        let read = |name: &str| {
            let path = self.ca.join(name);
            fs::read_to_string(&path).map_err(|error| {
                let what = format!("{} cannot be read: {error}", path.display());
                Problem::usage(what, "Name the folder that carillon cert ca wrote with --ca")
            })
        };
        Authority::from_pem(&read("ca.pem")?, &read("ca.key")?).map_err(|error| {
            let what = format!("{} holds no authority: {}", self.ca.display(), chain(&error));
            Problem::failed(what, "Name the folder that carillon cert ca wrote with --ca")
        })
    }
}

/// What a node needs, in one folder.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Files {
    fn new(folder: &Path, node: &NodeId) -> Self {
        Self {
            certificate: folder.join(format!("{node}.pem")),
            key: folder.join(format!("{node}.key")),
            authority: folder.join("ca.pem"),
        }
    }

    /// Those of the node alone.
    fn own(&self) -> [&PathBuf; 2] {
        [&self.certificate, &self.key]
    }
}

fn not_made(error: TlsError) -> Problem {
    let what = chain(&error);
    match error {
        TlsError::Host { .. } => Problem::usage(what, "Write --host with a DNS name or an address"),
        _ => Problem::failed(what, "Try again; nothing was written"),
    }
}

fn folder(path: &Path) -> Result<(), Problem> {
    fs::create_dir_all(path).map_err(|error| {
        let what = format!("the folder {} cannot be made: {error}", path.display());
        Problem::failed(what, "Name a folder that can be written with --out")
    })
}

/// Writes a file as a whole: beside it, synced, renamed. Whoever reads meanwhile sees the old or the new.
fn write(path: &Path, text: &str, readers: Readers) -> Result<(), Problem> {
    let written = || {
        let partial = path.with_extension("partial");
        let mode = match readers {
            Readers::Owner => 0o600,
            Readers::All => 0o644,
        };
        // Of an attempt that was cut short, maybe with other permissions.
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        // What the umask took away from everybody's.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    written().map_err(|error: io::Error| {
        let what = format!("{} cannot be written: {error}", path.display());
        Problem::failed(what, "Name a folder that can be written with --out")
    })
}
