//! Calls of plugins to one service: which is made next, and what its answer means.
//!
//! One call of a chat is under way at a time, and nothing but the chat's own next one waits for it. Pure: it is
//! told what the chats wait for and how attempts ended, and asked what to do. What the log knows of a call is
//! only that it waits, so a node that takes over makes it again, under the same id.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;
use model::{ChatToken, Outcall};
use runtime::Instant;
use transaction::{Attempt, Outcome, Retry, Schedule};

use crate::desk::{Call, Reply};

/// A reply that could not be given is given again after so long.
const REPLY_AGAIN: Duration = Duration::from_secs(1);
/// A call that could not be made here is tried again after so long.
const REST: Duration = Duration::from_millis(250);

/// Where a call is made.
pub(crate) type Key = (PartitionId, ChatToken);

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Make it.
    Make(PartitionId, Call),
    /// Tell the plugin.
    Reply(PartitionId, Reply),
}

#[derive(Debug)]
enum Stage {
    /// To be made, not before that.
    Waits(Option<Instant>),
    /// Under way.
    Made,
    /// Over; the plugin is to be told, not before that.
    Over(Reply, Option<Instant>),
    /// The plugin is being told.
    Told(Reply),
}

#[derive(Debug)]
struct One {
    call: Call,
    stage: Stage,
    schedule: Schedule,
    attempts: u32,
    /// Its chat does not wait for it any more, or not for this node; it is still under way.
    left: bool,
}

/// The calls to one service, as this node makes them.
#[derive(Debug)]
pub(crate) struct Calls {
    retry: Retry,
    /// So old a call may become.
    give_up: Duration,
    all: BTreeMap<Key, One>,
    wakes: u64,
}

impl Calls {
    pub(crate) fn new(retry: Retry, give_up: Duration) -> Self {
        Self { retry, give_up, all: BTreeMap::new(), wakes: 0 }
    }

    /// What the chats of a partition that this node leads wait for. What is under way stays known until it is over,
    /// whoever leads: a node that leads again does not make the same call beside it.
    pub(crate) fn handle_calls(&mut self, partition: PartitionId, calls: Vec<Call>) {
        let calls: BTreeMap<ChatToken, Call> =
            calls.into_iter().map(|call| (call.chat, call)).collect();
        self.all.retain(|(of, chat), one| {
            if *of != partition {
                return true;
            }
            one.left = calls.get(chat).is_none_or(|call| call.number != one.call.number);
            !one.left || matches!(one.stage, Stage::Made)
        });
        let schedule = Schedule::new(self.retry);
        for (chat, call) in calls {
            self.all.entry((partition, chat)).or_insert_with(|| One {
                call,
                stage: Stage::Waits(None),
                schedule: schedule.clone(),
                attempts: 0,
                left: false,
            });
        }
    }

    /// The waits of all are over at once, if `wakes` has risen.
    pub(crate) fn handle_wakes(&mut self, wakes: u64) {
        if std::mem::replace(&mut self.wakes, wakes) == wakes {
            return;
        }
        for one in self.all.values_mut() {
            if let Stage::Waits(until) = &mut one.stage {
                *until = None;
            }
        }
    }

    /// What to do now, by this clock and that of the wall. It is taken for begun.
    pub(crate) fn poll(&mut self, may_send: bool, now: Instant, wall_ms: u64) -> Option<Todo> {
        let due = |until: &Option<Instant>| until.is_none_or(|until| now >= until);
        for ((partition, chat), one) in &mut self.all {
            match &one.stage {
                Stage::Waits(until) if may_send && due(until) => {
                    one.stage = Stage::Made;
                    one.attempts = one.attempts.saturating_add(1);
                    return Some(Todo::Make(*partition, one.call.clone()));
                }
                // Whatever the service is taken for: also a call to one that is stopped has an end.
                Stage::Waits(_) if is_old(&one.call.outcall, self.give_up, wall_ms) => {
                    let reply = nothing(*chat, one.call.number, one.attempts);
                    one.stage = Stage::Told(reply.clone());
                    return Some(Todo::Reply(*partition, reply));
                }
                Stage::Over(reply, until) if due(until) => {
                    let reply = reply.clone();
                    one.stage = Stage::Told(reply.clone());
                    return Some(Todo::Reply(*partition, reply));
                }
                Stage::Waits(_) | Stage::Made | Stage::Over(..) | Stage::Told(_) => {}
            }
        }
        None
    }

    /// A call was made. `age` is how long ago it was asked for.
    pub(crate) fn handle_made(
        &mut self,
        key: Key,
        number: u64,
        attempt: &Attempt,
        age: Duration,
        now: Instant,
        dice: u32,
    ) {
        let Some(one) = self.all.get_mut(&key).filter(|one| one.call.number == number) else {
            return;
        };
        if one.left {
            self.all.remove(&key);
            return;
        }
        let ends = match attempt.outcome {
            Outcome::Done => true,
            Outcome::Refused | Outcome::Gone => true,
            Outcome::Retry { .. } => age >= self.give_up,
        };
        if !ends {
            one.stage = Stage::Waits(Some(now + one.schedule.next(dice, attempt.retry_after)));
            return;
        }
        let answered = matches!(attempt.outcome, Outcome::Done | Outcome::Refused);
        let status = attempt.status.filter(|_| answered).unwrap_or(0);
        let body = if status == 0 { Bytes::new() } else { attempt.body.clone() };
        let reply = Reply { chat: key.1, number, status, body, attempts: one.attempts };
        one.stage = Stage::Over(reply, None);
    }

