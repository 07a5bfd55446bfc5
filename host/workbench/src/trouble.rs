//! Why something was not done.

/// One sentence says what happened, one what to do about it. Nothing half-made is left behind, except where
/// the sentence says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {fix}.")]
pub struct Trouble {
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub fix: String,
    /// Whether it was asked for wrongly: a file that is not there, a fixture that cannot be read.
    pub usage: bool,
}

impl Trouble {
    /// It was refused, or failed.
    pub fn failed(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into(), usage: false }
    }

    /// It was asked for wrongly.
    pub fn usage(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into(), usage: true }
    }
}
