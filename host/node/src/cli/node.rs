//! `carillon node`: one node from its configuration, and what is asked of a running one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::admin::Admin;
use super::{Problem, output};
use crate::assemble::{Node as Assembled, Process, StartError};
use crate::config::{Config, Faults, RegistryKind, Span};
use crate::handlers::in_text;
use crate::shutdown::{Leaving, serve};
use crate::signals::Signals;
use crate::telemetry;

/// How often a node that gives everything away is asked how far it is.
const LOOK: Duration = Duration::from_millis(100);

/// Runs one node.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Example:\n  carillon node --config config/single.toml\n\nSIGTERM or Ctrl-C drains and stops; \
                  a second one stops at once, which loses nothing acknowledged."
)]
pub(super) struct Node {
    /// The configuration
    #[arg(long, required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Drain(Drain),
}

/// Has a running node give away everything it leads, so that stopping it is hardly noticed.
///
/// It goes on answering and holding its copies, and leads nothing until it is started again or taken back. A
/// node that the others cannot do without refuses.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon node drain --admin http://127.0.0.1:7181 --timeout 30s"
)]
struct Drain {
    /// Where the node answers operators
    #[arg(long)]
    admin: String,
    /// How long to wait until it leads nothing
    #[arg(long, default_value = "30s", value_parser = span)]
    timeout: Duration,
    /// It leads again: takes a drain back
    #[arg(long, conflicts_with = "force")]
    cancel: bool,
    /// Also if nobody else could lead, or too few would be left
    #[arg(long)]
    force: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0)
}

impl Node {
    pub(super) fn run(self) -> Result<(), Problem> {
        match (self.command, self.config) {
            (Some(Command::Drain(drain)), _) => super::small_runtime()?.block_on(drain.run()),
            (None, Some(config)) => run(&config),
            (None, None) => {
                Err(Problem::usage("no configuration", "Write --config config/single.toml"))
            }
        }
    }
}

fn run(file: &Path) -> Result<(), Problem> {
    let config = Config::load_alone(file)?;
    telemetry::start(&config.log)
        .map_err(|what| Problem::usage(what, "Write level = \"info\" below [log]"))?;
    let runtime = super::runtime()?;
    let served = runtime.block_on(serve_one(file, &config));
    // What is still running then was cut, and named.
    runtime.shutdown_background();
    served
}

async fn serve_one(file: &Path, config: &Config) -> Result<(), Problem> {
    let mut signals = Signals::catch().map_err(super::no_signals)?;
    let started = tokio::select! {
        biased;
        name = signals.next() => {
            output::note(format_args!("{name}: stopped before it was ready"));
            return Ok(());
        }
        started = start(config) => started,
    };
    let node = started.map_err(|error| problem(file, error))?;
    output::note(format_args!("operators: {}", node.admin_url()));
    output::line(format_args!("ready: {}", node.url()))?;
    let leaving = match config.registry.kind {
        RegistryKind::Embedded => Leaving::Everybody,
        RegistryKind::ZooKeeper => Leaving::Alone,
    };
    serve(vec![node], leaving, &mut signals).await
}

/// Plugins are told like the other faults of the file, with their lines.
pub(super) fn problem(file: &Path, error: StartError) -> Problem {
    let StartError::Plugins(unusable) = error else { return error.into() };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let faults = unusable.into_iter().map(|plugin| in_text(plugin, &text)).collect();
    Faults { file: file.to_owned(), faults }.into()
}

async fn start(config: &Config) -> Result<Assembled, StartError> {
    let process = Process::open(config.data(), config, super::compiler())?;
    Assembled::start(config, &process).await
}

/// What is read of `GET /admin/v1/info`.
#[derive(Debug, Deserialize)]
struct Info {
    node: String,
    led: usize,
}

impl Drain {
    async fn run(self) -> Result<(), Problem> {
        let admin = Admin::new(&self.admin)?;
        let deadline = runtime::now() + self.timeout;
        let order = json!({"draining": !self.cancel, "force": self.force});
        admin.post("/admin/v1/drain", &order).await?;
        if self.cancel {
            let Info { node, led } = admin.get("/admin/v1/info").await?;
            let told = match self.json {
                true => json!({"node": node, "draining": false, "led": led}).to_string(),
                false => format!("{node} takes over again what is to be led by it"),
            };
            return output::line(told).map(drop);
        }
        loop {
            let Info { node, led } = admin.get("/admin/v1/info").await?;
            if led == 0 {
                let told = match self.json {
                    true => json!({"node": node, "draining": true, "led": 0}).to_string(),
                    false => format!("{node} leads nothing any more: it can be stopped"),
                };
                return output::line(told).map(drop);
            }
            if runtime::now() >= deadline {
                let what =
                    format!("{node} still leads {led} partitions, and goes on giving them away");
                let fix = "See carillon ring show: somebody who holds them must be up to take them";
                return Err(Problem::partly(what, fix));
            }
            runtime::sleep(LOOK).await;
        }
    }
}
