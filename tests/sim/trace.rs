//! What happened in a run: always as one number, and as text when somebody wants to read it.
//!
//! Text is made only for a run that is repeated because it failed; a thousand good runs pay for the
//! number alone.

use std::collections::VecDeque;
use std::fmt;

use crate::agenda::Time;

/// The last lines of a failed run; what led to a violation is nearly always among them.
const LINES_MAX: usize = 400;

/// A hash over everything that happened, and maybe its last lines.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<VecDeque<String>>,
    lines_max: usize,
}

impl Trace {
    pub(crate) fn new(readable: bool) -> Self {
        let lines_max = std::env::var("LINES").ok().and_then(|text| text.parse().ok());
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: readable.then(VecDeque::new),
            lines_max: lines_max.unwrap_or(LINES_MAX),
        }
    }

    /// Something happened at `now`: numbers that tell it from anything else, and its text.
    pub(crate) fn note(&mut self, now: Time, numbers: &[u64], text: impl FnOnce() -> String) {
        self.mix(now);
        for number in numbers {
            self.mix(*number);
        }
        if let Some(lines) = &mut self.lines {
            if lines.len() >= self.lines_max {
                lines.pop_front();
            }
            lines.push_back(format!("{:>10.3} ms  {}", now as f64 / 1000.0, text()));
        }
    }

    /// Bytes that belong to what is noted next.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    fn mix(&mut self, number: u64) {
        self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines.iter().flatten() {
            writeln!(f, "{line}")?;
        }
        write!(f, "trace {:016x}", self.hash)
    }
}
