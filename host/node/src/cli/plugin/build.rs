//! `carillon plugin build`: from an author's folder to one file.

use std::path::PathBuf;

use clap::Args;
use workbench::{Built, Project};

use crate::cli::{Problem, output};

/// Builds a plugin with its language's own tools, and puts its manifest into it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin build hello --out hello.wasm")]
pub(super) struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The file to write; target/NAME.wasm in its folder if it is not said
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Build {
    pub(super) fn run(self) -> Result<(), Problem> {
        let project = Project::open(&self.dir)?;
        let Built { path, bytes } = workbench::build(&project, self.out.as_deref())?;
        output::line(format_args!("{} {bytes} bytes", path.display())).map(drop)
    }
}
