//! One try of a transaction: where it goes, and how it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Dialect;

/// Something that must not be written to a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps what was read from a file, without the white space around it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a service is, as its node is configured right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The service's name.
    pub service: String,
    /// Its URL.
    pub url: String,
    /// What proves who sends: the token, or the key that signs.
    pub secret: Option<Secret>,
    /// What is filled in for `{{secret:NAME}}` in the headers of outcalls, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Private address ranges that are nevertheless allowed, as in `127.0.0.0/8`.
    pub allow_private: Vec<crate::address::Range>,
    /// How it wants its events.
    pub dialect: Dialect,
}

/// What an attempt says about its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// 2xx: received, but for what `failed` names.
    Done,
    /// It will never be taken like this: 400, 409, 413, 415, 422.
    Refused,
    /// 410: the service is not there any more.
    Gone,
    /// Anything else: later, the same again.
    Retry {
        /// Whether there was a connection at all.
        connected: bool,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What it says about the transaction.
    pub outcome: Outcome,
    /// The answer's status, if one came.
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub ms: u32,
    /// The answer's first bytes, at most 1 KiB, without our secrets: what is shown to operators.
    pub head: Bytes,
    /// The answer's body, cut at 64 KiB and without our secrets: what the reply to an outcall is made of.
    pub body: Bytes,
    /// Ids of events that a 2xx answer named as failed, without the `$` of Matrix.
    pub failed: Vec<String>,
    /// How long the service asked us to wait, with [`Outcome::Retry`] only.
    pub retry_after: Option<Duration>,
    /// What went wrong, in words for an operator.
    pub error: Option<String>,
}
