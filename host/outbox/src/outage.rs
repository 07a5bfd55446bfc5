//! What outlives the nodes of an outage: since when a service is down, and how far the waits between attempts have grown.
//!
//! It stands in the registry, in `services/NAME/down`, one for the cluster. Who finds a service down writes it, who finds
//! it up again, or stopped, takes it away, and a node that starts reads it before it sends anything: it begins where the
//! others, or the process before it, were, and not with a storm of tries.
//!
//! Attempts are not written. An outage is, once it has lasted for [`NOTE_AFTER`], and then only each time that the waits
//! between attempts have doubled, until they grow no more: about a dozen writes, however long it lasts, and however many
//! nodes try. So what stands may be behind by one wait; then a node that starts tries once too early.
//!
//! It is a hint like all news of a service. Nothing that is sent or not sent for good depends on it, and what cannot be read
//! is as if it was not there.

use std::sync::Arc;
use std::time::Duration;

use hashring::NodeId;
use registry::{COUNT_MAX, Cas, Session};
use runtime::Instant;
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
}

/// An outage as this node goes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    since: Instant,
    step: u32,
    until: Instant,
}

/// What a service's task knows of what stands.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Whether it was read what stood there when this node began.
    read: bool,
    /// How far the outage is that is known to stand.
    stands: Option<u32>,
    /// It is over, and that is not done yet.
    over: bool,
    busy: bool,
}

/// What to do with the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Write(Seen),
    Remove,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Remembered {
    /// What stood there when this node began.
    Read(Option<Outage>),
    /// What stands there now; the outer `None`: it cannot be reached.
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
        Outage { format: FORMAT, born, since_ms, step, next_ms, node }
    }
}

impl Memory {
    /// Whether it is known what was before this node began.
    pub(crate) fn is_read(&self) -> bool {
        self.read
    }

    /// Nobody need know what was before.
    pub(crate) fn is_needless(&mut self) {
        self.read = true;
    }

    /// The outage is over, or somebody has stopped the service.
    pub(crate) fn ends(&mut self) {
        self.over = true;
    }

