//! Which problems operators are told about.
//!
//! A fault of ours always; a request that a node could not do, as long as there are few: when a quorum is
//! lost every request fails, and the thousandth line says no more than the first. A cursor from
//! nowhere is not among them: a client makes one up as often as it likes. All are counted.

use std::sync::atomic::{AtomicU64, Ordering};

use chat::Code;

use crate::metrics::count_problem;
use crate::problem::Problem;

/// Lines in one second, of the whole process.
const LINES_MAX: u64 = 20;

/// Tells about a problem of the request `request_id`.
pub(crate) fn tell(endpoint: &str, problem: &Problem, request_id: &str) {
    let (code, detail) = (problem.name(), problem.detail());
    count_problem(code);
    match problem.code() {
        Code::Internal => tracing::error!(endpoint, request_id, code, detail, "a fault of ours"),
        // A client need only make up a cursor.
        Code::Behind => tracing::debug!(endpoint, request_id, code, detail, "asked too early"),
        _ if problem.status().is_server_error() && is_allowed() => {
            tracing::warn!(endpoint, request_id, code, detail, "a request was not done");
        }
        _ => tracing::debug!(endpoint, request_id, code, detail, "a request was refused"),
    }
}

/// Whether one more line fits into this second.
fn is_allowed() -> bool {
    static LINES: Lines = Lines::new();
    LINES.take(runtime::wall_ms() / 1000)
}

/// The lines of one second: the second, and in its low bits how many there were.
struct Lines(AtomicU64);

impl Lines {
    const COUNT_BITS: u32 = 16;

    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn take(&self, second: u64) -> bool {
        let now = second << Self::COUNT_BITS;
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
            let same_second = before >> Self::COUNT_BITS == second;
            let next = if same_second { before + 1 } else { now + 1 };
            (next - now <= LINES_MAX).then_some(next)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, Lines};

    #[test]
    fn a_second_has_room_for_a_few_lines_and_the_next_one_again() {
        let lines = Lines::new();
        for second in [7, 8] {
            let taken = (0..100).filter(|_| lines.take(second)).count();
            assert_eq!(u64::try_from(taken).unwrap(), LINES_MAX);
        }
    }
}
