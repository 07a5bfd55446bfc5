//! A service as a node's file describes it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::Dialect;
use transaction::address::Range;
use transaction::{BatchLimits, EngineConfig, Retry};

use crate::agreed::{Order, Terms};
use crate::keeping::Keep;

/// `[services.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// In whose words it is spoken to.
    pub dialect: Dialect,
    /// The file that holds the token, or the key that signs. Read for each attempt.
    pub secret_file: Option<PathBuf>,
    /// The files of secrets that calls of plugins can name. Read for each call.
    pub secrets: BTreeMap<String, PathBuf>,
    /// So old a call of a plugin may become.
    pub outcall_give_up: Duration,
    /// Which kinds concern it.
    pub kinds: Vec<String>,
    /// Private addresses that are nevertheless allowed.
    pub allow_private: Vec<Range>,
    /// What goes together.
    pub batch: BatchLimits,
    /// In which order its events come.
    pub order: Order,
    /// Attempts at once.
    pub parallel: usize,
    /// When what failed is tried again.
    pub retry: Retry,
    /// What is kept for it while it does not take it.
    pub keep: Keep,
    /// Whether what is in the log already concerns it too.
    pub from_start: bool,
}

impl ServiceConfig {
    /// What it says that is the cluster's.
    pub(crate) fn terms(&self) -> Terms {
        let Self { dialect, order, kinds, batch, from_start, .. } = self;
        Terms::new(*dialect, *order, kinds, *batch, *from_start)
    }

    pub(crate) fn engine(&self) -> EngineConfig {
        let Self { retry, parallel, batch, .. } = self;
        EngineConfig { retry: *retry, parallel: *parallel, linger: batch.linger }
    }
}
