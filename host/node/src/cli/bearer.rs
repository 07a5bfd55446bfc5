//! The token that a command asks with.

use std::path::PathBuf;

use clap::Args;
use client::Bearer;

use super::Problem;

/// Where a token may be, beside a file: an argument would be seen by everybody on the machine.
const VARIABLE: &str = "CARILLON_TOKEN";

/// Which token to ask with.
#[derive(Debug, Args)]
pub(super) struct BearerArgs {
    /// A file with an access token, for nodes that want one; without it the one in CARILLON_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl BearerArgs {
    /// The token, if there is one.
    pub(super) fn bearer(&self) -> Result<Option<Bearer>, Problem> {
        let (place, text) = match &self.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let what = format!("{}: {error}", path.display());
                    Problem::usage(what, "Name a file that carillon token wrote")
                })?;
                (path.display().to_string(), text)
            }
            None => match std::env::var(VARIABLE) {
                Ok(text) if !text.is_empty() => (VARIABLE.to_owned(), text),
                _ => return Ok(None),
            },
        };
        match text.trim().parse() {
            Ok(bearer) => Ok(Some(bearer)),
            Err(error) => Err(Problem::usage(
                format!("{place}: {error}"),
                "Take one that carillon token made",
            )),
        }
    }
}
