//! What becomes of chats: a plugin plans it once they are over, and the node that leads the chat carries it out. It can be asked
//! before, too; what it says then only makes the last plan stronger.
//!
//! The plan is an entry, and that it is carried out is another one; so whoever takes over asks nobody again, and
//! goes on where the log ends. A chat that is to be archived is looked for first: what another node stored before it
//! lost the chat counts. Until all of it is done the chat is not forgotten, however often it has to be tried.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hashring::PartitionId;
use model::{Change, ChatToken, Durability, ERASE, Plan};
use plugin::{Failure, Kind};
use runtime::{Backoff, Instant};
use tokio::sync::Semaphore;

use crate::agenda::Agenda;
use crate::archives::{Archives, NotArchived, OverChat};
use crate::chain::Chain;
use crate::chats::{Asked, Shared};
use crate::conversation::{Committed, Conversation};
use crate::duty::Duty;
use crate::effects::Misfit;
use crate::life::view;
use crate::lock::locked;
use crate::plan::{Moments, Next, moment, moment_now, next, planned, stats};
use crate::ran::Interrupt;
use crate::reign::Reign;
use crate::storing::entry;
use crate::{CallContext, Chats, Refusal};

/// A chat that did not come to be kept in all its attempts is left alone for so long.
const REST: Duration = Duration::from_secs(15 * 60);

/// No pause between two attempts is longer.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// A chat that is to be held by members that are away is looked at again after so many pauses.
const AWAY: u32 = 8;

/// A chat that still has something to say is looked at again then, if it does not say when.
const SOON: Duration = Duration::from_millis(250);

/// How chats that are over are kept.
#[derive(Clone, Debug)]
pub struct KeepConfig {
    /// The plugin that makes plans; empty: there are none. Those that were made are carried out all the same.
    pub policy: String,
    /// Chats that are archived at once on this node.
    pub parallel: usize,
    /// How often it is tried again, before the chat is left alone for a while.
    pub retries: u32,
    /// The pause before the first of these. Each later one is twice as long.
    pub pause: Duration,
    /// Whether the policy is asked about a chat when its first message is committed.
    pub committed: bool,
    /// It is asked when nothing was said in a chat for so long; `None`: it is not.
    pub idle: Option<Duration>,
}

impl Default for KeepConfig {
    fn default() -> Self {
        Self {
            policy: String::new(),
            parallel: 4,
            retries: 4,
            pause: Duration::from_secs(1),
            committed: false,
            idle: None,
        }
    }
}

/// Who keeps them, and which wait for it.
#[derive(Debug)]
pub(crate) struct Keeper {
    config: KeepConfig,
    pub(crate) archives: Arc<dyn Archives>,
    agenda: Agenda,
    places: Arc<Semaphore>,
    /// Chats that are being kept, or were not kept in their last attempt.
    attempts: Mutex<HashMap<ChatToken, Attempts>>,
}

/// What was tried for one chat.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    failed: u32,
    under_way: bool,
}

/// Why a chat is not kept yet. It is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    /// No plugin of that name and kind is live. Nothing was asked.
    #[error("no policy {0} is live")]
    Absent(String),
    /// The policy broke, or did not want to say. Nothing was done.
    #[error("the policy failed: {0}")]
    Failed(#[from] Failure),
    /// What it asked for beside the plan fits into no chat. Nothing was done.
    #[error("the policy asked for too much: {0}")]
    Misfit(#[from] Misfit),
    /// It is not archived, or not known to be. The chat is as it was.
    #[error("it was not archived: {0}")]
    NotArchived(#[from] NotArchived),
    /// An attachment that is to go is not deleted, or not known to be. It is still to go.
    #[error("an attachment of it was not deleted: {0}")]
    NotRemoved(NotArchived),
    /// An entry was not stored. What was archived stays archived.
    #[error("it was not stored: {0}")]
    NotStored(Refusal),
    /// Another node leads the chat. That one goes on.
    #[error("this node leads it no more")]
    Ended,
}

impl From<Interrupt> for NotKept {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::Refused(refusal) => Self::NotStored(*refusal),
            Interrupt::Ended { .. } | Interrupt::Behind => Self::Ended,
        }
    }
}

impl Chats {
    /// From now on chats that are over are kept. To be asked once, before this node leads anything.
    pub fn keep(&self, config: KeepConfig, archives: Arc<dyn Archives>) {
        let places = Arc::new(Semaphore::new(config.parallel.max(1)));
        let agenda = Agenda::default();
        let keeper = Keeper { config, archives, agenda, places, attempts: Mutex::default() };
        if self.shared.keeper.set(keeper).is_ok() {
            self.shared.tasks.spawn("chat-keep", Arc::clone(&self.shared).keep_all());
        }
    }
}

