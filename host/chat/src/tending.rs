//! What a chat has to do by itself: timers and holds that are over, and events that are to be told.
//!
//! The node that leads a chat looks at it when its time comes, plays one turn as for a request, and stores
//! it. Nothing of it is kept here: what was stored is done, and what was not is still in the chat for
//! whoever leads it next. So each timer, hold and event ends in one entry, however often it was tried.

use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use model::{Chat, ChatToken};
use plugin::{Answered, Effect, Event, Failure, Kind};

use crate::chain::{Chain, Handler};
use crate::chats::{Asked, Shared};
use crate::conversation::Conversation;
use crate::duty::Duty;
use crate::ephemera::{CONNECTED, Look, UNAVAILABLE};
use crate::lock::locked;
use crate::ran::Interrupt;
use crate::reign::Reign;
use crate::storing::entry;
use crate::{CallContext, Code, Refusal};

/// Chats that are looked at at once: each has a turn that handlers are asked in and an entry to wait for.
pub(crate) const TENDED_MAX: usize = 64;

/// Timers and holds of one chat that end in one entry.
const EXPIRED_MAX: usize = 8;

/// Events of one chat that are told in one entry.
const TOLD_MAX: usize = 8;

/// People of one chat who fall silent, or are heard again, in one entry.
const SILENT_MAX: usize = 32;

/// How soon a chat is looked at again whose silence could not be written.
const SILENCE_AGAIN: Duration = Duration::from_secs(5);

/// How soon a chat is looked at again that could not be done with.
const AGAIN: Duration = Duration::from_millis(250);

/// Whether handlers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Everybody,
    /// What they asked for the last time is more than an entry holds.
    Nobody,
}

/// What a look at a chat came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Something,
    Nothing,
}

