//! How far something is, on a line of its own, for somebody who watches.
//!
//! Only on a terminal: a log is no place for a line that is written over and over.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use runtime::Instant;

/// How often the line is written: as often as anybody reads it.
const EVERY: Duration = Duration::from_millis(100);
/// Letters of the bar.
const WIDTH: u64 = 24;

/// A line that says how far it is. It goes when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    /// Nothing, if nobody knows.
    total: Option<u64>,
    began: Instant,
    last: Option<Instant>,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Self {
        let shown = std::io::stderr().is_terminal();
        Self { shown, total, began: runtime::now(), last: None }
    }

    /// So many bytes are done.
    pub(super) fn at(&mut self, done: u64) {
        let now = runtime::now();
        if !self.shown || self.last.is_some_and(|last| now < last + EVERY) {
            return;
        }
        self.last = Some(now);
        let line = line(done, self.total, now - self.began);
        // Nowhere to write it to is no reason to stop.
        let _unseen = write!(std::io::stderr().lock(), "\r\u{1b}[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.last.is_some() {
            let _unseen = write!(std::io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}

fn line(done: u64, total: Option<u64>, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = size(done.saturating_mul(1000) / millis);
    let Some(total) = total else { return format!("{}, {rate}/s", size(done)) };
    let of = total.max(1);
    let done = done.min(total);
    let parts = |whole: u64| {
        u64::try_from(u128::from(done) * u128::from(whole) / u128::from(of)).unwrap_or(whole)
    };
    let filled = if total == 0 { WIDTH } else { parts(WIDTH) };
    let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
    let percent = if total == 0 { 100 } else { parts(100) };
    format!("[{bar}] {percent:>3} % of {}, {rate}/s", size(total))
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut whole, mut tenths, mut unit) = (bytes, 0, "");
    for next in UNITS {
        (whole, tenths) = (whole / 1024, whole % 1024 * 10 / 1024);
        unit = next;
        if whole < 1024 {
            break;
        }
    }
    format!("{whole}.{tenths} {unit}")
}

#[cfg(test)]
mod tests {
    use super::{line, size};
    use std::time::Duration;

    #[test]
    fn a_line_says_how_far_it_is() {
        let second = Duration::from_secs(1);
        let half = line(32 << 20, Some(64 << 20), second);
        assert_eq!(half, "[############............]  50 % of 64.0 MiB, 32.0 MiB/s");
        assert_eq!(line(0, Some(0), second), "[########################] 100 % of 0 B, 0 B/s");
        assert_eq!(line(2048, None, second), "2.0 KiB, 2.0 KiB/s");
        assert!(line(u64::MAX, Some(u64::MAX), second).contains("100 %"));
    }

    #[test]
    fn a_size_is_read_at_a_glance() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
