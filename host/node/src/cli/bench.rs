//! `carillon bench`: the load generator and its table.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use client::Target;
use serde::Serialize;
use tempfile::TempDir;

use super::bearer::BearerArgs;
use super::{Problem, output};
use crate::bench::conversations::Wanted;
use crate::cluster::{Cluster, Plan as ClusterPlan};
use crate::config::{Config, Log};
use crate::shutdown::Leaving;
use crate::{bench, shipped, shutdown, telemetry};

/// How long the nodes of a measurement may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// Measures sends against nodes, or against three nodes of its own.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon bench --floor\n  carillon bench --url \
                        http://127.0.0.1:7081,http://127.0.0.1:7082 --clients 64 --json\n\nWithout \
                        --url three nodes run in this process, with the shipped handlers. Load and \
                        nodes then share the processors.")]
pub(super) struct Bench {
    /// The nodes, with commas; without it three of its own
    #[arg(long, value_delimiter = ',')]
    url: Vec<String>,
    #[command(flatten)]
    bearer: BearerArgs,
    /// Clients that send at once
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=2000))]
    clients: u16,
    /// How long it counts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 200)]
    body: usize,
    /// Chats that the messages go to
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    chats: u16,
    /// Nodes that must hold a message before its answer; the commit quorum if not said
    #[arg(long, value_name = "W")]
    acks: Option<u8>,
    /// Also measures what bounds a send: disk, QUIC, HTTP
    #[arg(long)]
    floor: bool,
    /// Sends to any node, which forwards, and not to the one that leads the chat
    #[arg(long)]
    any_node: bool,
    /// Its own nodes run no handlers
    #[arg(long, conflicts_with = "url")]
    empty_chain: bool,
    /// Where its own nodes keep everything, and where the disk is measured; without it a temporary folder
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Measures what conversations cost instead: sends over sockets, delivery to many readers, presence, long chats
    #[arg(long, conflicts_with_all = ["floor", "any_node", "acks", "clients", "chats"])]
    conversations: bool,
    /// With --conversations: readers of one chat, and chats with a reader each
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1500))]
    readers: u16,
    /// With --conversations: people who are there; 0 leaves that out
    #[arg(long, default_value_t = 10_000)]
    people: u32,
    /// With --conversations: how long the chats are that one client sends to, in messages, rising
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_u64, 100_000, 1_000_000])]
    messages: Vec<u64>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Problem> {
        let log = Log { level: "warn".to_owned(), ..Log::default() };
        telemetry::start(&log).map_err(|what| Problem::failed(what, "Report this"))?;
        let runtime = super::runtime()?;
        let measured = runtime.block_on(self.measure());
        runtime.shutdown_background();
        measured
    }

    async fn measure(self) -> Result<(), Problem> {
        if !self.url.is_empty() {
            let folder = self.folder()?;
            let path = folder.as_ref().map(TempDir::path).or(self.dir.as_deref());
            return self.against(&self.url, path.unwrap_or_else(|| Path::new("."))).await;
        }
        let mut common = Config::default();
        if !self.empty_chain {
            let plugins = shipped::folder()
                .map_err(|error| Problem::failed(error, "Run make build, or add --empty-chain"))?;
            shipped::add(&mut common, &plugins);
        }
        let plan = ClusterPlan { nodes: 3, folder: self.dir.clone(), http_port: 0, common };
        output::note("starting three nodes");
        let cluster = Cluster::start(plan).await?;
        let urls = cluster.urls();
        let (nodes, folder) = cluster.into_parts();
        let measured = self.against(&urls, folder.path()).await;
        shutdown::stop_all(nodes, Leaving::Everybody, GRACE).await;
        measured
    }

    /// Where the disk is measured when the nodes are somebody else's.
    fn folder(&self) -> Result<Option<TempDir>, Problem> {
        if self.dir.is_some() || !self.floor {
            return Ok(None);
        }
        let folder = TempDir::with_prefix("carillon-bench-").map_err(|error| {
            Problem::failed(format!("no temporary folder: {error}"), "Name one with --dir")
        })?;
        Ok(Some(folder))
    }

    async fn against(&self, urls: &[String], folder: &Path) -> Result<(), Problem> {
        let targets: Result<Vec<Target>, _> = urls.iter().map(|url| url.parse()).collect();
        let targets =
            targets.map_err(|error| Problem::usage(error, "Write --url http://127.0.0.1:7081"))?;
        if self.conversations {
            return self.conversations(targets).await;
        }
        let plan = bench::Plan {
            targets,
            bearer: self.bearer.bearer()?,
            clients: usize::from(self.clients),
            measured: Duration::from_secs(u64::from(self.seconds)),
            body_bytes: self.body,
            chats: usize::from(self.chats),
            acks: self.acks,
            any_node: self.any_node,
            floor: self.floor.then(|| folder.to_owned()),
        };
        let report = bench::run(&plan, |line| output::note(line))
            .await
            .map_err(|error| unmeasured(&error))?;
        self.print(&report, || report.table())?;
        match (report.sends, report.errors) {
            (_, 0) => Ok(()),
            (0, _) => Err(Problem::failed("nothing was stored", "See the errors above")),
            (_, errors) => {
                let what = format!("{errors} sends were not acknowledged");
                Err(Problem::partly(what, "See the errors above"))
            }
        }
    }

    async fn conversations(&self, targets: Vec<Target>) -> Result<(), Problem> {
        if self.bearer.bearer()?.is_some() {
            let fix = "Leave the token out, and measure nodes whose authentication is open";
            return Err(Problem::usage("conversations are measured without tokens", fix));
        }
        let wanted = Wanted {
            targets,
            measured: Duration::from_secs(u64::from(self.seconds)),
            body_bytes: self.body,
            readers: usize::from(self.readers),
            people: usize::try_from(self.people).unwrap_or(usize::MAX),
            messages: self.messages.clone(),
        };
        let figures = bench::conversations::run(&wanted, |line| output::note(line));
        let figures = figures.await.map_err(|error| unmeasured(&error))?;
        self.print(&figures, || figures.table())
    }

    fn print(
        &self,
        figures: &impl Serialize,
        table: impl FnOnce() -> String,
    ) -> Result<(), Problem> {
        if !self.json {
            return output::line(table()).map(drop);
        }
        let text = serde_json::to_string(figures).map_err(|error| {
            Problem::failed(format!("the figures are no JSON: {error}"), "Report this")
        })?;
        output::line(text).map(drop)
    }
}

fn unmeasured(error: &std::io::Error) -> Problem {
    let what = format!("the nodes cannot be measured: {error}");
    match error.kind() {
        std::io::ErrorKind::Other => Problem::failed(what, "See what the nodes log"),
        _ => Problem::unreachable(what, "Start them, or name others with --url"),
    }
}