impl Keeper {
    /// When the policy is asked about chats that go on.
    fn moments(&self) -> Moments {
        if self.config.policy.is_empty() {
            return Moments::default();
        }
        let ms = |idle: Duration| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        Moments { committed: self.config.committed, idle_ms: self.config.idle.map(ms) }
    }

    /// Begins an attempt; gives how many failed before it. `None`: one is under way.
    fn begin(&self, token: ChatToken) -> Option<u32> {
        let mut all = locked(&self.attempts);
        let attempts = all.entry(token).or_default();
        if attempts.under_way {
            return None;
        }
        attempts.under_way = true;
        Some(attempts.failed)
    }

    /// Ends it. If the chat is to be tried again, so many failed in a row.
    fn end(&self, token: ChatToken, failed: Option<u32>) {
        let mut all = locked(&self.attempts);
        match failed {
            Some(failed) => _ = all.insert(token, Attempts { failed, under_way: false }),
            None => _ = all.remove(&token),
        }
    }

    /// Whether a chat is being kept, or will be when its pause is over.
    fn has(&self, token: ChatToken) -> bool {
        locked(&self.attempts).contains_key(&token)
    }

    /// How long to wait when so many attempts failed in a row. Chats that fail together come back apart.
    fn pause(&self, token: ChatToken, failed: u32) -> Duration {
        let mut backoff = Backoff::new(self.config.pause, PAUSE_MAX);
        for _before in 1..failed {
            backoff.next(0);
        }
        let dice = token.0.first_chunk().map_or(0, |first| u32::from_le_bytes(*first));
        // Half of it at least, so that all of them take a while whatever the token is.
        backoff.next(u32::MAX / 2 + dice / 2)
    }
}

impl Shared {
    /// Whether chats that are over are planned for.
    pub(crate) fn plans(&self) -> bool {
        self.keeper.get().is_some_and(|keeper| !keeper.config.policy.is_empty())
    }

    /// The version under which a chat of this token is archived, if it is.
    pub(crate) async fn archived(
        &self,
        token: ChatToken,
        until: Instant,
    ) -> Result<Option<u64>, NotArchived> {
        match self.keeper.get() {
            Some(keeper) => keeper.archives.find(token, until).await,
            None => Ok(None),
        }
    }

    /// A chat may be over, or it may be time to ask about it.
    pub(crate) fn wake_keeper(&self, partition: PartitionId, conversation: &Conversation) {
        let Some(keeper) = self.keeper.get() else { return };
        if keeper.has(conversation.token) {
            return;
        }
        let (moments, now_ms) = (keeper.moments(), self.ledger.wall_ms());
        if conversation.is_to_be_kept(self.plans(), moments, now_ms) {
            keeper.agenda.wake(partition, conversation.token, runtime::now());
        }
    }

    /// Keeps every chat whose time has come, as long as the node runs.
    async fn keep_all(self: Arc<Self>) {
        let stop = self.tasks.stop().clone();
        let keep = async {
            let Some(keeper) = self.keeper.get() else { return };
            loop {
                // A place first: who is taken off the agenda is looked at at once.
                let Ok(place) = Arc::clone(&keeper.places).acquire_owned().await else { return };
                let (partition, token) = keeper.agenda.next().await;
                let shared = Arc::clone(&self);
                self.tasks.spawn("chat-keep-one", async move {
                    tokio::select! {
                        biased;
                        () = shared.tasks.stop().stopped() => {}
                        () = Box::pin(shared.keep_one(partition, token)) => {}
                    }
                    drop(place);
                });
            }
        };
        tokio::select! {
            biased;
            () = stop.stopped() => {}
            () = keep => {}
        }
    }

    /// Keeps one chat, if this node leads it; whoever leads it otherwise does.
    async fn keep_one(&self, partition: PartitionId, token: ChatToken) {
        let Some(keeper) = self.keeper.get() else { return };
        // A chat that is being kept is not kept a second time.
        let Some(before) = keeper.begin(token) else { return };
        let reign = self.reigns.get(usize::from(partition.0));
        let reign = reign.and_then(|reign| locked(reign).as_ref().map(Arc::clone));
        let reign = reign.filter(|reign| reign.serves() && !self.stopping.is_stopped());
        let conversation = reign.as_ref().and_then(|reign| reign.conversation(token));
        let (Some(reign), Some(conversation)) = (reign, conversation) else {
            return keeper.end(token, None);
        };
        let kept = tokio::select! {
            biased;
            () = reign.closed().stopped() => Err(NotKept::Ended),
            kept = self.keep_chat(keeper, &reign, &conversation) => kept,
        };
        let (again, failed) = match kept {
            _ if reign.closed().is_stopped() => (None, None),
            Ok(again) => (again, None),
            Err(NotKept::Ended) => (None, None),
            Err(why) => {
                let (pause, failed) = self.failed(keeper, token, before + 1, &why);
                (Some(runtime::now() + pause), Some(failed))
            }
        };
        keeper.end(token, failed);
        if let Some(at) = again {
            keeper.agenda.wake(partition, token, at);
        }
    }

