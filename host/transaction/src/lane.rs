//! What one lane does next: what a partition owes to a service goes out one transaction after another.
//!
//! Cut, commit, attempt, done: each step begins when the one before is over, so that nothing is sent before
//! the entry that froze it is committed, and no two transactions of a lane are under way. What is said here
//! of a lane follows from what the log says it owes ([`Owed`]) and from what this node tried of it.

use std::sync::Arc;
use std::time::Duration;

use model::{EventPlace, Frozen, FrozenId};
use runtime::Instant;

use crate::schedule::{Retry, Schedule};

/// So often events that an answer named as failed are sent again before they are put aside.
pub const ROUNDS_MAX: u8 = 5;

/// So long it may take until the log hears that the last transaction of a lane is done, if none follows. Lost,
/// it costs one repetition.
pub const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// What the committed log says a lane owes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// What is sent now.
    pub front: Option<Arc<Frozen>>,
    /// Whether something frozen waits behind it.
    pub more: bool,
    /// Whether there is, or may be, something to cut.
    pub ripe: bool,
    /// How many events were put aside.
    pub dead: usize,
}

/// Events that go together under a new id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which, in their order.
    pub events: Vec<EventPlace>,
    /// How often they were sent and not all taken.
    pub rounds: u8,
}

/// How a transaction ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Which.
    pub id: FrozenId,
    /// Goes again in its place.
    pub again: Vec<Piece>,
    /// Is put aside.
    pub parked: Vec<EventPlace>,
    /// So many events are not in the log any more: all of them, and they are given up.
    pub lost: usize,
    /// The last answer's status.
    pub status: Option<u16>,
}

/// How a transaction has failed so far, whoever led its lane: for as long as a leader saw it fail, and so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// Which.
    pub id: FrozenId,
    /// How long it has failed.
    pub lasted: Duration,
    /// How often in a row.
    pub step: u32,
}

/// What an attempt says about its transaction, with the events an answer named by their number in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, but for these.
    Taken {
        /// Numbers of events that are to come again.
        failed: Vec<usize>,
    },
    /// Never taken like this.
    Refused,
    /// Later, the same again.
    Later,
    /// What would be sent now is not what was frozen: its events go under a new id, but for those that are
    /// not there any more.
    Differs {
        /// Numbers of events that are still there.
        left: Vec<usize>,
    },
}

/// What follows for a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// It is done with; the log can hear of it later.
    Delivered,
    /// The log has to say what becomes of it before anything else is sent.
    Settle(Settlement),
    /// It is tried again.
    Again,
}

/// What follows from an attempt at `frozen`.
pub fn after(frozen: &Frozen, verdict: &Verdict, status: Option<u16>) -> After {
    let Frozen { id, part } = frozen;
    let ends =
        |again, parked, lost| After::Settle(Settlement { id: *id, again, parked, lost, status });
    let settle = |again, parked| ends(again, parked, 0);
    let pick = |numbers: &[usize]| -> Vec<EventPlace> {
        let events = part.events.iter().enumerate();
        events.filter(|(number, _)| numbers.contains(number)).map(|(_, event)| *event).collect()
    };
    match verdict {
        Verdict::Later => After::Again,
        Verdict::Taken { failed } => {
            let failed = pick(failed);
            let rounds = part.rounds.saturating_add(1);
            if failed.is_empty() {
                After::Delivered
            } else if rounds < ROUNDS_MAX {
                settle(vec![Piece { events: failed, rounds }], Vec::new())
            } else if let [alone] = part.events.as_slice() {
                settle(Vec::new(), vec![*alone])
            } else {
                // Once more, each by itself: what is put aside has an id of its own.
                let alone = |event| Piece { events: vec![event], rounds: part.rounds };
                settle(failed.into_iter().map(alone).collect(), Vec::new())
            }
        }
        Verdict::Refused if part.events.len() <= 1 => settle(Vec::new(), part.events.clone()),
        Verdict::Refused => {
            let (first, second) = part.events.split_at(part.events.len() / 2);
            let half =
                |events: &[EventPlace]| Piece { events: events.to_vec(), rounds: part.rounds };
            settle(vec![half(first), half(second)], Vec::new())
        }
        Verdict::Differs { left } => {
            // What is gone goes by itself, so that just that is given up.
            let gone: Vec<usize> = (0..part.events.len()).filter(|it| !left.contains(it)).collect();
            let (left, gone) = (pick(left), pick(&gone));
            if left.is_empty() {
                return ends(Vec::new(), Vec::new(), gone.len());
            }
            let pieces = [left, gone].into_iter().filter(|events| !events.is_empty());
            let piece = |events| Piece { events, rounds: part.rounds };
            settle(pieces.map(piece).collect(), Vec::new())
        }
    }
}

