//! A file with faults, read as far as it goes.
//!
//! `carillon check` tells everything at once, and some of it shows only later: a plugin's file is missing,
//! a certificate does not fit its key. So what could be read is kept beside the faults, and who looks
//! further asks first whether what it looks at was written by the operator or stands in for a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::read::Reading;
use super::{Config, Fault, Faults};

/// What a file says, as far as it can be read. Where it is at fault the default stands.
#[derive(Debug)]
pub struct Draft {
    config: Config,
    file: PathBuf,
    lines: BTreeMap<String, usize>,
    spoiled: Spoiled,
    faults: Vec<Fault>,
}

/// The keys and sections that could not be read: what stands there in their place says nothing.
#[derive(Debug, Default)]
pub(super) struct Spoiled(BTreeSet<String>);

impl Draft {
    /// Reads a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Faults`] of a file that is not there or is not TOML: nothing of it can be looked at.
    pub fn read(file: &Path) -> Result<Self, Faults> {
        Self::read_upon(file, Config::default())
    }

    /// The same, where `base` stands in the place of what it does not say.
    pub(super) fn read_upon(file: &Path, base: Config) -> Result<Self, Faults> {
        let faults = |faults| Faults { file: file.to_owned(), faults };
        let text = std::fs::read_to_string(file).map_err(|error| {
            let fix = "Name a file that exists; config/single.toml is one to start from".to_owned();
            faults(vec![Fault { line: 0, what: format!("it cannot be read: {error}"), fix }])
        })?;
        let (mut config, reading) = Config::read_upon(&text, base).map_err(faults)?;
        let Reading { lines, spoiled, faults, .. } = reading;
        config.resolve(file.parent().unwrap_or_else(|| Path::new("")));
        Ok(Self { config, file: file.to_owned(), lines, spoiled, faults })
    }

    /// What could be read. It is not fit to run: see [`Draft::finish`].
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether all that the file says at or below `path` could be read.
    pub fn is_sound(&self, path: &str) -> bool {
        self.spoiled.spares(path)
    }

    /// Whether the key or section `path` stands in it.
    pub(super) fn says(&self, path: &str) -> bool {
        self.lines.contains_key(path)
    }

    /// Adds a fault about the key or section `path`.
    pub fn fault(&mut self, path: &str, what: String, fix: String) {
        let line = self.lines.get(path).copied().unwrap_or_default();
        self.faults.push(Fault { line, what, fix });
    }

    /// Adds what keeps this node from being the only one of its process.
    pub fn alone(&mut self) {
        if self.is_sound("replication.commit") && self.is_sound("registry.kind") {
            for Fault { what, fix, .. } in self.config.faults_alone() {
                self.fault("replication.commit", what, fix);
            }
        }
    }

    /// The configuration, if nothing is wrong with it.
    ///
    /// # Errors
    /// [`Faults`], all of them in the order of the file.
    pub fn finish(self) -> Result<Config, Faults> {
        if self.faults.is_empty() {
            return Ok(self.config);
        }
        Err(Faults { file: self.file, faults: in_order(self.faults) })
    }
}

impl Spoiled {
    pub(super) fn add(&mut self, path: String) {
        self.0.insert(path);
    }

    /// Whether nothing at, above or below `path` is spoiled.
    pub(super) fn spares(&self, path: &str) -> bool {
        let below = |one: &str, other: &str| {
            one.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        !self.0.iter().any(|spoiled| below(spoiled, path) || below(path, spoiled))
    }
}

/// The faults of one file as they are told: by line, each once.
pub(super) fn in_order(mut faults: Vec<Fault>) -> Vec<Fault> {
    faults.sort();
    faults.dedup();
    faults
}