    /// A call might not be made any more when it was to be.
    pub(crate) fn handle_unmade(&mut self, key: Key, number: u64, now: Instant) {
        let Some(one) = self.all.get_mut(&key).filter(|one| one.call.number == number) else {
            return;
        };
        if one.left {
            self.all.remove(&key);
            return;
        }
        one.attempts = one.attempts.saturating_sub(1);
        one.stage = Stage::Waits(Some(now + REST));
    }

    /// The plugin was told; whether that is over.
    pub(crate) fn handle_told(&mut self, key: Key, number: u64, over: bool, now: Instant) {
        let Some(one) = self.all.get_mut(&key).filter(|one| one.call.number == number) else {
            return;
        };
        if over {
            self.all.remove(&key);
        } else if let Stage::Told(reply) = &one.stage {
            one.stage = Stage::Over(reply.clone(), Some(now + REPLY_AGAIN));
        }
    }

    /// How many have something to be sent.
    pub(crate) fn working(&self) -> usize {
        let works = |one: &&One| matches!(one.stage, Stage::Waits(_) | Stage::Made);
        self.all.values().filter(works).count()
    }

    /// Whether one is being made, or its plugin has not heard yet what came of it.
    pub(crate) fn are_under_way(&self) -> bool {
        self.all.values().any(|one| !matches!(one.stage, Stage::Waits(_)))
    }

    /// When [`Calls::poll`] has something to say at the latest, if nothing happens.
    pub(crate) fn next_timeout(&self, may_send: bool) -> Option<Instant> {
        let until = self.all.values().filter_map(|one| match &one.stage {
            Stage::Waits(until) if may_send => *until,
            Stage::Over(_, until) => *until,
            Stage::Waits(_) | Stage::Made | Stage::Told(_) => None,
        });
        until.min()
    }
}

/// Whether a call has waited for so long.
pub(crate) fn is_old(call: &Outcall, give_up: Duration, wall_ms: u64) -> bool {
    Duration::from_millis(wall_ms.saturating_sub(call.queued_ms)) >= give_up
}

