//! Requests of Twilio: who may ask, and what they are turned into.
//!
//! Twilio has no token of ours. It signs what it sends with a secret that its account and this node share, over
//! the address that the operator told it; so everything here is about words that were signed. [`signature`] says
//! whether they were, [`form`] what they are, [`tokens`] keeps the secrets. A [`Signed`] request can only be made of
//! words that were, and only asks about the chat that they name.
//!
//! Without a file of secrets nothing is here: there is no way to answer without looking.

mod form;
mod signature;
mod signed;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Counter, counter};
use runtime::Tasks;

use signature::Addresses;
use tokens::Tokens;

pub(crate) use form::FORM_BYTES_MAX;
pub(crate) use signed::{Brought, Signed, Unsigned};
pub use tokens::TokensError;

/// How Twilio is answered. Clones are the same.
#[derive(Clone, Debug)]
pub struct Twilio(Option<Arc<Telephones>>);

/// What an operator decides about Twilio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwilioConfig {
    /// Where Twilio finds this cluster: what it was told, up to `/v1/twilio/`.
    pub public_url: String,
    /// The file of the account's auth tokens, one a line.
    pub auth_tokens: PathBuf,
    /// How long an answer may take.
    pub deadline: Duration,
    /// What a call is told when there is no answer.
    pub fallback: String,
    /// Which plugin answers a channel, the first part of the path.
    pub channels: BTreeMap<String, String>,
}

/// A node that Twilio may ask.
#[derive(Debug)]
pub(crate) struct Telephones {
    tokens: Tokens,
    addresses: Addresses,
    pub(crate) deadline: Duration,
    pub(crate) fallback: String,
    pub(crate) channels: BTreeMap<String, String>,
    pub(crate) counters: Counters,
}

/// What became of requests.
#[derive(Debug)]
pub(crate) struct Counters {
    /// A handler answered.
    pub(crate) answered: Counter,
    /// The first answer was given again.
    pub(crate) repeated: Counter,
    /// Not signed, or signed for something else.
    pub(crate) forged: Counter,
    /// Signed, and about nothing that is here.
    pub(crate) unknown: Counter,
    /// Too large, or not what Twilio sends.
    pub(crate) malformed: Counter,
    /// No answer in time: the fallback was given.
    pub(crate) late: Counter,
    /// The handler failed: the fallback was given.
    pub(crate) failed: Counter,
    /// The chat could not be asked: the fallback was given.
    pub(crate) unavailable: Counter,
}

impl Twilio {
    /// Twilio is not answered.
    pub fn off() -> Self {
        Self(None)
    }

    /// Twilio is answered as `config` says, with the tokens that are in its file now. It blocks for as long as
    /// reading a small file takes.
    ///
    /// # Errors
    /// [`TokensError`]: the file cannot be used.
    pub fn open(config: TwilioConfig) -> Result<Self, TokensError> {
        let TwilioConfig { public_url, auth_tokens, deadline, fallback, channels } = config;
        let tokens = Tokens::open(&auth_tokens)?;
        let addresses = Addresses::of(&public_url);
        let counters = Counters::new();
        Ok(Self(Some(Arc::new(Telephones {
            tokens,
            addresses,
            deadline,
            fallback,
            channels,
            counters,
        }))))
    }

    /// Looks whether a file of tokens could be used, without using it.
    ///
    /// # Errors
    /// Like [`Twilio::open`].
    pub fn look(auth_tokens: &Path) -> Result<(), TokensError> {
        Tokens::open(auth_tokens).map(drop)
    }

    /// What answers, if something does.
    pub(crate) fn telephones(&self) -> Option<&Telephones> {
        self.0.as_deref()
    }

    /// Follows the tokens' file, in a task of `tasks`.
    pub(crate) fn follow(&self, tasks: &Tasks) {
        let Some(telephones) = self.0.as_ref().map(Arc::clone) else { return };
        let stop = tasks.stop().clone();
        tasks.spawn("twilio tokens", async move { telephones.tokens.follow(&stop).await });
    }
}

impl Counters {
    fn new() -> Self {
        let outcome = |outcome: &'static str| counter!("carillon_twilio_requests_total", "outcome" => outcome);
        Self {
            answered: outcome("answered"),
            repeated: outcome("repeated"),
            forged: outcome("forged"),
            unknown: outcome("unknown"),
            malformed: outcome("malformed"),
            late: outcome("late"),
            failed: outcome("failed"),
            unavailable: outcome("unavailable"),
        }
    }
}
