//! Ends chats that nobody ended, and forgets those that have been over for long, where an operator or a plan for the
//! chat asks for that.
//!
//! The node that leads a chat looks now and then, and stores an entry; so every node ends and forgets the same
//! chat at the same place of the log. A chat past its duration and its grace takes nothing any more from that moment
//! on: the entry only writes it down, and has those who listen told. From the entry on that forgets it, its token
//! means nothing, and nothing of it is kept in memory or in a snapshot. Its attachments are deleted before that entry is
//! stored, and once more behind it: what was stored meanwhile, or left to an archive that somebody deleted meanwhile. Age
//! is what the leader's wall clock says against the times in the chat.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Change, Chat, ChatStatus, ChatToken};

use crate::CallContext;
use crate::chain::Chain;
use crate::chats::{Asked, Shared};
use crate::config::Collect;
use crate::conversation::Conversation;
use crate::effects::ending;
use crate::lock::locked;
use crate::people::MARKS_FOR;
use crate::ran::Interrupt;
use crate::reign::Reign;
use crate::storing::entry;

/// A node that leads a chat for so long knows of everybody who still reads it.
const READERS_WITHIN: Duration = Duration::from_secs(3600);

/// A chat that failed in so many passes in a row is told of, and again whenever it has failed twice as often.
const TOLD_AFTER: u32 = 4;

/// Of so many chats that fail is remembered how often they did.
const FAILING_MAX: usize = 1024;

/// What is to become of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    /// It is over since then, and that is to be written.
    Expired { ended_ms: u64 },
    /// It never started, and nobody did anything in it for long.
    Idle,
    /// It was over for so long that it is to be forgotten.
    Forgotten,
}

/// The chats that could be neither ended nor forgotten in a pass, and in how many in a row by then.
#[derive(Debug, Default)]
struct Failing(BTreeMap<ChatToken, u32>);

impl Failing {
    /// One more that failed in this pass. Whether somebody is to be told, by how it was in the one before.
    fn failed(&mut self, before: &Self, chat: ChatToken) -> bool {
        let times = before.0.get(&chat).map_or(1, |times| times.saturating_add(1));
        if self.0.len() < FAILING_MAX {
            self.0.insert(chat, times);
        }
        times >= TOLD_AFTER && times.is_power_of_two()
    }
}

impl Shared {
    /// Looks again and again, until the node stops.
    pub(crate) async fn collect_all(self: Arc<Self>) {
        let sweep = async {
            let mut failing = Failing::default();
            loop {
                runtime::sleep(self.config.collect.every).await;
                failing = self.sweep(&failing).await;
            }
        };
        tokio::select! {
            biased;
            () = self.tasks.stop().stopped() => {}
            () = sweep => {}
        }
    }

    /// Does what is overdue in all that this node leads. What failed before, and what fails now.
    async fn sweep(&self, before: &Failing) -> Failing {
        let mut failing = Failing::default();
        for slot in &self.reigns {
            let reign = locked(slot).as_ref().filter(|reign| reign.serves()).map(Arc::clone);
            let Some(reign) = reign else { continue };
            let mut chats = reign.conversations();
            // The same order whenever a simulation is repeated.
            chats.sort_unstable_by_key(|conversation| conversation.token);
            for conversation in chats {
                if self.stopping.is_stopped() || reign.closed().is_stopped() {
                    break;
                }
                conversation.people.with_any(|people| people.unmark(runtime::now(), MARKS_FOR));
                self.wake_keeper(reign.partition, &conversation);
                if self.is_overdue(&reign, &conversation).is_none() {
                    continue;
                }
                if let Err(interrupt) = self.collect(&reign, &conversation).await {
                    // Whoever leads it looks again.
                    let is_told = failing.failed(before, conversation.token);
                    self.not_collected(conversation.token, &interrupt, is_told);
                }
                runtime::sleep(self.config.collect.pause).await;
            }
            tokio::task::yield_now().await;
        }
        failing
    }

    fn not_collected(&self, chat: ChatToken, interrupt: &Interrupt, is_told: bool) {
        self.meters.collect_failed.increment(1);
        if is_told {
            tracing::warn!(
                ?chat,
                ?interrupt,
                "a chat is neither ended nor forgotten, after several attempts: it is tried again until what is \
                 said here is mended"
            );
        } else {
            tracing::debug!(?chat, ?interrupt, "neither ended nor forgotten yet");
        }
    }

