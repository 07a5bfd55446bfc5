//! What a run leaves: a table for docs/faults.md and the same as JSON.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use tests::history::{Report, Verdict};

use crate::ending::Ended;
use crate::figures::{Figures, Times};
use crate::measure::{Slowed, TakeOvers};

/// Everything about one run.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) seed: u64,
    pub(crate) skipped: Vec<String>,
    pub(crate) figures: Figures,
    pub(crate) checked: Report,
    pub(crate) ended: Ended,
    pub(crate) take_overs: Option<TakeOvers>,
    pub(crate) slowed: Option<Slowed>,
    pub(crate) full_disk: Option<String>,
}

/// Within this long after a primary's death the others must lead all that it led.
const TAKE_OVER_MAX_S: f64 = 6.0;
/// Within this long after a node that stood still goes on, whoever is attached to it is answered.
const ANSWERED_MAX_S: f64 = 2.0;

impl Told {
    /// What the long form must also show: that every kind of fault met operations, and how soon others lead.
    /// On a machine with other work the latter says nothing, so the short form does not ask.
    pub(crate) fn must_show(&self) {
        for (kind, row) in &self.figures.faults {
            let words = kind.words();
            assert!(row.overlapped > 0, "SEED={}: no operation met {words}: {row:?}", self.seed);
        }
        for row in self.figures.faults.values() {
            let late = row.answered_max_s.filter(|seconds| *seconds > ANSWERED_MAX_S);
            assert_eq!(late, None, "SEED={}: an answer so long after a pause", self.seed);
        }
        let take_overs = self.take_overs.iter().flat_map(|measured| &measured.all_s);
        for seconds in take_overs {
            assert!(
                *seconds <= TAKE_OVER_MAX_S,
                "SEED={}: a take-over of {seconds:.1} s",
                self.seed
            );
        }
    }

    /// Fails the test unless `count` faults were made, and every one met an operation.
    pub(crate) fn must_have_met(&self, count: usize) {
        let rows = self.figures.faults.values();
        let made: u64 = rows.clone().map(|row| row.injected).sum();
        let met: u64 = rows.map(|row| row.overlapped).sum();
        let count = u64::try_from(count).expect("a few");
        assert_eq!((made, met), (count, count), "SEED={}: faults made, and met", self.seed);
    }

    /// Fails the test unless nothing was found that must never be.
    pub(crate) fn must_be_good(&self) {
        let compared = &self.ended.compared;
        assert!(self.checked.is_zero(), "SEED={}: {}", self.seed, self.checked);
        assert!(compared.different.is_empty(), "SEED={}: {:?}", self.seed, compared.different);
        assert!(compared.damaged.is_empty(), "SEED={}: {:?}", self.seed, compared.damaged);
        assert_eq!(self.ended.times_fall, 0, "SEED={}: displayed times go back", self.seed);
        let uncured = self.figures.uncured;
        assert_eq!(uncured, 0, "SEED={}: sends that no retry cured", self.seed);
        assert!(self.checked.counts.quorum > 0, "SEED={}: nothing was acknowledged", self.seed);
    }

    /// Writes the JSON beside other build output; where it is.
    pub(crate) fn write(&self) -> PathBuf {
        let folder = tests::binary("carillon").with_file_name("faults");
        std::fs::create_dir_all(&folder).expect("the target folder can be written");
        let path = folder.join(format!("faults-{}.json", self.seed));
        let json = serde_json::to_vec_pretty(self).expect("figures are JSON");
        std::fs::write(&path, json).expect("the target folder can be written");
        path
    }
}

