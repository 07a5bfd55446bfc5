//! Whether a version that became live decides otherwise than the one before: verdicts that shift, or failures.
//!
//! Each node compares what the live version answered since it became live here with what the one before had
//! answered while it was. Pure: it is told counts and says whether they are too far apart to be chance. A version
//! that fails on every call is soon left alone by its breaker, and then is asked too little to count: that it is
//! left alone is the breach.

use std::time::Duration;

use plugin::Tally;

/// How many standard deviations are no chance. The counts are looked at again and again, which makes chance
/// more likely: hence as many as four.
const SURE: f64 = 4.0;

/// All calls, in millionths.
const WHOLE_PPM: u32 = 1_000_000;

/// What an operator lets versions of a plugin get away with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// How many of a million calls may fail.
    pub failed_ppm_max: Option<u32>,
    /// By how many of a million the share of any verdict may change.
    pub shift_ppm_max: Option<u32>,
    /// How many calls of both versions are wanted before anything is concluded.
    pub calls_min: u64,
    /// How long a version is watched after it became live.
    pub watch: Duration,
}

/// What was seen of a version while it was live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// What it answered.
    pub(crate) answered: Tally,
    /// It failed so much that it was not called for a while.
    pub(crate) left_alone: bool,
}

/// What is wrong with a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    /// In words.
    pub(crate) what: String,
}

impl Guard {
    /// Looks at what came of the version before, and of the one that is live now.
    pub(crate) fn judge(&self, before: Option<&Record>, now: &Record) -> Option<Breach> {
        // What is not called does not come to as many calls as are wanted.
        if now.left_alone && self.forbids_all(before) {
            return Some(Breach {
                what: format!(
                    "it failed again and again and was not called for a while: {} of {} calls about \
                     messages failed",
                    now.answered.failed,
                    now.answered.calls()
                ),
            });
        }
        let (before, now) = (before.map(|before| &before.answered), &now.answered);
        if now.calls() < self.calls_min.max(1) {
            return None;
        }
        self.failing(now).or_else(|| before.and_then(|before| self.shifted(before, now)))
    }

    /// Whether a version may not fail on every call: by itself, or because the one before did not.
    fn forbids_all(&self, before: Option<&Record>) -> bool {
        let below = |most: Option<u32>| most.is_some_and(|ppm| ppm < WHOLE_PPM);
        below(self.failed_ppm_max)
            || below(self.shift_ppm_max) && before.is_some_and(|before| !before.left_alone)
    }

    fn failing(&self, now: &Tally) -> Option<Breach> {
        let most = share(self.failed_ppm_max?);
        let (calls, failed) = (float(now.calls()), float(now.failed));
        let chance = SURE * (calls * most * (1.0 - most)).sqrt();
        (failed > calls * most + chance.max(0.5)).then(|| Breach {
            what: format!(
                "{} of {} calls failed, and at most {} % may",
                now.failed,
                now.calls(),
                100.0 * most
            ),
        })
    }

    fn shifted(&self, before: &Tally, now: &Tally) -> Option<Breach> {
        let most = share(self.shift_ppm_max?);
        if before.calls() < self.calls_min.max(1) {
            return None;
        }
        let (n, m) = (float(before.calls()), float(now.calls()));
        before.words().into_iter().zip(now.words()).find_map(|((word, was), (_, is))| {
            let (p, q) = (float(was) / n, float(is) / m);
            let both = (float(was) + float(is)) / (n + m);
            let chance = SURE * (both * (1.0 - both) * (1.0 / n + 1.0 / m)).sqrt();
            let shift = (q - p).abs();
            (shift > most && shift > chance).then(|| Breach {
                what: format!(
                    "{word} is {:.1} % of {} calls, and was {:.1} % of {} by the version before: a \
                     share may change by {} %",
                    100.0 * q,
                    now.calls(),
                    100.0 * p,
                    before.calls(),
                    100.0 * most
                ),
            })
        })
    }
}

fn share(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls are far below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plugin::Tally;

    use super::{Guard, Record};

    const GUARD: Guard = Guard {
        failed_ppm_max: Some(10_000),
        shift_ppm_max: Some(100_000),
        calls_min: 100,
        watch: Duration::from_secs(1),
    };

    fn tally(pass: u64, reject: u64, failed: u64) -> Tally {
        Tally { pass, reject, failed, ..Tally::default() }
    }

    fn record(answered: Tally) -> Record {
        Record { answered, left_alone: false }
    }

    fn breach(before: &Tally, now: &Tally) -> String {
        let judged = GUARD.judge(Some(&record(*before)), &record(*now));
        judged.map(|breach| breach.what).unwrap_or_default()
    }

    #[test]
    fn a_verdict_that_shifts_is_told_with_both_shares() {
        let before = tally(990, 10, 0);
        assert_eq!(breach(&before, &tally(90, 9, 0)), "", "too few calls");
        let told = breach(&before, &tally(100, 100, 0));
        assert!(told.contains("pass is 50.0 % of 200 calls") && told.contains("99.0 %"), "{told}");
        assert_eq!(breach(&before, &tally(950, 50, 0)), "", "less than a tenth");
        assert_eq!(breach(&tally(50, 10, 0), &tally(0, 200, 0)), "", "too few before");
        let loose = Guard { shift_ppm_max: None, ..GUARD };
        assert_eq!(loose.judge(Some(&record(before)), &record(tally(0, 200, 0))), None);
    }

    #[test]
    fn a_shift_that_may_be_chance_is_none() {
        // 30 % and 42 % of a hundred calls each.
        assert_eq!(breach(&tally(70, 30, 0), &tally(58, 42, 0)), "");
        assert_ne!(breach(&tally(7_000, 3_000, 0), &tally(5_800, 4_200, 0)), "");
    }

    #[test]
    fn failures_count_also_without_a_version_before() {
        let judge = |guard: Guard, now: Tally| guard.judge(None, &record(now));
        let told = judge(GUARD, tally(90, 0, 10)).map(|breach| breach.what);
        assert_eq!(told.as_deref(), Some("10 of 100 calls failed, and at most 1 % may"));
        assert_eq!(judge(GUARD, tally(97, 0, 3)), None, "it may be chance");
        assert_eq!(judge(GUARD, tally(10_000, 0, 100)), None);
        let strict = Guard { failed_ppm_max: Some(0), ..GUARD };
        assert!(judge(strict, tally(99, 0, 1)).is_some());
        assert_eq!(judge(strict, tally(100, 0, 0)), None);
    }

    #[test]
    fn one_that_is_left_alone_breaks_every_bound_below_all_calls() {
        let stopped = Record { answered: tally(0, 0, 5), left_alone: true };
        let well = record(tally(990, 10, 0));
        let told = GUARD.judge(None, &stopped).map(|breach| breach.what).unwrap_or_default();
        assert!(told.contains("5 of 5 calls") && told.contains("was not called"), "{told}");
        let guard =
            |failed_ppm_max, shift_ppm_max| Guard { failed_ppm_max, shift_ppm_max, ..GUARD };
        let all = Some(1_000_000);
        assert_eq!(guard(all, None).judge(Some(&well), &stopped), None, "it may fail as it likes");
        let shifts = guard(None, Some(100_000));
        assert!(shifts.judge(Some(&well), &stopped).is_some());
        assert_eq!(shifts.judge(Some(&stopped), &stopped), None, "so did the one before");
        assert_eq!(shifts.judge(None, &stopped), None, "nobody knows what the one before did");
    }
}
