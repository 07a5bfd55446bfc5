//! `carillon plugin pack`: a component and its manifest become one file.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{Problem, output};

/// Puts a component and its manifest into one file.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon plugin pack plugins/moderation/plugin.toml \\\n    \
                        target/wasm32-wasip2/release/plugin_moderation.wasm target/plugins/moderation.wasm")]
pub(super) struct Pack {
    /// The manifest, plugin.toml
    manifest: PathBuf,
    /// The component; a manifest that it carries already is replaced
    component: PathBuf,
    /// The file to write
    out: PathBuf,
}

impl Pack {
    pub(super) fn run(self) -> Result<(), Problem> {
        let unreadable = |path: &Path, error| {
            let what = format!("{} cannot be read: {error}", path.display());
            Problem::usage(what, "Name a file that exists")
        };
        let manifest = std::fs::read_to_string(&self.manifest)
            .map_err(|error| unreadable(&self.manifest, error))?;
        let component =
            std::fs::read(&self.component).map_err(|error| unreadable(&self.component, error))?;
        let packed = plugin::pack(&component, &manifest).map_err(|invalid| {
            let what = format!(
                "{} and {} do not make a plugin: {invalid}",
                self.manifest.display(),
                self.component.display()
            );
            Problem::failed(what, "Mend plugin.toml, or build the component again")
        })?;
        // Written beside it and renamed: a node that starts meanwhile sees the old file or the new one.
        let partial = self.out.with_extension("partial");
        std::fs::write(&partial, &packed)
            .and_then(|()| std::fs::rename(&partial, &self.out))
            .map_err(|error| {
                let what = format!("{} cannot be written: {error}", self.out.display());
                Problem::failed(what, "Make its folder, or name a place that can be written")
            })?;
        output::line(format_args!("{} {} bytes", self.out.display(), packed.len())).map(drop)
    }
}
