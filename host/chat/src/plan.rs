//! What is to be done so that a chat is kept, by the chat alone: when a policy is asked, and what is made of its plan.

use std::sync::Arc;

use model::{COMMITTED, Chat, Durability, IDLE, Plan};
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
    next(chat, plans) != Next::Nothing || chat.attached.going().next().is_some()
}

/// When the policy is asked about a chat that is over: when somebody ended it, or when its time had.
pub(crate) fn moment(chat: &Chat) -> &'static str {
    match (chat.ended_ms, chat.lasts_until_ms()) {
        (Some(ended), Some(until)) if ended >= until => "zombie",
        _ => "ended",
    }
}

/// When a policy is asked about chats that go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moments {
    /// When the first message is committed.
    pub(crate) committed: bool,
    /// When nothing was said for so long.
    pub(crate) idle_ms: Option<u64>,
}

/// The moment of a chat that goes on at which the policy is to be asked now: once when its first message is committed, and
/// once each time that nothing is said for long.
pub(crate) fn moment_now(chat: &Chat, moments: Moments, now_ms: u64) -> Option<&'static str> {
    if chat.forgotten || chat.turn == 0 || chat.ended_ms.is_some() || chat.keeping.is_some() {
        return None;
    }
    let standing = chat.standing.as_deref().copied().unwrap_or_default();
    if moments.committed && chat.messages > 0 && !standing.committed {
        return Some(COMMITTED);
    }
    let idle_ms = moments.idle_ms?;
    let asked = standing.idle_since_ms == Some(chat.said_ms);
    (!asked && now_ms.saturating_sub(chat.said_ms) >= idle_ms).then_some(IDLE)
}

/// Whether what is said in a chat is to be on every member before it is answered.
pub(crate) fn wants_all(chat: &Chat) -> bool {
    chat.standing.as_ref().is_some_and(|standing| standing.durability >= Durability::All)
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

/// A plan for a chat as it is stored. What is to be archived at once is archived: nothing waits longer than it must. What
/// was planned while the chat went on is the least.
pub(crate) fn planned(
    chat: &Chat,
    policy: &str,
    version: &str,
    moment: &str,
    plan: plugin::Plan,
) -> Plan {
    let least = chat.standing.as_deref().copied().unwrap_or_default();
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
        durability: durability.max(least.durability),
        keep_ms: plan.keep_ms.max(least.keep_ms),
        drop_kinds: plan.drop_kinds,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Attrs, Change, Chat, ChatToken, Durability, Plan};

    use super::{Moments, Next, moment, moment_now, next, planned, stats, wants_all};

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
            planned(&chat(None), "p", "1", "ended", plan).durability
        };
        assert_eq!(plan(plugin::Durability::Quorum, false), Durability::Quorum);
        assert_eq!(plan(plugin::Durability::All, false), Durability::All);
        assert_eq!(plan(plugin::Durability::Archive, false), Durability::Archive);
        assert_eq!(plan(plugin::Durability::Quorum, true), Durability::Archive);
    }

    fn standing(chat: &mut Chat, moment: &str, durability: Durability) {
        let moment = moment.to_owned();
        let plan = Plan { moment, durability, keep_ms: Some(7), ..Plan::default() };
        chat.change(&Change::Standing(Arc::new(plan)), 2_000);
    }

    fn say(chat: &mut Chat, at_ms: u64) {
        let message = model::Message {
            id: model::MessageId([1; 16]),
            sender: "alice".to_owned(),
            kind: "text".to_owned(),
            route: model::Route::Everyone,
            body: model::Body::Text("hello".to_owned()),
            archive: None,
            attrs: Attrs::new(),
            time_ms: at_ms,
            sent_ms: None,
            stamps: Vec::new(),
        };
        chat.change(&Change::Message(Arc::new(message)), at_ms);
    }

    #[test]
    fn a_chat_that_goes_on_is_asked_about_once_in_each_moment() {
        let mut chat = Chat { turn: 1, ..chat(None) };
        let moments = Moments { committed: true, idle_ms: Some(500) };
        let now = |chat: &Chat, now_ms| moment_now(chat, moments, now_ms);
        assert_eq!(now(&chat, 1_499), None, "nothing was said, and not for long");
        assert_eq!(now(&chat, 1_500), Some("idle"));
        standing(&mut chat, "idle", Durability::Quorum);
        assert_eq!(now(&chat, u64::MAX), None, "once");
        say(&mut chat, 3_000);
        assert_eq!(now(&chat, 3_000), Some("committed"));
        assert_eq!(moment_now(&chat, Moments::default(), u64::MAX), None, "nobody wants that");
        standing(&mut chat, "committed", Durability::Quorum);
        say(&mut chat, 3_001);
        assert_eq!(now(&chat, 3_500), None);
        assert_eq!(now(&chat, 3_501), Some("idle"), "again, because something was said");
        chat.change(&Change::End { reason: String::new() }, 4_000);
        assert_eq!(now(&chat, u64::MAX), None, "another moment");
    }

    #[test]
    fn what_was_planned_before_is_the_least_that_is_planned_in_the_end() {
        let mut chat = chat(None);
        let ended = |chat: &Chat, keep_ms| {
            let plan = plugin::Plan { keep_ms, ..plugin::Plan::default() };
            let plan = planned(chat, "p", "1", "ended", plan);
            (plan.durability, plan.keep_ms)
        };
        assert_eq!(ended(&chat, None), (Durability::Quorum, None));
        assert!(!wants_all(&chat));
        standing(&mut chat, "committed", Durability::Archive);
        standing(&mut chat, "idle", Durability::Quorum);
        assert_eq!(ended(&chat, None), (Durability::Archive, Some(7)));
        assert_eq!(ended(&chat, Some(9)), (Durability::Archive, Some(9)));
        assert!(wants_all(&chat));
    }

    #[test]
    fn a_policy_is_told_how_much_there_is_and_how_old_it_is() {
        let told = stats(&chat(None), 1_500);
        assert_eq!((told.messages, told.bytes, told.age_ms, told.idle_ms), (0, 0, 500, 500));
    }
}
