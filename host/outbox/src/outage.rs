//! What outlives the nodes of an outage: since when a service is down, and how far the waits between attempts have grown.
//!
//! It stands in the registry, in `services/NAME/down`, one for the cluster. Who finds a service down writes it, who finds
//! it up again, or stopped, takes it away, and a node that starts reads it before it sends anything: it begins where the
//! others, or the process before it, were, and not with a storm of tries. That holds as long as it is the same service at
//! the same address, with the same secret: a new one is for mending an outage, and does not wait for the end of it.
//!
//! Attempts are not written. An outage is, once it has lasted for [`NOTE_AFTER`], and then only each time that the waits
//! between attempts have doubled, until they grow no more: about a dozen writes, however long it lasts, and however many
//! nodes try. So what stands may be behind by one wait; then a node that starts tries once too early.
//!
//! It is a hint like all news of a service. Nothing that is sent or not sent for good depends on it, what is no such record
//! is as if it was not there, and a registry that does not answer keeps nobody waiting for long.

use std::sync::Arc;
use std::time::Duration;

use hashring::NodeId;
use registry::{COUNT_MAX, Cas, Session};
use runtime::{Backoff, Instant};
use serde::{Deserialize, Serialize};
use transaction::{RETRY_AFTER_MAX, Retry, State};

use crate::agreed::key;
use crate::desk::Access;
use crate::running::Task;
use crate::working::{Happened, Work};

/// A shorter outage is over before anybody asks since when it lasts, and the waits of a few seconds need not be remembered:
/// a service that comes and goes costs the registry nothing.
const NOTE_AFTER: Duration = Duration::from_secs(5);
/// How often a write is tried that somebody else was faster than: then it says the same, or more.
const TRIES_MAX: usize = 3;
/// How long a node that starts sends nothing because it cannot read what stands there. After that it goes on as if there was
/// nothing; whatever is there is read all the same, later.
const READ_MAX: Duration = Duration::from_secs(10);
/// How soon what failed is tried again, and how rarely at last: a registry that is away for hours is not asked twice a
/// second for each service.
pub(crate) const AGAIN_FIRST: Duration = Duration::from_secs(1);
pub(crate) const AGAIN_CAP: Duration = Duration::from_secs(300);
/// The version of the JSON.
const FORMAT: u16 = 1;

/// What stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    format: u16,
    /// The revision that the service began with: of another one of its name this says nothing.
    born: u64,
    /// Since when it is down, in Unix milliseconds.
    since_ms: u64,
    /// So many attempts in a row had failed at the least, none after the waits grew no more.
    step: u32,
    /// When it was to be tried next, in Unix milliseconds.
    next_ms: u64,
    /// Who says so.
    node: NodeId,
    /// What its address and its secret were ([`transaction::mark`]).
    #[serde(default)]
    target: String,
}

/// An outage as this node goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    since: Instant,
    step: u32,
    until: Instant,
}

/// What a service's task knows of what stands.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Whether it was read what stood there when this node began.
    read: bool,
    /// Since when that was tried.
    begun: Option<Instant>,
    /// It could not be read for so long that nothing waits for it any more.
    late: bool,
    /// Somebody said before it was read that the service is there.
    woken: bool,
    /// How far the outage is that is known to stand.
    stands: Option<u32>,
    /// It is over, and that is not done yet.
    over: bool,
    busy: bool,
    /// Nothing is asked of the registry before, because it failed.
    after: Option<Instant>,
    again: Backoff,
}

/// What to do with the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Write(Seen),
    Remove,
}

/// What stood there when this node began.
#[derive(Debug)]
pub(crate) enum Recalled {
    /// Nothing that can be read.
    Nothing,
    /// An outage that lasts.
    Lasts(Outage),
    /// One of another service of its name, or of what was reached elsewhere or with another secret.
    Others,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Remembered {
    /// What stood there when this node began; `None`: it cannot be read.
    Read(Option<Recalled>),
    /// What stands there now; `None`: it could not be written.
    Written(Option<Outage>),
    /// Whether nothing stands there any more.
    Removed(bool),
}

impl Outage {
    /// The record of these bytes; `None`: no node wrote it, or a newer one.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        let sound = record.format == FORMAT && record.born <= COUNT_MAX;
        sound.then_some(record)
    }

    /// Whether it is one of the service that began with this revision, and is reached like this.
    fn is_of(&self, born: u64, target: &str) -> bool {
        self.born == born && self.target == target
    }

    /// What it says on this node's clocks. Those of others may differ: nothing began later than now, and nothing waits
    /// for longer than an attempt can be put off.
    fn seen(&self, retry: Retry, now: Instant, wall_ms: u64) -> Seen {
        let lasts = Duration::from_millis(wall_ms.saturating_sub(self.since_ms));
        let left = Duration::from_millis(self.next_ms.saturating_sub(wall_ms));
        Seen {
            since: now.checked_sub(lasts).unwrap_or(now),
            step: self.step,
            until: now + left.min(retry.cap.max(RETRY_AFTER_MAX)),
        }
    }
}

