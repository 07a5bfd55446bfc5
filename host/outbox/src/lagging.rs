//! How old the oldest event is that a service is owed and has not taken: its lag in time.
//!
//! The log says when an event was said, and reading it costs: so it is looked every few seconds, and a lane whose first
//! event is the one that was seen before is not read again. For people only, by the clock of the wall.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use model::encode;
use runtime::Instant;

use crate::running::Task;
use crate::working::{Happened, Work};

/// How often it is looked: at most one small read a lane.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What is read to find a message: what stands between concerns nobody.
const ENTRIES_MAX: usize = 16;
const BYTES_MAX: usize = 64 << 10;

/// For each lane that owes something: where its first event stands, and when that was said, in Unix milliseconds.
pub(crate) type Ages = BTreeMap<PartitionId, (u64, u64)>;

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Lagging {
    due: Option<Instant>,
    /// Nothing while it is looked.
    ages: Option<Ages>,
    /// When the oldest event was said.
    oldest_ms: Option<u64>,
}

impl Lagging {
    /// It was looked.
    pub(crate) fn aged(&mut self, ages: Ages) {
        self.oldest_ms = ages.values().map(|(_, said_ms)| *said_ms).min();
        self.ages = Some(ages);
    }

    /// Nothing is owed any more.
    pub(crate) fn none(&mut self) {
        self.oldest_ms = None;
    }

    /// How long the oldest event waits.
    pub(crate) fn lag_ms(&self) -> Option<u64> {
        self.oldest_ms.map(|said_ms| runtime::wall_ms().saturating_sub(said_ms))
    }

    fn begins(&mut self, now: Instant) -> Option<Ages> {
        if self.due.is_some_and(|due| now < due) {
            return None;
        }
        let ages = match self.due {
            None => Ages::new(),
            Some(_) => self.ages.take()?,
        };
        self.due = Some(now + LOOK_EVERY);
        Some(ages)
    }
}

impl Task {
    /// Has it looked how old what is owed is.
    pub(crate) fn look_for_lag(&mut self, now: Instant) {
        if let Some(known) = self.lagging.begins(now) {
            self.doing.push(Box::pin(Arc::clone(&self.running.work).ages(known)));
        }
    }
}

impl Work {
    async fn ages(self: Arc<Self>, known: Ages) -> Happened {
        let mut ages = Ages::new();
        for partition in self.desk.partitions().all() {
            let Some(first) = self.first(partition) else { continue };
            let said_ms = match known.get(&partition) {
                Some((place, said_ms)) if *place == first => Some(*said_ms),
                Some(_) | None => self.said_ms(partition, first).await,
            };
            ages.extend(said_ms.map(|said_ms| (partition, (first, said_ms))));
        }
        Happened::Aged(ages)
    }

    /// Where a lane's first event stands, or nothing before it that is owed.
    fn first(&self, partition: PartitionId) -> Option<u64> {
        let epoch = self.desk.leads(partition)?;
        let mut first = None;
        self.desk.owed(partition, epoch, &mut |outbox| {
            let booked = outbox.service(&self.config.name);
            let Some(lane) = booked.map(|booked| &booked.lane) else { return };
            let frozen = lane.unfinished.front().and_then(|frozen| frozen.part.events.first());
            let uncut = (lane.uncut > 0).then_some(lane.scan.0);
            first = frozen.map(|event| event.seq).or(uncut);
        })?;
        first
    }

    async fn said_ms(&self, partition: PartitionId, from: u64) -> Option<u64> {
        let page = self.desk.read(partition, from.max(1), ENTRIES_MAX, BYTES_MAX).await?;
        let mut entries = page.iter().filter_map(|it| encode::decode(&it.payload).ok());
        entries.find_map(|entry| entry.messages().next().map(|message| message.time_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_looked_now_and_then_and_once_at_a_time() {
        let (mut lagging, now) = (Lagging::default(), runtime::now());
        assert_eq!(lagging.begins(now), Some(Ages::new()));
        assert_eq!(lagging.begins(now + LOOK_EVERY), None, "it is under way");
        let ages = Ages::from([(PartitionId(1), (7, 40)), (PartitionId(2), (3, 20))]);
        lagging.aged(ages.clone());
        assert_eq!(lagging.oldest_ms, Some(20));
        assert!(lagging.lag_ms() > Some(0));
        assert_eq!(lagging.begins(now + SECOND), None);
        assert_eq!(lagging.begins(now + LOOK_EVERY), Some(ages), "what was read need not be again");
        lagging.none();
        assert_eq!(lagging.lag_ms(), None);
    }
}
