//! `carillon check`: everything that would keep a node from starting, without starting one.

use std::path::{Path, PathBuf};

use clap::Args;
use replication::{Credentials, Pem};

use super::{Problem, chain, output};
use crate::config::{Config, Fault, Faults};
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
        let config = Config::load(&self.file)?;
        let alone = Config::load_alone(&self.file).map(drop);
        // Nothing is kept: a check must not write into a node's folder.
        let host = plugin::Host::new(handlers::host_config(&config, None)).map_err(|error| {
            Problem::failed(chain(&error), "Give the process more address space (ulimit -v)")
        })?;
        let loaded = super::small_runtime()?.block_on(handlers::load(&config, &host));
        let unfit = certificates(&config, &self.file);
        match (loaded, alone) {
            (Ok(chain), Ok(())) if unfit.is_none() => {
                let names = chain.iter().map(|p| format!("{} {}", p.name(), p.version()));
                Ok(names.collect())
            }
            (loaded, alone) => {
                let text = std::fs::read_to_string(&self.file).unwrap_or_default();
                let mut faults = alone.err().map(|alone| alone.faults).unwrap_or_default();
                faults.extend(unfit);
                let unusable = loaded.err().unwrap_or_default();
                faults.extend(unusable.into_iter().map(|plugin| plugin.in_text(&text)));
                faults.sort();
                Err(Faults { file: self.file.clone(), faults }.into())
            }
        }
    }
}

/// What is wrong with the certificates, if the file names any.
fn certificates(config: &Config, file: &Path) -> Option<Fault> {
    let quic = &config.quic;
    if quic.cert.as_os_str().is_empty() {
        return None;
    }
    let pem = Pem::read(&quic.cert, &quic.key, &quic.ca);
    let error = pem.and_then(|pem| Credentials::new(&pem)).err()?;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let fix = "Name the PEM files of this node and its cluster, or none of the three".to_owned();
    Some(Fault { line: Config::line_of(&text, "quic"), what: chain(&error), fix })
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
