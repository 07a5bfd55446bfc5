//! `carillon check`: everything that would keep a node from starting, without starting one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use plugin::Plugin;
use replication::{Credentials, Pem};

use super::{Problem, chain, output};
use crate::config::{AuthMode, Draft, Faults};
use crate::handlers;

/// Checks a configuration: every fault with its line, and the plugins it names.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  carillon check config/single.toml")]
pub(super) struct Check {
    /// The configuration
    file: PathBuf,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Problem> {
        let told = match self.faults() {
            Ok(handlers) if self.json => {
                output::line(serde_json::json!({"faults": [], "chain": handlers}))
            }
            Ok(handlers) if handlers.is_empty() => {
                output::line(format_args!("{} is good, without handlers", self.file.display()))
            }
            Ok(handlers) => {
                let handlers = handlers.join(", ");
                output::line(format_args!("{} is good: {handlers}", self.file.display()))
            }
            Err(CheckError::Faults(faults)) if self.json => {
                let faults: Vec<_> = faults
                    .faults
                    .iter()
                    .map(|f| serde_json::json!({"line": f.line, "what": f.what, "fix": f.fix}))
                    .collect();
                output::line(serde_json::json!({"faults": faults}))?;
                let what = format!("{} has faults", self.file.display());
                return Err(Problem::usage(what, "Mend them and check again"));
            }
            Err(CheckError::Faults(faults)) => return Err(faults.into()),
            Err(CheckError::Problem(problem)) => return Err(problem),
        };
        told.map(drop)
    }

    /// The handlers of the chain with their versions, or what is wrong.
    fn faults(&self) -> Result<Vec<String>, CheckError> {
        let mut draft = Draft::read(&self.file)?;
        draft.alone();
        certificates(&mut draft);
        keys(&mut draft);
        let loaded = Self::plugins(&mut draft);
        // Why the plugins could not be looked at matters only if nothing else is wrong.
        let config = draft.finish()?;
        let loaded = loaded?;
        let chain = config.chain.iter().filter_map(|name| loaded.get(name));
        Ok(chain.map(|plugin| format!("{} {}", plugin.name(), plugin.version())).collect())
    }

    /// The plugins that could be loaded; what is wrong with the others becomes faults.
    fn plugins(draft: &mut Draft) -> Result<BTreeMap<String, Arc<Plugin>>, Problem> {
        // Nothing is kept: a check must not write into a node's folder.
        let host = plugin::Host::new(handlers::host_config(draft.config(), None));
        let host = host.map_err(|error| {
            Problem::failed(chain(&error), "Give the process more address space (ulimit -v)")
        })?;
        super::small_runtime()?.block_on(async {
            let mut loaded = BTreeMap::new();
            for (name, plugin) in draft.config().plugins.clone() {
                let path = format!("plugins.{name}");
                let looked = if draft.is_sound(&path) {
                    handlers::load_one(&host, &name, &plugin).await.map(Some)
                } else if draft.is_sound(&format!("{path}.source")) {
                    handlers::component(&name, &plugin).await.map(|_bytes| None)
                } else {
                    Ok(None)
                };
                match looked {
                    Ok(plugin) => loaded.extend(plugin.map(|plugin| (name, plugin))),
                    Err(unusable) => draft.fault(&path, unusable.what, unusable.fix),
                }
            }
            Ok(loaded)
        })
    }
}

/// What is wrong with the certificates, if the file names all three.
fn certificates(draft: &mut Draft) {
    let quic = &draft.config().quic;
    let files = [&quic.cert, &quic.key, &quic.ca];
    if !draft.is_sound("quic") || files.iter().any(|file| file.as_os_str().is_empty()) {
        return;
    }
    let pem = Pem::read(&quic.cert, &quic.key, &quic.ca);
    if let Err(error) = pem.and_then(|pem| Credentials::new(&pem)) {
        let fix = "Name the PEM files of this node and its cluster, or none of the three";
        draft.fault("quic", chain(&error), fix.to_owned());
    }
}

/// What is wrong with the keys of tokens, if tokens are wanted.
fn keys(draft: &mut Draft) {
    let auth = &draft.config().auth;
    let named = draft.is_sound("auth") && !auth.jwks.as_os_str().is_empty();
    if auth.mode != AuthMode::Jwt || !named {
        return;
    }
    if let Err(error) = api::Auth::look(&auth.jwks) {
        let what = format!("auth.jwks, {}: {}", auth.jwks.display(), chain(&error));
        let fix =
            "Write a JSON web key set there; carillon token --new-key makes one for development";
        draft.fault("auth.jwks", what, fix.to_owned());
    }
}

enum CheckError {
    Faults(Faults),
    Problem(Problem),
}

impl From<Faults> for CheckError {
    fn from(faults: Faults) -> Self {
        Self::Faults(faults)
    }
}

impl From<Problem> for CheckError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        Self::usage(faults, "Mend them and run carillon check again")
    }
}
