//! What outlives the leader of a lane that fails by itself: for how long, and how often in a row, its transaction has failed.
//!
//! It stands in the registry, in `services/NAME/failing/PARTITION`, written by who leads the lane. So what is never taken is put
//! aside once it has failed for `give_up`, whoever led meanwhile, and the waits go on from where they were. Who leads next
//! tries once without asking: what one node was answered another may not be. Only if that fails it is read what stands, so
//! that a lane that goes costs the registry nothing.
//!
//! Time is counted, and no moment is written: what counts is when a leader saw it fail, not when nobody led, and no clocks are
//! compared. It is written after an attempt that failed, once it is [`NOTE_EVERY`] more than what stands: a leader that is gone
//! sooner has counted nothing. It is taken away when what it is of is over, by who leads then, at the latest when the lane fails again.
//!
//! It is a hint like that of an outage. What is no such record, or of another transaction, says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashring::NodeId;
use model::FrozenId;
use registry::{Cas, Session};
use runtime::{Backoff, Instant};
use serde::{Deserialize, Serialize};
use transaction::Series;

use crate::agreed::key;
use crate::outage::{AGAIN_CAP, AGAIN_FIRST};
use crate::running::Task;
use crate::working::{Happened, Work};

/// So much longer than what stands it must have failed to be written: also what is tried many times a second is not
/// written more often, and who comes and goes need not be remembered.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// Lanes that are written together; the others at the next look.
const WRITES_MAX: usize = 64;
/// The version of the JSON.
const FORMAT: u16 = 1;

/// What stands of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u16,
    /// The transaction: the place of the entry that froze it, and which of that entry's.
    epoch: u64,
    seq: u64,
    index: u16,
    /// How long leaders saw it fail, in milliseconds.
    lasted_ms: u64,
    /// How often in a row.
    step: u32,
    /// Who says so.
    node: NodeId,
}

/// What is to stand of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    lane: u16,
    /// What stands there now.
    expect: Option<u64>,
    /// `None`: nothing any more.
    series: Option<Series>,
}

/// What stands of each lane, with its version; `None`: what no node of this version wrote.
type Stands = BTreeMap<u16, (Option<Series>, u64)>;

/// What to do with the registry.
#[derive(Debug, PartialEq, Eq)]
enum Does {
    /// Read it all, for the lanes that are led in these epochs.
    Read(BTreeMap<u16, u64>),
    Write(Vec<Note>),
}

/// What came of it. The inner `None`: nobody knows.
#[derive(Debug)]
pub(crate) enum Noted {
    /// For the lanes that were led in these epochs.
    Read(BTreeMap<u16, u64>, Option<Stands>),
    /// The version of each; `None`: something else stood there.
    Written(Option<Vec<(Note, Option<u64>)>>),
}

/// What a service's task knows of what stands.
#[derive(Debug)]
pub(crate) struct Notes {
    /// In which epoch of a lane it was read.
    read: BTreeMap<u16, u64>,
    stands: Stands,
    busy: bool,
    /// Nothing is asked of the registry before, because it failed.
    after: Option<Instant>,
    again: Backoff,
}

impl Record {
    fn of(series: &Series, node: NodeId) -> Self {
        let Series { id: FrozenId { epoch, seq, index }, lasted, step } = *series;
        let lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        Self { format: FORMAT, epoch, seq, index, lasted_ms, step, node }
    }

    /// The record of these bytes; `None`: no node wrote it, or a newer one.
    fn decode(bytes: &[u8]) -> Option<Series> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        let Self { format, epoch, seq, index, lasted_ms, step, node: _ } = record;
        let lasted = Duration::from_millis(lasted_ms);
        let series = Series { id: FrozenId { epoch, seq, index }, lasted, step };
        (format == FORMAT).then_some(series)
    }
}

impl Default for Notes {
    fn default() -> Self {
        let (read, stands, again) =
            (BTreeMap::new(), Stands::new(), Backoff::new(AGAIN_FIRST, AGAIN_CAP));
        Self { read, stands, busy: false, after: None, again }
    }
}

