//! Tasks, stop signals and the clock: the one door to `spawn`, to time and to threads; and small files that
//! are kept as a whole.
//!
//! Everything that runs has a name and an owner. A [`Tasks`] is a group that is stopped together; a
//! panic in one of its tasks is a bug in us, so it cancels the group and is reported by
//! [`Tasks::failed`], and the node ends with a non-zero code. Time is read here and nowhere else.

mod backoff;
mod blocking;
mod clock;
mod kept_file;
mod simulated;
mod tasks;

pub use backoff::Backoff;
pub use blocking::blocking;
pub use clock::{Elapsed, Instant, now, sleep, sleep_until, timeout, wall_ms};
pub use kept_file::KeptFile;
pub use simulated::{EnteredClock, SimulatedClock};
pub use tasks::{Stop, Tasks, thread};
