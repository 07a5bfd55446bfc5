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
    if let Some((option, _)) = options.first() {
        // What is not understood must not look as if it were done.
        let detail = format!("option {option:?}: a plan has no options yet, leave them empty");
        return Err(Fault { code: "invalid", detail });
    }
    Ok(Plan { durability, keep_ms, drop_kinds, archive_now })
}

#[cfg(test)]
mod tests {
    use super::{Durability, plan, wit};

    fn planned(options: Vec<(String, String)>) -> wit::Plan {
        let (durability, drop_kinds) = ("all".to_owned(), vec!["typing".to_owned()]);
        wit::Plan { durability, keep_ms: Some(5), drop_kinds, archive_now: true, options }
    }

    #[test]
    fn a_plan_that_asks_for_what_nobody_does_is_refused() {
        let good = plan(planned(Vec::new())).unwrap();
        assert_eq!(
            (good.durability, good.keep_ms, good.archive_now),
            (Durability::All, Some(5), true)
        );
        let option = ("where".to_owned(), "abroad".to_owned());
        let fault = plan(planned(vec![option])).unwrap_err();
        assert_eq!(fault.code, "invalid");
        assert!(fault.detail.contains("where"), "{}", fault.detail);
    }
}
