//! What becomes of a chat.

use crate::{Rules, Which};

/// What becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// It is archived.
    pub archives: bool,
    /// How long after its end it can be read as a chat, in milliseconds; if nothing is said, the node says it.
    pub keep_ms: Option<u64>,
    /// Kinds of messages that are left out of the archive.
    pub drop_kinds: Vec<String>,
}

/// What becomes of a chat with so many messages at `moment`. Only what is over is archived: at any other moment
/// nothing is wanted beside what the node does anyway.
pub fn plan(rules: &Rules, moment: &str, messages: u64) -> Plan {
    if !matches!(moment, "ended" | "zombie") {
        return Plan::default();
    }
    let archives = match rules.which {
        Which::Said => messages > 0,
        Which::All => true,
        Which::None => false,
    };
    if archives {
        return Plan { archives, keep_ms: rules.keep_ms, drop_kinds: rules.drop_kinds.clone() };
    }
    Plan { archives, keep_ms: rules.keep_empty_ms.or(rules.keep_ms), drop_kinds: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::{Plan, plan};
    use crate::{Rules, Which};

    fn rules(which: Which) -> Rules {
        Rules {
            which,
            keep_ms: Some(30),
            keep_empty_ms: Some(1),
            drop_kinds: vec!["typing".to_owned()],
        }
    }

    fn kept(which: Which, moment: &str, messages: u64) -> (bool, Option<u64>) {
        let Plan { archives, keep_ms, .. } = plan(&rules(which), moment, messages);
        (archives, keep_ms)
    }

    #[test]
    fn what_was_said_is_archived_however_the_chat_ended() {
        for moment in ["ended", "zombie"] {
            assert_eq!(kept(Which::Said, moment, 3), (true, Some(30)));
            assert_eq!(kept(Which::Said, moment, 0), (false, Some(1)), "nothing was said");
            assert_eq!(kept(Which::All, moment, 0), (true, Some(30)));
            assert_eq!(kept(Which::None, moment, 3), (false, Some(1)));
        }
        assert_eq!(plan(&rules(Which::Said), "ended", 3).drop_kinds, ["typing"]);
    }

    #[test]
    fn a_chat_that_goes_on_is_left_alone() {
        for moment in ["committed", "idle", "erase-requested"] {
            assert_eq!(plan(&rules(Which::All), moment, 3), Plan::default());
        }
    }

    #[test]
    fn what_is_not_archived_stays_as_long_as_the_rest_unless_something_else_is_said() {
        let rules = Rules { keep_empty_ms: None, ..rules(Which::Said) };
        assert_eq!(plan(&rules, "ended", 0).keep_ms, Some(30));
        assert_eq!(plan(&Rules::default(), "ended", 0), Plan::default());
    }
}