    fn is_overdue(&self, reign: &Reign, conversation: &Conversation) -> Option<Overdue> {
        let (now_ms, collect) = (self.ledger.wall_ms(), self.config.collect);
        let overdue = overdue(&conversation.latest(), now_ms, collect, self.plans())?;
        // Who waits in it, or only reads, does something too.
        let idle = collect.idle.unwrap_or_default();
        let is_used = overdue == Overdue::Idle
            && conversation
                .people
                .with_any(|people| people.was_anybody_heard(runtime::now(), idle))
                .unwrap_or_default();
        // Reads are known since this node leads the chat; who reads at all does so within that time.
        let led = runtime::now().duration_since(reign.began);
        let is_known = overdue != Overdue::Idle || led >= idle.min(READERS_WITHIN);
        Some(overdue).filter(|_| is_known && !is_used)
    }

    /// When a chat was over that nobody ended, if its time is past and nobody has written that yet: then, or with what was
    /// said last.
    pub(crate) fn over_by_itself(&self, chat: &Chat) -> Option<u64> {
        match overdue(chat, self.ledger.wall_ms(), self.config.collect, false) {
            Some(Overdue::Expired { ended_ms }) => Some(ended_ms),
            Some(Overdue::Idle | Overdue::Forgotten) | None => None,
        }
    }