/// What a lane does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Cut, and say of what is sent that it is done.
    Cut {
        settled: Option<FrozenId>,
    },
    Send(Arc<Frozen>),
    Settle(Settlement),
}

/// A lane as this node tries it.
#[derive(Debug)]
pub(crate) struct Lane {
    /// In which epoch this node leads it; 0: not now.
    pub(crate) epoch: u64,
    pub(crate) owed: Owed,
    /// Something is appended, or being cut, and not committed.
    pub(crate) appending: bool,
    /// What is under way, whoever leads.
    pub(crate) sending: Option<FrozenId>,
    /// What was taken, and since when; the log does not know it yet.
    delivered: Option<(FrozenId, Instant)>,
    /// What the log has to hear before anything else is sent.
    settlement: Option<Settlement>,
    schedule: Schedule,
    not_before: Option<Instant>,
    failing_since: Option<Instant>,
    ripe_since: Option<Instant>,
    /// An attempt could not be made here: until then nothing is tried, whatever the service allows.
    rests_until: Option<Instant>,
    wakes: u64,
    breaks: u64,
}

/// What could not be made, or appended, is tried again after so long: what it needs of this node comes back.
const REST: Duration = Duration::from_millis(250);

/// What the service allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct May {
    pub(crate) send: bool,
    pub(crate) cut: bool,
    /// Whether the log is to hear at once of what was taken.
    pub(crate) ends: bool,
    /// Whether a lane that waits may go as well.
    pub(crate) probe: bool,
    pub(crate) linger: Duration,
    pub(crate) wakes: u64,
    /// Rises when it is sent nothing for a reason that is no lane's own.
    pub(crate) breaks: u64,
}

impl Lane {
    pub(crate) fn new(retry: Retry) -> Self {
        Self {
            epoch: 0,
            owed: Owed::default(),
            appending: false,
            sending: None,
            delivered: None,
            settlement: None,
            schedule: Schedule::new(retry),
            not_before: None,
            failing_since: None,
            ripe_since: None,
            rests_until: None,
            wakes: 0,
            breaks: 0,
        }
    }

