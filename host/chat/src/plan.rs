//! What is to be done for a chat that is over, by the chat alone: what a policy is asked, and what is made of its plan.

use std::sync::Arc;

use model::{Chat, Durability, Plan};
use plugin::Stats;

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: it is not over, has no plan and gets none, or is kept.
    Nothing,
    /// Something is still to be told in it.
    Later,
    /// It is to be planned for.
    Plan,
    /// The plan is to be carried out.
    CarryOut(Arc<Plan>),
}

/// What is to be done for a chat, where a policy `plans` or not. A chat whose time is over is not until its end is
/// written: who listens may have something to say to that.
pub(crate) fn next(chat: &Chat, plans: bool) -> Next {
    if chat.forgotten || chat.is_kept() || chat.ended_ms.is_none() {
        return Next::Nothing;
    }
    match &chat.keeping {
        None if !plans => Next::Nothing,
        // What is told may still lead to messages.
        _ if chat.is_due() => Next::Later,
        None => Next::Plan,
        Some(keeping) => Next::CarryOut(Arc::clone(&keeping.plan)),
    }
}

/// Whether something is to be done for it.
pub(crate) fn is_to_be_kept(chat: &Chat, plans: bool) -> bool {
    next(chat, plans) != Next::Nothing
}

/// When the policy is asked about a chat that is over: when somebody ended it, or when its time had.
pub(crate) fn moment(chat: &Chat) -> &'static str {
    match (chat.ended_ms, chat.lasts_until_ms()) {
        (Some(ended), Some(until)) if ended >= until => "zombie",
        _ => "ended",
    }
}

/// How much there is of it, and how old it is.
pub(crate) fn stats(chat: &Chat, now_ms: u64) -> Stats {
    Stats {
        messages: chat.messages,
        bytes: chat.bytes,
        age_ms: now_ms.saturating_sub(chat.created_ms),
        idle_ms: now_ms.saturating_sub(chat.said_ms),
    }
}

/// A plan as it is stored. What is to be archived at once is archived: nothing waits longer than it must.
pub(crate) fn planned(policy: &str, version: &str, moment: &str, plan: plugin::Plan) -> Plan {
    let durability = match plan.durability {
        _ if plan.archive_now => Durability::Archive,
        plugin::Durability::Quorum => Durability::Quorum,
        plugin::Durability::All => Durability::All,
        plugin::Durability::Archive => Durability::Archive,
    };
    Plan {
        policy: policy.to_owned(),
        version: version.to_owned(),
        moment: moment.to_owned(),
        durability,
        keep_ms: plan.keep_ms,
        drop_kinds: plan.drop_kinds,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Attrs, Change, Chat, ChatToken, Durability, Plan};

    use super::{Next, moment, next, planned, stats};

    fn chat(max_duration_s: Option<u64>) -> Chat {
        let mut chat = Chat::new(ChatToken([1; 16]));
        let create = Change::Create { max_duration_s, max_participants: None, attrs: Attrs::new() };
        chat.change(&create, 1_000);
        chat.change(&Change::Start, 1_000);
        chat
    }

    #[test]
    fn a_chat_that_is_over_is_planned_for_once_and_then_carried_out() {
        let mut chat = chat(Some(1));
        assert_eq!(next(&chat, true), Next::Nothing, "nobody has written that it is over");
        chat.change(&Change::End { reason: String::new() }, 2_000);
        assert_eq!(next(&chat, true), Next::Plan);
        assert_eq!(next(&chat, false), Next::Nothing, "nobody plans");
        let tell = Change::Tell { what: model::Happened::Started, depth: 0 };
        chat.change(&tell, 2_000);
        assert_eq!(next(&chat, true), Next::Later);
        chat.change(&Change::Told { count: 1 }, 2_000);
        let plan = Arc::new(Plan::default());
        chat.change(&Change::Planned(Arc::clone(&plan)), 2_000);
        for plans in [true, false] {
            assert_eq!(next(&chat, plans), Next::CarryOut(Arc::clone(&plan)));
        }
        chat.change(&Change::Kept { archive: None }, 2_000);
        assert_eq!(next(&chat, true), Next::Nothing);
    }

    #[test]
    fn what_time_ended_is_a_zombie() {
        let ended = |max_duration_s, at_ms| {
            let mut chat = chat(max_duration_s);
            chat.change(&Change::End { reason: String::new() }, at_ms);
            moment(&chat)
        };
        assert_eq!(ended(None, u64::MAX), "ended");
        assert_eq!(ended(Some(600), 600_999), "ended");
        for at_ms in [601_000, 900_000] {
            assert_eq!(ended(Some(600), at_ms), "zombie");
        }
    }

    #[test]
    fn a_plan_is_as_strong_as_the_strongest_thing_it_says() {
        let plan = |durability, archive_now| {
            let plan = plugin::Plan { durability, archive_now, ..plugin::Plan::default() };
            planned("p", "1", "ended", plan).durability
        };
        assert_eq!(plan(plugin::Durability::Quorum, false), Durability::Quorum);
        assert_eq!(plan(plugin::Durability::All, false), Durability::All);
        assert_eq!(plan(plugin::Durability::Archive, false), Durability::Archive);
        assert_eq!(plan(plugin::Durability::Quorum, true), Durability::Archive);
    }

    #[test]
    fn a_policy_is_told_how_much_there_is_and_how_old_it_is() {
        let told = stats(&chat(None), 1_500);
        assert_eq!((told.messages, told.bytes, told.age_ms, told.idle_ms), (0, 0, 500, 500));
    }
}