impl Shared {
    /// Looks at every chat whose time has come, as long as the node runs.
    pub(crate) async fn tend_all(self: Arc<Self>) {
        let stop = self.tasks.stop().clone();
        let tend = async {
            loop {
                // A place first: who is taken off the agenda is looked at at once.
                let Ok(place) = Arc::clone(&self.tended).acquire_owned().await else { return };
                let (partition, token) = self.agenda.next().await;
                let shared = Arc::clone(&self);
                self.tasks.spawn("chat-tend", async move {
                    Box::pin(shared.tend(partition, token)).await;
                    drop(place);
                });
            }
        };
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = tend => {}
        }
    }

    /// Chats of a reign that has begun to serve are looked at when it is time.
    pub(crate) fn arm(&self, reign: &Reign) {
        let wall_ms = self.ledger.wall_ms();
        for conversation in reign.conversations() {
            if let Some(at) = conversation.arm(wall_ms) {
                self.agenda.wake(reign.partition, conversation.token, at);
            }
            if let Some(idle) = self.config.idle.filter(|_| conversation.is_watched()) {
                self.agenda.wake(reign.partition, conversation.token, reign.began + idle);
            }
            self.wake_keeper(reign.partition, &conversation);
        }
    }

    /// Does what is due in a chat, if this node leads it; whoever leads it otherwise does.
    async fn tend(&self, partition: PartitionId, token: ChatToken) {
        let reign = self.reigns.get(usize::from(partition.0));
        let reign = reign.and_then(|reign| locked(reign).as_ref().map(Arc::clone));
        let Some(reign) = reign.filter(|reign| reign.serves()) else { return };
        let Some(conversation) = reign.conversation(token) else { return };
        if self.stopping.is_stopped() {
            return;
        }
        let mut done = self.tend_once(&reign, &conversation, Asking::Everybody).await;
        if matches!(&done, Err(Interrupt::Refused(no)) if no.code == Code::TooLarge) {
            tracing::warn!(chat = ?token, "what handlers of events asked for fits into no entry: dropped");
            self.meters.events_failed.increment(1);
            done = self.tend_once(&reign, &conversation, Asking::Nobody).await;
        }
        let again = match done {
            Ok(Did::Something) => conversation.wakes(),
            // What is over was ended by an entry that is not committed yet.
            Ok(Did::Nothing) => conversation.wakes().map(|at| at.max(runtime::now() + AGAIN)),
            Err(interrupt) => {
                self.meters.tended_again.increment(1);
                tracing::debug!(chat = ?token, ?interrupt, "what is due in a chat is tried again");
                // Silence can wait, also for a quorum that is away for hours.
                let due = conversation.is_due(runtime::now());
                Some(runtime::now() + if due { AGAIN } else { SILENCE_AGAIN })
            }
        };
        if let Some(at) = again.filter(|_| !reign.closed().is_stopped()) {
            self.agenda.wake(partition, token, at);
        }
    }

    async fn tend_once(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        asking: Asking,
    ) -> Result<Did, Interrupt> {
        let context = CallContext::of_node(runtime::now() + self.config.timeout);
        let asked = Asked::of_node(&context);
        let guard = self.turn(conversation, &asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let due = conversation.due(runtime::now(), EXPIRED_MAX);
        let look = self.silence(reign, conversation, &seen.chat);
        let chain = self.chain(&seen.chat, &asked).await?;
        let scene = self.scene(reign, &seen);
        let now_ms = scene.now_ms;
        let mut duty = Duty::new(scene);
        let asking = asking == Asking::Everybody;
        for deadline in due {
            let Some((plugin, event)) = duty.expire(deadline) else { continue };
            self.meters.expired.increment(1);
            let listener = chain.find(&plugin, Kind::Events);
            if let Some(listener) = listener.filter(|_| asking) {
                self.tell(&mut duty, listener, event).await;
            }
        }
        let silent = look.gone.len();
        for (ids, status) in [(look.gone, UNAVAILABLE), (look.back, CONNECTED)] {
            ids.iter().for_each(|id| duty.stands(id, status));
        }
        for id in look.polled {
            let Some(event) = duty.polled(&id) else { continue };
            self.tell_all(&chain, &mut duty, event, asking).await;
        }
        for _event in 0..TOLD_MAX {
            let Some(event) = duty.next_event() else { break };
            self.tell_all(&chain, &mut duty, event, asking).await;
        }
        let (chat, changes, depth) = duty.done_all();
        if changes.is_empty() {
            return Ok(Did::Nothing);
        }
        let changes = self.marked(&chain, chat, changes, depth);
        let entry = Arc::new(entry(chat, now_ms, changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, commit, &asked).await?;
        self.meters.silent.increment(u64::try_from(silent).unwrap_or(u64::MAX));
        Ok(Did::Something)
    }

    /// Tells everybody who listens, if anybody is asked.
    async fn tell_all(&self, chain: &Chain, duty: &mut Duty<'_>, event: Event, asking: bool) {
        self.meters.told.increment(1);
        if asking {
            for listener in chain.of_kind(Kind::Events) {
                self.tell(duty, listener, event.clone()).await;
            }
        }
    }

    /// Who in a chat fell silent, who was heard again, and who polls.
    fn silence(&self, reign: &Reign, conversation: &Conversation, chat: &Chat) -> Look {
        let idle = self.config.idle.filter(|_| !self.is_over(chat));
        let crowd = &conversation.people;
        crowd.look(&chat.roster, reign.began, idle, SILENT_MAX)
    }

    /// Tells one listener. One that fails is not told again: it is counted, and asked for nothing.
    async fn tell(&self, duty: &mut Duty<'_>, listener: &dyn Handler, event: Event) {
        let name = event.name;
        let call = self.told_of_past(duty.call(listener.name()), listener, duty.scene());
        let answered = listener.on_event(call, event).await;
        self.take_answer(duty, listener, name, answered);
    }

    /// Takes what a listener asked for, if it fits.
    fn take_answer(
        &self,
        duty: &mut Duty<'_>,
        listener: &dyn Handler,
        what: &str,
        answered: Result<Answered<()>, Failure>,
    ) {
        let plugin = listener.name();
        let effects: Result<Vec<Effect>, String> =
            answered.map(|answered| answered.effects).map_err(|failure| failure.to_string());
        let taken = effects
            .and_then(|effects| duty.hear(plugin, effects).map_err(|misfit| misfit.to_string()));
        if let Err(why) = taken {
            self.meters.events_failed.increment(1);
            let chat = duty.scene().chat.token;
            tracing::warn!(?chat, plugin, event = what, %why, "a handler of events failed");
        }
    }

    /// The answer to a call out, for the plugin that asked for it. Returns whether anybody waited for it: the
    /// same answer again changes nothing.
    pub(crate) async fn outcall_done(
        &self,
        reign: &Reign,
        done: &crate::OutcallDone,
        asked: &Asked<'_>,
    ) -> crate::ran::Ran {
        let conversation = self.existing(reign, done.token, asked).await?;
        let guard = self.turn(&conversation, asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let chain = self.chain(&seen.chat, asked).await?;
        let scene = self.scene(reign, &seen);
        let now_ms = scene.now_ms;
        let mut duty = Duty::new(scene);
        let Some((plugin, correlation)) = duty.done(done.number) else {
            drop(guard);
            self.barrier(reign, &conversation, &seen, asked).await?;
            return Ok(crate::Response::OutcallDone { waited: false });
        };
        self.reply(&chain, &mut duty, &plugin, correlation, done).await?;
        let (chat, changes, depth) = duty.done_all();
        let changes = self.marked(&chain, chat, changes, depth);
        let entry = Arc::new(entry(chat, now_ms, changes, None));
        drop(seen);
        self.store(reign, &conversation, guard, entry, commit, asked).await?;
        Ok(crate::Response::OutcallDone { waited: true })
    }

    /// Gives an answer to the plugin, if it wants one. One that could not be given now can be given again, a few times:
    /// then the call ends without anything of the plugin.
    async fn reply(
        &self,
        chain: &Chain,
        duty: &mut Duty<'_>,
        plugin: &str,
        correlation: String,
        done: &crate::OutcallDone,
    ) -> Result<(), Interrupt> {
        let Some(handler) = chain.find(plugin, Kind::Callback) else { return Ok(()) };
        if correlation.is_empty() {
            return Ok(());
        }
        let call = self.told_of_past(duty.call(plugin), handler, duty.scene());
        let answered = handler.on_reply(call, done.reply(correlation)).await;
        if let Err(failure) = &answered
            && failure.retryable()
        {
            if self.replies.fails(done.token, done.number, failure) {
                self.meters.replies_given_up.increment(1);
                let (chat, number) = (done.token, done.number);
                tracing::error!(%chat, number, plugin, %failure,
                    "ALARM: the plugin could not be given the reply to its call, again and again: the call \
                     ends without, see carillon plugin errors");
                return Ok(());
            }
            let detail = format!("handler {plugin} failed: {failure}");
            let mut refusal = Refusal::new(Code::PluginFailed, detail)
                .with_outcome(crate::RequestOutcome::NotCommitted);
            refusal.plugin = Some(plugin.to_owned());
            return Err(refusal.into());
        }
        self.replies.given(done.token, done.number);
        self.take_answer(duty, handler, "reply", answered);
        Ok(())
    }
}