impl Notes {
    /// What is to be done now, with the lanes that are led here, each in an epoch, and how they fail. It is taken for begun.
    fn begins(&mut self, led: &[(u16, u64, Option<Series>)], now: Instant) -> Option<Does> {
        if self.busy || self.after.is_some_and(|after| now < after) {
            return None;
        }
        let is_read = |lane: &u16, epoch: &u64| self.read.get(lane) == Some(epoch);
        let does = if led.iter().any(|(lane, epoch, it)| it.is_some() && !is_read(lane, epoch)) {
            Does::Read(led.iter().map(|(lane, epoch, _)| (*lane, *epoch)).collect())
        } else {
            let known = led.iter().filter(|(lane, epoch, _)| is_read(lane, epoch));
            let notes = known.filter_map(|(lane, _, series)| self.note(*lane, *series));
            Does::Write(notes.take(WRITES_MAX).collect())
        };
        self.busy = does != Does::Write(Vec::new());
        self.busy.then_some(does)
    }

    /// What is to stand of a lane, if it is to be another thing.
    fn note(&self, lane: u16, series: Option<Series>) -> Option<Note> {
        let stands = self.stands.get(&lane);
        let news = match (series, stands.and_then(|(series, _)| *series)) {
            (None, _) => stands.is_some(),
            (Some(series), Some(known)) if known.id == series.id => {
                series.step > known.step && series.lasted >= known.lasted + NOTE_EVERY
            }
            (Some(series), _) => series.lasted >= NOTE_EVERY,
        };
        let expect = stands.map(|(_, version)| *version);
        news.then_some(Note { lane, expect, series })
    }

    /// It was read. What stands of lanes of which nobody here knew.
    fn is_read(&mut self, led: BTreeMap<u16, u64>, mut stands: Stands) -> Vec<(u16, Series)> {
        self.is_done();
        stands.retain(|lane, _| led.contains_key(lane));
        let news = stands.iter().filter(|(lane, _)| self.read.get(lane) != led.get(lane));
        let news = news.filter_map(|(lane, (series, _))| Some((*lane, (*series)?))).collect();
        (self.read, self.stands) = (led, stands);
        news
    }

    /// These are written, or what stands there is to be read again.
    fn are_written(&mut self, notes: Vec<(Note, Option<u64>)>) {
        self.is_done();
        for (Note { lane, series, .. }, version) in notes {
            match (series, version) {
                (Some(_), Some(version)) => _ = self.stands.insert(lane, (series, version)),
                (None, Some(_)) => _ = self.stands.remove(&lane),
                (_, None) => _ = self.read.remove(&lane),
            }
        }
    }

    fn is_done(&mut self) {
        (self.busy, self.after) = (false, None);
        self.again.reset();
    }

    fn fails(&mut self, now: Instant, dice: u32) {
        (self.busy, self.after) = (false, Some(now + self.again.next(dice)));
    }
}

impl Task {
    /// Has the registry say how lanes fail by themselves.
    pub(crate) fn note_series(&mut self, now: Instant) {
        let work = Arc::clone(&self.running.work);
        if self.known.is_none() || work.agreements.is_absent() {
            return;
        }
        let led: Vec<_> = self.engine.led(now).collect();
        match self.notes.begins(&led, now) {
            None => {}
            Some(Does::Read(led)) => self.doing.push(Box::pin(work.read_series(led))),
            Some(Does::Write(notes)) => self.doing.push(Box::pin(work.write_series(notes))),
        }
    }

    /// A step is over.
    pub(crate) fn noted_series(&mut self, noted: Noted, now: Instant) {
        match noted {
            Noted::Read(_, None) | Noted::Written(None) => self.notes.fails(now, rand::random()),
            Noted::Written(Some(notes)) => self.notes.are_written(notes),
            Noted::Read(led, Some(stands)) => {
                for (lane, series) in self.notes.is_read(led, stands) {
                    self.engine.go_on(lane, &series, now, rand::random());
                }
            }
        }
    }
}

impl Work {
    fn failing_prefix(&self) -> String {
        format!("{}/failing/", key(&self.config.name))
    }

    async fn read_series(self: Arc<Self>, led: BTreeMap<u16, u64>) -> Happened {
        let stands = match self.session() {
            Some(session) => self.stands(&session).await,
            None => None,
        };
        Happened::NotedSeries(Noted::Read(led, stands))
    }

    async fn stands(&self, session: &Session) -> Option<Stands> {
        let prefix = self.failing_prefix();
        let found = session.list(&prefix).await.ok()?;
        let lane = |key: &str| key.strip_prefix(&prefix)?.parse().ok();
        let one = |(key, value): &(String, registry::Value)| {
            Some((lane(key)?, (Record::decode(&value.data), value.version)))
        };
        Some(found.iter().filter_map(one).collect())
    }

