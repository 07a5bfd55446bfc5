//! What a service does not take is kept for it, and not for ever: `keep` bounds it by age and by bytes, in equal parts
//! a partition. Beyond that the oldest transactions are given up, one entry each, and said so.
//!
//! An event's age counts from when it was said, or from when the service was stopped if that is later: as long as it is
//! tried, what it has not come to yet is only bounded in bytes. Bytes are judged from a page of what waits longest. Both
//! are by the clock of the wall, for want of another that goes on through restarts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use model::{EventPlace, FrozenId, OutboxChange, encode};
use runtime::Instant;
use transaction::State;

use crate::reading;
use crate::running::Task;
use crate::working::{Happened, Work};

/// How often it is looked: what is kept for days may be kept for so much longer, and each look reads a page of the log
/// of each partition that owes something.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Of the bound, when somebody should look.
const ALARM_PERCENT: u64 = 80;
/// What is read to know how large events are.
const SAMPLE_ENTRIES: usize = 16;
const SAMPLE_BYTES: usize = 64 << 10;

/// How long, and how much of it, a service is kept what it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How long.
    pub age: Duration,
    /// How much, in the whole cluster.
    pub bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { age: Duration::from_secs(30 * 86_400), bytes: 10 << 30 }
    }
}

/// What waits longest in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Oldest {
    /// When its first event was said, and its last, in Unix milliseconds.
    first_ms: u64,
    last_ms: u64,
    /// What waits in the whole partition.
    bytes: u64,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It stays, and somebody should look.
    Nearly,
    Beyond,
}

/// What was found out about a partition.
#[derive(Debug)]
pub(crate) struct Judged {
    partition: PartitionId,
    epoch: u64,
    /// The transaction that waits longest; none: nothing is cut.
    front: Option<(FrozenId, usize)>,
    fate: Fate,
}

/// How far a service's task is with it.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    due: Option<Instant>,
    busy: bool,
    /// Where something is given up, or cut to be, at the moment.
    working: BTreeSet<PartitionId>,
    /// Where there may be more.
    again: BTreeSet<PartitionId>,
    alarmed: bool,
}

impl Keep {
    /// `stopped_ms`: since when nothing is sent, if that is so.
    fn judge(&self, oldest: Oldest, stopped_ms: Option<u64>, now_ms: u64, partitions: u16) -> Fate {
        let share = self.bytes / u64::from(partitions.max(1));
        let most_ms = u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX);
        let age_ms = |said_ms: u64| {
            stopped_ms.map_or(0, |stopped_ms| now_ms.saturating_sub(said_ms.max(stopped_ms)))
        };
        let part = |percent: u64, of: u64| of / 100 * percent + of % 100 * percent / 100;
        if oldest.bytes > share || age_ms(oldest.last_ms) >= most_ms {
            Fate::Beyond
        } else if oldest.bytes >= part(ALARM_PERCENT, share).max(1)
            || age_ms(oldest.first_ms) >= part(ALARM_PERCENT, most_ms)
        {
            Fate::Nearly
        } else {
            Fate::Stays
        }
    }
}

impl Task {
    /// Has it looked whether something has waited for too long.
    pub(crate) fn keep(&mut self, now: Instant) {
        if self.keeping.busy {
            return;
        }
        let work = &self.running.work;
        let due = *self.keeping.due.get_or_insert(now + LOOK_EVERY);
        let partitions: Vec<PartitionId> = if now >= due {
            self.keeping.due = Some(now + LOOK_EVERY);
            work.desk.partitions().all().collect()
        } else {
            std::mem::take(&mut self.keeping.again).into_iter().collect()
        };
        if !partitions.is_empty() {
            self.keeping.busy = true;
            let stopped_ms = self.stopped_ms(now);
            self.doing.push(Box::pin(Arc::clone(work).judge(partitions, stopped_ms)));
        }
    }

    /// Since when nothing is sent, in Unix milliseconds.
    fn stopped_ms(&self, now: Instant) -> Option<u64> {
        let service = self.engine.service();
        if !matches!(service.state(), State::Stopped(_)) {
            return None;
        }
        let span = now.saturating_duration_since(service.since()).as_millis();
        let here = runtime::wall_ms().saturating_sub(u64::try_from(span).unwrap_or(u64::MAX));
        Some(self.stopped().map_or(here, |stopped| stopped.at_ms))
    }

    /// It was looked. What is beyond is given up; what is not cut is cut first, so that it has an id.
    pub(crate) fn judged(&mut self, judged: &[Judged]) {
        self.keeping.busy = false;
        let work = Arc::clone(&self.running.work);
        for it in judged.iter().filter(|it| it.fate == Fate::Beyond) {
            let (partition, epoch) = (it.partition, it.epoch);
            let front = it.front.map(|(id, _)| id);
            if !self.engine.claim(partition.0, epoch, front, runtime::now()) {
                continue;
            }
            self.keeping.working.insert(partition);
            let work = Arc::clone(&work);
            self.doing.push(match it.front {
                Some((id, events)) => Box::pin(work.abandon(partition, epoch, id, events)),
                None => Box::pin(work.cut(partition, epoch, None)),
            });
        }
        let nearly = judged.iter().any(|it| it.fate != Fate::Stays);
        if nearly && !self.keeping.alarmed {
            let service = &work.config.name;
            tracing::error!(
                service,
                "ALARM: what waits for this service is nearly as old, or as much, \
                as is kept: beyond that it is given up"
            );
        }
        // Judged in part, it is only known that it is so.
        self.keeping.alarmed = nearly || (self.keeping.alarmed && judged.len() <= 1);
    }

