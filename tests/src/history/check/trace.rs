//! What the nodes themselves noted: that an acknowledgement waited for its syncs, and that none was
//! completed in an epoch after a later one was sealed.
//!
//! All of it is on one clock, which real processes have only because they share a machine.

use std::collections::BTreeMap;

use super::{Report, Verdict};

/// Something that a node did, in microseconds on the history's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// An entry is on the disk of a store.
    Synced {
        /// When.
        at: u64,
        /// The partition.
        partition: u8,
        /// The entry's epoch.
        epoch: u64,
        /// The entry's number in the partition.
        seq: u64,
        /// The store.
        store: u64,
    },
    /// Enough members promised an epoch.
    Sealed {
        /// When the last of them had synced its promise.
        at: u64,
        /// The partition.
        partition: u8,
        /// The epoch they promised.
        epoch: u64,
    },
    /// A sender was told that so many hold an entry.
    Acked {
        /// When.
        at: u64,
        /// The partition.
        partition: u8,
        /// The entry's epoch.
        epoch: u64,
        /// The entry's number in the partition.
        seq: u64,
        /// How many hold it.
        w: u8,
    },
}

/// Judges what nodes noted. The order of the notes does not matter.
pub fn check_traces(traces: &[Trace]) -> Report {
    let mut report = Report::default();
    let mut synced: BTreeMap<(u8, u64, u64), BTreeMap<u64, u64>> = BTreeMap::new();
    let mut sealed: BTreeMap<u8, Vec<(u64, u64)>> = BTreeMap::new();
    for trace in traces {
        match *trace {
            Trace::Synced { at, partition, epoch, seq, store } => {
                let stores = synced.entry((partition, epoch, seq)).or_default();
                let first = stores.entry(store).or_insert(at);
                *first = at.min(*first);
            }
            Trace::Sealed { at, partition, epoch } => {
                sealed.entry(partition).or_default().push((at, epoch));
            }
            Trace::Acked { .. } => {}
        }
    }
    for trace in traces {
        let Trace::Acked { at, partition, epoch, seq, w } = *trace else { continue };
        let stores = synced.get(&(partition, epoch, seq));
        let mut times: Vec<u64> =
            stores.into_iter().flat_map(|stores| stores.values().copied()).collect();
        times.sort_unstable();
        let Some(enough) = times.get(usize::from(w.max(1)) - 1).copied().filter(|t| *t <= at)
        else {
            let held = times.iter().filter(|time| **time <= at).count();
            report.find(Verdict::Undurable, || {
                format!("{partition}/{epoch}/{seq}: {w} were told at {at}, {held} had synced")
            });
            continue;
        };
        let seals = sealed.get(&partition).into_iter().flatten();
        let mut over = seals.filter(|(at, later)| *later > epoch && *at < enough);
        if let Some((at, later)) = over.next() {
            report.find(Verdict::LateAck, || {
                format!("{partition}/{epoch}/{seq}: synced at {enough}, {later} sealed at {at}")
            });
        }
    }
    report
}