    async fn write_series(self: Arc<Self>, notes: Vec<Note>) -> Happened {
        let (prefix, node) = (self.failing_prefix(), self.desk.node());
        let cas = |Note { lane, expect, series }: &Note| {
            let data = series.map(|series| registry::encode(&Record::of(&series, node.clone())));
            Cas { key: format!("{prefix}{lane}"), expect: *expect, data }
        };
        let writes = notes.iter().map(cas).collect();
        let written = match self.session() {
            Some(session) => session.cas_many(writes).await.ok(),
            None => None,
        };
        let each = |written: Vec<Result<u64, _>>| {
            notes.into_iter().zip(written.into_iter().map(Result::ok)).collect()
        };
        Happened::NotedSeries(Noted::Written(written.map(each)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn series(seq: u64, seconds: u32, step: u32) -> Series {
        let id = FrozenId { epoch: 3, seq, index: 1 };
        Series { id, lasted: seconds * SECOND, step }
    }

    fn notes(stands: &[(u16, Option<Series>)]) -> Notes {
        let mut notes = Notes::default();
        let stands = stands.iter().map(|(lane, series)| (*lane, (*series, 4))).collect();
        notes.is_read(BTreeMap::from([(0, 1), (1, 1)]), stands);
        notes
    }

    /// When this breaks, what stands in registries is no longer readable.
    #[test]
    fn a_record_has_the_json_it_always_had() {
        let json =
            r#"{"format":1,"epoch":3,"seq":9,"index":1,"lasted_ms":7000,"step":5,"node":"n1"}"#;
        let record = Record::of(&series(9, 7, 5), "n1".parse().unwrap());
        assert_eq!(String::from_utf8(registry::encode(&record)).unwrap(), json);
        assert_eq!(Record::decode(json.as_bytes()), Some(series(9, 7, 5)));
        assert_eq!(Record::decode(json.replace(":1,\"epoch", ":2,\"epoch").as_bytes()), None);
        assert_eq!(Record::decode(b"{}"), None);
    }

    #[test]
    fn nothing_is_asked_before_something_fails() {
        let (mut notes, now) = (Notes::default(), runtime::now());
        assert_eq!(notes.begins(&[(0, 1, None), (1, 1, None)], now), None);
        let led = [(0, 1, None), (1, 1, Some(series(9, 0, 1)))];
        let all = BTreeMap::from([(0, 1), (1, 1)]);
        assert_eq!(notes.begins(&led, now), Some(Does::Read(all.clone())));
        assert_eq!(notes.begins(&led, now), None, "one after the other");
        let known = Stands::from([(1, (Some(series(9, 60, 7)), 4)), (2, (None, 1))]);
        assert_eq!(notes.is_read(all.clone(), known.clone()), [(1, series(9, 60, 7))]);
        assert_eq!(notes.is_read(all, known), [], "that is known by now");
        let anew = [(0, 1, None), (1, 2, Some(series(9, 0, 1)))];
        assert!(matches!(notes.begins(&anew, now), Some(Does::Read(_))), "others have led it");
    }

    #[test]
    fn it_is_written_after_an_attempt_and_not_every_few_moments() {
        let notes = notes(&[(0, Some(series(9, 60, 7)))]);
        let writes = |lane, series| notes.note(lane, Some(series)).is_some();
        assert!(!writes(1, series(9, 4, 3)) && writes(1, series(9, 5, 3)));
        assert!(!writes(0, series(9, 90, 7)), "it waits");
        assert!(!writes(0, series(9, 64, 8)) && writes(0, series(9, 65, 8)));
        assert!(writes(0, series(11, 5, 1)), "it is another transaction");
    }

    #[test]
    fn what_is_over_is_taken_away_and_what_another_wrote_is_read_again() {
        let (mut notes, now) = (notes(&[(0, Some(series(9, 60, 7))), (1, None)]), runtime::now());
        let gone = |lane| Note { lane, expect: Some(4), series: None };
        let led = [(0, 1, None), (1, 1, None)];
        assert_eq!(notes.begins(&led, now), Some(Does::Write(vec![gone(0), gone(1)])));
        notes.are_written(vec![(gone(0), Some(5)), (gone(1), None)]);
        assert_eq!(notes.begins(&led, now), None);
        let led = [(0, 1, None), (1, 1, Some(series(9, 9, 1)))];
        assert!(matches!(notes.begins(&led, now), Some(Does::Read(_))));
        notes.fails(now, u32::MAX);
        assert_eq!(notes.begins(&led, now), None, "the registry is away");
        assert!(notes.begins(&led, now + AGAIN_FIRST).is_some());
    }
}