    /// What is to be done now, with a service that is `down`, if it is. It is taken for begun.
    fn begins(&mut self, down: Option<Seen>, retry: Retry, now: Instant) -> Option<Does> {
        if self.busy || !self.read {
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

    /// A step is over: what stands now, if it is known.
    fn is_done(&mut self, stands: Option<Option<u32>>) {
        self.busy = false;
        if let Some(stands) = stands {
            self.stands = stands;
        }
    }
}

impl Task {
    /// Reads what was before this node began, unless nobody keeps it.
    pub(crate) fn recall(&mut self) {
        let work = &self.running.work;
        if work.agreements.is_absent() {
            self.memory.is_needless();
        }
        if self.memory.read || self.memory.busy {
            return;
        }
        self.memory.busy = true;
        self.doing.push(Box::pin(Arc::clone(work).recall()));
    }

    /// Has the registry say what outlives this node of an outage.
    pub(crate) fn remember(&mut self, now: Instant) {
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
        let born = self.known.as_ref().map(|known| known.agreed.born);
        let retry = self.running.work.config.retry;
        let ours = |outage: &Outage| Some(outage.born) == born;
        match remembered {
            Remembered::Read(stands) => {
                let stands = stands.filter(ours);
                self.memory.is_done(Some(stands.as_ref().map(|outage| outage.step)));
                if !std::mem::replace(&mut self.memory.read, true)
                    && let Some(outage) = stands
                {
                    self.restore(&outage, now);
                }
            }
            Remembered::Written(stands) => {
                let step = stands.as_ref().map(|outage| Some(outage.step));
                self.memory.is_done(step);
                if let Some(outage) = stands.filter(ours) {
                    let since = outage.seen(retry, now, runtime::wall_ms()).since;
                    self.engine.service_mut().is_down_since(since);
                }
            }
            Remembered::Removed(done) => {
                self.memory.over = !done;
                self.memory.is_done(done.then_some(None));
            }
        }
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
    }
}

impl Work {
    fn outage_key(&self) -> String {
        format!("{}/down", key(&self.config.name))
    }

    fn session(&self) -> Option<Arc<Session>> {
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

    async fn recall(self: Arc<Self>) -> Happened {
        let stands = match self.session() {
            Some(session) => self.read_outage(&session).await.flatten(),
            None => None,
        };
        Happened::Remembered(Remembered::Read(stands.and_then(|(outage, _)| outage)))
    }

    /// Writes it, unless what stands is further.
    async fn note_outage(self: Arc<Self>, mut outage: Outage) -> Happened {
        let mut stands = None;
        if let Some(session) = self.session() {
            for _try in 0..TRIES_MAX {
                let Some(found) = self.read_outage(&session).await else { break };
                let expect = found.as_ref().map(|(_, version)| *version);
                let known = found.and_then(|(known, _)| known);
                if let Some(known) = known.filter(|known| known.born == outage.born) {
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn outage() -> Outage {
        let node = "n1".parse().unwrap();
        Outage { format: 1, born: 2, since_ms: 100_000, step: 7, next_ms: 260_000, node }
    }

    /// When this breaks, what stands in registries is no longer readable.
    #[test]
    fn a_record_has_the_json_it_always_had() {
        let json =
            r#"{"format":1,"born":2,"since_ms":100000,"step":7,"next_ms":260000,"node":"n1"}"#;
        assert_eq!(String::from_utf8(registry::encode(&outage())).unwrap(), json);
        assert_eq!(Outage::decode(json.as_bytes()), Some(outage()));
        assert_eq!(Outage::decode(json.replace(":1,", ":2,").as_bytes()), None, "a newer one's");
        let never = json.replace(r#""born":2"#, &format!(r#""born":{}"#, COUNT_MAX + 1));
        assert_eq!(Outage::decode(never.as_bytes()), None, "no node wrote that");
        assert_eq!(Outage::decode(b"{}"), None);
    }

    #[test]
    fn what_one_node_wrote_another_goes_on_from() {
        let now = runtime::now();
        let seen = Seen { since: now - 60 * SECOND, step: 7, until: now + 100 * SECOND };
        let written = seen.outage(2, "n1".parse().unwrap(), now, 160_000);
        assert_eq!(written, outage());
        let later = outage().seen(Retry::default(), now, 200_000);
        let (since, until) = (now - 100 * SECOND, now + 60 * SECOND);
        assert_eq!(later, Seen { since, step: 7, until });
    }

    #[test]
    fn a_clock_that_is_wrong_puts_nothing_off_for_long() {
        let now = runtime::now();
        let before = outage().seen(Retry::default(), now, 0);
        assert_eq!((before.since, before.until), (now, now + 260 * SECOND));
        let never = Outage { next_ms: u64::MAX, ..outage() };
        assert_eq!(never.seen(Retry::default(), now, 0).until, now + RETRY_AFTER_MAX);
        let long_ago = outage().seen(Retry::default(), now, 10_000_000);
        assert_eq!(long_ago.until, now, "it is tried at once");
    }

    /// Tells of an outage that lasts for `hours`, looked at twice a second and tried as it would be; how often something is
    /// written.
    fn writes(hours: u32, retry: Retry, fails: bool) -> usize {
        let (mut memory, mut now) = (Memory::default(), runtime::now());
        memory.is_needless();
        let (since, end) = (now, now + hours * 3600 * SECOND);
        let (mut step, mut until, mut written) = (1, now + retry.first, 0);
        while now < end {
            if now >= until {
                (step, until) =
                    (step + 1, now + retry.first.saturating_mul(1 << step.min(20)).min(retry.cap));
            }
            match memory.begins(Some(Seen { since, step, until }), retry, now) {
                Some(Does::Write(seen)) => {
                    written += 1;
                    memory.is_done((!fails).then_some(Some(seen.step)));
                }
                Some(Does::Remove) => panic!("it is not over"),
                None => {}
            }
            now += SECOND / 2;
        }
        written
    }

    #[test]
    fn an_outage_of_three_days_is_written_no_oftener_than_one_of_an_hour() {
        let retry = Retry::default();
        let (hour, days) = (writes(1, retry, false), writes(72, retry, false));
        assert!(hour == days && (5..=10).contains(&days), "{hour}, {days}");
        let quick = Retry { first: SECOND / 10, cap: SECOND, ..retry };
        assert_eq!(writes(1, quick, false), 1, "the waits are long by then");
        assert!(writes(1, retry, true) > 100, "what could not be written is tried again");
    }

    #[test]
    fn what_lasts_a_moment_costs_nothing_and_what_is_over_is_taken_away() {
        let (mut memory, now) = (Memory::default(), runtime::now());
        let retry = Retry::default();
        let seen = Seen { since: now, step: 1, until: now + SECOND };
        let soon = now + SECOND;
        assert_eq!(memory.begins(Some(seen), retry, now + NOTE_AFTER), None, "nothing was read");
        memory.is_needless();
        assert_eq!(memory.begins(Some(seen), retry, soon), None);
        assert_eq!(memory.begins(None, retry, soon), None);
        assert_eq!(memory.begins(Some(seen), retry, now + NOTE_AFTER), Some(Does::Write(seen)));
        memory.ends();
        assert_eq!(memory.begins(None, retry, now + NOTE_AFTER), None, "one thing at a time");
        memory.is_done(Some(Some(1)));
        assert_eq!(memory.begins(None, retry, now + NOTE_AFTER), Some(Does::Remove));
    }
}