    /// Something was appended in a partition.
    pub(crate) fn kept(&mut self, partition: PartitionId) {
        if self.keeping.working.remove(&partition) {
            self.keeping.again.insert(partition);
        }
    }
}

impl Work {
    async fn judge(
        self: Arc<Self>,
        partitions: Vec<PartitionId>,
        stopped_ms: Option<u64>,
    ) -> Happened {
        let mut judged = Vec::new();
        for partition in partitions {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            judged.extend(self.judge_one(partition, epoch, stopped_ms).await);
        }
        Happened::Judged(judged)
    }

    async fn judge_one(
        &self,
        partition: PartitionId,
        epoch: u64,
        stopped_ms: Option<u64>,
    ) -> Option<Judged> {
        let mut found = None;
        self.desk.owed(partition, epoch, &mut |outbox| {
            found = outbox.service(&self.config.name).map(|booked| {
                let lane = &booked.lane;
                let front = lane.unfinished.front().map(Arc::clone);
                (front, lane.scan.0, lane.pending())
            });
        })?;
        let (front, scan, pending) = found.filter(|(_, _, pending)| *pending > 0)?;
        let events = front.as_ref().map(|frozen| frozen.part.events.as_slice()).unwrap_or_default();
        let ends = events.first().zip(events.last());
        let oldest = self.oldest(partition, ends, scan, pending).await?;
        let partitions = self.desk.partitions().count();
        let fate = self.config.keep.judge(oldest, stopped_ms, runtime::wall_ms(), partitions);
        let front = front.as_ref().map(|frozen| (frozen.id, events.len()));
        Some(Judged { partition, epoch, front, fate })
    }

    /// What waits longest: what is between `ends`, or what stands in the log from `scan` on.
    async fn oldest(
        &self,
        partition: PartitionId,
        ends: Option<(&EventPlace, &EventPlace)>,
        scan: u64,
        pending: u64,
    ) -> Option<Oldest> {
        let from = ends.map_or(scan, |(first, _)| first.seq).max(1);
        let page = self.desk.read(partition, from, SAMPLE_ENTRIES, SAMPLE_BYTES).await?;
        let entries: Vec<_> =
            page.iter().filter_map(|it| encode::decode(&it.payload).ok()).collect();
        let messages: Vec<_> = entries.iter().flat_map(|entry| entry.messages()).collect();
        let first_ms = messages.first()?.time_ms;
        let last_ms = match ends {
            Some((first, last)) if first != last => {
                let last = reading::events(&*self.desk, partition, &[*last]).await?;
                last.first().map_or(first_ms, |(_, event)| event.message.time_ms)
            }
            Some(_) | None => first_ms,
        };
        let bytes: u64 = page.iter().map(|it| u64::try_from(it.payload.len()).unwrap_or(0)).sum();
        let sampled = u64::try_from(messages.len()).unwrap_or(u64::MAX).max(1);
        Some(Oldest { first_ms, last_ms, bytes: bytes.saturating_mul(pending) / sampled })
    }

    /// Gives a transaction up, aloud.
    async fn abandon(
        self: Arc<Self>,
        partition: PartitionId,
        epoch: u64,
        id: FrozenId,
        events: usize,
    ) -> Happened {
        let service = self.config.name.clone();
        let change = OutboxChange::Abandon { service: service.clone(), id };
        let committed = self.append(partition, epoch, vec![change]).await;
        if committed {
            self.meters.abandoned.increment(u64::try_from(events).unwrap_or(0));
            tracing::error!(service, %partition, events,
                "ALARM: events have waited for longer, or are more, than is kept for this service: \
                 they are given up, see carillon service dlq");
        }
        Happened::Appended { partition, epoch, committed }
    }
}

#[cfg(test)]
#[path = "keeping_tests.rs"]
mod stories;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 86_400_000;
    const NOW_MS: u64 = 1000 * DAY_MS;

    fn keep() -> Keep {
        Keep { age: Duration::from_secs(10 * 86_400), bytes: 1600 }
    }

    fn oldest(first: u64, last: u64, bytes: u64) -> Oldest {
        Oldest { first_ms: NOW_MS - first * DAY_MS, last_ms: NOW_MS - last * DAY_MS, bytes }
    }

    fn judged(it: Oldest, days: Option<u64>) -> Fate {
        keep().judge(it, days.map(|days| NOW_MS - days * DAY_MS), NOW_MS, 16)
    }

    #[test]
    fn what_has_waited_for_too_long_as_a_whole_is_beyond() {
        assert_eq!(judged(oldest(7, 7, 0), Some(20)), Fate::Stays);
        assert_eq!(judged(oldest(8, 1, 0), Some(20)), Fate::Nearly);
        assert_eq!(judged(oldest(12, 9, 0), Some(20)), Fate::Nearly, "its last event has not");
        assert_eq!(judged(oldest(12, 10, 0), Some(20)), Fate::Beyond);
    }

    #[test]
    fn what_was_said_before_the_service_was_stopped_ages_from_then_on() {
        assert_eq!(judged(oldest(500, 400, 0), Some(3)), Fate::Stays);
        assert_eq!(judged(oldest(500, 400, 0), Some(10)), Fate::Beyond);
        assert_eq!(
            judged(oldest(500, 400, 0), None),
            Fate::Stays,
            "it is tried, and may come to it"
        );
    }

    #[test]
    fn a_partition_has_its_share_of_the_bytes() {
        assert_eq!(judged(oldest(0, 0, 79), None), Fate::Stays);
        assert_eq!(judged(oldest(0, 0, 80), None), Fate::Nearly);
        assert_eq!(judged(oldest(0, 0, 100), None), Fate::Nearly);
        assert_eq!(judged(oldest(0, 0, 101), Some(1)), Fate::Beyond);
    }
}
