//! `carillon plugin inspect`: what a component is, what it may do, and what it cannot.

use std::path::PathBuf;

use clap::Args;
use plugin::{Grant, Manifest};
use workbench::{Import, Inspected};

use crate::cli::{Problem, output};
use crate::config::Config;
use crate::handlers;

/// Shows what a component handles and imports, how each import stands, and what it cannot do.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  carillon plugin inspect target/plugins/moderation.wasm\n  carillon \
                        plugin inspect moderation.wasm --config config/single.toml"
)]
pub(super) struct Inspect {
    /// The component
    file: PathBuf,
    /// A node's configuration: imports are compared with what it grants, instead of what the manifest asks
    #[arg(long)]
    config: Option<PathBuf>,
    /// The plugin's name there; the manifest's if it is not said
    #[arg(long, requires = "config")]
    name: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<(), Problem> {
        let component = std::fs::read(&self.file).map_err(|error| {
            let what = format!("{} cannot be read: {error}", self.file.display());
            Problem::usage(what, "Name a file that exists")
        })?;
        let granted = self.granted(&component)?;
        let granted = granted.as_ref().map(|(name, grant)| (name.as_str(), grant));
        let inspected = workbench::inspect(&component, granted)?;
        if self.json {
            let json = serde_json::to_value(&inspected).unwrap_or_default();
            return output::line(json).map(drop);
        }
        output::line(text(&inspected)).map(drop)
    }

    /// The plugin's name and what the configuration grants it, if one was named.
    fn granted(&self, component: &[u8]) -> Result<Option<(String, Grant)>, Problem> {
        let Some(path) = &self.config else { return Ok(None) };
        let config = Config::load(path)?;
        let manifest = Manifest::find(component).ok().flatten();
        let name = self.name.clone().or_else(|| manifest.map(|manifest| manifest.name));
        let name = name.unwrap_or_else(|| "NAME".to_owned());
        let plugin = config.plugins.get(&name).ok_or_else(|| {
            let what = format!("{} has no [plugins.{name}]", path.display());
            Problem::usage(what, "Name it as it is called there: --name")
        })?;
        Ok(Some((name, handlers::grant(plugin))))
    }
}

fn text(inspected: &Inspected) -> String {
    let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let Inspected { name, version, language, digest, bytes, wit, kinds, imports, cannot, faults } =
        inspected;
    let mut lines = vec![
        format!("name      {}", shown(name)),
        format!("version   {}", shown(version)),
        format!("language  {}", shown(language)),
        format!("digest    {digest}"),
        format!("size      {bytes} bytes"),
        format!("wit       {}", wit.join(", ")),
        format!("handles   {}", kinds.join(", ")),
        "imports".to_owned(),
    ];
    for Import { name, standing, grant } in imports {
        let grant = grant.as_ref().map(|line| format!("  add {line}")).unwrap_or_default();
        lines.push(format!("  {standing:<8} {name}{grant}"));
    }
    lines.push("it cannot".to_owned());
    lines.extend(cannot.iter().map(|what| format!("  {what}")));
    lines.extend(faults.iter().map(|fault| format!("note: {fault}")));
    lines.join("\n")
}