/// The end of a call that nobody answered.
pub(crate) fn nothing(chat: ChatToken, number: u64, attempts: u32) -> Reply {
    Reply { chat, number, status: 0, body: Bytes::new(), attempts }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Attrs;

    use super::*;

    const PARTITION: PartitionId = PartitionId(3);
    const HOUR: Duration = Duration::from_secs(3600);

    fn call(chat: u8, number: u64) -> Call {
        let outcall = Outcall {
            plugin: "p".to_owned(),
            service: "crm".to_owned(),
            path: "/".to_owned(),
            headers: Attrs::new(),
            body: Vec::new(),
            correlation: "c".to_owned(),
            queued_ms: 1,
        };
        Call { chat: ChatToken([chat; 16]), number, outcall: Arc::new(outcall) }
    }

    fn answered(outcome: Outcome, status: u16) -> Attempt {
        Attempt {
            outcome,
            status: Some(status),
            ms: 1,
            head: Bytes::new(),
            body: Bytes::from_static(b"said"),
            failed: Vec::new(),
            retry_after: None,
            error: None,
        }
    }

    fn calls(of: &[(u8, u64)]) -> Calls {
        let mut calls = Calls::new(Retry::default(), HOUR);
        let all = of.iter().map(|(chat, number)| call(*chat, *number)).collect();
        calls.handle_calls(PARTITION, all);
        calls
    }

    fn made(calls: &mut Calls, now: Instant) -> Option<(u8, u64)> {
        match calls.poll(true, now, 1) {
            Some(Todo::Make(_, call)) => Some((call.chat.0[0], call.number)),
            Some(Todo::Reply(..)) | None => None,
        }
    }

    fn ends(calls: &mut Calls, attempt: &Attempt, age: Duration) -> Option<Reply> {
        let now = runtime::now();
        assert_eq!(made(calls, now), Some((1, 7)));
        let key = (PARTITION, ChatToken([1; 16]));
        calls.handle_made(key, 7, attempt, age, now, u32::MAX);
        match calls.poll(true, now, 1) {
            Some(Todo::Reply(_, reply)) => Some(reply),
            _ => None,
        }
    }

    #[test]
    fn a_stuck_call_blocks_its_own_chat_only() {
        let now = runtime::now();
        let mut calls = calls(&[(1, 7), (2, 1)]);
        assert_eq!((made(&mut calls, now), made(&mut calls, now)), (Some((1, 7)), Some((2, 1))));
        calls.handle_calls(PARTITION, vec![call(1, 7), call(2, 1)]);
        assert_eq!(made(&mut calls, now), None, "both are under way");
        let key = (PARTITION, ChatToken([2; 16]));
        calls.handle_made(key, 1, &answered(Outcome::Done, 200), HOUR, now, 0);
        assert!(matches!(calls.poll(false, now, 1), Some(Todo::Reply(..))));
        calls.handle_told(key, 1, true, now);
        calls.handle_calls(PARTITION, vec![call(1, 7), call(2, 2)]);
        assert_eq!(made(&mut calls, now), Some((2, 2)));
    }

    #[test]
    fn what_ends_a_call_is_told_and_what_does_not_is_tried_again() {
        let no_time = Duration::ZERO;
        let done = answered(Outcome::Done, 201);
        let reply = ends(&mut calls(&[(1, 7)]), &done, no_time).unwrap();
        assert_eq!((reply.status, reply.body.as_ref(), reply.attempts), (201, &b"said"[..], 1));
        let refused = answered(Outcome::Refused, 422);
        assert_eq!(ends(&mut calls(&[(1, 7)]), &refused, no_time).unwrap().status, 422);
        let gone = answered(Outcome::Gone, 410);
        let reply = ends(&mut calls(&[(1, 7)]), &gone, no_time).unwrap();
        assert_eq!((reply.status, reply.body.len()), (0, 0));
        let busy = answered(Outcome::Retry { connected: true }, 503);
        let mut waits = calls(&[(1, 7)]);
        assert_eq!(ends(&mut waits, &busy, no_time), None);
        let next = waits.next_timeout(true).unwrap();
        assert_eq!((waits.next_timeout(false), made(&mut waits, next)), (None, Some((1, 7))));
        let late = ends(&mut calls(&[(1, 7)]), &busy, HOUR).unwrap();
        assert_eq!(late.status, 0, "it is too old");
    }

    #[test]
    fn a_reply_that_could_not_be_given_is_given_again_and_the_call_not_made_again() {
        let now = runtime::now();
        let mut calls = calls(&[(1, 7)]);
        let key = (PARTITION, ChatToken([1; 16]));
        assert!(made(&mut calls, now).is_some());
        calls.handle_made(key, 7, &answered(Outcome::Done, 200), Duration::ZERO, now, 0);
        assert!(matches!(calls.poll(true, now, 1), Some(Todo::Reply(..))));
        calls.handle_told(key, 7, false, now);
        assert_eq!((calls.poll(true, now, 1), calls.working()), (None, 0));
        assert!(matches!(calls.poll(true, now + REPLY_AGAIN, 1), Some(Todo::Reply(..))));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_forgotten() {
        let now = runtime::now();
        let mut calls = calls(&[(1, 7)]);
        assert!(made(&mut calls, now).is_some());
        calls.handle_calls(PARTITION, Vec::new());
        let key = (PARTITION, ChatToken([1; 16]));
        calls.handle_made(key, 7, &answered(Outcome::Done, 200), HOUR, now, 0);
        assert_eq!(calls.poll(true, now, 1), None);
    }

    #[test]
    fn a_call_to_a_service_that_is_sent_nothing_ends_when_it_is_too_old() {
        let now = runtime::now();
        let old_ms = u64::try_from(HOUR.as_millis()).unwrap() + 1;
        let mut calls = calls(&[(1, 7)]);
        assert_eq!(calls.poll(false, now, old_ms - 1), None);
        let Some(Todo::Reply(_, reply)) = calls.poll(false, now, old_ms) else { panic!("it ends") };
        assert_eq!((reply.status, reply.number, reply.attempts), (0, 7, 0));
        let key = (PARTITION, ChatToken([1; 16]));
        calls.handle_told(key, 7, false, now);
        assert!(matches!(calls.poll(false, now + REPLY_AGAIN, old_ms), Some(Todo::Reply(..))));
    }

    #[test]
    fn a_node_that_leads_again_does_not_make_a_call_that_is_under_way() {
        let now = runtime::now();
        let mut calls = calls(&[(1, 7)]);
        let key = (PARTITION, ChatToken([1; 16]));
        assert!(made(&mut calls, now).is_some());
        calls.handle_calls(PARTITION, Vec::new());
        calls.handle_calls(PARTITION, vec![call(1, 7)]);
        assert_eq!(made(&mut calls, now), None, "it is under way");
        calls.handle_made(key, 7, &answered(Outcome::Done, 200), Duration::ZERO, now, 0);
        assert!(
            matches!(calls.poll(true, now, 1), Some(Todo::Reply(_, reply)) if reply.status == 200)
        );
    }

    #[test]
    fn a_call_that_might_not_be_made_any_more_is_made_a_little_later() {
        let now = runtime::now();
        let mut calls = calls(&[(1, 7)]);
        assert!(made(&mut calls, now).is_some());
        calls.handle_unmade((PARTITION, ChatToken([1; 16])), 7, now);
        assert_eq!(made(&mut calls, now), None);
        assert_eq!(made(&mut calls, now + REST), Some((1, 7)));
    }
}