impl Seen {
    fn outage(self, born: u64, node: NodeId, now: Instant, wall_ms: u64) -> Outage {
        let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let Self { since, step, until } = self;
        let since_ms = wall_ms.saturating_sub(whole(now.saturating_duration_since(since)));
        let next_ms = wall_ms.saturating_add(whole(until.saturating_duration_since(now)));
        Outage { format: FORMAT, born, since_ms, step, next_ms, node, target: String::new() }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            read: false,
            begun: None,
            late: false,
            woken: false,
            stands: None,
            over: false,
            busy: false,
            after: None,
            again: Backoff::new(AGAIN_FIRST, AGAIN_CAP),
        }
    }
}

impl Memory {
    /// Whether something may be sent: it is known what was before this node began, or nobody waits for that any more.
    pub(crate) fn is_clear(&self) -> bool {
        self.read || self.late
    }

    /// Nobody keeps what was before.
    fn is_needless(&mut self) {
        self.read = true;
    }

    /// Somebody says that the service is there. If it is not known yet what was before, that counts beside it.
    pub(crate) fn wakes(&mut self) {
        self.woken = true;
    }

    /// The outage is over, or somebody has stopped the service.
    pub(crate) fn ends(&mut self) {
        self.over = true;
    }

    /// Whether it is to be read now what was before. It is taken for begun.
    fn reads(&mut self, now: Instant) -> bool {
        if self.read || self.busy || self.rests(now) {
            return false;
        }
        self.begun.get_or_insert(now);
        self.busy = true;
        true
    }

    /// It could not be read. For a while that is tried again at the next look.
    fn is_unread(&mut self, now: Instant, dice: u32) {
        self.busy = false;
        if self.begun.is_none_or(|begun| now >= begun + READ_MAX) {
            self.late = true;
            self.fails(now, dice);
        }
    }

    /// It was read, and goes so far. Whether that is before anything could be sent, and nobody knows better.
    fn is_known(&mut self, stands: Option<u32>) -> bool {
        self.read = true;
        self.is_done(stands);
        !self.late && !self.over
    }

    fn rests(&self, now: Instant) -> bool {
        self.after.is_some_and(|after| now < after)
    }

    /// What is to be done now, with a service that is `down`, if it is. It is taken for begun.
    fn begins(&mut self, down: Option<Seen>, retry: Retry, now: Instant) -> Option<Does> {
        if self.busy || !self.read || self.rests(now) {
            return None;
        }
        let does = match down {
            _ if self.over => Does::Remove,
            Some(seen) => {
                let seen = Seen { step: seen.step.min(retry.steps()), ..seen };
                let news = self.stands.is_none_or(|known| known < seen.step);
                (news && now >= seen.since + NOTE_AFTER).then_some(Does::Write(seen))?
            }
            None => return None,
        };
        self.busy = true;
        Some(does)
    }

    /// A step is over: what stands now.
    fn is_done(&mut self, stands: Option<u32>) {
        (self.busy, self.stands, self.after) = (false, stands, None);
        self.again.reset();
    }

    /// A step has failed: what stands is not known better than before.
    fn fails(&mut self, now: Instant, dice: u32) {
        self.busy = false;
        self.after = Some(now + self.again.next(dice));
    }
}

impl Task {
    /// Reads what was before this node began, unless nobody keeps it.
    pub(crate) fn recall(&mut self, now: Instant) {
        let work = &self.running.work;
        if work.agreements.is_absent() {
            self.memory.is_needless();
        }
        let Some(known) = &self.known else { return };
        if self.memory.reads(now) {
            self.doing.push(Box::pin(Arc::clone(work).recall(known.agreed.born)));
        }
    }

    /// Has the registry say what outlives this node of an outage.
    pub(crate) fn remember(&mut self, now: Instant) {
        self.recall(now);
        let work = Arc::clone(&self.running.work);
        let Some(known) = self.known.as_ref().filter(|_| !work.agreements.is_absent()) else {
            return;
        };
        let service = self.engine.service();
        let down = match (service.state(), service.outage()) {
            (State::Down { until }, Some((since, step))) => Some(Seen { since, step, until }),
            _ => None,
        };
        match self.memory.begins(down, work.config.retry, now) {
            None => {}
            Some(Does::Remove) => self.doing.push(Box::pin(work.forget_outage())),
            Some(Does::Write(seen)) => {
                let (born, node) = (known.agreed.born, work.desk.node());
                let outage = seen.outage(born, node, now, runtime::wall_ms());
                self.doing.push(Box::pin(work.note_outage(outage)));
            }
        }
    }

