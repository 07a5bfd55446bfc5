//! `carillon plugin`: what authors need without a node, and operators of one that runs; one file a verb.

mod build;
mod chain;
mod comparison;
mod dev;
mod errors;
mod grants;
mod inspect;
mod logs;
mod ls;
mod new;
mod pack;
mod push;
mod rollback;
mod section;
mod swap;
mod test;

use clap::{Args, Subcommand};

use super::{Problem, small_runtime};

/// Which node, and how to print.
#[derive(Debug, Args)]
struct Common {
    /// Where a node answers operators
    #[arg(long, default_value = "http://127.0.0.1:7181")]
    admin: String,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Columns of text, each as wide as its widest cell.
pub(in crate::cli) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

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
    Ls(ls::Ls),
    Push(push::Push),
    Swap(swap::Swap),
    Rollback(rollback::Rollback),
    Chain(chain::Chain),
    Grants(grants::Grants),
    Logs(logs::Logs),
    Errors(errors::Errors),
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
            Command::Ls(ls) => small_runtime()?.block_on(ls.run()),
            Command::Push(push) => small_runtime()?.block_on(push.run()),
            Command::Swap(swap) => small_runtime()?.block_on(swap.run()),
            Command::Rollback(rollback) => small_runtime()?.block_on(rollback.run()),
            Command::Chain(chain) => small_runtime()?.block_on(chain.run()),
            Command::Grants(grants) => small_runtime()?.block_on(grants.run()),
            Command::Logs(logs) => small_runtime()?.block_on(logs.run()),
            Command::Errors(errors) => small_runtime()?.block_on(errors.run()),
        }
    }
}

/// `01:02:03.004` of a time in Unix milliseconds, UTC.
pub(in crate::cli) fn time_of_day(ms: u64) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60 % 24, minutes % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}