    /// How long to wait when the last of so many attempts failed, and as how many they count from then on.
    fn failed(
        &self,
        keeper: &Keeper,
        token: ChatToken,
        tried: u32,
        why: &NotKept,
    ) -> (Duration, u32) {
        self.meters.keep_failed.increment(1);
        if tried <= keeper.config.retries {
            tracing::warn!(chat = ?token, %why, "a chat is not planned for, not kept or not rid of an attachment yet: tried again");
            return (keeper.pause(token, tried), tried);
        }
        self.meters.unkept.increment(1);
        let rest_s = REST.as_secs();
        tracing::error!(
            chat = ?token, %why, tried, rest_s,
            "ALARM: a chat is not planned for, not kept or not rid of an attachment; it is not forgotten, and tried again \
             later"
        );
        (REST, 0)
    }

    /// Does what is to be done for a chat. Gives when it is to be looked at again, if that is known.
    async fn keep_chat(
        &self,
        keeper: &Keeper,
        reign: &Reign,
        conversation: &Arc<Conversation>,
    ) -> Result<Option<Instant>, NotKept> {
        loop {
            let Some(committed) = conversation.committed() else { return Ok(None) };
            if self.detach(keeper, reign, conversation, &committed.chat).await? {
                continue;
            }
            match next(&committed.chat, self.plans()) {
                Next::Nothing => {
                    let now_ms = self.now_ms(&committed.chat);
                    let now = moment_now(&committed.chat, keeper.moments(), now_ms);
                    let Some(moment) = now else { return Ok(None) };
                    self.stand(keeper, reign, conversation, moment).await?;
                }
                Next::Later => {
                    let soon = runtime::now() + SOON;
                    return Ok(Some(conversation.wakes().map_or(soon, |at| at.max(soon))));
                }
                Next::Plan => self.plan(keeper, reign, conversation).await?,
                Next::CarryOut(plan) => {
                    let archive = match plan.durability {
                        Durability::Archive => {
                            let over = self.over(&committed, &plan, reign, conversation);
                            Some(self.archive(keeper, &over).await?)
                        }
                        Durability::Quorum | Durability::All => None,
                    };
                    let acks = match plan.durability {
                        // Who acknowledges an entry has everything before it.
                        Durability::All => self.members(reign),
                        Durability::Quorum | Durability::Archive => self.ledger.commit(),
                    };
                    if !self.are_there(reign, acks) {
                        return Ok(Some(runtime::now() + keeper.config.pause * AWAY));
                    }
                    self.kept(reign, conversation, archive, acks).await?;
                    self.meters.kept.increment(1);
                }
            }
        }
    }

