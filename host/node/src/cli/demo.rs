//! `carillon demo`: several nodes in this process, to look at.

use std::path::PathBuf;

use clap::Args;

use super::{Problem, output};
use crate::assemble::Node;
use crate::cluster::{Cluster, Plan};
use crate::config::Log;
use crate::shutdown::{Leaving, serve};
use crate::signals::Signals;
use crate::{shipped, telemetry};

/// Runs several nodes in this process, with the shipped plugins and the chat page.
///
/// Real QUIC between the nodes, real files below them. Loopback only, and everybody may say to be
/// anybody: it is for looking at.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon demo --dir data\n\nNode 1 answers at \
                        http://127.0.0.1:7081, node 2 at 7082, and so on. Ctrl-C stops.")]
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

    async fn serve(self) -> Result<(), Problem> {
        let plugins = shipped::folder()
            .map_err(|error| Problem::failed(error, "Run make build, which puts them there"))?;
        let mut signals = Signals::catch().map_err(super::no_signals)?;
        let plan = Plan {
            nodes: self.nodes,
            folder: self.dir,
            http_port: self.http_port,
            plugins: Some(plugins),
        };
        let started = tokio::select! {
            biased;
            name = signals.next() => {
                output::note(format_args!("{name}: stopped before it was ready"));
                return Ok(());
            }
            started = Cluster::start(plan) => started,
        };
        // The folder goes when this function ends, after the nodes.
        let (nodes, _folder) = started?.into_parts();
        let urls: Vec<String> = nodes.iter().map(Node::url).collect();
        output::note(
            "This is a demonstration: it listens on loopback only, and authentication is open: \
             everybody says who they are.",
        );
        output::line(format_args!("ready: {}", urls.join(" ")))?;
        serve(nodes, Leaving::Everybody, &mut signals).await
    }
}