    /// A step is over.
    pub(crate) fn remembered(&mut self, remembered: Remembered, now: Instant) {
        let dice = rand::random();
        match remembered {
            Remembered::Read(None) => self.memory.is_unread(now, dice),
            Remembered::Read(Some(recalled)) => self.recalled(&recalled, now),
            Remembered::Written(None) | Remembered::Removed(false) => self.memory.fails(now, dice),
            Remembered::Written(Some(outage)) => {
                self.memory.is_done(Some(outage.step));
                self.is_down_since(&outage, now);
            }
            Remembered::Removed(true) => {
                self.memory.over = false;
                self.memory.is_done(None);
            }
        }
    }

    /// It was read what was before this node began. What is no outage here then is none any more.
    fn recalled(&mut self, recalled: &Recalled, now: Instant) {
        match recalled {
            Recalled::Nothing => _ = self.memory.is_known(None),
            Recalled::Others => {
                self.memory.is_known(None);
                self.memory.ends();
            }
            Recalled::Lasts(outage) => {
                if self.memory.is_known(Some(outage.step)) {
                    self.restore(outage, now);
                } else {
                    self.is_down_since(outage, now);
                }
                if self.engine.service().outage().is_none() {
                    self.memory.ends();
                }
            }
        }
    }

    /// Somebody knows since when it is down.
    fn is_down_since(&mut self, outage: &Outage, now: Instant) {
        let seen = outage.seen(self.running.work.config.retry, now, runtime::wall_ms());
        self.engine.service_mut().is_down_since(seen.since);
    }

    fn restore(&mut self, outage: &Outage, now: Instant) {
        let work = &self.running.work;
        let Seen { since, step, until } = outage.seen(work.config.retry, now, runtime::wall_ms());
        self.engine.restore(since, step, until, now);
        if self.engine.service().outage().is_some() {
            let down_s = now.saturating_duration_since(since).as_secs();
            let next_s = until.saturating_duration_since(now).as_secs();
            tracing::warn!(
                service = work.config.name,
                down_s,
                next_s,
                "the service was down before this node began: its events wait, and it is tried again"
            );
        }
        if self.memory.woken {
            self.engine.service_mut().wake(now);
        }
    }
}

impl Work {
    fn outage_key(&self) -> String {
        format!("{}/down", key(&self.config.name))
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        match self.desk.registry() {
            Access::There(session) => Some(session),
            Access::Away | Access::Absent => None,
        }
    }

    /// What stands, with the version of its key; the outer `None`: it cannot be read.
    async fn read_outage(&self, session: &Session) -> Option<Option<(Option<Outage>, u64)>> {
        let value = session.get(&self.outage_key()).await.ok()?;
        Some(value.map(|value| (Outage::decode(&value.data), value.version)))
    }

    async fn recall(self: Arc<Self>, born: u64) -> Happened {
        let found = match self.session() {
            Some(session) => self.read_outage(&session).await,
            None => None,
        };
        let recalled = match found {
            None => None,
            Some(None | Some((None, _))) => Some(Recalled::Nothing),
            Some(Some((Some(outage), _))) => {
                Some(match outage.is_of(born, &self.reached_by().await) {
                    true => Recalled::Lasts(outage),
                    false => Recalled::Others,
                })
            }
        };
        Happened::Remembered(Remembered::Read(recalled))
    }

    /// Writes it, unless what stands is further.
    async fn note_outage(self: Arc<Self>, mut outage: Outage) -> Happened {
        let mut stands = None;
        outage.target = self.reached_by().await;
        if let Some(session) = self.session() {
            for _try in 0..TRIES_MAX {
                let Some(found) = self.read_outage(&session).await else { break };
                let expect = found.as_ref().map(|(_, version)| *version);
                let known = found.and_then(|(known, _)| known);
                if let Some(known) = known.filter(|it| it.is_of(outage.born, &outage.target)) {
                    outage.since_ms = outage.since_ms.min(known.since_ms);
                    if known.step >= outage.step {
                        stands = Some(known);
                        break;
                    }
                }
                let (key, data) = (self.outage_key(), Some(registry::encode(&outage)));
                if let Ok(Ok(_version)) = session.cas(Cas { key, expect, data }).await {
                    stands = Some(outage);
                    break;
                }
            }
        }
        Happened::Remembered(Remembered::Written(stands))
    }

    async fn forget_outage(self: Arc<Self>) -> Happened {
        let removed = match self.session() {
            Some(session) => self.remove_outage(&session).await,
            None => false,
        };
        Happened::Remembered(Remembered::Removed(removed))
    }

    async fn remove_outage(&self, session: &Session) -> bool {
        match self.read_outage(session).await {
            None => false,
            Some(None) => true,
            Some(Some((_, version))) => {
                let (key, expect) = (self.outage_key(), Some(version));
                matches!(session.cas(Cas { key, expect, data: None }).await, Ok(Ok(_)))
            }
        }
    }
}

#[cfg(test)]
#[path = "outage_tests.rs"]
mod tests;
