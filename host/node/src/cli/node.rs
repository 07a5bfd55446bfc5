//! `carillon node`: one node from its configuration.

use std::path::PathBuf;

use clap::Args;

use super::{Problem, output};
use crate::assemble::{Node as Assembled, Process, StartError};
use crate::config::{Config, Faults};
use crate::shutdown::serve;
use crate::signals::Signals;
use crate::telemetry;

/// Runs one node.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon node --config config/single.toml\n\nSIGTERM or Ctrl-C \
                        drains and stops; a second one stops at once, which loses nothing acknowledged."
)]
pub(super) struct Node {
    /// The configuration
    #[arg(long)]
    config: PathBuf,
}

impl Node {
    pub(super) fn run(self) -> Result<(), Problem> {
        let config = Config::load_alone(&self.config)?;
        telemetry::start(&config.log)
            .map_err(|what| Problem::usage(what, "Write level = \"info\" below [log]"))?;
        let runtime = super::runtime()?;
        let served = runtime.block_on(self.serve(&config));
        // What is still running then was cut, and named.
        runtime.shutdown_background();
        served
    }

    async fn serve(&self, config: &Config) -> Result<(), Problem> {
        let mut signals = Signals::catch().map_err(super::no_signals)?;
        let started = tokio::select! {
            biased;
            name = signals.next() => {
                output::note(format_args!("{name}: stopped before it was ready"));
                return Ok(());
            }
            started = start(config) => started,
        };
        let node = started.map_err(|error| self.problem(error))?;
        output::line(format_args!("ready: {}", node.url()))?;
        serve(vec![node], &mut signals).await
    }

    /// Plugins are told like the other faults of the file, with their lines.
    fn problem(&self, error: StartError) -> Problem {
        let StartError::Plugins(unusable) = error else { return error.into() };
        let text = std::fs::read_to_string(&self.config).unwrap_or_default();
        let faults = unusable.into_iter().map(|plugin| plugin.in_text(&text)).collect();
        Faults { file: self.config.clone(), faults }.into()
    }
}

async fn start(config: &Config) -> Result<Assembled, StartError> {
    let process = Process::open(config.data(), config)?;
    Assembled::start(config, &process).await
}
