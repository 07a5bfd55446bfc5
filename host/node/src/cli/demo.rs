//! `carillon demo`: several nodes in this process, to look at.

use std::path::PathBuf;

use clap::Args;

use super::{Problem, node, output};
use crate::assemble::Node;
use crate::cluster::{Cluster, Plan};
use crate::config::{Config, Log};
use crate::shutdown::{Leaving, serve};
use crate::signals::Signals;
use crate::{shipped, telemetry};

/// Runs several nodes in this process, with the shipped plugins and the chat page.
///
/// Real QUIC between the nodes, real files below them. Loopback only, and everybody may say to be
/// anybody: it is for looking at, and for trying plugins.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon demo --dir data\n  carillon demo --config hello/node.toml\n\nNode 1 \
                  answers at http://127.0.0.1:7081, and its operators at 7181, node 2 at 7082 and 7182, and \
                  so on. Ctrl-C stops."
)]
pub(super) struct Demo {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Where to keep everything; without it a temporary folder that is removed at the end
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Node i answers HTTP on this port plus i; 0 takes any free ports
    #[arg(long, default_value_t = 7080)]
    http_port: u16,
    /// A node's configuration: what it says of plugins, chains, services and the like is taken for every node,
    /// beside the shipped plugins. Names, addresses, certificates and folders stay the demo's
    #[arg(long)]
    config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, or directives like info,replication=debug
    #[arg(long, default_value = "warn")]
    log: String,
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Problem> {
        let log = Log { level: self.log.clone(), ..Log::default() };
        telemetry::start(&log)
            .map_err(|what| Problem::usage(what, "Write --log info, or leave it out"))?;
        let runtime = super::runtime()?;
        let served = runtime.block_on(self.serve());
        // What is still running then was cut, and named.
        runtime.shutdown_background();
        served
    }

    /// What every node is told: the shipped plugins, and what the file says beside them.
    fn common(&self) -> Result<Config, Problem> {
        let plugins = shipped::folder()
            .map_err(|error| Problem::failed(error, "Run make build, which puts them there"))?;
        // Paths of the file are relative to its folder, and these to this process's.
        let plugins = std::path::absolute(&plugins).unwrap_or(plugins);
        let mut common = Config::default();
        shipped::add(&mut common, &plugins);
        match &self.config {
            Some(file) => Config::load_common(file, common)
                .map_err(|faults| Problem::usage(faults, "Mend them, and start the demo again")),
            None => Ok(common),
        }
    }

    async fn serve(self) -> Result<(), Problem> {
        let common = self.common()?;
        let mut signals = Signals::catch().map_err(super::no_signals)?;
        let plan = Plan { nodes: self.nodes, folder: self.dir, http_port: self.http_port, common };
        let started = tokio::select! {
            biased;
            name = signals.next() => {
                output::note(format_args!("{name}: stopped before it was ready"));
                return Ok(());
            }
            started = Cluster::start(plan) => started,
        };
        let started = started.map_err(|error| match &self.config {
            Some(file) => node::problem(file, error),
            None => error.into(),
        })?;
        // The folder goes when this function ends, after the nodes.
        let (nodes, _folder) = started.into_parts();
        let operators: Vec<String> = nodes.iter().map(Node::admin_url).collect();
        output::note(format_args!("operators: {}", operators.join(" ")));
        let urls: Vec<String> = nodes.iter().map(Node::url).collect();
        output::note(
            "This is a demonstration: it listens on loopback only, and authentication is open: \
             everybody says who they are.",
        );
        output::line(format_args!("ready: {}", urls.join(" ")))?;
        serve(nodes, Leaving::Everybody, &mut signals).await
    }
}
