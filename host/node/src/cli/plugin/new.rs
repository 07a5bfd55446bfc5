//! `carillon plugin new`: a folder to begin with, and what a node has to be told to run it.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use workbench::{Language, Project};

use super::section;
use crate::cli::{Problem, output};

/// Makes the folder of a new plugin, which can be built and tested as it is.
///
/// `node.toml` in it is what a node or a demo is told of the plugin: what it may do, and its settings.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin new hello --lang python")]
pub(super) struct New {
    /// What it is called; also the folder
    name: String,
    /// The language it is written in
    #[arg(long, value_parser = PossibleValuesParser::new(Language::ALL.map(Language::name)))]
    lang: String,
    /// What it handles
    #[arg(long, default_value = "message")]
    kind: Kind,
    /// Where the folder is made
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Message,
    Events,
    Twilio,
    Callback,
    Policy,
}

impl From<Kind> for plugin::Kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Message => Self::Message,
            Kind::Events => Self::Events,
            Kind::Twilio => Self::Twilio,
            Kind::Callback => Self::Callback,
            Kind::Policy => Self::Policy,
        }
    }
}

impl New {
    pub(super) fn run(self) -> Result<(), Problem> {
        let language = Language::parse(&self.lang).unwrap_or(Language::Rust);
        let folder = workbench::begin(&self.dir, &self.name, language, self.kind.into())?;
        let file = folder.join(section::FILE);
        let text = section::text(&Project::open(&folder)?)?;
        std::fs::write(&file, text).map_err(|error| {
            let what = format!("{} cannot be written: {error}", file.display());
            Problem::failed(what, "Remove the folder, and begin again where there is room")
        })?;
        let shown = folder.strip_prefix(Path::new(".")).unwrap_or(&folder).display();
        output::line(format_args!(
            "{shown} is there. Next: carillon plugin build {shown}, carillon plugin test {shown}, and to see \
             it live: carillon demo --config {shown}/{}",
            section::FILE
        ))
        .map(drop)
    }
}
