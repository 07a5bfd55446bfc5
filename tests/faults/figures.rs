//! What a run says in numbers: how long things took, clean and under each fault, and for how long a chat
//! could not be written to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::accident::{Injected, Kind as Fault};
use crate::client::{Kind, Sample};

/// A send that took longer tells of a chat that could not be written to.
const AWAY_US: u64 = 1_000_000;

/// Times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// How a kind of fault went.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// How often it was made.
    pub(crate) injected: u64,
    /// How often some operation was under way meanwhile.
    pub(crate) overlapped: u64,
    /// How many operations that were.
    pub(crate) operations: u64,
    /// Sends with a W of at most the commit quorum meanwhile.
    pub(crate) sends: Times,
    /// Of those, how many no retry cured.
    pub(crate) uncured: u64,
    /// From the end of the cause until every node knew a leader of every partition, in seconds.
    pub(crate) well_max_s: f64,
    /// After a pause: from when the node went on until a client attached to it was answered, at most, in
    /// seconds.
    pub(crate) answered_max_s: Option<f64>,
}

/// For how long chats could not be written to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Windows {
    pub(crate) count: u64,
    pub(crate) p50_s: f64,
    pub(crate) max_s: f64,
}

/// All numbers of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) operations: u64,
    /// Operations that took more than one try.
    pub(crate) retried: u64,
    /// What clients would have begun, had they not lagged behind.
    pub(crate) forgotten: u64,
    /// Sends while nothing was wrong.
    pub(crate) clean: Times,
    pub(crate) faults: BTreeMap<Fault, Row>,
    pub(crate) windows: Windows,
    /// Sends with a W of at most the commit quorum that no retry cured.
    pub(crate) uncured: u64,
}

impl Times {
    pub(crate) fn of(mut us: Vec<u64>) -> Self {
        us.sort_unstable();
        let at = |per_cent: usize| {
            let index = (us.len() * per_cent).div_ceil(100).max(1) - 1;
            us.get(index).copied().unwrap_or_default() as f64 / 1e3
        };
        Self { count: us.len() as u64, p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    }
}

impl Figures {
    /// Of what clients wanted while faults were made.
    pub(crate) fn of(samples: &[Sample], forgotten: u64, injected: &[Injected]) -> Self {
        let mut faults: BTreeMap<Fault, Row> = BTreeMap::new();
        let mut touched = vec![false; samples.len()];
        let mut times: BTreeMap<Fault, Vec<u64>> = BTreeMap::new();
        for fault in injected {
            let row = faults.entry(fault.kind).or_default();
            let mut hit = 0;
            for (sample, touched) in samples.iter().zip(&mut touched) {
                if sample.begun > fault.well || sample.ended < fault.begun {
                    continue;
                }
                *touched = true;
                hit += u64::from(sample.begun <= fault.healed);
                if is_quorum_send(sample) {
                    times.entry(fault.kind).or_default().push(sample.ended - sample.begun);
                    row.uncured += u64::from(!sample.done);
                }
            }
            row.injected += 1;
            row.overlapped += u64::from(hit > 0);
            row.operations += hit;
            row.well_max_s = row.well_max_s.max((fault.well - fault.healed) as f64 / 1e6);
            if let Some(us) = fault.answered {
                let seconds = us as f64 / 1e6;
                let most = row.answered_max_s.map_or(seconds, |most| most.max(seconds));
                row.answered_max_s = Some(most);
            }
        }
        for (kind, us) in times {
            faults.entry(kind).or_default().sends = Times::of(us);
        }
        let clean = samples
            .iter()
            .zip(&touched)
            .filter(|(sample, touched)| !**touched && is_quorum_send(sample));
        let clean = Times::of(clean.map(|(sample, _)| sample.ended - sample.begun).collect());
        let uncured = samples.iter().filter(|sample| is_quorum_send(sample) && !sample.done);
        let last = samples.iter().map(|sample| sample.ended).max();
        Self {
            seconds: last.unwrap_or_default() as f64 / 1e6,
            operations: samples.len() as u64,
            retried: samples.iter().filter(|sample| sample.tries > 1).count() as u64,
            forgotten,
            clean,
            faults,
            windows: Windows::of(samples),
            uncured: uncured.count() as u64,
        }
    }
}

fn is_quorum_send(sample: &Sample) -> bool {
    matches!(sample.kind, Kind::Send(1..=2))
}

impl Windows {
    /// Sends of one chat that waited at the same time tell of one window.
    fn of(samples: &[Sample]) -> Self {
        let mut chats: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
        for sample in samples.iter().filter(|sample| is_quorum_send(sample)) {
            if sample.ended - sample.begun >= AWAY_US {
                chats.entry(sample.chat).or_default().push((sample.begun, sample.ended));
            }
        }
        let mut lengths = Vec::new();
        for waits in chats.values_mut() {
            waits.sort_unstable();
            let mut open: Option<(u64, u64)> = None;
            for (begun, ended) in waits.iter().copied() {
                open = match open {
                    Some((first, last)) if begun <= last => Some((first, last.max(ended))),
                    Some((first, last)) => {
                        lengths.push(last - first);
                        Some((begun, ended))
                    }
                    None => Some((begun, ended)),
                };
            }
            lengths.extend(open.map(|(first, last)| last - first));
        }
        let times = Times::of(lengths);
        Self { count: times.count, p50_s: times.p50_ms / 1e3, max_s: times.max_ms / 1e3 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Figures, Sample, Times, Windows};
    use crate::accident::{Injected, Kind as Fault};
    use crate::client::Kind;

    fn send(begun: u64, ended: u64, chat: usize) -> Sample {
        Sample { begun, ended, kind: Kind::Send(2), done: true, tries: 1, chat }
    }

    #[test]
    fn percentiles_are_of_what_was_given() {
        let times = Times::of((1..=200).map(|ms| ms * 1_000).collect());
        assert_eq!((times.count, times.p50_ms, times.p99_ms), (200, 100.0, 198.0));
        assert_eq!(times.max_ms, 200.0);
        assert_eq!(Times::of(Vec::new()), Times::default());
    }

    #[test]
    fn waits_of_one_chat_that_overlap_are_one_window() {
        let s = 1_000_000;
        let samples =
            [send(0, 2 * s, 1), send(s, 3 * s, 1), send(9 * s, 11 * s, 1), send(0, 10, 2)];
        let windows = Windows::of(&samples);
        assert_eq!((windows.count, windows.max_s), (2, 3.0));
    }

    #[test]
    fn what_a_fault_did_not_touch_is_clean() {
        let fault = Injected {
            kind: Fault::Zombie,
            detail: String::new(),
            begun: 10,
            healed: 20,
            well: 30,
            answered: Some(500_000),
        };
        let samples = [send(0, 5, 0), send(8, 12, 0), send(25, 29, 0), send(31, 40, 0)];
        let figures = Figures::of(&samples, 0, &[fault]);
        let row = &figures.faults[&Fault::Zombie];
        assert_eq!((row.injected, row.overlapped, row.operations), (1, 1, 1));
        assert_eq!((row.sends.count, figures.clean.count), (2, 2));
        assert_eq!(row.answered_max_s, Some(0.5));
    }
}
