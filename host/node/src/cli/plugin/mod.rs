//! `carillon plugin`: what authors need without a node, and operators of one that runs; one file a verb.

mod pack;

use clap::{Args, Subcommand};

use super::Problem;

/// Works on plugins.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin pack plugin.toml component.wasm moderation.wasm"
)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pack(pack::Pack),
}

impl Plugin {
    pub(super) fn run(self) -> Result<(), Problem> {
        match self.command {
            Command::Pack(pack) => pack.run(),
        }
    }
}