impl Told {
    /// How soon clients of a node that stood still are answered.
    fn resumed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.figures.faults.values().filter_map(|row| row.answered_max_s);
        for seconds in told {
            writeln!(
                f,
                "| a pause longer than the session: attached clients are answered after it, max | {seconds:.2} s |"
            )?;
        }
        Ok(())
    }

    /// What was done to the cluster, and what came of it.
    fn faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(
            f,
            "\n| fault | made | met an operation | operations meanwhile | ack p50, p99, max (ms) | \
             not cured by retries | well again, max (s) | violations a fault, at most (95 %) |\n\
             |---|---|---|---|---|---|---|---|"
        )?;
        writeln!(f, "| none | | | | {} | | | |", Shown(figures.clean))?;
        for (kind, row) in &figures.faults {
            writeln!(
                f,
                "| {} | {} | {} | {} | {} | {} | {:.1} | {:.3} |",
                kind.words(),
                row.injected,
                row.overlapped,
                row.operations,
                Shown(row.sends),
                row.uncured,
                row.well_max_s,
                3.0 / row.overlapped.max(1) as f64
            )?;
        }
        let faults: u64 = figures.faults.values().map(|row| row.overlapped).sum();
        writeln!(
            f,
            "| all | {faults} | | | | {} | | {:.3} |",
            figures.uncured,
            3.0 / faults.max(1) as f64
        )
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (figures, counts) = (&self.figures, &self.checked.counts);
        writeln!(f, "seed {}, {:.0} s under load", self.seed, figures.seconds)?;
        for what in &self.skipped {
            writeln!(f, "SKIPPED: {what}")?;
        }
        writeln!(f, "\n| what must never be | found |\n|---|---|")?;
        for verdict in Verdict::ALL {
            writeln!(f, "| {} | {} |", verdict.words(), self.checked.count(verdict))?;
        }
        let compared = &self.ended.compared;
        writeln!(
            f,
            "| partitions whose logs differ on the disks | {} |",
            compared.different.len()
        )?;
        writeln!(f, "| damaged places on the disks | {} |", compared.damaged.len())?;
        writeln!(f, "| chats whose displayed times go back | {} |", self.ended.times_fall)?;

        self.faults(f)?;
        writeln!(f, "\n| figure | |\n|---|---|")?;
        writeln!(
            f,
            "| operations, of them tried more than once, not begun because a client lagged | {}, {}, {} |",
            figures.operations, figures.retried, figures.forgotten
        )?;
        writeln!(
            f,
            "| tries of sends: quorum, local, replayed, refused, not committed, unknown | {}: {}, {}, {}, {}, {}, {} |",
            counts.sends,
            counts.quorum,
            counts.local,
            counts.replays,
            counts.refused,
            counts.not_committed,
            counts.unknown
        )?;
        writeln!(
            f,
            "| reads: with a cursor, confirmed, failed | {}: {}, {}, {} |",
            counts.reads, counts.session_reads, counts.confirmed_reads, counts.failed_reads
        )?;
        writeln!(
            f,
            "| chats, messages in the end, recovered from unknown | {}, {}, {} |",
            counts.chats, counts.messages, counts.recovered
        )?;
        writeln!(
            f,
            "| acknowledged by fewer than the quorum: gone, late | {}, {} |",
            counts.local_lost, counts.local_late
        )?;
        writeln!(
            f,
            "| times that a chat took no send for 1 s or more: count, p50, max | {}, {:.1} s, {:.1} s |",
            figures.windows.count, figures.windows.p50_s, figures.windows.max_s
        )?;
        writeln!(
            f,
            "| all members equal after the last fault | {:.1} s; {} partitions, {} entries |",
            self.ended.converged_s, compared.partitions, compared.entries
        )?;
        self.resumed(f)?;
        if let Some(take_overs) = &self.take_overs {
            writeln!(f, "{take_overs}")?;
        }
        if let Some(slowed) = &self.slowed {
            writeln!(f, "{slowed}")?;
        }
        if let Some(full) = &self.full_disk {
            writeln!(f, "| full disk | {full} |")?;
        }
        for finding in &self.checked.findings {
            writeln!(f, "{}: {}", finding.verdict.words(), finding.text)?;
        }
        Ok(())
    }
}

/// Times in a cell.
pub(crate) struct Shown(pub(crate) Times);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times { p50_ms, p99_ms, max_ms, .. } = self.0;
        write!(f, "{p50_ms:.1}, {p99_ms:.0}, {max_ms:.0}")
    }
}