    fn over<'a>(
        &'a self,
        committed: &Committed,
        plan: &Arc<Plan>,
        reign: &'a Reign,
        conversation: &'a Arc<Conversation>,
    ) -> OverChat<'a> {
        let Committed { chat, head, .. } = committed;
        let view = view(chat, *head, BTreeMap::new());
        OverChat::new(view, chat, plan, reign, &*self.ledger, conversation)
    }

    /// Asks the policy, and stores what it says together with what it asked for.
    async fn plan(
        &self,
        keeper: &Keeper,
        reign: &Reign,
        conversation: &Arc<Conversation>,
    ) -> Result<(), NotKept> {
        let context = CallContext::of_node(runtime::now() + self.config.timeout);
        let asked = Asked::of_node(&context);
        let guard = self.turn(conversation, &asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let chain = self.chain(&seen.chat, &asked).await?;
        let scene = self.scene(reign, &seen);
        let now_ms = scene.now_ms;
        if next(&seen.chat, true) != Next::Plan {
            // Somebody was faster. What they did is waited for before it is looked at again.
            drop(guard);
            return Ok(self.barrier(reign, conversation, &seen, &asked).await?);
        }
        let mut duty = Duty::new(scene);
        let moment = moment(&seen.chat);
        let plan = self.ask_policy(&keeper.config.policy, &chain, &mut duty, moment).await?;
        let (chat, mut changes, depth) = duty.done_all();
        changes.push(Change::Planned(Arc::new(plan)));
        let changes = self.marked(&chain, chat, changes, depth);
        let entry = Arc::new(entry(chat, now_ms, changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, commit, &asked).await?;
        self.meters.planned.increment(1);
        Ok(())
    }

    /// Asks the policy about a chat that goes on, and stores what it says together with what it asked for.
    async fn stand(
        &self,
        keeper: &Keeper,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        moment: &'static str,
    ) -> Result<(), NotKept> {
        let context = CallContext::of_node(runtime::now() + self.config.timeout);
        let asked = Asked::of_node(&context);
        let guard = self.turn(conversation, &asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let chain = self.chain(&seen.chat, &asked).await?;
        let scene = self.scene(reign, &seen);
        let now_ms = scene.now_ms;
        if moment_now(&seen.chat, keeper.moments(), now_ms) != Some(moment) {
            // Something happened meanwhile. It is waited for before it is looked at again.
            drop(guard);
            return Ok(self.barrier(reign, conversation, &seen, &asked).await?);
        }
        let mut duty = Duty::new(scene);
        let plan = self.ask_policy(&keeper.config.policy, &chain, &mut duty, moment).await?;
        let (chat, mut changes, depth) = duty.done_all();
        changes.push(Change::Standing(Arc::new(plan)));
        let changes = self.marked(&chain, chat, changes, depth);
        let entry = Arc::new(entry(chat, now_ms, changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, commit, &asked).await?;
        self.meters.stood.increment(1);
        Ok(())
    }

    /// Asks the policy what it plans for a chat, and takes what it asks for beside.
    async fn ask_policy(
        &self,
        name: &str,
        chain: &Chain,
        duty: &mut Duty<'_>,
        moment: &'static str,
    ) -> Result<Plan, NotKept> {
        let policy = chain.find(name, Kind::Policy);
        let policy = policy.ok_or_else(|| NotKept::Absent(name.to_owned()))?;
        let call = self.told_of_past(duty.call(name), policy, duty.scene());
        let (chat, now_ms) = (duty.scene().chat, duty.scene().now_ms);
        let answered = policy.on_plan(call, moment, stats(chat, now_ms)).await?;
        duty.hear(name, answered.effects)?;
        let plan = planned(chat, name, policy.version(), moment, answered.answer);
        tracing::info!(chat = ?chat.token, ?plan, "what becomes of a chat is planned");
        Ok(plan)
    }

    /// Asks the policy, if there is one, about a message of a chat that is taken back, and gives what is stored for it. It
    /// has no say in that: when it fails the message is taken back all the same.
    pub(crate) async fn ask_about_erasing(
        &self,
        chain: &Chain,
        duty: &mut Duty<'_>,
    ) -> Option<Plan> {
        let name = self.keeper.get().map(|keeper| keeper.config.policy.as_str())?;
        let name = Some(name).filter(|name| !name.is_empty())?;
        match self.ask_policy(name, chain, duty, ERASE).await {
            Ok(plan) => Some(plan),
            Err(why) => {
                self.meters.keep_failed.increment(1);
                let chat = duty.scene().chat.token;
                tracing::warn!(?chat, %why, "the policy was not asked about a message that is taken back");
                None
            }
        }
    }

    /// Archives a chat, unless it is.
    async fn archive(&self, keeper: &Keeper, over: &OverChat<'_>) -> Result<u64, NotKept> {
        let (archives, token) = (&keeper.archives, over.view.token);
        let find = || archives.find(token, runtime::now() + self.config.timeout);
        if let Some(version) = find().await? {
            return Ok(version);
        }
        match archives.put(over).await {
            Ok(version) => {
                self.meters.archived.increment(1);
                Ok(version)
            }
            // Who led the chat before was not through yet when it was looked for.
            Err(NotArchived::There) => Ok(find().await?.ok_or(NotArchived::There)?),
            Err(why) => Err(why.into()),
        }
    }

    /// How many members the partition has, or must have.
    pub(crate) fn members(&self, reign: &Reign) -> u8 {
        let members = self.ledger.view(reign.partition).ensemble.len();
        u8::try_from(members).unwrap_or(u8::MAX).max(self.ledger.commit())
    }

    /// Whether not only as many members are there as must be, but so many. Those that are away come back, or others
    /// in their place.
    fn are_there(&self, reign: &Reign, acks: u8) -> bool {
        let view = self.ledger.view(reign.partition);
        view.admits(acks).is_ok() || view.admits(self.ledger.commit()).is_err()
    }

    /// Stores that the plan is carried out, on so many members.
    async fn kept(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        archive: Option<u64>,
        acks: u8,
    ) -> Result<(), NotKept> {
        let context = CallContext::of_node(runtime::now() + self.config.timeout);
        let asked = Asked::of_node(&context);
        let guard = self.turn(conversation, &asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        self.admits(reign, &seen, acks)?;
        if seen.chat.is_kept() || seen.chat.forgotten {
            drop(guard);
            return Ok(self.barrier(reign, conversation, &seen, &asked).await?);
        }
        let changes = vec![Change::Kept { archive }];
        let entry = Arc::new(entry(&seen.chat, self.now_ms(&seen.chat), changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, acks, &asked).await?;
        Ok(())
    }
}