    /// Ends or forgets one chat, if it is still to be when its turn comes.
    async fn collect(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
    ) -> Result<(), Interrupt> {
        if self.is_overdue(reign, conversation) == Some(Overdue::Forgotten) {
            self.clear(conversation.token).await?;
        }
        let context = CallContext::of_node(runtime::now() + self.config.timeout);
        let asked = Asked::of_node(&context);
        let guard = self.turn(conversation, &asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        let Some(overdue) = self.is_overdue(reign, conversation) else { return Ok(()) };
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let chain = self.chain(&seen.chat, &asked).await?;
        let (time_ms, changes, meter) = match overdue {
            Overdue::Expired { ended_ms } => {
                let ends = self.ends(&chain, &seen.chat, "its time was over");
                (ended_ms, ends, &self.meters.expired_chats)
            }
            Overdue::Idle => {
                let ends = self.ends(&chain, &seen.chat, "it never started");
                (self.now_ms(&seen.chat), ends, &self.meters.idle_chats)
            }
            Overdue::Forgotten => {
                (self.now_ms(&seen.chat), vec![Change::Forget], &self.meters.forgotten)
            }
        };
        let entry = Arc::new(entry(&seen.chat, time_ms, changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, commit, &asked).await?;
        meter.increment(1);
        if overdue == Overdue::Forgotten {
            self.clear_behind(conversation.token).await;
        }
        Ok(())
    }

    /// Deletes what came to belong to a chat that is forgotten by now, since it was looked at. Nobody does that again.
    async fn clear_behind(&self, chat: ChatToken) {
        if let Err(interrupt) = self.clear(chat).await {
            self.meters.collect_failed.increment(1);
            tracing::warn!(
                ?chat,
                ?interrupt,
                "a chat is forgotten, and what was stored for it at the last moment may be left: delete what lies \
                 under its token in attachments, unless it is archived"
            );
        }
    }

    /// The end of a chat. Nobody is asked, but those who listen are told, and never by an earlier generation.
    pub(crate) fn ends(
        &self,
        chain: &Chain,
        chat: &Chat,
        reason: impl Into<String>,
    ) -> Vec<Change> {
        self.marked(chain, chat, ending(chat, reason.into()), 0)
    }
}

/// What is to become of a chat at `now_ms`, by the times in it and what was planned for it alone, where a policy
/// `plans` or not.
fn overdue(chat: &Chat, now_ms: u64, collect: Collect, plans: bool) -> Option<Overdue> {
    if chat.forgotten || chat.turn == 0 {
        return None;
    }
    let grace_ms = ms(collect.grace);
    if chat.status != ChatStatus::Ended && chat.over_ms(now_ms, grace_ms).is_some() {
        // What was said in the grace was said before the end.
        let ended_ms = chat.lasts_until_ms()?.max(chat.clock_ms);
        return Some(Overdue::Expired { ended_ms });
    }
    let since_ms = now_ms.saturating_sub(chat.clock_ms);
    if chat.status == ChatStatus::Pending
        && collect.idle.is_some_and(|idle| since_ms > ms(idle))
        && chat.waiting.is_none()
    {
        return Some(Overdue::Idle);
    }
    let forget_ms = collect.forget.map(ms);
    chat.may_be_forgotten(now_ms, forget_ms, plans).then_some(Overdue::Forgotten)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Chat, ChatStatus, ChatToken};

    use super::{FAILING_MAX, Failing, Overdue};
    use crate::config::Collect;

    const COLLECT: Collect = Collect {
        every: Duration::from_secs(60),
        pause: Duration::from_millis(100),
        grace: Duration::from_secs(360),
        idle: Some(Duration::from_secs(86_400)),
        forget: Some(Duration::from_secs(60)),
    };

    fn overdue(chat: &Chat, now_ms: u64, collect: Collect) -> Option<Overdue> {
        super::overdue(chat, now_ms, collect, false)
    }

    fn chat(started_ms: Option<u64>, max_duration_s: Option<u64>) -> Chat {
        let status = started_ms.map_or(ChatStatus::Pending, |_| ChatStatus::Started);
        let clock_ms = started_ms.unwrap_or_default();
        Chat {
            turn: 1,
            status,
            started_ms,
            max_duration_s,
            clock_ms,
            ..Chat::new(ChatToken([1; 16]))
        }
    }

    #[test]
    fn a_chat_that_is_past_its_time_ended_then_or_after_what_was_said_last() {
        let expired = |chat: &Chat, now_ms| overdue(chat, now_ms, COLLECT);
        let started = chat(Some(1_000_000), Some(600));
        assert_eq!(expired(&started, 1_960_000), None);
        let ended_ms = 1_600_000;
        assert_eq!(expired(&started, 1_960_001), Some(Overdue::Expired { ended_ms }));
        let talked = Chat { clock_ms: 1_900_000, ..started };
        assert_eq!(expired(&talked, 1_960_001), Some(Overdue::Expired { ended_ms: 1_900_000 }));
        for never in [chat(Some(1_000_000), None), chat(Some(1_000_000), Some(0))] {
            assert_eq!(expired(&never, u64::MAX), None);
        }
    }

    #[test]
    fn a_chat_that_never_started_is_over_when_nothing_was_done_in_it_for_long() {
        let pending = chat(None, Some(600));
        assert_eq!(overdue(&pending, 86_400_000, COLLECT), None);
        assert_eq!(overdue(&pending, 86_400_001, COLLECT), Some(Overdue::Idle));
        let used = Chat { clock_ms: 2, ..pending.clone() };
        assert_eq!(overdue(&used, 86_400_001, COLLECT), None);
        assert_eq!(overdue(&pending, u64::MAX, Collect { idle: None, ..COLLECT }), None);
        let waits = Chat { waiting: Some(Default::default()), ..pending.clone() };
        assert_eq!(overdue(&waits, u64::MAX, COLLECT), None, "a timer of it is still to go off");
        assert_eq!(overdue(&Chat { turn: 0, ..pending }, u64::MAX, COLLECT), None);
    }

    #[test]
    fn what_has_ended_is_forgotten_and_not_ended_again() {
        let ended = Chat {
            status: ChatStatus::Ended,
            ended_ms: Some(1_000_000),
            ..chat(Some(500_000), Some(600))
        };
        assert_eq!(overdue(&ended, 1_059_999, COLLECT), None);
        assert_eq!(overdue(&ended, 1_060_000, COLLECT), Some(Overdue::Forgotten));
        assert_eq!(overdue(&ended, u64::MAX, Collect { forget: None, ..COLLECT }), None);
        assert_eq!(super::overdue(&ended, u64::MAX, COLLECT, true), None, "it has no plan yet");
        assert_eq!(overdue(&Chat { forgotten: true, ..ended }, u64::MAX, COLLECT), None);
    }

    #[test]
    fn a_chat_that_fails_in_a_row_is_told_of_ever_less_often() {
        let (one, other) = (ChatToken([1; 16]), ChatToken([2; 16]));
        let mut before = Failing::default();
        let mut told = Vec::new();
        for pass in 1..=20 {
            let mut failing = Failing::default();
            if failing.failed(&before, one) {
                told.push(pass);
            }
            // It comes to an end now and then.
            assert!(pass % 4 == 0 || !failing.failed(&before, other));
            before = failing;
        }
        assert_eq!(told, [4, 8, 16]);
        let mut many = Failing::default();
        for index in 0..2_000_u128 {
            many.failed(&Failing::default(), ChatToken(index.to_le_bytes()));
        }
        assert_eq!(many.0.len(), FAILING_MAX);
    }
}
