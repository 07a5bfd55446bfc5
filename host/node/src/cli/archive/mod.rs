//! `carillon archive`: objects from a shell, over HTTP like everybody else.
//!
//! What is stored and read is never in memory as a whole: a part at a time.

mod attach;
mod get;
mod ls;
mod put;

use clap::{Args, Subcommand};
use client::{Client, Error, Options};

use super::bearer::BearerArgs;
use super::chat::NOBODY;
use super::{Problem, output, waiting};

pub(super) use attach::{Attached, attach, detach};
pub(super) use get::print;

/// Stores objects, and reads, lists and deletes them.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon archive put photos\n  carillon archive put photos/2026/bell.jpg \
                        bell.jpg\n  carillon archive get photos/2026/bell.jpg copy.jpg"
)]
pub(super) struct ArchiveCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Put(put::PutCommand),
    Get(get::GetCommand),
    Ls(ls::LsCommand),
    Rm(Rm),
}

/// Where to ask, and how to print.
#[derive(Debug, Args)]
struct Common {
    /// A node; more of them, with commas, are asked in turn when one does not answer
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:7081")]
    url: Vec<String>,
    #[command(flatten)]
    bearer: BearerArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Deletes everything that a key has, or one version of it, and prints the delete's own version.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon archive rm photos/2026/bell.jpg")]
struct Rm {
    /// COLLECTION/KEY
    name: String,
    /// Only this version
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl ArchiveCommand {
    pub(super) fn run(self) -> Result<(), Problem> {
        super::small_runtime()?.block_on(async {
            match self.command {
                Command::Put(put) => put.run().await,
                Command::Get(get) => get.run().await,
                Command::Ls(ls) => ls.run().await,
                Command::Rm(rm) => rm.run().await,
            }
        })
    }
}

impl Rm {
    async fn run(self) -> Result<(), Problem> {
        let (collection, key) = name(&self.name)?;
        let client = self.common.client()?;
        let deleting = client.delete_object(collection, key, self.version.as_deref());
        let deleted = waiting::answer(&client, deleting).await.map_err(told)?;
        let json = serde_json::json!({"version": deleted.version});
        if self.common.json { output::line(json) } else { output::line(deleted.version) }.map(drop)
    }
}

impl Common {
    fn client(&self) -> Result<Client, Problem> {
        let options = Options { nobody: Some(NOBODY), ..Options::default() };
        let client = Client::with_options(&self.url, options)?;
        if let Some(bearer) = self.bearer.bearer()? {
            client.authorise(bearer);
        }
        Ok(client)
    }
}

/// A collection and a key.
fn name(text: &str) -> Result<(&str, &str), Problem> {
    match text.split_once('/') {
        Some((collection, key)) if !collection.is_empty() && !key.is_empty() => {
            Ok((collection, key))
        }
        _ => Err(Problem::usage(
            format!("{text:?} names no key in a collection"),
            "Write COLLECTION/KEY, like photos/2026/bell.jpg",
        )),
    }
}

/// What went wrong, with what helps here.
fn told(error: Error) -> Problem {
    let fix = match error.problem().map(|problem| problem.code.as_str()) {
        Some("unknown-collection") => "Make it first: carillon archive put COLLECTION",
        Some("not-found") => "See what there is: carillon archive ls COLLECTION",
        Some("unknown-version") => {
            "See which there are: carillon archive ls COLLECTION/KEY --versions"
        }
        Some("collection-exists") => "Use it as it is, or another name: collections never change",
        Some("md5-mismatch" | "size-mismatch") => "Put it again: it changed on its way",
        Some("damaged") => "Look into the nodes' logs: no copy of it verifies",
        Some("invalid-request") => "Correct that, and try again",
        _ => return error.into(),
    };
    Problem::failed(super::chain(&error), fix)
}
