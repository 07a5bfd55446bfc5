//! How far a node is with a version: the steps, in their order.

use serde::{Deserialize, Serialize};

/// What is done before a version can become live, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// Its component is on the disk.
    Fetched,
    /// It has the digest that it is called by, and the signature that is required.
    Verified,
    /// It is machine code.
    Compiled,
    /// Everything it imports is granted, and every export was loaded once.
    Linked,
    /// It found its configuration good.
    CheckConfig,
    /// It was asked something, and did not break.
    SelfTest,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Fetched,
        Self::Verified,
        Self::Compiled,
        Self::Linked,
        Self::CheckConfig,
        Self::SelfTest,
    ];

    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Verified => "verified",
            Self::Compiled => "compiled",
            Self::Linked => "linked",
            Self::CheckConfig => "check-config",
            Self::SelfTest => "self-test",
        }
    }
}

/// What a node says of a version that it was asked to prepare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// It is at it.
    Running {
        /// The last step that was done.
        done: Option<Step>,
    },
    /// It could be live at once.
    Ready {
        /// What it says of itself.
        version: String,
    },
    /// It cannot be. Nothing was changed.
    Failed {
        /// The last step that was done.
        done: Option<Step>,
        /// Why, and what to do about it.
        what: String,
    },
}

impl Told {
    /// The last step that was done.
    pub fn done(&self) -> Option<Step> {
        match self {
            Self::Running { done } | Self::Failed { done, .. } => *done,
            Self::Ready { .. } => Some(Step::SelfTest),
        }
    }
}
