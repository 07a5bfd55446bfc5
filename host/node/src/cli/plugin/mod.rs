//! `carillon plugin`: what authors need without a node, and operators of one that runs; one file a verb.

mod build;
mod dev;
mod inspect;
mod new;
mod pack;
mod test;

use clap::{Args, Subcommand};

use super::Problem;

/// Works on plugins.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin new hello --lang python\n  carillon plugin build hello\n  \
                  carillon plugin test hello"
)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Dev(dev::Dev),
    Inspect(inspect::Inspect),
    Pack(pack::Pack),
}

impl Plugin {
    pub(super) fn run(self) -> Result<(), Problem> {
        match self.command {
            Command::New(new) => new.run(),
            Command::Build(build) => build.run(),
            Command::Test(test) => test.run(),
            Command::Dev(dev) => dev.run(),
            Command::Inspect(inspect) => inspect.run(),
            Command::Pack(pack) => pack.run(),
        }
    }
}
