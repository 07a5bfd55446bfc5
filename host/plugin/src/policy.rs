//! What a persistence policy is asked and what it answers.

use crate::bindings::exports::carillon::plugin::persistence_policy as wit;
use crate::check::{self, Fault};

/// Most kinds in `drop-kinds`.
const DROP_KINDS_MAX: usize = 64;

/// What is known of a chat when its policy is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages in it.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Since it was created.
    pub age_ms: u64,
    /// Since its last message.
    pub idle_ms: u64,
}

/// How safely a chat is kept; a later one is stronger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// On the commit quorum.
    #[default]
    Quorum,
    /// On every member of the ensemble.
    All,
    /// Also as a segment.
    Archive,
}

/// What is to become of a chat. The node's own floor wins where it is stronger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// How safely it is kept.
    pub durability: Durability,
    /// How long; as long as the node keeps chats, if nothing is said.
    pub keep_ms: Option<u64>,
    /// Kinds of messages that need not be kept.
    pub drop_kinds: Vec<String>,
    /// It is to be archived at once.
    pub archive_now: bool,
    /// More, by name.
    pub options: Vec<(String, String)>,
}

impl Stats {
    pub(crate) fn to_wit(self) -> wit::Stats {
        let Self { messages, bytes, age_ms, idle_ms } = self;
        wit::Stats { messages, bytes, age_ms, idle_ms }
    }
}

/// A plan as it may be carried out.
pub(crate) fn plan(plan: wit::Plan) -> Result<Plan, Fault> {
    let wit::Plan { durability, keep_ms, drop_kinds, archive_now, options } = plan;
    let durability = match durability.as_str() {
        "quorum" => Durability::Quorum,
        "all" => Durability::All,
        "archive" => Durability::Archive,
        other => {
            let detail = format!("durability {other:?} is none of quorum, all, archive");
            return Err(Fault { code: "invalid", detail });
        }
    };
    check::at_most("kinds to drop", drop_kinds.len(), DROP_KINDS_MAX)?;
    drop_kinds.iter().try_for_each(|kind| check::kind(kind))?;
    check::notes(&options)?;
    Ok(Plan { durability, keep_ms, drop_kinds, archive_now, options })
}