    /// This node leads it in `epoch`, and this is owed.
    pub(crate) fn owes(&mut self, epoch: u64, owed: Owed, now: Instant) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.appending = false;
        }
        let front = owed.front.as_ref().map(|frozen| frozen.id);
        let known = |id: FrozenId| front == Some(id);
        self.delivered = self.delivered.filter(|(id, _)| known(*id));
        self.settlement = self.settlement.take().filter(|it| known(it.id));
        if owed.ripe {
            self.ripe_since.get_or_insert(now);
        } else {
            self.ripe_since = None;
        }
        self.owed = owed;
    }

    /// Whether it has something that the service has not taken.
    pub(crate) fn has_work(&self) -> bool {
        self.epoch > 0 && (self.owed.ripe || self.to_send().is_some())
    }

    /// What would be sent next, if there is something frozen.
    pub(crate) fn to_send(&self) -> Option<&Arc<Frozen>> {
        let front = self.owed.front.as_ref()?;
        let taken = self.delivered.is_some_and(|(id, _)| id == front.id);
        (self.epoch > 0 && !taken && self.settlement.is_none()).then_some(front)
    }

    /// Whether what it would send waits for nothing of its own.
    pub(crate) fn is_ready(&self) -> bool {
        let free = self.sending.is_none() && !self.appending && self.not_before.is_none();
        free && self.to_send().is_some()
    }

    pub(crate) fn next(&mut self, may: May, now: Instant) -> Option<Next> {
        if self.wakes != may.wakes {
            (self.wakes, self.not_before) = (may.wakes, None);
        }
        if self.breaks != may.breaks {
            // Meanwhile it could not have been taken, whatever it is.
            (self.breaks, self.failing_since) = (may.breaks, None);
        }
        if self.epoch == 0 || self.appending || self.sending.is_some() || self.is_resting(now) {
            return None;
        }
        if let Some(settlement) = &self.settlement {
            return Some(Next::Settle(settlement.clone()));
        }
        if let Some(frozen) = self.to_send() {
            let waits = !may.probe && self.not_before.is_some_and(|until| now < until);
            return (may.send && !waits).then(|| Next::Send(Arc::clone(frozen)));
        }
        let filled = self.ripe_since.is_some_and(|since| now >= since + may.linger);
        let cuts = self.owed.ripe && may.cut && filled;
        match self.delivered {
            None => cuts.then_some(Next::Cut { settled: None }),
            Some((id, _)) if cuts && !self.owed.more => Some(Next::Cut { settled: Some(id) }),
            Some((id, since)) if self.owed.more || may.ends || now >= since + SETTLE_AFTER => {
                let (again, parked) = (Vec::new(), Vec::new());
                Some(Next::Settle(Settlement { id, again, parked, lost: 0, status: None }))
            }
            Some(_) => None,
        }
    }

    /// When [`Lane::next`] has something to say at the latest, if nothing happens.
    pub(crate) fn next_timeout(&self, may: May) -> Option<Instant> {
        if self.epoch == 0 || self.appending || self.sending.is_some() {
            return None;
        }
        if self.to_send().is_some() {
            if !may.send {
                // Nothing can begin before something ends.
                return None;
            }
            return self.not_before.max(self.rests_until);
        }
        if self.settlement.is_some() {
            return self.rests_until;
        }
        let after = if may.ends { Duration::ZERO } else { SETTLE_AFTER };
        let settle = self.delivered.map(|(_, since)| since + after);
        let cut = self.ripe_since.map(|since| since + may.linger).filter(|_| may.cut);
        let due = settle.into_iter().chain(cut).min()?;
        Some(self.rests_until.map_or(due, |rests| rests.max(due)))
    }

    /// Whether nothing of it is under way that the log should hear of. Of what is not led here it hears from others.
    pub(crate) fn is_quiet(&self) -> bool {
        let told = !self.appending && self.delivered.is_none() && self.settlement.is_none();
        self.sending.is_none() && (told || self.epoch == 0)
    }

    /// Since when it fails, and when it is tried again, if it does.
    pub(crate) fn failing(&self) -> Option<(Instant, Option<Instant>)> {
        let since = self.failing_since.filter(|_| self.has_work())?;
        Some((since, self.not_before.filter(|_| self.sending.is_none())))
    }

    /// How what would be sent next has failed so far, if it has.
    pub(crate) fn series(&self, now: Instant) -> Option<Series> {
        let (front, since) = (self.to_send()?, self.failing_since?);
        let lasted = now.saturating_duration_since(since);
        Some(Series { id: front.id, lasted, step: self.schedule.step() })
    }

    /// Somebody who led it before has seen this: what was tried here since comes after it. `breaks` is what the service's are.
    pub(crate) fn goes_on(
        &mut self,
        series: &Series,
        retry: Retry,
        breaks: u64,
        now: Instant,
        dice: u32,
    ) {
        if self.to_send().is_none_or(|front| front.id != series.id) {
            return;
        }
        let tried = self.failing_since.is_some();
        let since = now.checked_sub(series.lasted).unwrap_or(now);
        self.failing_since = Some(self.failing_since.map_or(since, |known| known.min(since)));
        self.breaks = breaks;
        if self.schedule.step() <= series.step {
            self.schedule = Schedule::at(retry, series.step);
            if tried {
                let waits = Some(now + self.schedule.next(dice, None));
                self.not_before = self.not_before.max(waits);
            }
        }
    }

    /// What was under way is over. Says what follows; nothing if it was something else, or was in vain.
    pub(crate) fn ended(
        &mut self,
        frozen: &Frozen,
        verdict: &Verdict,
        status: Option<u16>,
        now: Instant,
    ) -> Option<After> {
        self.sending.take_if(|id| *id == frozen.id)?;
        // Another node may have led in the meantime and be further: then the log says so.
        let front = self.owed.front.as_ref().filter(|front| front.id == frozen.id)?;
        let after = after(front, verdict, status);
        match &after {
            After::Delivered => {
                self.delivered = Some((frozen.id, now));
                self.succeeds();
            }
            After::Settle(settlement) => self.settlement = Some(settlement.clone()),
            After::Again => {}
        }
        Some(after)
    }

    /// Whether something could not be done here just now.
    pub(crate) fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// Something could not be done here.
    pub(crate) fn rests(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
    }

    pub(crate) fn succeeds(&mut self) {
        self.schedule.reset();
        self.not_before = None;
        self.failing_since = None;
    }

    /// It failed: it waits. Returns for how long it has failed.
    pub(crate) fn fails(
        &mut self,
        now: Instant,
        dice: u32,
        retry_after: Option<Duration>,
    ) -> Duration {
        self.not_before = Some(now + self.schedule.next(dice, retry_after));
        now.saturating_duration_since(*self.failing_since.get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use model::{Dialect, Part};

    use super::*;

    fn frozen(count: u64, rounds: u8) -> Frozen {
        let place = |seq| EventPlace { seq, index: 0, epoch: 1, number: seq };
        let events = (1..=count).map(place).collect();
        let part = Part { dialect: Dialect::Matrix, render: 1, events, hash: [0; 32], rounds };
        Frozen { id: FrozenId { epoch: 1, seq: 9, index: 0 }, part }
    }

    fn settled(after: After) -> (Vec<Vec<u64>>, Vec<u64>) {
        let After::Settle(settlement) = after else { panic!("{after:?}") };
        let seqs = |events: &[EventPlace]| events.iter().map(|event| event.seq).collect();
        let again = settlement.again.iter().map(|piece| seqs(&piece.events)).collect();
        (again, seqs(&settlement.parked))
    }

    #[test]
    fn what_is_refused_is_halved_in_order_and_one_event_is_put_aside() {
        let refused = |count| settled(after(&frozen(count, 0), &Verdict::Refused, Some(413)));
        assert_eq!(refused(5), (vec![vec![1, 2], vec![3, 4, 5]], vec![]));
        assert_eq!(refused(2), (vec![vec![1], vec![2]], vec![]));
        assert_eq!(refused(1), (vec![], vec![1]));
    }

    #[test]
    fn what_an_answer_names_as_failed_goes_again_five_times() {
        let of = |count, failed: &[usize], rounds| {
            after(&frozen(count, rounds), &Verdict::Taken { failed: failed.to_vec() }, Some(200))
        };
        let taken = |failed: &[usize], rounds| of(3, failed, rounds);
        assert_eq!(taken(&[], 0), After::Delivered);
        assert_eq!(settled(taken(&[2, 0], 0)), (vec![vec![1, 3]], vec![]));
        assert_eq!(settled(taken(&[1], 3)), (vec![vec![2]], vec![]));
        assert_eq!(settled(taken(&[1, 2], 4)), (vec![vec![2], vec![3]], vec![]), "now each alone");
        assert_eq!(settled(of(1, &[0], 4)), (vec![], vec![1]), "and then it is put aside");
        assert_eq!(taken(&[17], 0), After::Delivered, "nobody knows that one");
    }

    #[test]
    fn what_would_be_sent_otherwise_goes_under_a_new_id_without_what_is_gone() {
        let differs = |left: &[usize]| {
            settled(after(&frozen(3, 2), &Verdict::Differs { left: left.to_vec() }, None))
        };
        assert_eq!(differs(&[0, 1, 2]), (vec![vec![1, 2, 3]], vec![]));
        assert_eq!(differs(&[0, 2]), (vec![vec![1, 3], vec![2]], vec![]));
    }

    #[test]
    fn what_is_not_in_the_log_any_more_is_given_up_and_not_done() {
        let lost = |count: u64, left: &[usize]| match after(
            &frozen(count, 0),
            &Verdict::Differs { left: left.to_vec() },
            None,
        ) {
            After::Settle(settlement) => settlement.lost,
            other => panic!("{other:?}"),
        };
        assert_eq!((lost(3, &[]), lost(1, &[])), (3, 1), "all of it is gone");
        assert_eq!(lost(3, &[1]), 0, "what is gone goes by itself first");
    }
}
