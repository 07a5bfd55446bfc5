//! What is to become of a chat that is over: the plan that was made for it once, and what came of it.
//!
//! A plan is made by a plugin and carried out by the node that leads the chat. Both are folded with the chat, so that
//! whoever takes over makes no second plan, goes on with the first, and forgets nothing before it is carried
//! out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How safely a chat is kept; a later one is stronger.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Durability {
    /// On as many members as must hold every entry.
    #[default]
    Quorum,
    /// On every member.
    All,
    /// Also as an object of the archive.
    Archive,
}

/// What is to become of a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The plugin that made it.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// When it was asked: `ended`, `zombie`; of a chat that goes on `committed`, `idle`, `erase-requested`.
    pub moment: String,
    /// How safely the chat is kept.
    pub durability: Durability,
    /// How long after it was over the chat is not forgotten; as long as the node says, if there is nothing here.
    pub keep_ms: Option<u64>,
    /// Kinds of messages that are not archived.
    pub drop_kinds: Vec<String>,
}

/// What was planned for a chat that goes on. It only becomes stronger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// How safely what is said in it is kept.
    pub durability: Durability,
    /// How long after it is over it is not forgotten, at least.
    pub keep_ms: Option<u64>,
    /// It was asked when the first message was committed.
    pub committed: bool,
    /// It was asked when nothing had been said since then.
    pub idle_since_ms: Option<u64>,
}

impl Standing {
    /// One more plan, made when the last message was said at `said_ms`.
    pub(crate) fn take(&mut self, plan: &Plan, said_ms: u64) {
        self.durability = self.durability.max(plan.durability);
        self.keep_ms = self.keep_ms.max(plan.keep_ms);
        match plan.moment.as_str() {
            COMMITTED => self.committed = true,
            IDLE => self.idle_since_ms = Some(said_ms),
            _ => {}
        }
    }
}

/// The moment at which the first message of a chat is committed.
pub const COMMITTED: &str = "committed";

/// The moment at which nothing has been said in a chat for long.
pub const IDLE: &str = "idle";

/// The moment at which a message is taken back.
pub const ERASE: &str = "erase-requested";

/// A plan, and whether it is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// What was planned.
    pub plan: Arc<Plan>,
    /// What came of it, once everything is done.
    pub kept: Option<Kept>,
}

/// A plan that is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The version of the object that the chat is archived as, if it is.
    pub archive: Option<u64>,
}

impl Keeping {
    /// How long after it was over the chat is kept, in milliseconds, where the node keeps it for `floor_ms` and
    /// a plan can only make that longer. `None`: it is not forgotten.
    pub(crate) fn kept_for_ms(&self, floor_ms: Option<u64>) -> Option<u64> {
        self.kept?;
        match self.plan.keep_ms {
            Some(keep_ms) => Some(keep_ms.max(floor_ms.unwrap_or_default())),
            None => floor_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{COMMITTED, Durability, IDLE, Keeping, Kept, Plan, Standing};

    #[test]
    fn a_plan_makes_the_time_longer_and_never_shorter() {
        let kept_for = |keep_ms, floor_ms| {
            let plan = Arc::new(Plan { keep_ms, ..Plan::default() });
            let kept = Some(Kept { archive: None });
            let whole = Keeping { plan: Arc::clone(&plan), kept };
            assert_eq!(Keeping { plan, kept: None }.kept_for_ms(floor_ms), None, "not carried out");
            whole.kept_for_ms(floor_ms)
        };
        assert_eq!(kept_for(Some(5), Some(9)), Some(9));
        assert_eq!(kept_for(Some(9), Some(5)), Some(9));
        assert_eq!(kept_for(Some(9), None), Some(9));
        assert_eq!(kept_for(None, Some(5)), Some(5));
        assert_eq!(kept_for(None, None), None, "for ever");
    }

    #[test]
    fn what_stands_only_becomes_stronger() {
        let plan = |moment: &str, durability, keep_ms| {
            let moment = moment.to_owned();
            Plan { moment, durability, keep_ms, ..Plan::default() }
        };
        let mut standing = Standing::default();
        standing.take(&plan(COMMITTED, Durability::All, Some(5)), 10);
        standing.take(&plan(IDLE, Durability::Quorum, None), 20);
        standing.take(&plan("erase-requested", Durability::All, Some(4)), 30);
        let (durability, keep_ms) = (Durability::All, Some(5));
        let expected = Standing { durability, keep_ms, committed: true, idle_since_ms: Some(20) };
        assert_eq!(standing, expected);
    }

    #[test]
    fn a_later_class_is_stronger() {
        assert!(Durability::Quorum < Durability::All && Durability::All < Durability::Archive);
    }
}
